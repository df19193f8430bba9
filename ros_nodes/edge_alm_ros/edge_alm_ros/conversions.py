"""Between the runtime's events and the fields of messages. No ROS in here.

A message is a dictionary of its fields, nested as the .msg file is; :func:`fill` puts one into a
message of whatever library.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from edge_alm.audio.ros import chunk_from_message, unix_from_stamp
from edge_alm.models.bundle import Bundle
from edge_alm.types import SAMPLE_RATE_HZ, Answer, Event, Fault, Lost, Sound, Speech, Watch

__all__ = [
    "Origin",
    "answer_fields",
    "audioset_ids",
    "chunk_from_message",
    "event_fields",
    "fill",
    "refusal_fields",
    "stamp_fields",
    "unix_from_stamp",
]

Fields = dict[str, Any]
Message = TypeVar("Message")
_NEVER: Fields = {"sec": 0, "nanosec": 0}


@dataclass(frozen=True)
class Origin:
    """What all messages of a stream say alike."""

    stream_id: str
    frame_id: str
    started_unix: float
    """Wall clock of sample 0."""
    bundle_id: str
    bundle_hash: str


def event_fields(
    event: Event, origin: Origin, now_unix: float, ids: Mapping[str, str] | None = None
) -> Fields:
    """An event as an ``AudioEvent``.

    Args:
        event: what happened.
        origin: of its stream.
        now_unix: the stamp of what has no time of its own (an answer, a fault).
        ids: AudioSet's id of each label.
    """
    onset_s, offset_s = _span(event)
    onset = _NEVER if onset_s is None else stamp_fields(origin.started_unix + onset_s)
    offset = _NEVER if offset_s is None else stamp_fields(origin.started_unix + offset_s)
    fields: Fields = {
        "header": {
            "stamp": stamp_fields(event.at_unix or now_unix) if onset_s is None else onset,
            "frame_id": origin.frame_id,
        },
        "stream_id": origin.stream_id,
        "type": event.type,
        "state": "",
        "label": "",
        "audioset_id": "",
        "confidence": 0.0,
        "onset": onset,
        "offset": offset,
        "text": "",
        "lost_samples": 0,
        "bundle_id": origin.bundle_id,
        "bundle_hash": origin.bundle_hash,
    }
    if isinstance(event, Lost):
        fields.update(text=event.reason, lost_samples=event.samples)
    elif isinstance(event, Fault):
        hint = f"; {event.hint}" if event.hint and event.hint not in event.message else ""
        fields.update(label=event.code, text=event.message + hint)
    else:
        fields["confidence"] = float(event.confidence)
    if isinstance(event, Sound):
        fields.update(label=event.label, state=event.state)
    elif isinstance(event, Watch):
        fields.update(label=event.label, text=event.query)
    elif isinstance(event, Speech):
        fields["text"] = event.text
    elif isinstance(event, Answer):
        fields.update(label=event.choice or "", text=event.text)
    if isinstance(event, Sound | Watch) and ids:
        fields["audioset_id"] = ids.get(event.label, "")
    return fields


def answer_fields(answer: Answer) -> Fields:
    """An answer as the response of ``AskAudio``, or a part of the result of ``ListenAndAnswer``."""
    return {
        "success": True,
        "message": "",
        "answer": answer.text,
        "choice": answer.choice or "",
        "confidence": float(answer.confidence),
        "ttft_ms": float(answer.ttft_ms),
        "total_ms": float(answer.total_ms),
    }


def refusal_fields(reason: str) -> Fields:
    """As :func:`answer_fields`, where there is none."""
    return {"success": False, "message": reason}


def fill(message: Message, fields: Mapping[str, Any]) -> Message:
    """Set the fields of a message, those of its parts too; the message."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            fill(getattr(message, name), value)
        else:
            setattr(message, name, value)
    return message


def stamp_fields(unix_s: float) -> Fields:
    """A ``builtin_interfaces/Time``; to the microsecond, which is what a double of today holds."""
    microseconds = max(0, round(unix_s * 1e6))
    return {"sec": microseconds // 1_000_000, "nanosec": microseconds % 1_000_000 * 1000}


def audioset_ids(bundle: Bundle) -> dict[str, str]:
    """AudioSet's id (``/m/...``) of each label that the bundle's encoder gives."""
    return read_ids(bundle.labels)


def read_ids(class_map: Path) -> dict[str, str]:
    """Of a file with the columns index, mid, display_name."""
    with class_map.open(newline="", encoding="utf-8") as file:
        return {row["display_name"]: row["mid"] for row in csv.DictReader(file)}


def _span(event: Event) -> tuple[float | None, float | None]:
    """Onset and offset, seconds from the stream's start."""
    if isinstance(event, Sound | Speech):
        return event.start, event.end
    if isinstance(event, Watch):
        return event.start, None
    if isinstance(event, Lost):
        return event.at, event.at + event.samples / SAMPLE_RATE_HZ
    return None, None
