"""A device in Python: what c/ealm_device.c does, for tests, benchmarks and trying things out.

    python -m firmware_bridge.board RECORDING [--pcm16]    on a pseudo-terminal, in real time

No link and no clock: packed frames go to a function, times come with the calls.
"""

from __future__ import annotations

import argparse
import os
import select
import time
import tty
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edge_alm.bridge.adpcm import AdpcmEncoder
from edge_alm.bridge.frame import Deframer, ProtocolError, WireFrame, enclose, pack, unpack
from edge_alm.bridge.messages import Again, Hello, Stats, Sync, SyncReply, Told, Welcome
from edge_alm.bridge.numbers import STREAM_STATE_MS, Capability, Flag, FrameType, Wish
from edge_alm.types import SAMPLE_RATE_HZ

HOST_GONE_S = 10.0
KEPT_FRAMES = 8
"""For who asks for them again."""
ALL = (
    Capability.TWO_WAY
    | Capability.MUTE_SWITCH
    | Capability.SETS_GAIN
    | Capability.SHOWS_CAPTIONS
    | Capability.FEELS_EVENTS
    | Capability.RESENDS
)


class Board:
    """One session of one device.

    Args:
        send: takes a packed frame; False: there was no room for it.
        session: 32 bits, other than the last session's.
        codecs: what it can send.
        capabilities: what else it can; without TWO_WAY it sends in the first of ``codecs``.
        rate_hz: of its microphone.
        frame_samples: of an audio frame.
    """

    def __init__(
        self,
        send: Callable[[bytes], bool],
        *,
        session: int = 1,
        codecs: tuple[FrameType, ...] = (FrameType.ADPCM, FrameType.PCM16),
        capabilities: Capability = ALL,
        rate_hz: int = SAMPLE_RATE_HZ,
        frame_samples: int = 320,
        name: str = "board",
    ) -> None:
        self._send_packed = send
        mask = sum(1 << codec for codec in codecs)
        self._hello = Hello(session, mask, rate_hz, frame_samples, capabilities, name)
        self._two_way = Capability.TWO_WAY in capabilities
        self._encoder = AdpcmEncoder()
        self._codec = codecs[0]
        self._sequence = 0
        self._due = 0
        self._told_s = float("-inf")
        self._heard_s = 0.0
        self._captured_s = 0.0
        self._was_welcome = not self._two_way
        self._muted = False
        self._kept: dict[int, bytes] = {}
        self.is_welcome = False
        self.position = 0
        self.due_since_hello = 0
        """Samples that were to be sent since the first HELLO: what the host should account for."""
        self.dropped = 0
        self.received = self.refused = 0
        self.shown: list[tuple[FrameType, Told]] = []
        self.gain_db = 0
        self.wishes = Wish(0)

    def capture(self, samples: NDArray[np.int16], now_s: float) -> None:
        """Samples that the microphone has taken, at most a frame's."""
        self._captured_s = now_s
        count = len(samples)
        if self._muted:
            self.position += count
            return
        if self._two_way and not self.is_welcome:
            if self._was_welcome:
                self._fall_due(count)
                self.dropped += count
            self.position += count
            return
        if not self._send(self._codec, self.encode(samples)):
            self.dropped += count
        self._fall_due(count)
        self.position += count

    def encode(self, samples: NDArray[np.int16]) -> bytes:
        """In the codec that the host has chosen. Another class may have Opus, too."""
        if self._codec == FrameType.ADPCM:
            return self._encoder.encode(samples.tolist())
        return samples.astype("<i2").tobytes()

    def tick(self, now_s: float) -> None:
        """To be called at least ten times a second."""
        if self._two_way and self.is_welcome and now_s - self._heard_s > HOST_GONE_S:
            self.is_welcome = False
        if now_s - self._told_s < STREAM_STATE_MS / 1000:
            return
        if not self._two_way:
            self.is_welcome = not self.is_welcome
        self._say_state(now_s)

    def receive(self, data: bytes, now_s: float) -> None:
        """What came over the link and may be a frame."""
        try:
            frame = unpack(data)
            if not frame.is_down or frame.session != self._hello.session & 0xFFFF:
                self.refused += 1
                return
            self._heard_s = now_s
            self._heed(frame, now_s)
            self.received += 1
        except ProtocolError:
            self.refused += 1

    def mute(self, muted: bool) -> None:
        """The switch was moved."""
        self._muted = muted
        self._kept.clear()  # no sample leaves a device that is muted
        self._send(FrameType.MUTE, bytes([muted]))

    def finish(self) -> None:
        """This was all."""
        self._send(FrameType.BYE, b"")

    def _heed(self, frame: WireFrame, now_s: float) -> None:
        if frame.type == FrameType.WELCOME:
            welcome = Welcome.unpack(frame.payload)
            if welcome.session == self._hello.session:
                self._codec, self.wishes = welcome.codec, welcome.wishes
                self.is_welcome = self._was_welcome = True
        elif frame.type == FrameType.SYNC:
            sync = Sync.unpack(frame.payload)
            since_s = now_s - self._captured_s if self._captured_s else 0.0
            position = self.position + int(since_s * self._hello.rate_hz)
            self._send(FrameType.SYNC_REPLY, SyncReply(sync.host_us, position, 0).pack())
        elif frame.type == FrameType.AGAIN:
            for sequence in Again.unpack(frame.payload).sequences:
                if (kept := self._kept.get(sequence)) is not None:
                    self._send_packed(kept)
        elif frame.type == FrameType.GAIN:
            self.gain_db = int.from_bytes(frame.payload, "little", signed=True)
        elif frame.type in (FrameType.CAPTION, FrameType.EVENT):
            self.shown.append((frame.type, Told.unpack(frame.payload)))
        elif frame.type == FrameType.BYE:
            self.is_welcome = False
            self._say_state(now_s)

    def _say_state(self, now_s: float) -> None:
        if self.is_welcome:
            stats = Stats(self._sequence, self.dropped, self.received, self.refused, self.gain_db)
            told = self._send(FrameType.STATS, stats.pack())
        else:
            told = self._send(FrameType.HELLO, self._hello.pack())
        if told:
            self._told_s = now_s

    def _fall_due(self, count: int) -> None:
        self._due = (self._due + count) % 2**32
        self.due_since_hello += count

    def _send(self, kind: FrameType, payload: bytes) -> bool:
        flags = Flag.MUTED if self._muted else 0
        tag = self._hello.session & 0xFFFF
        frame = WireFrame(kind, tag, self._sequence, self._due, self.position, payload, flags=flags)
        packed = pack(frame)
        if not self._send_packed(packed):
            return False
        if Capability.RESENDS in self._hello.capabilities:
            self._kept[self._sequence % 2**32] = packed
            self._kept.pop((self._sequence - KEPT_FRAMES) % 2**32, None)
        self._sequence += 1
        return True


