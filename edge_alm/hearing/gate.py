"""The sound gate: is there anything worth hearing besides the background?

Pure decision on numbers. Every block's spectrum is reduced to a few bands; each band has a
noise floor that falls fast and rises slowly. The gate is open when the whole level or any
one band stands clear of its floor, so that both a loud event and a quiet novelty (a beep in
a rumble) open it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_alm.types import SAMPLE_RATE_HZ, Samples

BLOCK_SAMPLES = 1536
"""96 ms: three VAD chunks of 512, a fifth of an encoder hop."""
QUIETEST_DB = -75.0
"""dBFS; below it the gate stays shut (16-bit silence with dither is about -98)."""
MARGIN_DB = 7.0
"""Level over the floor that opens the gate."""
BAND_MARGIN_DB = 10.0
"""The same for one band; bands fluctuate more."""
FLOOR_AT_START_DB = -50.0
"""Highest floor assumed at first, so that a stream that begins loud is heard."""
FALL = 0.3
"""Share of the distance that the floor falls in one block."""
RISE_DB = 0.05
"""dB that the floor rises in one block: about 0.5 dB/s."""
HANGOVER_BLOCKS = 10
"""Blocks (about 1 s) that the gate stays open after the last reason for it."""

BAND_EDGES_HZ = (60, 250, 500, 1000, 2000, 3000, 4500, 8000)
"""Each band reaches from one to the next."""


class SoundGate:
    """State of one stream."""

    def __init__(self) -> None:
        bin_hz = SAMPLE_RATE_HZ / BLOCK_SAMPLES
        self._edges = np.array([round(edge / bin_hz) for edge in BAND_EDGES_HZ])
        # Parseval: a full-scale square wave is 0 dBFS
        self._scale = 2.0 / BLOCK_SAMPLES**2
        self._margin_db = np.full(len(BAND_EDGES_HZ), BAND_MARGIN_DB)
        self._margin_db[0] = MARGIN_DB
        self.reset()

    def reset(self) -> None:
        """Forget the background."""
        self._floor_db: NDArray[np.float64] | None = None
        self._hold = 0
        self.level_db = -120.0
        self.stands_out = False

    def push(self, block: Samples) -> bool:
        """Whether the gate is open after ``block`` [BLOCK_SAMPLES].

        Sets ``level_db``, the block's level in dBFS (bands from 60 Hz), and ``stands_out``:
        whether this very block is a reason for it.
        """
        power = np.abs(np.fft.rfft(block)) ** 2
        bands = np.add.reduceat(power, self._edges)[:-1] * self._scale
        levels_db = 10.0 * np.log10(np.concatenate(([bands.sum()], bands)) + 1e-12)
        self.level_db = float(levels_db[0])
        if self._floor_db is None:
            self._floor_db = np.minimum(levels_db, FLOOR_AT_START_DB)
        above_db = levels_db - self._floor_db
        self.stands_out = self.level_db > QUIETEST_DB and bool(np.any(above_db > self._margin_db))
        if self.stands_out:
            self._hold = HANGOVER_BLOCKS
        elif self._hold:
            self._hold -= 1
        self._floor_db += np.where(above_db < 0.0, FALL * above_db, RISE_DB)
        return self._hold > 0
