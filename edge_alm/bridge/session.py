"""The host's half of the conversation with one device: frames in, parts of its stream out.

No link, no thread, no clock: times come with the calls, what is to be sent waits in an outbox.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import replace

from edge_alm.bridge.codecs import DECODERS, Decoders, make_decoders
from edge_alm.bridge.frame import ProtocolError, WireFrame, pack, unpack
from edge_alm.bridge.messages import NO_WISH, Again, Hello, Sync, SyncReply, Told, Welcome
from edge_alm.bridge.numbers import (
    VERSION,
    Capability,
    EventCode,
    Flag,
    FrameType,
    Status,
    Wish,
)
from edge_alm.bridge.reorder import ReorderBuffer
from edge_alm.bridge.stream import Begins, DeviceStream, Part
from edge_alm.types import Fault

QUICK_SYNCS, QUICK_SYNC_S, SYNC_S = 5, 0.2, 2.0
"""The first exchanges of clocks follow each other quickly."""
ASK_AGAIN_S = 1.0
"""A session that is not known is asked for its HELLO at most so often."""
RESEND_S = 0.02
"""A frame that does not come is asked for again so often, until it is given up."""
MOST_MISSING = 33
"""As many as one AGAIN can ask for."""
RETIRED = 8
"""Sessions that are over and must not come to life again by a frame that was held up."""


class HostSession:
    """One device at the other end of a link.

    Args:
        delay_s: of the jitter buffer: how long a hole is waited for.
        wishes: what the device is asked for.
        decoders: by codec.
    """

    def __init__(
        self, delay_s: float, wishes: Wish = NO_WISH, decoders: Decoders = DECODERS
    ) -> None:
        self._delay_s = delay_s
        self._wishes = wishes
        self._decoders = decoders
        self._retired: deque[int] = deque(maxlen=RETIRED)
        self._outbox: list[bytes] = []
        self._sequence = 0
        self._codec: FrameType | None = None
        self._order: ReorderBuffer[WireFrame] = ReorderBuffer(delay_s)
        self._resends = False
        self._missing: dict[int, float] = {}  # by sequence: when it is asked for next
        self._syncs = 0
        self._next_sync_s = 0.0
        self._asked_s = float("-inf")
        self.stream: DeviceStream | None = None
        """Of the session under way."""
        self.frames = 0
        """Good ones of a session that is known."""
        self.refused: Counter[str] = Counter()
        """Others, by the name of the status."""
        self.strangers = 0
        """Good ones of no session that is known, of another stream, or echoes of our own."""
        self.recovered = 0
        """Frames that came when they had been asked for again."""

    @property
    def duplicates(self) -> int:
        """Frames that came twice, in the session under way."""
        return self._order.duplicates

    @property
    def late(self) -> int:
        """Frames that came when they had been given up, or again, in the session under way."""
        return self._order.late

    def receive(self, data: bytes, now_s: float) -> list[Part]:
        """Take in what a link holds to be a frame; what it brings."""
        try:
            frame = unpack(data)
            if frame.is_down or frame.stream != 0:
                self.strangers += 1
                return []
            parts = self._greet(frame) if frame.type == FrameType.HELLO else []
            stream = self.stream
            if stream is None or frame.session != stream.tag:
                self._ask_who(frame, now_s)
                return parts
            if frame.type == FrameType.SYNC_REPLY:
                # At arrival: what waits behind a hole tells no time.
                self._learn_clock(stream, frame, now_s)
        except ProtocolError as error:
            self.refused[error.status.name] += 1
            return []
        self.frames += 1
        if self._missing and frame.sequence in self._missing:
            self.recovered += 1
        ready = self._order.push(frame.sequence, frame, now_s)
        return parts + self._follow(ready) + self.advance(now_s)

    def advance(self, now_s: float) -> list[Part]:
        """What is due at ``now_s``: holes that are given up, a question for the clock."""
        stream = self.stream
        if (
            stream is not None
            and now_s >= self._next_sync_s
            and not stream.is_over
            and Capability.TWO_WAY in stream.hello.capabilities
        ):
            self._syncs += 1
            self._next_sync_s = now_s + (QUICK_SYNC_S if self._syncs < QUICK_SYNCS else SYNC_S)
            self._send(FrameType.SYNC, Sync(round(now_s * 1e6)).pack(), stream.tag)
        parts = self._follow(self._order.advance(now_s))
        if stream is not None and self._resends:
            self._ask_again(stream, now_s)
        return parts

    def next_s(self) -> float | None:
        """When :meth:`advance` has something to do; None: not before the next frame."""
        deadline_s = self._order.deadline_s
        return deadline_s if deadline_s is None else min((deadline_s, *self._missing.values()))

    def finish(self) -> list[Part]:
        """What still waits behind holes; nothing more will come."""
        return self._follow(self._order.flush())

    def take_outbox(self) -> list[bytes]:
        """Packed frames for the device; they are not given again."""
        frames, self._outbox = self._outbox, []
        return frames

    def tell(self, code: EventCode, text: str, confidence: float, position: int) -> None:
        """Send an event to a device that feels it, and its text to one that shows captions.

        Args:
            code: what it is.
            text: its label, or what was said.
            confidence: 0 to 1.
            position: the device's sample at which it began.
        """
        if self.stream is None:
            return
        can, tag = self.stream.hello.capabilities, self.stream.tag
        told = Told(max(0, position), code, round(255 * min(max(confidence, 0.0), 1.0)), text)
        if Capability.FEELS_EVENTS in can:
            self._send(FrameType.EVENT, told.pack(), tag)
        if Capability.SHOWS_CAPTIONS in can and code in (EventCode.SPEECH, EventCode.ANSWER):
            self._send(FrameType.CAPTION, replace(told, code=0).pack(), tag)

    def set_gain(self, gain_db: int) -> None:
        """Ask a device that can to amplify by ``gain_db``, -128 to 127."""
        if self.stream and Capability.SETS_GAIN in self.stream.hello.capabilities:
            payload = gain_db.to_bytes(1, "little", signed=True)
            self._send(FrameType.GAIN, payload, self.stream.tag)

    def _greet(self, frame: WireFrame) -> list[Part]:
        hello = Hello.unpack(frame.payload)
        if hello.session & 0xFFFF != frame.session:
            raise ProtocolError(Status.BAD_PAYLOAD)
        if frame.session in self._retired:
            return []
        is_new = self.stream is None or self.stream.hello.session != hello.session
        if is_new or self._codec is None:
            decoders = make_decoders(hello.codecs, hello.rate_hz, self._decoders)
            self._codec = next(iter(decoders), None)
        if self._codec is None or not hello.lowest_version <= VERSION <= hello.highest_version:
            return [_unfit(hello, self._decoders)]
        parts: list[Part] = []
        if is_new:
            if self.stream is not None:
                parts = self.finish()
                self._retired.append(self.stream.tag)
            self.stream = DeviceStream(hello, frame, decoders)
            self._order = ReorderBuffer(self._delay_s)
            self._missing = {}
            # Where frames cannot overtake each other a hole is not waited for, nor filled.
            self._resends = self._delay_s > 0 and Capability.RESENDS in hello.capabilities
            self._sequence = self._syncs = 0
            self._next_sync_s = 0.0
            parts.append(Begins(hello))
        if Capability.TWO_WAY in hello.capabilities:
            wishes = self._wishes if Capability.SOUND_GATE in hello.capabilities else NO_WISH
            welcome = Welcome(hello.session, self._codec, wishes)
            self._send(FrameType.WELCOME, welcome.pack(), frame.session)
        return parts

    def _ask_again(self, stream: DeviceStream, now_s: float) -> None:
        """Ask for what is missing, as long as it is waited for."""
        missing = self._order.missing(MOST_MISSING)
        if not missing and not self._missing:
            return
        due = [n for n in missing if self._missing.get(n % 2**32, now_s) <= now_s]
        if due:
            self._send(FrameType.AGAIN, Again.of(due).pack(), stream.tag)
        asked = dict.fromkeys((n % 2**32 for n in due), now_s + RESEND_S)
        waits = {n % 2**32: self._missing.get(n % 2**32, now_s) for n in missing}
        self._missing = waits | asked

    def _ask_who(self, frame: WireFrame, now_s: float) -> None:
        """A device that streams to a host that has begun anew is to say HELLO again."""
        self.strangers += 1
        if (
            frame.type != FrameType.HELLO
            and frame.session not in self._retired
            and now_s - self._asked_s >= ASK_AGAIN_S
        ):
            self._asked_s = now_s
            self._send(FrameType.BYE, b"", frame.session)

    def _send(self, kind: FrameType, payload: bytes, tag: int) -> None:
        frame = WireFrame(kind, tag, self._sequence, 0, 0, payload, flags=Flag.DOWN)
        self._sequence += 1
        self._outbox.append(pack(frame))

    def _learn_clock(self, stream: DeviceStream, frame: WireFrame, now_s: float) -> None:
        reply = SyncReply.unpack(frame.payload)
        asked_s = reply.host_us / 1e6
        if 0 <= now_s - asked_s < SYNC_S:
            stream.clock.add(asked_s, reply.position, reply.held_us / 1e6, now_s)

    def _follow(self, frames: Iterable[WireFrame]) -> list[Part]:
        stream = self.stream
        return [] if stream is None else [p for frame in frames for p in stream.follow(frame)]


def _unfit(hello: Hello, decoders: Decoders) -> Fault:
    return Fault(
        "device-unfit",
        f"device {hello.name!r}: expected version {VERSION} of the protocol and "
        f"{' or '.join(codec.name for codec in decoders)}, got versions {hello.lowest_version} "
        f"to {hello.highest_version} and codecs {hello.codecs:#x}",
        "update the device, or this program; Opus needs libopus and pip install 'edge-alm[opus]'",
    )
