"""What every stream may rely on: the same events however it is cut."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge_alm.audio.memory import MemoryAudio
from edge_alm.models.bundle import load_bundle
from edge_alm.runtime import Ears, load
from edge_alm.types import Event, Frame, Lost, Packet, Samples, Sound
from export.recordings import Recorder

DATA = Path(__file__).parent.parent / "data"


@pytest.fixture(scope="module")
def ears(models: object) -> Iterator[Ears]:
    with load(llm=False) as ears:
        yield ears


@pytest.fixture(scope="module")
def scene() -> Samples:
    samples, rate_hz = soundfile.read(DATA / "home.flac", dtype="float32")
    assert rate_hz == 16_000
    return np.asarray(samples, np.float32)


@pytest.fixture(scope="module")
def expected(ears: Ears, scene: Samples) -> list[Event]:
    events = list(ears.listen(MemoryAudio(scene)))
    assert {event.type for event in events} == {"sound", "speech"}
    return events


@pytest.mark.parametrize("chunk_samples", [1, 137, 512, 16_000, 10_000_000])
def test_events_do_not_depend_on_the_chunks(
    ears: Ears, scene: Samples, expected: list[Event], chunk_samples: int
) -> None:
    assert list(ears.listen(MemoryAudio(scene, frame_samples=chunk_samples))) == expected


def scene_of(samples: Samples, frame_samples: int) -> list[str | bytes]:
    """What the language model is told, embeddings as bytes."""
    recorder = Recorder()
    with Ears(load_bundle("default", language_model=False), reasoner=lambda: recorder) as ears:
        for _ in ears.listen(MemoryAudio(samples, frame_samples=frame_samples)):
            pass
        ears.flush()
    return [item if isinstance(item, str) else item.tobytes() for item in recorder.items()]


@pytest.mark.parametrize("chunk_samples", [137, 16_000, 10_000_000])
def test_what_the_language_model_is_told_does_not_either(
    models: object, chunk_samples: int
) -> None:
    alarm, rate_hz = soundfile.read(DATA / "alarm_clock.flac", dtype="float32")
    assert rate_hz == 16_000
    told = scene_of(alarm, 512)
    assert scene_of(alarm, chunk_samples) == told
    lines = [line for line in told if isinstance(line, str) and " maybe " in line]
    assert lines, "beeps without a sure name"
    assert all(", " in line and " L" in line for line in lines)


def test_a_second_hearing_is_like_the_first(
    ears: Ears, scene: Samples, expected: list[Event]
) -> None:
    assert list(ears.listen(MemoryAudio(scene))) == expected


def test_a_file_gives_what_its_samples_give(ears: Ears, expected: list[Event]) -> None:
    assert list(ears.listen(DATA / "home.flac")) == expected


class GappedAudio(MemoryAudio):
    """Loses [10 s, 10 s + gap) on the way."""

    def __init__(self, samples: Samples, gap_samples: int) -> None:
        super().__init__(samples)
        self._gap_samples = gap_samples

    def packets(self) -> Iterator[Packet]:
        cut, after = 160_000, 160_000 + self._gap_samples
        yield Frame(0, self._samples[:cut])
        yield Lost(self._gap_samples, 10.0, "test")
        yield Frame(after, self._samples[after:])


@pytest.mark.parametrize("gap_s", [0.1, 3.0])
def test_a_gap_is_told_and_the_clock_goes_on(
    ears: Ears, scene: Samples, expected: list[Event], gap_s: float
) -> None:
    events = list(ears.listen(GappedAudio(scene, int(gap_s * 16_000))))
    assert [e for e in events if isinstance(e, Lost)] == [Lost(int(gap_s * 16_000), 10.0, "test")]

    def after(events: list[Event]) -> list[tuple[str, float]]:
        return [
            (e.label, round(e.start, 1))
            for e in events
            if isinstance(e, Sound) and e.state == "end" and e.label in ("Toilet flush", "Caw")
        ]

    late = after(events)
    assert [label for label, _ in late] == [label for label, _ in after(expected)]
    for (_, at), (_, expected_at) in zip(late, after(expected), strict=True):
        assert at == pytest.approx(expected_at, abs=0.5)
