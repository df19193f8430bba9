"""What a training run learns from: trees of recorded and imagined scenes, by step and place.

A tree depends on the seed, the step and its place in the batch alone, so a run that is resumed,
or spread over more processes, learns from the same ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import UsageError
from edge_alm.hearing.tracker import read_thresholds
from edge_alm.models import store
from edge_alm.models.projector_file import HOP_LEVELS
from edge_alm.reasoning.asked import asked_phrases
from edge_alm.reasoning.prompts import one_line, recording_line
from edge_alm.reasoning.stretches import Stretches
from export.contrasts import contrast
from export.imagined import Imagination, phrases
from export.questions import ONLY_CHOICES, Asked, ask
from export.recordings import Recording, read_recordings
from export.replay import FAMILIES, Likeness, replay
from export.scenes import Placed
from export.trees import Branch, Item, Tokenize, Tree, TreeMaker
from export.wordings import WORDINGS

INPUTS = ("both", "soft", "text")
SHARES = (
    "imagined",
    "drop_text",
    "drop_soft",
    "two_recordings",
    "earlier_turns",
    "thoughts",
    "contrasts",
    "choices",
    "long",
    "likeness",
    "seek",
    "renamed",
)
NAMES = ("kitchen", "street", "garden", "office", "morning", "evening", "a", "b", "one", "two")
SPEECH = "speech"
_DISTRACTORS = 48
_ATTEMPTS = 40
LONGEST_S = 600.0
LONG_FROM_S = 60.0
LONG_SKILLS = ("where", "where", "which", "present", "last", "after", "nothing")
"""Asked about what lies in a long quiet: little else is different there."""
_TIMES = re.compile(r"^\[(\d+\.\d)(-\d+\.\d)?")


@dataclass(frozen=True, slots=True)
class LessonsConfig:
    """What is learnt from.

    Raises:
        ValueError: a share is not between 0 and 1, or something else is out of range.
    """

    train: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    """Of the folders in what is learnt; without them every scene is as likely."""
    imagined: float = 0.0
    inputs: str = "both"
    drop_text: float = 0.0
    drop_soft: float = 0.0
    two_recordings: float = 0.0
    earlier_turns: float = 0.0
    thoughts: float = 0.0
    contrasts: float = 0.0
    long: float = 0.0
    """Scenes that lie somewhere in up to :data:`LONGEST_S` of quiet."""
    towers: str = ""
    """Folder of :mod:`export.likeness`; empty: what was heard is not compared with phrases."""
    likeness: float = 1.0
    """Scenes with timed text that are compared with the phrases of their questions."""
    questions: int = 6
    skills: tuple[str, ...] = ()
    """Of the questions; without them all."""
    sought: tuple[str, ...] = ()
    """Skills that few scenes allow, like "loudest", which wants one beyond dispute."""
    seek: float = 0.0
    """Scenes of one recording that are drawn until one allows a question of ``sought``."""
    renamed: float = 0.0
    """Scenes compared with phrases whose sounds have each other's names: only the line before a
    question tells them. Meant to keep sounds that it knows by heart from standing in for that
    line."""
    choices: float = 1.0
    longest_tokens: int = 700

    def __post_init__(self) -> None:
        if self.inputs not in INPUTS:
            raise ValueError(f"inputs: one of {', '.join(INPUTS)}, got {self.inputs!r}")
        for name in SHARES:
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name}: between 0 and 1, got {getattr(self, name)}")
        if self.drop_text + self.drop_soft > 1.0:
            raise ValueError("drop_text and drop_soft: together at most 1")
        if self.shares and len(self.shares) != len(self.train):
            raise ValueError(f"shares: one for each of train's, got {len(self.shares)}")
        if any(share < 0 for share in self.shares) or (self.shares and not sum(self.shares)):
            raise ValueError(f"shares: not negative, not all 0, got {self.shares}")
        if self.questions < 1:
            raise ValueError(f"questions: at least 1, got {self.questions}")
        if self.seek and not self.sought:
            raise ValueError("seek: skills that are sought, got none")
        if self.renamed and not self.towers:
            raise ValueError("renamed: towers that compare sounds with phrases, got none")


class Lessons:
    """Trees for training.

    Raises:
        UsageError: there are no recorded scenes, or none with a sound in it, or they were heard
            with different encoders.
    """

    def __init__(
        self, config: LessonsConfig, maker: TreeMaker, tokenize: Tokenize, seed: int
    ) -> None:
        self._config, self._maker, self._tokenize, self._seed = config, maker, tokenize, seed
        folders = [read_recordings(Path(folder)) for folder in config.train]
        self._recordings = [recording for folder in folders for recording in folder]
        shares = config.shares or tuple(map(len, folders))
        each = [
            share / len(folder)
            for share, folder in zip(shares, folders, strict=True)
            for _ in folder
        ]
        self._edges = np.cumsum(each)
        """A scene's share ends here, on a scale on which all shares follow each other."""
        if not self._recordings:
            raise UsageError("data.train", expected="folders of recorded scenes", got="none")
        heard = [item for r in self._recordings for item in r.items if not isinstance(item, str)]
        placed = [each for r in self._recordings for each in r.timeline]
        widths = {hops.shape[1] for hops in heard}
        if len(widths) != 1 or not placed:
            got = f"embeddings of widths {sorted(widths)}, {len(placed)} sounds"
            raise UsageError("data.train", expected="sounds heard by one encoder", got=got)
        self.n_in = int(widths.pop())
        """Width of the encoder's embeddings."""
        self._labels = [each.label for each in placed]
        self._nameable = sorted(filter(_is_phrase, set(self._labels) - {SPEECH}))
        self._sentences = sorted({each.text for each in placed if each.text})
        self._likeness = Likeness(Path(config.towers)) if config.towers else None
        self._imagination: Imagination | None = None
        self._phrases: list[str] = []
        if config.imagined:
            rng = np.random.default_rng(seed)
            pool = np.concatenate([heard[i] for i in rng.permutation(len(heard))[:4000]])
            folder = store.locate("yamnet")
            self._imagination = Imagination(
                folder / "yamnet.onnx",
                folder / "yamnet_class_map.csv",
                read_thresholds(),
                pool[:, :-HOP_LEVELS].astype(np.float32),
            )
            names = self._imagination.names
            self._phrases = [each for name in names for each in phrases(name)]

    def tree(self, step: int, place: int) -> Tree:
        """The tree at a place of a step's batch."""
        rng = np.random.default_rng((self._seed, step, place))
        for _ in range(_ATTEMPTS):
            tree = self._try(rng)
            if tree is not None and len(tree) <= self._config.longest_tokens:
                return tree
        raise UsageError(
            "data.longest_tokens", expected="room for a scene", got=str(self._config.longest_tokens)
        )

    def _try(self, rng: np.random.Generator) -> Tree | None:
        config = self._config
        renamed = bool(config.renamed) and rng.random() < config.renamed
        exchanged = self._exchange(rng) if renamed else {}
        recordings = [self._recording(rng, exchanged)]
        if rng.random() < config.two_recordings:
            recordings.append(self._recording(rng, exchanged))
        pool: Sequence[str] = self._labels
        if self._imagination and rng.random() < 0.5:
            pool = self._phrases
        drawn = [pool[i] for i in rng.integers(len(pool), size=_DISTRACTORS)]
        labels = [exchanged.get(label, label) for label in drawn]
        sentences = [
            self._sentences[i] for i in rng.permutation(len(self._sentences))[:_DISTRACTORS]
        ]
        found: Asked | None = None
        if len(recordings) == 1 and config.seek and rng.random() < config.seek:
            recordings[0], found = self._seek(rng, labels, sentences, exchanged)
        timelines = [r.timeline for r in recordings]
        durations_s = [r.duration_s for r in recordings]

        def questions(n: int) -> dict[str, Asked]:
            made: dict[str, Asked] = {}
            for _ in range(3 * n):
                if len(made) < n and (
                    one := ask(
                        rng,
                        timelines,
                        durations_s,
                        labels,
                        sentences=sentences,
                        skill=self._skill(rng, durations_s),
                    )
                ):
                    made.setdefault(one.question, one)
            return made

        by_question = questions(config.questions - (found is not None))
        if found:
            by_question.setdefault(found.question, found)
        # Nothing tells a new name but a line about choices.
        asked = [one for one in by_question.values() if one.choices or not renamed]
        if not asked:
            return None
        turns: list[tuple[str, str]] = []
        if rng.random() < config.earlier_turns:
            turns = [
                (one.question, one.answer)
                for one in questions(int(rng.integers(1, 3))).values()
                if one.skill not in ONLY_CHOICES
            ]
        think = rng.random() < config.thoughts and not renamed
        names = [f"{NAMES[i]}.wav" for i in rng.permutation(len(NAMES))[: len(recordings)]]
        chance = rng.random()
        drop_text, drop_soft = chance < config.drop_text, chance > 1.0 - config.drop_soft
        drop_text = drop_text and not renamed
        stretches = None if drop_text else self._stretches(recordings, names, rng, exchanged)
        branches = [
            self._branch(
                one,
                timelines if think else (),
                stretches,
                choose=renamed or config.choices == 1.0 or rng.random() < config.choices,
                write=not renamed,
            )
            for one in asked
        ]
        captions = contrast(rng, timelines[0]) if len(recordings) == 1 else None
        if captions and rng.random() < config.contrasts:
            wordings = WORDINGS["caption"][:-1]
            wording = wordings[rng.integers(len(wordings))]
            lines = stretches.lines(wording, sorted(captions)) if stretches else ()
            branches.append(Branch(wording, captions, 0, write=False, lines=tuple(lines)))
        items = self._items(recordings, names, drop_text=drop_text, drop_soft=drop_soft)
        return (
            None
            if items is None
            else self._maker.make(items, branches, turns, heard_s=durations_s[-1])
        )

    def _seek(
        self,
        rng: np.random.Generator,
        labels: Sequence[str],
        sentences: Sequence[str],
        exchanged: Mapping[str, str],
    ) -> tuple[Recording, Asked | None]:
        """A scene that allows one of the skills that are sought, and its question; after many tries
        another, and None."""
        skill = self._config.sought[rng.integers(len(self._config.sought))]
        for _ in range(_ATTEMPTS):
            recording = self._recording(rng, exchanged)
            timelines, durations_s = [recording.timeline], [recording.duration_s]
            if asked := ask(rng, timelines, durations_s, labels, sentences=sentences, skill=skill):
                return recording, asked
        return recording, None

    def _skill(self, rng: np.random.Generator, durations_s: Sequence[float]) -> str | None:
        if len(durations_s) > 1:
            return None  # one skill alone takes two recordings
        skills = LONG_SKILLS if durations_s[0] > LONG_FROM_S else self._config.skills
        return skills[rng.integers(len(skills))] if skills else None

    def _exchange(self, rng: np.random.Generator) -> dict[str, str]:
        """Labels in pairs that have each other's names."""
        order = [self._nameable[i] for i in rng.permutation(len(self._nameable))]
        pairs = list(zip(order[::2], order[1::2], strict=False))
        return dict(pairs) | {b: a for a, b in pairs}

    def _recording(self, rng: np.random.Generator, exchanged: Mapping[str, str]) -> Recording:
        found = self._draw(rng)
        return replace(found, timeline=_named(found.timeline, exchanged)) if exchanged else found

    def _draw(self, rng: np.random.Generator) -> Recording:
        if self._imagination and rng.random() < self._config.imagined:
            return self._imagination.scene(rng)
        drawn = rng.random() * self._edges[-1]
        found = self._recordings[int(np.searchsorted(self._edges[:-1], drawn, side="right"))]
        if rng.random() < self._config.long and found.duration_s < LONGEST_S:
            duration_s = round(rng.uniform(found.duration_s, LONGEST_S), 1)
            found = within(found, rng.uniform(0.0, duration_s - found.duration_s), duration_s)
        return found

    def _stretches(
        self,
        recordings: Sequence[Recording],
        names: Sequence[str],
        rng: np.random.Generator,
        exchanged: Mapping[str, str],
    ) -> Stretches | None:
        """The scene as phrases are compared with it; None where they are not."""
        if self._likeness is None or (rng.random() >= self._config.likeness and not exchanged):
            return None
        timelines = iter([_named(recording.timeline, exchanged) for recording in recordings])
        family = FAMILIES[rng.integers(len(FAMILIES))]
        phrases_of = {one.lower(): other.lower() for one, other in exchanged.items()}
        stretches = self._likeness.stretches(timelines, family, phrases_of)
        for recording, name in zip(recordings, names, strict=True):
            if len(recordings) > 1:
                stretches.begin_recording(name)
            replay(recording.items, stretches)
        return stretches

    def _branch(
        self,
        asked: Asked,
        thought: Sequence[Sequence[Placed]],
        stretches: Stretches | None,
        *,
        choose: bool,
        write: bool,
    ) -> Branch:
        choose = choose or asked.skill in ONLY_CHOICES
        given = asked.choices if choose else None
        options = tuple(option.lower() for option in given or (asked.answer,))
        lines = stretches.lines(asked.question, sorted(given or ())) if stretches else ()
        return Branch(
            asked.question,
            options,
            (given or (asked.answer,)).index(asked.answer),
            "; ".join(heard_in_order(timeline) for timeline in thought),
            write and asked.skill not in ONLY_CHOICES,
            tuple(lines),
        )

    def _items(
        self,
        recordings: Sequence[Recording],
        names: Sequence[str],
        *,
        drop_text: bool,
        drop_soft: bool,
    ) -> list[Item] | None:
        """What is given of them; None where one has sounds, but nothing of a sole kind of input."""
        config = self._config
        items: list[Item] = []
        for recording, name in zip(recordings, names, strict=True):
            if len(recordings) > 1:
                items.append(recording_line(name))
            if config.inputs == "both":
                items += thinned(recording.items, text=drop_text, soft=drop_soft)
            elif (kept := only(recording, config.inputs)) is not None:
                items += kept
            else:
                return None
        return items

    def named_hops(self) -> tuple[NDArray[np.float16], list[list[int]]]:
        """Hops [n, n_in] of scenes with one kind of sound, and the tokens of its label."""
        hops, words = [], []
        rng = np.random.default_rng(self._seed)
        scenes = list(self._recordings)
        if self._imagination:
            scenes += [self._imagination.scene(rng) for _ in range(len(scenes))]
        for recording in scenes:
            labels = {placed.label for placed in recording.timeline} - {SPEECH}
            if len(labels) != 1:
                continue
            tokens = self._tokenize(f" {one_line(labels.pop())}", False)
            for item in recording.items:
                if not isinstance(item, str):
                    hops.append(item)
                    words += [tokens] * len(item)
        return np.concatenate(hops), words


