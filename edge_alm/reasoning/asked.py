"""Which sounds a question asks about: the phrases in its text and in its choices.

Runs of words between the words that any question has, as RAKE takes keywords from a text (Rose et
al. 2010). Pure; a phrase too many costs a few tokens, one that is missed is not looked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

MAX_PHRASES = 12
_FUNCTION = """
a about after again ahead all along already also always am among an and any anything are as at be
been before being between both but by came can come comes coming could did do does down during each
earlier earliest either else ever every few first follow followed following follows for from give
goes going had happen happened happens has have he her his how i if immediately in into is it its
just last later latest least made make many me more most much my never next no not nothing now of
off on once one only or order other others out over own preceded preceding right same say says she
should since so some somebody someone something soon sooner soonest still stood such take taken than
that the their them then there these they thing things third this those through times to too took
two under until up us very was we well went were what when where which while who whole whose will
with without yes you your
"""
_LISTENING = """
audible audio began begin beginning begun caption clip contain contained contains count describe
detect detected different distinct end ended ending far final greatest hardest hear heard hearing
kind kinds list listen listened listening low lowest maybe middle missing moment name near noise
noises notice noticed number occur occurred occurs often part parts person pick please present put
really recorded recording recordings repeat richer said second seconds sequence smallest sooner sort
sorts sound sounded sounding sounds speak spoke spoken start started starts sure tell think time
total voice word words
"""
_LOUDNESS = """
faint fainter faintest loud louder loudest noisier noisiest quiet quieter quietest soft softer
softest strong stronger strongest volume
"""
LOUDNESS = frozenset(_LOUDNESS.split()) | {"most noise", "more noise", "least noise", "less noise"}
_LENGTH = """
brief briefer briefest duration lasted length long longer longest short shorter shortest soonest
took
"""
LENGTH = frozenset(_LENGTH.split()) | {"most time", "more time", "least time", "less time"}
COMMON = frozenset(f"{_FUNCTION} {_LISTENING} {_LOUDNESS} {_LENGTH}".split())
"""Words of which no phrase is made."""
_HOW = frozenset(("a", "an", "the", "and", "loud", "quiet", "long", "short", "near", "far"))
"""What stands in front of a sound's name in a list, or in a caption for how it sounds."""
_WORD = re.compile(r"\w+")
_BORDER = re.compile(r"[^\w\s'-]+|\bthen\b")


def asked_phrases(question: str, choices: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """Phrases of the choices, and those that only the question has, in order, lower case.

    "rain" and "dog bark" are the choices' in ``"What came first?", ["dog bark, then rain", ...]``;
    a choice like "yes", "3" or "the end" has none.
    """
    chosen = _distinct(part for choice in choices for part in split_order(choice))
    words = _distinct(part for part in _runs(question) if part not in set(chosen))
    return chosen[:MAX_PHRASES], words[: MAX_PHRASES - len(chosen[:MAX_PHRASES])]


def asks_for(words: frozenset[str], question: str, choices: Sequence[str] = ()) -> bool:
    """Whether one of the words, or pairs of words, is in the question or its choices.

    Args:
        words: as :data:`LOUDNESS`.
        question: any text.
        choices: of its answers.
    """
    for text in (question, *choices):
        found = _WORD.findall(text.lower())
        if not words.isdisjoint(found) or not words.isdisjoint(map(" ".join, pairwise(found))):
            return True
    return False


def split_order(text: str) -> list[str]:
    """The sounds that a choice or a search names, in order: what lies between commas and "then",
    without an article or a word for how it sounds."""
    found = []
    for part in _BORDER.split(text.lower()):
        words = part.split()
        while words and words[0] in _HOW:
            words = words[1:]
        if any(_tells(word) for word in words):
            found.append(" ".join(words))
    return found


def question_runs(text: str) -> list[str]:
    """The phrases of a question, in order."""
    return list(_runs(text))


def _runs(text: str) -> Iterable[str]:
    """Runs of words that are not common."""
    for part in _BORDER.split(text.lower()):
        run: list[str] = []
        for word in (*part.split(), ""):
            if _tells(word):
                run.append(word)
            elif run:
                yield " ".join(run)
                run = []


def _tells(word: str) -> bool:
    return any(c.isalpha() for c in word) and word.strip("'-") not in COMMON


def _distinct(phrases: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(phrases))
