"""What is kept over time."""

from __future__ import annotations

import json
import time

import pytest

from edge_alm.bench import trace as module
from edge_alm.bench.meters.energy import Sampler, Tally
from edge_alm.bench.meters.meter import Quantity, Reading
from edge_alm.bench.trace import Trace


class Steady:
    """A meter that always says the same."""

    name = "steady"
    scope = "nothing"
    quantity: Quantity = "watts"
    interval_s = 0.01
    longest_s = 1.0

    def read(self) -> list[Reading]:
        return [Reading(time.monotonic(), 5.0)]

    def close(self) -> None:
        """Nothing is open."""


def test_cpu_and_phases_are_told_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL_S", 0.02)
    with Trace() as trace:
        with trace.phase("sleeps"):
            time.sleep(0.1)
        with trace.phase("works"):
            end_s = time.process_time() + 0.15
            while time.process_time() < end_s:
                pass
    found = trace.to_dict()
    assert json.loads(json.dumps(found)) == found
    assert found["watts"] is None
    sleeps, works = found["phases"]
    assert (sleeps["name"], works["name"]) == ("sleeps", "works")
    assert 0.0 <= sleeps["begin_s"] < sleeps["end_s"] <= works["begin_s"] < works["end_s"]
    times_s = [point["at_s"] for point in found["points"]]
    assert times_s == sorted(set(times_s))

    def busiest(phase: dict[str, float]) -> float:
        within = [p for p in found["points"] if phase["begin_s"] < p["at_s"] <= phase["end_s"]]
        return float(max(point["cores"] for point in within))

    assert busiest(works) > 2 * busiest(sleeps)


def test_hours_stay_a_bounded_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL_S", 0.001)
    monkeypatch.setattr(module, "MOST_POINTS", 8)
    with Trace() as trace:
        time.sleep(0.2)
    times_s = [point["at_s"] for point in trace.to_dict()["points"]]
    assert 1 < len(times_s) <= 8
    assert times_s == sorted(times_s)
    assert times_s[-1] > 0.05


def test_power_is_what_the_meter_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_POINTS", 8)
    with Sampler(Steady()) as sampler, Trace(sampler) as trace:
        time.sleep(0.3)
        sampler.energy(0.0, 0.0)
    watts = trace.to_dict()["watts"]
    assert 1 < len(watts) <= 8
    assert [w for _, w in watts] == pytest.approx([5.0] * len(watts))
    assert all(0.0 <= at_s <= 1.0 for at_s, _ in watts)


def test_only_stretches_within_a_window_are_told() -> None:
    tally = Tally("watts", 10.0)
    for i in range(6):
        tally.push(Reading(float(i), 2.0))
    assert [(s.begin_s, s.end_s) for s in tally.stretches(0.5, 4.5)] == [(1, 2), (2, 3), (3, 4)]
