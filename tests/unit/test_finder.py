"""Which stretches are what is looked for. What is heard is in tests/real/test_find.py."""

from __future__ import annotations

import argparse
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_alm.cli.find import _share
from edge_alm.finder import Found, pick_chains
from edge_alm.hearing.watch import WITHIN_S

DOG, RAIN, BELL = [0.9, 0.1], [0.2, 0.8], [0.1, 0.0]


def test_one_sound_is_where_it_fits_the_best_first() -> None:
    stretches = [(1.0, 2.0, [0.6]), (4.0, 5.0, [0.9]), (7.0, 8.0, [0.4])]
    assert pick_chains(stretches, 1, 0.5) == [Found(4.0, 5.0, 0.9), Found(1.0, 2.0, 0.6)]


def test_sounds_in_order_are_one_find_as_good_as_the_worst() -> None:
    stretches = [(1.0, 2.0, DOG), (3.0, 4.0, BELL), (5.0, 9.0, RAIN)]
    assert pick_chains(stretches, 2, 0.5) == [Found(1.0, 9.0, 0.8)]
    assert pick_chains(stretches[::-1], 2, 0.5) == []  # rain, then the dog
    late = [(1.0, 2.0, DOG), (1.5 + WITHIN_S, 40.0, RAIN)]
    assert pick_chains(late, 2, 0.5) == []


scores = st.lists(st.floats(0.0, 1.0), min_size=3, max_size=3)
spans = st.tuples(st.floats(0.1, 40.0), st.floats(0.1, 5.0), scores)


@given(given=st.lists(spans, max_size=12), length=st.integers(1, 3), at_least=st.floats(0.0, 1.0))
def test_finds_are_good_enough_apart_and_in_order_of_score(
    given: list[tuple[float, float, list[float]]], length: int, at_least: float
) -> None:
    at, stretches = 0.0, []
    for pause_s, length_s, shares in given:
        stretches.append((at + pause_s, at + pause_s + length_s, shares))
        at += pause_s + length_s
    found = pick_chains(stretches, length, at_least)
    assert all(a.score >= b.score for a, b in pairwise(found))
    for i, each in enumerate(found):
        assert each.score >= round(at_least, 3) - 1e-9
        inside = [s for s in stretches if each.start <= s[0] and s[1] <= each.end]
        assert len(inside) >= length
        assert all(each.end <= o.start or each.start >= o.end for o in found[:i])
    if length == 1:
        assert len(found) == sum(shares[0] >= at_least for _, _, shares in stretches)


@pytest.mark.parametrize("text", ["", "x", "nan", "1.1", "-0.1"])
def test_a_score_is_a_number_from_0_to_1(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="0 to 1"):
        _share(text)
    assert _share("0.25") == 0.25
