"""Made sounds: they can be heard, and are the same again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_alm.types import SAMPLE_RATE_HZ
from export.acoustics import rms
from export.corpus import read_samples
from export.made import (
    LENGTH_S,
    LONGEST_BANG_S,
    MADE,
    PEAK,
    make_alarm,
    make_bang,
    make_clips,
    make_clock,
    make_cricket,
)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_an_alarm_is_a_tone_within_its_bounds(seed: int) -> None:
    alarm = make_alarm(np.random.default_rng(seed))
    assert alarm.dtype == np.float32
    assert LENGTH_S[0] <= len(alarm) / SAMPLE_RATE_HZ <= LENGTH_S[1] + 1e-3
    assert np.isclose(np.abs(alarm).max(), PEAK)
    assert rms(alarm) > 0.05
    # White noise has 0.05 (1 + ln 20), a fifth, of its power in the loudest 5 % of its bins.
    power = np.sort(np.abs(np.fft.rfft(alarm)) ** 2)[::-1]
    assert power[: len(power) // 20].sum() > 0.25 * power.sum()
    np.testing.assert_array_equal(alarm, make_alarm(np.random.default_rng(seed)))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_bang_is_there_at_once_and_dies_away(seed: int) -> None:
    bang = make_bang(np.random.default_rng(seed))
    assert bang.dtype == np.float32
    assert len(bang) / SAMPLE_RATE_HZ <= LONGEST_BANG_S
    assert np.isclose(np.abs(bang).max(), PEAK)
    assert np.abs(bang).argmax() < 0.25 * len(bang) + 0.02 * SAMPLE_RATE_HZ
    half = len(bang) // 2
    assert rms(bang[half:]) < 0.5 * rms(bang[:half])
    np.testing.assert_array_equal(bang, make_bang(np.random.default_rng(seed)))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_cricket_is_high_and_comes_in_pulses(seed: int) -> None:
    cricket = make_cricket(np.random.default_rng(seed))
    assert cricket.dtype == np.float32
    assert LENGTH_S[0] <= len(cricket) / SAMPLE_RATE_HZ <= LENGTH_S[1] + 1e-3
    assert np.isclose(np.abs(cricket).max(), PEAK)
    power = np.abs(np.fft.rfft(cricket)) ** 2
    low = np.fft.rfftfreq(len(cricket), 1 / SAMPLE_RATE_HZ) < 1_800.0
    assert power[low].sum() < 0.05 * power.sum()
    np.testing.assert_array_equal(cricket, make_cricket(np.random.default_rng(seed)))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_clock_is_silent_between_its_ticks(seed: int) -> None:
    clock = make_clock(np.random.default_rng(seed))
    assert clock.dtype == np.float32
    assert LENGTH_S[0] <= len(clock) / SAMPLE_RATE_HZ <= LENGTH_S[1] + 1e-3
    assert np.isclose(np.abs(clock).max(), PEAK)
    frames = np.abs(clock[: len(clock) // 160 * 160]).reshape(-1, 160).max(axis=1)
    assert (frames > 0.5 * PEAK).sum() >= 2
    assert (frames > 0.5 * PEAK).mean() < 0.3
    np.testing.assert_array_equal(clock, make_clock(np.random.default_rng(seed)))


def test_the_clips_are_of_the_train_split_and_written_once(tmp_path: Path) -> None:
    clips = make_clips(tmp_path, 3, 5)
    assert [clip.label for clip in clips] == [label for label in MADE for _ in range(3)]
    assert {clip.split for clip in clips} == {"train"}
    assert len({clip.source for clip in clips}) == 3 * len(MADE)
    written = [clip.path.stat().st_mtime_ns for clip in clips]
    assert make_clips(tmp_path, 3, 5) == clips
    assert [clip.path.stat().st_mtime_ns for clip in clips] == written
    for number, clip in enumerate(clips[:3]):
        made = make_alarm(np.random.default_rng((5, 0, number)))
        assert 0 < len(read_samples(clip)) <= len(made)