def _is_phrase(label: str) -> bool:
    """Whether it is compared whole, in a question and among its choices."""
    return asked_phrases(label) == ([], [label]) and asked_phrases("", [label]) == ([label], [])


def within(recording: Recording, by_s: float, duration_s: float) -> Recording:
    """A longer recording, quiet but for the one given, which begins ``by_s`` after its start."""
    by_s = round(by_s, 1)

    def later(times: re.Match[str]) -> str:
        start, end = times.groups()
        text = f"[{float(start) + by_s:.1f}"
        return text if end is None else f"{text}-{float(end[1:]) + by_s:.1f}"

    items = tuple(_TIMES.sub(later, i) if isinstance(i, str) else i for i in recording.items)
    timeline = tuple(
        replace(placed, start_s=placed.start_s + by_s, end_s=placed.end_s + by_s)
        for placed in recording.timeline
    )
    return Recording(items, timeline, duration_s)


def _named(timeline: Sequence[Placed], names: Mapping[str, str]) -> tuple[Placed, ...]:
    """The same sounds by other names; those that have none keep theirs."""
    return tuple(replace(each, label=names.get(each.label, each.label)) for each in timeline)


def heard_in_order(timeline: Sequence[Placed]) -> str:
    """What a model that thinks first writes: every sound as often as it came; or "nothing"."""
    return ", ".join(placed.label for placed in timeline) or "nothing"


