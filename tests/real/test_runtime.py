"""The Python API with the real models: while it listens, from other threads, and at its end."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from itertools import islice, permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import DATA, PATIENCE_S, ROOT, environment

import edge_alm
from edge_alm import runtime
from edge_alm.audio.file import AudioFile
from edge_alm.errors import EdgeAlmError, OverloadedError, UsageError
from edge_alm.overload import Relief
from edge_alm.reasoning.prompts import is_heard
from edge_alm.reasoning.reasoner import LocalReasoner, QuestionCancelledError
from edge_alm.types import Event, Frame, Packet, Sound, Speech
from edge_alm.workers import ClosedError

HOME, CROW, DOORBELL = DATA / "home.flac", DATA / "crow.flac", DATA / "doorbell.flac"


@pytest.fixture(scope="module")
def hearing(models: Path) -> Iterator[runtime.Ears]:
    """Ears without a language model."""
    with edge_alm.load(llm=False) as ears:
        yield ears


@pytest.fixture(scope="module")
def heard(hearing: runtime.Ears) -> list[Event]:
    """What is heard in the scene."""
    return list(hearing.listen(HOME))


@pytest.fixture(scope="module")
def loaded(models: Path, require: Callable[[object, str], None]) -> Iterator[runtime.Ears]:
    require("llama_cpp", "the extra llm")
    with edge_alm.load() as ears:
        yield ears


@pytest.fixture
def ears(loaded: runtime.Ears) -> runtime.Ears:
    """Ears with a language model and nothing in the scene."""
    loaded.reset()
    return loaded


def wait_until(condition: Callable[[], bool]) -> bool:
    end_s = time.monotonic() + PATIENCE_S
    while not condition() and time.monotonic() < end_s:
        time.sleep(0.01)
    return condition()


def live_threads(name: str) -> int:
    return sum(thread.name == name for thread in threading.enumerate())


class Forever:
    """A microphone beside a crow: live, endless, until it is closed."""

    name = "forever"
    live = True
    started_unix = 1_000_000.0

    def __init__(self) -> None:
        import soundfile

        self._caw, _ = soundfile.read(CROW, dtype="float32")
        self.closed = threading.Event()

    def packets(self) -> Iterator[Packet]:
        position = 0
        while not self.closed.wait(0.005):
            samples = np.concatenate((np.zeros(4_000, np.float32), self._caw))
            yield Frame(position, samples)
            position += len(samples)

    def close(self) -> None:
        self.closed.set()


# asking


def test_the_example_of_the_docstring_in_a_script_of_its_own(
    models: Path, require: Callable[[object, str], None]
) -> None:
    """It closes nothing, and still ends at once and without a word."""
    require("llama_cpp", "the extra llm")
    script = f"""
import edge_alm
ears = edge_alm.load()
for event in ears.listen({str(CROW)!r}):
    print(event)
