"""Where something is heard that is told in words, and which of some words a sound is like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import UsageError
from edge_alm.hearing.watch import WITHIN_S
from edge_alm.models.bundle import Bundle
from edge_alm.reasoning.judges import open_judges, own_sounds
from edge_alm.reasoning.notes import Notes
from edge_alm.reasoning.phrases import Phrases
from edge_alm.reasoning.stretches import Stretches
from edge_alm.runtime import Ears
from edge_alm.types import Event, Guess, Sound, Source

AT_LEAST = 0.5


@dataclass(frozen=True, slots=True)
class Found:
    """A stretch of a recording, or several in the order that was asked for."""

    start: float
    """Seconds from the start of the recording."""
    end: float
    score: float
    """0 to 1; of several sounds, that of the worst."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A stretch of a recording and what it is like."""

    start: float
    end: float
    labels: tuple[tuple[str, float], ...]
    """Each with its score, 0 to 1, the best first."""


class Finder:
    """Hears one recording at a time and compares it with any words.

    Args:
        bundle: with a phrase table; needs no language model.

    Raises:
        UsageError: the bundle has none.
    """

    def __init__(self, bundle: Bundle) -> None:
        if bundle.phrases is None:
            raise UsageError(
                f"bundle {bundle.name}",
                expected="a phrase table",
                got="none",
                hint="python -m export.likeness makes one",
            )
        phrases = Phrases(bundle.phrases, bundle.sentences)
        self._judges = open_judges(bundle, phrases, own_sounds(bundle))
        self._notes = _Notes(phrases)
        self._ears = Ears(bundle, reasoner=lambda: self._notes)

    def __enter__(self) -> Finder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def hear(self, source: str | Path | Source) -> None:
        """Listen to a recording until its end; the one before is forgotten.

        Raises:
            EdgeAlmError: what listening raises.
        """
        self._ears.reset()
        for _ in self._ears.listen(source):
            pass
        self._ears.flush()

    def find(self, text: str, at_least: float = AT_LEAST) -> list[Found]:
        """Where it was heard, the best first; stretches of two finds do not overlap.

        Args:
            text: a sound, or several in order: "a dog barking, then rain".
            at_least: of the score.

        Raises:
            UsageError: no sound is named.
        """
        wanted = self._judges.parts(text)
        if not wanted:
            raise UsageError("what to find", expected="the name of a sound", got=repr(text))
        stretches = self._notes.stretches.judged(self._judges.of(wanted))
        return pick_chains(stretches, len(wanted), at_least)

    def label(self, labels: Sequence[str]) -> list[Labelled]:
        """What each stretch that stood out is like, in order of time.

        Raises:
            UsageError: no labels.
        """
        names = list(dict.fromkeys(name.strip() for name in labels if name.strip()))
        if not names:
            raise UsageError("labels", expected="at least one", got="none")
        return [
            Labelled(start_s, end_s, _ranked(names, shares))
            for start_s, end_s, shares in self._notes.stretches.judged(self._judges.of(names))
        ]

    def close(self) -> None:
        """Free the models. Idempotent."""
        self._ears.close()


def _ranked(names: Sequence[str], shares: Sequence[float]) -> tuple[tuple[str, float], ...]:
    pairs = zip(names, (round(share, 3) for share in shares), strict=True)
    return tuple(sorted(pairs, key=lambda pair: -pair[1]))


def pick_chains(
    stretches: Sequence[tuple[float, float, Sequence[float]]], length: int, at_least: float
) -> list[Found]:
    """Stretches of which each fits the next text and begins after the last, the best first.

    Args:
        stretches: start, end and the score of each text, by start.
        length: how many texts there are.
        at_least: of the worst score of a chain.
    """
    ends: list[Found | None] = [
        Found(start, end, shares[0]) if shares[0] >= at_least else None
        for start, end, shares in stretches
    ]
    for text in range(1, length):
        longer: list[Found | None] = []
        for i, (start, end, shares) in enumerate(stretches):
            before = [
                chain
                for chain, (began, _, _) in zip(ends[:i], stretches, strict=False)
                if chain is not None and 0 < start - began <= WITHIN_S
            ]
            # Of equally good ones the nearest.
            best = max(before, key=lambda chain: (chain.score, chain.start), default=None)
            fits = best is not None and shares[text] >= at_least
            longer.append(
                Found(best.start, max(best.end, end), min(best.score, shares[text]))
                if best is not None and fits
                else None
            )
        ends = longer
    chosen: list[Found] = []
    for chain in sorted((c for c in ends if c is not None), key=lambda c: (-c.score, c.start)):
        if all(chain.end <= other.start or chain.start >= other.end for other in chosen):
            chosen.append(chain)
    return [Found(c.start, c.end, round(c.score, 3)) for c in chosen]


class _Notes(Notes):
    """Keeps the stretches that stood out."""

    def __init__(self, phrases: Phrases) -> None:
        self.stretches = Stretches(phrases)

    def append_event(self, event: Event) -> None:
        if isinstance(event, Sound) and event.end is not None:
            self.stretches.tell(event.start, event.end)

    def append_guess(self, guess: Guess) -> None:
        self.stretches.tell(guess.start, guess.end)

    def append_embeddings(
        self, embeddings: NDArray[np.float32], start_s: float, end_s: float
    ) -> None:
        self.stretches.put(embeddings, start_s, end_s)

    def begin_stream(self) -> None:
        self.stretches.begin_stream()

    def reset(self) -> None:
        self.stretches.reset()
