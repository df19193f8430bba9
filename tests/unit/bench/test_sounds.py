"""Made audio, and when events of it came."""

from __future__ import annotations

import numpy as np
import pytest

from edge_alm.bench.sounds import (
    FRAME_SAMPLES,
    SLOT_S,
    ClockedAudio,
    delays_s,
    make_silence,
    make_sounds,
    make_voice,
)
from edge_alm.types import SAMPLE_RATE_HZ, Event, Frame, Samples, Sound, Speech


@pytest.mark.parametrize("make", [make_silence, make_sounds, make_voice])
@pytest.mark.parametrize("seconds", [1, 7.5, 90])
def test_it_is_as_long_as_was_asked_and_the_same_again(make: object, seconds: float) -> None:
    assert callable(make)
    samples: Samples = make(seconds)
    assert samples.dtype == np.float32
    assert len(samples) == seconds * SAMPLE_RATE_HZ
    assert np.abs(samples).max() <= 1.0
    assert np.array_equal(samples, make(seconds))


def test_a_sound_begins_with_every_slot() -> None:
    samples = make_sounds(60).astype(np.float64)
    half = int(SLOT_S / 2 * SAMPLE_RATE_HZ)
    levels = [np.sqrt(np.mean(part**2)) for part in samples.reshape(-1, half)]
    assert min(levels[::2]) > 10 * max(levels[1::2])


def test_a_longer_one_begins_as_the_shorter() -> None:
    assert np.array_equal(make_sounds(90)[: 60 * SAMPLE_RATE_HZ], make_sounds(60))


def sound(start: float, state: str = "start") -> Sound:
    assert state in ("start", "end")
    end = None if state == "start" else start + 1.0
    return Sound("Beep", start, end, 0.9, state)  # type: ignore[arg-type]


def test_delays_are_from_each_onset_to_the_first_event_that_tells_of_it() -> None:
    told: list[tuple[float, Event]] = [
        (0.96, sound(0.0)),
        (1.44, sound(0.5)),  # a second name of it
        (4.0, sound(0.0, "end")),
        (5.4, sound(4.8)),  # begins before it did, by what the encoder sees at once
        (8.0, Speech("no sound", 5.1, 7.0, 0.9)),
        (14.0, sound(12.9)),  # between sounds: of none of them
    ]
    assert delays_s(told, 20.0) == pytest.approx([0.96, 0.4])


def test_a_clocked_stream_knows_where_each_event_came() -> None:
    source = ClockedAudio(np.zeros(10 * FRAME_SAMPLES, np.float32))
    for i, packet in enumerate(source.packets()):
        assert isinstance(packet, Frame)
        if i in (0, 4):
            source.tell(sound(0.0))
    assert [at_s for at_s, _ in source.told] == pytest.approx([0.01, 0.05])
