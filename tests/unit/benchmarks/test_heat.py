"""Throughput by the minute: nothing that was heard is lost or counted twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.heat import MINUTE_S, Minute, Pass, measure, share_out, to_lines
from edge_alm.errors import EdgeAlmError

passes = st.lists(
    st.builds(
        lambda begun_s, took_s, audio_s: Pass(begun_s, begun_s + took_s, audio_s),
        st.floats(100.0, 220.0),
        st.floats(0.1, 90.0),
        st.floats(0.0, 600.0),
    ),
    max_size=8,
)


@given(passes)
def test_all_that_was_heard_is_in_some_minute(found: list[Pass]) -> None:
    shared = share_out(found, begun_s=100.0, minutes=4)
    heard_s = sum(each.audio_s for each in found if each.ended_s <= 340.0)
    assert MINUTE_S * sum(shared) == pytest.approx(sum(each.audio_s for each in found))
    assert MINUTE_S * sum(shared) >= heard_s - 1e-6


def test_a_pass_over_a_border_is_shared_by_its_time() -> None:
    half = Pass(10.0, 110.0, 200.0)
    assert share_out([half], begun_s=0.0, minutes=2) == pytest.approx([100 / 60, 100 / 60])
    before = Pass(-30.0, 30.0, 60.0)
    assert share_out([before], begun_s=0.0, minutes=1) == pytest.approx([0.5])


def test_first_last_and_least_are_told() -> None:
    minutes = [
        Minute(10.0, 45.0, 2400.0, 0),
        Minute(8.0, 80.0, 1800.0, 3),
        Minute(9.0, *3 * [None]),
    ]
    lines = to_lines(minutes)
    assert "80 C" in lines[2]
    assert "not known" in lines[3]
    assert lines[-1] == "first minute 10.00, last 9.00 x real time: 90.0% of it; the least 80.0%"


def test_models_that_are_missing_end_it_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setenv("EDGE_ALM_HOME", str(tmp_path_factory.mktemp("empty")))
    monkeypatch.setenv("EDGE_ALM_OFFLINE", "1")
    with pytest.raises(EdgeAlmError):
        measure(1, 2, llm=True)