print(ears.ask("Which sound came first?").text)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(),
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Sound(label='Caw', start=0.0, end=None")
    assert len(done.stdout.splitlines()) >= 3


def test_what_was_heard_is_asked_and_forgotten(ears: runtime.Ears) -> None:
    list(ears.listen(CROW))
    choices = ["crow cawing", "piano", "nothing"]
    answers = {ears.ask("What was heard?", choices=order) for order in permutations(choices)}
    assert {answer.choice for answer in answers} == {"crow cawing"}
    assert len({answer.confidence for answer in answers}) == 1
    before = ears.ask("What was heard?").text
    assert ears.ask("What was heard?").text == before, "a question leaves no trace"
    ears.reset()
    assert ears.ask("What was heard?").text != before


def test_a_question_while_it_listens(ears: runtime.Ears) -> None:
    """From another thread, in the middle of a sound; and nothing of the stream is lost."""
    source = Forever()
    heard: list[Event] = []
    listener = threading.Thread(target=lambda: heard.extend(ears.listen(source)), daemon=True)
    listener.start()
    try:
        assert wait_until(lambda: len(heard) > 4 or not listener.is_alive())
        pieces: list[str] = []
        before = len(heard)
        answer = ears.ask("What is that?", on_text=pieces.append)
        assert "".join(pieces).strip() == answer.text
        assert wait_until(lambda: len(heard) > before), "it no longer listens"
    finally:
        source.close()
        listener.join(PATIENCE_S)
    starts = [e.start for e in heard if isinstance(e, Sound) and e.state == "start"]
    ends = [e.start for e in heard if isinstance(e, Sound) and e.state == "end"]
    assert sorted(starts) == sorted(ends)
    for event in heard:
        assert isinstance(event, Sound | Speech)
        assert event.at_unix == pytest.approx(1_000_000.0 + event.start)


def test_questions_from_many_threads(ears: runtime.Ears) -> None:
    list(ears.listen(CROW))
    alone = ears.ask("What was heard?").text
    texts: list[str] = []
    askers = [
        threading.Thread(target=lambda: texts.append(ears.ask("What was heard?").text))
        for _ in range(4)
    ]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(PATIENCE_S)
    assert texts == [alone] * 4


def test_giving_up_a_question(ears: runtime.Ears) -> None:
    list(ears.listen(CROW))
    with pytest.raises(QuestionCancelledError):
        ears.ask("Tell a long story.", cancelled=lambda: True)
    assert ears.ask("What was heard?").text


@pytest.mark.parametrize(
    ("question", "choices"), [("", None), (" \n", None), ("What?", ["a"]), ("What?", ["a", " "])]
)
def test_a_wrong_question(ears: runtime.Ears, question: str, choices: list[str] | None) -> None:
    with pytest.raises(UsageError):
        ears.ask(question, choices=choices)


def test_ears_without_a_model_do_not_answer(hearing: runtime.Ears) -> None:
    with pytest.raises(UsageError, match="load them with llm=True"):
        hearing.ask("What?")
    hearing.reset()  # there is nothing to forget
    hearing.flush()


# a slow model


class SlowReasoner(LocalReasoner):
    """The real one, and a wait before every event that it takes in."""

    wait_s = 0.3
    told: list[Event]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.told = []
        type(self).latest = self

    latest: SlowReasoner

    def append_event(self, event: Event) -> None:
        time.sleep(self.wait_s)
        self.told.append(event)
        super().append_event(event)


def test_a_slow_model_holds_back_no_event_and_misses_none(
    models: Path,
    heard: list[Event],
    monkeypatch: pytest.MonkeyPatch,
    require: Callable[[object, str], None],
) -> None:
    require("llama_cpp", "the extra llm")
    monkeypatch.setattr(runtime, "LocalReasoner", SlowReasoner)
    # That someone speaks is in the words.
    scene = [e for e in heard if is_heard(e) and getattr(e, "label", "") != "Speech"]
    with edge_alm.load() as ears:
        ears.flush()  # loaded
        slow = SlowReasoner.latest
        began_s = time.monotonic()
        assert list(ears.listen(HOME)) == heard
        took_s = time.monotonic() - began_s
        assert len(slow.told) < len(scene), f"{took_s} s: the model kept up, the test shows nothing"
        ears.flush()
        assert slow.told == scene
        # A recording waits before its scene would be merged.
        ears.reset()
        slow.told.clear()
        slow.wait_s = 0.02
        monkeypatch.setattr(runtime, "SCENE_ENTRIES", 2)
        most = 0
        for _ in ears.listen(HOME):
            assert ears._mind is not None
            most = max(most, len(ears._mind.scene))
        assert most <= 3
        ears.flush()
        assert slow.told == scene


# ends


def test_breaking_off_frees_source_and_threads(hearing: runtime.Ears) -> None:
    source = Forever()
    for _ in hearing.listen(source):
        break
    gc.collect()
    assert source.closed.wait(PATIENCE_S)
    assert wait_until(lambda: live_threads("hearing") + live_threads("transcription") == 0)


def test_a_stream_that_nobody_listens_to_is_closed(hearing: runtime.Ears) -> None:
    source = Forever()
    events = hearing.listen(source)
    assert not source.closed.is_set()
    del events
    gc.collect()
    assert source.closed.is_set()


def test_a_script_may_end_while_a_thread_listens(models: Path) -> None:
    script = f"""
import sys, threading, time
sys.path[:0] = [{str(ROOT / "tests")!r}, {str(Path(__file__).parent)!r}]
import edge_alm
from test_runtime import Forever
ears = edge_alm.load(llm=False)
events = ears.listen(Forever())
print(next(events).label)
threading.Thread(target=lambda: list(events), daemon=True).start()
time.sleep(0.5)
"""
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            env=environment(),
            timeout=PATIENCE_S,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "Caw\n", "")


class Once(Forever):
    """A crow, then a microphone that gives nothing."""

    def packets(self) -> Iterator[Packet]:
        yield next(super().packets())
        self.closed.wait()


