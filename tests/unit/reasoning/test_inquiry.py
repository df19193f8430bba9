"""What a question wants of the sounds it is about."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_alm.reasoning.inquiry import Aspect, inquire
from export.wordings import WORDINGS

ONE, OTHER = "wooden door", "rain"
CHOICES = ("dog bark", "bell", "horse")
ASPECTS = {
    "which": Aspect.HEARD,
    "among": Aspect.HEARD,
    "absent": Aspect.MISSING,
    **{
        aspect.value: aspect
        for aspect in Aspect
        if aspect not in (Aspect.HEARD, Aspect.MISSING, Aspect.EARLIER)
    },
}


def put(wording: str) -> str:
    for place, text in (("{x}", ONE), ("{y}", OTHER), ("{list}", ", ".join(CHOICES))):
        wording = wording.replace(place, text)
    return wording


@pytest.mark.parametrize(
    ("form", "wording"),
    [
        (form, text)
        for form in ASPECTS
        if form not in ("recording", "where")
        for text in WORDINGS[form]
    ],
)
def test_choices_that_are_sounds_are_compared_as_it_is_asked(form: str, wording: str) -> None:
    found = inquire(put(wording), CHOICES)
    assert found is not None
    assert found.aspect is ASPECTS[form]
    assert found.sounds == CHOICES
    named = [text for place, text in (("{x}", ONE), ("{y}", OTHER)) if place in wording]
    assert sorted(found.others) == sorted(named)


@pytest.mark.parametrize("wording", WORDINGS["recording"])
def test_recordings_are_told_by_their_place(wording: str) -> None:
    found = inquire(put(wording), ["the second", "the first"])
    assert found is not None
    assert (found.aspect, found.others, found.values) == (Aspect.RECORDING, (ONE,), (1.0, 0.0))


@pytest.mark.parametrize("wording", WORDINGS["where"])
def test_parts_are_told_by_their_middle(wording: str) -> None:
    found = inquire(put(wording), ["end", "the beginning", "in the middle"])
    assert found is not None
    assert (found.aspect, found.others) == (Aspect.WHERE, (ONE,))
    assert found.values == (5 / 6, 1 / 6, 1 / 2)


@pytest.mark.parametrize("wording", WORDINGS["relation"])
def test_yes_means_that_x_came_before_y(wording: str) -> None:
    found = inquire(put(wording), ["no", "yes"])
    assert found is not None
    assert (found.aspect, found.others, found.values) == (Aspect.EARLIER, (ONE, OTHER), (0.0, 1.0))


@pytest.mark.parametrize(
    ("question", "others"),
    [
        ("Did rain follow the wooden door?", (ONE, OTHER)),
        ("Was the wooden door preceded by rain?", (OTHER, ONE)),
        ("Has the wooden door preceded the rain?", (ONE, OTHER)),
        ("Was the wooden door there, and then rain?", (ONE, OTHER)),
    ],
)
def test_either_may_be_named_first(question: str, others: tuple[str, str]) -> None:
    found = inquire(question, ["yes", "no"])
    assert found is not None
    assert found.others == others


@pytest.mark.parametrize(
    ("question", "choices"),
    [
        ("What came right after somebody spoke?", CHOICES),
        ('What followed "turn left", when it was said?', CHOICES),
        ("Which came first?", ("a voice", "rain")),
        ("What came after that?", CHOICES),
        ("What was right before it?", CHOICES),
        ("What came next?", CHOICES),
        ("How often was there rain?", ("1", "2")),
        ("Was there any rain?", ("yes", "no")),
        ("When did rain begin?", ("1.0", "2.5")),
        ("In which order were they heard?", ("rain, then bell", "bell, then rain")),
        ("What do you hear?", ("nothing", "rain")),
        ("Which recording has more sounds?", ("the first", "the second")),
        ("Which recording has no rain?", ("the first", "the second")),
        ("Is this right?", ("yes", "no")),
    ],
)
def test_what_sounds_alone_do_not_tell_is_left_alone(
    question: str, choices: tuple[str, ...]
) -> None:
    assert inquire(question, choices) is None


def test_how_often_something_was_heard_says_nothing_of_its_place() -> None:
    found = inquire("Which sound was heard only once?", CHOICES)
    assert found is not None
    assert found.aspect is Aspect.HEARD


@pytest.mark.parametrize(
    ("question", "aspect"),
    [
        ("Which came first, the dog bark, the bell or the horse?", Aspect.FIRST),
        ("Which is longer: dog bark, bell or horse?", Aspect.LONGEST),
        ("Which of dog bark, bell and horse didn't you hear?", Aspect.MISSING),
    ],
)
def test_choices_that_the_question_lists_are_no_other_sounds(question: str, aspect: Aspect) -> None:
    found = inquire(question, CHOICES)
    assert found is not None
    assert (found.aspect, found.others) == (aspect, ())


def test_a_choice_may_be_what_another_stands_beside() -> None:
    found = inquire("What came after the rain?", ["rain", "bell", "dog bark"])
    assert found is not None
    assert (found.aspect, found.others) == (Aspect.AFTER, (OTHER,))


def test_a_sound_in_several_words_is_one() -> None:
    found = inquire("What was followed by footsteps on gravel?", CHOICES)
    assert found is not None
    assert (found.aspect, found.others) == (Aspect.BEFORE, ("footsteps gravel",))


WORDS = """
what came before after the dog rain first not was by followed preceded longest between and end yes
no said
"""
texts = st.one_of(
    st.text(max_size=40),
    st.lists(st.sampled_from(WORDS.split()), max_size=9).map(" ".join),
)


@given(texts, st.lists(texts, min_size=2, max_size=5, unique=True))
def test_any_question_is_taken_apart_or_left_alone(question: str, choices: list[str]) -> None:
    found = inquire(question, choices)
    if found is None:
        return
    assert len(found.sounds or found.values) == len(choices)
    assert not (found.sounds and found.values)
    beside = {Aspect.BEFORE: 1, Aspect.AFTER: 1, Aspect.BETWEEN: 2, Aspect.EARLIER: 2}
    at = {Aspect.RECORDING: 1, Aspect.WHERE: 1}
    assert len(found.others) == (beside | at).get(found.aspect, 0)
    assert all(found.others)
