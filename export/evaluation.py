"""Sets of questions about composed scenes of recordings that no training saw.

    python -m export.evaluation --set esc10 --scenes 100 --out build/evaluation/esc10 \\
        --corpus build/corpus --esc10 ../shared/data/esc10

writes ``NNNN/a.wav`` (of a pair of recordings also ``b.wav``) and ``questions.jsonl``, so that
``edge-alm eval build/evaluation/esc10/questions.jsonl`` scores them. A case depends on the set,
the seed and its number alone, and its samples have 16 bits already: what is answered in memory
and what is answered from disk is the same.
"""

from __future__ import annotations

import argparse
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from edge_alm.errors import EdgeAlmError, UsageError
from edge_alm.types import SAMPLE_RATE_HZ
from export.corpus import Clip, read_corpus
from export.questions import NOTHING, Asked, ask
from export.scenes import SPEECH, Recipe, Scene, compose
from export.wordings import WORDINGS

NAMES = ("a.wav", "b.wav")
"""Files of a case's recordings."""
QUESTIONS_FILE = "questions.jsonl"
Empty: TypeAlias = Literal["silence", "room tone", "white noise"]
EMPTY_KINDS: tuple[Empty, ...] = ("silence", "room tone", "white noise")
PAIR_EVERY = 8
"""One case in so many has two recordings, where the set has pairs."""
_ATTEMPTS = 20
_CHOICES = 4


@dataclass(frozen=True, slots=True)
class Plan:
    """What a set is made of."""

    corpora: tuple[str, ...]
    recipe: Recipe
    seen: bool | None = None
    """Only labels that training has (True) or has not (False)."""
    skills: tuple[str, ...] = ()
    """One question of each; empty: as many as are wanted, of any skill."""
    pairs: bool = False


SETS = {
    "esc10": Plan(("esc10",), Recipe.clean(), pairs=True),
    "debian-seen": Plan(("debian",), Recipe.clean(), seen=True, pairs=True),
    "debian-unseen": Plan(("debian",), Recipe.clean(), seen=False, pairs=True),
    "clips": Plan(
        ("esc10", "debian"),
        replace(Recipe.clean(), events=(0, 1), repeat=0.0, duration_s=(3.0, 8.0)),
        skills=("which", "present"),
    ),
    "long": Plan(("esc10",), Recipe.long(), skills=("which", "where")),
    "empty": Plan(("esc10", "debian"), Recipe.empty("silence")),
}


@dataclass(frozen=True, slots=True)
class Case:
    """One or two recordings and questions about them."""

    kind: str
    """The set, or what an empty recording has in place of sounds."""
    recordings: tuple[Scene, ...]
    asked: tuple[Asked, ...]
    """All different."""


def choose_clips(name: str, clips: Iterable[Clip], split: str = "dev") -> list[Clip]:
    """The clips of a split that a set is made of; speech and the reserved are never among them.

    Raises:
        UsageError: an unknown set, or no clips for it.
    """
    plan = _plan(name)
    chosen = [
        clip
        for clip in clips
        if clip.split == split
        and clip.corpus in plan.corpora
        and clip.label != SPEECH
        and (plan.seen is None or clip.seen == plan.seen or split == "train")
    ]
    if not chosen:
        raise UsageError(f"set {name}", expected=f"clips of its {split} split", got="none")
    return chosen


def make_case(
    name: str, clips: Sequence[Clip], number: int, *, seed: int = 0, questions: int = 8
) -> Case:
    """The ``number``-th case of a set, of clips from :func:`choose_clips`.

    Raises:
        UsageError: an unknown set, or clips that do not allow its questions.
    """
    plan = _plan(name)
    labels = sorted({clip.label for clip in clips})
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng((seed, zlib.crc32(name.encode()), number, attempt))
        if name == "empty":
            return _make_empty(rng, clips, labels, EMPTY_KINDS[number % len(EMPTY_KINDS)])
        count = 2 if plan.pairs and number % PAIR_EVERY == PAIR_EVERY - 1 else 1
        scenes = tuple(_compose(rng, clips, plan.recipe) for _ in range(count))
        asked = _ask(rng, scenes, labels, plan.skills, questions)
        if asked:
            return Case(name, scenes, asked)
    raise UsageError(f"set {name}", expected="scenes that allow its questions", got="none")


def _plan(name: str) -> Plan:
    if name not in SETS:
        raise UsageError("set", expected=f"one of {', '.join(SETS)}", got=repr(name))
    return SETS[name]


