"""Distil a sound encoder into smaller ones, down to a gate for microcontrollers.

    python -m export.distill export/distill.toml --corpus build/corpus \
        --esc10 ../shared/data/esc10 --out build/distill

Scenes are composed of the corpus and heard by the teacher once, in ``OUT/heard``; every student of
the configuration learns from them in a folder of its own: to give the teacher's logits, to point
where its embedding points, and to tell as it does when a sound comes and goes. A run can be killed
at any time; the same command goes on from its last checkpoint, bit for bit as if nothing had
happened. At the end there are ``encoder.onnx``, which the runtime loads (``--encoder FILE``),
``stand_in.onnx``, which goes into a bundle in the teacher's place (:mod:`export.stand_in`), and
``labels.csv``; ``python -m quantize`` makes the files in 8 bits.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_alm.errors import EdgeAlmError, UsageError
from edge_alm.hearing.encoder import HOP_FRAMES, PATCH_FRAMES
from edge_alm.models import store
from export.corpus import read_corpus
from export.gate_classes import GATE, GateClasses
from export.heard import HeardScene, make_part, make_parts, open_teacher, read_heard
from export.prune import Source, begin, fit, read_source
from export.runs import CHECKPOINT, LOG, read_checkpoint
from export.settings import read_section, read_tables
from export.student import Adapter, Student, StudentConfig, write_onnx

HEARD = "heard"
ENCODER, LABELS = "encoder.onnx", "labels.csv"
STAND_IN = "stand_in.onnx"
"""The same student with an embedding like its teacher's, for a bundle made for that one."""
TOLD_EVERY = 20
STANDARD_EVERY = 7
"""Of a scene's hops, one of so many tells how embeddings are spread."""
LEAST_SPREAD = 0.2
"""Of the mean spread, added to each: what hardly ever differs is not to count as much."""
BEGIN_BATCHES = 8
"""What a student's first weights are fitted on."""
FIT_BATCHES = 100
"""What the map to its teacher's embedding is fitted on."""


@dataclass(frozen=True, slots=True)
class TeacherConfig:
    """Who teaches."""

    encoder: str = ""
    """As :func:`export.heard.open_teacher`."""
    begin: bool = False
    """Students begin with what fits of YAMNet's weights (:mod:`export.prune`), not with chance."""


@dataclass(frozen=True, slots=True)
class DataConfig:
    """What is heard."""

    scenes: int = 6000
    seed: int = 0


@dataclass(frozen=True, slots=True)
class AugmentConfig:
    """What is done to a sequence each time that it is learnt from.

    Raises:
        ValueError: a number is out of range.
    """

    gain_db: float = 3.0
    mix: float = 0.5
    """Share of sequences that another is mixed into."""
    mask_bands: int = 12
    mask_frames: int = 12

    def __post_init__(self) -> None:
        if not 0.0 <= self.mix <= 1.0 or min(self.gain_db, self.mask_bands, self.mask_frames) < 0:
            raise ValueError(f"augment: shares from 0 to 1 and nothing negative, got {self}")


@dataclass(frozen=True, slots=True)
class LossConfig:
    """Weights of the three losses; the first has 1.

    Raises:
        ValueError: a temperature that is not positive.
    """

    temperature: float = 2.0
    embedding: float = 10.0
    timing: float = 10.0

    def __post_init__(self) -> None:
        if not self.temperature > 0.0:
            raise ValueError(f"temperature: positive, got {self.temperature:g}")


@dataclass(frozen=True, slots=True)
class DistillConfig:
    """How it is learnt.

    Raises:
        ValueError: a number is out of range.
    """

    steps: int = 12000
    batch: int = 16
    """Sequences a step."""
    hops: int = 8
    """Of a sequence; 2 at least, or nothing could come or go."""
    lr: float = 3e-3
    warmup: int = 200
    weight_decay: float = 1e-2
    checkpoint_every: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.checkpoint_every) < 1 or self.hops < 2 or self.seed < 0:
            raise ValueError(f"training: positive numbers and 2 hops at least, got {self}")


