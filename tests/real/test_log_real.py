"""The event log of real recordings, and a day of it asked about with the real language model."""

from __future__ import annotations

import random
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from command import DATA, edge_alm

from edge_alm.errors import UsageError
from edge_alm.log import EventLog, heard_since, read_log
from edge_alm.reasoning.prompts import event_line
from edge_alm.recall import choose, recall
from edge_alm.runtime import Ears, load
from edge_alm.types import Answer, Event, Sound, Speech, event_from_dict, without_words

HOME = DATA / "home.flac"
DAY_S = 86_400.0

pytestmark = pytest.mark.usefixtures("models")


def logged(path: Path) -> list[Event]:
    return [one.event for one in read_log(path)]


def test_what_is_printed_is_logged_and_words_only_on_demand(tmp_path: Path) -> None:
    path = tmp_path / "log"
    done = edge_alm("listen", HOME, "--json", "--watch", "a doorbell", "--log", path)
    assert (done.status, done.err) == (0, "")
    assert logged(path) == [without_words(event) for event in done.events]
    done = edge_alm("listen", HOME, "--json", "--log", path, "--log-words")
    assert [one.event for one in read_log(path) if one.stream == 2] == done.events
    assert any(isinstance(event, Speech) and event.text for event in done.events)


def test_redacted_no_word_is_printed_or_kept(tmp_path: Path) -> None:
    path = tmp_path / "log"
    done = edge_alm("listen", HOME, "--json", "--redact-speech", "--log", path)
    assert (done.status, done.err) == (0, "")
    speech = [event for event in done.events if isinstance(event, Speech)]
    assert speech
    assert {event.text for event in speech} == {""}
    assert logged(path) == done.events
    for file in tmp_path.iterdir():
        assert b"extension" not in file.read_bytes().lower()


def test_questions_and_answers_are_logged(tmp_path: Path, require: object) -> None:
    assert callable(require)
    require("llama_cpp", "the extra llm")
    path = tmp_path / "log"
    words = ("ask", DATA / "crow.flac", DATA / "doorbell.flac", "What was heard last?")
    done = edge_alm(*words, "--json", "--log", path, "--log-words")
    assert done.status == 0
    *heard, answer = list(read_log(path))
    assert event_from_dict(done.objects[-1]) == answer.event
    assert {one.stream for one in heard} == {1, 2}


SOUNDS = {"Vehicle": 900, "Wind": 300, "Bark": 14, "Doorbell": 4, "Meow": 7, "Door": 120}
"""How often each is heard in a day."""
UTTERANCES = ("what time is it", "please feed the cat", "good night")


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of the last 24 hours: 1,345 sounds and 100 utterances."""
    rng = random.Random(0)
    path = tmp_path_factory.mktemp("day") / "log"
    began_unix = time.time() - DAY_S
    events: list[tuple[float, Event]] = []
    for label, count in SOUNDS.items():
        for _ in range(count):
            start = round(rng.uniform(60.0, DAY_S - 600.0), 3)
            end = round(start + rng.uniform(0.5, 8.0), 3)
            sound = Sound(label, start, None, 0.8, "start", began_unix + start)
            events += [(start, sound), (end, replace(sound, end=end, state="end"))]
    for i in range(100):
        start = 700.0 * i + 70.0
        text = UTTERANCES[i % 3]
        at_unix = began_unix + start
        events.append((start + 2.0, Speech(text, start, start + 2.0, 0.9, at_unix)))
    with EventLog(path, words=True) as log:
        for _, event in sorted(events, key=lambda pair: pair[0]):
            log.write(event)
    return path


@pytest.fixture(scope="module")
def ears(require: object) -> Iterator[Ears]:
    assert callable(require)
    require("llama_cpp", "the extra llm")
    with load(transcribe=False) as ears:
        ears.flush()
        yield ears


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("Did anyone knock?", "no"),
        ("Did a dog bark?", "yes"),
        ("Was there a doorbell?", "yes"),
        ("Was there a siren?", "no"),
        ("How often did the dog bark?", "14"),
        ("How many times was a cat heard?", "7"),
        ("How many times did anyone knock?", "0"),
    ],
)
def test_a_day_is_asked_about(day: Path, ears: Ears, question: str, text: str) -> None:
    answer = recall(ears, day, question, DAY_S)
    since_unix = time.time() - DAY_S
    told = [event_line(e) for e in choose(heard_since(day, since_unix), question, since_unix)]
    # -s shows what a person wants to know of a run: how long it took, of which lines.
    print(f"{question} {answer.text} {answer.ttft_ms:.0f} ms {told}")
    assert answer.text.lower().rstrip(".") == text


def test_the_command_answers_from_the_log(day: Path, ears: Ears) -> None:
    words = ("ask", "--log", day, "--since", "1d", "Did a dog bark?", "--json")
    done = edge_alm(*words, "--choice", "yes", "--choice", "no")
    assert (done.status, done.err) == (0, "")
    (answer,) = done.events
    assert isinstance(answer, Answer)
    assert answer.choice == "yes"


def test_ears_that_listen_cannot_relive(ears: Ears) -> None:
    events = ears.listen(HOME)
    assert isinstance(events, Generator)
    with closing(events):
        next(events)
        with pytest.raises(UsageError, match="got a stream under way"):
            ears.relive([])
    ears.relive([])
