"""Stretches of a scene compared with the phrases of a question."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phrase_files import write_phrases

from edge_alm.models.projector_file import HOP_LEVELS
from edge_alm.reasoning.phrases import Phrases
from edge_alm.reasoning.stretches import DOUBTS, KEPT_S, MAX_MATCHES, MAX_STRETCHES, Stretches

HOP_S = 0.48
DOG, RAIN, BELL = np.eye(3, dtype=np.float32)


@pytest.fixture(scope="module")
def phrases(tmp_path_factory: pytest.TempPathFactory) -> Phrases:
    folder: Path = tmp_path_factory.mktemp("phrases")
    return Phrases(write_phrases(folder / "phrases.npz"))


def hear(
    stretches: Stretches,
    unit: np.ndarray,
    start_s: float,
    hops: int = 2,
    loudness: int | None = None,
) -> None:
    """A sound of some hops, told when it is over."""
    features = np.concatenate((np.tile(unit, (hops, 1)), np.full((hops, HOP_LEVELS), 9.0)), axis=1)
    stretches.put(features.astype(np.float32), start_s, start_s + hops * HOP_S)
    stretches.tell(start_s, start_s + hops * HOP_S, loudness)


def test_each_stretch_tells_the_choice_it_is_most_like(phrases: Phrases) -> None:
    stretches = Stretches(phrases)
    for unit, start_s in ((RAIN, 1.0), (RAIN, 2.96), (DOG, 14.0)):
        hear(stretches, unit, start_s)
    (line,) = stretches.lines("Which came first?", ["rain", "dog"])
    assert line == "[like rain 1, 3, dog 14]\n"


def test_where_nothing_is_asked_about_nothing_is_read(phrases: Phrases) -> None:
    stretches = Stretches(phrases)
    hear(stretches, BELL, 1.0)
    assert stretches.lines("What was that?") == []
    assert stretches.lines("Was there anything?", ["yes", "no"]) == []


def test_a_phrase_that_fits_nothing_is_told_as_a_choice_alone(phrases: Phrases) -> None:
    stretches = Stretches(phrases)
    hear(stretches, DOG, 1.0)
    assert stretches.lines("Was there any rain?", ["yes", "no"]) == []
    (line,) = stretches.lines("Which was it?", ["rain", "door"])
    assert re.fullmatch(r"\[like (rain|door) 1\?{5}\]\n", line)


def test_the_surer_the_fewer_marks_of_doubt(phrases: Phrases) -> None:
    marks = []
    for share in (1.0, 0.5, 0.3, 0.0):
        stretches = Stretches(phrases)
        hear(stretches, (share * DOG + (1 - share) * RAIN).astype(np.float32), 1.0)
        lines = stretches.lines("Was there a dog?", ["yes", "no"])
        marks.append(lines[0].count("?") if lines else len(DOUBTS))
    assert marks == sorted(marks)
    assert marks[0] == 0
    assert marks[-1] == len(DOUBTS)


def test_two_that_fit_as_well_are_both_told(phrases: Phrases) -> None:
    stretches = Stretches(phrases)
    hear(stretches, ((DOG + RAIN) / 2).astype(np.float32), 1.0)
    (line,) = stretches.lines("Which?", ["dog", "rain", "bell"])
    assert re.fullmatch(r"\[like (dog|rain) 1(\?*), (dog|rain) 1\2\]\n", line)


def test_two_names_for_one_stretch_are_one(phrases: Phrases) -> None:
    stretches = Stretches(phrases)
    hear(stretches, DOG, 1.0)
    stretches.tell(1.1, 1.9)
    assert stretches.lines("Which?", ["rain", "dog"]) == ["[like dog 1]\n"]
    stretches.tell(1.1, 1.9)  # also once the first has been taken in
    assert stretches.lines("Which?", ["rain", "dog"]) == ["[like dog 1]\n"]


def test_the_best_matches_are_told_in_order_of_time(phrases: Phrases) -> None:
    stretches = Stretches(phrases)
    for i in range(3 * MAX_MATCHES):
        hear(stretches, RAIN if i % 3 else DOG, 3.0 * i)
    (line,) = stretches.lines("Where was it?", ["dog"])
    told = ", ".join(str(9 * i) for i in range(MAX_MATCHES))
    assert line == f"[like dog {told}]\n"


def test_recordings_are_told_apart_and_a_new_clock_begins(phrases: Phrases) -> None:
    stretches = Stretches(phrases)
    for name, unit in (("a.wav", DOG), ("b.wav", RAIN)):
        stretches.begin_recording(name)
        stretches.begin_stream()
        hear(stretches, unit, 1.0)
    lines = stretches.lines("Which?", ["rain", "dog"])
    assert lines == [
        "Recording a.wav:\n", "[like dog 1]\n", "Recording b.wav:\n", "[like rain 1]\n",
    ]  # fmt: skip


def test_what_was_over_by_a_time_and_earlier_streams_are_left_out(phrases: Phrases) -> None:
    stretches = Stretches(phrases)
    hear(stretches, DOG, 9.0)
    stretches.begin_stream()
    hear(stretches, DOG, 1.0)
    hear(stretches, RAIN, 5.0)
    assert stretches.lines("Which?", ["rain", "dog"]) == ["[like dog 9, 1, rain 5]\n"]
    assert stretches.lines("Which?", ["rain", "dog"], since_s=3.0) == ["[like rain 5]\n"]


def test_a_sound_that_goes_on_is_compared_too_and_not_kept(phrases: Phrases) -> None:
    stretches = Stretches(phrases)
    hear(stretches, DOG, 1.0)
    stretches.put(np.full((4, 3 + HOP_LEVELS), 1.0, np.float32) * [*RAIN, 0, 0, 0, 0], 5.0, 6.92)
    question = "Which?", ["rain", "dog"]
    assert stretches.lines(*question, [(5.0, math.inf, None)]) == ["[like dog 1, rain 5]\n"]
    assert stretches.lines(*question) == ["[like dog 1]\n"]


def test_how_loud_and_how_long_it_was_is_told_where_that_is_asked(phrases: Phrases) -> None:
    stretches = Stretches(phrases)
    hear(stretches, DOG, 1.0, loudness=7)
    hear(stretches, RAIN, 5.0, hops=5)
    choices = ["rain", "dog"]
    asked = {
        "Which was it?": "[like dog 1, rain 5]\n",
        "Which was the loudest?": "[like dog 1 L7, rain 5]\n",
        "Which was the longest?": "[like dog 1 1.0s, rain 5 2.4s]\n",
        "Which loud one lasted?": "[like dog 1 L7 1.0s, rain 5 2.4s]\n",
    }
    assert {question: "".join(stretches.lines(question, choices)) for question in asked} == asked
    (line,) = stretches.lines("Which fits?", ["a loud dog", "a quiet rain"])
    assert line == "[like dog 1 L7, rain 5]\n"


def test_the_length_of_what_goes_on_is_told_where_the_time_is_known(phrases: Phrases) -> None:
    stretches = Stretches(phrases)
    hear(stretches, DOG, 1.0)
    question = "Which was the longest and loudest?", ["rain", "dog"]
    for until_s, told in ((math.inf, "L4"), (3.5, "L4 2.5s")):
        lines = stretches.lines(*question, [(1.0, until_s, 4)])
        assert lines == [f"[like dog 1 1.0s, 1 {told}]\n"]


def test_a_span_of_which_no_hop_is_known_is_not_told(phrases: Phrases) -> None:
    stretches = Stretches(phrases)
    stretches.tell(1.0, 2.0)
    assert stretches.lines("Which?", ["rain", "dog"]) == []


def test_reset_forgets(phrases: Phrases) -> None:
    stretches = Stretches(phrases)
    hear(stretches, DOG, 1.0)
    stretches.reset()
    assert stretches.lines("Which?", ["rain", "dog"]) == []


@settings(deadline=None, max_examples=30)
@given(starts=st.lists(st.integers(0, 400), min_size=1, max_size=30, unique=True))
def test_asking_between_changes_nothing(phrases: Phrases, starts: list[int]) -> None:
    once, often = Stretches(phrases), Stretches(phrases)
    for i, at in enumerate(sorted(starts)):
        unit = (DOG, RAIN, BELL)[i % 3]
        for stretches in (once, often):
            hear(stretches, unit, 3.0 * at)
        often.lines("Which?", ["rain", "dog"])
    question = "Which?", ["rain", "dog"]
    assert once.lines(*question) == often.lines(*question)
    (line,) = once.lines(*question)
    assert len(re.findall(r"\d+", line)) <= MAX_MATCHES


def test_hops_of_long_ago_are_forgotten(phrases: Phrases) -> None:
    stretches = Stretches(phrases)
    hear(stretches, DOG, 0.0, hops=1)
    for i in range(1000):
        hear(stretches, RAIN, 10.0 * i + 10.0, hops=1)
    assert len(stretches._hops) <= KEPT_S / HOP_S
    assert len(stretches._over) == MAX_STRETCHES


def test_choices_are_weighed_by_what_was_heard(phrases: Phrases) -> None:
    stretches = Stretches(phrases)
    for unit, start_s, hops, loudness in ((RAIN, 1.0, 6, 3), (DOG, 5.0, 2, 8), (BELL, 8.0, 1, 5)):
        hear(stretches, unit, start_s, hops, loudness)
    for question, right in (
        ("Which came first?", "rain"),
        ("Which came last?", "bell"),
        ("Which was the loudest?", "dog"),
        ("Which was the shortest?", "bell"),
        ("What came right before the bell?", "dog"),
    ):
        choices = [each for each in ("dog", "rain", "bell") if each not in question]
        found = stretches.weigh(question, choices)
        assert found is not None
        assert choices[int(np.argmax(found))] == right


def test_what_goes_on_has_lasted_until_now(phrases: Phrases) -> None:
    stretches = Stretches(phrases)
    hear(stretches, RAIN, 1.0, hops=4)
    features = np.concatenate((np.tile(DOG, (9, 1)), np.full((9, HOP_LEVELS), 9.0)), axis=1)
    stretches.put(features.astype(np.float32), 5.0, 5.0 + 9 * HOP_S)
    choices = ["dog", "rain"]
    found = stretches.weigh("Which lasted longest?", choices, [(5.0, math.inf, None)])
    assert found is not None
    assert choices[int(np.argmax(found))] == "dog"


def test_recordings_are_told_apart_and_a_part_wants_one_clock(phrases: Phrases) -> None:
    stretches = Stretches(phrases)
    places, parts = ["the second", "the first"], ["beginning", "end"]
    for name, unit in (("a.wav", RAIN), ("b.wav", DOG)):
        stretches.begin_recording(name)
        stretches.begin_stream()
        hear(stretches, unit, 8.0)
        if name == "a.wav":
            assert stretches.weigh("Which recording has the rain?", places) is None
    for sound, right in (("rain", "the first"), ("dog", "the second")):
        found = stretches.weigh(f"Which recording has the {sound}?", places)
        assert found is not None
        assert places[int(np.argmax(found))] == right
    found = stretches.weigh("In which part was the dog?", parts, now_s=10.0)
    assert found is not None
    assert parts[int(np.argmax(found))] == "end"
    assert stretches.weigh("In which part was the dog?", parts) is None
