"""How often a recording that no training heard is named rightly by text alone.

    python -m export.zero_shot --corpus build/corpus --esc10 ../shared/data/esc10 \
        --likeness build/likeness \
        --sentences build/minilm-int8 --sentences-likeness build/likeness-sentences

The words compete with each other: ESC-10's ten labels, then as many paraphrases of them that no
training met (``data/paraphrases.csv``: the first of each label, the second of each, and so on),
then all labels of Debian's development split. Every clip is heard whole and judged by a tower of
:mod:`export.likeness` that has not heard its recording.

Words become directions by the sum of their pieces, as the runtime has it, or by the sentence
encoder MiniLM; a tower is of the one or the other. *Less usual*: as the runtime judges, less what
table and tower make of any sound (the inverted softmax of Smith et al. 2017, over the stretches
that a phrase table keeps). So words that fit everything a little stand back.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch

from edge_alm.errors import EdgeAlmError
from edge_alm.hearing.audioset import read_labels
from edge_alm.hearing.encoder import HOP_SAMPLES, HopEncoder, Yamnet
from edge_alm.hearing.logmel import LogMel
from edge_alm.models.bundle import load_bundle
from edge_alm.reasoning import phrases
from edge_alm.reasoning.phrases import TEMPERATURE, Floats, Phrases, TextSide, pool
from edge_alm.reasoning.sentences import Sentences
from edge_alm.types import Samples
from export.contrast import found_first
from export.corpus import Clip, read_corpus, read_samples, read_table
from export.likeness import SHARPNESS
from export.replay import ALL, FOLDS, fold

_FLOOR = 1e-6
Point: TypeAlias = Callable[[Floats], Floats]
"""From what is pooled [n, 2 n_in] to directions [n, d]."""
Scorer: TypeAlias = Callable[[Sequence["Heard"], Sequence[str]], Floats]
"""How well each text fits each clip [n clips, n texts], in nats."""


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """A clip, as texts are compared with it."""

    clip: Clip
    pooled: Floats
    """Mean and maximum of the embeddings [2 n_in]."""
    classes: Floats
    """The encoder's probabilities [n classes], of each the highest of all hops."""

    @property
    def tower(self) -> str:
        """The one of :mod:`export.likeness` that has not heard the recording."""
        return ALL if self.clip.split == "dev" else f"source{fold(self.clip.source)}"


def hear(encoder: HopEncoder, samples: Samples) -> Floats:
    """Embeddings [n hops, n_in] of a recording of at least one sample."""
    encoder.reset()
    padded = np.pad(samples, (0, -len(samples) % HOP_SAMPLES))
    hops = [encoder.push(hop, wanted=True) for hop in padded.reshape(-1, HOP_SAMPLES)]
    return np.stack([hop.embedding for hop in hops if hop is not None])


class Table:
    """The untrained judge: which of the encoder's classes have a name like the text.

    Args:
        encode: of texts and names.
        names: of the encoder's classes, lower case.
    """

    def __init__(self, encode: TextSide, names: Sequence[str]) -> None:
        self._encode, self._names = encode, encode(names)

    def __call__(self, heard: Sequence[Heard], texts: Sequence[str]) -> Floats:
        """See :data:`Scorer`."""
        near = self._encode(texts) @ self._names.T / np.float32(TEMPERATURE)
        shares = np.exp(near - near.max(axis=1, keepdims=True))
        weights = shares / shares.sum(axis=1, keepdims=True)
        out: Floats = np.log(np.stack([each.classes for each in heard]) @ weights.T + _FLOOR)
        return out


class Towers:
    """The trained judge; each clip has its own tower.

    Args:
        encode: as for :class:`Table`.
        names: as there.
        towers: by name; all that the clips have.
    """

    def __init__(self, encode: TextSide, names: Sequence[str], towers: Mapping[str, Point]) -> None:
        self._encode, self._names, self._towers = encode, encode(names), towers

    def of(self, tower: str, heard: Sequence[Heard], texts: Sequence[str]) -> Floats:
        """As :data:`Scorer`, by one tower."""
        pointed = self._towers[tower](np.stack([each.pooled for each in heard]))
        others = SHARPNESS * pointed @ self._names.T
        out: Floats = SHARPNESS * pointed @ self._encode(texts).T
        return out - _log_sum(others, axis=1)[:, None]


