"""Events as lines: for people, or one JSON object each."""

from __future__ import annotations

import os
import shutil
import sys
import threading

from edge_alm.errors import EdgeAlmError
from edge_alm.types import Answer, Event, Fault, Lost, Sound, Speech, Watch, event_to_json

CLEAR_LINE = "\r\x1b[K"
"""On a terminal."""


class OutputError(EdgeAlmError):
    """What was to be printed cannot be written."""

    code = "output"


def print_event(event: Event, *, as_json: bool) -> None:
    """Write an event as one line (an answer for people: as two).

    Raises:
        OutputError, BrokenPipeError: as :func:`print_line`.
    """
    print_line(event_to_json(event) if as_json else event_to_text(event))


def print_line(text: str) -> None:
    """Write whole lines at once, so that a stop never leaves half of one.

    Raises:
        BrokenPipeError: the reader has gone.
        OutputError: the disk is full, or the like.
    """
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(
            "standard output", expected="to write to it", got=os.strerror(error.errno or 0)
        ) from error


def print_notice(text: str) -> None:
    """A line for the person at the terminal, beside what the command prints."""
    print(f"edge-alm: {text}", file=sys.stderr)


class PartialLine:
    """What is being said: on a terminal one line that is written over, elsewhere a line each."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # speech comes on another thread than what is printed
        self._is_terminal = sys.stderr.isatty()
        self._is_shown = False

    def show(self, speech: Speech) -> None:
        """Write what there is of it; nothing where it turned out to be no speech."""
        if not speech.text:
            self.clear()
            return
        line = f'{speech.start:8.2f} ...       "{speech.text}'
        if self._is_terminal:
            room = shutil.get_terminal_size().columns - 1
            # What was said last is news; the rest has been read.
            line = CLEAR_LINE + (line if len(line) <= room else "..." + line[3 - room :])
        with self._lock:
            self._is_shown = self._is_terminal
            sys.stderr.write(line if self._is_terminal else line + "\n")
            sys.stderr.flush()

    def clear(self) -> None:
        """Make way for another line."""
        with self._lock:
            if self._is_shown:
                sys.stderr.write(CLEAR_LINE)
                sys.stderr.flush()
                self._is_shown = False


def event_to_text(event: Event) -> str:
    """An event as a person reads it; times in seconds."""
    if isinstance(event, Sound):
        if event.state == "start":
            return f"{event.start:8.2f}           {event.label} ({event.confidence:.2f})"
        return f"{event.start:8.2f} -{event.end:8.2f} {event.label} ends"
    if isinstance(event, Speech):
        return f'{event.start:8.2f} -{event.end:8.2f} "{event.text}"'
    if isinstance(event, Watch):
        return f"{event.start:8.2f}           >>> {event.query}: {event.label}"
    if isinstance(event, Lost):
        return f"{event.at:8.2f}           lost {event.samples} samples: {event.reason}"
    if isinstance(event, Fault):
        hint = f"; {event.hint}" if event.hint and event.hint not in event.message else ""
        return f"fault: {event.message}{hint}"
    return answer_to_text(event)


def answer_to_text(answer: Answer) -> str:
    """Question and answer, and what it took."""
    return (
        f"Q: {answer.question}\nA: {answer.text}  "
        f"[first token {answer.ttft_ms:.0f} ms, all {answer.total_ms:.0f} ms]"
    )
