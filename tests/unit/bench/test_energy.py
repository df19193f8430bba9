"""Readings to joules: exact for constant power, and never across what was not measured."""

from __future__ import annotations

import shutil
import time
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_alm.bench.meters.energy import Sampler, Tally
from edge_alm.bench.meters.jetson import Ina3221
from edge_alm.bench.meters.meter import Quantity, Reading

POWER = Path(__file__).resolve().parents[2] / "data" / "power"
STEPS_S = st.lists(st.floats(0.001, 600.0), min_size=1, max_size=30)
WATTS = st.floats(0.0, 100.0)


def times_of(steps_s: list[float]) -> list[float]:
    return [1000.0, *accumulate(steps_s, initial=1000.5)]


@settings(deadline=None)
@given(steps_s=STEPS_S, watts=WATTS, quantity=st.sampled_from(["watts", "joules"]))
def test_constant_power_is_power_times_time(
    steps_s: list[float], watts: float, quantity: Quantity
) -> None:
    tally = Tally(quantity, longest_s=601.0)
    times_s = times_of(steps_s)
    for at_s in times_s:
        tally.push(Reading(at_s, watts if quantity == "watts" else watts * at_s))
    energy = tally.energy(times_s[0], times_s[-1])
    assert energy.gap_s == pytest.approx(0.0, abs=1e-6)
    assert energy.joules == pytest.approx(watts * (times_s[-1] - times_s[0]), abs=1e-6)
    assert energy.watts == pytest.approx(watts, abs=1e-6)


@settings(deadline=None)
@given(
    steps=st.lists(st.tuples(st.floats(0.001, 600.0), st.booleans()), min_size=1, max_size=30),
    watts=WATTS,
    longest_s=st.floats(1.0, 600.0),
)
def test_gaps_are_counted_and_not_filled(
    steps: list[tuple[float, bool]], watts: float, longest_s: float
) -> None:
    tally = Tally("watts", longest_s)
    at_s, covered_s, joins = 0.0, 0.0, False
    for step_s, fails in steps:
        last_s, at_s = at_s, at_s + step_s
        if fails:
            tally.fail(at_s, "nothing")
        else:
            tally.push(Reading(at_s, watts))
            covered_s += at_s - last_s if joins and at_s - last_s <= longest_s else 0.0
        joins = not fails
    energy = tally.energy(0.0, at_s)
    assert energy.covered_s == pytest.approx(covered_s, abs=1e-6)
    assert energy.gap_s == pytest.approx(at_s - covered_s, abs=1e-6)
    assert energy.joules == pytest.approx(watts * covered_s, abs=1e-6)
    assert energy.faults == sum(fails for _, fails in steps)


@settings(deadline=None)
@given(
    steps=st.lists(st.tuples(st.floats(0.001, 600.0), WATTS), min_size=1, max_size=30),
    share=st.floats(0.0, 1.0),
)
def test_windows_side_by_side_are_one_window(
    steps: list[tuple[float, float]], share: float
) -> None:
    tally = Tally("watts", longest_s=300.0)
    at_s = 0.0
    for step_s, watts in steps:
        at_s += step_s
        tally.push(Reading(at_s, watts))
    parts = tally.energy(0.0, share * at_s), tally.energy(share * at_s, at_s)
    whole = tally.energy(0.0, at_s)
    assert sum(part.joules for part in parts) == pytest.approx(whole.joules, abs=1e-6)
    assert sum(part.covered_s for part in parts) == pytest.approx(whole.covered_s, abs=1e-6)


def test_a_rising_power_is_a_trapezoid() -> None:
    tally = Tally("watts", longest_s=10.0)
    for at_s in (0.0, 1.0, 4.0):
        tally.push(Reading(at_s, 2.0 * at_s))
    assert tally.energy(0.0, 4.0).joules == pytest.approx(16.0)


def test_too_little_gives_no_figure() -> None:
    tally = Tally("watts", longest_s=1.0)
    for at_s in range(9):
        tally.push(Reading(float(at_s), 5.0))
    assert tally.energy(0.0, 8.8).watts == pytest.approx(5.0)
    energy = tally.energy(0.0, 10.0)
    assert energy.watts is None
    assert energy.gap_s == pytest.approx(2.0)
    assert tally.energy(20.0, 30.0).watts is None


def test_a_reading_from_the_past_is_a_fault() -> None:
    tally = Tally("watts", longest_s=10.0)
    for at_s in (5.0, 6.0, 2.0, 3.0):
        tally.push(Reading(at_s, 1.0))
    energy = tally.energy(0.0, 10.0)
    assert energy.joules == pytest.approx(2.0)
    assert (energy.faults, energy.fault) == (1, "a reading from the past")


class Steady:
    """A meter of 5 W."""

    name, scope = "steady", "nothing"
    quantity: Quantity = "watts"
    interval_s, longest_s = 0.01, 600.0

    def __init__(self) -> None:
        self.closed = False

    def read(self) -> list[Reading]:
        return [Reading(time.monotonic(), 5.0)]

    def close(self) -> None:
        self.closed = True


def test_the_sampler_covers_a_window_to_its_end() -> None:
    meter = Steady()
    with Sampler(meter) as sampler:
        begun_s = time.monotonic()
        time.sleep(0.2)
        ended_s = time.monotonic()
        energy = sampler.energy(begun_s, ended_s)
    assert meter.closed
    assert energy.gap_s == pytest.approx(0.0, abs=1e-6)
    assert energy.joules == pytest.approx(5.0 * (ended_s - begun_s))


def test_a_meter_that_vanishes_in_mid_run_is_told(tmp_path: Path) -> None:
    sysfs = Path(shutil.copytree(POWER / "jetson-orin-nano", tmp_path / "sys"))
    meter = Ina3221.find(sysfs)
    assert meter is not None
    meter.longest_s = 600.0  # however busy the machine is
    with Sampler(meter) as sampler:
        begun_s = time.monotonic()
        time.sleep(0.3)
        before = sampler.energy(begun_s, time.monotonic())
        shutil.rmtree(sysfs)
        vanished_s = time.monotonic()
        time.sleep(0.3)
        energy = sampler.energy(vanished_s, time.monotonic())
    assert before.watts == pytest.approx(4.96 * 0.9)
    assert before.faults == 0
    assert energy.watts is None
    assert energy.faults >= 1
    assert "_input: expected a file to read, got No such file" in energy.fault