class Judge:
    """Table, towers, or both added up, with nothing taken off.

    Args:
        table: of them.
        towers: of them; None for the table alone.
    """

    def __init__(self, table: Table, towers: Towers | None) -> None:
        self._table, self._towers = table, towers

    def __call__(self, heard: Sequence[Heard], texts: Sequence[str]) -> Floats:
        """See :data:`Scorer`."""
        out = self._table(heard, texts)
        if self._towers is not None:
            for tower, rows in _by_tower(heard):
                out[rows] += self._towers.of(tower, [heard[i] for i in rows], texts)
        return out


class Files:
    """Table and tower as the runtime has them, less what is usual; each clip has its own file.

    Args:
        files: by name; all that the clips have.
    """

    def __init__(self, files: Mapping[str, Phrases]) -> None:
        self._files = files

    def __call__(self, heard: Sequence[Heard], texts: Sequence[str]) -> Floats:
        """See :data:`Scorer`."""
        out = np.zeros((len(heard), len(texts)), np.float32)
        for tower, rows in _by_tower(heard):
            file = self._files[tower]
            stretches = [phrases.Heard(file.point(heard[i].pooled), heard[i].classes) for i in rows]
            out[rows] = file.scores(stretches, texts)
        return out


def _by_tower(heard: Sequence[Heard]) -> list[tuple[str, list[int]]]:
    """Of each tower the clips that it judges."""
    rows: dict[str, list[int]] = defaultdict(list)
    for i, each in enumerate(heard):
        rows[each.tower].append(i)
    return sorted(rows.items())


def read_paraphrases() -> dict[str, list[str]]:
    """Of each of ESC-10's labels as many phrases that no training met."""
    found: dict[str, list[str]] = defaultdict(list)
    for row in read_table("paraphrases.csv"):
        found[row["label"]].append(row["phrase"])
    return dict(found)


@dataclass(frozen=True, slots=True)
class Figures:
    """Shares from 0 to 1."""

    esc10: float
    """ESC-10's clips that are named rightly by its labels."""
    fold4: float
    """The same of fold 4 alone, which the shipped tower has not heard."""
    paraphrased: float
    """The same by paraphrases, mean over them; all folds."""
    unseen: tuple[float, float]
    """Debian's labels that training does not have: the right one is first, and among five."""
    unheard: tuple[float, float]
    """The same of all labels of Debian's development split, with all its recordings."""


def measure(judge: Scorer, heard: Sequence[Heard]) -> Figures:
    """All figures of a judge.

    Args:
        judge: of any texts.
        heard: the corpus' clips.
    """
    familiar = [each for each in heard if each.clip.corpus == "esc10"]
    paraphrases = read_paraphrases()
    labels = sorted(paraphrases)
    own = [labels.index(each.clip.label) for each in familiar]
    last = [i for i, each in enumerate(familiar) if each.clip.split == "dev"]
    plain = torch.from_numpy(judge(familiar, labels))
    reworded = [
        found_first(torch.from_numpy(judge(familiar, texts)), own, 1)
        for texts in zip(*(paraphrases[label] for label in labels), strict=True)
    ]
    unheard = [each for each in heard if is_unheard(each.clip)]
    return Figures(
        found_first(plain, own, 1),
        found_first(plain[last], [own[i] for i in last], 1),
        float(np.mean(reworded)),
        _among_all(judge, [each for each in unheard if not each.clip.seen]),
        _among_all(judge, unheard),
    )


def read_towers(folder: Path, sentences: Path | None = None) -> dict[str, Phrases]:
    """The files of :mod:`export.likeness` that the clips are judged by, by name.

    Raises:
        ModelMissingError, ModelBrokenError: as :class:`Phrases`.
    """
    names = [ALL, *(f"source{i}" for i in range(FOLDS))]
    return {name: Phrases(folder / f"{name}.npz", sentences) for name in names}


def is_unheard(clip: Clip) -> bool:
    """Whether it is one of Debian's recordings that no training heard."""
    return clip.corpus == "debian" and clip.split == "dev"


