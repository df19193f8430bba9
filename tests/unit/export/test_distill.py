"""Distillation: losses against plain loops, and a training that learns and resumes exactly."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_alm.errors import UsageError
from edge_alm.hearing.encoder import HOP_FRAMES, PATCH_FRAMES
from export.distill import (
    AugmentConfig,
    Batch,
    DataConfig,
    DistillConfig,
    Distiller,
    LossConfig,
    Run,
    Sequences,
    TeacherConfig,
    augment,
    embedding_loss,
    read_run,
    soft_loss,
    timing_loss,
)
from export.heard import HeardScene
from export.runs import CHECKPOINT, LOG
from export.student import StudentConfig

CLASSES, WIDTH = 4, 6
CONFIG = Path(__file__).resolve().parents[3] / "export" / "distill.toml"
STUDENT = StudentConfig("tiny", width=0.0625, depth=0)
PLAIN = AugmentConfig(gain_db=0.0, mix=0.0, mask_bands=0, mask_frames=0)
RUN = Run(
    TeacherConfig(),
    DataConfig(),
    AugmentConfig(),
    LossConfig(),
    DistillConfig(steps=6, batch=3, hops=3, lr=3e-3, warmup=2, checkpoint_every=3),
)


def make_scenes(count: int = 4, hops: int = 5) -> list[HeardScene]:
    """Each of its own band, loud for some hops; the teacher tells which, and when."""
    rng, scenes = np.random.default_rng(0), []
    for i in range(count):
        frames = rng.normal(-4.0, 0.3, ((hops + 1) * HOP_FRAMES, 64))
        frames[2 * HOP_FRAMES :, 16 * i : 16 * (i + 1)] += 5.0
        logits = np.full((hops, CLASSES), -5.0)
        logits[1:, i] = 4.0
        embeddings = rng.normal(0.0, 0.1, (hops, WIDTH))
        embeddings[:, i] += 1.0
        parts = (part.astype(np.float16) for part in (frames, logits, embeddings))
        scenes.append(HeardScene(*parts))
    return scenes


def distil(out: Path, run: Run = RUN) -> dict[str, torch.Tensor]:
    distiller = Distiller(STUDENT, Sequences(make_scenes(), run.training, run.augment), run, out)
    distiller.run()
    return {name: value.clone() for name, value in distiller.student.state_dict().items()}


def random_probabilities(rng: np.random.Generator, *shape: int) -> torch.Tensor:
    return torch.from_numpy(rng.uniform(0.01, 0.99, shape).astype(np.float32))


seeds = st.integers(0, 2**32 - 1)


@settings(deadline=None)
@given(seed=seeds, temperature=st.floats(0.5, 8.0))
def test_the_soft_loss_is_its_formula(seed: int, temperature: float) -> None:
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(0, 3, (2, 3, CLASSES)).astype(np.float32))
    teacher = random_probabilities(rng, 2, 3, CLASSES)
    sums = []
    for row, wanted in zip(logits.reshape(-1, CLASSES), teacher.reshape(-1, CLASSES), strict=True):
        total = 0.0
        for z, p in zip(row.tolist(), wanted.tolist(), strict=True):
            q = 1.0 / (1.0 + math.exp(-math.log(p / (1.0 - p)) / temperature))
            s = 1.0 / (1.0 + math.exp(-z / temperature))
            total += q * math.log(q / s) + (1.0 - q) * math.log((1.0 - q) / (1.0 - s))
        sums.append(temperature**2 * total)
    found = float(soft_loss(logits, teacher, temperature))
    assert found == pytest.approx(np.mean(sums), rel=1e-3, abs=1e-3)


@settings(deadline=None)
@given(seed=seeds)
def test_the_timing_loss_is_its_formula(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(0, 3, (2, 4, CLASSES)).astype(np.float32))
    teacher = random_probabilities(rng, 2, 4, CLASSES)
    student = torch.sigmoid(logits)
    sums = []
    for n in range(2):
        for t in range(3):
            total = 0.0
            for c in range(CLASSES):
                own = float(student[n, t + 1, c] - student[n, t, c])
                total += (own - float(teacher[n, t + 1, c] - teacher[n, t, c])) ** 2
            sums.append(total)
    assert float(timing_loss(logits, teacher)) == pytest.approx(np.mean(sums), abs=1e-5)


@settings(deadline=None)
@given(seed=seeds, scale=st.floats(0.1, 10.0))
def test_the_losses_of_the_teacher_itself_are_nothing(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    probabilities = random_probabilities(rng, 2, 3, CLASSES)
    embeddings = torch.from_numpy(rng.normal(0, 1, (2, 3, WIDTH)).astype(np.float32))
    logits = torch.logit(probabilities)
    assert float(soft_loss(logits, probabilities, 2.0)) == pytest.approx(0.0, abs=1e-4)
    assert float(timing_loss(logits, probabilities)) == pytest.approx(0.0, abs=1e-6)
    # Only where it points counts.
    assert float(embedding_loss(scale * embeddings, embeddings)) == pytest.approx(0.0, abs=1e-5)
    assert float(embedding_loss(-embeddings, embeddings)) == pytest.approx(2.0, abs=1e-5)


def test_patches_are_cut_from_the_frames_as_hops_are() -> None:
    batch = Sequences(make_scenes(), RUN.training, PLAIN).batch(0)
    patches = batch.patches().reshape(RUN.training.batch, RUN.training.hops, PATCH_FRAMES, 64)
    for n in range(RUN.training.batch):
        for t in range(RUN.training.hops):
            expected = batch.frames[n, t * HOP_FRAMES : t * HOP_FRAMES + PATCH_FRAMES]
            assert torch.equal(patches[n, t], expected)


@settings(deadline=None)
@given(seed=seeds, mix=st.floats(0.0, 1.0), masked=st.integers(0, 20))
def test_an_augmented_batch_is_still_one(seed: int, mix: float, masked: int) -> None:
    batch = Sequences(make_scenes(), RUN.training, PLAIN).batch(seed % 100)
    config = AugmentConfig(gain_db=6.0, mix=mix, mask_bands=masked, mask_frames=masked)
    changed = augment(np.random.default_rng(seed), batch, config)
    for before, after in zip(
        (batch.frames, batch.probabilities, batch.embeddings),
        (changed.frames, changed.probabilities, changed.embeddings),
        strict=True,
    ):
        assert after.shape == before.shape
        assert after.dtype == before.dtype
    assert float(changed.probabilities.min()) >= 0.0
    assert float(changed.probabilities.max()) <= 1.0
    # What is mixed in never outweighs.
    own = (changed.probabilities - batch.probabilities).abs()
    assert float(own.max()) <= 0.5 * float(batch.probabilities.max()) + 1e-6


def test_an_augmentation_of_nothing_changes_nothing() -> None:
    batch = Sequences(make_scenes(), RUN.training, PLAIN).batch(0)
    changed = augment(np.random.default_rng(0), batch, PLAIN)
    assert torch.equal(changed.frames, batch.frames)
    assert torch.equal(changed.embeddings, batch.embeddings)


def test_a_step_depends_on_its_seed_and_number_alone() -> None:
    sequences = Sequences(make_scenes(), RUN.training, RUN.augment)
    first: Batch = sequences.batch(7)
    sequences.batch(3)
    again, next_one = sequences.batch(7), sequences.batch(8)
    assert torch.equal(first.frames, again.frames)
    assert not torch.equal(first.frames, next_one.frames)


class Stopped(Sequences):
    """Ctrl-C at the last step, after the checkpoint of the third."""

    def batch(self, step: int) -> Batch:
        if step == 5:
            raise KeyboardInterrupt
        return super().batch(step)


def test_a_run_that_was_stopped_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole = distil(tmp_path / "whole")
    stopped = Stopped(make_scenes(), RUN.training, RUN.augment)
    with pytest.raises(KeyboardInterrupt):
        Distiller(STUDENT, stopped, RUN, tmp_path / "stopped").run()
    resumed = distil(tmp_path / "stopped")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    logs = [(tmp_path / name / LOG).read_text().splitlines() for name in ("whole", "stopped")]
    steps = [[json.loads(line)["step"] for line in log] for log in logs]
    assert steps[0] == steps[1] == [1, 2, 3, 4, 5, 6]


def test_it_learns(tmp_path: Path) -> None:
    training = replace(RUN.training, steps=150, lr=1e-2, checkpoint_every=150)
    distil(tmp_path, replace(RUN, training=training, augment=PLAIN))
    lines = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    for name in ("soft", "embedding", "timing"):
        values = [line[name] for line in lines]
        assert np.mean(values[-10:]) < 0.5 * np.mean(values[:5]), name


def test_what_it_puts_out_as_its_teachers_embedding_is_near_it(tmp_path: Path) -> None:
    training = replace(RUN.training, steps=150, lr=1e-2, checkpoint_every=150)
    run, scenes = replace(RUN, training=training, augment=PLAIN), make_scenes()
    distiller = Distiller(STUDENT, Sequences(scenes, training, PLAIN), run, tmp_path)
    distiller.run()
    adapter = distiller.adapter()
    assert adapter is not None
    frames = np.concatenate([scene.frames[-PATCH_FRAMES:] for scene in scenes])
    patches = torch.from_numpy(frames.astype(np.float32)).unflatten(0, (-1, PATCH_FRAMES))
    with torch.no_grad():
        own = distiller.student(patches)[1].numpy()
    found, wanted = own @ adapter[0].T + adapter[1], [scene.embeddings[-1] for scene in scenes]
    assert (found.argmax(1) == np.stack(wanted).argmax(1)).all()


def test_a_teacher_without_an_embedding_is_learnt_from_too(tmp_path: Path) -> None:
    none = [replace(scene, embeddings=scene.embeddings[:, :0]) for scene in make_scenes()]
    Distiller(STUDENT, Sequences(none, RUN.training, RUN.augment), RUN, tmp_path).run()
    lines = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert all({"soft", "timing"} <= line.keys() and "embedding" not in line for line in lines)


def test_a_checkpoint_of_another_student_is_refused(tmp_path: Path) -> None:
    distil(tmp_path)
    other = replace(STUDENT, depth=1)
    sequences = Sequences(make_scenes(), RUN.training, RUN.augment)
    assert (tmp_path / CHECKPOINT).exists()
    with pytest.raises(UsageError, match="a checkpoint of"):
        Distiller(other, sequences, RUN, tmp_path).run()


def test_scenes_shorter_than_a_sequence_are_told() -> None:
    with pytest.raises(UsageError, match="9 hops"):
        Sequences(make_scenes(), replace(RUN.training, hops=9), RUN.augment)


def test_the_configuration_is_read_and_overridden() -> None:
    run, students = read_run(CONFIG, ["training.steps=5", 'teacher.encoder="a.onnx"'])
    assert (run.training.steps, run.teacher.encoder) == (5, "a.onnx")
    assert [each.name for each in students][:1] == ["small"]
    assert {each.classes for each in students} == {"teacher", "gate"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "a [[student]] or more"),
        ("[[student]]\n[[student]]\n", "a name of its own"),
        ("[[student]]\nwidth = 9.0\n", "width up to 2"),
        ("[[student]]\n[training]\nhops = 1\n", "2 hops at least"),
        ("[[student]]\n[loss]\ntemperature = 0.0\n", "temperature: positive"),
        ("[[student]]\n[augment]\nmix = 1.5\n", "shares from 0 to 1"),
        ("[[student]]\n[training]\nspeed = 1\n", "unknown key speed"),
        ("[[student]]\n[model]\n", "unknown section model"),
        ("steps", "Expected '='"),
    ],
)
def test_a_wrong_configuration_is_one_line(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as refusal:
        read_run(path)
    assert reason in str(refusal.value)
    assert "\n" not in str(refusal.value)
