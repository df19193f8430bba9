"""The audio of an Omi or Friend, as frames of the bridge.

What such a device sends is told in docs.omi.me, "App-Device Protocol", and by its firmware: every
notification has a number (u16, counted up from one to the next, also within an audio frame), the
index of its piece in the audio frame (u8, from 0), and the piece. Nothing marks the last piece: a
frame is whole when the next one begins with the next number. So all is heard one frame (10 or
20 ms) later than it came.

The device knows no clock, no session and no greeting; every connection is a session here.
"""

from __future__ import annotations

import secrets
import struct
from collections import Counter
from dataclasses import dataclass

from edge_alm.bridge.frame import WireFrame, pack
from edge_alm.bridge.messages import Hello, Stats
from edge_alm.bridge.numbers import MAX_PAYLOAD_BYTES, Capability, FrameType

SERVICE = "19b10000-e8f2-537e-4f6c-d104768a1214"
AUDIO = "19b10001-e8f2-537e-4f6c-d104768a1214"
CODEC = "19b10002-e8f2-537e-4f6c-d104768a1214"
_HEADER = struct.Struct("<HB")
_SPAN = 1 << 16
_LONGEST_OPUS_TENTHS_MS = 1200


@dataclass(frozen=True, slots=True)
class OmiCodec:
    """What a device says in its codec characteristic."""

    codec: FrameType
    rate_hz: int
    frame_samples: int


CODECS = {
    0: OmiCodec(FrameType.PCM16, 16_000, 160),
    1: OmiCodec(FrameType.PCM16, 8_000, 160),
    20: OmiCodec(FrameType.OPUS, 16_000, 160),
    21: OmiCodec(FrameType.OPUS, 16_000, 320),
}
"""By the number in the codec characteristic."""


def opus_samples(packet: bytes, rate_hz: int) -> int:
    """How many samples an Opus packet holds, by its first bytes (RFC 6716, 3.1); 0: not one."""
    if not packet:
        return 0
    config, code = packet[0] >> 3, packet[0] & 3
    if config < 12:  # SILK
        tenths_ms = (100, 200, 400, 600)[config & 3]
    elif config < 16:  # hybrid
        tenths_ms = (100, 200)[config & 1]
    else:  # CELT
        tenths_ms = (25, 50, 100, 200)[config & 3]
    tenths_ms *= (1, 2, 2, packet[1] & 0x3F if len(packet) > 1 else 0)[code]
    return tenths_ms * rate_hz // 10_000 if tenths_ms <= _LONGEST_OPUS_TENTHS_MS else 0


class OmiStream:
    """Notifications of one connection in, packed frames out.

    What is lost is told from the numbers: between two frames that came are as many as their
    numbers leave room for, at as many numbers and samples a frame as the last whole one had. That
    is exact where all frames have as many pieces: always with PCM, and with Opus where a packet
    fits into one notification. The account begins with the first whole frame.

    Args:
        codec: of the device.
        name: of the device.
        counts: what was dropped, by reason; counted up.
    """

    def __init__(self, codec: OmiCodec, name: str, counts: Counter[str]) -> None:
        self._codec = codec
        self._counts = counts
        session, mask = secrets.randbits(32), 1 << codec.codec
        self._hello = Hello(session, mask, codec.rate_hz, codec.frame_samples, Capability(0), name)
        self._sequence = 0
        self._samples = 0
        """Of all frames before the one that is held."""
        self._numbers = self._frame_samples = 0
        """That the last whole frame took; 0: there was none yet."""
        self._held = bytearray()
        self._is_whole = False
        """Whether no piece of the frame that is held is missing so far."""
        self._start: int | None = None
        """The number at which the frame that is held begins; None before the first one."""
        self._last = self._index = 0
        """Number and index of the last piece."""

    def begin(self) -> bytes:
        """The frame that comes before all others."""
        return self._pack(FrameType.HELLO, self._hello.pack())

    def alive(self) -> bytes:
        """A frame that says that the device is there, and where it is."""
        return self._pack(FrameType.STATS, Stats(self._sequence, 0, 0, 0).pack())

    def push(self, value: bytes) -> bytes | None:
        """The frame that is whole with a notification; None: there is none."""
        if len(value) <= _HEADER.size:
            self._counts["bad_packets"] += 1
            return None
        number, index = _HEADER.unpack_from(value)
        piece = value[_HEADER.size :]
        if self._start is None:
            if index == 0:
                self._hold(number, piece)
                self._last, self._index = number, index
            return None
        ahead = (number - self._last) % _SPAN
        if ahead >= _SPAN // 2 or (ahead == 0 and index <= self._index):
            self._counts["bad_packets"] += 1  # one that has been here
            return None
        self._counts["missing_packets"] += max(0, ahead - 1)
        frame = None
        if ahead <= 1 and index == self._index + 1:
            if len(self._held) + len(piece) <= MAX_PAYLOAD_BYTES:
                self._held += piece
            else:
                self._is_whole = False
        else:
            start = (number - index) % _SPAN
            if (start - self._start) % _SPAN < _SPAN // 2:
                frame = self._finish(start)
                self._hold(start, piece)
            # Where it does not begin with its first piece that is lost, and so is all of it.
            self._is_whole = index == 0
        self._last, self._index = number, index
        return frame

    def _hold(self, start: int, piece: bytes) -> None:
        self._start, self._held, self._is_whole = start, bytearray(piece), True

    def _finish(self, start: int) -> bytes | None:
        """What was held, now that a frame has come that begins at ``start``."""
        if self._start is None:
            return None
        payload = bytes(self._held)
        numbers = (start - self._start) % _SPAN
        came = (self._last - self._start) % _SPAN + 1
        # Where the next number is missing, too, the last whole frame tells how long one is.
        if self._is_whole and came in (numbers, self._numbers):
            samples = self._count(payload)
            if samples:
                self._numbers, self._frame_samples = came, samples
                frame = self._pack(self._codec.codec, payload)
                self._samples += samples
                self._lose(numbers - came)
                return frame
            self._counts["bad_packets"] += 1
        self._lose(numbers)
        return None

    def _lose(self, numbers: int) -> None:
        """Frames are missing that had so many numbers."""
        if numbers and self._numbers:
            frames = max(1, round(numbers / self._numbers))
            self._samples += frames * self._frame_samples
            self._sequence += frames

    def _count(self, payload: bytes) -> int:
        if self._codec.codec == FrameType.OPUS:
            return opus_samples(payload, self._codec.rate_hz)
        return 0 if len(payload) % 2 else len(payload) // 2

    def _pack(self, kind: FrameType, payload: bytes) -> bytes:
        tag = self._hello.session & 0xFFFF
        frame = WireFrame(kind, tag, self._sequence, self._samples, self._samples, payload)
        self._sequence += 1
        return pack(frame)
