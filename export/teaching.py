"""How well a sound is known after a few examples of it, of labels that the tower has not met.

    python -m export.teaching build/scenes/dev-clean build/scenes/dev-debian \
        --likeness build/likeness --background build/scenes/clean build/scenes/debian

Five sounds are taught, and all others of the recordings are listened to hop by hop as the runtime
does. ``same``: the examples are of one recording, like one doorbell in other scenes, and others of
it are to be found. ``kind``: of different recordings, as other dogs. A sound of another label that
could not be called so is confused when it is taken for what was taught.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_alm.errors import EdgeAlmError
from edge_alm.hearing.phrase_watch import POOLED_HOPS
from edge_alm.models.projector_file import HOP_LEVELS
from edge_alm.reasoning.phrases import Floats, Phrases, pool
from edge_alm.reasoning.stretches import EARLY_S, LATE_S
from edge_alm.reasoning.taught import FALSE_SHARE, FITS, TaughtJudge
from export.background import gather, read_all
from export.corpus import similar
from export.recordings import Recording
from export.replay import FOLDS, HOP_S, fold, hops_of
from export.scenes import SPEECH

EXAMPLES = 5
FALSE_SHARES = (0.005, FALSE_SHARE, 0.02)
LEAST = EXAMPLES + 2
"""Of one recording, or recordings of one label."""


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """A sound of a scene."""

    label: str
    source: str
    whole: Floats
    """Pooled over all its hops [2 n_in]."""
    moments: Floats
    """Pooled as the runtime does, hop after hop [n, 2 n_in]."""


def sounds(recordings: Sequence[Recording]) -> Iterator[Heard]:
    """All that was heard of what was there, but for speech."""
    for recording in recordings:
        rows = hops_of(recording.items)
        for placed in recording.timeline:
            span = [
                (i, end_s)
                for i, (end_s, _) in enumerate(rows)
                if placed.start_s + EARLY_S < end_s < placed.end_s + LATE_S
            ]
            if placed.label == SPEECH or not span:
                continue
            hops = np.stack([rows[i][1][:-HOP_LEVELS] for i, _ in span])
            moments = []
            for k, (_, end_s) in enumerate(span):
                follows = k > 0 and end_s - span[k - 1][1] < 1.5 * HOP_S
                moments.append(pool(hops[k - POOLED_HOPS + 1 if follows else k : k + 1]))
            yield Heard(placed.label, placed.source, pool(hops), np.stack(moments))


def lessons(heard: Sequence[Heard], seed: int = 0) -> Iterator[tuple[str, list[int], list[int]]]:
    """What is taught, as which kind of lesson, and what is to be found: numbers of sounds."""
    rng = np.random.default_rng(seed)
    for label in sorted({each.label for each in heard}):
        own = [i for i, each in enumerate(heard) if each.label == label]
        sources = sorted({heard[i].source for i in own})
        for source in sources:
            of_it = rng.permutation([i for i in own if heard[i].source == source]).tolist()
            if len(of_it) >= LEAST:
                yield "same", of_it[:EXAMPLES], of_it[EXAMPLES:]
        if len(sources) >= LEAST:
            chosen = rng.permutation(sources)[:EXAMPLES].tolist()
            first = [next(i for i in own if heard[i].source == source) for source in chosen]
            yield "kind", first, [i for i in own if heard[i].source not in chosen]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m export.teaching")
    parser.add_argument("scenes", type=Path, nargs="+", help="of the development split")
    parser.add_argument("--background", type=Path, nargs="+", required=True, help="of training")
    parser.add_argument("--likeness", type=Path, required=True, help="made by export.likeness")
    args = parser.parse_args()
    try:
        heard = list(sounds(read_all(args.scenes)))
        pooled, there = gather(read_all(args.background))
        towers = [Phrases(args.likeness / f"label{i}.npz") for i in range(FOLDS)]
    except EdgeAlmError as error:
        raise SystemExit(f"teaching: {error}") from error
    whole = [tower.point(np.stack([each.whole for each in heard])) for tower in towers]
    moments = [tower.point(np.concatenate([each.moments for each in heard])) for tower in towers]
    backgrounds = [tower.point(pooled) for tower in towers]
    first = np.cumsum([0, *(len(each.moments) for each in heard[:-1])])
    counts: dict[tuple[str, float], list[list[float]]] = {}
    for kind, examples, wanted in lessons(heard):
        label = heard[examples[0]].label
        number = fold(label)  # the tower that has not met it
        unlike = [not (name and similar(label, name)) for name in there]
        others = [i for i, each in enumerate(heard) if not similar(label, each.label)]
        for share in FALSE_SHARES:
            judge = TaughtJudge([whole[number][examples]], backgrounds[number][unlike], share)
            best = np.maximum.reduceat(judge.shares(moments[number])[:, 0], first)
            fits = best >= FITS
            row = [float(fits[wanted].mean()), float(fits[others].mean()), float(len(wanted))]
            counts.setdefault((kind, share), []).append(row)
    for (kind, share), rows in sorted(counts.items()):
        found, confused, n = np.array(rows).T
        print(
            f"{kind}, {share:.1%} of the background: {len(rows)} lessons, found "
            f"{np.average(found, weights=n):.1%} of {n.sum():.0f}, confused {confused.mean():.2%} "
            "of the others"
        )


if __name__ == "__main__":
    main()
