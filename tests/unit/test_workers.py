from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_alm.errors import EdgeAlmError, RemoteError
from edge_alm.reasoning.queue import DEFAULT_CAPACITY
from edge_alm.reasoning.reasoner import QuestionCancelledError, Reasoner
from edge_alm.reasoning.scene import never
from edge_alm.types import Answer, Event, Guess, Lost, Sound
from edge_alm.workers import STOP_S, ClosedError, Hearing, Mind

WAIT_S = 20.0
"""Only ever waited for in full by a test that fails."""


class Notebook:
    """A reasoner that writes down what it is told; slow where it should be."""

    def __init__(self, append_s: float = 0.0, ask_s: float = 0.0) -> None:
        self.append_s, self.ask_s = append_s, ask_s
        self.told: list[str] = []
        self.count = 0
        self.flushes = 0
        self.closed = threading.Event()
        self.asked = threading.Event()
        self.failure: EdgeAlmError | None = None

    def append_event(self, event: Event) -> None:
        if self.failure:
            raise self.failure
        time.sleep(self.append_s)
        self.told.append(getattr(event, "label", event.type))

    def append_guess(self, guess: Guess) -> None:
        self.told.append(guess.labels[0])

    def append_embeddings(
        self, embeddings: NDArray[np.float32], start_s: float, end_s: float
    ) -> None:
        time.sleep(self.append_s)
        self.told.append(f"{start_s}-{end_s}")

    def begin_recording(self, name: str) -> None:
        self.told.append(name)

    def begin_stream(self) -> None:
        self.told.append("stream")

    def flush(self) -> None:
        self.flushes += 1

    def ask(
        self,
        question: str,
        *,
        choices: Sequence[str] | None = None,
        think: bool = False,
        ongoing: Sequence[Sound] = (),
        now_s: float | None = None,
        on_text: Callable[[str], None] | None = None,
        cancelled: Callable[[], bool] = never,
        remember: bool = False,
        since_s: float | None = None,
    ) -> Answer:
        self.asked.set()
        end_s = time.monotonic() + self.ask_s
        while time.monotonic() < end_s:
            if cancelled():
                raise QuestionCancelledError("question")
            time.sleep(0.005)
        return Answer(question, " ".join(self.told), None, 1.0, 0.0, 0.0)

    def reset(self) -> None:
        self.told.clear()

    def close(self) -> None:
        self.closed.set()


def sound(label: str, start: float = 0.0) -> Sound:
    return Sound(label, start, start + 0.5, 0.9, "end")


def ask(mind: Mind, question: str = "?") -> Future[Answer]:
    return mind.call(lambda reasoner: reasoner.ask(question, cancelled=mind.is_closing))


