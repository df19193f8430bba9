"""The report on what listening takes: figures that were measured, and no others."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.power import (
    ALL_STAGES,
    KINDS,
    REST,
    Cost,
    make_recording,
    print_gaps,
    print_table,
    report_on,
    report_on_questions,
)
from edge_alm.bench.meters.energy import Energy
from edge_alm.types import SAMPLE_RATE_HZ

WEIGHTS = {"hop": 4_000_000, "pass": 100_000_000}


def make_cost(energy: Energy | None, events: int = 4) -> Cost:
    stages_s = {name: 0.1 for name, _, _ in ALL_STAGES} | {REST: 0.3}
    return Cost(
        seconds=10.0,
        cpu_s=1.0,
        stages_s=stages_s,
        hops=20,
        passes=5,
        events=events,
        energy=energy,
    )


def test_joules_are_those_above_idle() -> None:
    report = report_on(make_cost(Energy(50.0, 10.0, 10.0, 0, "")), WEIGHTS, idle_w=4.0)
    assert report["joules_per_hour"] == pytest.approx(3600.0)
    assert report["joules_per_event"] == pytest.approx(2.5)
    assert report["cpu_s_per_hour"] == pytest.approx(360.0)
    assert report["duty"][REST] == pytest.approx(0.03)
    assert report["weight_bytes_per_hour"] == pytest.approx(360 * (20 * 4e6 + 5 * 100e6))


def test_what_a_short_gap_leaves_out_is_reckoned_by_the_mean_and_told() -> None:
    report = report_on(make_cost(Energy(47.5, 9.5, 10.0, 1, "away")), WEIGHTS, idle_w=4.0)
    assert report["joules_per_hour"] == pytest.approx(3600.0)
    assert report["unmeasured_s"] == pytest.approx(0.5)
    assert (report["faults"], report["fault"]) == (1, "away")


@pytest.mark.parametrize(
    ("energy", "idle_w"),
    [
        (None, None),
        (Energy(20.0, 5.0, 10.0, 50, "gone"), 4.0),
        (Energy(50.0, 10.0, 10.0, 0, ""), None),
    ],
)
def test_what_was_not_measured_is_not_invented(
    energy: Energy | None, idle_w: float | None, capsys: pytest.CaptureFixture[str]
) -> None:
    cost = make_cost(energy)
    report = report_on(cost, WEIGHTS, idle_w)
    assert report["joules_per_hour"] is None
    assert report["joules_per_event"] is None
    assert report_on_questions(cost, WEIGHTS, idle_w)["joules_per_question"] is None
    json.dumps(report)
    print_table(dict.fromkeys(KINDS, report), metered=energy is not None)
    print_gaps({"silence": cost})
    text = capsys.readouterr().out
    assert ("J an hour" in text) == (energy is not None)
    gone = energy is not None and energy.faults > 0
    assert ("5.0 of 10.0 s without a reading, 50 faults: gone (no figure)" in text) == gone


def test_without_events_there_is_no_figure_for_one() -> None:
    cost = make_cost(Energy(50.0, 10.0, 10.0, 0, ""), events=0)
    report = report_on(cost, WEIGHTS, idle_w=4.0)
    assert report["joules_per_event"] is None
    assert report["joules_per_hour"] == pytest.approx(3600.0)


@pytest.mark.parametrize(("kind", "share"), [("home noise", 0.1), ("conversation", 0.6)])
@pytest.mark.parametrize("seconds", [5.0, 60.0])
def test_recordings_are_as_long_and_as_busy_as_they_say(
    kind: str, share: float, seconds: float
) -> None:
    audio = make_recording(kind, seconds)
    assert len(audio) == seconds * SAMPLE_RATE_HZ
    assert audio.dtype == np.float32
    frames = audio.reshape(-1, 1600)
    busy = float(np.mean(np.sqrt(np.mean(frames**2, axis=1)) > 0.003))
    # Recordings have quiet ends and pauses; the first begins at once.
    assert share / 3 < busy < share * 1.5 + 1.0 / seconds
    assert not make_recording("silence", seconds).any()
