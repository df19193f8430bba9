"""What a bad link does to frames, by a seed: loss, bursts, reordering, duplicates, bit flips.

No socket and no clock: frames with their times go in, frames with their times come out.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Faults:
    """How bad a link is; shares are 0 to 1."""

    loss: float = 0.0
    burst: float = 1.0
    """Mean length of a run of lost frames."""
    reordered: float = 0.0
    """Share of frames held up by up to ``held_s``, so that later ones overtake them."""
    held_s: float = 0.05
    duplicated: float = 0.0
    flipped: float = 0.0
    """Share of frames with one to four wrong bits."""


class BadLink:
    """One direction of a link."""

    def __init__(self, faults: Faults, seed: int) -> None:
        self._faults = faults
        self._rng = np.random.default_rng(seed)
        self._in_burst = False
        self._flying: list[tuple[float, int, bytes]] = []
        self._count = 0

    def put(self, frame: bytes, now_s: float) -> None:
        """A frame goes in."""
        faults, rng = self._faults, self._rng
        # A chain of two states (Gilbert 1960) with that mean share and mean run of losses.
        ends = 1.0 / max(faults.burst, 1.0)
        begins = ends * faults.loss / (1.0 - faults.loss) if faults.loss < 1.0 else 1.0
        self._in_burst = bool(rng.random() < ((1.0 - ends) if self._in_burst else begins))
        if self._in_burst:
            return
        for _ in range(2 if rng.random() < faults.duplicated else 1):
            data = frame
            if rng.random() < faults.flipped:
                wrong = bytearray(frame)
                for bit in rng.integers(0, 8 * len(frame), rng.integers(1, 5)):
                    wrong[bit // 8] ^= 1 << bit % 8
                data = bytes(wrong)
            late_s = rng.random() * faults.held_s if rng.random() < faults.reordered else 0.0
            self._count += 1
            heapq.heappush(self._flying, (now_s + late_s, self._count, data))

    def take(self, now_s: float) -> list[bytes]:
        """What has arrived by ``now_s``."""
        arrived = []
        while self._flying and self._flying[0][0] <= now_s:
            arrived.append(heapq.heappop(self._flying)[2])
        return arrived
