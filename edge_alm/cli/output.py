"""Events as lines: for people, or one JSON object each."""

from __future__ import annotations

import sys

from edge_alm.types import Answer, Event, Fault, Lost, Sound, Speech, Watch, event_to_json


def print_event(event: Event, *, as_json: bool) -> None:
    """Write one whole line at once, so that a stop never leaves half of one."""
    sys.stdout.write((event_to_json(event) if as_json else event_to_text(event)) + "\n")
    sys.stdout.flush()


def event_to_text(event: Event) -> str:
    """An event as a person reads it; times in seconds."""
    if isinstance(event, Sound):
        if event.state == "start":
            return f"{event.start:8.2f}           {event.label} ({event.confidence:.2f})"
        return f"{event.start:8.2f} - {event.end:7.2f} {event.label} ends"
    if isinstance(event, Speech):
        return f'{event.start:8.2f} - {event.end:7.2f} "{event.text}"'
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