def test_questions_are_refused_while_their_stream_lasts(
    ears: runtime.Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    relieve: list[Callable[[Relief], None]] = []

    def keep_up(packets: Any, own: Callable[[Relief], None]) -> Any:
        relieve.append(own)
        return packets

    def is_refused(**options: Any) -> bool:
        try:
            ears.ask("What was heard?", choices=["a crow", "a bell"], **options)
        except OverloadedError:
            return True
        return False

    monkeypatch.setattr(runtime, "keep_up", keep_up)
    events = ears.listen(Once())
    assert next(events)
    assert not is_refused()
    relieve[0](Relief.THINKING)
    assert not is_refused(think=True)
    relieve[0](Relief.ANSWERS)
    assert is_refused()
    relieve[0](Relief.NOTHING)
    with pytest.raises(OverloadedError, match="ask again"):
        ears.ask("Tell a story.", on_text=lambda _: relieve[0](Relief.ANSWERS))

    more = ears.listen(Once())
    assert next(more)
    assert not is_refused()
    relieve[0](Relief.HOPS)
    assert not is_refused(), "by a stream that another has taken over from"
    relieve[1](Relief.HOPS)
    assert is_refused()
    more.close()  # type: ignore[attr-defined]
    assert not is_refused()
    relieve[1](Relief.HOPS)
    assert not is_refused(), "by a stream that is over"


def test_another_stream_ends_the_one_before(hearing: runtime.Ears) -> None:
    first, second = Forever(), Forever()
    events = hearing.listen(first)
    assert next(events)
    more = hearing.listen(second)
    assert not first.closed.is_set(), "opened, but not listened to yet"
    assert next(more)
    assert first.closed.is_set()
    assert list(islice(events, 1000))[-1:] != [None]  # it comes to an end
    more.close()  # type: ignore[attr-defined]
    assert second.closed.is_set()


def test_two_ears_in_one_process(hearing: runtime.Ears, heard: list[Event]) -> None:
    results: dict[int, list[Event]] = {}
    with edge_alm.load(llm=False) as other:
        listeners = [
            threading.Thread(target=lambda i=i, e=e: results.update({i: list(e.listen(HOME))}))
            for i, e in enumerate((hearing, other))
        ]
        for listener in listeners:
            listener.start()
        for listener in listeners:
            listener.join(PATIENCE_S)
    assert results == {0: heard, 1: heard}


def test_closing_ends_the_stream_and_all_that_is_asked(
    models: Path, require: Callable[[object, str], None]
) -> None:
    require("llama_cpp", "the extra llm")
    ears = edge_alm.load()
    source = Forever()
    outcome: list[object] = []

    def listen() -> None:
        outcome.append(sum(1 for _ in ears.listen(source)))

    def ask() -> None:
        try:
            outcome.append(ears.ask("Tell a long story."))
        except EdgeAlmError as error:
            outcome.append(error)

    threads = [threading.Thread(target=act, daemon=True) for act in (listen, ask)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    ears.close()
    assert source.closed.is_set()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    assert sum(isinstance(o, ClosedError | QuestionCancelledError) for o in outcome) == 1
    ears.close()  # twice
    with pytest.raises(ClosedError, match="load them again"):
        ears.ask("What?")
    with pytest.raises(ClosedError):
        ears.listen(HOME)
    with pytest.raises(ClosedError):
        ears.reset()


def test_a_stream_that_was_opened_before_the_end_is_closed(models: Path) -> None:
    ears = edge_alm.load(llm=False)
    source = AudioFile(HOME)
    events = ears.listen(source)
    ears.close()
    with pytest.raises(ClosedError):
        next(events)
    assert source._file.closed


def test_ears_that_are_dropped_free_their_model(
    models: Path, require: Callable[[object, str], None]
) -> None:
    require("llama_cpp", "the extra llm")
    before = live_threads("mind")
    ears = edge_alm.load()
    assert live_threads("mind") == before + 1
    del ears
    gc.collect()
    assert wait_until(lambda: live_threads("mind") == before)


def test_speech_in_a_live_stream_has_text(hearing: runtime.Ears) -> None:
    """The transcriber works on a thread of its own there."""
    source = AudioFile(DATA / "speech_hold.flac")
    source.live = True
    (speech,) = [e for e in hearing.listen(source) if isinstance(e, Speech)]
    assert "hold while I try that extension" in speech.text


def test_a_wrong_phrase_or_source_is_told_by_the_call(hearing: runtime.Ears) -> None:
    with pytest.raises(UsageError, match="watch 'the'"):
        hearing.listen(HOME, watch=["the"])
    with pytest.raises(EdgeAlmError, match="no such file"):
        hearing.listen("no.wav")


def test_ears_that_are_let_go_are_gone() -> None:
    """Without waiting for the garbage collector: 60 MB of models and their threads."""
    gc.collect()
    gc.disable()
    try:
        ears = edge_alm.load(llm=False)
        assert list(ears.listen(str(DATA / "glass.flac")))
        gone = weakref.ref(ears)
        ears.close()
        del ears
        assert gone() is None
    finally:
        gc.enable()
