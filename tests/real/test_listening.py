"""Hearing with the real models: what is there, when it was, and nothing that isn't."""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge_alm.audio.memory import MemoryAudio
from edge_alm.hearing.encoder import HOP_SAMPLES, HopEncoder, Yamnet
from edge_alm.hearing.logmel import LogMel
from edge_alm.hearing.tracker import NOISE_LABELS
from edge_alm.runtime import Ears, load
from edge_alm.types import SAMPLE_RATE_HZ, Event, Samples, Sound, Speech, Watch

DATA = Path(__file__).parent.parent / "data"
MINUTE = 60 * SAMPLE_RATE_HZ
TEN_CLASSES = {
    "dog bark": ("Dog", "Bark", "Yip", "Bow-wow"),
    "rain": ("Rain", "Raindrop", "Rain on surface"),
    "sea waves": ("Ocean", "Waves, surf"),
    "baby cry": ("Baby cry, infant cry", "Crying, sobbing"),
    "clock tick": ("Tick", "Tick-tock", "Clock"),
    "person sneeze": ("Sneeze",),
    "helicopter": ("Helicopter",),
    "chainsaw": ("Chainsaw",),
    "rooster": ("Crowing, cock-a-doodle-doo", "Chicken, rooster"),
    "fire crackling": ("Crackle", "Fire"),
}


@pytest.fixture(scope="module")
def ears(models: object) -> Iterator[Ears]:
    with load(llm=False) as ears:
        yield ears


def read(name: str) -> Samples:
    samples, _ = soundfile.read(DATA / f"{name}.flac", dtype="float32")
    return np.asarray(samples, np.float32)


def hear(ears: Ears, samples: Samples) -> list[Event]:
    return list(ears.listen(MemoryAudio(samples)))


def started(events: list[Event]) -> list[str]:
    return [e.label for e in events if isinstance(e, Sound) and e.state == "start"]


def coloured_noise(samples: int, level_db: float, slope: float, seed: int = 0) -> Samples:
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(samples))
    frequencies_hz = np.maximum(np.fft.rfftfreq(samples, 1 / SAMPLE_RATE_HZ), 20)
    noise = np.fft.irfft(spectrum / frequencies_hz**slope, samples)
    noise *= 10 ** (level_db / 20) / np.sqrt(np.mean(noise**2))
    return np.clip(noise, -1, 1).astype(np.float32)


def test_the_scene_is_heard_when_it_was(ears: Ears) -> None:
    events = hear(ears, read("home"))
    with (DATA / "home.csv").open(encoding="utf-8") as file:
        truth = list(csv.DictReader(file))
    for row in truth:
        start_s, end_s = float(row["start_s"]), float(row["end_s"])
        found = [
            (e.start, e.end)
            for e in events
            if (isinstance(e, Sound) and e.state == "end" and e.label == row["what"])
            or (isinstance(e, Speech) and e.text.rstrip(".") == row["what"].rstrip(".!"))
        ]
        assert len(found) == 1, f"{row['what']}: {found}"
        start, end = found[0]
        assert start == pytest.approx(start_s, abs=0.5), row["what"]
        assert end == pytest.approx(end_s, abs=0.65 if row["what"] == "Caw" else 0.5), row["what"]


@pytest.mark.parametrize("name", ["doorbell", "toilet_flush", "crow", "glass"])
@pytest.mark.parametrize("offset_s", [0.0, 0.13, 0.29, 0.41])
def test_onset_and_offset_lie_within_half_a_second(ears: Ears, name: str, offset_s: float) -> None:
    clip = read(name)
    loud = np.flatnonzero(np.abs(clip) > np.abs(clip).max() * 10 ** (-30 / 20))
    at = int((4.0 + offset_s) * SAMPLE_RATE_HZ)
    samples = coloured_noise(12 * SAMPLE_RATE_HZ, -62, 1.0)
    samples[at : at + len(clip)] += clip * 0.8
    sounds = [e for e in hear(ears, samples) if isinstance(e, Sound) and e.state == "end"]
    assert sounds, "nothing was heard"
    start_s, end_s = (at + loud[0]) / SAMPLE_RATE_HZ, (at + loud[-1]) / SAMPLE_RATE_HZ
    assert min(s.start for s in sounds) == pytest.approx(start_s, abs=0.5)
    assert max(s.end or 0.0 for s in sounds) == pytest.approx(end_s, abs=0.5)


def test_ten_minutes_of_digital_silence(ears: Ears) -> None:
    assert hear(ears, np.zeros(10 * MINUTE, np.float32)) == []


def test_ten_minutes_of_room_tone(ears: Ears) -> None:
    room = coloured_noise(10 * MINUTE, -50, 1.0)
    seconds = np.arange(len(room)) / SAMPLE_RATE_HZ
    for harmonic in (1, 2, 3, 4, 6):
        hum = 10 ** (-60 / 20) / harmonic * np.sin(2 * np.pi * 50 * harmonic * seconds)
        room += hum.astype(np.float32)
    assert hear(ears, room) == []


