from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
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


@given(st.integers(0, HOP_SAMPLES - 1), st.integers(0, 4))
def test_a_look_sees_what_a_hop_that_ended_there_would(extra: int, hops: int) -> None:
    samples = np.random.default_rng(extra).normal(0.0, 0.1, 5 * HOP_SAMPLES).astype(np.float32)
    recorder, shifted = Recorder(), Recorder()
    encoder, other = HopEncoder(recorder, LogMel()), HopEncoder(shifted, LogMel())
    for hop in samples[: hops * HOP_SAMPLES].reshape(-1, HOP_SAMPLES):
        encoder.push(hop, wanted=True)
    look = encoder.look(samples[hops * HOP_SAMPLES :][:extra])
    other.reset(extra - HOP_SAMPLES)
    until = np.pad(samples, (HOP_SAMPLES - extra, 0))[: (hops + 1) * HOP_SAMPLES]
    for hop in until.reshape(-1, HOP_SAMPLES):
        ended = other.push(hop, wanted=True)
    assert ended is not None
    assert (look.start, look.end, look.is_noise) == (ended.start, ended.end, ended.is_noise)
    np.testing.assert_allclose(recorder.patches[-1], shifted.patches[-1], atol=1e-5)
    np.testing.assert_allclose(look.levels_db, ended.levels_db, atol=1e-3)


def test_hops_are_the_same_with_looks_and_without() -> None:
    samples = np.random.default_rng(0).normal(0.0, 0.1, (4, HOP_SAMPLES)).astype(np.float32)
    plain, looked = Recorder(), Recorder()
    ears = HopEncoder(plain, LogMel()), HopEncoder(looked, LogMel())
    hops = []
    for number, hop in enumerate(samples):
        ears[1].look(hop[: 100 * number])
        seen = len(looked.patches)
        hops.append([ear.push(hop, wanted=number != 1) for ear in ears])
        for patch in looked.patches[seen:]:
            np.testing.assert_array_equal(patch, plain.patches[-1])
    assert [[hop and hop.start for hop in pair] for pair in hops] == [
        [0, 0],
        [None, None],
        [2 * HOP_SAMPLES] * 2,
        [3 * HOP_SAMPLES] * 2,
    ]
