"""Which of a log's lines the language model is told, and what is counted without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_alm.log import EventLog, Heard
from edge_alm.reasoning.prompts import event_line
from edge_alm.recall import BUDGET_TOKENS, choose, count, count_tokens, is_denied, recall
from edge_alm.types import Sound, Speech

SINCE = 1_800_000_000.0


def sound(label: str, start: float, count: int = 1) -> Heard:
    return Heard(label, None, count, SINCE + start, SINCE + start + 2.5)


def said(text: str, start: float, count: int = 1) -> Heard:
    return Heard("Speech", text, count, SINCE + start, SINCE + start + 2.5)


DAY = [
    sound("Knock", 100.0, 3),
    sound("Bark", 200.0, 14),
    sound("Dog", 250.0),
    sound("Vehicle", 900.0, 212),
    sound("Neigh, whinny", 300.0, 2),
    sound("Conversation", 950.0, 9),
    said("please feed the cat", 400.0),
    said("good night", 1000.0),
]


def lines(question: str, heard: list[Heard] = DAY, budget: int = BUDGET_TOKENS) -> list[str]:
    return [event_line(event) for event in choose(heard, question, SINCE, budget)]


@pytest.mark.parametrize(
    ("question", "line"),
    [
        ("did anyone knock?", "[100.0-102.5 knock, 3 times]\n"),
        ("Was someone at the door?", "[100.0-102.5 knock, 3 times]\n"),
        ("Was there a horse?", "[300.0-302.5 neigh, whinny, 2 times]\n"),
        ("Did the dog bark?", "[200.0-202.5 bark, 14 times]\n"),
        ("What was said about the cat?", '[400.0-402.5 "please feed the cat"]\n'),
        ("Did anyone say good night?", '[1000.0-1002.5 "good night"]\n'),
        ("What was said?", '[400.0-402.5 "please feed the cat"]\n'),
    ],
)
def test_what_the_question_names_is_told(question: str, line: str) -> None:
    assert line in lines(question)


def test_of_a_word_that_is_a_sound_the_sound_is_told_first() -> None:
    heard = [sound("Meow", 1.0, 7), said("please feed the cat", 5.0)]
    assert lines("Was there a cat?", heard, 0) == ["[1.0-3.5 meow, 7 times]\n"]
    assert lines("What was said of the cat?", heard, 0) == ['[5.0-7.5 "please feed the cat"]\n']


def test_what_is_told_last_is_the_newest() -> None:
    told = lines("What was heard?", budget=1_000)
    assert len(told) == len(DAY) - 1
    assert told[-1] == '[1000.0-1002.5 "good night"]\n'
    assert "conversation" not in "".join(told), "what was said is told by its words"
    assert lines("What was heard?", budget=45) == told[-2:]
    # Named, so told, and told before what came later.
    assert lines("Did anyone knock?", budget=45) == [told[0], told[-1]]


def test_where_nothing_was_transcribed_voices_are_sounds() -> None:
    assert lines("Did anyone speak?", [sound("Conversation", 950.0, 9)]) == [
        "[950.0-952.5 conversation, 9 times]\n"
    ]
    assert lines("What was said?", [sound("Conversation", 1.0), *DAY[:3]], budget=0) == [
        "[1.0-3.5 conversation]\n"
    ]
    assert lines("Did anyone speak?", [said("", 5.0, 9)]) == ["[5.0-7.5 speech, 9 times]\n"]


def test_what_began_before_is_told_from_the_beginning() -> None:
    assert lines("Did it rain?", [Heard("Rain", None, 1, SINCE - 50.0, SINCE + 9.0)]) == [
        "[0.0-9.0 rain]\n"
    ]


def test_of_nothing_nothing_is_told() -> None:
    assert choose([], "What was heard?", SINCE) == []


HEARD = st.builds(
    Heard,
    st.sampled_from(["Dog", "Knock", "Speech", "Rain", "not a label"]),
    st.none() | st.text(max_size=300),
    st.integers(1, 10_000),
    st.floats(SINCE - 1e5, SINCE + 1e5),
    st.floats(SINCE, SINCE + 1e5),
)


@settings(deadline=None)  # the first example reads the table of synonyms
@given(st.lists(HEARD, max_size=20), st.text(max_size=50), st.integers(0, 200))
def test_as_much_is_told_as_there_is_room(heard: list[Heard], question: str, budget: int) -> None:
    events = choose(heard, question, SINCE, budget)
    assert bool(events) == bool(heard)
    assert sum(count_tokens(event_line(e)) for e in events) <= budget or len(events) == 1
    ends = [event.end for event in events if event.end is not None]
    assert ends == sorted(ends)
    assert all(event.start >= 0.0 for event in events)


@pytest.mark.parametrize(
    ("question", "counted"),
    [
        ("How many times did anyone knock?", 3),
        ("how often did someone knock at the door?", 3),
        ("How many times did a dog bark?", 15),
        ("How often was a horse heard?", 2),
        ("How many times was there a siren?", 0),
        ("How many times did it flurble?", None),
        ("How many times?", None),
        ("How often did anyone say horse?", None),
        ("Did anyone knock?", None),
        ("How many sounds were heard?", None),
    ],
)
def test_what_a_question_asks_to_count_is_counted(question: str, counted: int | None) -> None:
    assert count(DAY, question) == counted


@pytest.mark.parametrize(
    ("question", "denied"),
    [
        ("Was there a siren?", True),
        ("did you hear a cow?", True),
        ("Did anyone knock?", False),
        ("Was there a siren after the knock?", False),
        ("Did anyone say siren?", False),
        ("Where was the siren?", False),
        ("Was it loud?", False),
    ],
)
def test_what_was_never_heard_is_denied(question: str, denied: bool) -> None:
    assert is_denied(DAY, question) == denied


def test_utterances_are_counted_with_and_without_words() -> None:
    heard = [said("hello", 1.0), said("", 2.0, 4), sound("Conversation", 1.0, 7)]
    assert count(heard, "How often did someone speak?") == 5


def test_what_the_log_settles_needs_no_language_model(tmp_path: Path) -> None:
    with EventLog(tmp_path / "log") as log:
        for i in range(14):
            log.write(Sound("Bark", float(i), i + 0.5, 0.9, "end"))
        log.write(Speech("hello", 20.0, 21.0, 0.9))
    ears: Any = None  # would be asked otherwise

    def ask(question: str = "How often did the dog bark?", **more: Any) -> str | None:
        answer = recall(ears, tmp_path / "log", question, 60.0, **more)
        assert answer.confidence == 1.0
        assert answer.total_ms >= answer.ttft_ms > 0.0
        return answer.choice if more else answer.text

    assert ask() == ask(choices=["3", "14"]) == "14"
    with pytest.raises(AttributeError):
        ask(choices=["few", "many"])
    siren = "Was there a siren?"
    assert ask(siren) == "no"
    assert ask(siren, choices=["Yes", "No"]) == "No"
    with pytest.raises(AttributeError):
        ask(siren, choices=["often", "never"])
