"""When a speech segment becomes text: now, or on a thread of its own."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeAlias

from edge_alm.errors import EdgeAlmError
from edge_alm.hearing.transcriber import Transcriber, Transcript
from edge_alm.types import Event, Fault, Samples, Speech, to_seconds

FORESEEN_S = 0.4
"""A transcriber that took longer is not asked before it has to be: by the time that more is said,
and that is over, it would not be done with what it was asked for in vain."""
LONGEST_QUEUE = 8
"""Segments that may wait; at most 28 s each, so 14 MB in all."""
OnPartial: TypeAlias = Callable[[Speech], None]
"""Told what has been said so far in a segment that goes on, each time anew and from its start.
It ends with the event of the segment, or with an empty text when nothing was said after all."""


class Transcription(Protocol):
    """Takes segments as they end and gives events as they are ready, in order."""

    wants_drafts: bool
    """Whether anybody is told what is said before the segment ends."""

    def submit(self, start: int, samples: Samples) -> None:
        """Hand over the segment [n] that begins at sample index ``start``; never blocks long.

        No samples: what was drafted from there turned out to be no speech.
        """
        ...

    def draft(self, start: int, samples: Samples) -> None:
        """Hand over what there is of a segment that goes on; it may be left out."""
        ...

    def foresee(self, start: int, samples: Samples) -> None:
        """Hand over a segment that will be submitted unless more is said; it may be left out."""
        ...

    def collect(self) -> list[Event]:
        """What has become ready since the last call."""
        ...

    def finish(self) -> list[Event]:
        """Wait for everything that was submitted."""
        ...


class _Desk:
    """Makes events of segments, and tells of drafts; all on one thread."""

    def __init__(self, load: Callable[[], Transcriber], on_partial: OnPartial | None) -> None:
        self.load = load
        self._on_partial = on_partial
        self._told = ""
        self._foreseen: tuple[int, int, Transcript] | None = None
        self._took_s = 0.0

    def foresee(self, start: int, samples: Samples) -> None:
        """Have the text of a segment that is not known to have ended."""
        if self._took_s <= FORESEEN_S:
            with contextlib.suppress(EdgeAlmError):  # told with the segment
                self._foreseen = start, len(samples), self._read(samples)

    def foreseen(self, start: int, samples: Samples) -> Transcript | None:
        """What a segment says, if it was foreseen just as it is."""
        if self._foreseen is None or self._foreseen[:2] != (start, len(samples)):
            return None
        return self._foreseen[2]

    def transcribe(self, start: int, samples: Samples) -> list[Event]:
        """The speech of a segment; nothing when nothing was said; a fault when it can't be told."""
        events: list[Event] = []
        if len(samples):
            try:
                transcript = self.foreseen(start, samples) or self._read(samples)
            except EdgeAlmError as error:
                events = [Fault(error.code, f"speech has no text: {error}", error.hint)]
            else:
                if transcript.text:
                    events = [_speech(start, samples, transcript.text, transcript.confidence)]
        if self._told and not any(isinstance(event, Speech) for event in events):
            self._tell(_speech(start, samples, "", 0.0))
        self._told = ""
        return events

    def draft(self, start: int, samples: Samples) -> None:
        """Tell what was said so far, if it is more than nothing and new."""
        with contextlib.suppress(EdgeAlmError):  # told with the segment
            transcript = self.load().draft(samples)
            if transcript.text and transcript.text != self._told:
                self._tell(_speech(start, samples, transcript.text, transcript.confidence))

    def _read(self, samples: Samples) -> Transcript:
        began_s = time.monotonic()
        transcript = self.load().transcribe(samples)
        self._took_s = time.monotonic() - began_s
        return transcript

    def _tell(self, speech: Speech) -> None:
        self._told = speech.text
        if self._on_partial is not None:
            self._on_partial(speech)


def _speech(start: int, samples: Samples, text: str, confidence: float) -> Speech:
    end = start + len(samples)
    return Speech(text, to_seconds(start), to_seconds(end), round(confidence, 3))


