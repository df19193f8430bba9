"""Questions about what is beyond the language model's reach: from the event log.

What is heard live is in the model's context before anybody asks. What a log has must be read when
the question comes, and a small machine reads some 250 tokens a second: so few lines, and the right
ones. Repeats of a sound are one line, and what the question names comes first.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge_alm.errors import UsageError
from edge_alm.hearing.audioset import ontology
from edge_alm.hearing.watch import NameMatcher, words
from edge_alm.log import SPEECH, Heard, heard_since
from edge_alm.reasoning.prompts import event_line
from edge_alm.reasoning.reasoner import check_question
from edge_alm.types import Answer, Sound, Speech

if TYPE_CHECKING:
    from edge_alm.runtime import Ears

BUDGET_TOKENS = 48
"""Of lines, beside the question. With them the first token comes in under 300 ms where 250 are read
in a second."""

_WORD = re.compile(r"[a-z0-9]+")
_ASKING = frozenset(
    _WORD.findall(
        "a an any anybody anyone anything as at been did do does first has have hear heard how i "
        "in is it last many me my of often on or said say says saying somebody someone something "
        "sound sounds tell that the then there they this time times to told was we were what when "
        "where which who with you"
    )
)
"""Words of a question that name nothing that was heard."""
_SPEAKING = frozenset(("said", "say", "says", "saying", "tell", "told"))
"""Those of them that ask for what was said."""
_WHETHER = re.compile(r"\s*(?:are|did|has|have|is|was|were)\b", re.IGNORECASE)
_COUNTING = re.compile(r"\bhow\s+(?:often|many\s+times)\b", re.IGNORECASE)


def recall(
    ears: Ears,
    log: str | Path,
    question: str,
    since_s: float,
    *,
    choices: Sequence[str] | None = None,
    think: bool = False,
) -> Answer:
    """Answer a question from a log; the scene of the ears is forgotten for it.

    Args:
        ears: with a language model, and no stream under way.
        log: a file that :class:`~edge_alm.log.EventLog` writes, now or earlier.
        question: any text.
        since_s: how far back from now what was heard counts, seconds.
        choices: the answer is one of these.
        think: let the model write down what it heard before it answers.

    Returns:
        The answer; its times count from this call, so looking into the log is in them.

    Raises:
        LogError: there is no such file, it is no log, or damaged.
        UsageError, EdgeAlmError: as :meth:`~edge_alm.runtime.Ears.ask`.
    """
    began_s = time.perf_counter()
    options = check_question(question, choices)
    since_unix = time.time() - since_s
    heard = heard_since(log, since_unix)
    counted = count(heard, question)
    known = "no" if is_denied(heard, question) else None if counted is None else str(counted)
    text = known if not options else next((o for o in options if o.lower() == known), None)
    if text is not None:
        took_ms = round(1000.0 * (time.perf_counter() - began_s), 1)
        return Answer(question, text, text if options else None, 1.0, took_ms, took_ms)
    ears.relive(choose(heard, question, since_unix))
    looked_ms = 1000.0 * (time.perf_counter() - began_s)
    answer = ears.ask(question, choices=choices, think=think)
    return replace(
        answer,
        ttft_ms=round(answer.ttft_ms + looked_ms, 1),
        total_ms=round(answer.total_ms + looked_ms, 1),
    )


def count(heard: Iterable[Heard], question: str) -> int | None:
    """How often a sound was heard, where the question asks that of one that it names; or None.

    SmolLM2-135M counts a few lines; of a line that says "dog, 14 times" it made "1", and fourteen
    lines would take it a second.
    """
    if not _COUNTING.search(question) or _asks_words(question):
        return None
    found = _without_voices(heard)
    meant = _meaning(question, found)
    return sum(one.count for one in found if one.label in meant) if meant else None


def is_denied(heard: Iterable[Heard], question: str) -> bool:
    """Whether the question asks if something was heard, and names only sounds that never were.

    Of a day of wind and vehicles SmolLM2-135M says "yes" to a siren, which is a vehicle's.
    """
    if not _WHETHER.match(question) or _asks_words(question):
        return False
    found = list(heard)
    meant = _meaning(question, found)
    return bool(meant) and meant.isdisjoint(one.label for one in found)


def choose(
    heard: Iterable[Heard], question: str, since_unix: float, budget_tokens: int = BUDGET_TOKENS
) -> list[Sound | Speech]:
    """What the language model is told of, newest last, with times in seconds since then.

    First what the question names: sounds, or words where it asks what was said. Then the rest; of
    each the newest first, while there is room. There is for one.
    """
    found = _without_voices(heard)
    meant, named = _meaning(question, found), words(_subject(question))
    voices, asks_words = _voices(), _asks_words(question)

    def rank(one: Heard) -> tuple[int, float]:
        is_said = one.label in voices
        if one.label in meant or not named.isdisjoint(words(one.text or "")):
            return (0 if is_said == asks_words else 1), -one.end_unix
        return (2 if is_said and asks_words else 3), -one.end_unix

    told: list[tuple[float, Sound | Speech]] = []
    room = budget_tokens
    for one in sorted(found, key=rank):
        event = _event(one, since_unix)
        room -= count_tokens(event_line(event))
        if room < 0 and told:
            break
        told.append((one.end_unix, event))
    return [event for _, event in sorted(told, key=lambda pair: pair[0])]


def count_tokens(line: str) -> int:
    """About how many tokens a line is: one for each word, digit and sign, and its end."""
    return len(re.findall(r"\d|[^\W\d]+|[^\w\s]|\n", line))


def _without_voices(heard: Iterable[Heard]) -> list[Heard]:
    """Where utterances are told, that someone spoke need not be told as a sound, too."""
    found = list(heard)
    if all(one.text is None for one in found):
        return found
    return [one for one in found if one.text is not None or one.label not in _voices()]


def _voices() -> frozenset[str]:
    return ontology().descendants(SPEECH) | {SPEECH}


def _meaning(question: str, heard: Iterable[Heard]) -> frozenset[str]:
    """The labels of sounds that the question names; none where it names none."""
    # All names, so that "horse" finds a neigh where no horse was heard.
    labels = ontology().labels() | {one.label for one in heard}
    try:
        return NameMatcher(sorted(labels)).labels(_subject(question))
    except UsageError:
        return frozenset()


def _subject(question: str) -> str:
    """The words of a question that may name something: "knock door" of "Did anyone knock at the
    door?", which the table of synonyms knows as one thing."""
    return " ".join(word for word in _words(question) if word not in _ASKING)


def _asks_words(question: str) -> bool:
    return not _SPEAKING.isdisjoint(_words(question))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _event(one: Heard, since_unix: float) -> Sound | Speech:
    start, end = max(0.0, one.start_unix - since_unix), max(0.0, one.end_unix - since_unix)
    if one.text:
        return Speech(one.text, start, end, 1.0)
    label = f"{one.label}, {one.count} times" if one.count > 1 else one.label
    return Sound(label, start, end, 1.0, "end")
