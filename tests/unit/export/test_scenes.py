from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_alm.types import SAMPLE_RATE_HZ, Samples
from export.acoustics import Noise, loud_part, make_noise, make_room, pass_band, pass_codec
from export.corpus import Clip, similar
from export.scenes import (
    FAR_DB,
    MIN_START_GAP_S,
    REPEAT_GAP_S,
    SPEECH,
    Placed,
    Recipe,
    compose,
    imagine,
    occurrence,
    render,
)

LABELS = ("dog bark", "helicopter", "piano", "rain", "sneeze", "church bell", "chainsaw")
BARE = replace(
    Recipe(), reverb=0.0, near_far=0.0, noise=(), band=0.0, codec=0.0, overlap=0.0, repeat=0.0
)
SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    """Two recordings of every label, 0.4 to 7 s of noise in a band; two sentences."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(1)
    made = []
    for index, label in enumerate((*LABELS, SPEECH)):
        for take in range(2):
            length_s = 2.0 if label == SPEECH else (0.4, 0.8, 1.5, 7.0)[(index + take) % 4]
            noise = rng.standard_normal(round(length_s * SAMPLE_RATE_HZ)).astype(np.float32)
            hz = np.fft.rfftfreq(len(noise), 1 / SAMPLE_RATE_HZ)
            band = (hz > 300 + 300 * index) & (hz < 900 + 300 * index)
            noise = np.fft.irfft(np.fft.rfft(noise) * band, len(noise)).astype(np.float32)
            path = folder / f"{index}-{take}.wav"
            soundfile.write(path, 0.5 * noise / np.abs(noise).max(), SAMPLE_RATE_HZ)
            text = f"sentence {take}" if label == SPEECH else ""
            made.append(Clip(path, label, "any", path.stem, "train", "debian", True, text))
    return made


def span(placed: Placed) -> slice:
    return slice(round(placed.start_s * SAMPLE_RATE_HZ), round(placed.end_s * SAMPLE_RATE_HZ))


def rms(samples: Samples) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def db(ratio: float) -> float:
    return 20 * float(np.log10(ratio))


def generators(count: int) -> Iterator[np.random.Generator]:
    return (np.random.default_rng(seed) for seed in range(count))


def test_there_is_energy_where_the_timeline_says_and_nowhere_else(clips: list[Clip]) -> None:
    for rng in generators(40):
        scene = compose(rng, clips, BARE)
        outside = np.ones(len(scene.samples), bool)
        for placed in scene.timeline:
            heard = scene.samples[span(placed)]
            outside[span(placed)] = False
            assert db(rms(heard)) == pytest.approx(placed.level_db, abs=0.1)
            # The ends are sound too, not silence that the timeline claims.
            edge = SAMPLE_RATE_HZ // 10
            assert rms(heard[:edge]) > 0.1 * rms(heard)
            assert rms(heard[-edge:]) > 0.1 * rms(heard)
        assert not scene.samples[outside].any()


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_any_scene_is_what_its_timeline_says(clips: list[Clip], seed: int) -> None:
    scene = compose(np.random.default_rng(seed), clips)
    assert scene.samples.dtype == np.float32
    assert scene.samples.ndim == 1
    assert np.abs(scene.samples).max() <= 1
    assert scene.duration_s == len(scene.samples) / SAMPLE_RATE_HZ
    assert 4.0 <= scene.duration_s <= 20.0
    for placed in scene.timeline:
        assert 0 <= placed.start_s < placed.end_s <= scene.duration_s
        assert placed.end_s - placed.start_s <= 5.0
        assert placed.level_db < 0
        assert bool(placed.text) == (placed.label == SPEECH)
    check_layout(scene.timeline)


@settings(max_examples=100, deadline=None)
@given(SEEDS)
def test_an_imagined_timeline_keeps_the_same_rules(seed: int) -> None:
    labels = (*LABELS, "dog howl", "light rain", "bark")
    timeline, duration_s = imagine(np.random.default_rng(seed), labels, Recipe())
    assert {placed.label for placed in timeline} <= set(labels)
    assert all(placed.end_s <= duration_s <= 20.0 for placed in timeline)
    check_layout(timeline)


def check_layout(timeline: tuple[Placed, ...]) -> None:
    for a, b in pairwise(timeline):
        assert b.start_s - a.start_s >= MIN_START_GAP_S - 1e-3
        shorter = min(a.end_s - a.start_s, b.end_s - b.start_s)
        assert a.end_s - b.start_s <= 0.5 * shorter + 1e-3
    for a, b in combinations(timeline, 2):
        if a.label == b.label:
            assert b.start_s - a.end_s >= REPEAT_GAP_S - 1e-3
        else:
            assert not similar(a.label, b.label)
    assert Counter(placed.label for placed in timeline)[SPEECH] <= 1
    assert Counter(placed.attribute for placed in timeline)["near"] <= 1
    assert Counter(placed.attribute for placed in timeline)["far"] <= 1


def test_labels_that_could_name_the_same_sound_do_not_meet(clips: list[Clip]) -> None:
    alike = [clips[0], replace(clips[2], label="dog growl")]
    assert similar(alike[0].label, alike[1].label)
    recipe = replace(BARE, events=(0, 0, 1))
    for rng in generators(20):
        assert len(compose(rng, alike, recipe).timeline) == 1


def test_stems_add_up_to_the_scene(clips: list[Clip]) -> None:
    recipe = replace(Recipe(), codec=0.0)
    for seed in range(20):
        scene = compose(np.random.default_rng(seed), clips, recipe)
        stems = render(np.random.default_rng(seed), clips, recipe)
        total = stems.noise.astype(np.float64)
        for start, part in stems.parts:
            part = part[: len(total) - start]
            total[start : start + len(part)] += part
        np.testing.assert_allclose(scene.samples, total, atol=1e-6)
        assert scene.timeline == stems.timeline


def test_the_same_seed_gives_the_same_scene(clips: list[Clip]) -> None:
    for seed in range(10):
        first, again, other = (compose(np.random.default_rng(s), clips) for s in (seed, seed, 99))
        assert first.timeline == again.timeline
        np.testing.assert_array_equal(first.samples, again.samples)
        assert len(first.samples) != len(other.samples)


@pytest.mark.parametrize("snr_db", [-5.0, 10.0, 40.0])
def test_noise_is_as_far_below_the_events_as_asked(clips: list[Clip], snr_db: float) -> None:
    recipe = replace(Recipe(), snr_db=(snr_db, snr_db), audible_db=None, events=(0, 1, 1, 1))
    for rng in generators(20):
        stems = render(rng, clips, recipe)
        heard = np.concatenate(
            [
                part[: round((placed.end_s - placed.start_s) * SAMPLE_RATE_HZ)]
                for placed, (_, part) in zip(stems.timeline, stems.parts, strict=True)
            ]
        )
        assert db(rms(heard) / rms(stems.noise)) == pytest.approx(snr_db, abs=0.1)


def test_every_event_stays_above_the_noise(clips: list[Clip]) -> None:
    recipe = replace(Recipe(), snr_db=(-5.0, 0.0))
    for rng in generators(40):
        stems = render(rng, clips, recipe)
        for _, part in stems.parts:
            assert db(loud_part(part) / rms(stems.noise)) >= 5.9


def test_levels_use_the_whole_range(clips: list[Clip]) -> None:
    recipe = replace(BARE, events=(0, 0, 1))
    apart = []
    for rng in generators(100):
        a, b = compose(rng, clips, recipe).timeline
        apart.append(abs(a.level_db - b.level_db))
    assert max(apart) > 20
    assert max(apart) <= 30.1
    assert min(apart) < 3


def test_neighbours_overlap_as_often_as_asked(clips: list[Clip]) -> None:
    long_ones = [clip for clip in clips if soundfile.info(clip.path).duration >= 1.5]
    recipe = replace(BARE, events=(0, 0, 1), speech=0.0, overlap=0.5)
    scenes = [compose(rng, long_ones, recipe).timeline for rng in generators(100)]
    over = [(a, b) for a, b in scenes if b.start_s < a.end_s]
    assert 30 <= len(over) <= 70
    # A sound under a much louder one would not be heard.
    assert max(abs(a.level_db - b.level_db) for a, b in over) <= 6.1


def test_loud_scenes_do_not_clip(clips: list[Clip]) -> None:
    recipe = replace(BARE, events=(0, 1), loudest_db=(-3.0, 0.0))
    for rng in generators(10):
        scene = compose(rng, clips, recipe)
        assert 0.9 < np.abs(scene.samples).max() < 0.99


def test_repeats_can_be_counted(clips: list[Clip]) -> None:
    recipe = replace(BARE, events=(0, 1), speech=0.0, repeat=1.0)
    counts = Counter[int]()
    for rng in generators(60):
        scene = compose(rng, clips, recipe)
        # Bursts divided by half a second or more of silence, as a listener counts them.
        loud = np.flatnonzero(scene.samples)
        bursts = 1 + int(np.sum(np.diff(loud) >= SAMPLE_RATE_HZ // 2))
        assert bursts == len(scene.timeline)
        counts[bursts] += 1
    assert set(counts) <= {1, 2, 3, 4, 5}
    assert all(counts[n] for n in (2, 3, 4, 5))


def test_what_cannot_be_counted_is_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "clock.wav"
    soundfile.write(path, bursts_of(0.02, 0.9, 5), SAMPLE_RATE_HZ)
    clock = Clip(path, "clock ticking", "any", "clock", "train", "debian", True)
    recipe = replace(BARE, events=(0, 1), repeat=1.0)
    for rng in generators(10):
        scene = compose(rng, [clock], recipe)
        (placed,) = scene.timeline
        assert np.abs(scene.samples[span(placed)][-1_000:]).max() > 1e-3


def test_far_is_quieter_duller_and_more_reverberant_than_near(clips: list[Clip]) -> None:
    wide = [replace(clips[0], path=clips[0].path.with_name("wide.wav"))]
    noise = np.random.default_rng(3).standard_normal(SAMPLE_RATE_HZ).astype(np.float32)
    soundfile.write(wide[0].path, 0.1 * noise, SAMPLE_RATE_HZ)
    recipe = replace(BARE, events=(0, 1), near_far=1.0)
    first = Counter[str]()
    for rng in generators(20):
        stems = render(rng, wide, recipe)
        by_attribute = {
            placed.attribute: (placed, part)
            for placed, (_, part) in zip(stems.timeline, stems.parts, strict=True)
        }
        (near, near_part), (far, far_part) = by_attribute["near"], by_attribute["far"]
        assert near.level_db - far.level_db >= FAR_DB - 0.1
        assert centroid_hz(far_part) < 0.6 * centroid_hz(near_part)
        assert len(near_part) == round((near.end_s - near.start_s) * SAMPLE_RATE_HZ)
        assert len(far_part) > (far.end_s - far.start_s + 0.3) * SAMPLE_RATE_HZ
        first[stems.timeline[0].attribute] += 1
    assert min(first["near"], first["far"]) >= 4


def centroid_hz(samples: Samples) -> float:
    power = np.abs(np.fft.rfft(samples)) ** 2
    return float(np.average(np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE_HZ), weights=power))


def test_speech_is_placed_whole_or_not_at_all(clips: list[Clip], tmp_path: Path) -> None:
    path = tmp_path / "sermon.wav"
    # Its loudest stretch alone would be short enough.
    noise = np.random.default_rng(4).standard_normal(10 * SAMPLE_RATE_HZ).astype(np.float32)
    noise[3 * SAMPLE_RATE_HZ : 6 * SAMPLE_RATE_HZ] = 0
    soundfile.write(path, 0.1 * noise, SAMPLE_RATE_HZ)
    sermon = Clip(path, SPEECH, "any", "sermon", "train", "speech", True, "too long")
    recipe = replace(BARE, events=(0, 1), speech=1.0)
    for rng in generators(20):
        speech = [clip for clip in clips if clip.label == SPEECH]
        (placed,) = compose(rng, [*speech, sermon], recipe).timeline
        assert placed.text.startswith("sentence")
        assert placed.end_s - placed.start_s == pytest.approx(2.0, abs=0.1)


def test_the_long_recipe_has_one_event_anywhere_in_ten_minutes(clips: list[Clip]) -> None:
    starts = []
    for rng in generators(4):
        scene = compose(rng, clips, Recipe.long())
        assert len(scene.samples) == 600 * SAMPLE_RATE_HZ
        (placed,) = scene.timeline
        starts.append(placed.start_s)
        assert db(rms(scene.samples[span(placed)]) / rms(scene.samples[: 4 * 16_000])) > 6
    assert max(starts) - min(starts) > 60


@pytest.mark.parametrize("count", range(1, 5))
def test_the_clean_recipe_has_one_to_four_sounds_apart(clips: list[Clip], count: int) -> None:
    scene = compose(np.random.default_rng(count), clips, Recipe.clean())
    assert 1 <= len({placed.label for placed in scene.timeline}) <= 4
    assert all(a.end_s < b.start_s for a, b in pairwise(scene.timeline))
    assert SPEECH not in {placed.label for placed in scene.timeline}
    assert 5.0 <= scene.duration_s <= 20.0


def test_empty_recipes_have_no_event(clips: list[Clip]) -> None:
    rng = np.random.default_rng(5)
    silence, tone, white = (
        compose(rng, clips, Recipe.empty(kind)) for kind in ("silence", "room tone", "white noise")
    )
    assert silence.timeline == tone.timeline == white.timeline == ()
    assert not silence.samples.any()
    assert -75 < db(rms(tone.samples)) < -40
    assert -55 < db(rms(white.samples)) < -15
    assert centroid_hz(tone.samples) < 1_000 < 3_500 < centroid_hz(white.samples)


@pytest.mark.parametrize("kind", ["white", "pink", "brown", "hum", "room tone"])
def test_noise_is_stationary(kind: Noise) -> None:
    noise = make_noise(np.random.default_rng(7), [kind], 40 * SAMPLE_RATE_HZ)
    seconds_db = [db(rms(second)) for second in noise.reshape(40, -1)]
    assert np.ptp(seconds_db) < 3
    assert rms(noise) == pytest.approx(1, abs=1e-3)
    # Nothing clicks, not even where the period starts again.
    steps = np.abs(np.diff(noise))
    assert steps.max() < 8 * rms(steps)


def test_hum_has_the_mains_harmonics() -> None:
    noise = make_noise(np.random.default_rng(7), ["hum"], 10 * SAMPLE_RATE_HZ)
    power = np.abs(np.fft.rfft(noise * np.hanning(len(noise)))) ** 2
    hz = np.fft.rfftfreq(len(noise), 1 / SAMPLE_RATE_HZ)
    tones = [
        sum(power[np.abs(hz - k * mains_hz) < 1].sum() for k in range(1, 6))
        for mains_hz in (50, 60)
    ]
    assert max(tones) > 0.4 * power.sum()
    assert min(tones) < 0.1 * max(tones)


def test_a_room_falls_by_60_db_in_its_time() -> None:
    room = make_room(np.random.default_rng(9), 0.5)
    assert float(np.sum(np.square(room))) == pytest.approx(1, abs=1e-3)
    sounding = np.flatnonzero(room)
    early = room[sounding[0] : sounding[0] + 800]
    late = room[sounding[0] + 4_000 : sounding[0] + 4_800]
    assert db(rms(late) / rms(early)) == pytest.approx(-30, abs=3)


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 48_000])
def test_a_band_pass_keeps_time_and_takes_what_the_rate_cannot_hold(rate_hz: int) -> None:
    noise = np.random.default_rng(2).standard_normal(20_001).astype(np.float32)
    passed = pass_band(noise, rate_hz)
    assert len(passed) == len(noise)
    before, after = (np.abs(np.fft.rfft(x)) ** 2 for x in (noise, passed))
    hz = np.fft.rfftfreq(len(noise), 1 / SAMPLE_RATE_HZ)
    kept, lost = hz < 0.4 * min(rate_hz, SAMPLE_RATE_HZ), hz > 0.55 * rate_hz
    assert after[kept].sum() == pytest.approx(before[kept].sum(), rel=0.02)
    assert after[lost].sum() <= 1e-4 * before.sum()
    assert lag_samples(noise, passed) == 0


@pytest.mark.parametrize("codec", ["mulaw", "vorbis", "mp3"])
@pytest.mark.parametrize("length", [100, 50_001])
def test_a_codec_keeps_length_and_time(codec: str, length: int) -> None:
    noise = np.random.default_rng(2).standard_normal(length).astype(np.float32)
    sound = (pass_band(0.2 * noise, 8_000) * np.hanning(length)).astype(np.float32)
    coded = pass_codec(sound, codec)  # type: ignore[arg-type]
    assert len(coded) == length
    assert coded.dtype == np.float32
    if length > 1_000:
        assert lag_samples(sound, coded) == 0
        assert np.corrcoef(sound, coded)[0, 1] > 0.9
        assert not np.array_equal(sound, coded)


def lag_samples(a: Samples, b: Samples) -> int:
    size = 2 * len(a)
    match = np.fft.irfft(np.fft.rfft(b, size) * np.conj(np.fft.rfft(a, size)), size)
    lag = int(np.argmax(match))
    return lag if lag < len(a) else lag - size


def bursts_of(length_s: float, pause_s: float, count: int) -> Samples:
    burst = np.full(round(length_s * SAMPLE_RATE_HZ), 0.5, np.float32)
    burst[::2] *= -1
    pause = np.zeros(round(pause_s * SAMPLE_RATE_HZ), np.float32)
    return np.concatenate([burst, pause] * count)[: -len(pause)]


def test_a_clip_of_three_barks_is_cut_to_one() -> None:
    once, countable = occurrence(bursts_of(0.4, 0.8, 3))
    assert countable
    assert 0.4 <= len(once) / SAMPLE_RATE_HZ < 0.6


def test_a_quick_series_is_one_occurrence() -> None:
    series = bursts_of(0.2, 0.3, 4)
    once, countable = occurrence(series)
    assert countable
    assert len(once) == len(series)


def test_a_ticking_clock_is_left_whole_and_not_counted() -> None:
    ticks = bursts_of(0.02, 0.9, 5)
    once, countable = occurrence(ticks)
    assert not countable
    assert len(once) == len(ticks)
