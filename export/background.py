"""Make what sounds of the user's own are told apart from: a bundle's ``background.npz``.

    python -m export.background --phrases build/likeness/all.npz --out build/background.npz \
        --scenes build/scenes/clean build/scenes/debian build/scenes/train

Where the tower points for moments of recorded scenes, speech and noise among them: as many of each
label as there are, up to a few, so that what is common does not stand for everything.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from edge_alm.errors import EdgeAlmError
from edge_alm.hearing.phrase_watch import POOLED_HOPS
from edge_alm.models.projector_file import HOP_LEVELS
from edge_alm.reasoning.phrases import Floats, Phrases, pool
from export.recordings import Recording, read_recordings
from export.replay import HOP_S, heard_in, hops_of

SOUNDS = 1500
EACH = 6
"""Moments of one label; of what lies between the sounds ten times as many."""


def gather(recordings: Sequence[Recording], seed: int = 0) -> tuple[Floats, list[str]]:
    """Pooled embeddings [n, 2 n_in] of moments, and what was there ("" for nothing)."""
    rng = np.random.default_rng(seed)
    counts: Counter[str] = Counter()
    pooled: list[Floats] = []
    labels: list[str] = []
    for i in rng.permutation(len(recordings)).tolist():
        rows = hops_of(recordings[i].items)
        for k in rng.permutation(len(rows)).tolist():
            end_s = rows[k][0]
            there = heard_in(end_s - 2 * HOP_S, end_s, recordings[i].timeline)
            label = there.label if there else ""
            if counts[label] >= (EACH if label else 10 * EACH):
                continue
            counts[label] += 1
            follows = k > 0 and end_s - rows[k - 1][0] < 1.5 * HOP_S
            first = k - POOLED_HOPS + 1 if follows else k
            hops = np.stack([row[:-HOP_LEVELS] for _, row in rows[max(first, 0) : k + 1]])
            pooled.append(pool(hops))
            labels.append(label)
            if len(pooled) == SOUNDS:
                return np.stack(pooled), labels
    return np.stack(pooled), labels


def write_background(path: Path, directions: Floats, phrases: Phrases) -> None:
    """Write the file."""
    rows = np.round(127.0 * directions).astype(np.int8)
    tower = np.frombuffer(phrases.tower_sha256, np.uint8)
    np.savez_compressed(path, directions=rows, tower=tower)


def read_all(folders: Iterable[Path]) -> list[Recording]:
    """The scenes of several folders."""
    return [recording for folder in folders for recording in read_recordings(folder)]


def main() -> None:
    """Make the file."""
    parser = argparse.ArgumentParser(prog="python -m export.background")
    parser.add_argument("--phrases", type=Path, required=True, help="a bundle's phrase table")
    parser.add_argument("--sentences", type=Path, help="that it was made for")
    parser.add_argument("--scenes", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    try:
        phrases = Phrases(args.phrases, args.sentences)
        pooled, labels = gather(read_all(args.scenes))
    except EdgeAlmError as error:
        raise SystemExit(f"background: {error}") from error
    write_background(args.out, phrases.point(pooled), phrases)
    size_kb = args.out.stat().st_size / 1e3
    print(f"{args.out}: {len(labels)} moments, {len(set(labels))} labels, {size_kb:.0f} kB")


if __name__ == "__main__":
    main()