def _among_all(judge: Scorer, heard: Sequence[Heard]) -> tuple[float, float]:
    labels = sorted({each.clip.label for each in heard})
    scores = torch.from_numpy(judge(heard, labels))
    own = [labels.index(each.clip.label) for each in heard]
    return found_first(scores, own, 1), found_first(scores, own, 5)


def report(found: Mapping[str, Figures]) -> Iterator[str]:
    """A table for Markdown, in percent; the first judge is what the others are compared with."""
    yield "| | ESC-10 | fold 4 | paraphrased | drop | unseen labels | times | all labels | times |"
    yield "|---|---|---|---|---|---|---|---|---|"
    base = next(iter(found.values()))
    for name, own in found.items():
        yield (
            f"| {name} | {own.esc10:.1%} | {own.fold4:.1%} | {own.paraphrased:.1%} "
            f"| {100 * (own.esc10 - own.paraphrased):.1f} | {_pair(own.unseen, base.unseen)} "
            f"| {_pair(own.unheard, base.unheard)} |"
        ).replace("%", "")


def _pair(own: tuple[float, float], base: tuple[float, float]) -> str:
    """Two shares, and how many times those of ``base`` they are."""
    times = (a / b if b else math.inf for a, b in zip(own, base, strict=True))
    return f"{own[0]:.1%} / {own[1]:.1%} | {' / '.join(f'{each:.2f}' for each in times)}"


def _log_sum(values: Floats, axis: int) -> Floats:
    """The logarithm of the sum of exponentials."""
    most = values.max(axis=axis, keepdims=True)
    out: Floats = np.log(np.exp(values - most).sum(axis=axis)) + most.squeeze(axis)
    return out


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m export.zero_shot")
    parser.add_argument("--corpus", type=Path, default=Path("build/corpus"))
    parser.add_argument("--esc10", type=Path, default=Path("../shared/data/esc10"))
    parser.add_argument("--likeness", type=Path, required=True, help="of word pieces")
    parser.add_argument("--sentences", type=Path, help="made by python -m export text")
    parser.add_argument("--sentences-likeness", type=Path, help="towers towards their directions")
    parser.add_argument("--bundle", default="default", help="whose encoder hears")
    args = parser.parse_args()
    try:
        found = run(args)
    except EdgeAlmError as error:
        raise SystemExit(f"zero_shot: {error}") from error
    print("\n".join(report(found)))
    print(json.dumps({name: asdict(figures) for name, figures in found.items()}))


def run(args: argparse.Namespace) -> dict[str, Figures]:
    """Figures of every judge by name."""
    bundle = load_bundle(args.bundle, language_model=False, transcriber=False)
    names = [name.lower() for name in read_labels(bundle.labels)]
    files = read_towers(args.likeness)
    pieces = files[ALL].directions
    shipped = Towers(pieces, names, {name: file.point for name, file in files.items()})
    by_pieces = Table(pieces, names)
    judges: dict[str, Scorer] = {
        "pieces, table": Judge(by_pieces, None),
        "pieces, table and tower": Judge(by_pieces, shipped),
        "pieces, less usual": Files(files),
    }
    if args.sentences:
        sentences = Sentences(args.sentences)
        by_sentences = Table(sentences, names)
        judges["sentences, table"] = Judge(by_sentences, None)
        if args.sentences_likeness:
            own = read_towers(args.sentences_likeness, args.sentences)
            towers = Towers(sentences, names, {name: file.point for name, file in own.items()})
            judges["sentences, table and tower"] = Judge(by_sentences, towers)
            judges["sentences, less usual"] = Files(own)
    encoder = HopEncoder(Yamnet(bundle.encoder, bundle.labels), LogMel())
    heard = []
    for clip in read_corpus(args.corpus, args.esc10):
        if clip.corpus in ("esc10", "debian"):
            hops = hear(encoder, read_samples(clip))
            heard.append(Heard(clip, pool(hops), files[ALL].hear(hops).classes))
    print(f"{len(heard)} clips", flush=True)
    return {name: measure(judge, heard) for name, judge in judges.items()}


if __name__ == "__main__":
    main()
