"""What is given up by the clock alone, and what a stream is told of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_alm import runtime
from edge_alm.hearing.encoder import HOP_SAMPLES
from edge_alm.overload import (
    BEHIND_S,
    CALM_S,
    LEVEL_S,
    LONGEST_CALM_S,
    STEP_S,
    Lag,
    Overload,
    Relief,
)
from edge_alm.types import SAMPLE_RATE_HZ, Fault, Frame, Lost, Packet

LAGS = st.lists(st.floats(0.0, 12.0), max_size=200)


def step(overload: Overload, behind_s: list[float], every_s: float = 0.1) -> list[Fault]:
    faults = [overload.push(i * every_s, behind) for i, behind in enumerate(behind_s)]
    return [fault for fault in faults if fault is not None]


@given(LAGS)
def test_it_goes_one_step_at_a_time_and_tells_of_each(behind_s: list[float]) -> None:
    overload, before = Overload(), Relief.NOTHING
    for i, behind in enumerate(behind_s):
        fault = overload.push(0.1 * i, behind)
        change = overload.relief - before
        assert (fault is None) == (change == 0)
        if fault is not None:
            assert abs(change) == 1
            assert fault.code == ("overload" if change > 0 else "overload-eases")
            assert (behind >= BEHIND_S) == (change > 0)
        before = overload.relief


@given(st.lists(st.floats(0.0, BEHIND_S, exclude_max=True), max_size=200))
def test_a_machine_that_keeps_up_gives_up_nothing(behind_s: list[float]) -> None:
    assert step(Overload(), behind_s) == []


def test_one_that_falls_behind_gives_up_all_in_order_and_each_after_a_while() -> None:
    overload, reliefs = Overload(), []
    for tenth in range(100):
        before = overload.relief
        overload.push(0.1 * tenth, 0.05 * tenth)
        if overload.relief is not before:
            reliefs.append((round(0.1 * tenth, 1), overload.relief))
    assert [relief for _, relief in reliefs] == list(Relief)[1:]
    assert [at_s for at_s, _ in reliefs] == pytest.approx(
        [2 * BEHIND_S + STEP_S * i for i in range(4)], abs=0.21
    )


def test_what_helps_is_enough() -> None:
    overload = Overload()
    overload.push(0.0, 4.0)
    assert overload.relief is Relief.THINKING
    assert step_from(overload, 0.1, [4.0 - 0.05 * i for i in range(80)]) == []


def step_from(overload: Overload, start_s: float, behind_s: list[float]) -> list[Fault]:
    faults = [overload.push(start_s + 0.1 * i, behind) for i, behind in enumerate(behind_s)]
    return [fault for fault in faults if fault is not None]


@given(st.integers(1, 4), st.floats(0.0, LEVEL_S))
def test_all_is_taken_up_again_in_the_other_order(steps: int, behind_s: float) -> None:
    overload, now_s = Overload(), 0.0
    while overload.relief < steps:
        overload.push(now_s, 5.0)
        now_s += 0.1
    told = []
    for _ in range(int(10 * LONGEST_CALM_S * 5)):
        fault = overload.push(now_s, behind_s)
        told += [(fault.code, overload.relief)] if fault else []
        now_s += 0.1
    assert told == [("overload-eases", Relief(k)) for k in reversed(range(steps))]


def test_what_was_taken_up_too_soon_is_left_for_longer_each_time() -> None:
    overload, now_s, waits = Overload(), 0.0, []
    for _ in range(6):
        while not overload.relief:
            overload.push(now_s, 2.0)
            now_s += 0.1
        began_s = now_s
        while overload.relief:
            overload.push(now_s, 0.0)
            now_s += 0.1
        waits.append(now_s - began_s)
    expected = [min(CALM_S * 2**i, LONGEST_CALM_S) for i in range(6)]
    assert waits == pytest.approx(expected, abs=0.3)


@given(
    st.lists(st.floats(0.0, 5.0), min_size=1, max_size=50),
    st.floats(-1e5, 1e5),
    st.floats(0.0, 5e-4),
)
def test_lag_is_the_delay_beyond_the_least_whatever_the_clocks(
    delays_s: list[float], origin_s: float, drift: float
) -> None:
    lag = Lag()
    least_s = delays_s[0]
    for i, delay_s in enumerate(delays_s):
        came_s = 0.1 * i
        least_s = min(least_s, delay_s)
        behind_s = lag.push(origin_s + came_s * (1 + drift) + delay_s, came_s)
        assert behind_s == pytest.approx(delay_s - least_s, abs=0.05)
        assert behind_s >= 0.0


FRAMES = st.lists(st.integers(1, 4 * HOP_SAMPLES), min_size=1, max_size=8)


def stream(lengths: list[int]) -> Iterator[Packet]:
    at = 0
    for i, length in enumerate(lengths):
        if i % 3 == 2:
            yield Lost(100, at / SAMPLE_RATE_HZ, "test")
            at += 100
        yield Frame(at, np.arange(at, at + length, dtype=np.float32), made_up=i % 2 == 1)
        at += length


@settings(deadline=None)
@given(FRAMES)
def test_a_stream_is_the_same_in_pieces(lengths: list[int]) -> None:
    packets = list(stream(lengths))
    pieces = list(runtime.keep_up(iter(packets), lambda relief: None))
    assert all(len(p.samples) <= HOP_SAMPLES for p in pieces if isinstance(p, Frame))
    joined: list[Packet] = []
    for piece in pieces:
        last = joined[-1] if joined else None
        if (
            isinstance(piece, Frame)
            and isinstance(last, Frame)
            and last.end == piece.start
            and last.made_up == piece.made_up
        ):
            joined[-1] = replace(last, samples=np.concatenate((last.samples, piece.samples)))
        else:
            joined.append(piece)
    assert [describe(p) for p in joined] == [describe(p) for p in packets]


def describe(packet: Packet) -> object:
    if isinstance(packet, Frame):
        return packet.start, packet.samples.tolist(), packet.made_up
    return packet


def test_a_slow_reader_is_relieved_before_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is a number here: each piece takes the reader twice its length."""
    clock = [0.0]
    monkeypatch.setattr("edge_alm.runtime.time.monotonic", lambda: clock[0])
    relieved: list[Relief] = []
    told: list[str] = []
    packets = (Frame(i * HOP_SAMPLES, np.zeros(HOP_SAMPLES, np.float32)) for i in range(30))
    for packet in runtime.keep_up(packets, relieved.append):
        if isinstance(packet, Frame):
            clock[0] += 2 * len(packet.samples) / SAMPLE_RATE_HZ
        elif isinstance(packet, Fault):
            told.append(packet.message)
            assert len(told) == len(relieved)
    assert relieved == list(Relief)[1:]
