"""How benchmarks.gate counts wakes, sets its threshold, and makes its noise and its sounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.gate import (
    ALLOWED,
    HOP_S,
    LEAD_HOPS,
    LEVELS_DB,
    LONGEST_S,
    PAUSE_HOPS,
    STRETCH_HOPS,
    Floats,
    Gate,
    Try,
    caught_of,
    count_wakes,
    halve,
    hear_noise,
    hops_with,
    judge,
    make_noise,
    place,
    plan,
    set_thresholds,
    sort_clips,
    try_sounds,
    wake_scores,
)
from edge_alm.errors import UsageError
from edge_alm.hearing.audioset import ontology
from edge_alm.hearing.encoder import HOP_SAMPLES, OVERLAP_SAMPLES
from edge_alm.hearing.tracker import read_thresholds
from edge_alm.hearing.watch import NameMatcher
from edge_alm.types import SAMPLE_RATE_HZ
from export.acoustics import rms
from export.corpus import Clip
from export.gate_classes import GATE, GateClasses
from export.home import QUIET, ROOM_DB, WAKING

LABELS = tuple(sorted(ontology().labels() | set(read_thresholds())))
# A coarse grid, so that scores are often the same.
rows = st.tuples(*[st.integers(0, 20)] * 3)
scores = st.lists(rows, min_size=1, max_size=80).map(lambda drawn: np.array(drawn, np.float32) / 20)
levels = st.tuples(*[st.integers(-1, 21)] * 3).map(lambda drawn: [each / 20 for each in drawn])
pauses = st.integers(1, 12)


def most_apart(places: list[int], pause: int) -> int:
    """The largest number of the places that are so far apart, by trying every way."""
    best = [0] * (len(places) + 1)
    for i in reversed(range(len(places))):
        after = next((k for k in range(i, len(places)) if places[k] >= places[i] + pause), None)
        best[i] = max(best[i + 1], 1 + (best[after] if after is not None else 0))
    return best[0]


@given(scores, levels, pauses)
def test_wakes_are_as_many_as_fit_with_their_pauses(
    found: Floats, thresholds: list[float], pause: int
) -> None:
    above = [i for i, row in enumerate(found) if Try("", 0, "", tuple(row)).wakes(thresholds)]
    assert count_wakes(found, thresholds, pause) == most_apart(above, pause)


@given(st.integers(0, 40), st.integers(1, 60), pauses, st.integers(0, 2))
def test_a_lasting_sound_wakes_once_a_pause(
    before: int, length: int, pause: int, column: int
) -> None:
    found = np.zeros((before + length + 9, 3), np.float32)
    found[before : before + length, column] = 1.0
    assert count_wakes(found, [0.5] * 3, pause) == math.ceil(length / pause)
    assert count_wakes(found, [1.0] * 3, pause) == 0


@given(scores, st.integers(0, 10), pauses)
def test_the_thresholds_are_the_lowest_that_allow_no_more(
    found: Floats, allowed: int, pause: int
) -> None:
    thresholds = set_thresholds(found, allowed, pause)
    assert count_wakes(found, thresholds, pause) <= allowed
    falling = np.sort(found, axis=0)[::-1].tolist()
    k = max(i for i, row in enumerate(falling) if row == [*thresholds])
    assert all(count_wakes(found, lower, pause) > allowed for lower in falling[k + 1 :])


def tries_of(values: Sequence[float]) -> list[Try]:
    """Tries of which the class that is meant has these scores."""
    tries = []
    for i, value in enumerate(values):
        own = [0.0, 0.0, 0.0]
        own[i % 3] = value
        tries.append(Try(WAKING[i % 3], LEVELS_DB[i // 3 % 3], f"recording {i % 5}", tuple(own)))
    return tries


@given(st.lists(st.floats(0, 1), min_size=9, max_size=40), levels, levels)
def test_higher_thresholds_catch_no_more(
    values: list[float], a: list[float], b: list[float]
) -> None:
    low, high = (caught_of("all", tries_of(values), [*map(pick, a, b)]) for pick in (min, max))
    assert high.share <= low.share
    assert all(high.by_level[level] <= low.by_level[level] for level in LEVELS_DB)
    for found in (low, high):
        assert found.low <= found.share + 1e-9
        assert found.share <= found.high + 1e-9
    assert caught_of("all", tries_of(values), [1.0] * 3).share == 0.0
    assert caught_of("all", tries_of(values), [-1.0] * 3).share == 1.0


def test_another_room_makes_nothing_surer_than_another_recording() -> None:
    once = tries_of([0.0, 1.0] * 9)
    often = once * 10
    few, many = (caught_of("all", each, [0.5] * 3) for each in (once, often))
    assert (few.low, few.high, few.recordings) == (many.low, many.high, many.recordings)
    apart = [Try(t.kind, t.level_db, f"{i}", t.scores) for i, t in enumerate(often)]
    surer = caught_of("all", apart, [0.5] * 3)
    assert surer.high - surer.low < 0.5 * (few.high - few.low)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), hours=st.floats(1.0, 6.0), catch=st.floats(0.0, 1.0))
def test_a_result_keeps_what_is_allowed_and_tells_of_the_other_noise(
    seed: int, hours: float, catch: float
) -> None:
    rng = np.random.default_rng(seed)
    n = round(hours * 3600 / HOP_S)
    quiet, other = rng.random((2, n, 3), dtype=np.float32) ** 4
    heard = (rng.random(180) < catch).tolist()
    # 2.0 is above any noise, 0.0 below.
    result = judge("toy", 7, quiet, other, tries_of([2.0 if each else 0.0 for each in heard]))
    assert result.wakes_set <= ALLOWED * result.hours_set
    assert result.hours_set == pytest.approx(hours, abs=HOP_S / 3600)
    assert result.wakes == count_wakes(other, [*result.thresholds.values()], PAUSE_HOPS)
    assert result.wakes_per_hour == pytest.approx(result.wakes / result.hours)
    shares = {each.name: each.share for each in result.caught}
    assert shares["all"] == pytest.approx(np.mean(heard))
    for i, kind in enumerate(WAKING):
        assert shares[kind] == pytest.approx(np.mean(heard[i::3]))


@given(st.lists(st.floats(0, 1, width=32), min_size=5, max_size=5))
def test_nothing_and_other_do_not_wake(row: list[float]) -> None:
    probabilities = dict(zip(GATE, row, strict=True))
    found = wake_scores(np.array([row], np.float32))
    np.testing.assert_array_equal(found, [[np.float32(probabilities[kind]) for kind in WAKING]])


@given(st.integers(0, 300_000), st.integers(1, 100_000))
def test_the_hops_with_a_sound_are_those_whose_patch_has_it(start: int, length: int) -> None:
    end = start + length
    found = hops_with(start / SAMPLE_RATE_HZ, end / SAMPLE_RATE_HZ)
    for hop in range(found.stop + 3):
        first, last = (hop - 1) * HOP_SAMPLES - OVERLAP_SAMPLES, (hop + 1) * HOP_SAMPLES
        common = min(end, last) - max(start, first)
        if found.start <= hop < found.stop:
            assert common >= -1  # a sample may be lost in seconds
        else:
            assert common <= OVERLAP_SAMPLES + 1


@given(st.integers(1, 20), st.integers(3, 200), st.integers(0, 99))
def test_every_clip_has_its_turn_at_every_level(clips: int, count: int, seed: int) -> None:
    made = [make_clip(Path("x"), "speech", f"{i}") for i in range(clips)]
    planned = plan(made, count, np.random.default_rng(seed))
    assert len(planned) == count
    turns = [(clip.source, level) for clip, level in planned]
    often = [turns.count((clip.source, level)) for clip in made for level in LEVELS_DB]
    assert max(often) - min(often) <= 1


def make_clip(path: Path, label: str, source: str, split: str = "dev") -> Clip:
    return Clip(path, label, "kind", source, split, "debian", True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``short.wav``, ``long.wav``: tones of 0.4 and 8 s."""
    import soundfile

    folder = tmp_path_factory.mktemp("clips")
    for name, seconds in (("short", 0.4), ("long", 8.0)):
        time_s = np.arange(int(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
        tone = 0.3 * np.sin(2 * np.pi * 1_000 * time_s)
        soundfile.write(folder / f"{name}.wav", tone.astype(np.float32), SAMPLE_RATE_HZ)
    return folder


def test_what_may_be_of_several_classes_is_left_out() -> None:
    labels = {
        "speech": ("speech", "person screaming"),
        "alarm": ("phone ringing", "police siren"),
        "impact": ("gunshot", "glass breaking"),
        "": ("rain", "bee buzzing", "crossbow shot", "vehicle engine", "xyzzy"),
    }
    clips = [make_clip(Path("x"), name, name) for own in labels.values() for name in own]
    classes = GateClasses(LABELS)
    found = sort_clips(clips, NameMatcher(LABELS), classes)
    assert {kind: tuple(c.label for c in own) for kind, own in found.items()} == {
        kind: labels[kind] for kind in WAKING
    }
    with pytest.raises(UsageError, match="alarm in the development split"):
        sort_clips([c for c in clips if c not in found["alarm"]], NameMatcher(LABELS), classes)


@given(st.lists(st.tuples(st.sampled_from(sorted(QUIET)), st.integers(0, 9)), max_size=30))
def test_halves_share_no_recording(drawn: list[tuple[str, int]]) -> None:
    clips = [make_clip(Path(f"{i}"), label, f"{label} {n}") for i, (label, n) in enumerate(drawn)]
    loud = make_clip(Path("x"), "gunshot", "loud")
    if len(set(drawn)) < 2:
        with pytest.raises(UsageError, match="quiet sounds in the development split"):
            halve([*clips, loud])
        return
    first, second = halve([loud, *clips])
    assert sorted(c.path for c in first + second) == sorted(c.path for c in clips)
    sources, others = ({c.source for c in half} for half in (first, second))
    assert sources.isdisjoint(others)
    assert 0 <= len(sources) - len(others) <= 1


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), level_db=st.sampled_from(LEVELS_DB))
def test_a_placed_sound_stands_so_far_above_its_noise(
    folder: Path, seed: int, level_db: int
) -> None:
    clip = make_clip(folder / "short.wav", "speech", "a")
    scene = place(np.random.default_rng(seed), clip, level_db)
    (placed,) = scene.timeline
    start, end = (round(at_s * SAMPLE_RATE_HZ) for at_s in (placed.start_s, placed.end_s))
    noise_db = 20 * np.log10(rms(scene.samples[:start]))
    assert ROOM_DB[0] - 4 <= noise_db <= ROOM_DB[1] + 4
    heard_db = 20 * np.log10(rms(scene.samples[start:end]))
    # What is heard has the noise in it too; noise is not quite as loud everywhere.
    assert heard_db - noise_db == pytest.approx(10 * np.log10(1 + 10 ** (level_db / 10)), abs=4)


