"""Train what compares any phrase with what was heard: a bundle's ``phrases.npz``.

    python -m export.likeness --words build/words.npz --scenes build/scenes/clean \
        build/scenes/debian build/scenes/train --out build/likeness

It learns from the stretches of recorded scenes, pooled as the runtime pools them: a network points
from the embeddings to the label of what was there, by the cross entropy over all labels (InfoNCE
of CLAP, with the labels in place of a batch), softened by how alike labels are; and to the class
names as the encoder's own probabilities have them, so that what has no clip is not forgotten. Some
of the stretches stay in the file: what a phrase gets of them is taken from what it gets of others.

With ``--sentences build/minilm-int8`` in place of ``--words`` a sentence encoder gives the
directions, and a bundle needs it beside the table. Such a tower meets every label in other wordings
and by other names, too.

``all.npz`` is for bundles. What the language model learns to read must be as often wrong as it will
be: ``source0.npz`` and so on have not met the recordings of a third of the sources, ``label0.npz``
not those of a third of the labels, and a lesson takes the one that does not know what it tells of.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edge_alm.errors import EdgeAlmError, UsageError
from edge_alm.hearing.audioset import read_labels
from edge_alm.models import store
from edge_alm.reasoning.phrases import TEMPERATURE, Floats, Heard, PieceSums, TextSide
from edge_alm.reasoning.sentences import Sentences
from edge_alm.reasoning.stretches import DOUBTS, Stretches
from export.captions import other_names
from export.corpus import similar
from export.imagined import read_classifier
from export.recordings import Recording, read_recordings
from export.replay import ALL, FAMILIES, FOLDS, fold, heard_in, replay
from export.scenes import SPEECH

HIDDEN = 256
SHARPNESS = 20.0
"""Over cosines."""
SOFTNESS = 0.05
"""Temperature of the likeness of labels in the softened targets."""
CLASSES_WEIGHT = 1.0
WORDINGS = (
    *("{}", "{}", "{}", "a {}", "the {}", "{} sound", "the sound of {}", "the noise of a {}"),
    *("a {} nearby", "a {} in the distance", "someone hears a {}", "I can hear {}", "a loud {}"),
    *("a recording of {}", "{} outside"),
)
"""Of a label, as often as they stand here."""
USUAL_EACH, USUAL = 3, 900
"""Stretches of a label, and of all, that stand for any sound."""
STEPS, BATCH = 2000, 256
LEARNING_RATE, WEIGHT_DECAY, DROPOUT = 1e-3, 1e-2, 0.3
RANGE = 0.05, 0.9
"""Quantiles of the right phrases' scores where the scale of scores begins and ends."""


