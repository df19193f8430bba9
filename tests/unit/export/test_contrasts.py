"""Captions that differ in one thing, held against the timeline word for word."""

from __future__ import annotations

import operator
from collections.abc import Callable
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.contrasts import ATTRIBUTES, LONGER, LOUDER_DB, MOST_WRONG, contrast
from export.scenes import Placed, Recipe, imagine

LABELS = ("dog", "bell", "rain", "horn", "cat", "saw")
WORDS = {word for pair in ATTRIBUTES for word in pair}
MORE: dict[str, Callable[[Placed], float]] = {
    "loud": lambda placed: placed.level_db,
    "long": lambda placed: placed.end_s - placed.start_s,
    "near": lambda placed: float(placed.attribute == "near"),
}


def is_true(caption: str, timeline: tuple[Placed, ...]) -> bool:
    """Whether the caption says what happened: order, and which sound is more of something."""
    parts = [part.split(" ", 1) for part in caption.split(", then ")]
    heard = [label for label, _ in groupby(placed.label for placed in timeline)]
    if not all(part[0] in WORDS for part in parts):
        return caption.split(", then ") == heard
    (first, a), (second, b) = parts
    for more, less in ATTRIBUTES:
        if {first, second} == {more, less}:
            compare = operator.gt if first == more else operator.lt
            measure = MORE[more]
            return [a, b] == heard and compare(measure(timeline[0]), measure(timeline[1]))
    raise AssertionError(caption)


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_first_caption_is_true_and_no_other(seed: int) -> None:
    rng = np.random.default_rng(seed)
    near_far = float(rng.random() < 0.3)
    recipe = Recipe(events=(1, 1, 3, 2, 2), speech=0.0, near_far=near_far)
    timeline, _ = imagine(rng, LABELS, recipe)
    captions = contrast(rng, timeline)
    if captions is None:
        labels = [label for label, _ in groupby(placed.label for placed in timeline)]
        assert len(labels) < 2 or len(set(labels)) < len(labels) or len(labels) > 4
        return
    assert 2 <= len(captions) <= 1 + MOST_WRONG
    assert len(set(captions)) == len(captions)
    assert [is_true(caption, timeline) for caption in captions] == [True] + [False] * (
        len(captions) - 1
    )
    assert len({tuple(sorted(c.replace(",", "").split())) for c in captions}) == 1  # same words


def kinds(a: Placed, b: Placed, tries: int = 60) -> set[str]:
    """Which contrasts are drawn: "order", or the word for more of something."""
    rng = np.random.default_rng(0)
    found = set()
    for _ in range(tries):
        words = (contrast(rng, (a, b)) or ("",))[0].split()
        named = [more for more, less in ATTRIBUTES if {more, less} <= set(words)]
        found |= set(named) or {"order"}
    return found


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_only_clear_differences_are_told(sign: float) -> None:
    def pair(apart_db: float = 0.0, ratio: float = 1.0, far: bool = False) -> set[str]:
        a = Placed("dog", 0.0, 1.0, -20.0, "", "near" if far else "")
        b = Placed(
            "bell", 3.0, 3.0 + ratio**sign, -20.0 + sign * apart_db, "", "far" if far else ""
        )
        return kinds(a, b)

    assert pair() == {"order"}
    assert pair(apart_db=LOUDER_DB - 0.1, ratio=LONGER - 0.1) == {"order"}
    assert pair(apart_db=LOUDER_DB) == {"order", "loud"}
    assert pair(ratio=LONGER + 0.01) == {"order", "long"}
    assert pair(apart_db=LOUDER_DB, ratio=LONGER + 0.01) == {"order", "loud", "long"}
    assert pair(apart_db=LOUDER_DB, far=True) == {"order", "loud", "near"}


def test_one_label_twice_has_nothing_to_contrast() -> None:
    near = Placed("dog", 0.0, 1.0, -20.0, "", "near")
    far = Placed("dog", 2.0, 3.0, -34.0, "", "far")
    assert contrast(np.random.default_rng(0), (near, far)) is None
    assert contrast(np.random.default_rng(0), ()) is None