def thinned(items: Sequence[Item], *, text: bool, soft: bool) -> list[Item]:
    """A scene without the lines of its sounds (``text``), or without soft tokens and their marks.

    One of which nothing would be left stays whole: it would be told to be empty.
    """
    kept = [
        item
        for item in items
        if not (text and is_sound_line(item)) and not (soft and is_soft(item))
    ]
    return kept if any(not is_mark(item) for item in kept) else list(items)


def only(recording: Recording, inputs: str) -> list[Item] | None:
    """What a recording gives to one kind of input; None where it has sounds, but nothing of it."""
    text, soft = inputs == "soft", inputs == "text"
    kept = thinned(recording.items, text=text, soft=soft)
    if any((text and is_sound_line(item)) or (soft and is_soft(item)) for item in kept):
        return None if recording.timeline else []
    return kept


def is_sound_line(item: Item) -> bool:
    """``[12.5-14.0 dog bark]``, not what was said."""
    return isinstance(item, str) and item.endswith("]\n") and '"' not in item


def is_mark(item: Item) -> bool:
    """``[12.5]`` before soft tokens."""
    return isinstance(item, str) and item.endswith("]")


def is_soft(item: Item) -> bool:
    """Soft tokens or their mark."""
    return not isinstance(item, str) or is_mark(item)


