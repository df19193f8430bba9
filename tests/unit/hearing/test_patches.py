from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_alm.hearing.encoder import HOP_SAMPLES, HopEncoder, cut_patches
from edge_alm.hearing.logmel import LogMel


class Recorder:
    """An encoder that keeps what it is given."""

    labels: tuple[str, ...] = ("nothing",)
    embedding_size = 1

    def __init__(self) -> None:
        self.patches: list[NDArray[np.float32]] = []

    def encode(self, patch: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        self.patches.append(patch)
        return np.zeros(1, np.float32), np.zeros(1, np.float32)


@pytest.mark.parametrize("n", [1, HOP_SAMPLES - 1, HOP_SAMPLES, 3 * HOP_SAMPLES, 50_000])
def test_a_whole_recording_is_cut_as_a_stream_is(n: int) -> None:
    samples = np.random.default_rng(n).normal(0.0, 0.1, n).astype(np.float32)
    recorder = Recorder()
    encoder = HopEncoder(recorder, LogMel())
    for hop in np.pad(samples, (0, -n % HOP_SAMPLES)).reshape(-1, HOP_SAMPLES):
        encoder.push(hop, wanted=True)
    np.testing.assert_array_equal(cut_patches(samples), np.stack(recorder.patches))
