"""What is given up by the clock alone, and what a stream is told of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
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


LENGTHS_S = st.floats(0.005, 2.0)
PARTS = st.lists(st.tuples(LENGTHS_S, st.floats(0.0, 4.0)), min_size=1, max_size=50)


@given(PARTS, st.floats(-1e5, 1e5))
def test_lag_is_the_delay_of_what_comes_in_real_time(
    parts: list[tuple[float, float]], origin_s: float
) -> None:
    """To within a part's length, whatever each part takes and whatever clock there is."""
    lag, now_s, came_s = Lag(), 0.0, 0.0
    longest_s = parts[0][1]  # what the first part takes does not count
    for length_s, took_s in parts:
        came_s += length_s
        longest_s = max(longest_s, length_s)
        waited_s = max(0.0, came_s - now_s)
        now_s += waited_s + took_s
        behind_s = lag.push(origin_s + now_s, came_s, waited_s)
        assert now_s - came_s - longest_s - 1e-6 <= behind_s <= now_s - came_s + 1e-6
        assert behind_s >= 0.0


@given(st.floats(0.0, 20.0), st.floats(0.0, 20.0))
def test_a_wait_makes_up_for_as_much(took_s: float, waited_s: float) -> None:
    lag = Lag()
    lag.push(0.0, 0.0, 0.0)
    behind_s = lag.push(took_s, 1.0, 0.0)
    left_s = lag.push(took_s + waited_s + 1.0, 2.0, waited_s)
    assert left_s == pytest.approx(max(0.0, behind_s - waited_s))


def test_what_is_lost_need_not_be_heard() -> None:
    lag = Lag()
    lag.push(0.0, 0.0, 0.0)
    assert lag.push(10.0, 1.0, 0.0) == 9.0
    assert lag.push(10.5, 9.0, 0.0) == 1.5


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


BURSTS = st.lists(
    st.tuples(st.floats(0.0, 600.0), st.lists(st.integers(1, 4 * HOP_SAMPLES), max_size=20)),
    max_size=10,
)
"""Seconds of silence of the source, then the lengths of frames that come at once."""


def run(
    monkeypatch: pytest.MonkeyPatch,
    bursts: list[tuple[float, list[int]]],
    share: float,
    stops: dict[int, float] | None = None,
) -> tuple[list[Relief], list[Fault]]:
    """What is given up and told; the clock is a number here.

    Args:
        share: what hearing a piece takes, over the length of the piece.
        stops: how long the process stands still, in seconds, as it asks for a frame, by the
            frame's number.
    """
    clock_s = [0.0]
    relieved: list[Relief] = []
    told: list[Fault] = []

    def source() -> Iterator[Packet]:
        at, comes_s, number = 0, 0.0, 0
        for silence_s, lengths in bursts:
            comes_s += silence_s
            for length in lengths:
                clock_s[0] = max(clock_s[0], comes_s) + (stops or {}).get(number, 0.0)
                yield Frame(at, np.zeros(length, np.float32))
                at, number = at + length, number + 1

    monkeypatch.setattr("edge_alm.runtime.time.monotonic", lambda: clock_s[0])
    for packet in runtime.keep_up(source(), relieved.append):
        if isinstance(packet, Frame):
            clock_s[0] += share * len(packet.samples) / SAMPLE_RATE_HZ
        elif isinstance(packet, Fault):
            told.append(packet)
            assert len(told) == len(relieved), "it is relieved before it is told"
    return relieved, told


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(BURSTS, st.floats(0.0, 1.0))
def test_a_source_may_pause_and_go_on_as_it_likes(
    monkeypatch: pytest.MonkeyPatch, bursts: list[tuple[float, list[int]]], share: float
) -> None:
    assert run(monkeypatch, bursts, share) == ([], [])


def in_real_time(frame: int, seconds: float) -> list[tuple[float, list[int]]]:
    """Frames of so many samples from a microphone."""
    length_s = frame / SAMPLE_RATE_HZ
    return [(length_s, [frame])] * round(seconds / length_s)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(160, 4 * HOP_SAMPLES), st.floats(1.5, 20.0))
def test_a_slow_reader_gives_up_all(
    monkeypatch: pytest.MonkeyPatch, frame: int, share: float
) -> None:
    relieved, told = run(monkeypatch, in_real_time(frame, 30.0), share)
    assert relieved == list(Relief)[1:]
    assert [fault.code for fault in told] == ["overload"] * 4


def test_a_stop_that_looks_like_a_wait_hides_no_overload(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is given half of a core in slices stands still now and then as it asks."""
    stops = dict.fromkeys(range(0, 300, 10), 0.3)
    relieved, _ = run(monkeypatch, in_real_time(1_600, 30.0), 2.0, stops)
    assert relieved == list(Relief)[1:]


def test_after_a_pause_nothing_is_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = in_real_time(1_600, 3.0)
    relieved, _ = run(monkeypatch, slow, 2.0)
    assert relieved
    # Behind by less than a second once more.
    again = [*slow, (60.0, [1_600]), *in_real_time(1_600, 0.8)]
    assert run(monkeypatch, again, 2.0)[0] == relieved


def test_each_step_is_told_however_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runtime tells what is the same only once."""
    again = [*in_real_time(1_600, 1.5), (100.0, [1_600]), (100.0, [1_600])]
    _, told = run(monkeypatch, again * 3, 2.0)
    assert [fault.code for fault in told] == ["overload", "overload-eases"] * 3
    assert len(set(told)) == len(told)