class Curriculum:
    """Lessons one after the other: simple scenes first.

    With all kinds of scenes and questions from the start, 150 steps taught nothing but the form of
    an answer: 43 % of the choices right, as by guessing. 75 steps of captions of one to three of
    ten sounds took a model from 57 to 71 %, the order of sounds it had never heard to 95 %.

    Args:
        phases: the step at which each ends, and what is learnt in it; the last one stays.
    """

    def __init__(
        self,
        phases: Sequence[tuple[int, LessonsConfig]],
        maker: TreeMaker,
        tokenize: Tokenize,
        seed: int,
    ) -> None:
        made: dict[LessonsConfig, Lessons] = {}
        for _, config in phases:
            if config not in made:
                made[config] = Lessons(config, maker, tokenize, seed)
        self._phases = [(until, made[config]) for until, config in phases]
        widths = {lessons.n_in for lessons in made.values()}
        if len(widths) != 1:
            raise UsageError(
                "phases", expected="scenes heard by one encoder", got=f"widths {sorted(widths)}"
            )
        self.n_in = widths.pop()
        """Width of the encoder's embeddings."""

    def tree(self, step: int, place: int) -> Tree:
        """The tree at a place of a step's batch."""
        for until, lessons in self._phases:
            if step < until:
                return lessons.tree(step, place)
        return self._phases[-1][1].tree(step, place)

    def named_hops(self) -> tuple[NDArray[np.float16], list[list[int]]]:
        """Of the last phase, which knows the most."""
        return self._phases[-1][1].named_hops()
