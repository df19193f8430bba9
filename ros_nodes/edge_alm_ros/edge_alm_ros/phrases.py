"""Was a phrase heard: the name of a sound, or words that someone said. No ROS in here."""

from __future__ import annotations

import re

from edge_alm.errors import UsageError
from edge_alm.hearing.audioset import ontology
from edge_alm.hearing.watch import NameMatcher


class PhraseSpotter:
    """Knows the events that a phrase means.

    A sound counts when it starts, and when a phrase names it ("glass breaking"); speech when the
    words of the phrase are in it, one after the other ("stop").

    Raises:
        UsageError: an empty phrase.
    """

    def __init__(self, phrase: str) -> None:
        self._words = _words(phrase)
        if not self._words:
            raise UsageError("phrase", expected="some words", got=repr(phrase))
        self._phrase = phrase
        self._named: dict[str, bool] = {}

    def is_heard(self, kind: str, state: str, label: str, text: str) -> bool:
        """Whether an ``AudioEvent`` with these fields is what is meant."""
        if kind == "watch":
            return text == self._phrase
        if kind == "sound":
            return state == "start" and self._names(label)
        return kind == "speech" and f" {self._words} " in f" {_words(text)} "

    def _names(self, label: str) -> bool:
        if label not in self._named:
            try:
                # The hierarchy does not list the classes that stand alone.
                meant = NameMatcher(sorted(ontology().labels() | {label})).labels(self._phrase)
            except UsageError:  # no sound is called so: it can still be said
                meant = frozenset()
            self._named[label] = label in meant
        return self._named[label]


class HoldOff:
    """Lets something through once in a while.

    Args:
        hold_off_s: for so long after it nothing more is let through.
    """

    def __init__(self, hold_off_s: float) -> None:
        self._hold_off_s = hold_off_s
        self._until_s = float("-inf")

    def passes(self, now_s: float) -> bool:
        """Whether what comes now may pass; if so the time starts anew."""
        if now_s < self._until_s:
            return False
        self._until_s = now_s + self._hold_off_s
        return True


def _words(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+(?:'[^\W_]+)?", text.lower()))
