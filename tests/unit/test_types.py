import json
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_alm.types import (
    SAMPLE_RATE_HZ,
    Answer,
    Event,
    Fault,
    Frame,
    Lost,
    Sound,
    Speech,
    Watch,
    event_from_dict,
    event_to_dict,
    event_to_json,
    to_seconds,
)

TEXT = st.text(max_size=20)
SECONDS = st.floats(0, 1e6).map(lambda s: round(s, 3))
SHARE = st.floats(0, 1)
UNIX = st.none() | st.floats(0, 4e9)
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        Sound, TEXT, SECONDS, st.none() | SECONDS, SHARE, st.sampled_from(["start", "end"]), UNIX
    ),
    st.builds(Speech, TEXT, SECONDS, SECONDS, SHARE, UNIX),
    st.builds(Answer, TEXT, TEXT, st.none() | TEXT, SHARE, SECONDS, SECONDS, UNIX),
    st.builds(Watch, TEXT, TEXT, SECONDS, SHARE, UNIX),
    st.builds(Lost, st.integers(1, 1 << 40), SECONDS, TEXT, UNIX),
    st.builds(Fault, TEXT, TEXT, TEXT, UNIX),
)

KEYS = {
    "sound": {"label", "start", "end", "confidence", "state"},
    "speech": {"text", "start", "end", "confidence"},
    "answer": {"question", "text", "choice", "confidence", "ttft_ms", "total_ms"},
    "watch": {"query", "label", "start", "confidence"},
    "lost": {"samples", "at", "reason"},
    "fault": {"code", "message", "hint"},
}
"""The contract of the wire."""


@given(EVENTS)
def test_an_event_survives_json_on_one_line(event: Event) -> None:
    line = event_to_json(event)
    assert "\n" not in line
    assert event_from_dict(json.loads(line)) == event


@given(EVENTS)
def test_the_keys_are_those_of_the_contract(event: Event) -> None:
    values = event_to_dict(event)
    wall_clock = {"at_unix"} if event.at_unix is not None else set()
    assert values.keys() == {"type"} | KEYS[values["type"]] | wall_clock


@given(EVENTS, st.data())
def test_a_missing_or_unknown_key_is_refused(event: Event, data: st.DataObject) -> None:
    values = event_to_dict(event)
    key = data.draw(st.sampled_from(sorted(KEYS[event.type])))
    with pytest.raises(ValueError, match=f"{event.type} event: expected keys"):
        event_from_dict({k: v for k, v in values.items() if k != key})
    with pytest.raises(ValueError, match=f"{event.type} event: expected keys"):
        event_from_dict({**values, "more": 1})


@pytest.mark.parametrize("kind", ["smell", None, 3, ["sound"]])
def test_an_unknown_type_is_refused(kind: object) -> None:
    with pytest.raises(ValueError, match="expected one of sound, speech, answer"):
        event_from_dict({"type": kind})


def test_text_stays_readable_in_json() -> None:
    assert "Grüße" in event_to_json(Speech("Grüße", 0.0, 1.0, 0.5))


def test_a_frame_ends_after_its_last_sample() -> None:
    assert Frame(100, np.zeros(16, np.float32)).end == 116


@given(st.integers(0, 1 << 40))
def test_seconds_are_exact_to_the_millisecond(samples: int) -> None:
    seconds = to_seconds(samples)
    assert abs(seconds - samples / SAMPLE_RATE_HZ) <= 0.000_501
    assert round(seconds, 3) == seconds


def test_events_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Lost(1, 0.0, "x").samples = 2  # type: ignore[misc]
