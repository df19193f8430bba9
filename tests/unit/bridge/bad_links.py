"""A board and a host with a bad link between them, on a made-up clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_alm.bridge.numbers import Capability, FrameType
from edge_alm.bridge.session import HostSession
from edge_alm.bridge.stream import Begins, Heard, Missing, Part, Withheld
from edge_alm.types import Fault
from firmware_bridge.board import ALL, Board
from firmware_bridge.relay import BadLink, Faults

STEP_S = 0.02
FRAME_SAMPLES = 320


def ramp(first: int, count: int) -> NDArray[np.int16]:
    """Samples that tell their own numbers."""
    return (np.arange(first, first + count) % 65_536 - 32_768).astype(np.int16)


@dataclass
class Account:
    """What the host's parts add up to; a ramp tells whether they lie where they belong."""

    heard: int = 0
    lost: int = 0
    withheld: int = 0
    muted: int = 0
    clock: int = 0
    misplaced: int = 0
    faults: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    begins: int = 0

    def add(self, parts: list[Part]) -> None:
        for part in parts:
            if isinstance(part, Begins):
                self.begins += 1
            elif isinstance(part, Heard):
                expected = ramp(self.clock, len(part.samples)) / 32_768
                self.misplaced += int(np.count_nonzero(part.samples != expected))
                self.heard += len(part.samples)
                self.clock += len(part.samples)
            elif isinstance(part, Missing):
                assert len(part.fill) in (0, part.samples)
                self.lost += part.samples
                self.reasons.append(part.reason)
                self.clock += part.samples
            elif isinstance(part, Withheld):
                self.withheld += part.samples
                self.muted += part.samples * part.muted
                self.clock += part.samples
            elif isinstance(part, Fault):
                self.faults.append(part.code)


class World:
    """Both ends and the link; ``drift`` is by how much the device's clock is fast."""

    def __init__(
        self,
        faults: Faults = Faults(),  # noqa: B008
        *,
        seed: int = 0,
        delay_s: float = 0.06,
        drift: float = 0.0,
        codecs: tuple[FrameType, ...] = (FrameType.PCM16,),
        capabilities: Capability = ALL,
        step_s: float = STEP_S,
    ) -> None:
        self.now_s = 100.0
        self._step_s = step_s
        self.drift = drift
        self.up, self.down = BadLink(faults, seed), BadLink(faults, seed + 1)
        self.board = Board(self._put, codecs=codecs, capabilities=capabilities)
        self.host = HostSession(delay_s)
        self.account = Account()
        self.has_room: Callable[[], bool] = lambda: True

    def _put(self, frame: bytes) -> bool:
        if not self.has_room():
            return False
        self.up.put(frame, self.now_s)
        return True

    def capture(self) -> None:
        """A frame's time of sound; once the board is welcome."""
        self.board.capture(ramp(self.board.position, FRAME_SAMPLES), self.now_s)

    def step(self, *, capture: bool = True) -> None:
        """20 ms by the device's clock, in as many steps of the link as there are in it."""
        self.board.tick(self.now_s)
        for at in range(round(STEP_S / self._step_s)):
            self.now_s += self._step_s / (1.0 + self.drift)
            if capture and self.board.is_welcome and not at:
                self.capture()
            self.deliver()

    def deliver(self) -> None:
        for frame in self.up.take(self.now_s):
            self.account.add(self.host.receive(frame, self.now_s))
        self.account.add(self.host.advance(self.now_s))
        for frame in self.host.take_outbox():
            self.down.put(frame, self.now_s)
        for frame in self.down.take(self.now_s):
            self.board.receive(frame, self.now_s)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP_S)):
            self.step()

    def end(self) -> None:
        """A last word that gets through, after all that is on its way."""
        for _ in range(50):
            self.step(capture=False)
        self.up = BadLink(Faults(), 0)
        self.board.finish()
        self.now_s += 1.0
        self.deliver()
        self.account.add(self.host.finish())
