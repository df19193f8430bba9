"""Medians and spread against numpy's, what too few samples say, and how sure a share is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_alm.bench.statistics import (
    LEAST_FOR_P95,
    LEAST_FOR_P99,
    quantile,
    rounded,
    summarise,
    wilson,
)

numbers = st.floats(-1e9, 1e9)
samples = st.lists(numbers, min_size=1, max_size=150)


@given(samples, st.floats(0, 1))
def test_a_quantile_is_numpys(values: list[float], share: float) -> None:
    expected = float(np.quantile(values, share))
    assert quantile(values, share) == pytest.approx(expected, rel=1e-9, abs=1e-6)


@given(samples, st.randoms())
def test_the_order_of_samples_does_not_matter(values: list[float], random: object) -> None:
    shuffled = sorted(values, key=lambda _: random.random())  # type: ignore[attr-defined]
    assert summarise(shuffled) == summarise(values)


@given(samples)
def test_numbers_of_a_summary_are_in_order_and_among_the_samples(values: list[float]) -> None:
    found = summarise(values)
    told = [found.q1, found.median, found.q3]
    told += [value for value in (found.p95, found.p99) if value is not None]
    assert told == sorted(told)
    assert min(values) <= told[0]
    assert told[-1] <= max(values)
    assert found.spread >= 0.0


@pytest.mark.parametrize(
    ("n", "p95", "p99"),
    [
        (1, False, False),
        (LEAST_FOR_P95 - 1, False, False),
        (LEAST_FOR_P95, True, False),
        (LEAST_FOR_P99, True, True),
    ],
)
def test_the_tail_is_told_of_enough_samples_only(n: int, p95: bool, p99: bool) -> None:
    found = summarise([float(i) for i in range(n)])
    assert (found.p95 is not None, found.p99 is not None) == (p95, p99)


@given(st.floats(1e-9, 1e9))
def test_rounding_keeps_the_digits_that_count(value: float) -> None:
    assert rounded(value) == pytest.approx(value, rel=1e-3)
    assert rounded(rounded(value)) == rounded(value)


@given(st.integers(1, 500), st.floats(0, 1), st.floats(0.1, 5.0))
def test_a_share_is_z_deviations_from_either_end(n: int, share: float, z: float) -> None:
    """What Wilson solved: |p - share| = z √(p (1 - p) / n), of the true share p."""
    for end in wilson(share, n, z):
        deviation = np.sqrt(end * (1 - end) / n)
        # Near 0 and 1 the root makes much of what rounding leaves of p (1 - p).
        assert abs(end - share) == pytest.approx(z * deviation, rel=1e-6, abs=1e-6)


@given(st.integers(1, 500), st.floats(0, 1))
def test_more_of_the_same_is_surer(n: int, share: float) -> None:
    (low, high), (lower, higher) = wilson(share, 2 * n), wilson(share, n)
    ends = [0.0, lower, low, share, high, higher, 1.0]
    np.testing.assert_allclose(ends, sorted(ends), atol=1e-9)
    assert wilson(share, 0) == (0.0, 1.0)
