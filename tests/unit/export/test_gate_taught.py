"""A gate taught by timelines: the truth is what can be heard, of the train split, exactly again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_alm.errors import UsageError
from edge_alm.hearing.audioset import ontology, read_labels
from edge_alm.hearing.encoder import HOP_FRAMES, HOP_SAMPLES, Yamnet, cut_patches
from edge_alm.hearing.tracker import read_thresholds
from edge_alm.hearing.watch import NameMatcher
from edge_alm.types import SAMPLE_RATE_HZ
from export import gate as gate_module
from export.corpus import Clip
from export.distill import Batch, DistillConfig, Sequences, read_run, train
from export.gate import (
    ALSO_QUIET,
    SHARES,
    TAUGHT,
    Pools,
    compose_scene,
    draw,
    make_part,
    make_scene,
    sort_clips,
    truth,
)
from export.gate_classes import GATE, GateClasses
from export.heard import HeardScene, read_heard
from export.home import QUIET, WAKING
from export.scenes import Placed, Stems
from export.student import StudentConfig

CONFIG = Path(__file__).resolve().parents[3] / "export" / "gate.toml"
LABELS = tuple(sorted(ontology().labels() | set(read_thresholds())))
OF_KIND = {
    "quiet": "rain",
    "other": "dog bark",
    "speech": "speech",
    "alarm": "siren",
    "impact": "explosion",
}
HOPS = 12
LENGTH = HOPS * HOP_SAMPLES
seeds = st.integers(0, 2**32 - 1)


def make_clip(path: Path, label: str, split: str = "train", family: str = "kind") -> Clip:
    return Clip(path, label, family, label, split, "debian", True)


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> Pools:
    """Of each kind a tone of its own height, of a second."""
    folder = tmp_path_factory.mktemp("clips")
    time_s = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    found = {}
    for i, (kind, label) in enumerate(OF_KIND.items()):
        path = folder / f"{kind}.wav"
        soundfile.write(path, 0.3 * np.sin(2 * np.pi * 400 * (i + 1) * time_s), SAMPLE_RATE_HZ)
        found[kind] = [make_clip(path, label)]
    return found


def make_stems(sounds: Mapping[str, tuple[int, int, float]]) -> Stems:
    """Noise of 0.01 (RMS) and tones: label: start and length in samples, and amplitude."""
    noise = 0.01 * np.random.default_rng(0).standard_normal(LENGTH).astype(np.float32)
    parts, timeline = [], []
    for label, (start, length, loudness) in sounds.items():
        tone = np.sin(2 * np.pi * 1_000 * np.arange(length) / SAMPLE_RATE_HZ)
        parts.append((start, (loudness * tone).astype(np.float32)))
        start_s, end_s = start / SAMPLE_RATE_HZ, (start + length) / SAMPLE_RATE_HZ
        timeline.append(Placed(label, start_s, end_s, 0.0))
    return Stems(tuple(parts), noise, tuple(timeline))


kinds_of_two = st.lists(st.sampled_from([*OF_KIND]), min_size=2, max_size=2, unique=True)


@settings(deadline=None)
@given(
    kinds=kinds_of_two,
    starts=st.tuples(*[st.integers(0, LENGTH - 1)] * 2),
    lengths=st.tuples(*[st.integers(SAMPLE_RATE_HZ // 20, 4 * SAMPLE_RATE_HZ)] * 2),
)
def test_the_truth_of_a_hop_is_what_its_patch_has_of_each_sound(
    kinds: list[str], starts: tuple[int, int], lengths: tuple[int, int]
) -> None:
    sounds = {}
    for kind, start, length in zip(kinds, starts, lengths, strict=True):
        sounds[kind] = (start, min(length, LENGTH - start), 0.5)
    found = truth(make_stems(sounds), {kind: kind for kind in kinds})
    assert found.shape == (HOPS, len(GATE))
    for hop in range(HOPS):
        first, last = (hop - 1) * HOP_SAMPLES, (hop + 1) * HOP_SAMPLES
        for name in GATE[1:]:
            own = [s for k, s in sounds.items() if (k if k in WAKING else "other") == name]
            common = [min(s + n, last) - max(s, first) for s, n, _ in own]
            told = found[hop, GATE.index(name)]
            # A frame is 160 samples; at the ends of a tone one may be above the noise or not.
            if any(c >= 12 * 160 for c in common):
                assert told == 1.0
            if all(c <= 0 for c in common):
                assert told == 0.0
    np.testing.assert_array_equal(found[:, 0], 1.0 - found[:, 1:].max(axis=1))


@given(start=st.integers(0, LENGTH - 2_000), length=st.integers(800, 2_000))
@settings(deadline=None)
def test_a_short_bang_is_in_one_patch_at_least(start: int, length: int) -> None:
    found = truth(make_stems({"bang": (start, length, 0.5)}), {"bang": "impact"})
    assert 1 <= found[:, GATE.index("impact")].sum() <= 3


def test_what_the_noise_hides_is_not_there() -> None:
    quiet = make_stems({"voice": (0, LENGTH, 0.001)})
    found = truth(quiet, {"voice": "speech"})
    assert found[:, GATE.index("nothing")].all()
    hum = np.sin(2 * np.pi * 50 * np.arange(LENGTH) / SAMPLE_RATE_HZ).astype(np.float32)
    below = truth(
        replace(make_stems({"voice": (0, LENGTH, 0.1)}), noise=quiet.noise + hum),
        {"voice": "speech"},
    )
    assert below[:, GATE.index("speech")].all()  # no band of log-mel has the hum


@settings(deadline=None, max_examples=20)
@given(seeds)
def test_a_scene_is_of_its_seed_and_heard_as_the_runtime_hears(pools: Pools, seed: int) -> None:
    scene, again = (make_scene(np.random.default_rng(seed), pools) for _ in range(2))
    np.testing.assert_array_equal(scene.frames, again.frames)
    np.testing.assert_array_equal(scene.logits, again.logits)
    stems, kinds = compose_scene(np.random.default_rng(seed), pools)
    assert {placed.label for placed in stems.timeline} <= set(kinds)
    assert scene.embeddings.shape == (scene.hops, 0)
    assert scene.hops >= 8
    patches = cut_patches(np.clip(stems.mix(), -1.0, 1.0))
    assert len(patches) == scene.hops
    for i, patch in enumerate(patches):
        cut = scene.frames[i * HOP_FRAMES :][: len(patch)]
        np.testing.assert_allclose(cut, patch, atol=0.02)
    probabilities = 1.0 / (1.0 + np.exp(-scene.logits.astype(np.float32)))
    np.testing.assert_allclose(probabilities, truth(stems, kinds), atol=1e-5)


def test_every_kind_has_its_share(pools: Pools) -> None:
    assert sum(SHARES.values()) == pytest.approx(1.0)
    assert set(SHARES) - {""} == set(pools)
    rng = np.random.default_rng(0)
    firsts = [next(iter(compose_scene(rng, pools)[1].values()), "") for _ in range(300)]
    for kind, share in SHARES.items():
        assert firsts.count(kind) / 300 == pytest.approx(share, abs=0.08)


def test_a_label_of_many_clips_comes_more_often_but_not_as_often_as_it_has_clips() -> None:
    clips = [make_clip(Path("x"), "rain")] * 16 + [make_clip(Path("y"), "wind")]
    rng = np.random.default_rng(0)
    rain = np.mean([draw(rng, clips).label == "rain" for _ in range(1_000)])
    assert rain == pytest.approx(4 / 5, abs=0.05)


def test_only_the_train_split_is_learnt_from_and_no_instrument() -> None:
    clips = [make_clip(Path("x"), label) for label in OF_KIND.values()]
    left_out = [
        *(make_clip(Path("x"), label, split="dev") for label in OF_KIND.values()),
        make_clip(Path("x"), "bass drum", family="instrument"),
        make_clip(Path("x"), "thunder"),
        make_clip(Path("x"), "xyzzy"),
    ]
    found = sort_clips([*left_out, *clips], NameMatcher(LABELS), GateClasses(LABELS))
    assert {kind: [c.label for c in own] for kind, own in found.items()} == {
        kind: [label] for kind, label in OF_KIND.items()
    }
    assert all(clip.split == "train" for own in found.values() for clip in own)
    silent = [clip for clip in [*left_out, *clips] if clip not in found["alarm"]]
    with pytest.raises(UsageError, match="alarm in the train split"):
        sort_clips(silent, NameMatcher(LABELS), GateClasses(LABELS))


def test_no_label_is_told_two_things() -> None:
    assert ALSO_QUIET >= QUIET
    assert not ALSO_QUIET & set(TAUGHT)
    assert {kind for kind in TAUGHT.values() if kind} <= set(GATE)


RUN, STUDENTS = read_run(CONFIG)
SHORT = replace(
    RUN, training=DistillConfig(steps=4, batch=2, hops=4, lr=3e-3, warmup=2, checkpoint_every=2)
)
TINY = StudentConfig("gate", width=0.0625, depth=0, classes="gate")


@pytest.fixture
def scenes(pools: Pools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[HeardScene]:
    monkeypatch.setattr(gate_module, "SCENES_PER_PART", 3)
    (tmp_path / "scenes").mkdir()
    hops = [make_part(tmp_path / "scenes" / f"{i:04}", (0, i), pools) for i in range(2)]
    found = read_heard(tmp_path / "scenes")
    assert len(found) == 6
    assert sum(scene.hops for scene in found) == sum(hops)
    return found


def test_the_configuration_is_a_gate_taught_by_a_timeline() -> None:
    (student,) = STUDENTS
    assert (student.name, student.classes) == ("gate", "gate")
    assert RUN.loss.temperature == 1.0


def test_a_run_that_was_stopped_ends_in_the_same_file_of_five_scores(
    scenes: list[HeardScene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (whole,) = train(SHORT, [TINY], scenes, GATE, tmp_path / "whole")
    batch = Sequences.batch

    def stop(sequences: Sequences, step: int) -> Batch:
        if step == 3:  # after the checkpoint of the second
            raise KeyboardInterrupt
        return batch(sequences, step)

    with monkeypatch.context() as patch:
        patch.setattr(Sequences, "batch", stop)
        with pytest.raises(KeyboardInterrupt):
            [*train(SHORT, [TINY], scenes, GATE, tmp_path / "stopped")]
    (resumed,) = train(SHORT, [TINY], scenes, GATE, tmp_path / "stopped")
    assert whole.read_bytes() == resumed.read_bytes()
    assert read_labels(whole.parent / "labels.csv") == GATE
    encoder = Yamnet(whole, whole.parent / "labels.csv")
    scores, _ = encoder.encode(np.zeros((96, 64), np.float32))
    assert scores.shape == (len(GATE),)
