"""A digit for how loud a sound was."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_alm.models.projector_file import (
    FULL_SCALE_DB,
    HOP_LEVELS,
    LEVEL_MIDDLE_DB,
    LEVEL_SCALE_DB,
)
from edge_alm.reasoning.loudness import KEPT_S, QUIETEST_DBFS, STEP_DB, SoundLevels
from edge_alm.types import Sound

HOP_S = 0.48


def features(*dbfs: float) -> np.ndarray:
    """Hops whose levels are all the same, behind an embedding that must not matter."""
    level = (np.array(dbfs)[:, None] + FULL_SCALE_DB - LEVEL_MIDDLE_DB) / LEVEL_SCALE_DB
    levels = np.repeat(level, HOP_LEVELS, axis=1)
    return np.concatenate([np.full((len(dbfs), 3), 99.0), levels], axis=1).astype(np.float32)


def sound(start: float, end: float | None) -> Sound:
    return Sound("Bell", start, end, 0.9, "start" if end is None else "end")


@settings(deadline=None)
@given(dbfs=st.floats(-120.0, 20.0))
def test_a_step_is_five_decibels_and_stays_one_digit(dbfs: float) -> None:
    levels = SoundLevels()
    levels.put(features(dbfs), 0.0, HOP_S)
    step = levels.step(sound(0.0, HOP_S))
    assert step is not None
    assert 0 <= step <= 9
    nearest = (dbfs - QUIETEST_DBFS) / STEP_DB
    assert abs(step - min(max(nearest, 0.0), 9.0)) <= 0.51


@settings(deadline=None)
@given(cut=st.integers(1, 9), levels_dbfs=st.lists(st.floats(-60, 0), min_size=10, max_size=10))
def test_it_is_that_of_the_loudest_hop_within_the_sound(cut: int, levels_dbfs: list[float]) -> None:
    whole, parts = SoundLevels(), SoundLevels()
    whole.put(features(*levels_dbfs), 0.0, 10 * HOP_S)
    parts.put(features(*levels_dbfs[:cut]), 0.0, cut * HOP_S)
    parts.put(features(*levels_dbfs[cut:]), cut * HOP_S, 10 * HOP_S)
    alone = SoundLevels()
    alone.put(features(max(levels_dbfs[3:6])), 0.0, HOP_S)
    inside = sound(3 * HOP_S + 0.01, 6 * HOP_S - 0.01)
    expected = alone.step(sound(0.0, HOP_S))
    assert whole.step(inside) == parts.step(inside) == expected


def test_one_that_goes_on_is_as_loud_as_it_was_by_now() -> None:
    levels = SoundLevels()
    levels.put(features(-40.0, -10.0), 0.0, 2 * HOP_S)
    assert levels.step(sound(0.0, None), HOP_S) == 2
    assert levels.step(sound(0.0, None)) == 8


def test_nothing_is_told_of_a_time_without_hops() -> None:
    levels = SoundLevels()
    assert levels.step(sound(0.0, 1.0)) is None
    levels.put(features(-10.0), 5.0, 5.0 + HOP_S)
    assert levels.step(sound(0.0, 1.0)) is None
    assert levels.step(sound(5.0, 6.0)) == 8
    levels.put(features(-10.0), 6.0 + KEPT_S, 6.0 + KEPT_S + HOP_S)
    assert levels.step(sound(5.0, 6.0)) is None
    levels.reset()
    assert levels.step(sound(6.0 + KEPT_S, 7.0 + KEPT_S)) is None


def test_several_hops_share_their_span() -> None:
    levels = SoundLevels()
    levels.put(features(-40.0, -10.0), 0.0, 2 * HOP_S)
    assert levels.step(sound(0.0, HOP_S - 0.01)) == pytest.approx(2)
