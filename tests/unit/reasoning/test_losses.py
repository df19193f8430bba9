from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_alm.reasoning.losses import LONG_SAMPLES, TOGETHER_S, LossDigest
from edge_alm.types import Lost


def test_a_long_gap_is_told_at_once() -> None:
    lost = Lost(LONG_SAMPLES, 1.0, "x")
    assert LossDigest().push(lost) == [lost]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, LONG_SAMPLES - 1), st.floats(0.3, 3.0)), max_size=60))
def test_short_gaps_are_told_together_and_none_twice(gaps: list[tuple[int, float]]) -> None:
    digest, told, at = LossDigest(), list[Lost](), 0.0
    for samples, after_s in gaps:
        at += after_s
        told += digest.push(Lost(samples, at, "x"))
    waiting = digest._short.samples if digest._short else 0
    assert sum(lost.samples for lost in told) + waiting == sum(samples for samples, _ in gaps)
    assert all(b.at - a.at >= TOGETHER_S for a, b in pairwise(told))
    assert len(told) <= at / TOGETHER_S
