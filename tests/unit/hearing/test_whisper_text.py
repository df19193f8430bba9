"""The transcriber's own arithmetic, without the model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_alm.hearing.whisper import _without_loop, is_speech, whisper_log_mel


def test_log_mel_of_a_tone_is_loudest_in_the_band_of_the_tone() -> None:
    seconds = np.arange(16_000) / 16_000
    tone = np.sin(2 * np.pi * 1000 * seconds).astype(np.float32)
    mel = whisper_log_mel(tone)
    assert mel.shape == (80, 100)
    assert mel.dtype == np.float32
    # 81 steps up to mel 45.2; 1 kHz is mel 15, so it lies 26.9 steps up: band 26 counted from 0.
    assert np.argmax(mel.mean(axis=1)) == 26
    assert mel.max() - mel.min() <= 2.0 + 1e-6


def test_log_mel_agrees_with_the_definition() -> None:
    """One frame by the definition, in float64, with an explicit Fourier sum."""
    noise = np.random.default_rng(0).standard_normal(3200)
    mel = whisper_log_mel(noise.astype(np.float32))
    n = np.arange(400)
    windowed = noise[1600 - 200 : 1600 + 200] * (0.5 - 0.5 * np.cos(2 * np.pi * n / 400))
    frequencies = np.arange(201)
    spectrum = (windowed * np.exp(-2j * np.pi * np.outer(frequencies, n) / 400)).sum(axis=1)
    hz = frequencies * 40.0
    # Band 10: Slaney's edges below 1 kHz are 200/3 Hz per mel, at every 45.245 / 81 mel.
    low, middle, high = (45.2453 / 81 * 200 / 3 * k for k in (10, 11, 12))
    weights = np.clip(np.minimum((hz - low) / (middle - low), (high - hz) / (high - middle)), 0, 1)
    power = float(weights @ np.abs(spectrum) ** 2) * 2 / (high - low)
    assert mel[10, 10] == pytest.approx((np.log10(power) + 4) / 4, abs=1e-4)


@given(
    st.lists(st.sampled_from("abcdef"), max_size=6),
    st.lists(st.sampled_from("uvwxyz"), min_size=1, max_size=6, unique=True),
    st.integers(2, 9),
    st.integers(0, 5),
)
def test_a_loop_is_said_once(head: list[str], round_: list[str], times: int, rest: int) -> None:
    looped = head + round_ * times + round_[: rest % len(round_)]
    assert _without_loop(looped) == head + round_


def test_without_a_loop_nothing_is_left() -> None:
    assert _without_loop(list("abcdefgh")) == []


@pytest.mark.parametrize(
    ("text", "confidence", "no_speech"),
    [
        (". . . .", 0.78, 0.85),  # a tabla
        ("Thank you for your help.", 0.27, 0.83),  # a guitar
        ("You", 0.03, 0.92),  # noise
        ("Oh", 0.02, 0.01),  # a drone
        ("Thanks for watching!", 0.31, 0.48),  # a sneeze
        ("Thank you.", 0.32, 0.40),  # a brook
        ("", 0.0, 0.0),
    ],
)
def test_what_noise_and_music_gave_is_no_speech(
    text: str, confidence: float, no_speech: float
) -> None:
    assert not is_speech(text, confidence, no_speech)


@pytest.mark.parametrize(("confidence", "no_speech"), [(0.14, 0.11), (0.49, 0.41), (0.93, 0.90)])
def test_what_people_gave_is_speech(confidence: float, no_speech: float) -> None:
    assert is_speech("Messages", confidence, no_speech)
