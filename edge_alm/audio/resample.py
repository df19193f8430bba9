"""Any sample rate to the runtime's 16 kHz, block by block."""

from __future__ import annotations

import numpy as np

from edge_alm.types import SAMPLE_RATE_HZ, Samples

MIN_RATE_HZ = 1_000
MAX_RATE_HZ = 768_000
"""Rates outside are not audio: the highest that converters offer is 768 kHz."""


def resampled_length(samples: int, rate_hz: int) -> int:
    """Samples at 16 kHz that ``samples`` at ``rate_hz`` become: the nearest, halves up."""
    return (2 * samples * SAMPLE_RATE_HZ + rate_hz) // (2 * rate_hz)


class Resampler:
    """Mono float32 at ``rate_hz`` in, mono float32 at 16 kHz out.

    After :meth:`flush` exactly ``resampled_length(n, rate_hz)`` samples have come out for n
    that went in, the same ones however the input was cut into blocks. At 16 kHz samples pass
    through untouched; else soxr's HQ filter (100 dB) holds back about 20 ms until the flush.
    """

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self.reset()

    def reset(self) -> None:
        """Forget everything, as if no sample had come."""
        self._taken = 0
        self._given = 0
        if self._rate_hz == SAMPLE_RATE_HZ:
            self._stream = None
        else:
            import soxr

            self._stream = soxr.ResampleStream(
                self._rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ"
            )

    def push(self, samples: Samples) -> Samples:
        """The output that is ready after ``samples`` (shape [n], any n), possibly none."""
        self._taken += len(samples)
        out = samples if self._stream is None else self._stream.resample_chunk(samples)
        self._given += len(out)
        return np.asarray(out, np.float32)

    def flush(self) -> Samples:
        """The rest of the output; the resampler is then as new."""
        rest = np.zeros(0, np.float32)
        if self._stream is not None and self._taken:
            rest = self._stream.resample_chunk(rest, last=True)
            # soxr rounds as resampled_length does; this holds it to that for every rate.
            want = max(0, resampled_length(self._taken, self._rate_hz) - self._given)
            rest = np.pad(rest[:want], (0, max(0, want - len(rest))))
        self.reset()
        return np.asarray(rest, np.float32)
