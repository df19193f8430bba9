"""What was heard, stretch by stretch, held ready to be compared with the phrases of a question.

A question's own words are what it will be answered in. So before it the language model reads where
they fit what was heard, and how surely.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from edge_alm.models.projector_file import HOP_LEVELS
from edge_alm.reasoning import evidence
from edge_alm.reasoning.asked import LENGTH, LOUDNESS, asked_phrases, asks_for
from edge_alm.reasoning.inquiry import Aspect, inquire
from edge_alm.reasoning.phrases import Floats, Heard, Phrases, Prepared
from edge_alm.reasoning.prompts import Match, likeness_line, recording_line

KEPT_S = 120.0
"""A longer sound is judged by its last two minutes."""
MAX_STRETCHES = 512
MAX_MATCHES = 5
"""Before a question, about six of SmolLM2's tokens each, which the first token waits for; the best
are told."""
DOUBTS = 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6
"""Of the scale of scores: a mark of doubt for each that is not reached. Of a sound, and a name that
is right as often as not, the name was right in 99, 95, 85, 67 and 44 % of cases, the surest first
(``python -m export.likeness``, of what the towers had not met)."""
HARDLY = DOUBTS[-1]
"""What fits less is told only of choices."""
CLOSE = 2 / 9
"""A second phrase is told with the best one where it is so near on that scale."""
EARLY_S, LATE_S = 0.2, 0.6
"""Hops that end so long after a stretch's start, up to so long after its end, are of it: a hop's
patch reaches one hop back."""
STREAM_S = 1e7
"""From the start of one stream to that of the next, where times are compared."""
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
    number: int
    """Of the recording, from 0; -1 before the first."""
    loudness: int | None = None
    """As its line in the scene tells it."""


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
        self._told: dict[tuple[float, float], int | None] = {}
        """Spans, and how loud they were, of the stream under way that are not in ``_over`` yet."""
        self._over: deque[Stretch] = deque(maxlen=MAX_STRETCHES)
        self._recording, self._stream, self._number = "", 0, -1

    def put(self, features: Floats, start_s: float, end_s: float) -> None:
        """Hops that follow each other, shape [n, n_in + HOP_LEVELS], that share the span evenly."""
        edges = np.linspace(start_s, end_s, len(features) + 1)[1:]
        if self._hops and self._hops[0][0] < end_s - KEPT_S:
            self._settle()
            while self._hops and self._hops[0][0] < end_s - KEPT_S:
                self._hops.popleft()
        for end, row in zip(edges, features, strict=True):
            self._hops.append((float(end), row[:-HOP_LEVELS]))

    def tell(self, start_s: float, end_s: float, loudness: int | None = None) -> None:
        """Something was heard in this span of the stream under way."""
        known = [(s.start_s, s.end_s) for s in self._over if s.stream == self._stream]
        if not any(_same((start_s, end_s), span) for span in (*self._told, *known)):
            self._told[start_s, end_s] = loudness

    def begin_stream(self) -> None:
        """Another clock begins."""
        self._settle()
        self._hops.clear()
        self._stream += 1

    def begin_recording(self, name: str) -> None:
        """What follows comes from another recording."""
        self._settle()
        self._recording = name
        self._number += 1

    def lines(
        self,
        question: str,
        choices: Sequence[str] = (),
        ongoing: Sequence[tuple[float, float, int | None]] = (),
        since_s: float = -math.inf,
    ) -> list[str]:
        """What to read before a question.

        Args:
            question: any text.
            choices: of its answers.
            ongoing: spans of sounds that have not ended, and how loud they are.
            since_s: what was over by then, and other streams, are left out.
        """
        stretches = self._since(since_s, ongoing)
        chosen, words = asked_phrases(question, choices)
        asked = [*chosen, *words]
        prepared = self.prepare(asked)
        loud, long = (asks_for(words, question, choices) for words in (LOUDNESS, LENGTH))
        matches = [
            (share, i, phrase)
            for i, stretch in enumerate(stretches)
            for share, phrase in _matches(
                self._phrases.judge(stretch.heard, prepared).tolist(), asked, named=bool(chosen)
            )
        ]
        matches = sorted(sorted(matches, reverse=True)[:MAX_MATCHES], key=lambda each: each[1])
        lines: list[str] = []
        by_recording = groupby(matches, key=lambda each: stretches[each[1]].recording)
        for recording, found in by_recording:
            if recording:
                lines.append(recording_line(recording))
            told = [
                _match(phrase, share, stretches[i], loud=loud, long=long)
                for share, i, phrase in found
            ]
            lines.append(likeness_line(told))
        return lines

    def weigh(
        self,
        question: str,
        choices: Sequence[str],
        ongoing: Sequence[tuple[float, float, int | None]] = (),
        since_s: float = -math.inf,
        now_s: float | None = None,
    ) -> evidence.Floats | None:
        """Log probability of each choice by the stretches alone; None where they do not tell.

        Args:
            question: any text.
            choices: of its answers.
            ongoing: see :meth:`lines`.
            since_s: see :meth:`lines`.
            now_s: how long the stream under way is.
        """
        inquiry = inquire(question, choices)
        if inquiry is None:
            return None
        if inquiry.aspect is Aspect.RECORDING and max(inquiry.values) > self._number:
            return None
        stretches = self._since(since_s, ongoing)
        if inquiry.aspect is Aspect.WHERE:
            stretches = [s for s in stretches if s.stream == self._stream and now_s is not None]
        phrases = [*inquiry.sounds, *inquiry.others]
        scores = self._phrases.scores([s.heard for s in stretches], phrases)
        until_s = now_s or (self._hops[-1][0] if self._hops else 0.0)
        spans = evidence.Spans(
            np.array([self._on_line(s.start_s, s) for s in stretches]),
            np.array(
                [self._on_line(s.end_s if s.end_s < math.inf else until_s, s) for s in stretches]
            ),
            np.array([math.nan if s.loudness is None else s.loudness for s in stretches]),
            np.array([s.number for s in stretches], np.int64),
        )
        scaled = self._phrases.scaled(scores).astype(np.float64)
        return evidence.weigh(inquiry, spans, scaled, until_s)

    def _on_line(self, time_s: float, stretch: Stretch) -> float:
        """A time of a stretch on one line for all streams; that of the last one is its own."""
        return time_s + STREAM_S * (stretch.stream - self._stream)

    def _since(
        self, since_s: float, ongoing: Sequence[tuple[float, float, int | None]]
    ) -> list[Stretch]:
        """Stretches in order of time, those that have not ended among them."""
        self._settle()
        stretches = [
            s
            for s in self._over
            if since_s == -math.inf or (s.stream == self._stream and s.end_s > since_s)
        ]
        stretches += [s for span in ongoing if (s := self._hear(*span)) is not None]
        stretches.sort(key=lambda s: (s.stream, s.start_s))
        return stretches

    def judged(self, judge: Callable[[Heard], Floats]) -> list[tuple[float, float, list[float]]]:
        """Of each stretch of the stream under way when it began and ended, and what is made of
        it."""
        self._settle()
        stretches = [s for s in self._over if s.stream == self._stream]
        stretches.sort(key=lambda s: s.start_s)
        return [(s.start_s, s.end_s, judge(s.heard).tolist()) for s in stretches]

    def prepare(self, texts: Sequence[str]) -> Prepared:
        """What judging them needs."""
        return self._phrases.prepare(texts)

    def hear(self, embeddings: Floats, start_s: float, end_s: float) -> Heard:
        """What the hops [n, n_in] of a span of the stream under way are compared by."""
        return self._phrases.hear(embeddings)

    def _settle(self) -> None:
        """Take in the spans that were told."""
        told = sorted(self._told.items())
        self._told = {}
        stretches = [s for span, loud in told if (s := self._hear(*span, loud)) is not None]
        self._over.extend(stretches)

    def _hear(self, start_s: float, end_s: float, loudness: int | None) -> Stretch | None:
        """None where no hop is known of that time."""
        hops = [row for end, row in self._hops if start_s + EARLY_S < end < end_s + LATE_S] or [
            row for end, row in self._hops if start_s < end < end_s + 2 * LATE_S
        ][:1]
        if not hops:
            return None
        heard = self.hear(np.stack(hops), start_s, end_s)
        return Stretch(start_s, end_s, heard, self._recording, self._stream, self._number, loudness)


def _matches(
    shares: Sequence[float], asked: Sequence[str], *, named: bool
) -> list[tuple[float, str]]:
    """The best one or two of the phrases for a stretch, the best first, with their shares.

    Args:
        shares: how well each phrase fits it.
        asked: the phrases.
        named: whether choices say what it may have been: then even the best of bad ones tells.
    """
    best = sorted(zip(shares, asked, strict=True), key=lambda each: -each[0])[:2]
    return [
        (share, phrase)
        for rank, (share, phrase) in enumerate(best)
        if share >= best[0][0] - CLOSE and (share >= HARDLY or (named and not rank))
    ]


def _match(phrase: str, share: float, stretch: Stretch, *, loud: bool, long: bool) -> Match:
    length_s = round(stretch.end_s, 1) - round(stretch.start_s, 1)  # as a line of the scene has it
    return Match(
        phrase,
        stretch.start_s,
        sum(share < least for least in DOUBTS),
        stretch.loudness if loud else None,
        length_s if long and math.isfinite(length_s) else None,
    )


def _same(a: tuple[float, float], b: tuple[float, float]) -> bool:
    """Whether two spans are of one stretch."""
    both_s = min(a[1], b[1]) - max(a[0], b[0])
    short_s, long_s = sorted((a[1] - a[0], b[1] - b[0]))
    return both_s > SAME * short_s and short_s > SIZE * long_s
