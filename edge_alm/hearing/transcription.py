"""When a speech segment becomes text: now, or on a thread of its own."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from edge_alm.errors import EdgeAlmError
from edge_alm.hearing.transcriber import Transcriber
from edge_alm.types import Event, Fault, Samples, Speech, to_seconds

LONGEST_QUEUE = 8
"""Segments that may wait; at most 28 s each, so 14 MB in all."""


class Transcription(Protocol):
    """Takes segments as they end and gives events as they are ready, in order."""

    def submit(self, start: int, samples: Samples) -> None:
        """Hand over the segment [n] that begins at sample index ``start``; never blocks long."""
        ...

    def collect(self) -> list[Event]:
        """What has become ready since the last call."""
        ...

    def finish(self) -> list[Event]:
        """Wait for everything that was submitted."""
        ...


def transcribe_segment(
    load: Callable[[], Transcriber], start: int, samples: Samples
) -> list[Event]:
    """The speech of a segment; nothing when nothing was said; a fault when it can't be told."""
    try:
        transcript = load().transcribe(samples)
    except EdgeAlmError as error:
        return [Fault(error.code, f"speech has no text: {error}", error.hint)]
    if not transcript.text:
        return []
    end = start + len(samples)
    return [
        Speech(transcript.text, to_seconds(start), to_seconds(end), round(transcript.confidence, 3))
    ]


class InlineTranscription:
    """Text before the next sample: what a recording wants, the same events at every run.

    Args:
        load: gives the transcriber; called at the first segment, so that sounds need not wait
            for a model that may never be used.
    """

    def __init__(self, load: Callable[[], Transcriber]) -> None:
        self._load = load
        self._ready: list[Event] = []

    def submit(self, start: int, samples: Samples) -> None:
        """See :class:`Transcription`."""
        self._ready += transcribe_segment(self._load, start, samples)

    def collect(self) -> list[Event]:
        """See :class:`Transcription`."""
        ready, self._ready = self._ready, []
        return ready

    def finish(self) -> list[Event]:
        """See :class:`Transcription`."""
        return self.collect()


class ThreadedTranscription:
    """Text while listening goes on: what a microphone wants.

    When the transcriber cannot keep up, the oldest waiting segment is given up and a fault
    says so; sounds and later speech are not held back by it.

    Args:
        load: gives the transcriber; called at once, on the thread.
    """

    def __init__(self, load: Callable[[], Transcriber]) -> None:
        self._load = load
        self._waiting: deque[tuple[int, Samples]] = deque()
        self._ready: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._busy = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="transcription", daemon=True)
        self._thread.start()

    def submit(self, start: int, samples: Samples) -> None:
        """See :class:`Transcription`."""
        with self._changed:
            if len(self._waiting) >= LONGEST_QUEUE:
                skipped, audio = self._waiting.popleft()
                end = skipped + len(audio)
                self._ready.put(
                    Fault(
                        "speech-skipped",
                        f"speech from {to_seconds(skipped)} to {to_seconds(end)} s has no text: "
                        "the transcriber is too slow",
                        "use a smaller model or a faster machine",
                    )
                )
            self._waiting.append((start, samples))
            self._changed.notify_all()

    def collect(self) -> list[Event]:
        """See :class:`Transcription`."""
        ready: list[Event] = []
        while True:
            try:
                ready.append(self._ready.get_nowait())
            except queue.Empty:
                return ready

    def finish(self) -> list[Event]:
        """See :class:`Transcription`."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not (self._waiting or self._busy))
        return self.collect()

    def close(self) -> None:
        """Give up what still waits; the segment in work is finished in the background."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()

    def _run(self) -> None:
        with contextlib.suppress(EdgeAlmError):  # told with the first segment
            self._load()
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._closed or self._waiting)
                if self._closed:
                    return
                start, samples = self._waiting.popleft()
                self._busy = True
            for event in transcribe_segment(self._load, start, samples):
                self._ready.put(event)
