"""What is laid out is where it is said to be, and delays are measured from it."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.latency import Played, audible, delays_s, lay_out
from edge_alm.types import SAMPLE_RATE_HZ, Event, Sound, Speech


def burst(silence_s: float, seconds: float) -> np.ndarray:
    """Noise between two silences."""
    rng = np.random.default_rng(0)
    quiet = np.zeros(int(silence_s * SAMPLE_RATE_HZ), np.float32)
    loud = rng.uniform(-0.5, 0.5, int(seconds * SAMPLE_RATE_HZ)).astype(np.float32)
    return np.concatenate([quiet, loud, quiet])


def test_what_is_audible_lies_between_the_silences() -> None:
    first, last = audible(burst(0.5, 1.0))
    assert first / SAMPLE_RATE_HZ == pytest.approx(0.5, abs=0.02)
    assert last / SAMPLE_RATE_HZ == pytest.approx(1.5, abs=0.02)


def test_what_is_played_is_where_it_is_said_to_be() -> None:
    stream, played = lay_out([burst(0.2, 1.0)], [burst(0.1, 2.0)], 60.0)
    assert {each.spoken for each in played} == {True, False}
    loud = np.abs(stream) > 0.05
    told = np.zeros(len(stream), bool)
    for each in played:
        assert each.end_s - each.start_s == pytest.approx(2.0 if each.spoken else 1.0, abs=0.03)
        told[int(each.start_s * SAMPLE_RATE_HZ) : int(each.end_s * SAMPLE_RATE_HZ)] = True
    assert loud[told].mean() > 0.8
    assert not loud[~told].any()


def test_delays_count_from_what_was_there() -> None:
    played = [Played(False, 1.0, 2.0), Played(True, 5.0, 7.0), Played(False, 10.0, 11.0)]
    told: list[tuple[float, Event]] = [
        (1.6, Sound("Dog", 0.8, None, 0.9, "start")),
        (1.7, Sound("Bark", 1.1, None, 0.9, "start")),
        (2.5, Sound("Dog", 0.8, 2.1, 0.9, "end")),
        (2.9, Sound("Bark", 1.1, 2.2, 0.9, "end")),
        (7.4, Speech("turn", 5.0, 6.0, 0.9)),
        (7.5, Speech("left", 6.1, 7.0, 0.9)),
        (14.0, Sound("Late", 13.0, None, 0.9, "start")),
    ]
    found = delays_s(told, played)
    assert found["sound's beginning to its event"] == pytest.approx([0.6])
    assert found["sound's end to its event"] == pytest.approx([0.9])
    assert found["utterance's end to its text"] == pytest.approx([0.5])
