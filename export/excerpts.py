"""Excerpts of recorded scenes and what is true of them: what a text-audio space learns from.

One sound alone, a whole scene of a few, or single sounds of any scenes joined one after the other
(composed as CompA's modular contrastive learning composes its scenes, but of the encoder's hops, so
that it costs nothing): a few hundred labels make more orders than any set of recordings has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import UsageError
from edge_alm.reasoning.phrases import Floats
from edge_alm.reasoning.stretches import EARLY_S, LATE_S, Stretches
from export.captions import Captions, caption
from export.contrasts import contrast
from export.pairs import GAP_S
from export.recordings import Recording
from export.replay import replay
from export.scenes import SPEECH, Placed

SINGLE, WHOLE, JOINED = range(3)
SHARES = 0.35, 0.3, 0.35
"""Of a single sound, a whole scene and joined sounds in what is drawn."""
JOINED_OF = (2, 2, 3)
"""How many are joined, equally likely."""
_TRIES = 20


@dataclass(frozen=True, slots=True, eq=False)
class Excerpt:
    """Hops in order and what was heard in them."""

    hops: Floats
    """Embeddings and levels [n, n_in + HOP_LEVELS], n >= 1."""
    timeline: tuple[Placed, ...]


class _Hops(Stretches):
    """Keeps all hops and when each ended; compares nothing."""

    def __init__(self) -> None:
        self.rows: list[Floats] = []
        self.ends_s: list[float] = []

    def put(self, features: Floats, start_s: float, end_s: float) -> None:
        self.rows += list(features)
        self.ends_s += np.linspace(start_s, end_s, len(features) + 1)[1:].tolist()

    def tell(self, start_s: float, end_s: float, loudness: int | None = None) -> None:
        pass

    def begin_stream(self) -> None:
        pass


def hops_of(recording: Recording) -> tuple[Floats, NDArray[np.float64]]:
    """All its hops [n, n_in + HOP_LEVELS] and when each ended, seconds [n]; n may be 0."""
    kept = _Hops()
    replay(recording.items, kept)
    rows = np.stack(kept.rows) if kept.rows else np.empty((0, 0), np.float32)
    return rows, np.array(kept.ends_s)


def singles(recordings: Iterable[Recording]) -> list[Excerpt]:
    """Every sound that no other overlaps, but no speech."""
    found = []
    for recording in recordings:
        hops, ends_s = hops_of(recording)
        for placed in recording.timeline:
            alone = not any(
                other.start_s < placed.end_s and placed.start_s < other.end_s
                for other in recording.timeline
                if other is not placed
            )
            inside = (placed.start_s + EARLY_S < ends_s) & (ends_s < placed.end_s + LATE_S)
            if alone and placed.label != SPEECH and inside.any():
                found.append(Excerpt(hops[inside], (placed,)))
    return found


def wholes(recordings: Iterable[Recording]) -> list[Excerpt]:
    """Every scene of several sounds, none of them speech, that another composition is wrong for."""
    found = []
    for recording in recordings:
        labels = {placed.label for placed in recording.timeline}
        if len(labels) < 2 or SPEECH in labels or not recording.hops:
            continue
        if contrast(np.random.default_rng(0), recording.timeline):
            found.append(Excerpt(hops_of(recording)[0], recording.timeline))
    return found


def join(parts: Sequence[Excerpt]) -> Excerpt:
    """Single sounds one after the other."""
    placed, at_s = [], 0.0
    for part in parts:
        (sound,) = part.timeline
        end_s = at_s + sound.end_s - sound.start_s
        placed.append(replace(sound, start_s=at_s, end_s=end_s))
        at_s = end_s + GAP_S
    return Excerpt(np.concatenate([part.hops for part in parts]), tuple(placed))


class Excerpts:
    """All excerpts of some recordings, and batches of them.

    Args:
        recordings: scenes with their timelines.

    Raises:
        UsageError: no sound that is alone, or no two different ones.
    """

    def __init__(self, recordings: Sequence[Recording]) -> None:
        self.singles, self.wholes = singles(recordings), wholes(recordings)
        self._by_label: dict[str, list[Excerpt]] = {}
        for single in self.singles:
            self._by_label.setdefault(single.timeline[0].label, []).append(single)
        self.labels = sorted(self._by_label)
        if len(self.labels) < 2:
            got = f"{len(self.labels)} labels"
            raise UsageError("scenes", expected="different sounds that are alone", got=got)
        counts = np.sqrt([len(self._by_label[label]) for label in self.labels])
        self._shares = counts / counts.sum()

    def draw(self, rng: np.random.Generator, n: int) -> list[tuple[Excerpt, Captions]]:
        """Excerpts and their captions: n of which no two have the same, fewer where there are not
        so many."""
        found: dict[str, tuple[Excerpt, Captions]] = {}
        for _ in range(_TRIES * n):
            if len(found) == n:
                break
            excerpt = self._one(rng)
            told = caption(rng, excerpt.timeline, self.labels)
            if told is not None:
                found.setdefault(told.plain, (excerpt, told))
        return list(found.values())

    def _one(self, rng: np.random.Generator) -> Excerpt:
        kind = int(rng.choice(len(SHARES), p=SHARES))
        if kind == WHOLE and self.wholes:
            return self.wholes[int(rng.integers(len(self.wholes)))]
        count = JOINED_OF[int(rng.integers(len(JOINED_OF)))] if kind == JOINED else 1
        count = min(count, len(self.labels))
        chosen = rng.choice(len(self.labels), count, replace=False, p=self._shares)
        own = [self._by_label[self.labels[i]] for i in chosen]
        return join([each[int(rng.integers(len(each)))] for each in own])
