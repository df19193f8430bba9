"""What a room, a noise and a line do to sounds, and how loud they are: samples at 16 kHz."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_alm.types import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    Floats: TypeAlias = NDArray[np.float32]
else:
    Floats = Any

Noise: TypeAlias = Literal["white", "pink", "brown", "hum", "room tone"]
Codec: TypeAlias = Literal["mulaw", "vorbis", "mp3"]

FRAME_SAMPLES = 800
"""50 ms: the loud part of a sound is its loudest frame."""
NOISE_PERIOD_SAMPLES = 1 << 19
"""Noise repeats seamlessly after 33 s, so ten minutes cost no more than half of one."""


def fade(samples: Floats) -> Floats:
    """A copy faded in over 5 ms and out over 100 ms, or a quarter of its length."""
    faded = samples.astype(np.float32, copy=True)
    rise, fall = min(80, len(faded) // 4), min(1_600, len(faded) // 4)
    faded[:rise] *= np.linspace(0, 1, rise, dtype=np.float32)
    faded[len(faded) - fall :] *= np.linspace(1, 0, fall, dtype=np.float32)
    return faded


def make_room(rng: np.random.Generator, rt60_s: float) -> Floats:
    """A room's answer of unit energy: noise that falls by 60 dB in ``rt60_s``, 5-20 ms late."""
    late = int(rng.integers(80, 320))
    decay = rng.standard_normal(round(rt60_s * SAMPLE_RATE_HZ), dtype=np.float32)
    decay *= np.exp(-np.log(1_000) / len(decay) * np.arange(len(decay), dtype=np.float32))
    decay /= np.linalg.norm(decay)
    return np.concatenate((np.zeros(late, np.float32), decay))


def filter_event(event: Floats, room: Floats, wet: float, cutoff_hz: float | None = None) -> Floats:
    """The event heard through a room (``wet`` of its amplitude) and two one-pole low-passes."""
    length = len(event) + len(room) - 1
    size = _fast_length(length)
    gains = np.float32(wet) * np.fft.rfft(room, size) + np.float32(1 - wet)
    if cutoff_hz:
        gains = gains / (1 + 1j * np.fft.rfftfreq(size, 1 / SAMPLE_RATE_HZ) / cutoff_hz) ** 2
    heard = np.fft.irfft(np.fft.rfft(event, size) * gains, size)
    return heard[:length].astype(np.float32, copy=False)


def make_noise(rng: np.random.Generator, kinds: Sequence[Noise], length: int) -> Floats:
    """Stationary noise of one of the kinds, shape [length], at any level; zeros without kinds."""
    if not kinds:
        return np.zeros(length, np.float32)
    kind = kinds[int(rng.integers(len(kinds)))]
    size = min(_fast_length(length), NOISE_PERIOD_SAMPLES)
    bins = size // 2 + 1
    # Below 40 Hz nothing grows: it would be power that no one hears.
    hz = np.maximum(np.fft.rfftfreq(size, 1 / SAMPLE_RATE_HZ), 40.0).astype(np.float32)
    spectrum = rng.standard_normal(2 * bins, dtype=np.float32).view(np.complex64)
    spectrum *= hz ** np.float32(_SLOPES[kind])
    if kind in ("hum", "room tone"):
        hum_db = rng.uniform(0, 10) if kind == "hum" else rng.uniform(-15, -3)
        mains_hz = (50, 60)[int(rng.integers(2))]
        level = np.linalg.norm(spectrum) * 10 ** (hum_db / 20)
        for harmonic in range(1, 6):
            # Exactly on a bin, so that the period has no seam: at most 0.5 Hz beside the mains.
            index = round(harmonic * mains_hz * size / SAMPLE_RATE_HZ)
            spectrum[index] += level / harmonic**1.5 * np.exp(2j * np.pi * rng.random())
    spectrum[0] = 0
    period = np.fft.irfft(spectrum, size).astype(np.float32, copy=False)
    noise: Floats = np.resize(period, length)
    noise /= max(rms(noise), 1e-9)
    return noise


# Exponent of the amplitude over frequency.
_SLOPES: dict[Noise, float] = {
    "white": 0.0,
    "pink": -0.5,
    "brown": -1.0,
    "hum": -0.5,
    "room tone": -0.8,
}


def pass_band(samples: Floats, rate_hz: int) -> Floats:
    """The samples after a way through another rate; same length."""
    import soxr

    there = soxr.resample(samples, SAMPLE_RATE_HZ, rate_hz)
    back: Floats = soxr.resample(there, rate_hz, SAMPLE_RATE_HZ)
    return _fit(back, len(samples))


def pass_codec(samples: Floats, codec: Codec) -> Floats:
    """The samples as they come out of a codec; same length and time."""
    if codec == "mulaw":
        # The curve of ITU-T G.711, mu = 255, in even steps of its output.
        coded = np.sign(samples) * np.log1p(255 * np.abs(samples)) / np.log(256)
        steps = np.round(coded * 127) / 127
        expanded: Floats = np.sign(steps) * np.expm1(np.abs(steps) * np.log(256)) / 255
        return expanded.astype(np.float32, copy=False)
    import soundfile

    file_format, subtype = {"vorbis": ("OGG", "VORBIS"), "mp3": ("MP3", "MPEG_LAYER_III")}[codec]
    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer, "w", SAMPLE_RATE_HZ, 1, subtype=subtype, format=file_format
    ) as file:
        # libsndfile's Vorbis writer overflows its stack on long writes.
        for start in range(0, len(samples), SAMPLE_RATE_HZ):
            file.write(samples[start : start + SAMPLE_RATE_HZ])
    buffer.seek(0)
    decoded, _ = soundfile.read(buffer, dtype="float32")
    return _fit(decoded, len(samples))


def loud_part(samples: Floats) -> float:
    """RMS of the loudest 50 ms."""
    return float(np.sqrt(frame_powers(samples).max()))


def frame_powers(samples: Floats) -> Floats:
    """Mean square of every 50 ms, the last ones filled up with zeros."""
    frames = -(-len(samples) // FRAME_SAMPLES)
    padded = _fit(samples, frames * FRAME_SAMPLES).reshape(frames, FRAME_SAMPLES)
    powers: Floats = np.mean(np.square(padded), axis=1)
    return powers


def rms(samples: Floats) -> float:
    """Root of the mean square; 0 for none."""
    return float(np.sqrt(np.mean(np.square(samples)))) if len(samples) else 0.0


def _fit(samples: Floats, length: int) -> Floats:
    if len(samples) >= length:
        return samples[:length]
    return np.concatenate((samples, np.zeros(length - len(samples), np.float32)))


def _fast_length(length: int) -> int:
    """The least 2^a, 3 * 2^a or 5 * 2^a not below ``length``: fast for FFTs."""
    return min(factor << max(0, -(-length // factor) - 1).bit_length() for factor in (2, 6, 10))
