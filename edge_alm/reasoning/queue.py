"""Between listening, which must never wait, and a language model, which may be slow.

The queue is bounded and loses no stretch of time: when it is full, neighbouring hops are merged
(the mean of their embeddings over the longer span), and only when there are none left, lines.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import UsageError
from edge_alm.reasoning.prompts import is_heard
from edge_alm.reasoning.reasoner import Reasoner
from edge_alm.reasoning.scene import never
from edge_alm.types import Event, Guess, Lost, Sound, Speech

DEFAULT_CAPACITY = 256
"""Two minutes of hops of 0.48 s."""
MIN_CAPACITY = 8
"""With five kinds of entries two of a kind are always found."""
MAX_TEXT_CHARS = 400
"""Of a merged line; the rest is cut, or the bound on entries would bound no memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Hops:
    """One or several neighbouring hops of the encoder."""

    embedding: NDArray[np.float32]
    """Shape [n_in]; the mean over ``count`` hops."""
    start: float
    """Seconds."""
    end: float
    count: int = 1


@dataclass(frozen=True, slots=True)
class Line:
    """One or several events of a kind that follow each other."""

    event: Sound | Speech | Lost
    count: int = 1
    """How often the sound was heard; 1 for several labels in one."""


@dataclass(frozen=True, slots=True)
class NewStream:
    """Another stream begins, and with it another clock."""


Entry: TypeAlias = Hops | Line | Guess | NewStream


class SceneQueue:
    """Thread-safe; one side puts and never waits for the other, which takes.

    Args:
        capacity: entries held, at least :data:`MIN_CAPACITY`.
    """

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        if capacity < MIN_CAPACITY:
            raise UsageError(
                "queue capacity", expected=f"at least {MIN_CAPACITY}", got=str(capacity)
            )
        self._capacity = capacity
        self._entries: list[Entry] = []
        self._filled = threading.Condition()
        self._woken = False
        self._held = False

    def __len__(self) -> int:
        return len(self._entries)

    def put_event(self, event: Event) -> None:
        """Queue an event; one that does not belong in the scene is ignored."""
        if is_heard(event):
            self._put([Line(event)])

    def put_guess(self, guess: Guess) -> None:
        """Queue what a sound without a name may have been."""
        self._put([guess])

    def put_embeddings(self, embeddings: NDArray[np.float32], start_s: float, end_s: float) -> None:
        """Queue consecutive hops, shape [n, n_in], that share the span evenly."""
        edges = np.linspace(start_s, end_s, len(embeddings) + 1).tolist()
        self._put(
            [
                Hops(hop, start, end)
                for hop, (start, end) in zip(embeddings, pairwise(edges), strict=True)
            ]
        )

    def begin_stream(self) -> None:
        """The times of what follows are on another clock."""
        with self._filled:
            # Only the last one matters to those after it: one entry, however often.
            self._entries = [e for e in self._entries if not isinstance(e, NewStream)]
        self._put([NewStream()])

    def _put(self, entries: list[Entry]) -> None:
        with self._filled:
            for entry in entries:
                self._entries.append(entry)
                if len(self._entries) > self._capacity:
                    merge_one(self._entries)
            self._filled.notify()

    def wake(self) -> None:
        """Let the next :meth:`take`, or the one that waits, return at once."""
        with self._filled:
            self._woken = True
            self._filled.notify()

    def hold(self, held: bool) -> None:
        """Let those who wait for entries have none, however many there are, or again all."""
        with self._filled:
            self._held = held
            self._filled.notify()

    def take(self, timeout_s: float | None = 0.0) -> list[Entry]:
        """All entries, oldest first; waits up to ``timeout_s`` (None: for ever) for the first.

        While the queue is held, only who does not wait (0) gets any.
        """
        with self._filled:
            waits = timeout_s != 0.0
            if waits and not self._woken and (self._held or not self._entries):
                self._filled.wait(timeout_s)
            self._woken = False
            if waits and self._held:
                return []
            entries, self._entries = self._entries, []
            return entries

    def feed(
        self,
        reasoner: Reasoner,
        timeout_s: float | None = 0.0,
        stopped: Callable[[], bool] = never,
    ) -> int:
        """Hand all entries to the reasoner; waits as :meth:`take`; returns how many there were.

        Once ``stopped`` says so, the rest is dropped: a long scene takes a slow model minutes.
        """
        entries = self.take(timeout_s)
        for entry in entries:
            if stopped():
                break
            if isinstance(entry, Hops):
                reasoner.append_embeddings(entry.embedding[None], entry.start, entry.end)
            elif isinstance(entry, Guess):
                reasoner.append_guess(entry)
            elif isinstance(entry, NewStream):
                reasoner.begin_stream()
            else:
                reasoner.append_event(spoken(entry))
        return len(entries)


