"""What is listened to: made audio, the same at every call and on every machine."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edge_alm.audio.memory import MemoryAudio
from edge_alm.types import SAMPLE_RATE_HZ, Event, Packet, Samples, Sound

SLOT_S = 5.0
"""Every so often a sound begins; for the second half of the slot nothing is heard."""
SOUNDS_S = 60.0
FRAME_SAMPLES = SAMPLE_RATE_HZ // 100
EARLY_S = 0.5
"""By so much an event may put its sound's beginning too early: the encoder hears 0.48 s at once."""
_PHRASE_S, _SPOKEN_S, _SYLLABLE_S = 3.2, 2.2, 0.2
_VOWELS_HZ = np.array(
    [
        (730, 1090, 2440),
        (270, 2290, 3010),
        (300, 870, 2240),
        (530, 1840, 2480),
        (570, 840, 2410),
        (660, 1720, 2410),
    ],
    dtype=np.float64,
)
"""Formants of English vowels (Peterson and Barney, 1952; the last is a mean)."""


def make_silence(seconds: float) -> Samples:
    """Digital silence."""
    return np.zeros(_count(seconds), np.float32)


def make_sounds(seconds: float = SOUNDS_S) -> Samples:
    """Beeps, clicks and noise in turn, one every :data:`SLOT_S`; no speech."""
    rng = np.random.default_rng(0)
    times_s = np.arange(_count(SOUNDS_S)) / SAMPLE_RATE_HZ
    beeps = np.sin(2 * np.pi * 880 * times_s) * (times_s % 0.5 < 0.2)
    clicks = (times_s % 0.25 < 0.002) * 1.0
    noise = rng.standard_normal(len(times_s))
    silence = np.zeros(len(times_s))
    kinds = np.stack([beeps, silence, clicks, silence, 0.2 * noise, silence])
    turn = (times_s // (SLOT_S / 2)).astype(int) % len(kinds)
    samples = 0.3 * kinds[turn, np.arange(len(times_s))] + 1e-4 * noise
    return np.resize(samples.astype(np.float32), _count(seconds))


def make_voice(seconds: float) -> Samples:
    """A voice that says nothing: vowels at a speaker's pace, in phrases with pauses.

    Silero VAD takes most of its phrases for speech, and Whisper writes words for them, so that all
    that works on speech does. How many words is chance: the cost is that of speech, roughly.
    """
    rng = np.random.default_rng(0)
    times_s = np.arange(_count(seconds)) / SAMPLE_RATE_HZ
    melody = 0.1 * np.sin(2 * np.pi * 0.6 * times_s) + 0.06 * np.sin(2 * np.pi * 1.7 * times_s)
    pitch_hz = 115.0 * (1.0 + melody)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / SAMPLE_RATE_HZ
    syllables = int(seconds / _SYLLABLE_S) + 2
    vowels_hz = _VOWELS_HZ[rng.integers(len(_VOWELS_HZ), size=syllables)]
    starts_s = np.arange(syllables) * _SYLLABLE_S
    formants_hz = [np.interp(times_s, starts_s, track) for track in vowels_hz.T]
    voiced = np.zeros(len(times_s))
    for harmonic in range(1, 28):
        hz = harmonic * pitch_hz
        voiced += _gain(hz, formants_hz) * harmonic**-0.6 * np.sin(harmonic * phase)
    loudness = np.abs(np.sin(np.pi * times_s / _SYLLABLE_S)) ** 0.7
    breath = 0.09 * rng.standard_normal(len(times_s)) * (1.0 - loudness)
    spoken = (voiced * loudness + breath) * (times_s % _PHRASE_S < _SPOKEN_S)
    hiss = 3e-4 * rng.standard_normal(len(times_s))
    return np.asarray(0.4 * spoken / max(np.abs(spoken).max(), 1e-9) + hiss, np.float32)


class ClockedAudio(MemoryAudio):
    """Audio that remembers where the stream was when each event came of it.

    Events are told on the thread that hears, before it asks for the next frame: the place is exact
    to a frame, and no clock is in it.
    """

    def __init__(self, samples: Samples) -> None:
        super().__init__(samples, frame_samples=FRAME_SAMPLES)
        self._at_s = 0.0
        self.told: list[tuple[float, Event]] = []
        """Seconds of audio that had been handed out, and the event."""

    def packets(self) -> Iterator[Packet]:
        """See :class:`~edge_alm.types.Source`."""
        for i, packet in enumerate(super().packets()):
            self._at_s = (i + 1) * FRAME_SAMPLES / SAMPLE_RATE_HZ
            yield packet

    def tell(self, event: Event) -> None:
        """See :class:`~edge_alm.types.Teller`."""
        self.told.append((self._at_s, event))


def delays_s(told: list[tuple[float, Event]], seconds: float = SOUNDS_S) -> list[float]:
    """From each sound's beginning in :func:`make_sounds` to the first event that tells of it.

    Args:
        told: when each event came, in seconds of audio heard.
        seconds: how much was heard.
    """
    starts = [(at_s, e.start) for at_s, e in told if isinstance(e, Sound) and e.state == "start"]
    found = []
    for onset_s in np.arange(0.0, seconds, SLOT_S):
        own = [
            at_s - float(onset_s)
            for at_s, start_s in starts
            if at_s > onset_s and onset_s - EARLY_S <= start_s < onset_s + SLOT_S / 2
        ]
        found += own[:1]
    return found


def _gain(hz: NDArray[np.float64], formants_hz: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    resonances = zip(formants_hz, (1.0, 0.5, 0.25), (90.0, 110.0, 170.0), strict=True)
    gains = [gain / (1.0 + ((hz - at) / width) ** 2) for at, gain, width in resonances]
    return np.asarray(np.sum(gains, axis=0) * (hz < 4000.0), np.float64)


def _count(seconds: float) -> int:
    return int(seconds * SAMPLE_RATE_HZ)