def serve(samples: NDArray[np.int16], **options: object) -> None:
    """Play ``samples`` [n] at 16 kHz as a device on a pseudo-terminal whose name is printed."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    print(f"serial:{os.ttyname(theirs)}", flush=True)
    os.set_blocking(ours, False)

    def send(frame: bytes) -> bool:
        try:
            return os.write(ours, enclose(frame)) > 0
        except BlockingIOError:
            return False

    session = int.from_bytes(os.urandom(4), "little")
    board = Board(send, session=session, **options)  # type: ignore[arg-type]
    deframer = Deframer()
    began_s, at = time.monotonic(), 0
    while at < len(samples):
        now_s = time.monotonic()
        board.tick(now_s)
        if select.select([ours], [], [], max(0.0, began_s + at / SAMPLE_RATE_HZ - now_s))[0]:
            for data in deframer.push(os.read(ours, 4096)):
                board.receive(data, time.monotonic())
        elif board.is_welcome:
            board.capture(samples[at : at + 320], time.monotonic())
            at += 320
        else:
            began_s = time.monotonic() + 0.02 - at / SAMPLE_RATE_HZ
    board.finish()
    time.sleep(0.5)


def main() -> None:
    """Be a device."""
    parser = argparse.ArgumentParser(description="A device on a pseudo-terminal.")
    parser.add_argument("recording", help="16 kHz")
    parser.add_argument("--pcm16", action="store_true", help="not ADPCM")
    args = parser.parse_args()
    import soundfile

    samples, rate_hz = soundfile.read(args.recording, dtype="int16", always_2d=True)
    if rate_hz != SAMPLE_RATE_HZ:
        parser.error(f"{args.recording}: expected {SAMPLE_RATE_HZ} Hz, got {rate_hz}")
    serve(samples[:, 0], codecs=(FrameType.PCM16,) if args.pcm16 else (FrameType.ADPCM,))


if __name__ == "__main__":
    main()
