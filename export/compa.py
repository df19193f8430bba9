"""Pairs of recordings that nobody trained on, heard, and CompA's scores of whatever compares them
with their captions.

    python -m export.compa --corpus build/corpus --esc10 ../shared/data/esc10 \
        --only debian --out build/compa/debian

composes the pairs of :mod:`export.pairs` of development clips and lets the runtime hear them. The
folder holds recordings as :mod:`export.recordings` writes them, two a pair, and ``pairs.json``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import EdgeAlmError, UsageError
from edge_alm.models.bundle import load_bundle
from edge_alm.types import SAMPLE_RATE_HZ
from export.corpus import Clip, read_corpus
from export.pairs import KINDS, make_pair
from export.recordings import Listener, Recording, read_recordings, write_part
from export.scenes import SPEECH

Fits: TypeAlias = NDArray[np.floating[Any]]
Compare: TypeAlias = Callable[[Sequence[Recording], Sequence[str]], Fits]
"""How well recordings and captions fit [n recordings, n captions]."""
PAIRS_FILE = "pairs.json"
BY_CHANCE = 1 / 4, 1 / 4, 1 / 6
"""Text, audio and group of what cannot tell the two apart."""


@dataclass(frozen=True, slots=True, eq=False)
class HeardPair:
    """The first caption belongs to the first recording, the second to the second."""

    kind: str
    captions: tuple[str, str]
    recordings: tuple[Recording, Recording]


def hear_pairs(
    folder: Path, clips: Sequence[Clip], kinds: Sequence[str], pairs: int, seed: int, bundle: str
) -> None:
    """Compose, hear and write so many pairs of each kind; a pair depends on its kind, its number
    and the seed alone.

    Raises:
        EdgeAlmError: what composing and listening raise.
    """
    told, recordings = [], []
    listener = Listener(load_bundle(bundle, language_model=False))
    try:
        for kind in kinds:
            for number in range(pairs):
                rng = np.random.default_rng((seed, KINDS.index(kind), number))
                pair = make_pair(rng, clips, kind)
                told.append({"kind": kind, "captions": pair.captions})
                recordings += [
                    Recording(listener.hear(samples), (), len(samples) / SAMPLE_RATE_HZ)
                    for samples in pair.recordings
                ]
    finally:
        listener.close()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PAIRS_FILE).write_text(json.dumps(told, indent=1), "utf-8")
    write_part(folder / "0000", recordings)


def read_pairs(folder: Path) -> list[HeardPair]:
    """All pairs of a folder.

    Raises:
        UsageError: none there, or damaged.
    """
    recordings = read_recordings(folder)
    try:
        told = json.loads((folder / PAIRS_FILE).read_text("utf-8"))
        twos = zip(recordings[::2], recordings[1::2], strict=True)
        return [
            HeardPair(str(one["kind"]), (str(one["captions"][0]), str(one["captions"][1])), two)
            for one, two in zip(told, twos, strict=True)
        ]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise UsageError(
            str(folder),
            expected="pairs of recordings",
            got=str(error),
            hint="make them with python -m export.compa",
        ) from error


@dataclass(frozen=True, slots=True)
class Scores:
    """Shares of pairs."""

    text: float
    """Both recordings have the right caption ahead."""
    audio: float
    """Both captions have the right recording ahead."""
    group: float
    """Both of these."""


def score(fits: Fits) -> Scores:
    """CompA's scores (Ghosh et al. 2024, after Winoground, Thrush et al. 2022).

    Args:
        fits: how well a pair's recording i and caption j fit [n pairs, i, j], n >= 1; what is
            equal is not ahead.
    """
    own = np.stack((fits[:, 0, 0], fits[:, 1, 1]), 1)
    text = (own > np.stack((fits[:, 0, 1], fits[:, 1, 0]), 1)).all(1)
    audio = (own > np.stack((fits[:, 1, 0], fits[:, 0, 1]), 1)).all(1)
    return Scores(float(text.mean()), float(audio.mean()), float((text & audio).mean()))


def score_pairs(pairs: Sequence[HeardPair], compare: Compare) -> dict[str, Scores]:
    """Scores by kind."""
    fits: dict[str, list[Fits]] = {}
    for pair in pairs:
        fits.setdefault(pair.kind, []).append(compare(pair.recordings, pair.captions))
    return {kind: score(np.stack(each)) for kind, each in fits.items()}


def main() -> None:
    """Make the pairs and hear them."""
    parser = argparse.ArgumentParser(prog="python -m export.compa")
    parser.add_argument("--corpus", type=Path, required=True, help="made by export.corpus")
    parser.add_argument("--esc10", type=Path, required=True)
    parser.add_argument("--only", metavar="CORPUS", help="clips of this corpus alone")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--pairs", type=int, default=100, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    try:
        clips = [
            clip
            for clip in read_corpus(args.corpus, args.esc10)
            if clip.split == "dev" and clip.label != SPEECH and args.only in (None, clip.corpus)
        ]
        hear_pairs(args.out, clips, args.kinds, args.pairs, args.seed, args.bundle)
    except EdgeAlmError as error:
        raise SystemExit(f"compa: {error}") from error
    print(f"{args.pairs} pairs of each of {', '.join(args.kinds)} in {args.out}")


if __name__ == "__main__":
    main()