def spoken(line: Line) -> Sound | Speech | Lost:
    """The line as one event; repeats are told in the label ("Dog, 3 times")."""
    if isinstance(line.event, Sound) and line.count > 1:
        return replace(line.event, label=f"{line.event.label}, {line.count} times")
    return line.event


def merge_one(entries: list[Entry]) -> None:
    """Merge two neighbours of a kind, in place of the first. Order and total span are kept.

    By preference: the two hops that stand for the fewest, oldest first; two guesses; repeats of one
    sound; gaps; any two sounds; two speeches.
    """
    hops = _of_kind(entries, Hops)
    if len(hops) > 1:
        sizes = [entry.count for entry in entries if isinstance(entry, Hops)]
        counts = [a + b for a, b in pairwise(sizes)]
        k = counts.index(min(counts))
        return _join(entries, hops[k], hops[k + 1])
    guesses = _of_kind(entries, Guess)
    if len(guesses) > 1:
        return _join(entries, guesses[0], guesses[1])
    sounds = _of_kind(entries, Sound)
    for i, j in pairwise(sounds):
        if _label(entries[i]) == _label(entries[j]):
            return _join(entries, i, j)
    for kind in (_of_kind(entries, Lost), sounds, _of_kind(entries, Speech)):
        if len(kind) > 1:
            return _join(entries, kind[0], kind[1])
    return None


def _of_kind(entries: Sequence[Entry], kind: type) -> list[int]:
    return [
        i
        for i, entry in enumerate(entries)
        if isinstance(entry.event if isinstance(entry, Line) else entry, kind)
    ]


def _label(entry: Entry) -> str:
    return entry.event.label if isinstance(entry, Line) and isinstance(entry.event, Sound) else ""


def _join(entries: list[Entry], i: int, j: int) -> None:
    a, b = entries[i], entries.pop(j)
    if isinstance(a, Hops) and isinstance(b, Hops):
        count = a.count + b.count
        mean = (a.embedding * a.count + b.embedding * b.count) / np.float32(count)
        entries[i] = Hops(mean.astype(np.float32), a.start, max(a.end, b.end), count)
    elif isinstance(a, Guess) and isinstance(b, Guess):
        labels = tuple(dict.fromkeys((*a.labels[:2], *b.labels)))
        entries[i] = Guess(labels[: len(a.labels)], a.start, b.end)
    elif isinstance(a, Line) and isinstance(b, Line):
        entries[i] = _join_lines(a, b)


def _join_lines(a: Line, b: Line) -> Line:
    first, second = a.event, b.event
    if isinstance(first, Sound) and isinstance(second, Sound):
        end = max(e.start if e.end is None else e.end for e in (first, second))
        confidence = max(first.confidence, second.confidence)
        merged = replace(first, end=end, confidence=confidence)
        if first.label == second.label:
            return Line(merged, a.count + b.count)
        labels = (str(_told(line)) for line in (a, b))
        return Line(replace(merged, label=", ".join(labels)[:MAX_TEXT_CHARS]))
    if isinstance(first, Speech) and isinstance(second, Speech):
        text = f"{first.text} {second.text}"[:MAX_TEXT_CHARS]
        confidence = min(first.confidence, second.confidence)
        return Line(
            replace(first, text=text, end=max(first.end, second.end), confidence=confidence)
        )
    if isinstance(first, Lost) and isinstance(second, Lost):
        return Line(replace(first, samples=first.samples + second.samples))
    raise TypeError(f"cannot join {type(first).__name__} and {type(second).__name__}")


def _told(line: Line) -> str:
    event = spoken(line)
    return event.label if isinstance(event, Sound) else ""
