"""What a question wants of the sounds it is about: that one was heard, or came first, or lasted
longest, or came after another.

Keywords decide, no grammar. Where they do not tell, or where it is not for sounds alone to say, the
language model is left to answer by itself. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from edge_alm.reasoning.asked import LENGTH, LOUDNESS, asks_for, question_runs, split_order

_WORD = re.compile(r"\w+(?:'t)?")
_RECORDINGS = {
    word: float(i)
    for i, word in enumerate(("first", "second", "third", "fourth", "fifth", "sixth"))
}
_RECORDING = re.compile(r"(?:the )?(\w+)(?: (?:recording|clip|file|one))?")
_TRUE = {"yes": 1.0, "no": 0.0}
_PARTS = {"beginning": 1 / 6, "start": 1 / 6, "middle": 1 / 2, "end": 5 / 6}
"""The middles of the three parts of a recording."""
_PART = re.compile(r"(?:(?:at|in) )?(?:the )?(\w+)")
_SPOKEN = """
conversation said say saying says speak speaking speech spoke spoken talk talked talking told voice
voices words
"""
"""What was said lies in other lines of the scene."""
_SAY = re.compile(r"\A(?:please )?say\b")
_NOT = "absent except lacking lacks missing never no none not unheard without"
_LITTLE = """
briefer briefest fainter faintest hardest least less lowest quieter quietest shorter shortest
smallest softer softest soonest
"""
_MOST = "least less more most"
_AFTER = "after afterwards followed following follows next"
_BEFORE = "ahead before preceded precedes preceding"
_ALL = "all any anything else every everything others rest"
"""Beside which something comes first or last. What came after "that", another turn tells."""
_BETWEEN = "amid between middle until"
_FIRST = "began begin beginning begins earliest first start started starts"
_LAST = "end ended ending ends final finally finish finished last latest"
_BE = r"\b(?:be|been|being|is|was|were) (?:\w+ )?"
_FOLLOWED = re.compile(rf"{_BE}followed (?:\w+ )?by\b")
_PRECEDED = re.compile(rf"{_BE}preceded (?:\w+ )?by\b")
_ORDER = re.compile(
    r"\b(?:(?P<early>before|earlier|ahead|then|followed (?:\w+ )?by|precedes?|preceded(?! by))"
    r"|(?P<late>after|later|follow(?:s|ed)?|following|preceded by))\b"
)


class Aspect(Enum):
    """What makes a choice the right one."""

    HEARD = "heard"
    MISSING = "missing"
    FIRST = "first"
    LAST = "last"
    LONGEST = "longest"
    SHORTEST = "shortest"
    LOUDEST = "loudest"
    QUIETEST = "quietest"
    BEFORE = "before"
    AFTER = "after"
    BETWEEN = "between"
    RECORDING = "recording"
    """It is the recording that has a sound in it."""
    EARLIER = "earlier"
    """It says whether one sound began before another."""
    WHERE = "where"
    """It is the part of the recording that a sound is in."""


@dataclass(frozen=True, slots=True)
class Inquiry:
    """A question about sounds, taken apart."""

    aspect: Aspect
    sounds: tuple[str, ...] = ()
    """What the choices name; nothing where they are no sounds."""
    others: tuple[str, ...] = ()
    """What the question names."""
    values: tuple[float, ...] = ()
    """What the choices say that are no sounds: the number of a recording, from 0; 1 for yes and 0
    for no; or the middle of a part, as a share of the recording."""


def inquire(question: str, choices: Sequence[str]) -> Inquiry | None:
    """What a question wants of its choices; None where that is not known.

    Args:
        question: any text.
        choices: of its answers, two or more.
    """
    text, options = question.lower(), [choice.lower().strip() for choice in choices]
    if any(_has(each, _SPOKEN) for each in (_SAY.sub("", text), *options)):
        return None
    denied = _has(text, _NOT) or any(word.endswith("n't") for word in _words(text))
    named = [split_order(option) for option in options]
    if all(len(sounds) == 1 for sounds in named):
        if all(option in text for option in options):  # a list of them is no other sound
            for option in sorted(options, key=len, reverse=True):
                text = text.replace(option, ";")
        aspect, others = (Aspect.MISSING, ()) if denied else _of_sounds(text)
        if aspect is None:
            return None
        return Inquiry(aspect, tuple(sounds[0] for sounds in named), others)
    return None if denied or any(named) else _of_one_sound(text, options)


def _of_sounds(text: str) -> tuple[Aspect | None, tuple[str, ...]]:
    """What is asked of choices that are sounds, and beside which others."""
    words, runs = _words(text), question_runs(text)
    if any(word.endswith(("er", "est")) for word in words) or _has(text, _MOST):
        if asks_for(LENGTH, text):
            return (Aspect.SHORTEST if _has(text, _LITTLE) else Aspect.LONGEST), ()
        if asks_for(LOUDNESS, text):
            return (Aspect.QUIETEST if _has(text, _LITTLE) else Aspect.LOUDEST), ()
    followed, preceded = bool(_FOLLOWED.search(text)), bool(_PRECEDED.search(text))
    before = followed or (_has(text, _BEFORE) and not preceded)
    after = preceded or (_has(text, _AFTER) and not followed)
    if len(runs) > 1 and (_has(text, _BETWEEN) or (before and after)):
        return Aspect.BETWEEN, (runs[0], runs[-1])
    if runs and before != after:
        return (Aspect.BEFORE if before else Aspect.AFTER), (" ".join(runs),)
    if (before or after) and not _has(text, _ALL):
        return None, ()
    if after or _has(text, _LAST):
        return Aspect.LAST, ()
    if before or _has(text, _FIRST):
        return Aspect.FIRST, ()
    return Aspect.HEARD, ()


def _of_one_sound(text: str, options: Sequence[str]) -> Inquiry | None:
    """What is asked where the choices are no sounds."""
    sound = " ".join(question_runs(text))
    if not sound:
        return None
    if recordings := _values(options, _RECORDING, _RECORDINGS):
        return Inquiry(Aspect.RECORDING, (), (sound,), recordings)
    if parts := _values(options, _PART, _PARTS):
        return Inquiry(Aspect.WHERE, (), (sound,), parts)
    if answers := _values(options, _PART, _TRUE):
        found = _ORDER.search(text)
        if found is None:
            return None
        sides = tuple(" ".join(question_runs(side)) for side in _ORDER.split(text, 1)[::3])
        early, late = sides if found["early"] else sides[::-1]
        return Inquiry(Aspect.EARLIER, (), (early, late), answers) if early and late else None
    return None


def _values(
    options: Sequence[str], form: re.Pattern[str], meant: Mapping[str, float]
) -> tuple[float, ...]:
    """What the choices mean; nothing if one means something else."""
    found = [form.fullmatch(option) for option in options]
    values = [meant.get(match[1]) for match in found if match]
    known = tuple(value for value in values if value is not None)
    return known if len(known) == len(options) else ()


def _has(text: str, words: str) -> bool:
    return not set(words.split()).isdisjoint(_words(text))


def _words(text: str) -> list[str]:
    return _WORD.findall(text)
