"""One session's frames in order, and the parts of its stream that they bring."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from edge_alm.bridge.clock import DeviceClock
from edge_alm.bridge.codecs import Decoder
from edge_alm.bridge.conceal import CONTEXT_S, Concealer
from edge_alm.bridge.frame import ProtocolError, WireFrame
from edge_alm.bridge.ledger import Gap, Ledger
from edge_alm.bridge.messages import Hello, Stats
from edge_alm.bridge.numbers import FrameType, Status
from edge_alm.types import Fault, Samples

MAX_CONCEALED_S = 0.5
"""A longer gap is not made up for: all starts anew after it."""

MOST_RECENT = 64
"""Frames that are kept to make up for a gap with, however short they are."""
NOTHING: Samples = np.zeros(0, np.float32)
ON_THE_WAY = "lost on the way"
BY_DEVICE = "dropped by the device"


@dataclass(frozen=True, slots=True)
class Begins:
    """A session; what was under way before is over."""

    hello: Hello


@dataclass(frozen=True, slots=True)
class Heard:
    """Samples at the device's rate, shape [n]."""

    samples: Samples


@dataclass(frozen=True, slots=True)
class Missing:
    """Samples that the device meant to send and that never came."""

    samples: int
    reason: str
    fill: Samples
    """What is made up for them, shape [n]; n is ``samples`` or 0."""


@dataclass(frozen=True, slots=True)
class Withheld:
    """Samples that the device did not mean to send."""

    samples: int
    muted: bool
    """By its switch; else there was nothing worth hearing."""


Part: TypeAlias = Begins | Heard | Missing | Withheld | Fault


class DeviceStream:
    """A session from its HELLO on.

    Args:
        hello: what the device said of itself.
        first: the frame that said it.
        decoders: by codec; fresh ones.
    """

    def __init__(
        self, hello: Hello, first: WireFrame, decoders: Mapping[FrameType, Decoder]
    ) -> None:
        self.hello = hello
        self.ledger = Ledger(first, hello.rate_hz)
        self.clock = DeviceClock(hello.rate_hz)
        self.stats: Stats | None = None
        """The device's last ones."""
        self.codec: FrameType | None = None
        """Of the last audio."""
        self.is_muted = False
        self.is_over = False
        """Whether the device said so."""
        self.refused: Counter[str] = Counter()
        """Payloads that could not be read, by the name of the status."""
        self._decoders = decoders
        self._sequence = first.sequence
        self._context = round(CONTEXT_S * hello.rate_hz)
        self._concealer = Concealer()
        # The last frames heard: one of CONTEXT_S or more, or as many as make it up.
        frames = -(-self._context // max(1, hello.frame_samples))
        self._recent: deque[Samples] = deque(maxlen=min(max(frames, 1), MOST_RECENT))

    @property
    def tag(self) -> int:
        """What this session's frames carry."""
        return self.hello.session & 0xFFFF

    def follow(self, frame: WireFrame) -> list[Part]:
        """What the next frame brings; frames come in order.

        Where a payload cannot be read its samples count as lost, as the next frame tells.
        """
        gap = self.ledger.reach(frame)
        # Before the frame is decoded: a codec with a memory goes through the gap first.
        fill = self._codec_fill(gap)
        heard = self._read(frame)
        parts = self._account(gap, frame, fill, heard)
        is_muted, was_muted = frame.is_muted, self.is_muted
        self.is_muted, self._sequence = is_muted, frame.sequence + 1
        if is_muted and not was_muted:
            parts.append(
                Fault("muted", f"device {self.hello.name!r} is muted", "move its switch to hear")
            )
        if len(heard):
            self.ledger.hear(len(heard))
            self._recent.append(heard)
            parts.append(Heard(heard))
        self.is_over = self.is_over or frame.type == FrameType.BYE
        return parts

    def _read(self, frame: WireFrame) -> Samples:
        """The samples of a frame, none of one that is not audio."""
        try:
            if frame.type == FrameType.STATS:
                self.stats = Stats.unpack(frame.payload)
            elif frame.is_audio:
                decoder = self._decoders.get(frame.type)
                if decoder is None:
                    raise ProtocolError(Status.BAD_TYPE)
                samples = decoder.decode(frame.payload)
                self.codec = frame.type
                return samples
        except ProtocolError as error:
            self.refused[error.status.name] += 1
        return NOTHING

    def _codec_fill(self, gap: Gap | None) -> Samples | None:
        if gap is None or not gap.lost or not self._may_conceal(gap) or self.codec is None:
            return None
        return self._decoders[self.codec].conceal(gap.lost)

    def _may_conceal(self, gap: Gap) -> bool:
        return gap.lost <= MAX_CONCEALED_S * self.hello.rate_hz

    def _account(
        self, gap: Gap | None, frame: WireFrame, fill: Samples | None, heard: Samples
    ) -> list[Part]:
        """What lies before a frame that holds the samples ``heard``."""
        if gap is None:
            self.ledger.restart(frame)
            self._recent.clear()
            return [
                Fault(
                    "bad-count",
                    f"device {self.hello.name!r}: its sample counts jump or run backwards",
                    "update the device; what lies before the jump is not accounted for",
                )
            ]
        parts: list[Part] = []
        if gap.lost:
            in_order = (frame.sequence - self._sequence) % 2**32 == 0
            if fill is None and self._may_conceal(gap):
                before = np.concatenate((NOTHING, *self._recent))[-self._context :]
                after = NOTHING if gap.withheld else heard[: self._context]
                fill = self._concealer.fill(before, after, gap.lost)
            reason = BY_DEVICE if in_order else ON_THE_WAY
            parts.append(Missing(gap.lost, reason, NOTHING if fill is None else fill))
            # What was made up is no ground for making up more.
            self._recent.clear()
        if gap.withheld:
            parts.append(Withheld(gap.withheld, self.is_muted or frame.is_muted))
            self._recent.clear()
        return parts
