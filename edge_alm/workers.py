"""The two threads of a stream: one that hears, one that minds the language model."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

from edge_alm.errors import EdgeAlmError
from edge_alm.reasoning.queue import SceneQueue
from edge_alm.reasoning.reasoner import Reasoner
from edge_alm.types import Event

T = TypeVar("T")

STOP_S = 0.5
"""How long a thread may take to stop before it is left behind: the two together 1 s."""
SETTLE_S = 0.5
"""How long the scene waits for more before what is pending goes into the context."""


class ClosedError(EdgeAlmError):
    """The ears were closed before the answer was there."""

    code = "closed"


class Hearing:
    """Runs an iterator of events on a thread and hands the events over in order.

    Args:
        events: iterated over on the thread.
        capacity: events that may wait for their reader before the thread waits; 0: any number.
    """

    def __init__(self, events: Iterator[Event], capacity: int) -> None:
        self._source = events
        self._queue: queue.Queue[Event | BaseException | None] = queue.Queue(capacity)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hearing", daemon=True)
        self._thread.start()

    def events(self) -> Iterator[Event]:
        """Until the end of the stream; errors of the thread are raised here."""
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def stop(self) -> None:
        """Let go of the thread; takes at most :data:`STOP_S`."""
        self._stopping.set()
        self._thread.join(STOP_S)

    def _run(self) -> None:
        try:
            for event in self._source:
                if not self._put(event):
                    return
            self._put(None)
        except BaseException as error:
            self._put(error)

    def _put(self, item: Event | BaseException | None) -> bool:
        while not self._stopping.is_set():
            try:
                self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False


class Mind:
    """Owns the reasoner on a thread of its own: works off the scene, answers in between.

    Args:
        load: makes the reasoner; called on the thread. If it fails, every call fails so.
    """

    def __init__(self, load: Callable[[], Reasoner]) -> None:
        self.scene = SceneQueue()
        self._calls: queue.SimpleQueue[tuple[Callable[[Reasoner], Any], Future[Any]]] = (
            queue.SimpleQueue()
        )
        self._closing = threading.Event()
        self._accepting = threading.Lock()  # no call may slip in behind the thread's last look
        self._thread = threading.Thread(target=self._run, args=(load,), name="mind", daemon=True)
        self._thread.start()

    def is_closing(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closing.is_set()

    def call(self, function: Callable[[Reasoner], T]) -> Future[T]:
        """Run ``function`` on the thread, after all that was put into the scene before."""
        future: Future[T] = Future()
        with self._accepting:
            if self._closing.is_set():
                future.set_exception(closed())
            else:
                self._calls.put((function, future))
                self.scene.wake()
        return future

    def close(self) -> None:
        """Give up what is asked and free the reasoner; takes at most :data:`STOP_S`."""
        with self._accepting:
            self._closing.set()
        self.scene.wake()
        if threading.current_thread() is not self._thread:
            self._thread.join(STOP_S)

    def _run(self, load: Callable[[], Reasoner]) -> None:
        try:
            reasoner = load()
            try:
                self._work(reasoner)
            finally:
                reasoner.close()
        except BaseException as error:
            # A scene with a hole in it must not be asked: from now on every call says why.
            self._fail_calls(error)
        else:
            self._fail_calls(closed())

    def _work(self, reasoner: Reasoner) -> None:
        is_pending = False
        while not self._closing.is_set():
            fed = self.scene.feed(reasoner, SETTLE_S if is_pending else None, self.is_closing)
            called = False
            while (call := self._next_call()) is not None:
                self._answer(reasoner, *call)
                called = True
            if is_pending and not (fed or called):
                reasoner.flush()
            is_pending = bool(fed)

    def _answer(
        self, reasoner: Reasoner, function: Callable[[Reasoner], Any], future: Future[Any]
    ) -> None:
        try:
            self.scene.feed(reasoner, stopped=self.is_closing)
            future.set_result(function(reasoner))
        except BaseException as error:
            future.set_exception(error)

    def _next_call(self) -> tuple[Callable[[Reasoner], Any], Future[Any]] | None:
        try:
            return self._calls.get_nowait()
        except queue.Empty:
            return None

    def _fail_calls(self, error: BaseException) -> None:
        """Answer every call with ``error`` until the ears are closed; the scene is let go."""
        while True:
            while (call := self._next_call()) is not None:
                call[1].set_exception(error)
            if self._closing.is_set():
                return
            self.scene.take(None)


def closed() -> ClosedError:
    """The error for whatever is wanted of closed ears."""
    return ClosedError("ears", expected="open ones", got="closed ones", hint="load them again")