def threads_named(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


def wait_until(condition: Callable[[], bool]) -> bool:
    end_s = time.monotonic() + WAIT_S
    while not condition() and time.monotonic() < end_s:
        time.sleep(0.01)
    return condition()


# Mind


def test_a_question_comes_after_all_that_was_heard_before_it() -> None:
    notebook = Notebook(append_s=0.002)
    mind = Mind(lambda: notebook)
    for i in range(50):
        mind.scene.put_event(sound(str(i)))
    assert ask(mind).result(WAIT_S).text == " ".join(map(str, range(50)))
    mind.close()


def test_what_is_heard_while_the_model_loads_is_not_lost() -> None:
    loaded = threading.Event()

    def load() -> Reasoner:
        loaded.wait(WAIT_S)
        return Notebook()

    mind = Mind(load)
    mind.scene.put_event(sound("dog"))
    answer = ask(mind)
    loaded.set()
    assert answer.result(WAIT_S).text == "dog"
    mind.close()


def test_the_scene_is_worked_off_without_a_question() -> None:
    notebook = Notebook()
    mind = Mind(lambda: notebook)
    mind.scene.put_event(sound("dog"))
    assert wait_until(lambda: notebook.flushes > 0)
    assert notebook.told == ["dog"]
    mind.close()


@pytest.mark.parametrize("error", [RemoteError("server"), RuntimeError("out of memory")])
def test_a_model_that_cannot_be_loaded_fails_every_call(error: Exception) -> None:
    def load() -> Reasoner:
        raise error

    mind = Mind(load)
    for _ in range(3):
        with pytest.raises(type(error), match=str(error)):
            ask(mind).result(WAIT_S)
    mind.scene.put_event(sound("dog"))
    assert wait_until(lambda: len(mind.scene) == 0), "the scene of a dead model piles up"
    mind.close()
    with pytest.raises(ClosedError):
        ask(mind).result(WAIT_S)


def test_a_model_that_fails_while_it_listens_says_so_at_every_question() -> None:
    notebook = Notebook()
    notebook.failure = RemoteError("context full")
    mind = Mind(lambda: notebook)
    mind.scene.put_event(sound("dog"))
    assert notebook.closed.wait(WAIT_S)
    for _ in range(2):
        with pytest.raises(RemoteError, match="context full"):
            ask(mind).result(WAIT_S)
    mind.close()


def test_a_failed_question_harms_nobody_else() -> None:
    mind = Mind(Notebook)

    def fail(reasoner: Reasoner) -> None:
        raise RemoteError("silence")

    with pytest.raises(RemoteError):
        mind.call(fail).result(WAIT_S)
    assert ask(mind, "well?").result(WAIT_S).question == "well?"
    mind.close()


def test_closing_gives_up_the_answer_in_progress_and_those_that_wait() -> None:
    notebook = Notebook(ask_s=WAIT_S)
    mind = Mind(lambda: notebook)
    answers = [ask(mind) for _ in range(3)]
    assert notebook.asked.wait(WAIT_S)
    mind.close()
    with pytest.raises(QuestionCancelledError):
        answers[0].result(WAIT_S)
    for answer in answers[1:]:
        with pytest.raises((QuestionCancelledError, ClosedError)):
            answer.result(WAIT_S)
    assert notebook.closed.wait(WAIT_S)


def test_closing_does_not_wait_for_a_long_scene() -> None:
    notebook = Notebook(append_s=0.05)
    mind = Mind(lambda: notebook)
    for i in range(200):
        mind.scene.put_event(sound(str(i)))
    assert wait_until(lambda: bool(notebook.told))
    mind.close()
    assert notebook.closed.wait(WAIT_S)
    assert len(notebook.told) < 200


def test_closing_while_the_model_loads_does_not_wait_for_it() -> None:
    loaded = threading.Event()

    def load() -> Reasoner:
        loaded.wait(WAIT_S)
        return notebook

    notebook = Notebook()
    mind = Mind(load)
    answer = ask(mind)
    began_s = time.monotonic()
    mind.close()
    assert time.monotonic() - began_s < 5 * STOP_S
    loaded.set()
    with pytest.raises(ClosedError):
        answer.result(WAIT_S)
    assert notebook.closed.wait(WAIT_S), "what was loaded in vain must be freed"


def test_closing_twice() -> None:
    mind = Mind(Notebook)
    mind.close()
    mind.close()
    with pytest.raises(ClosedError, match="load them again"):
        ask(mind).result(WAIT_S)


def test_every_call_is_answered_however_it_meets_the_end() -> None:
    for _ in range(20):
        mind = Mind(Notebook)
        futures: list[Future[Answer]] = []

        def hammer(mind: Mind = mind, futures: list[Future[Answer]] = futures) -> None:
            for _ in range(50):
                futures.append(ask(mind))

        askers = [threading.Thread(target=hammer) for _ in range(3)]
        for asker in askers:
            asker.start()
        mind.close()
        for asker in askers:
            asker.join()
        for future in futures:
            assert future.exception(WAIT_S) is None or isinstance(
                future.exception(), ClosedError | QuestionCancelledError
            )


def test_a_mind_that_is_let_go_on_its_own_thread() -> None:
    mind = Mind(Notebook)
    mind.call(lambda reasoner: mind.close()).result(WAIT_S)
    assert wait_until(lambda: not threads_named("mind"))


def test_a_slow_mind_never_holds_back_the_ear_and_loses_no_time() -> None:
    """Ten minutes of hops arrive at once; the model has worked off a few of them."""
    notebook = Notebook(append_s=0.005)
    mind = Mind(lambda: notebook)
    hops = 1250
    began_s = time.monotonic()
    for i in range(hops):
        mind.scene.put_embeddings(np.zeros((1, 4), np.float32), float(i), float(i + 1))
    assert time.monotonic() - began_s < hops * notebook.append_s
    mind.call(lambda reasoner: None).result(WAIT_S)
    mind.close()
    spans = [tuple(map(float, told.split("-"))) for told in notebook.told]
    assert len(spans) < hops
    assert spans[0][0] == 0.0
    assert spans[-1][1] == float(hops)
    assert all(a[1] == b[0] for a, b in pairwise(spans))
    assert len(mind.scene) <= DEFAULT_CAPACITY


# Hearing


def losses(n: int) -> Iterator[Event]:
    for i in range(n):
        yield Lost(i + 1, 0.0, "test")


def test_events_arrive_in_order() -> None:
    hearing = Hearing(losses(1000), capacity=7)
    assert [event.samples for event in hearing.events() if isinstance(event, Lost)] == list(
        range(1, 1001)
    )
    hearing.stop()


def test_the_error_of_the_thread_is_raised_after_its_events() -> None:
    def fail() -> Iterator[Event]:
        yield from losses(3)
        raise RemoteError("gone")

    events = Hearing(fail(), capacity=0).events()
    assert [next(events) for _ in range(3)] == list(losses(3))
    with pytest.raises(RemoteError, match="gone"):
        next(events)


def test_a_full_queue_holds_the_thread_back_and_lets_go_of_it() -> None:
    made: list[int] = []

    def count() -> Iterator[Event]:
        for i in range(100):
            made.append(i)
            yield Lost(i + 1, 0.0, "test")

    hearing = Hearing(count(), capacity=4)
    assert wait_until(lambda: len(made) >= 5)
    time.sleep(0.05)
    assert len(made) == 5  # four in the queue, one in the hand
    hearing.stop()
    assert wait_until(lambda: not threads_named("hearing"))
    assert len(made) == 5


def test_stopping_does_not_wait_for_native_work() -> None:
    working = threading.Event()

    def work() -> Iterator[Event]:
        working.wait(WAIT_S)
        yield from losses(1)

    hearing = Hearing(work(), capacity=0)
    began_s = time.monotonic()
    hearing.stop()
    assert time.monotonic() - began_s < 5 * STOP_S
    working.set()
    assert wait_until(lambda: not threads_named("hearing"))


def test_a_reader_that_is_slow_loses_nothing() -> None:
    hearing = Hearing(losses(50), capacity=2)
    heard: list[Any] = []
    for event in hearing.events():
        time.sleep(0.001)
        heard.append(event)
    assert len(heard) == 50
    hearing.stop()
