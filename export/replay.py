"""Recorded scenes given to what compares them with phrases, as the runtime gives them.

A lesson is compared by a tower of :mod:`export.likeness` that has not learnt from what is in it.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from edge_alm.hearing.encoder import HOP_SAMPLES
from edge_alm.reasoning.phrases import Floats, Heard, Phrases, Prepared
from edge_alm.reasoning.stretches import Stretches
from edge_alm.types import SAMPLE_RATE_HZ, Sound
from export.scenes import Placed
from export.trees import Item

ALL = "all"
"""The tower that has learnt from everything."""
FOLDS = 3
FAMILIES = ("source", "label")
"""Fields of :class:`Placed`: what the others have not met a third of."""
HOP_S = HOP_SAMPLES / SAMPLE_RATE_HZ
_MARK = re.compile(r"\[(\d+\.\d)\]")
_NAMED = re.compile(r'\[(\d+\.\d)-(\d+\.\d) (?!lost\]|maybe )([^"].*?)(?: (0\.\d))?(?: L\d)?\]')
_SOUND = re.compile(r'\[(\d+\.\d)-(\d+\.\d) (?!lost\])[^"].*?(?: L(\d))?\]')


def replay(items: Iterable[Item], stretches: Stretches) -> None:
    """Give it the hops and the sounds of one recording.

    A hop's time is that of the mark before it, which is told to 0.1 s.
    """
    stretches.begin_stream()
    at_s = 0.0
    for item in items:
        if not isinstance(item, str):
            end_s = at_s + HOP_S * len(item)
            stretches.put(item.astype(np.float32), at_s, end_s)
            at_s = end_s
        elif mark := _MARK.fullmatch(item):
            at_s = float(mark[1])
        elif sound := _SOUND.match(item):
            loudness = int(sound[3]) if sound[3] else None
            stretches.tell(float(sound[1]), float(sound[2]), loudness)


def hops_of(items: Iterable[Item]) -> list[tuple[float, Floats]]:
    """When each hop of one recording ended, seconds, and its features [n_in + HOP_LEVELS]."""
    hops: list[tuple[float, Floats]] = []
    at_s = 0.0
    for item in items:
        if isinstance(item, str):
            mark = _MARK.fullmatch(item)
            at_s = float(mark[1]) if mark else at_s
            continue
        for row in item.astype(np.float32):
            at_s += HOP_S
            hops.append((at_s, row))
    return hops


def sounds_of(items: Iterable[Item]) -> list[Sound]:
    """The sounds that the tracker told of one recording, as ends; labels in lower case."""
    told = (_NAMED.match(item) for item in items if isinstance(item, str))
    return [
        Sound(sound[3], float(sound[1]), float(sound[2]), float(sound[4] or 1.0), "end")
        for sound in told
        if sound
    ]


def heard_in(start_s: float, end_s: float, timeline: Sequence[Placed]) -> Placed | None:
    """The sound that fills most of a span, if any fills half of it."""

    def common_s(placed: Placed) -> float:
        return min(end_s, placed.end_s) - max(start_s, placed.start_s)

    best = max(timeline, key=common_s, default=None)
    return best if best and common_s(best) >= 0.5 * (end_s - start_s) else None


def fold(text: str) -> int:
    """Which fold a source or a label is in."""
    return zlib.crc32(text.encode()) % FOLDS


class Likeness:
    """The files of :mod:`export.likeness`, for lessons."""

    def __init__(self, folder: Path) -> None:
        names = [ALL, *(f"{family}{i}" for family in FAMILIES for i in range(FOLDS))]
        self._judges = {name: Phrases(folder / f"{name}.npz") for name in names}

    def stretches(
        self,
        timelines: Iterator[Sequence[Placed]],
        family: str,
        names: Mapping[str, str],
    ) -> Stretches:
        """For a scene of recordings.

        Args:
            timelines: of the recordings, in their order, with the names of old.
            family: one of :data:`FAMILIES`.
            names: which phrase of old a phrase stands for, where sounds were given other names.
        """
        return _Doubting(self._judges, timelines, family, names)


class _Doubting(Stretches):
    """Every span is judged by the tower that has not learnt from what is in it."""

    def __init__(
        self,
        judges: dict[str, Phrases],
        timelines: Iterator[Sequence[Placed]],
        family: str,
        names: Mapping[str, str],
    ) -> None:
        self._judges, self._timelines, self._family = judges, timelines, family
        self._names = names
        self._timeline: Sequence[Placed] = ()
        super().__init__(judges[ALL])

    def begin_stream(self) -> None:
        super().begin_stream()
        self._timeline = next(self._timelines)

    def prepare(self, texts: Sequence[str]) -> Prepared:
        return super().prepare([self._names.get(text, text) for text in texts])

    def hear(self, embeddings: Floats, start_s: float, end_s: float) -> Heard:
        there = heard_in(start_s, end_s, self._timeline)
        text = "" if there is None else getattr(there, self._family)
        return self._judges[f"{self._family}{fold(text)}"].hear(embeddings)