@dataclass(frozen=True, slots=True)
class Run:
    """Everything that a configuration says but the students."""

    teacher: TeacherConfig
    data: DataConfig
    augment: AugmentConfig
    loss: LossConfig
    training: DistillConfig


def read_run(path: Path, overrides: Sequence[str] = ()) -> tuple[Run, tuple[StudentConfig, ...]]:
    """The run that a TOML file describes, and its students.

    Args:
        path: the file.
        overrides: ``section.key=value``, the value in TOML.

    Raises:
        UsageError: not a readable file, or an unknown section, key or kind of value.
    """
    kinds: dict[str, Any] = {
        "teacher": TeacherConfig,
        "data": DataConfig,
        "augment": AugmentConfig,
        "loss": LossConfig,
        "training": DistillConfig,
    }
    try:
        tables = read_tables(path, overrides)
        students = tuple(read_section(StudentConfig, each) for each in tables.pop("student", []))
        if unknown := tables.keys() - kinds.keys():
            raise ValueError(f"unknown section {sorted(unknown)[0]}")
        if not students or len({each.name for each in students}) < len(students):
            raise ValueError("a [[student]] or more, each with a name of its own")
        sections = {name: read_section(kind, tables.get(name, {})) for name, kind in kinds.items()}
        return Run(**sections), students
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(
            str(path), expected="a configuration of students", got=str(error)
        ) from error


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Sequences of hops, and what the teacher makes of them."""

    frames: Tensor
    """Log-mel [n, 48 (hops + 1), 64]."""
    probabilities: Tensor
    """[n, hops, classes]."""
    embeddings: Tensor
    """[n, hops, width], each as far from its mean as it is wont to be."""

    def patches(self) -> Tensor:
        """[n * hops, 96, 64]."""
        cut = self.frames.unfold(1, PATCH_FRAMES, HOP_FRAMES)
        return cut.transpose(2, 3).flatten(0, 1)

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(*(each.to(device) for each in self._tensors()))

    def _tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.frames, self.probabilities, self.embeddings


class Sequences:
    """Which sequences come at which step: it depends on the seed and the step alone.

    Args:
        scenes: heard by the teacher.
        training: the run.
        augment: what is done to them.
        gate: what makes a gate's classes of the teacher's; None: they stay.

    Raises:
        UsageError: no scene has hops enough.
    """

    def __init__(
        self,
        scenes: Sequence[HeardScene],
        training: DistillConfig,
        augment: AugmentConfig,
        gate: GateClasses | None = None,
    ) -> None:
        self._scenes = [scene for scene in scenes if scene.hops >= training.hops]
        if not self._scenes:
            raise UsageError("scenes", expected=f"{training.hops} hops in one", got="fewer")
        lengths = np.array([scene.hops for scene in self._scenes], dtype=np.float64)
        self._shares = lengths / lengths.sum()
        self._training, self._augment, self._gate = training, augment, gate
        self.embedding_size = self._scenes[0].embeddings.shape[1]
        parts = [scene.embeddings[::STANDARD_EVERY].astype(np.float32) for scene in self._scenes]
        some = np.concatenate(parts)
        self.mean, spread = some.mean(axis=0), some.std(axis=0)
        self.spread = spread + LEAST_SPREAD * spread.mean() if spread.size else spread
        self.classes = len(GATE) if gate else self._scenes[0].logits.shape[1]

    def batch(self, step: int) -> Batch:
        """What is learnt from at ``step``."""
        rng = np.random.default_rng((self._training.seed, step))
        hops, parts = self._training.hops, []
        for i in rng.choice(len(self._scenes), self._training.batch, p=self._shares):
            scene = self._scenes[i]
            start = int(rng.integers(scene.hops - hops + 1))
            probabilities = _sigmoid(scene.logits[start : start + hops])
            parts.append(
                (
                    scene.frames[start * HOP_FRAMES : (start + hops + 1) * HOP_FRAMES],
                    self._gate(probabilities) if self._gate else probabilities,
                    (scene.embeddings[start : start + hops] - self.mean) / self.spread,
                )
            )
        arrays = (np.stack(part).astype(np.float32) for part in zip(*parts, strict=True))
        return augment(rng, Batch(*map(torch.from_numpy, arrays)), self._augment)


def augment(rng: np.random.Generator, batch: Batch, config: AugmentConfig) -> Batch:
    """The sequences louder or quieter, some mixed with the one before, parts of them left out.

    What is mixed (mixup, arXiv:1710.09412, on log-mel as in arXiv:1912.10211) is mixed in the
    targets too, and keeps at least half. What is left out (SpecAugment, arXiv:1904.08779) is a run
    of bands and one of frames, which get the sequence's mean; the targets stay.
    """
    n, frames, bands = batch.frames.shape
    gain = rng.uniform(-config.gain_db, config.gain_db, (n, 1, 1)) * math.log(10.0) / 20.0
    kept = np.where(rng.random((n, 1, 1)) < config.mix, rng.uniform(0.5, 1.0, (n, 1, 1)), 1.0)
    share = torch.from_numpy(kept.astype(np.float32))
    louder = batch.frames + torch.from_numpy(gain.astype(np.float32))
    values = (louder, batch.probabilities, batch.embeddings)
    mixed = [share * each + (1.0 - share) * each.roll(1, 0) for each in values]
    blank = np.zeros((n, frames, bands), dtype=bool)
    for i in range(n):
        width, length = rng.integers(config.mask_bands + 1), rng.integers(config.mask_frames + 1)
        band, frame = rng.integers(bands - width + 1), rng.integers(frames - length + 1)
        blank[i, :, band : band + width] = True
        blank[i, frame : frame + length] = True
    mean = mixed[0].mean((1, 2), keepdim=True)
    return Batch(torch.where(torch.from_numpy(blank), mean, mixed[0]), mixed[1], mixed[2])


def soft_loss(logits: Tensor, probabilities: Tensor, temperature: float) -> Tensor:
    """How far a student's logits are from a teacher's, both softened.

    T² KL(σ(z_t / T) ‖ σ(z_s / T)), summed over the classes, which are told independently of each
    other, mean over the rest: Hinton et al. (arXiv:1503.02531) with a sigmoid for the softmax.

    Args:
        logits: the student's z_s [..., classes].
        probabilities: the teacher's σ(z_t) [..., classes].
        temperature: T.
    """
    teacher = torch.logit(probabilities, eps=1e-7) / temperature
    target = torch.sigmoid(teacher)
    cross = functional.binary_cross_entropy_with_logits(
        logits / temperature, target, reduction="none"
    )
    own = functional.binary_cross_entropy_with_logits(teacher, target, reduction="none")
    return temperature**2 * (cross - own).sum(-1).mean()


def embedding_loss(embeddings: Tensor, teacher: Tensor) -> Tensor:
    """1 - cos(e_s, e_t), mean over all but the last axis [..., width]."""
    return (1.0 - functional.cosine_similarity(embeddings, teacher, dim=-1)).mean()


def timing_loss(logits: Tensor, probabilities: Tensor) -> Tensor:
    """How differently student and teacher tell when a sound comes and goes.

    ((s[t+1] - s[t]) - (p[t+1] - p[t]))², summed over the classes, mean over hops and sequences, of
    the student's probabilities s and the teacher's p [n, hops, classes]: patches overlap by half,
    so that what begins shows as a step from one to the next.
    """
    steps = torch.diff(torch.sigmoid(logits) - probabilities, dim=1)
    return steps.square().sum(-1).mean()


class Distiller:
    """One student's training, in a folder.

    Args:
        student: its place in the grid.
        sequences: what it learns from.
        run: the configuration.
        out: the folder; a checkpoint there is gone on from.
        source: what it begins with; None: with chance.
    """

    def __init__(
        self,
        student: StudentConfig,
        sequences: Sequences,
        run: Run,
        out: Path,
        source: Source | None = None,
    ) -> None:
        self._config, self._sequences, self._run, self._out = student, sequences, run, out
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(run.training.seed)
        self.student = Student(student, sequences.classes)
        self._all = nn.ModuleDict({"student": self.student})
        if sequences.embedding_size:
            # A linear map from its narrow embedding to the teacher's; of use in training alone.
            adapter = nn.Linear(self.student.embedding_size, sequences.embedding_size)
            self._all["adapter"] = adapter
        if source and not (out / CHECKPOINT).exists():
            self._begin(source)
        # The order that convolutions on a CPU are faster in.
        self._all.to(self._device, memory_format=torch.channels_last)
        self._optimizer = torch.optim.AdamW(
            self._all.parameters(), run.training.lr, weight_decay=run.training.weight_decay
        )
        self._step = 0

    def run(self) -> None:
        """Train to the end, from wherever the folder's checkpoint stands."""
        self._out.mkdir(parents=True, exist_ok=True)
        self._resume()
        self._cut_log()
        training = self._run.training
        self._all.train()
        while self._step < training.steps:
            began_s = time.perf_counter()
            losses = self._learn()
            self._step += 1
            self._log(losses, time.perf_counter() - began_s)
            if self._step % training.checkpoint_every == 0 or self._step == training.steps:
                self._save()
        self._all.eval()

    def adapter(self) -> Adapter | None:
        """What makes the teacher's embedding of the student's; None: it has none.

        By least squares: that of the training points the same way, and is of any length.
        """
        if not self._sequences.embedding_size:
            return None
        after = self._run.training.steps + BEGIN_BATCHES
        batches = [self._sequences.batch(after + i) for i in range(FIT_BATCHES)]
        with torch.no_grad():
            own = [self.student(batch.to(self._device).patches())[1].cpu() for batch in batches]
        wanted = torch.cat([batch.embeddings.flatten(0, 1) for batch in batches])
        weight, bias = (each.numpy() for each in fit(torch.cat(own), wanted))
        spread = self._sequences.spread
        return spread[:, None] * weight, spread * bias + self._sequences.mean

    def _begin(self, source: Source) -> None:
        """Start from the teacher's weights, on sequences that no step learns from."""
        after = self._run.training.steps
        batches = [self._sequences.batch(after + i) for i in range(BEGIN_BATCHES)]
        patches = torch.cat([batch.patches() for batch in batches])
        heads = {self.student.classifier: torch.cat([b.probabilities for b in batches]).logit(1e-4)}
        if "adapter" in self._all:
            heads[self._all["adapter"]] = torch.cat([batch.embeddings for batch in batches])
        begin(self.student, source, patches, heads)

    def _learn(self) -> dict[str, float]:
        training, weights = self._run.training, self._run.loss
        batch = self._sequences.batch(self._step).to(self._device)
        for group in self._optimizer.param_groups:
            group["lr"] = training.lr * learning_rate(self._step, training)
        logits, embeddings = self.student(batch.patches())
        shape = batch.probabilities.shape[:2]
        logits = logits.unflatten(0, shape)
        losses = {"soft": soft_loss(logits, batch.probabilities, weights.temperature)}
        total = losses["soft"]
        if "adapter" in self._all:
            pointed = self._all["adapter"](embeddings).unflatten(0, shape)
            losses["embedding"] = embedding_loss(pointed, batch.embeddings)
            total = total + weights.embedding * losses["embedding"]
        losses["timing"] = timing_loss(logits, batch.probabilities)
        total = total + weights.timing * losses["timing"]
        self._optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self._all.parameters(), 5.0)
        self._optimizer.step()
        return {name: float(value.detach()) for name, value in losses.items()}

    def _cut_log(self) -> None:
        """Drop the steps after the checkpoint: they come again."""
        log = self._out / LOG
        if log.exists():
            log.write_text("".join(log.read_text().splitlines(keepends=True)[: self._step]))

    def _log(self, losses: dict[str, float], took_s: float) -> None:
        rounded = {name: round(value, 4) for name, value in losses.items()}
        line = json.dumps({"step": self._step, **rounded, "took_s": round(took_s, 3)})
        with (self._out / LOG).open("a") as file:
            file.write(line + "\n")
        if self._step % TOLD_EVERY == 0 or self._step == 1:
            print(line, flush=True)

    def _save(self) -> None:
        state = {
            "step": self._step,
            "config": {**asdict(self._run), "student": asdict(self._config)},
            "weights": {name: value.cpu() for name, value in self._all.state_dict().items()},
            "optimizer": self._optimizer.state_dict(),
        }
        partial = self._out / f"{CHECKPOINT}.partial"
        torch.save(state, partial)
        partial.replace(self._out / CHECKPOINT)

    def _resume(self) -> None:
        if not (self._out / CHECKPOINT).exists():
            return
        state = read_checkpoint(self._out)
        if state["config"].get("student") != asdict(self._config):
            raise UsageError(
                str(self._out / CHECKPOINT),
                expected=f"a checkpoint of {self._config}",
                got=str(state["config"].get("student")),
                hint="name another --out",
            )
        self._all.load_state_dict(state["weights"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._step = int(state["step"])
        print(f"{self._config.name}: going on from step {self._step}", flush=True)


def learning_rate(step: int, training: DistillConfig) -> float:
    """Factor of the highest rate: up in a line, then down along a cosine (arXiv:1608.03983)."""
    up = min(1.0, (step + 1) / max(1, training.warmup))
    return up * 0.5 * (1.0 + math.cos(math.pi * step / training.steps))


def write_labels(path: Path, labels: Sequence[str]) -> None:
    """Write the names of the scores for :func:`edge_alm.hearing.audioset.read_labels`."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("index", "mid", "display_name"))
        writer.writerows((i, "", label) for i, label in enumerate(labels))


def train(
    run: Run,
    students: Sequence[StudentConfig],
    scenes: Sequence[HeardScene],
    labels: Sequence[str],
    out: Path,
) -> Iterator[Path]:
    """Train the students one after the other; the ONNX files of each when it is done.

    Args:
        run: the configuration.
        students: their places in the grid.
        scenes: what they learn from.
        labels: of the classes that the scenes have; a gate's, or AudioSet's.
        out: holds a folder for each of them.

    Raises:
        UsageError: too short scenes, or a checkpoint of another student.
    """
    source = read_source(store.locate("yamnet") / "yamnet.onnx") if run.teacher.begin else None
    for config in students:
        wanted = config.classes == "gate" and tuple(labels) != GATE
        gate = GateClasses(labels) if wanted else None
        sequences = Sequences(scenes, run.training, run.augment, gate)
        folder = out / config.name
        distiller = Distiller(config, sequences, run, folder, source)
        distiller.run()
        write_labels(folder / LABELS, GATE if gate else labels)
        write_onnx(distiller.student, folder / ENCODER)
        yield folder / ENCODER
        if adapter := distiller.adapter():
            write_onnx(distiller.student, folder / STAND_IN, adapter)
            yield folder / STAND_IN


def _sigmoid(logits: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-logits.astype(np.float32)))


def make_parser(prog: str) -> argparse.ArgumentParser:
    """What every training of encoders on composed scenes is told."""
    parser = argparse.ArgumentParser(prog=prog)
    parser.add_argument("config", type=Path)
    parser.add_argument("--corpus", type=Path, required=True, help="made by export.corpus")
    parser.add_argument("--esc10", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--workers", type=int, default=2, help="processes that make the scenes")
    return parser


def main() -> None:
    """Hear the scenes that are missing, then train every student."""
    parser = make_parser("python -m export.distill")
    parser.add_argument("--only", nargs="*", metavar="STUDENT", help="names of students to train")
    args = parser.parse_args()
    try:
        run, students = read_run(args.config, args.set)
        if args.only is not None:
            students = tuple(each for each in students if each.name in args.only)
        heard, teacher = args.out / HEARD, run.teacher.encoder
        labels = open_teacher(teacher).labels  # what is missing is told before the work
        clips = [c for c in read_corpus(args.corpus, args.esc10) if c.split == "train"]
        make = partial(make_part, clips=clips, encoder=teacher)
        make_parts(heard, make, run.data.scenes, run.data.seed, args.workers)
        for path in train(run, students, read_heard(heard), labels, args.out):
            print(f"{path}: {path.stat().st_size / 1e3:.0f} kB", flush=True)
    except EdgeAlmError as error:
        raise SystemExit(f"distill: {error}") from error


if __name__ == "__main__":
    main()
