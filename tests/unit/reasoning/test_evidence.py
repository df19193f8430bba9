"""What stretches alone tell of the choices of a question."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_alm.reasoning.evidence import Floats, Spans, weigh
from edge_alm.reasoning.inquiry import Aspect, Inquiry

NAMES = ("dog", "rain", "bell", "door")
ABSENT = "horse"


@dataclass(frozen=True, slots=True)
class Sound:
    name: str
    start_s: float
    end_s: float
    loudness: float = 5.0
    recording: int = 0


def scene(*sounds: Sound) -> Spans:
    return Spans(
        np.array([s.start_s for s in sounds]),
        np.array([s.end_s for s in sounds]),
        np.array([s.loudness for s in sounds]),
        np.array([s.recording for s in sounds], np.int64),
    )


def fits(sounds: tuple[Sound, ...], phrases: tuple[str, ...]) -> Floats:
    """Scores of one who hears everything rightly."""
    return np.array([[float(s.name == phrase) for phrase in phrases] for s in sounds])


def choose(inquiry: Inquiry, *sounds: Sound, until_s: float = 100.0) -> int | None:
    """The number of the likeliest choice."""
    scores = fits(sounds, (*inquiry.sounds, *inquiry.others))
    found = weigh(inquiry, scene(*sounds), scores, until_s)
    if found is None:
        return None
    assert np.exp(found).sum() == pytest.approx(1.0)
    return int(np.argmax(found))


@st.composite
def lives(draw: st.DrawFn) -> tuple[Sound, ...]:
    """Four sounds that differ in length and loudness and do not overlap, in any order."""
    names = draw(st.permutations(NAMES))
    lengths = draw(st.permutations((1.0, 2.0, 4.0, 8.0)))
    steps = draw(st.permutations((1.0, 3.0, 5.0, 7.0)))
    starts = np.cumsum([1.0, *(length + 1.0 for length in lengths)])
    made = [
        Sound(name, start, start + length, step)
        for name, start, length, step in zip(names, starts, lengths, steps, strict=False)
    ]
    return tuple(draw(st.permutations(made)))


RIGHT: dict[Aspect, Callable[[tuple[Sound, ...]], Sound]] = {
    Aspect.FIRST: lambda sounds: min(sounds, key=lambda s: s.start_s),
    Aspect.LAST: lambda sounds: max(sounds, key=lambda s: s.end_s),
    Aspect.LONGEST: lambda sounds: max(sounds, key=lambda s: s.end_s - s.start_s),
    Aspect.SHORTEST: lambda sounds: min(sounds, key=lambda s: s.end_s - s.start_s),
    Aspect.LOUDEST: lambda sounds: max(sounds, key=lambda s: s.loudness),
    Aspect.QUIETEST: lambda sounds: min(sounds, key=lambda s: s.loudness),
}


@pytest.mark.parametrize("aspect", RIGHT)
@given(sounds=lives(), data=st.data())
@settings(max_examples=20, deadline=None)
def test_who_hears_rightly_answers_rightly(
    aspect: Aspect, sounds: tuple[Sound, ...], data: st.DataObject
) -> None:
    choices = tuple(data.draw(st.permutations((*NAMES, ABSENT))))
    chosen = choose(Inquiry(aspect, choices), *sounds)
    assert chosen is not None
    assert choices[chosen] == RIGHT[aspect](sounds).name


@given(sounds=lives())
@settings(max_examples=20, deadline=None)
def test_neighbours_are_found(sounds: tuple[Sound, ...]) -> None:
    in_order = sorted(sounds, key=lambda s: s.start_s)
    names = [s.name for s in in_order]
    for place in (1, 2):
        others = tuple(name for name in NAMES if name != names[place])
        for aspect, beside in ((Aspect.BEFORE, place - 1), (Aspect.AFTER, place + 1)):
            found = choose(Inquiry(aspect, others, (names[place],)), *sounds)
            assert found is not None
            assert others[found] == names[beside]
    for ends in ((names[0], names[2]), (names[2], names[0])):
        found = choose(Inquiry(Aspect.BETWEEN, (names[3], names[1], ABSENT), ends), *sounds)
        assert found == 1


@given(sounds=lives())
@settings(max_examples=20, deadline=None)
def test_of_two_sounds_one_is_earlier(sounds: tuple[Sound, ...]) -> None:
    one, other = sorted(sounds[:2], key=lambda s: s.start_s)
    for answers in ((1.0, 0.0), (0.0, 1.0)):
        right = Inquiry(Aspect.EARLIER, (), (one.name, other.name), answers)
        wrong = Inquiry(Aspect.EARLIER, (), (other.name, one.name), answers)
        assert choose(right, *sounds) == answers.index(1.0)
        assert choose(wrong, *sounds) == answers.index(0.0)


def test_what_was_heard_and_what_was_not() -> None:
    sounds = (Sound("dog", 1.0, 2.0), Sound("rain", 3.0, 9.0))
    assert choose(Inquiry(Aspect.HEARD, ("bell", "rain", "door")), *sounds) == 1
    assert choose(Inquiry(Aspect.MISSING, ("dog", "bell", "rain")), *sounds) == 1


def test_the_recording_that_has_it() -> None:
    sounds = (Sound("dog", 1.0, 2.0), Sound("rain", 3.0, 9.0, recording=1))
    assert choose(Inquiry(Aspect.RECORDING, (), ("rain",), (0.0, 1.0)), *sounds) == 1
    assert choose(Inquiry(Aspect.RECORDING, (), ("rain",), (1.0, 0.0)), *sounds) == 0


def test_the_part_that_it_is_in() -> None:
    parts = (5 / 6, 1 / 6, 1 / 2)
    for start_s, right in ((5.0, 1), (45.0, 2), (90.0, 0)):
        sounds = (Sound("rain", 20.0, 60.0), Sound("dog", start_s, start_s + 5.0))
        assert choose(Inquiry(Aspect.WHERE, (), ("dog",), parts), *sounds) == right


def test_a_part_of_a_stretch_is_no_shorter_sound() -> None:
    sounds = (Sound("rain", 1.0, 9.0), Sound("rain", 2.0, 2.5), Sound("dog", 10.0, 12.0))
    assert choose(Inquiry(Aspect.SHORTEST, ("rain", "dog")), *sounds) == 1


def test_repeats_are_as_long_as_all_of_them() -> None:
    sounds = (*(Sound("dog", at, at + 1.0) for at in (1.0, 4.0, 7.0)), Sound("rain", 10.0, 12.0))
    assert choose(Inquiry(Aspect.LONGEST, ("rain", "dog")), *sounds) == 1


def test_a_sound_of_unknown_loudness_is_of_the_middle() -> None:
    sounds = (Sound("dog", 1.0, 2.0, np.nan), Sound("rain", 3.0, 9.0, 7.0))
    assert choose(Inquiry(Aspect.LOUDEST, ("dog", "rain")), *sounds) == 1
    assert choose(Inquiry(Aspect.QUIETEST, ("dog", "rain")), *sounds) == 0


def test_a_long_recording_without_them_does_not_add_up_to_them() -> None:
    """What fits a thousand stretches badly was not heard in one of them."""
    noise = [Sound("noise", float(at), at + 0.5) for at in range(0, 1000, 2)]
    sounds = (*noise, Sound("rain", 1001.0, 1004.0))
    inquiry = Inquiry(Aspect.FIRST, ("dog", "rain"))
    scores = fits(sounds, inquiry.sounds)
    scores[: len(noise), 0] = 0.0
    found = weigh(inquiry, scene(*sounds), scores, 1004.0)
    assert found is not None
    assert found[1] > found[0]


def test_where_nothing_tells_nothing_is_said() -> None:
    assert choose(Inquiry(Aspect.HEARD, ("dog", "rain"))) is None
    assert choose(Inquiry(Aspect.FIRST, ("dog", "rain")), Sound("noise", 1.0, 2.0)) is None
    rain, dog = Sound("rain", 1.0, 2.0), Sound("dog", 3.0, 4.0)
    beside_nothing = Inquiry(Aspect.AFTER, ("dog", "rain"), (ABSENT,))
    scores = np.array([[0.0, 1.0, -1.0], [1.0, 0.0, -1.0]])
    assert weigh(beside_nothing, scene(rain, dog), scores, 9.0) is None


@given(sounds=lives(), seed=st.integers(0, 999), aspect=st.sampled_from(list(RIGHT)))
@settings(max_examples=20, deadline=None)
def test_neither_the_order_of_choices_nor_that_of_stretches_counts(
    sounds: tuple[Sound, ...], seed: int, aspect: Aspect
) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.uniform(-0.5, 1.2, (len(sounds), len(NAMES)))
    first = weigh(Inquiry(aspect, NAMES), scene(*sounds), scores, 100.0)
    if first is None:
        return
    rows, columns = rng.permutation(len(sounds)), rng.permutation(len(NAMES))
    other = weigh(
        Inquiry(aspect, tuple(NAMES[i] for i in columns)),
        scene(*(sounds[i] for i in rows)),
        scores[rows][:, columns],
        100.0,
    )
    assert other is not None
    np.testing.assert_allclose(other, first[columns])
