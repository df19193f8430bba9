"""Being told when a named sound starts.

What is watched for is a sound, or several in order. A bundle with a phrase table knows a sound by
any words (:mod:`edge_alm.hearing.phrase_watch`); without one, by AudioSet's class names and a table
of everyday words, which are here.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Protocol

from edge_alm.errors import UsageError
from edge_alm.hearing.audioset import ontology
from edge_alm.hearing.encoder import Hop
from edge_alm.types import Sound, Watch

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

WITHIN_S = 30.0
"""What is said to come then begins so long after what came before, at most."""
_FILLER = frozenset(("a", "an", "the", "of", "and", "or", "at", "in", "on", "to", "is", "are"))


class Matcher(Protocol):
    """Decides which sounds a phrase means."""

    def labels(self, phrase: str) -> frozenset[str]:
        """The labels that ``phrase`` means.

        Raises:
            UsageError: the phrase means no sound that can be heard.
        """
        ...


def stem(word: str) -> str:
    """A word without its common endings; the same for all forms of most words."""
    for ending in ("ing", "ers", "ed", "er", "es", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word


def words(text: str) -> frozenset[str]:
    """The stems of the words that carry meaning."""
    return frozenset(stem(w) for w in re.findall(r"[a-z0-9]+", text.lower()) if w not in _FILLER)


@cache
def synonyms() -> dict[frozenset[str], tuple[str, ...]]:
    """The table of everyday words, keyed by their stems."""
    text = (resources.files(__package__) / "synonyms.toml").read_text("utf-8")
    return {words(phrase): tuple(labels) for phrase, labels in tomllib.loads(text).items()}


class NameMatcher:
    """Matches by class names and the table of synonyms; a class brings its descendants.

    Args:
        labels: every label that the encoder can give.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = tuple(labels)
        self._names = [
            (label, words(name)) for label in labels for name in re.split(r"[,(]", label)
        ]

    def called(self, phrase: str) -> frozenset[str]:
        """The labels that are called so, or that the table has for the phrase; perhaps none."""
        meant = words(phrase)
        found = set(synonyms().get(meant, ()))
        if not found and meant:
            found = {label for label, name in self._names if name and name == meant}
        return self._with_kinds(found)

    def labels(self, phrase: str) -> frozenset[str]:
        """See :class:`Matcher`."""
        if called := self.called(phrase):
            return called
        meant, found = words(phrase), set[str]()
        if meant:
            found = {
                label for label, name in self._names if name and (name <= meant or meant <= name)
            }
            for key, labels in synonyms().items():
                if key <= meant:
                    found.update(labels)
        if not found:
            near = difflib.get_close_matches(phrase, self._labels, n=3, cutoff=0.4)
            raise UsageError(
                f"watch {phrase!r}",
                expected="the name of a sound",
                got="no class or synonym with these words",
                hint=f"nearest names: {'; '.join(near)}" if near else "try a simpler word",
            )
        return self._with_kinds(found)

    def _with_kinds(self, labels: set[str]) -> frozenset[str]:
        """Those of the encoder's labels that are one of these, or a kind of one."""
        kinds = labels.union(*map(ontology().descendants, labels))
        return frozenset(kinds.intersection(self._labels))


@dataclass(frozen=True, slots=True)
class Query:
    """What to be told of."""

    text: str
    """As it was asked for."""
    parts: tuple[str, ...]
    """The sounds that it names, in the order in which they must come; at least one."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A sound that is one part of a query has started."""

    part: int
    """Number among the parts of all queries."""
    label: str
    start: float
    """Seconds."""
    confidence: float


class Sightings:
    """Puts together what is watched for in order. State of one stream; pure.

    Args:
        queries: whose parts are numbered one after the other.
    """

    def __init__(self, queries: Sequence[Query]) -> None:
        self._of = [(query, i) for query in queries for i in range(len(query.parts))]
        """Of each part its query, and the how manyth it is there."""
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._reached: list[Sighting | None] = [None] * len(self._of)
        """Of each part the last time that it came after those before it."""

    def take(self, sightings: Iterable[Sighting]) -> list[Watch]:
        """The watches that are complete with these; what comes "then" has to start later, by
        :data:`WITHIN_S` at most."""
        watches = []
        # Last parts first: what was seen just now is not before itself.
        for seen in sorted(sightings, key=lambda sighting: -sighting.part):
            query, place = self._of[seen.part]
            confidence = seen.confidence
            if place:
                before = self._reached[seen.part - 1]
                if before is None or not 0.0 < seen.start - before.start <= WITHIN_S:
                    continue
                confidence = min(confidence, before.confidence)
            if place == len(query.parts) - 1:
                watches.append(Watch(query.text, seen.label, seen.start, confidence))
            else:
                self._reached[seen.part] = replace(seen, confidence=confidence)
        return watches[::-1]


class Watcher(Protocol):
    """Raises a :class:`Watch` event when a watched sound starts. State of one stream."""

    def reset(self) -> None:
        """Forget everything."""
        ...

    def hear(self, hop: Hop | None, sounds: Iterable[Sound]) -> list[Watch]:
        """The watches that a hop sets off, and the starts that it decided; ends are ignored.

        None: nothing was heard in it.
        """
        ...


class NameWatcher:
    """Knows sounds by the labels that the tracker gives them.

    Args:
        queries: what to watch for.
        matcher: what their parts mean.

    Raises:
        UsageError: a part that means nothing.
    """

    def __init__(self, queries: Sequence[Query], matcher: Matcher) -> None:
        self._meant = [matcher.labels(part) for query in queries for part in query.parts]
        self._sightings = Sightings(queries)

    def reset(self) -> None:
        """See :class:`Watcher`."""
        self._sightings.reset()

    def hear(self, hop: Hop | None, sounds: Iterable[Sound]) -> list[Watch]:
        """See :class:`Watcher`."""
        return [
            watch
            for sound in sounds
            if sound.state == "start"
            for watch in self._sightings.take(
                Sighting(part, sound.label, sound.start, sound.confidence)
                for part, labels in enumerate(self._meant)
                if sound.label in labels
            )
        ]
