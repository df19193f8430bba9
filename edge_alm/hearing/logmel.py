"""The log-mel front end that YAMNet was trained with.

25 ms periodic Hann window, 10 ms hop, 512-point FFT, magnitude, 64 HTK mel bands from 125
to 7500 Hz, natural logarithm of (mel + 0.001). Source of the constants: the YAMNet release
of the TensorFlow models repository (``params.py``, ``features.py``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_alm.types import SAMPLE_RATE_HZ, Samples

WINDOW_SAMPLES = 400
HOP_SAMPLES = 160
FFT_SIZE = 512
MEL_BANDS = 64
MEL_MIN_HZ = 125.0
MEL_MAX_HZ = 7500.0
LOG_OFFSET = 1e-3


def hz_to_mel(frequency_hz: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """HTK's mel scale: 1127 ln(1 + f / 700)."""
    return np.asarray(1127.0 * np.log1p(np.asarray(frequency_hz, dtype=np.float64) / 700.0))


def mel_matrix() -> NDArray[np.float32]:
    """Weights [FFT_SIZE // 2 + 1, MEL_BANDS]: triangles that are linear in mel, peak 1."""
    bins_mel = hz_to_mel(np.linspace(0.0, SAMPLE_RATE_HZ / 2, FFT_SIZE // 2 + 1))[:, None]
    edges_mel = np.linspace(
        float(hz_to_mel(MEL_MIN_HZ)), float(hz_to_mel(MEL_MAX_HZ)), MEL_BANDS + 2
    )
    lower, centre, upper = edges_mel[:-2], edges_mel[1:-1], edges_mel[2:]
    rising = (bins_mel - lower) / (centre - lower)
    falling = (upper - bins_mel) / (upper - centre)
    weights = np.maximum(0.0, np.minimum(rising, falling))
    weights[0] = 0.0  # no band takes the constant component
    return weights.astype(np.float32)


class LogMel:
    """Stateless transform; one instance serves any number of streams."""

    def __init__(self) -> None:
        phase = 2.0 * np.pi * np.arange(WINDOW_SAMPLES) / WINDOW_SAMPLES
        self._window = (0.5 - 0.5 * np.cos(phase)).astype(np.float32)
        self._weights = np.ascontiguousarray(mel_matrix().T)

    def __call__(self, samples: Samples) -> NDArray[np.float32]:
        """Log-mel frames [n, MEL_BANDS] of samples [(n - 1) * HOP_SAMPLES + WINDOW_SAMPLES]."""
        frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW_SAMPLES)[::HOP_SAMPLES]
        spectrum = np.abs(np.fft.rfft(frames * self._window, FFT_SIZE, axis=1))
        # Not @: OpenBLAS wakes a thread for each core, and they spin: 11 ms of CPU a hop, not 0.1.
        mel = np.einsum("nf,bf->nb", spectrum.astype(np.float32), self._weights)
        return np.asarray(np.log(mel + np.float32(LOG_OFFSET)), dtype=np.float32)
