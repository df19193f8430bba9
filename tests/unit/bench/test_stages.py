"""The stage clock: each second belongs to one stage, and nothing stays wrapped."""

from __future__ import annotations

import threading
import time

import pytest

from edge_alm.bench.stages import HEARING, SCENE, StageClock


def burn(seconds: float) -> None:
    end_s = time.thread_time() + seconds
    while time.thread_time() < end_s:
        pass


class Inner:
    def work(self, seconds: float) -> float:
        burn(seconds)
        return seconds


class Outer:
    def work(self, inner: Inner) -> None:
        burn(0.02)
        inner.work(0.03)
        inner.work(0.03)

    def fail(self) -> None:
        burn(0.01)
        raise ValueError("no")


STAGES = (("outer", Outer, "work"), ("inner", Inner, "work"), ("outer", Outer, "fail"))


def test_a_stage_is_charged_for_itself_alone() -> None:
    with StageClock(STAGES) as clock:
        Outer().work(Inner())
        assert Inner().work(0.01) == 0.01
    assert clock.spent_s["outer"] == pytest.approx(0.02, abs=0.01)
    assert clock.spent_s["inner"] == pytest.approx(0.07, abs=0.01)
    assert clock.calls == {"outer": 1, "inner": 3}


def test_what_raises_is_charged_too() -> None:
    with StageClock(STAGES) as clock, pytest.raises(ValueError, match="no"):
        Outer().fail()
    assert clock.spent_s["outer"] >= 0.01


def test_threads_do_not_charge_each_other() -> None:
    with StageClock(STAGES) as clock:
        threads = [threading.Thread(target=Outer().work, args=(Inner(),)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert clock.spent_s["outer"] == pytest.approx(0.06, abs=0.03)
    assert clock.spent_s["inner"] == pytest.approx(0.18, abs=0.03)


def test_nothing_counts_after_leaving() -> None:
    before = Outer.work, Inner.work
    with StageClock(STAGES) as clock:
        assert (Outer.work, Inner.work) != before
    assert (Outer.work, Inner.work) == before
    Inner().work(0.001)
    assert clock.calls.total() == 0


def test_reset_begins_anew() -> None:
    with StageClock(STAGES) as clock:
        Inner().work(0.001)
        clock.reset()
        assert clock.spent_s == {"outer": 0.0, "inner": 0.0}
        assert not clock.calls


def test_the_runtimes_stages_are_there() -> None:
    """A method that is renamed would be clocked no more."""
    for _, owner, method in (*HEARING, *SCENE):
        assert method in owner.__dict__
