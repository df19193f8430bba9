"""Stretches in which something stood out that no class was sure of: what it may have been.

The tracker names a sound only where few others would be taken for it; of ESC-10's clips it names
seven in ten. A language model can make use of less: when there was something, how loud it was,
and the likeliest names. Pure decisions on numbers.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_alm.hearing.audioset import Ontology
from edge_alm.hearing.encoder import Hop
from edge_alm.hearing.gate import BLOCK_SAMPLES
from edge_alm.types import Guess, Sound, to_seconds

PAUSE_BLOCKS = 4
"""A pause of 0.38 s ends a stretch; what is repeated comes after more than that."""
SHORTEST_BLOCKS = 2
LONGEST_BLOCKS = 100
"""A stretch of 10 s is told, and another begins."""
TAIL_DB = 25.0
"""What is so far under the loudest block of a stretch is its echo."""
WAIT_SAMPLES = 15_360
"""Two hops: the tracker may need them to name what is over."""
NAMES = 4
"""Told of each; more say more, and every one is two tokens of the language model's context."""
KIN_SHARE = 0.3
"""A kind of a likelier class is told in its place where it is at least this share as likely."""


class Guesser:
    """State of one stream.

    Args:
        labels: names of the scores, in order.
        thresholds: the tracker's, by label; a label without one is no event.
        ontology: which labels are kinds of which.
    """

    def __init__(
        self, labels: Sequence[str], thresholds: dict[str, float], ontology: Ontology
    ) -> None:
        self._labels, self._ontology = tuple(labels), ontology
        self._on = np.array([thresholds.get(label, math.inf) for label in labels], np.float32)
        self.reset(0)

    def reset(self, start: int) -> None:
        """Begin anew at sample index ``start``."""
        self._at = start
        self._stretch: list[tuple[int, float]] = []
        """Of the stretch under way: first sample and level of each block that stands out."""
        self._over: deque[tuple[int, int]] = deque()
        self._hops: deque[Hop] = deque()
        self._named: dict[tuple[str, float], Sound] = {}

    def push(self, level_db: float, *, stands_out: bool) -> None:
        """The next block of :data:`~edge_alm.hearing.gate.BLOCK_SAMPLES`, its level in dBFS."""
        if stands_out:
            self._stretch.append((self._at, level_db))
        self._at += BLOCK_SAMPLES
        if not self._stretch:
            return
        first, last = self._stretch[0][0], self._stretch[-1][0]
        if (
            self._at - last > PAUSE_BLOCKS * BLOCK_SAMPLES
            or self._at - first >= LONGEST_BLOCKS * BLOCK_SAMPLES
        ):
            self._end()

    def hear(self, hop: Hop | None, sounds: Iterable[Sound]) -> list[Guess]:
        """A hop is over: what was encoded of it, and the starts and ends it decided."""
        if hop is not None:
            self._hops.append(hop)
        self._note(sounds)
        return self._tell(self._at - WAIT_SAMPLES)

    def finish(self, end: int, sounds: Iterable[Sound]) -> list[Guess]:
        """The stream is over at ``end``, or a gap comes there; ``sounds`` end with it."""
        if self._stretch:
            self._end()
        self._over = deque((first, min(last, end)) for first, last in self._over if first < end)
        self._note(sounds)
        return self._tell(self._at)

    def _note(self, sounds: Iterable[Sound]) -> None:
        for sound in sounds:
            self._named[sound.label, sound.start] = sound

    def _end(self) -> None:
        """Close the stretch under way; its echo does not belong to it."""
        floor_db = max(level_db for _, level_db in self._stretch) - TAIL_DB
        blocks = [at for at, level_db in self._stretch if level_db >= floor_db]
        self._stretch = []
        end = blocks[-1] + BLOCK_SAMPLES
        if end - blocks[0] >= SHORTEST_BLOCKS * BLOCK_SAMPLES:
            self._over.append((blocks[0], end))

    def _tell(self, until: int) -> list[Guess]:
        """Guesses about the stretches that were over by sample index ``until``."""
        told = []
        while self._over and self._over[0][1] <= until:
            start, end = self._over.popleft()
            start_s, end_s = to_seconds(start), to_seconds(end)
            if self._named_s(start_s, end_s) < 0.5 * (end_s - start_s):
                names = self._guess(start, end)
                if names:
                    told.append(Guess(names, start_s, end_s))
        self._forget()
        return told

    def _forget(self) -> None:
        """Drop what no stretch to come can need."""
        first = min([at for at, _ in (*self._over, *self._stretch[:1])], default=self._at)
        while self._hops and self._hops[0].end <= first:
            self._hops.popleft()
        for key, sound in tuple(self._named.items()):
            if sound.end is not None and sound.end <= to_seconds(first):
                del self._named[key]

    def _named_s(self, start_s: float, end_s: float) -> float:
        """For how long of this span sounds have names; those that go on, to its end."""
        spans = sorted(
            (max(sound.start, start_s), min(end_s if sound.end is None else sound.end, end_s))
            for sound in self._named.values()
        )
        named_s, reached_s = 0.0, start_s
        for first_s, last_s in spans:
            named_s += max(0.0, last_s - max(first_s, reached_s))
            reached_s = max(reached_s, last_s)
        return named_s

    def _guess(self, start: int, end: int) -> tuple[str, ...]:
        """The likeliest names, none a kind of another; none where all was plain noise."""
        half = BLOCK_SAMPLES
        heard = [hop for hop in self._hops if hop.end > start + half and hop.start < end + half]
        clear = [hop.scores for hop in heard if not hop.is_noise]
        if not clear:
            return ()
        # Against its threshold, or what is often taken for something would be told of everything.
        likely: NDArray[np.float32] = np.mean(clear, axis=0) / self._on
        chosen: list[int] = []
        for i in np.argsort(-likely, kind="stable")[: 4 * NAMES]:
            label = self._labels[i]
            if any(self._labels[j] in self._ontology.descendants(label) for j in chosen):
                continue
            kin = [j for j in chosen if self._labels[j] in self._ontology.ancestors(label)]
            if not kin:
                chosen.append(int(i))
            elif likely[i] >= KIN_SHARE * likely[kin[0]]:
                chosen[chosen.index(kin[0])] = int(i)
        return tuple(self._labels[i] for i in chosen[:NAMES])
