"""How loud a sound was, in one digit beside its name in the scene.

A soft token carries the levels of its hop, but a small model does not compare two of them over a
distance; two digits it does.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from edge_alm.models.projector_file import (
    FULL_SCALE_DB,
    HOP_LEVELS,
    LEVEL_MIDDLE_DB,
    LEVEL_SCALE_DB,
)
from edge_alm.types import Guess, Sound

STEP_DB = 5.0
QUIETEST_DBFS = -50.0
"""Of step 0; step 9 is -5 dBFS and more."""
KEPT_S = 120.0
"""Longer sounds are as loud as their last two minutes."""


class SoundLevels:
    """Levels of the last hops. State of one scene."""

    def __init__(self) -> None:
        self._hops: deque[tuple[float, float, NDArray[np.float32]]] = deque()

    def reset(self) -> None:
        """Forget all hops."""
        self._hops.clear()

    def put(self, features: NDArray[np.float32], start_s: float, end_s: float) -> None:
        """Hops that follow each other, shape [n, n_in], that share the span evenly."""
        edges = np.linspace(start_s, end_s, len(features) + 1)
        for row, start, end in zip(features, edges[:-1], edges[1:], strict=True):
            self._hops.append((float(start), float(end), row[-HOP_LEVELS:]))
        while self._hops and self._hops[0][1] < end_s - KEPT_S:
            self._hops.popleft()

    def step(self, sound: Sound | Guess, now_s: float | None = None) -> int | None:
        """0 to 9 in steps of :data:`STEP_DB`: the loudest 120 ms while it sounded.

        None where no hop is known of that time.
        """
        end_s = sound.end if sound.end is not None else now_s
        loudest = [
            float(levels.max())
            for start, end, levels in self._hops
            if end > sound.start and (end_s is None or start < end_s)
        ]
        if not loudest:
            return None
        dbfs = max(loudest) * LEVEL_SCALE_DB + LEVEL_MIDDLE_DB - FULL_SCALE_DB
        return int(np.clip(round((dbfs - QUIETEST_DBFS) / STEP_DB), 0, 9))