class InlineTranscription:
    """Text before the next sample: what a recording wants, the same events at every run.

    Args:
        load: gives the transcriber; called at the first segment, so that sounds need not wait
            for a model that may never be used.
        on_partial: told what is said while it is being said; on the caller's thread.
    """

    def __init__(
        self, load: Callable[[], Transcriber], on_partial: OnPartial | None = None
    ) -> None:
        self.wants_drafts = on_partial is not None
        self._desk = _Desk(load, on_partial)
        self._ready: list[Event] = []

    def submit(self, start: int, samples: Samples) -> None:
        """See :class:`Transcription`."""
        self._ready += self._desk.transcribe(start, samples)

    def draft(self, start: int, samples: Samples) -> None:
        """See :class:`Transcription`."""
        self._desk.draft(start, samples)

    def foresee(self, start: int, samples: Samples) -> None:
        """See :class:`Transcription`. Nobody would have it sooner."""

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
    says so; sounds and later speech are not held back by it. Drafts wait for segments, and only
    the newest of them waits.

    Args:
        load: gives the transcriber; called at once, on the thread.
        on_partial: told what is said while it is being said, on the thread; what it raises is
            raised by the next :meth:`collect`.
    """

    def __init__(
        self, load: Callable[[], Transcriber], on_partial: OnPartial | None = None
    ) -> None:
        self.wants_drafts = on_partial is not None
        self._desk = _Desk(load, on_partial)
        self._waiting: deque[tuple[int, Samples]] = deque()
        self._relieved = False
        self._draft: tuple[int, Samples] | None = None
        self._foreseen: tuple[int, Samples] | None = None
        self._ready: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._busy = False
        self._closed = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="transcription", daemon=True)
        self._thread.start()

    def submit(self, start: int, samples: Samples) -> None:
        """See :class:`Transcription`."""
        with self._changed:
            self._draft = self._foreseen = None
            if not (self._busy or self._waiting or self._relieved):
                foreseen = self._desk.foreseen(start, samples)
                if foreseen is not None and foreseen.text:
                    # Nothing is left to be read: not after the next block but now.
                    self._tell(start, samples)
                    return
            self._waiting.append((start, samples))
            self._skip_beyond(0 if self._relieved else LONGEST_QUEUE)
            self._changed.notify_all()

    def draft(self, start: int, samples: Samples) -> None:
        """See :class:`Transcription`."""
        with self._changed:
            if not self._relieved:
                self._draft = (start, samples)
                self._changed.notify_all()

    def foresee(self, start: int, samples: Samples) -> None:
        """See :class:`Transcription`."""
        with self._changed:
            if not self._relieved:
                self._foreseen = (start, samples)
                self._changed.notify_all()

    def relieve(self, relieved: bool) -> None:
        """Give up all segments that wait or come from now on, or take up work again."""
        with self._changed:
            self._relieved = relieved
            if relieved:
                self._draft = self._foreseen = None
                self._skip_beyond(0)
            self._changed.notify_all()

    def collect(self) -> list[Event]:
        """See :class:`Transcription`."""
        if self._error is not None:
            raise self._error
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
            self._draft = self._foreseen = None
            self._changed.notify_all()

    def _skip_beyond(self, kept: int) -> None:
        """Give up the oldest segments that wait, but the last ``kept``; their drafts still end."""
        why = "the machine is overloaded" if self._relieved else "the transcriber is too slow"
        waiting = [i for i, (_, samples) in enumerate(self._waiting) if len(samples)]
        for i in waiting[: max(0, len(waiting) - kept)]:
            start, samples = self._waiting[i]
            self._waiting[i] = start, samples[:0].copy()  # a view would keep all of it
            self._ready.put(
                Fault(
                    "speech-skipped",
                    f"speech from {to_seconds(start)} to {to_seconds(start + len(samples))} s "
                    f"has no text: {why}",
                    "use a smaller model or a faster machine",
                )
            )

    def _tell(self, start: int, samples: Samples) -> None:
        for event in self._desk.transcribe(start, samples):
            self._ready.put(event)

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self._error = error
            self.close()

    def _work(self) -> None:
        with contextlib.suppress(EdgeAlmError):  # told with the first segment
            self._desk.load()
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(
                    lambda: self._closed or self._waiting or self._foreseen or self._draft
                )
                if self._closed:
                    return
                draft, self._draft = self._draft, None
                segment = self._waiting.popleft() if self._waiting else None
                foreseen = None
                if segment is None:
                    foreseen, self._foreseen = self._foreseen, None
                self._busy = True
            if segment is not None:
                self._tell(*segment)
            elif foreseen is not None:
                self._desk.foresee(*foreseen)
            elif draft is not None:
                self._desk.draft(*draft)
