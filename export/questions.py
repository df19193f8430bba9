"""Make questions with their answers from a timeline that is known.

A question is asked only where its answer is beyond dispute: sounds that start together have no
order, a sound that is heard in two places has no place, a sound 3 dB above another is not the
loudest. Nothing but the recording tells the right option: it stands anywhere among the options,
the wrong ones are drawn as the right one is, half of them from the same recording where the skill
allows, and *yes* is as frequent as *no*.

What no choice of options can balance is how often a caller's scenes have two sounds, or none:
who says "2" is as good as 2 is frequent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TypeVar

import numpy as np

from edge_alm.errors import UsageError
from export.corpus import similar
from export.scenes import SPEECH, Placed
from export.wordings import Wordings, worded

NOTHING = "nothing"
FIRST, SECOND = "the first", "the second"
THIRDS = ("beginning", "middle", "end")

ONSET_MARGIN_S = 0.3
"""Sounds have an order when they start this far apart; the encoder's hop is 0.48 s."""
PAUSE_S = 0.5
"""Repeats of a sound count as several when they are this far apart: one hop."""
LEVEL_MARGIN_DB = 6.0
LENGTH_FACTOR = 1.5
THIRD_MARGIN = 0.05
"""Of the recording's duration: how far from a border between thirds a sound's centre lies."""
TIME_STEP_S = 0.5
TIME_GAP_S = 2.0
"""Between the options for *when*."""
OPTIONS = 4

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question and its answer."""

    question: str
    answer: str
    """Lower case, without a full stop."""
    choices: tuple[str, ...] | None
    """Shuffled, all different, ``answer`` among them; None: only a free answer makes sense.
    The question can be asked without them too."""
    skill: str


@dataclass(frozen=True, slots=True)
class _Run:
    """A sound and its repeats up to the next other sound."""

    label: str
    start_s: float
    repeat_s: float
    """Start of the last repeat."""
    end_s: float

    def clearly_before(self, other: _Run) -> bool:
        return other.start_s - self.repeat_s >= ONSET_MARGIN_S and other.end_s > self.end_s


class _Heard:
    """One recording: its events, runs and labels."""

    def __init__(self, timeline: Sequence[Placed], duration_s: float) -> None:
        self.events = sorted(timeline, key=lambda event: event.start_s)
        self.duration_s = duration_s
        self.runs: list[_Run] = []
        for event in self.events:
            last = self.runs[-1] if self.runs else None
            if last and last.label == event.label:
                end_s = max(last.end_s, event.end_s)
                self.runs[-1] = _Run(last.label, last.start_s, event.start_s, end_s)
            else:
                self.runs.append(_Run(event.label, event.start_s, event.start_s, event.end_s))
        self.labels = list(dict.fromkeys(run.label for run in self.runs))
        seen = Counter(run.label for run in self.runs)
        self.once = {label for label, runs in seen.items() if runs == 1}
        """The labels that have one place in the order."""

    def of(self, label: str) -> list[Placed]:
        return [event for event in self.events if event.label == label]

    def single(self) -> list[Placed]:
        """The events whose label occurs once."""
        counts = Counter(event.label for event in self.events)
        return [event for event in self.events if counts[event.label] == 1]

    def count(self, label: str) -> int | None:
        """How often it is heard; None where the repeats run into each other."""
        events = self.of(label)
        apart = all(b.start_s - a.end_s >= PAUSE_S for a, b in pairwise(events))
        return len(events) if apart else None

    def ordered(self, *indices: int) -> bool:
        """Are these runs there, each heard in one place, and clearly in this order?"""
        if not all(0 <= index < len(self.runs) for index in indices):
            return False
        runs = [self.runs[index] for index in indices]
        return all(run.label in self.once for run in runs) and all(
            a.clearly_before(b) for a, b in pairwise(runs)
        )

    def alone(self, index: int) -> bool:
        """Does no other run sound between the ones before and after this one?"""
        before, middle, after = self.runs[index - 1 : index + 2]
        start_s = min(before.end_s, middle.start_s)
        return all(
            run in (before, middle) or run.end_s <= start_s or run.start_s >= after.start_s
            for run in self.runs
        )

    def starts_apart(self, index: int) -> bool:
        """Does this run start clearly before the next one?"""
        later = self.runs[index + 1 : index + 2]
        return all(run.start_s - self.runs[index].repeat_s >= ONSET_MARGIN_S for run in later)


@dataclass(frozen=True, slots=True)
class _Draft:
    """A question before it has its words."""

    form: str
    answer: str
    options: Sequence[str] | None = None
    """All of them, in any order; None: no choices."""
    words: Mapping[str, str] | None = None


class _Desk:
    """What a skill works with: the dice, the recordings, labels and sentences to draw from."""

    def __init__(
        self,
        rng: np.random.Generator,
        heard: list[_Heard],
        labels: Sequence[str],
        sentences: Sequence[str],
    ) -> None:
        self.rng = rng
        self.all = heard
        self.heard = heard[0]
        self.labels = labels
        self.sentences = sentences

    def coin(self, chance: float = 0.5) -> bool:
        return bool(self.rng.random() < chance)

    def pick(self, items: Sequence[_T]) -> _T:
        return items[int(self.rng.integers(len(items)))]

    def shuffled(self, items: Sequence[_T]) -> list[_T]:
        return [items[index] for index in self.rng.permutation(len(items)).tolist()]

    def foreign(self, wanted: int, unlike: Iterable[str]) -> list[str]:
        """Up to ``wanted`` labels of the pool, alike to none of ``unlike`` nor to each other."""
        apart, found = list(unlike), 0
        if wanted <= 0:
            return []
        for index in self.rng.permutation(len(self.labels)).tolist():
            label = self.labels[index]
            if not any(_alike(label, other) for other in apart):
                apart.append(label)
                found += 1
                if found == wanted:
                    break
        return apart[len(apart) - found :]

    def sounds(self, answer: str, hidden: Iterable[str] = ()) -> list[str]:
        """The answer, up to two other sounds of the recording, the rest of the pool's.

        ``hidden`` are sounds of the recording that the question names.
        """
        own: list[str] = []
        taken = {answer, *hidden}
        for label in self.shuffled([each for each in self.heard.labels if each not in taken]):
            if len(own) < OPTIONS // 2 and not any(_alike(label, o) for o in (answer, *own)):
                own.append(label)
        strange = self.foreign(OPTIONS - 1 - len(own), (*self.heard.labels, answer))
        return [answer, *own, *strange]

    def order_options(self, answer: str, hidden: Iterable[str]) -> list[str] | None:
        """As :meth:`sounds`; None where nothing but the answer is left of the recording's sounds,
        so that who knows which sounds there are would know it without their order."""
        options = self.sounds(answer, hidden)
        return options if set(options[1:]) & set(self.heard.labels) else None

    def number(self, right: int) -> list[str]:
        """Four whole numbers in a row, the right one at a random rank."""
        ranks = _RANKS[min(right, len(_RANKS) - 1)]
        lowest = right - int(np.searchsorted(np.cumsum(ranks), self.rng.random(), side="right"))
        return [str(number) for number in range(lowest, lowest + OPTIONS)]


_RANKS: tuple[tuple[float, ...], ...] = (
    (1.0,),
    (0.4, 0.6),
    (0.25, 0.25, 0.5),
    (0.2, 0.2, 0.2, 0.4),
)
"""Chances of the right number's rank among four in a row, for 0, 1, 2, and 3 or more.