def test_no_placed_sound_is_in_the_lead(folder: Path) -> None:
    clip = make_clip(folder / "short.wav", "gunshot", "a")
    for seed in range(60):
        (placed,) = place(np.random.default_rng(seed), clip, 20).timeline
        assert placed.start_s >= LEAD_HOPS * HOP_S


def test_what_does_not_fit_is_told(folder: Path) -> None:
    whole = make_clip(folder / "long.wav", "speech", "a")
    with pytest.raises(UsageError, match=f"up to {LONGEST_S:g} s"):
        place(np.random.default_rng(0), whole, 20)


def test_noise_is_as_long_as_asked_quiet_and_the_same_again(folder: Path) -> None:
    clips = [make_clip(folder / "short.wav", "rain", "a")]
    hours = 0.02
    stretches = [*make_noise(clips, hours, (3, 1))]
    kept = len(stretches) * (STRETCH_HOPS - LEAD_HOPS) * HOP_S / 3600
    assert hours <= kept < hours + STRETCH_HOPS * HOP_S / 3600
    assert {len(samples) for samples in stretches} == {STRETCH_HOPS * HOP_SAMPLES}
    assert max(rms(samples) for samples in stretches) < 10 ** ((ROOM_DB[1] + 10) / 20)
    again, other = (next(make_noise(clips, 0.001, (3, part))) for part in (1, 0))
    np.testing.assert_array_equal(again, stretches[0])
    assert not np.array_equal(other, again)


