"""What was heard, stretch by stretch, held ready to be compared with the phrases of a question.

A question's own words are what it will be answered in. So before it the language model reads, for
each stretch of the scene that had something in it, which of them fits best and how well.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edge_alm.models.projector_file import HOP_LEVELS
from edge_alm.reasoning.asked import asked_phrases
from edge_alm.reasoning.phrases import Floats, Heard, Phrases
from edge_alm.reasoning.prompts import likeness_line, recording_line

KEPT_S = 120.0
"""A longer sound is judged by its last two minutes."""
MAX_STRETCHES = 512
MAX_LINES = 10
"""Before a question, about ten of SmolLM2's tokens each; the best matches are told."""
CLOSE_STEPS = 2
"""A second phrase is told with the best one where it is so near."""
EARLY_S, LATE_S = 0.2, 0.6
"""Hops that end so long after a stretch's start, up to so long after its end, are of it: a hop's
patch reaches one hop back."""
SAME, SIZE = 0.5, 0.2
"""Spans are one stretch when they share this much of the shorter one and that is not much shorter;
the first that was told counts. A bark in a minute of rain is another."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch that is over."""

    start_s: float
    end_s: float
    heard: Heard
    recording: str
    stream: int


class Stretches:
    """State of one scene.

    Args:
        phrases: what judges them.
    """

    def __init__(self, phrases: Phrases) -> None:
        self._phrases = phrases
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._hops: deque[tuple[float, Floats]] = deque()
        """When each ended, and its embedding."""
        self._told: list[tuple[float, float]] = []
        """Spans of the stream under way that are not in ``_over`` yet."""
        self._over: deque[Stretch] = deque(maxlen=MAX_STRETCHES)
        self._recording, self._stream = "", 0

    def put(self, features: Floats, start_s: float, end_s: float) -> None:
        """Hops that follow each other, shape [n, n_in + HOP_LEVELS], that share the span evenly."""
        edges = np.linspace(start_s, end_s, len(features) + 1)[1:]
        if self._hops and self._hops[0][0] < end_s - KEPT_S:
            self._settle()
            while self._hops and self._hops[0][0] < end_s - KEPT_S:
                self._hops.popleft()
        for end, row in zip(edges, features, strict=True):
            self._hops.append((float(end), row[:-HOP_LEVELS]))

    def tell(self, start_s: float, end_s: float) -> None:
        """Something was heard in this span of the stream under way."""
        known = [(s.start_s, s.end_s) for s in self._over if s.stream == self._stream]
        if not any(_same((start_s, end_s), span) for span in (*self._told, *known)):
            self._told.append((start_s, end_s))

    def begin_stream(self) -> None:
        """Another clock begins."""
        self._settle()
        self._hops.clear()
        self._stream += 1

    def begin_recording(self, name: str) -> None:
        """What follows comes from another recording."""
        self._settle()
        self._recording = name

    def lines(
        self,
        question: str,
        choices: Sequence[str] = (),
        ongoing: Sequence[tuple[float, float]] = (),
        since_s: float = -math.inf,
    ) -> list[str]:
        """What to read before a question.

        Args:
            question: any text.
            choices: of its answers.
            ongoing: spans of sounds that have not ended.
            since_s: what was over by then, and other streams, are left out.
        """
        self._settle()
        stretches = [
            s
            for s in self._over
            if since_s == -math.inf or (s.stream == self._stream and s.end_s > since_s)
        ]
        stretches += [s for span in ongoing if (s := self._hear(*span)) is not None]
        stretches.sort(key=lambda s: (s.stream, s.start_s))
        chosen, words = asked_phrases(question, choices)
        asked = [*chosen, *words]
        rows = self._phrases.scores([stretch.heard for stretch in stretches], asked)
        told: list[tuple[float, int, str]] = []
        for i, (stretch, row) in enumerate(zip(stretches, rows.tolist(), strict=True)):
            ranked = sorted(zip(asked, row, strict=True), key=lambda each: -each[1])
            scored = self._choose(stretch.heard, ranked, named=bool(chosen))
            told.append((max(score for _, score in scored), i, self._line(stretch, scored)))
        best = sorted(sorted(told, reverse=True)[:MAX_LINES], key=lambda entry: entry[1])
        lines: list[str] = []
        recording = ""
        for _, i, line in best:
            if stretches[i].recording != recording:
                recording = stretches[i].recording
                lines.append(recording_line(recording))
            lines.append(line)
        return lines

    def judged(self, judge: Callable[[Heard], Floats]) -> list[tuple[float, float, list[float]]]:
        """Of each stretch of the stream under way when it began and ended, and what is made of
        it."""
        self._settle()
        stretches = [s for s in self._over if s.stream == self._stream]
        stretches.sort(key=lambda s: s.start_s)
        return [(s.start_s, s.end_s, judge(s.heard).tolist()) for s in stretches]

    def hear(self, embeddings: Floats, start_s: float, end_s: float) -> Heard:
        """What the hops [n, n_in] of a span of the stream under way are compared by."""
        return self._phrases.hear(embeddings)

    def _choose(
        self, heard: Heard, ranked: list[tuple[str, float]], *, named: bool
    ) -> list[tuple[str, float]]:
        """Phrases worth telling and their scores, the best first.

        Args:
            heard: the stretch.
            ranked: all that are asked about, the best first.
            named: whether choices say what it may have been.
        """
        step = self._phrases.step
        kept = [each for each in ranked[:2] if step(each[1]) >= step(ranked[0][1]) - CLOSE_STEPS]
        if not named:
            name, score = self._phrases.name(heard)
            if not kept or score > kept[0][1]:
                kept = [(name, score), *kept[:1]]
        return kept

    def _line(self, stretch: Stretch, scored: Sequence[tuple[str, float]]) -> str:
        steps = [(phrase, self._phrases.step(score)) for phrase, score in scored]
        return likeness_line(stretch.start_s, steps)

    def _settle(self) -> None:
        """Take in the spans that were told."""
        stretches = [s for span in sorted(self._told) if (s := self._hear(*span)) is not None]
        self._told = []
        self._over.extend(stretches)

    def _hear(self, start_s: float, end_s: float) -> Stretch | None:
        """None where no hop is known of that time."""
        hops = [row for end, row in self._hops if start_s + EARLY_S < end < end_s + LATE_S] or [
            row for end, row in self._hops if start_s < end < end_s + 2 * LATE_S
        ][:1]
        if not hops:
            return None
        heard = self.hear(np.stack(hops), start_s, end_s)
        return Stretch(start_s, end_s, heard, self._recording, self._stream)


def _same(a: tuple[float, float], b: tuple[float, float]) -> bool:
    """Whether two spans are of one stretch."""
    both_s = min(a[1], b[1]) - max(a[0], b[0])
    short_s, long_s = sorted((a[1] - a[0], b[1] - b[0]))
    return both_s > SAME * short_s and short_s > SIZE * long_s