@pytest.mark.parametrize("level_db", [-80, -65, -50, -35, -20, -6])
def test_ten_minutes_of_white_noise_are_noise_at_most(ears: Ears, level_db: float) -> None:
    quiet_first = np.zeros(int(0.77 * SAMPLE_RATE_HZ), np.float32)
    minute = coloured_noise(MINUTE, level_db, 0.0)
    events = hear(ears, np.concatenate([quiet_first, *[minute] * 10]))
    assert not [e for e in events if isinstance(e, Speech)]
    assert set(started(events)) <= NOISE_LABELS
    assert len(started(events)) <= 3


def test_no_words_in_music(ears: Ears) -> None:
    music = np.concatenate([read("music"), read("piano"), read("alarm_clock"), read("stream")] * 2)
    events = hear(ears, music)
    assert not [e for e in events if isinstance(e, Speech)]
    assert "Music" in started(events)


def watches(ears: Ears, samples: Samples, *phrases: str, frame: int = 16_000) -> list[Watch]:
    source = MemoryAudio(samples, frame_samples=frame)
    return [e for e in ears.listen(source, watch=phrases) if isinstance(e, Watch)]


def test_any_words_can_be_watched_for(ears: Ears) -> None:
    """None of these is a name in AudioSet or in the table of synonyms."""
    there = ("shattering glass", "a toilet being flushed", "a crow calling")
    found = watches(ears, read("home"), *there, "circular saw in a log", "lawn mower far away")
    assert {w.query: w.start for w in found} == {
        "shattering glass": pytest.approx(10.5, abs=0.6),
        "a toilet being flushed": pytest.approx(17.0, abs=0.6),
        "a crow calling": pytest.approx(23.0, abs=0.6),
    }
    assert len(found) == len(there)
    assert all(0.0 < w.confidence <= 1.0 for w in found)


def test_sounds_in_order_are_told_as_the_last_one_starts(ears: Ears) -> None:
    right, wrong = "a doorbell, then breaking glass", "breaking glass, then a doorbell"
    (found,) = watches(ears, read("home"), right, wrong)
    assert found.query == right
    assert found.start == pytest.approx(10.5, abs=0.5)


def test_watches_do_not_depend_on_how_the_stream_is_cut(ears: Ears) -> None:
    phrases = ("glass breaking", "shattering glass", "crow", "flushing", "bell, then glass")
    whole = watches(ears, read("home"), *phrases)
    assert whole
    for frame in (77, 7_680, 10**9):
        assert watches(ears, read("home"), *phrases, frame=frame) == whole


def test_watch_tells_of_breaking_glass(ears: Ears) -> None:
    events = list(ears.listen(DATA / "home.flac", watch=["glass breaking", "a crow", "dog"]))
    watches = [e for e in events if isinstance(e, Watch)]
    assert {e.query for e in watches} == {"glass breaking", "a crow"}
    assert min(e.start for e in watches) == pytest.approx(10.5, abs=0.5)


def test_a_sound_and_the_speech_over_it_are_both_heard(ears: Ears) -> None:
    samples = np.tile(read("stream"), 2) * 0.15
    speech = read("speech_service")
    samples[32_000 : 32_000 + len(speech)] += speech
    events = hear(ears, samples)
    assert any("not in service" in e.text for e in events if isinstance(e, Speech))
    assert {"Stream", "Water", "Trickle, dribble", "Gurgling"} & set(started(events))


def test_yamnet_on_esc10_through_the_runtimes_own_path(models: object, esc10: Path) -> None:
    from edge_alm.audio.source import open_source
    from edge_alm.models.bundle import load_bundle
    from edge_alm.types import Frame

    bundle = load_bundle(language_model=False, transcriber=False)
    network = Yamnet(bundle.encoder, bundle.labels)
    hops = HopEncoder(network, LogMel())
    columns = {
        name: [network.labels.index(label) for label in labels]
        for name, labels in TEN_CLASSES.items()
    }
    right: Counter[str] = Counter()
    with (esc10 / "clips.csv").open(encoding="utf-8") as file:
        clips = [row for row in csv.DictReader(file) if int(row["fold"]) <= 4]
    for row in clips:
        packets = open_source(str(esc10 / row["path"])).packets()
        samples = np.concatenate([p.samples for p in packets if isinstance(p, Frame)])
        samples = np.pad(samples, (0, -len(samples) % HOP_SAMPLES))
        hops.reset()
        heard = [hops.push(hop, wanted=True) for hop in samples.reshape(-1, HOP_SAMPLES)]
        highest = np.max([hop.scores for hop in heard if hop is not None], axis=0)
        best = max(columns, key=lambda name: highest[columns[name]].max())
        right[row["label"]] += best == row["label"]
    assert len(clips) == 320
    assert sum(right.values()) / len(clips) >= 0.92, right