class Loudness:
    """An encoder of a gate's classes that takes for an alarm what is loud in a patch's middle."""

    labels: tuple[str, ...] = GATE
    embedding_size = 1

    def encode(self, patch: NDArray[np.float32]) -> tuple[Floats, Floats]:
        scores = np.zeros(len(GATE), np.float32)
        scores[GATE.index("alarm")] = 1.0 / (1.0 + np.exp(-patch[24:72].max()))
        scores[GATE.index("other")] = 1.0
        return scores, np.zeros(1, np.float32)


def test_a_gate_that_hears_loudness_catches_what_is_loud(folder: Path) -> None:
    quiet = [make_clip(folder / "short.wav", "rain", "a")]
    sounds = {kind: [make_clip(folder / "short.wav", "gunshot", kind)] for kind in WAKING}
    gates = [Gate(Loudness())]
    noise, other = (hear_noise(gates, make_noise(quiet, 0.05, (0, part)))[0] for part in (0, 1))
    assert len(noise) % (STRETCH_HOPS - LEAD_HOPS) == 0
    (tries,) = try_sounds(gates, sounds, 24, 0)
    result = judge("toy", 7, noise, other, tries)
    by_level = {each.name: each.by_level for each in result.caught}["all"]
    assert result.wakes_set == 0
    assert by_level[LEVELS_DB[0]] > 0.5
    assert by_level[LEVELS_DB[0]] > by_level[LEVELS_DB[-1]]
