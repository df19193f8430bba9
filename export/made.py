"""Sounds that are made, any number of them, where there are few recordings: alarms and bangs, and
the crickets and clocks that are taken for them.

What devices wake people with is regular: a tone that is interrupted, two that take turns, one that
rises and falls. A bang is noise that is there at once and dies away, and what was hit rings on in
tones of its own. A cricket is a high tone in trains of pulses, a clock one click after the other.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_alm.types import SAMPLE_RATE_HZ
from export.corpus import Clip

if TYPE_CHECKING:
    Floats: TypeAlias = NDArray[np.float32]
    Doubles: TypeAlias = NDArray[np.float64]
else:
    Floats = Doubles = Any

ALARM, BANG, CRICKET, CLOCK = "made alarm", "made bang", "made cricket", "made clock"
"""Labels."""
LENGTH_S = (1.5, 6.0)
"""Of alarms, crickets and clocks."""
LONGEST_BANG_S = 1.5
PEAK = 0.7


def make_alarm(rng: np.random.Generator) -> Floats:
    """One alarm, float32 [n] at 16 kHz, of a kind that is drawn."""
    time_s = np.arange(round(rng.uniform(*LENGTH_S) * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    kinds = (_beeps, _turns, _siren, _ring)
    hz, loudness = kinds[int(rng.integers(len(kinds)))](rng, time_s)
    phase = 2.0 * np.pi * np.cumsum(hz) / SAMPLE_RATE_HZ
    sound = np.zeros(len(time_s))
    steepness = rng.uniform(0.5, 3.0)
    for harmonic in range(1, 13):
        audible = harmonic * hz < 0.45 * SAMPLE_RATE_HZ
        sound += audible * harmonic**-steepness * np.sin(harmonic * phase + rng.uniform(0.0, 6.28))
    # A tone that starts at once would click.
    smooth = np.hanning(round(0.01 * SAMPLE_RATE_HZ))
    sound *= np.convolve(loudness, smooth / smooth.sum(), mode="same")
    return _to_peak(sound)


def make_bang(rng: np.random.Generator) -> Floats:
    """One bang, float32 [n] at 16 kHz: a shot, a thud, something that breaks."""
    fall_s = _between(rng, 0.02, 0.4)
    time_s = np.arange(round(min(LONGEST_BANG_S, 8.0 * fall_s) * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    hz = np.fft.rfftfreq(len(time_s), 1.0 / SAMPLE_RATE_HZ)
    spectrum = np.fft.rfft(rng.standard_normal(len(time_s)))
    noise = np.fft.irfft(spectrum / (1.0 + 1j * hz / _between(rng, 200.0, 7_000.0)), len(time_s))
    sound = noise / noise.std() * np.exp(-time_s / fall_s)
    for _ in range(int(rng.integers(13))):
        tone = np.sin(2.0 * np.pi * _between(rng, 60.0, 6_000.0) * time_s + rng.uniform(0.0, 6.28))
        rings_s = fall_s * _between(rng, 0.3, 3.0)
        sound += _between(rng, 0.05, 1.0) * tone * np.exp(-time_s / rings_s)
    return _to_peak(sound * (1.0 - np.exp(-time_s / _between(rng, 0.0003, 0.01))))


def make_cricket(rng: np.random.Generator) -> Floats:
    """One to three crickets, float32 [n] at 16 kHz, each with a tone, pulses and chirps."""
    time_s = np.arange(round(rng.uniform(*LENGTH_S) * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    sound = np.zeros(len(time_s))
    for _ in range(int(rng.integers(1, 4))):
        pulse_s, chirp = _between(rng, 1 / 80, 1 / 15), int(rng.integers(2, 9))
        beat = time_s / pulse_s + rng.uniform(0.0, 10.0)
        gap = 0 if rng.random() < 0.3 else int(_between(rng, 2.0, 40.0))
        pulses = np.maximum(np.sin(np.pi * (beat % 1.0)), 0.0) ** rng.uniform(0.5, 3.0)
        pulses = pulses * (beat % (chirp + gap) < chirp)
        hz = _between(rng, 2_200.0, 7_500.0) * (1.0 - 0.02 * rng.random() * (beat % 1.0))
        phase = 2.0 * np.pi * np.cumsum(hz) / SAMPLE_RATE_HZ
        sound += _between(rng, 0.1, 1.0) * pulses * np.sin(phase)
    return _to_peak(sound)


def make_clock(rng: np.random.Generator) -> Floats:
    """Ticks, or ticks and tocks, at a pace, float32 [n] at 16 kHz."""
    sound = np.zeros(round(rng.uniform(*LENGTH_S) * SAMPLE_RATE_HZ))
    ticks = [_tick(rng) for _ in range(int(rng.integers(1, 3)))]
    pace_s, at_s, number = _between(rng, 0.12, 1.1), rng.uniform(0.0, 0.1), 0
    while (start := round(at_s * SAMPLE_RATE_HZ)) < len(sound):
        tick = ticks[number % len(ticks)][: len(sound) - start]
        sound[start : start + len(tick)] += rng.uniform(0.8, 1.0) * tick
        at_s, number = at_s + pace_s * rng.normal(1.0, 0.01), number + 1
    return _to_peak(sound)


MADE = {ALARM: make_alarm, BANG: make_bang, CRICKET: make_cricket, CLOCK: make_clock}
"""What makes one of each."""


def make_clips(folder: Path, count: int, seed: int) -> list[Clip]:
    """So many of each of :data:`MADE`; files that are missing in the folder are written."""
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    clips = []
    for kind, (label, make) in enumerate(MADE.items()):
        for number in range(count):
            path = folder / f"{label.split()[1]}-{number:04}.wav"
            if not path.exists():
                samples = make(np.random.default_rng((seed, kind, number)))
                partial = path.with_suffix(".partial")
                soundfile.write(partial, samples, SAMPLE_RATE_HZ, subtype="PCM_16", format="WAV")
                partial.replace(path)
            clips.append(Clip(path, label, "synthetic", path.stem, "train", "made", True))
    return clips


def _tick(rng: np.random.Generator) -> Doubles:
    """A click of a few milliseconds in which something small rings."""
    time_s = np.arange(round(0.08 * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    sound = rng.standard_normal(len(time_s)) * np.exp(-time_s / _between(rng, 0.0005, 0.004))
    for _ in range(int(rng.integers(1, 5))):
        tone = np.sin(2.0 * np.pi * _between(rng, 800.0, 7_000.0) * time_s)
        sound += _between(rng, 0.2, 2.0) * tone * np.exp(-time_s / _between(rng, 0.001, 0.012))
    return np.asarray(sound / np.abs(sound).max())


def _beeps(rng: np.random.Generator, time_s: Doubles) -> tuple[Doubles, Doubles]:
    """A tone that comes and goes, in groups or without end: timers, detectors, trucks."""
    period_s, on, group = rng.uniform(0.12, 0.9), rng.uniform(0.3, 0.7), int(rng.integers(1, 5))
    beat = time_s / period_s
    sounds = (beat % 1.0 < on) & ((beat % (group + 1) < group) | (rng.random() < 0.5))
    return np.full(len(time_s), _between(rng, 500.0, 4_000.0)), sounds.astype(np.float64)


def _turns(rng: np.random.Generator, time_s: Doubles) -> tuple[Doubles, Doubles]:
    """Two tones that take turns: the sirens of Europe, doors, cranes."""
    low_hz, period_s = _between(rng, 350.0, 1_500.0), _between(rng, 0.2, 1.6)
    first = time_s / period_s % 1.0 < 0.5
    return low_hz * np.where(first, 1.0, rng.uniform(1.15, 1.6)), np.ones(len(time_s))


def _siren(rng: np.random.Generator, time_s: Doubles) -> tuple[Doubles, Doubles]:
    """A tone that rises and falls, slowly or fast: wail, yelp, whoop."""
    low_hz, period_s = _between(rng, 350.0, 900.0), _between(rng, 0.15, 6.0)
    turn, at = rng.uniform(0.3, 0.95), (time_s / period_s + rng.random()) % 1.0
    up = np.where(at < turn, at / turn, (1.0 - at) / (1.0 - turn))
    return low_hz * rng.uniform(1.5, 3.0) ** up, np.ones(len(time_s))


def _ring(rng: np.random.Generator, time_s: Doubles) -> tuple[Doubles, Doubles]:
    """A tone that is struck many times a second: telephones, bells, buzzers."""
    rate_hz, depth, ring_s = rng.uniform(10.0, 30.0), rng.uniform(0.3, 1.0), rng.uniform(0.4, 2.0)
    loudness = 1.0 - depth * (0.5 + 0.5 * np.cos(2.0 * np.pi * rate_hz * time_s))
    rings = time_s % (1.4 * ring_s) < ring_s
    return np.full(len(time_s), _between(rng, 300.0, 2_500.0)), loudness * rings


def _to_peak(sound: Doubles) -> Floats:
    """The sound at a peak of :data:`PEAK`."""
    loud: Floats = (PEAK / np.abs(sound).max() * sound).astype(np.float32)
    return loud


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    """Evenly on a logarithmic scale."""
    return low * float((high / low) ** rng.random())
