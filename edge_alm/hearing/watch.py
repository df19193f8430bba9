"""Being told when a named sound starts.

A matcher turns a phrase into a test on labels. The one here knows AudioSet's class names
and a table of everyday words; one that understands free text fits behind the same protocol.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import resources
from typing import Protocol

from edge_alm.errors import UsageError
from edge_alm.hearing.audioset import ontology
from edge_alm.types import Sound, Watch

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

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

    def labels(self, phrase: str) -> frozenset[str]:
        """See :class:`Matcher`."""
        meant = words(phrase)
        found = set(synonyms().get(meant, ()))
        if not found and meant:
            found = {label for label, name in self._names if name and name == meant}
        if not found and meant:
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
        for label in tuple(found):
            found |= ontology().descendants(label)
        return frozenset(found.intersection(self._labels))


class Watcher:
    """Raises a :class:`Watch` event when a watched sound starts.

    Args:
        phrases: what to watch for.
        matcher: what the phrases mean.

    Raises:
        UsageError: a phrase that means nothing.
    """

    def __init__(self, phrases: Iterable[str], matcher: Matcher) -> None:
        self._meant = [(phrase, matcher.labels(phrase)) for phrase in phrases]

    def observe(self, sounds: Iterable[Sound]) -> list[Watch]:
        """The watches that these events set off; ends are ignored."""
        return [
            Watch(phrase, sound.label, sound.start, sound.confidence, sound.at_unix)
            for sound in sounds
            if sound.state == "start"
            for phrase, labels in self._meant
            if sound.label in labels
        ]
