"""A whole run with a power meter: one that is steady, and one that fails."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from edge_alm.bench.measure import Bench, Plan
from edge_alm.bench.meters.energy import Sampler
from edge_alm.bench.meters.meter import MeterError, Quantity, Reading
from edge_alm.bench.report import Report
from edge_alm.bench.start import start

pytestmark = pytest.mark.usefixtures("models")
WATTS = 5.0
PLAN = Plan(rounds=2, listen_s=2.0, lengths_s=(5, 30), decode_tokens=8, idle_s=0.3)
LISTENS_ONLY = {"bundle": "default", "llm": False, "transcribe": False}


class Steady:
    """Always the same power."""

    name = "steady"
    scope = "nothing"
    quantity: Quantity = "watts"
    interval_s = 0.05
    longest_s = 5.0

    def read(self) -> list[Reading]:
        return [Reading(time.monotonic(), WATTS)]

    def close(self) -> None:
        """Nothing is open."""


class Broken(Steady):
    """Never says anything."""

    name = "broken"

    def read(self) -> list[Reading]:
        raise MeterError("broken", expected="a reading", got="none")


def measure(meter: Steady) -> Report:
    with Sampler(meter) as sampler:
        return Bench(LISTENS_ONLY, PLAN, None, sampler).run(["a note"])


def test_a_steady_meter() -> None:
    report = measure(Steady())
    idle = report.find("power/idle")
    assert idle is not None
    assert idle.samples == pytest.approx([WATTS] * PLAN.rounds, rel=1e-3)
    for kind in ("silence", "sounds", "voice"):
        figure = report.find(f"power/{kind}")
        assert figure is not None
        # Nothing above idle, whatever it did.
        assert figure.samples == pytest.approx([0.0] * PLAN.rounds, abs=0.01)
    watts = report.values["trace"]["watts"]
    assert [w for _, w in watts] == pytest.approx([WATTS] * len(watts))
    assert report.values["meter"] == {"name": "steady", "scope": "nothing"}
    assert report.values["notes"][0] == "a note"
    names = {phase["name"] for phase in report.values["trace"]["phases"]}
    assert {"warm-up", "round 1, idle", "round 2, listens"} <= names


def test_what_a_meter_does_not_say_is_not_made_up() -> None:
    report = measure(Broken())
    assert not [figure.name for figure in report.figures if figure.group == "power"]
    assert report.values["trace"]["watts"] == []


def test_a_fresh_process_takes_no_modules_from_the_users_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('not this one')\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    found = start(LISTENS_ONLY)
    assert found.ready_s > 0.0
    assert found.first_ms is None
    assert found.peak_rss_bytes > 30e6