def _compose(rng: np.random.Generator, clips: Sequence[Clip], recipe: Recipe) -> Scene:
    scene = compose(rng, clips, recipe)
    # As a 16-bit file gives them back.
    pcm = np.round(scene.samples * 32_767)
    samples = np.asarray(pcm / 32_768, dtype=np.float32)
    return replace(scene, samples=samples)


def _ask(
    rng: np.random.Generator,
    scenes: Sequence[Scene],
    labels: Sequence[str],
    skills: Sequence[str],
    questions: int,
) -> tuple[Asked, ...]:
    """Different questions; with ``skills`` one of each, or none at all."""
    timelines = [scene.timeline for scene in scenes]
    durations_s = [scene.duration_s for scene in scenes]
    if skills:
        asked = [ask(rng, timelines, durations_s, labels, skill=skill) for skill in skills]
        return tuple(one for one in asked if one) if all(asked) else ()
    found: dict[str, Asked] = {}
    for _ in range(3 * questions):
        one = ask(rng, timelines, durations_s, labels, wordings="all")
        if one:
            found.setdefault(one.question, one)
        if len(found) == questions:
            break
    return tuple(found.values())


def _make_empty(
    rng: np.random.Generator, clips: Sequence[Clip], labels: Sequence[str], kind: Empty
) -> Case:
    """A recording of nothing: what is heard, freely and among choices, and what else is asked."""
    scene = _compose(rng, clips, Recipe.empty(kind))
    wordings = WORDINGS["what"]
    free, chosen = (wordings[i] for i in rng.permutation(len(wordings))[:2])
    invented = [labels[i] for i in rng.permutation(len(labels))[: _CHOICES - 1]]
    choices = [NOTHING, *invented]
    found = {
        free: Asked(free, NOTHING, None, "nothing"),
        chosen: Asked(chosen, NOTHING, tuple(rng.permutation(choices).tolist()), "nothing"),
    }
    for _ in range(2):
        one = ask(rng, [scene.timeline], [scene.duration_s], labels, skill="nothing")
        if one:
            found.setdefault(one.question, one)
    return Case(kind, (scene,), tuple(found.values()))


def make_set(
    name: str, clips: Iterable[Clip], scenes: int, *, seed: int = 0, questions: int = 8
) -> Iterator[Case]:
    """The first cases of a set, of all clips' dev split."""
    chosen = choose_clips(name, clips)
    for number in range(scenes):
        yield make_case(name, chosen, number, seed=seed, questions=questions)


def write_set(name: str, cases: Iterable[Case], out: Path) -> int:
    """Write recordings and, last, questions into a folder; returns the number of questions."""
    import soundfile

    lines = []
    for number, case in enumerate(cases):
        folder = out / f"{number:04}"
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for file, scene in zip(NAMES, case.recordings, strict=False):
            pcm = np.round(scene.samples * 32_768).astype(np.int16)
            soundfile.write(folder / file, pcm, SAMPLE_RATE_HZ, subtype="PCM_16")
            paths.append(f"{folder.name}/{file}")
        for i, asked in enumerate(case.asked):
            entry = {
                "id": f"{name}-{number:04}-{i}",
                "audio": paths[0] if len(paths) == 1 else paths,
                "question": asked.question,
                "choices": list(asked.choices) if asked.choices else None,
                "answer": asked.answer,
                "skill": asked.skill,
            }
            lines.append(json.dumps(entry, ensure_ascii=False) + "\n")
    partial = out / f"{QUESTIONS_FILE}.partial"
    partial.write_text("".join(lines), encoding="utf-8")
    partial.replace(out / QUESTIONS_FILE)
    return len(lines)


def main() -> None:
    """Write a set."""
    parser = argparse.ArgumentParser(prog="python -m export.evaluation")
    parser.add_argument("--set", choices=SETS, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--questions", type=int, default=8, help="about each scene")
    parser.add_argument("--corpus", type=Path, default=Path("build/corpus"))
    parser.add_argument("--esc10", type=Path, default=Path("../shared/data/esc10"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    try:
        clips = read_corpus(args.corpus, args.esc10)
        cases = make_set(args.set, clips, args.scenes, seed=args.seed, questions=args.questions)
        n = write_set(args.set, cases, args.out)
    except EdgeAlmError as error:
        raise SystemExit(f"evaluation: {error}") from error
    print(f"{n} questions in {args.out / QUESTIONS_FILE}")


if __name__ == "__main__":
    main()
