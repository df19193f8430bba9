"""Captions in several wordings: the right ones are true and the wrong ones are not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import LABELS

from export.captions import (
    HELD_OUT,
    NEGATIVES,
    PARAPHRASES,
    THEN,
    WORDINGS,
    Wording,
    caption,
    other_names,
    rename,
)
from export.scenes import Placed, Recipe, imagine

PARTS = st.lists(st.sampled_from(("a", "b", "c", "d")), min_size=2, max_size=4, unique=True)


def parts_of(text: str) -> list[str]:
    """In order of time, read back from any wording of training; labels have no joint in them."""
    for wording in sorted(WORDINGS, key=lambda each: (-len(each.opening), -len(each.joint))):
        if wording.joint in text and text.startswith(wording.opening):
            parts = text.removeprefix(wording.opening).split(wording.joint)
            return parts[::-1] if wording.backwards else parts
    return [text]


def shown(timeline: tuple[Placed, ...]) -> set[str]:
    return {placed.label for placed in timeline}


@settings(deadline=None)
@given(PARTS, st.sampled_from((*WORDINGS, *HELD_OUT)))
def test_a_wording_names_every_part_and_tells_the_order(parts: list[str], wording: Wording) -> None:
    text = wording(parts)
    assert all(f" {part} " in f" {text.replace(',', ' ')} " for part in parts)
    assert text != wording(parts[::-1])
    assert wording(parts[:1]) == parts[0]


def test_no_wording_of_the_training_is_held_out() -> None:
    assert not {w.joint for w in WORDINGS} & {w.joint for w in HELD_OUT}


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_the_right_captions_are_true_and_the_wrong_ones_are_not(seed: int) -> None:
    rng = np.random.default_rng(seed)
    recipe = Recipe(events=(0, 1, 2, 1), speech=0.0, near_far=float(rng.random() < 0.3))
    timeline, _ = imagine(rng, LABELS, recipe)
    found = caption(rng, timeline, LABELS)
    if found is None:
        assert len(shown(timeline)) > 1
        return
    assert len(found.right) == PARAPHRASES
    assert len(found.wrong) == len(found.absent) == NEGATIVES
    names = {name: label for label in LABELS for name in (label, *other_names(label))}

    def plain(text: str) -> list[str]:
        """Attributes and labels in order of time."""
        told = []
        for part in parts_of(text):
            first, _, rest = part.partition(" ")
            told.append(f"{first} {names[rest]}" if rest in names else names[part])
        return told

    true = found.plain.split(THEN)
    assert all(plain(text) == true for text in found.right)
    assert all(plain(text) != true for text in found.wrong)
    assert names[found.part] in shown(timeline)
    assert not {names[text] for text in found.absent} & shown(timeline)
    if len(shown(timeline)) > 1:  # the same words in another composition
        words = sorted(" ".join(true).split())
        assert all(sorted(" ".join(plain(text)).split()) == words for text in found.wrong)


@settings(deadline=None)
@given(st.sampled_from(("dog bark", "loud dog bark", "laughter")), st.integers(0, 2**32))
def test_the_last_name_is_held_out(part: str, seed: int) -> None:
    label = part.removeprefix("loud ")
    names = other_names(label)
    assert len(names) > 1
    assert label not in names
    told = rename(np.random.default_rng(seed), part)
    assert told.startswith("loud ") == part.startswith("loud ")
    assert told.removeprefix("loud ") in (label, *names[:-1])


@pytest.mark.parametrize("label", ["a sound nobody has a name for", "loud"])
def test_a_sound_without_other_names_keeps_its_own(label: str) -> None:
    assert other_names(label) == ()
    assert rename(np.random.default_rng(0), label) == label
