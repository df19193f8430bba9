from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_alm.audio.resample import Resampler, resampled_length
from edge_alm.types import Samples

RATES = [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 12_345]


def resample(rate_hz: int, samples: Samples, cuts: list[int]) -> Samples:
    resampler = Resampler(rate_hz)
    parts = [resampler.push(part) for part in np.split(samples, sorted(cuts))]
    return np.concatenate([*parts, resampler.flush()])


@settings(deadline=None, max_examples=60)
@given(
    rate_hz=st.sampled_from(RATES),
    length=st.integers(0, 9_000),
    cuts=st.lists(st.integers(0, 9_000), max_size=12),
    seed=st.integers(0, 9),
)
def test_length_is_exact_and_cuts_do_not_matter(
    rate_hz: int, length: int, cuts: list[int], seed: int
) -> None:
    samples = np.random.default_rng(seed).standard_normal(length).astype(np.float32)
    whole = resample(rate_hz, samples, [])
    assert len(whole) == floor(Fraction(length * 16_000, rate_hz) + Fraction(1, 2))
    assert len(whole) == resampled_length(length, rate_hz)
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(resample(rate_hz, samples, cuts), whole)


@pytest.mark.parametrize("rate_hz", RATES)
def test_a_tone_stays_where_it_is(rate_hz: int) -> None:
    def tone(rate: int) -> Samples:
        return np.sin(2 * np.pi * 1_000 * np.arange(rate) / rate).astype(np.float32)

    heard = resample(rate_hz, tone(rate_hz), [500])
    inner = slice(1_000, -1_000)  # the filter's edges
    np.testing.assert_allclose(heard[inner], tone(16_000)[inner], atol=2e-4)


def test_a_tone_above_8_khz_does_not_fold_back() -> None:
    tone = np.sin(2 * np.pi * 9_000 * np.arange(48_000) / 48_000).astype(np.float32)
    assert np.abs(resample(48_000, tone, [])[1_000:-1_000]).max() < 1e-4


def test_flush_makes_it_as_new() -> None:
    samples = np.random.default_rng(0).standard_normal(5_000).astype(np.float32)
    resampler = Resampler(44_100)
    first = np.concatenate([resampler.push(samples), resampler.flush()])
    second = np.concatenate([resampler.push(samples), resampler.flush()])
    np.testing.assert_array_equal(first, second)