Small numbers have no room below them; large ones make up for it: for 1 to 6, equally frequent,
the ranks have 0.24, 0.28, 0.22 and 0.27."""


@lru_cache(maxsize=1 << 20)
def _alike(a: str, b: str) -> bool:
    return a == b or similar(a, b)


def _yes_no(form: str, yes: bool, **words: str) -> _Draft:
    return _Draft(form, "yes" if yes else "no", ("yes", "no"), words)


def _which(desk: _Desk) -> _Draft | None:
    if len(desk.heard.labels) != 1:
        return None
    answer = desk.heard.labels[0]
    # A voice is alone in one scene of five with one kind, but one event of fourteen: it would be
    # right in 56 % of the questions that offer it.
    if answer == SPEECH and not desk.coin(1 / 3):
        return None
    return _Draft("which", answer, desk.sounds(answer))


def _present(desk: _Desk) -> _Draft | None:
    if not desk.heard.labels:
        return None
    yes = desk.coin()
    found = [desk.pick(desk.heard.labels)] if yes else desk.foreign(1, desk.heard.labels)
    return _yes_no("present", yes, x=found[0]) if found else None


def _absent(desk: _Desk) -> _Draft | None:
    heard = desk.shuffled(desk.heard.labels)[: OPTIONS - 1]
    missing = desk.foreign(1, desk.heard.labels)
    if len(heard) < 2 or not missing:
        return None
    options = desk.shuffled([*missing, *heard])
    return _Draft("absent", missing[0], options, {"list": ", ".join(options)})


def _among(desk: _Desk) -> _Draft | None:
    if not desk.heard.labels:
        return None
    answer = desk.pick(desk.heard.labels)
    options = desk.shuffled([answer, *desk.foreign(OPTIONS - 1, desk.heard.labels)])
    return _Draft("among", answer, options, {"list": ", ".join(options)})


def _first(desk: _Desk) -> _Draft | None:
    heard = desk.heard
    if len(heard.labels) < 2 or not heard.starts_apart(0):
        return None
    answer = heard.runs[0].label
    return _Draft("first", answer, desk.sounds(answer)) if answer in heard.once else None


def _last(desk: _Desk) -> _Draft | None:
    heard = desk.heard
    if len(heard.labels) < 2:
        return None
    answer = heard.runs[-1]
    if answer.label not in heard.once or not all(r.clearly_before(answer) for r in heard.runs[:-1]):
        return None
    return _Draft("last", answer.label, desk.sounds(answer.label))


def _order(desk: _Desk) -> _Draft | None:
    heard = desk.heard
    length = int(desk.rng.integers(2, 5))
    places = [i for i, run in enumerate(heard.runs) if run.label in heard.once]
    if len(places) < 2:
        return None
    places = sorted(desk.shuffled(places)[:length])
    if not heard.ordered(*places):
        return None
    names = [heard.runs[place].label for place in places]
    options = {", ".join(names): None}
    while len(options) < min(OPTIONS, 2 if len(names) == 2 else OPTIONS):
        options[", ".join(desk.shuffled(names))] = None
    listed = ", ".join(desk.shuffled(names))
    return _Draft("order", ", ".join(names), list(options), {"list": listed})


def _beside(desk: _Desk, form: str, step: int) -> _Draft | None:
    """What comes right after (``step`` 1) or right before (-1) a sound."""
    heard = desk.heard
    pairs = [
        (place, place + step)
        for place in range(len(heard.runs))
        if heard.ordered(*sorted((place, place + step)))
        and heard.starts_apart(max(place, place + step))
        and (min(place, place + step) == 0 or heard.starts_apart(min(place, place + step) - 1))
    ]
    if not pairs:
        return None
    place, beside = desk.pick(pairs)
    named, answer = heard.runs[place].label, heard.runs[beside].label
    return _Draft(form, answer, desk.order_options(answer, (named,)), {"x": named})


def _before(desk: _Desk) -> _Draft | None:
    return _beside(desk, "before", -1)


def _after(desk: _Desk) -> _Draft | None:
    return _beside(desk, "after", 1)


def _between(desk: _Desk) -> _Draft | None:
    heard = desk.heard
    middles = [
        i
        for i in range(1, len(heard.runs) - 1)
        if heard.ordered(i - 1, i, i + 1) and heard.alone(i)
    ]
    if not middles:
        return None
    middle = desk.pick(middles)
    x, answer, y = (heard.runs[middle + step].label for step in (-1, 0, 1))
    return _Draft("between", answer, desk.order_options(answer, (x, y)), {"x": x, "y": y})


def _relation(desk: _Desk) -> _Draft | None:
    heard = desk.heard
    places = [i for i, run in enumerate(heard.runs) if run.label in heard.once]
    if len(places) < 2:
        return None
    a, b = sorted(desk.shuffled(places)[:2])
    if not heard.ordered(a, b):
        return None
    early, late = heard.runs[a].label, heard.runs[b].label
    yes = desk.coin()
    x, y = (early, late) if yes else (late, early)
    return _yes_no("relation", yes, x=x, y=y)


def _kinds(desk: _Desk) -> _Draft | None:
    kinds = len(desk.heard.labels)
    return _Draft("kinds", str(kinds), desk.number(kinds)) if kinds else None


def _times(desk: _Desk) -> _Draft | None:
    """A count is chosen as readily as it is large; now and then a sound is not there at all.

    Where nothing is heard twice it is asked one time in sixteen: with one scene in four that
    has repeats, "1" would otherwise be right two times in three.
    """
    by_count: dict[int, list[str]] = {}
    for label in desk.heard.labels:
        count = desk.heard.count(label)
        if count is not None:
            by_count.setdefault(count, []).append(label)
    if not by_count or (max(by_count) == 1 and not desk.coin(1 / 16)):
        return None
    if desk.coin(0.1):
        missing = desk.foreign(1, desk.heard.labels)
        return _Draft("times", "0", desk.number(0), {"x": missing[0]}) if missing else None
    count = desk.pick([count for count in sorted(by_count) for _ in range(count)])
    return _Draft("times", str(count), desk.number(count), {"x": desk.pick(by_count[count])})


def _extreme(
    desk: _Desk, form: str, beats: Callable[[list[Placed], list[Placed]], bool]
) -> _Draft | None:
    """The one label whose events all beat those of every other label."""
    labels = desk.heard.labels
    if len(labels) < 2:
        return None
    events = {label: desk.heard.of(label) for label in labels}
    for label in labels:
        if all(beats(events[label], events[other]) for other in labels if other != label):
            return _Draft(form, label, desk.sounds(label))
    return None


def _louder(ours: list[Placed], theirs: list[Placed]) -> bool:
    loudest = max(event.level_db for event in theirs)
    return min(event.level_db for event in ours) - loudest >= LEVEL_MARGIN_DB


def _longer(ours: list[Placed], theirs: list[Placed]) -> bool:
    """Each of ours is longer than all of theirs together."""
    total_s = sum(event.end_s - event.start_s for event in theirs)
    return min(event.end_s - event.start_s for event in ours) >= LENGTH_FACTOR * total_s


def _loudest(desk: _Desk) -> _Draft | None:
    return _extreme(desk, "loudest", _louder)


def _quietest(desk: _Desk) -> _Draft | None:
    return _extreme(desk, "quietest", lambda ours, theirs: _louder(theirs, ours))


def _longest(desk: _Desk) -> _Draft | None:
    return _extreme(desk, "longest", _longer)


def _shortest(desk: _Desk) -> _Draft | None:
    return _extreme(desk, "shortest", lambda ours, theirs: _longer(theirs, ours))


def _third(event: Placed, duration_s: float) -> str | None:
    """The third of the recording it lies in; None for a long sound or one near a border."""
    if event.end_s - event.start_s > duration_s / 2:
        return None
    centre = (event.start_s + event.end_s) / 2 / duration_s
    if min(abs(centre - 1 / 3), abs(centre - 2 / 3)) < THIRD_MARGIN:
        return None
    return THIRDS[min(int(centre * 3), 2)]


def _where(desk: _Desk) -> _Draft | None:
    by_third: dict[str, list[str]] = {}
    for event in desk.heard.single():
        third = _third(event, desk.heard.duration_s)
        if third:
            by_third.setdefault(third, []).append(event.label)
    if not by_third:
        return None
    answer = desk.pick(sorted(by_third))
    return _Draft("where", answer, THIRDS, {"x": desk.pick(by_third[answer])})


def _when(desk: _Desk) -> _Draft | None:
    """Half of the wrong options are starts of other sounds, the rest other times it could have
    started at; the right one's rank among them is random where there is room on both sides."""
    events = desk.heard.single()
    if not events:
        return None
    event = desk.pick(events)
    right = round(event.start_s / TIME_STEP_S)
    gap = round(TIME_GAP_S / TIME_STEP_S)
    latest = int((desk.heard.duration_s - (event.end_s - event.start_s)) / TIME_STEP_S)
    others = [round(e.start_s / TIME_STEP_S) for e in desk.heard.events if e is not event]
    times = desk.shuffled(others)[: OPTIONS // 2] + desk.rng.permutation(latest + 1).tolist()
    below = int(desk.rng.integers(OPTIONS))
    room = {True: below, False: OPTIONS - 1 - below}
    options = [right]
    for strict in (True, False):
        for time in times:
            if len(options) == OPTIONS:
                break
            if (room[time < right] or not strict) and all(abs(time - o) >= gap for o in options):
                options.append(time)
                room[time < right] -= 1
    if len(options) < 2:
        return None
    texts = [f"{option * TIME_STEP_S:.1f}" for option in options]
    return _Draft("when", texts[0], texts, {"x": event.label})


def _said(desk: _Desk) -> _Draft | None:
    spoken = [_plain(event.text) for event in desk.heard.events if event.text]
    if len(spoken) != 1 or not spoken[0]:
        return None
    options = {spoken[0]: None}
    for index in desk.rng.permutation(len(desk.sentences)).tolist():
        if len(options) == OPTIONS:
            break
        other = _plain(desk.sentences[index])
        if other and not any(_same_words(other, option) for option in options):
            options[other] = None
    return _Draft("said", spoken[0], list(options) if len(options) > 1 else None)


def _plain(text: str) -> str:
    return " ".join(text.lower().split()).strip(" .!?;:,")


def _same_words(a: str, b: str) -> bool:
    """Is one the other, or a part of it, but for marks?"""
    first, second = (
        " ".join("".join(c for c in text if c.isalnum() or c == " ").split()) for text in (a, b)
    )
    return f" {first} " in f" {second} " or f" {second} " in f" {first} "


def _after_speech(desk: _Desk) -> _Draft | None:
    heard = desk.heard
    after = desk.coin()
    place = next((i for i, run in enumerate(heard.runs) if run.label == SPEECH), -1)
    beside = place + (1 if after else -1)
    early, late = sorted((place, beside))
    if place < 0 or not heard.ordered(early, late) or not heard.starts_apart(late):
        return None
    if early and not heard.starts_apart(early - 1):
        return None
    answer = heard.runs[beside].label
    options = desk.order_options(answer, (SPEECH,))
    texts = [_plain(event.text) for event in heard.of(SPEECH)]
    form = "after_speech" if after else "before_speech"
    if len(texts) == 1 and texts[0] and desk.coin():
        return _Draft(f"{form}_words", answer, options, {"words": texts[0]})
    return _Draft(form, answer, options)


def _nothing(desk: _Desk) -> _Draft | None:
    """Always two options, each right as often as the caller has scenes with nothing in them."""
    heard = desk.heard
    empty = not heard.events
    form = desk.pick(("anything", "what", "present", "times"))
    if form == "anything":
        return _yes_no("anything", not empty)
    found = desk.foreign(1, ()) if empty else [desk.pick(heard.labels)]
    if not found:
        return None
    if form == "present":
        return _yes_no("present", not empty, x=found[0])
    if form == "times":
        count = int(desk.rng.geometric(0.8)) if empty else heard.count(found[0])
        if count is None:
            return None
        return _Draft(form, "0" if empty else str(count), ("0", str(count)), {"x": found[0]})
    other = _listed(desk.foreign(int(desk.rng.integers(1, 6)), ())) if empty else _in_order(heard)
    return _Draft(form, NOTHING if empty else other, (NOTHING, other)) if other else None


def _recording(desk: _Desk) -> _Draft | None:
    first, second = desk.all
    if desk.coin(1 / 3):
        events = len(first.events) - len(second.events)
        kinds = len(first.labels) - len(second.labels)
        if events * kinds <= 0:  # more kinds of sound but fewer sounds, or as many
            return None
        return _Draft("more", FIRST if events > 0 else SECOND, (FIRST, SECOND))
    in_first = desk.coin()
    ours, theirs = (first, second) if in_first else (second, first)
    only = [each for each in ours.labels if not any(_alike(each, o) for o in theirs.labels)]
    if not only:
        return None
    answer = FIRST if in_first else SECOND
    return _Draft("recording", answer, (FIRST, SECOND), {"x": desk.pick(only)})


def _caption(desk: _Desk) -> _Draft | None:
    caption = _in_order(desk.heard)
    return None if caption is None else _Draft("caption", caption or NOTHING)


def _in_order(heard: _Heard) -> str | None:
    """All sounds as they came; None where two of them start together."""
    if not all(heard.starts_apart(place) for place in range(len(heard.runs))):
        return None
    return _listed(run.label for run in heard.runs)


def _listed(labels: Iterable[str]) -> str:
    return ", then ".join(labels)


_MAKERS: dict[str, Callable[[_Desk], _Draft | None]] = {
    "which": _which,
    "present": _present,
    "absent": _absent,
    "among": _among,
    "first": _first,
    "last": _last,
    "order": _order,
    "before": _before,
    "after": _after,
    "between": _between,
    "relation": _relation,
    "kinds": _kinds,
    "times": _times,
    "loudest": _loudest,
    "quietest": _quietest,
    "longest": _longest,
    "shortest": _shortest,
    "where": _where,
    "when": _when,
    "said": _said,
    "after_speech": _after_speech,
    "nothing": _nothing,
    "recording": _recording,
    "caption": _caption,
}
SKILLS: tuple[str, ...] = tuple(_MAKERS)
ONLY_CHOICES = frozenset({"absent", "among"})
"""Skills whose answer depends on the options."""
_PAIRED = "recording"
"""The skill that takes two recordings; all others take one."""
_NOTHING_RATE = {True: 10.0, False: 0.5}
"""How readily "nothing" is drawn beside each other skill, by whether the scene is empty: with one
scene in twenty empty, as scenes are by default, *no* is then the answer to half of it."""


def ask(
    rng: np.random.Generator,
    timelines: Sequence[Sequence[Placed]],
    durations_s: Sequence[float],
    labels: Sequence[str],
    *,
    skill: str | None = None,
    wordings: Wordings = "train",
    sentences: Sequence[str] = (),
) -> Asked | None:
    """One question; its answer and options follow from the timelines and ``rng`` alone.

    Args:
        rng: the only source of chance.
        timelines: of one recording, or of two for the skill "recording".
        durations_s: of the recordings, in seconds.
        labels: wrong options come from here, as often as a label stands in it: give each as often
            as scenes have it, speech too, or a frequent answer is known by its frequency.
        skill: one of :data:`SKILLS`; None: any that the recording allows.
        wordings: "train" leaves out the last wording of every form, "held_out" uses nothing else.
        sentences: wrong options for what was said; without them it has no choices.

    Returns:
        None where the recording doesn't allow the skill beyond dispute.

    Raises:
        UsageError: an unknown skill or wording, or not one or two recordings with durations.
    """
    if skill is not None and skill not in _MAKERS:
        raise UsageError("skill", expected=f"one of {', '.join(SKILLS)}", got=repr(skill))
    if wordings not in ("train", "all", "held_out"):
        raise UsageError("wordings", expected="train, all or held_out", got=repr(wordings))
    if not (1 <= len(timelines) == len(durations_s) <= 2):
        got = f"{len(timelines)} and {len(durations_s)}"
        raise UsageError("recordings", expected="one or two, a duration for each", got=got)
    heard = [_Heard(*pair) for pair in zip(timelines, durations_s, strict=True)]
    desk = _Desk(rng, heard, labels, sentences)
    paired = len(heard) == 2
    if skill is not None:
        tries = [skill]
    else:
        rates = dict.fromkeys(SKILLS, 1.0) | {"nothing": _NOTHING_RATE[not heard[0].events]}
        # Of clocks that run at these rates, who rings first?
        tries = sorted(SKILLS, key=lambda each: float(rng.exponential()) / rates[each])
    for each in tries:
        draft = _MAKERS[each](desk) if (each == _PAIRED) == paired else None
        if draft:
            text = desk.pick(worded(wordings, draft.form)).format(**(draft.words or {}))
            options = draft.options
            if options is not None and len(options) > 1 and each not in ONLY_CHOICES:
                options = desk.shuffled(options)
            choices = tuple(options) if options is not None and len(options) > 1 else None
            question = text[0].upper() + text[1:]
            return Asked(question, draft.answer, choices, each)
    return None


def chance(asked: Asked) -> float:
    """How often a guess among the choices is right, 0 to 1; 0 for a free answer."""
    return 1 / len(asked.choices) if asked.choices else 0.0
