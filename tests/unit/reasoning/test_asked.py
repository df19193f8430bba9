"""The phrases of a question."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_alm.reasoning.asked import COMMON, LENGTH, LOUDNESS, MAX_PHRASES, asked_phrases, asks_for
from export.wordings import WORDINGS

ONE, OTHER, LIST = "wooden door", "rain", ("rain", "wooden door", "dog bark")


@pytest.mark.parametrize(
    ("form", "wording"), [(form, text) for form, texts in WORDINGS.items() for text in texts]
)
def test_a_question_asks_about_the_sounds_it_names_and_no_others(form: str, wording: str) -> None:
    filled = {"{x}": [ONE], "{y}": [OTHER], "{list}": list(LIST), "{words}": ["turn left"]}
    question, expected = wording, []
    for place, phrases in filled.items():
        if place in wording:
            question = question.replace(place, ", ".join(phrases))
            expected += phrases
    chosen, words = asked_phrases(question)
    assert chosen == []
    assert sorted(words) == sorted(expected)


@pytest.mark.parametrize(
    ("form", "wording"), [(form, text) for form, texts in WORDINGS.items() for text in texts]
)
def test_a_question_asks_how_loud_or_how_long_where_it_does(form: str, wording: str) -> None:
    assert asks_for(LOUDNESS, wording) == (form in ("loudest", "quietest"))
    assert asks_for(LENGTH, wording) == (form in ("longest", "shortest"))


def test_choices_ask_too_and_parts_of_words_do_not() -> None:
    assert asks_for(LOUDNESS, "Which fits?", ["a loud dog", "rain"])
    assert not asks_for(LOUDNESS, "A cloud?", ["loudspeaker"])
    assert asks_for(LENGTH, "Was it SHORT?")
    assert asks_for(LOUDNESS, "Who makes less noise?")
    assert not asks_for(LOUDNESS, "Most of all, which noise was it?")


def test_choices_are_taken_apart_where_they_tell_an_order() -> None:
    choices = ["dog bark, then rain", "rain, then dog bark", "loud whistle, then quiet rain"]
    assert asked_phrases("In what order?", choices) == (["dog bark", "rain", "whistle"], [])


@pytest.mark.parametrize("choice", ["yes", "no", "3", "3.5", "the first", "nothing", "middle", "?"])
def test_a_choice_that_names_no_sound_has_no_phrase(choice: str) -> None:
    assert asked_phrases("Which?", [choice]) == ([], [])


def test_a_name_keeps_its_small_words() -> None:
    assert asked_phrases("Which?", ["footsteps on gravel"])[0] == ["footsteps on gravel"]


@given(question=st.text(max_size=500), choices=st.lists(st.text(max_size=50), max_size=40))
def test_phrases_are_few_and_different_and_say_something(question: str, choices: list[str]) -> None:
    chosen, words = asked_phrases(question, choices)
    phrases = [*chosen, *words]
    assert len(phrases) == len(set(phrases)) <= MAX_PHRASES
    assert not any(phrase in COMMON for phrase in phrases)