class _Gatherer(Stretches):
    """Keeps the hops of every span; compares nothing."""

    def __init__(self) -> None:
        self.found: list[tuple[float, float, Floats]] = []
        self.reset()

    def hear(self, embeddings: Floats, start_s: float, end_s: float) -> Heard:
        self.found.append((start_s, end_s, embeddings))
        return Heard(embeddings[0], embeddings[0])


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Stretches of which it is known what was there."""

    pooled: Tensor
    """Mean and maximum of the embeddings [n, 2 n_in]."""
    classes: Tensor
    """Highest logit of each class [n, n classes]."""
    labels: tuple[str, ...]
    sources: tuple[str, ...]


def gather(recordings: Sequence[Recording], rows: Floats, bias: Floats) -> Examples:
    """All stretches of the recordings that one sound fills."""
    pooled, classes, placed = [], [], []
    for recording in recordings:
        gatherer = _Gatherer()
        replay(recording.items, gatherer)
        gatherer.begin_stream()
        for start_s, end_s, hops in gatherer.found:
            there = heard_in(start_s, end_s, recording.timeline)
            if there is not None and there.label != SPEECH:
                pooled.append(np.concatenate((hops.mean(axis=0), hops.max(axis=0))))
                classes.append((hops @ rows.T + bias).max(axis=0))
                placed.append(there)
    if not placed:
        raise UsageError("scenes", expected="sounds in them", got="none")
    return Examples(
        torch.from_numpy(np.stack(pooled)),
        torch.from_numpy(np.stack(classes)),
        tuple(p.label for p in placed),
        tuple(p.source for p in placed),
    )


class Tower(nn.Module):
    """From pooled embeddings [n, 2 n_in] to directions [n, d]."""

    def __init__(self, mean: Tensor, deviation: Tensor, width: int) -> None:
        super().__init__()
        self.mean, self.deviation = mean, deviation
        self.first, self.second = nn.Linear(len(mean), HIDDEN), nn.Linear(HIDDEN, width)
        self.before, self.between = nn.Dropout(0.2), nn.Dropout(DROPOUT)

    def forward(self, pooled: Tensor) -> Tensor:
        """See the class."""
        x = self.before((pooled - self.mean) / self.deviation)
        hidden: Tensor = self.between(torch.relu(self.first(x)))
        return functional.normalize(self.second(hidden), dim=-1)

    def arrays(self) -> dict[str, Any]:
        """Weights with the standardisation in them, float16."""
        with torch.no_grad():
            w1 = self.first.weight / self.deviation
            b1 = self.first.bias - w1 @ self.mean
            named = {"w1": w1, "b1": b1, "w2": self.second.weight, "b2": self.second.bias}
            return {name: value.numpy().astype(np.float16) for name, value in named.items()}


def wordings(label: str) -> list[str]:
    """What is said instead of a label, by its other names too; the label itself comes first."""
    names = [label, *other_names(label)[:-1]]
    return [wording.format(name) for name in names for wording in WORDINGS]


def train(
    examples: Examples,
    kept: Tensor,
    labels: Tensor,
    names: Tensor,
    own: Tensor,
    seed: int = 0,
    worded: Sequence[Tensor] = (),
) -> Tower:
    """A tower that has met the examples where ``kept`` [n] says so.

    Args:
        examples: all.
        kept: bool [n].
        labels: directions of the different labels [m, d].
        names: directions of the class names [n classes, d].
        own: number of each example's label [n].
        seed: of weights and order.
        worded: of each label the directions of its wordings [k, d], k > 0, of which another one is
            met at each step; without them it is the label's own.
    """
    torch.manual_seed(seed)
    mean = examples.pooled[kept].mean(0)
    deviation = examples.pooled[kept].std(0) + 1e-3
    tower = Tower(mean, deviation, labels.shape[1])
    optimizer = torch.optim.AdamW(tower.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS)
    known = own[kept]
    met = torch.unique(known)
    soft = torch.softmax(labels @ labels[met].T / SOFTNESS, dim=1)
    weights = torch.bincount(known, minlength=len(labels)).float()[known].rsqrt()
    pooled, classes = examples.pooled[kept], torch.softmax(examples.classes[kept], dim=1)
    for _ in range(STEPS):
        chosen = torch.multinomial(weights, BATCH, replacement=True)
        got = SHARPNESS * tower(pooled[chosen])
        said = torch.stack([_any_row(worded[i]) for i in met.tolist()]) if worded else labels[met]
        loss = functional.cross_entropy(got @ said.T, soft[known[chosen]])
        loss = loss + CLASSES_WEIGHT * functional.cross_entropy(got @ names.T, classes[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    tower.eval()
    return tower


def choose_usual(labels: Sequence[str], kept: Tensor, seed: int = 0) -> Tensor:
    """Numbers of examples that stand for any sound: up to :data:`USUAL_EACH` of each label, so that
    what is common does not stand for everything.

    Args:
        labels: of all examples.
        kept: bool [n]; only of these.
        seed: of the choice.
    """
    counts: Counter[str] = Counter()
    chosen: list[int] = []
    for i in np.random.default_rng(seed).permutation(len(labels)).tolist():
        if kept[i] and counts[labels[i]] < USUAL_EACH and len(chosen) < USUAL:
            counts[labels[i]] += 1
            chosen.append(i)
    return torch.tensor(chosen)


def _any_row(rows: Tensor) -> Tensor:
    return rows[int(torch.randint(len(rows), ()))]


class Judge:
    """Scores of all labels for examples, as :class:`Phrases` has them."""

    def __init__(self, labels: Tensor, names: Tensor) -> None:
        self._labels, self._names = labels, names
        self._weights = torch.softmax(labels @ names.T / TEMPERATURE, dim=1)

    def __call__(self, tower: Tower, examples: Examples, chosen: Tensor, usual: Tensor) -> Tensor:
        """[n chosen, m labels]; ``usual`` are the numbers of :func:`choose_usual`."""
        scores = torch.zeros(len(chosen), len(self._labels))
        for own, any_sound in zip(
            self._judge(tower, examples, chosen), self._judge(tower, examples, usual), strict=True
        ):
            scores += own - (torch.logsumexp(any_sound, 0) - math.log(len(usual)))
        return scores

    def _judge(self, tower: Tower, examples: Examples, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """What the tower and the table alone make of it."""
        with torch.no_grad():
            got = SHARPNESS * tower(examples.pooled[chosen])
            pointed = got @ self._labels.T - torch.logsumexp(got @ self._names.T, 1, keepdim=True)
            table = torch.sigmoid(examples.classes[chosen]) @ self._weights.T
            return pointed, torch.log(table + 1e-6)


def usual_arrays(tower: Tower, examples: Examples, usual: Tensor) -> dict[str, Any]:
    """What a phrase table has of the examples with these numbers."""
    with torch.no_grad():
        directions = tower(examples.pooled[usual]).numpy()
    classes = torch.sigmoid(examples.classes[usual]).mean(0).numpy()
    return {
        "usual_directions": np.round(127.0 * directions).astype(np.int8),
        "usual_classes": classes.astype(np.float32),
    }


def one_of_four(scores: Tensor, own: Tensor, labels: Sequence[str]) -> float:
    """How often the right label is ahead of three others that are not like it."""
    rng, right = np.random.default_rng(0), []
    for row, mine in zip(scores.numpy(), own.tolist(), strict=True):
        others: list[int] = []
        for other in rng.permutation(len(labels)).tolist():
            if len(others) == 3:
                break
            if not any(similar(labels[other], labels[each]) for each in (mine, *others)):
                others.append(other)
        right.append(bool(np.all(row[mine] > row[others])))
    return float(np.mean(right))


def read_words(words: Path, sentences: Path | None) -> tuple[dict[str, Any], TextSide]:
    """What makes directions of texts, and what a phrase table has of it.

    Args:
        words: a file of :mod:`export.words`; not read where there is a sentence encoder.
        sentences: the folder of one.

    Raises:
        EdgeAlmError: the sentence encoder is missing or broken.
    """
    if sentences is not None:
        return {}, Sentences(sentences)
    with np.load(words) as arrays:
        found = dict(arrays)
    return found, PieceSums(found)


def main() -> None:
    """Train all towers and write their files."""
    parser = argparse.ArgumentParser(prog="python -m export.likeness")
    words = parser.add_mutually_exclusive_group(required=True)
    words.add_argument("--words", type=Path, help="made by export.words")
    words.add_argument("--sentences", type=Path, help="made by python -m export text")
    parser.add_argument("--scenes", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    folder = store.locate("yamnet")
    try:
        recordings = [r for scenes in args.scenes for r in read_recordings(scenes)]
        classifier = read_classifier(folder / "yamnet.onnx")
        class_names = read_labels(folder / "yamnet_class_map.csv")
        arrays, encode = read_words(args.words, args.sentences)
    except EdgeAlmError as error:
        raise SystemExit(f"likeness: {error}") from error
    examples = gather(recordings, classifier.weight, classifier.bias)
    labels = sorted(set(examples.labels))
    own = torch.tensor([labels.index(label) for label in examples.labels])
    print(f"{len(own)} stretches, {len(labels)} labels", flush=True)
    rows, scales = quantised(classifier.weight)
    label_directions = torch.from_numpy(encode(labels))
    worded = [torch.from_numpy(encode(wordings(each))) for each in labels if args.sentences]
    names = encode([name.lower() for name in class_names])
    name_directions = torch.from_numpy(names)
    arrays |= {
        "classes": as_bytes(name.lower() for name in class_names),
        "class_rows": rows,
        "class_scales": scales,
        "class_bias": classifier.bias.astype(np.float32),
        "sharpness": np.array([SHARPNESS], np.float32),
        **({"class_directions": names.astype(np.float16)} if args.sentences else {}),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    judge = Judge(label_directions, name_directions)
    towers: dict[str, dict[str, Any]] = {}
    right, wrong = [], []
    for family in FAMILIES:
        texts = examples.sources if family == "source" else examples.labels
        folds = torch.tensor([fold(text) for text in texts])
        for i in range(FOLDS):
            tower = train(
                examples, folds != i, label_directions, name_directions, own, worded=worded
            )
            usual = choose_usual(examples.labels, folds != i)
            towers[f"{family}{i}"] = tower.arrays() | usual_arrays(tower, examples, usual)
            out = torch.where(folds == i)[0]
            scores = judge(tower, examples, out, usual)
            rows = torch.arange(len(out))
            right.append(scores[rows, own[out]])
            wrong.append(scores[rows, (own[out] + 1 + rows % (len(labels) - 1)) % len(labels)])
            share = one_of_four(scores, own[out], labels)
            print(
                f"without {family}s {i}: of four names right {share:.1%} of {len(out)}", flush=True
            )
    everything = torch.ones(len(own), dtype=torch.bool)
    tower = train(examples, everything, label_directions, name_directions, own, worded=worded)
    usual = choose_usual(examples.labels, everything)
    towers[ALL] = tower.arrays() | usual_arrays(tower, examples, usual)
    least, most = np.quantile(torch.cat(right).numpy(), RANGE)
    arrays["score_range"] = np.array([least, most], np.float32)
    print(f"scores from {least:.1f} to {most:.1f}")
    scale = [float(least + at * (most - least)) for at in DOUBTS]
    for low, high in pairwise([*reversed(scale), math.inf]):
        share = sureness(torch.cat(right), torch.cat(wrong), low, high)
        print(f"from {low:.1f} on, of as many right and wrong names: {share:.1%} right")
    for name, own_arrays in towers.items():
        np.savez_compressed(args.out / f"{name}.npz", **arrays, **own_arrays)
    path = args.out / f"{ALL}.npz"
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


def sureness(right: Tensor, wrong: Tensor, least: float, most: float) -> float:
    """Of the names [n right], [n wrong] that score at least ``least`` and less than ``most``, how
    many are right, if as many are right as wrong in all."""
    rights, wrongs = (
        float(((least <= scores) & (scores < most)).float().mean()) for scores in (right, wrong)
    )
    return rights / (rights + wrongs) if rights or wrongs else math.nan


def quantised(matrix: Floats) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """Rows in 8 bits, and the scale of each."""
    scales = (np.abs(matrix).max(axis=1) / 127.0).astype(np.float16)
    return np.round(matrix / scales[:, None].astype(np.float32)).astype(np.int8), scales


def as_bytes(texts: Any) -> NDArray[np.uint8]:
    """Texts, one a line."""
    return np.frombuffer("\n".join(texts).encode(), np.uint8)


if __name__ == "__main__":
    main()
