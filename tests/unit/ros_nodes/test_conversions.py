"""Events as the fields of messages, without ROS; against the .msg files themselves."""

from __future__ import annotations

import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_alm.types import SAMPLE_RATE_HZ, Answer, Event, Fault, Lost, Sound, Speech, Watch
from edge_alm_ros.conversions import (
    Origin,
    answer_fields,
    event_fields,
    fill,
    read_ids,
    refusal_fields,
    stamp_fields,
    unix_from_stamp,
)

PACKAGE = Path(__file__).resolve().parents[3] / "ros_nodes" / "edge_alm_msgs"
ORIGIN = Origin("mic", "ear", 1_700_000_000.25, "tiny", "ab" * 32)
NOW_UNIX = 1_700_000_100.0

seconds = st.floats(0, 1e5).map(lambda s: round(s, 3))
words = st.text(max_size=20)
shares = st.floats(0, 1)
states = st.sampled_from(["start", "end"])
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        Sound, words, seconds, st.none() | seconds, shares, st.sampled_from(["start", "end"])
    ),
    st.builds(Speech, words, seconds, seconds, shares),
    st.builds(Answer, words, words, st.none() | words, shares, seconds, seconds),
    st.builds(Watch, words, words, seconds, shares),
    st.builds(Lost, st.integers(1, 10**9), seconds, words),
    st.builds(Fault, words, words, words),
)


def defined(file: str, part: int = 0) -> dict[str, str]:
    """Names and types of the fields in a part of an interface file."""
    text = re.sub(r"#.*", "", (PACKAGE / file).read_text(encoding="utf-8")).split("---")[part]
    rows = [line.split() for line in text.splitlines() if line.strip() and "=" not in line]
    return {name: kind for kind, name in rows}


def blank(kind: str) -> Any:
    """A message of that type, as every library makes it: an object with its parts."""
    if kind == "std_msgs/Header":
        return SimpleNamespace(stamp=blank("builtin_interfaces/Time"), frame_id="")
    if kind == "builtin_interfaces/Time":
        return SimpleNamespace(sec=0, nanosec=0)
    return "" if kind == "string" else 0


def fits(value: object, kind: str) -> bool:
    if kind == "string":
        return isinstance(value, str)
    if kind.startswith("float"):
        return isinstance(value, float)
    if kind == "bool":
        return isinstance(value, bool)
    return isinstance(value, int) and value >= 0


@given(events)
def test_every_event_fills_every_field(event: Event) -> None:
    kinds = defined("msg/AudioEvent.msg")
    fields = event_fields(event, ORIGIN, NOW_UNIX)
    assert list(fields) == list(kinds)
    message = SimpleNamespace(**{name: blank(kind) for name, kind in kinds.items()})
    assert fill(message, fields) is message
    for name, kind in kinds.items():
        if "/" not in kind:
            assert fits(getattr(message, name), kind), (name, kind)
    constants = re.findall(r"=(\w+)", (PACKAGE / "msg/AudioEvent.msg").read_text("utf-8"))
    assert message.type in constants
    assert message.state in ("", *constants)
    assert (message.header.frame_id, message.stream_id) == ("ear", "mic")


@given(events)
def test_times_are_those_of_the_capture(event: Event) -> None:
    fields = event_fields(event, ORIGIN, NOW_UNIX)

    def at(name: str) -> float:
        return unix_from_stamp(SimpleNamespace(**fields[name]))

    stamp = unix_from_stamp(SimpleNamespace(**fields["header"]["stamp"]))
    if isinstance(event, Answer | Fault):
        assert stamp == NOW_UNIX
        assert at("onset") == at("offset") == 0
        return
    start = event.at if isinstance(event, Lost) else event.start
    assert stamp == at("onset") == pytest.approx(ORIGIN.started_unix + start, abs=1e-5)
    if isinstance(event, Lost):
        end: float | None = event.at + event.samples / SAMPLE_RATE_HZ
    else:
        end = None if isinstance(event, Watch) else event.end
    expected = 0 if end is None else ORIGIN.started_unix + end
    assert at("offset") == pytest.approx(expected, abs=1e-5)


def test_what_each_event_tells() -> None:
    def told(event: Event) -> dict[str, Any]:
        fields = event_fields(event, ORIGIN, NOW_UNIX, {"Dog": "/m/0bt9lr"})
        names = ("type", "state", "label", "audioset_id", "text", "lost_samples")
        return {name: fields[name] for name in names if fields[name]}

    assert told(Sound("Dog", 1.0, None, 0.9, "start")) == {
        "type": "sound",
        "state": "start",
        "label": "Dog",
        "audioset_id": "/m/0bt9lr",
    }
    assert told(Speech("go", 1.0, 2.0, 0.9)) == {"type": "speech", "text": "go"}
    assert told(Watch("a dog", "Dog", 1.0, 0.9)) == {
        "type": "watch",
        "label": "Dog",
        "audioset_id": "/m/0bt9lr",
        "text": "a dog",
    }
    assert told(Lost(320, 1.0, "gap")) == {"type": "lost", "text": "gap", "lost_samples": 320}
    assert told(Fault("device-lost", "gone", "plug it in")) == {
        "type": "fault",
        "label": "device-lost",
        "text": "gone; plug it in",
    }
    assert told(Answer("q", "a dog", "a dog", 0.9, 1.0, 2.0)) == {
        "type": "answer",
        "label": "a dog",
        "text": "a dog",
    }


@pytest.mark.parametrize("file", ["srv/AskAudio.srv", "action/ListenAndAnswer.action"])
def test_answers_fit_the_interfaces(file: str) -> None:
    kinds = defined(file, 1)
    fields = answer_fields(Answer("q", "a", None, 1.0, 3.0, 4.0))
    assert set(fields) == set(kinds) - {"answers"}
    assert all(fits(value, kinds[name]) for name, value in fields.items())
    assert set(refusal_fields("why")) <= set(kinds)


@given(st.floats(-1.0, 4e9))
def test_stamps_there_and_back(unix_s: float) -> None:
    stamp = stamp_fields(unix_s)
    assert 0 <= stamp["nanosec"] < 1_000_000_000
    assert math.isclose(
        unix_from_stamp(SimpleNamespace(**stamp)), max(0.0, unix_s), rel_tol=0, abs_tol=2e-6
    )


def test_ids_are_read_from_the_class_map(tmp_path: Path) -> None:
    (tmp_path / "map.csv").write_text('index,mid,display_name\n0,/m/1,"A, b"\n1,/m/2,C\n')
    assert read_ids(tmp_path / "map.csv") == {"A, b": "/m/1", "C": "/m/2"}
