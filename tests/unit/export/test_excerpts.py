"""What a text-audio space learns from: excerpts whose captions are true of their hops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import HOP_S, LABELS, WIDTH, make_recording

from edge_alm.errors import UsageError
from export.captions import THEN
from export.excerpts import Excerpt, Excerpts, hops_of, join, singles, wholes
from export.pairs import GAP_S
from export.recordings import Recording
from export.scenes import SPEECH, Placed
from export.trees import Item

SEEDS = st.integers(0, 2**32)


def is_mark(item: Item) -> bool:
    return isinstance(item, str) and item.count(" ") == 0


def heard(excerpt: Excerpt) -> list[str]:
    """What each hop tells, without repeats: a toy's label has its own unit."""
    units = excerpt.hops[:, : len(LABELS)].argmax(1)
    return [LABELS[int(u)] for i, u in enumerate(units) if not i or u != units[i - 1]]


@settings(deadline=None)
@given(SEEDS)
def test_the_hops_keep_their_order_and_times(seed: int) -> None:
    recording = make_recording(np.random.default_rng(seed))
    hops, ends_s = hops_of(recording)
    assert hops.shape == (recording.hops, WIDTH)
    assert ends_s.shape == (recording.hops,)
    marks = [float(str(item).strip("[]")) for item in recording.items if is_mark(item)]
    assert set(np.round(ends_s - HOP_S, 6)) >= set(np.round(marks, 6))
    items = [item for item in recording.items if not isinstance(item, str)]
    np.testing.assert_array_equal(hops, np.concatenate(items))


@settings(deadline=None)
@given(SEEDS)
def test_single_sounds_are_alone_and_heard(seed: int) -> None:
    rng = np.random.default_rng(seed)
    recording = make_recording(rng)
    found = singles([recording])
    assert {each.timeline[0] for each in found} <= set(recording.timeline)
    for excerpt in found:
        (placed,) = excerpt.timeline
        assert placed.label in heard(excerpt)
        others = [other for other in recording.timeline if other is not placed]
        assert all(o.end_s <= placed.start_s or o.start_s >= placed.end_s for o in others)


def test_a_sound_under_another_and_speech_are_left_out() -> None:
    timeline = [
        Placed("dog", 0.0, 3.0, -20.0),
        Placed("bell", 2.0, 4.0, -20.0),
        Placed("rain", 6.0, 8.0, -20.0),
    ]
    rng = np.random.default_rng(0)
    found = singles([make_recording(rng, timeline)])
    assert [each.timeline[0].label for each in found] == ["rain"]
    recording = make_recording(rng, timeline[2:])
    said = Recording(recording.items, (Placed(SPEECH, 6.0, 8.0, -20.0),), 8.0)
    assert singles([said]) == []
    assert wholes([said]) == []


def test_a_scene_of_one_sound_or_none_heard_is_no_composition() -> None:
    rng = np.random.default_rng(0)
    two = [Placed("dog", 0.0, 1.0, -20.0), Placed("rain", 2.0, 3.0, -20.0)]
    assert wholes([make_recording(rng, two[:1])]) == []
    assert wholes([Recording((), tuple(two), 3.0)]) == []
    (whole,) = wholes([make_recording(rng, two)])
    assert heard(whole) == ["dog", "rain"]


@settings(deadline=None)
@given(SEEDS, st.integers(1, 4))
def test_joined_sounds_follow_each_other(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    parts = singles([make_recording(rng) for _ in range(8)])[:n]
    joined = join(parts)
    np.testing.assert_array_equal(joined.hops, np.concatenate([part.hops for part in parts]))
    labels = [part.timeline[0].label for part in parts]
    assert [placed.label for placed in joined.timeline] == labels
    for before, after in zip(joined.timeline, joined.timeline[1:], strict=False):
        assert after.start_s == pytest.approx(before.end_s + GAP_S)


@settings(deadline=None, max_examples=20)
@given(SEEDS)
def test_a_batch_has_no_caption_twice_and_all_are_true(seed: int) -> None:
    rng = np.random.default_rng(seed)
    excerpts = Excerpts([make_recording(rng) for _ in range(20)])
    drawn = excerpts.draw(rng, 16)
    assert len({told.plain for _, told in drawn}) == len(drawn) > 4
    for excerpt, told in drawn:
        named = [part.split(" ")[-1] for part in told.plain.split(THEN)]
        assert named == list(dict.fromkeys(placed.label for placed in excerpt.timeline))


def test_the_same_seed_draws_the_same() -> None:
    rng = np.random.default_rng(1)
    excerpts = Excerpts([make_recording(rng) for _ in range(10)])
    one, same, other = ([told for _, told in excerpts.draw(np.random.default_rng(s), 8)]
                        for s in (3, 3, 4))  # fmt: skip
    assert one == same != other


def test_sounds_of_one_label_cannot_be_told_apart() -> None:
    timeline = [Placed("dog", 0.0, 1.0, -20.0)]
    with pytest.raises(UsageError, match="1 labels"):
        Excerpts([make_recording(np.random.default_rng(0), timeline)])
