"""A small evaluation on real sounds that no training heard: what may not be lost again.

Two minutes on two x86 cores. ``python -m benchmarks.hearing`` is the whole one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Require

import edge_alm
from edge_alm.audio.memory import MemoryAudio
from edge_alm.models.bundle import load_bundle
from edge_alm.runtime import Ears
from export.corpus import Clip, read_corpus
from export.evaluation import EMPTY_KINDS, NAMES, Case, choose_clips, make_case

FLOOR = 0.8
"""Share of right choices on ESC-10's scenes: the 0.90 of the benchmark, less three standard
errors of as many answers, rounded down."""
SCENES, QUESTIONS = 16, 8
EMPTY_SCENES = 6
SEED = 1
"""Not the benchmark's."""


@pytest.fixture(scope="module")
def ears(models: Path, require: Require) -> Iterator[Ears]:
    require("llama_cpp", "the extra llm")
    with edge_alm.load() as ears:
        yield ears


@pytest.fixture(scope="module")
def clips(esc10: Path) -> list[Clip]:
    return read_corpus(Path("none"), esc10)


def hear(ears: Ears, case: Case) -> None:
    ears.reset()
    for name, scene in zip(NAMES, case.recordings, strict=False):
        if len(case.recordings) > 1:
            ears.begin_recording(name)
        for _ in ears.listen(MemoryAudio(scene.samples)):
            pass
    ears.flush()


def test_the_golden_clip_is_answered_as_when_the_bundle_was_made(ears: Ears) -> None:
    golden = load_bundle().golden
    assert golden is not None
    ears.reset()
    for _ in ears.listen(golden.clip):
        pass
    answer = ears.ask(golden.question, choices=list(golden.scores))
    assert answer.choice == golden.answer
    assert abs(answer.confidence - golden.scores[golden.answer]) <= golden.tolerance


def test_choices_about_unseen_recordings_are_mostly_right(ears: Ears, clips: list[Clip]) -> None:
    chosen = choose_clips("esc10", clips)
    rights, wrong = [], []
    for number in range(SCENES):
        case = make_case("esc10", chosen, number, seed=SEED, questions=QUESTIONS)
        hear(ears, case)
        for asked in case.asked:
            if asked.choices:
                given = ears.ask(asked.question, choices=asked.choices).choice
                rights.append(given == asked.answer)
                if given != asked.answer:
                    wrong.append(f"{asked.skill}: {asked.answer}, got {given}")
    assert len(rights) > SCENES * QUESTIONS / 2
    assert sum(rights) / len(rights) >= FLOOR, "\n".join(wrong)


def test_the_order_of_choices_does_not_matter(ears: Ears, clips: list[Clip]) -> None:
    case = make_case("clips", choose_clips("clips", clips), 0, seed=SEED)
    hear(ears, case)
    asked = next(asked for asked in case.asked if asked.skill == "which")
    orders = itertools.permutations(asked.choices or ())
    assert len({ears.ask(asked.question, choices=order).choice for order in orders}) == 1


def test_nothing_is_invented_where_nothing_is(ears: Ears, clips: list[Clip]) -> None:
    chosen = choose_clips("empty", clips)
    invented = []
    for number in range(EMPTY_SCENES):
        case = make_case("empty", chosen, number, seed=SEED)
        assert case.kind == EMPTY_KINDS[number % len(EMPTY_KINDS)]
        hear(ears, case)
        for asked in case.asked:
            answer = ears.ask(asked.question, choices=asked.choices).text
            if answer != asked.answer:
                invented.append(f"{case.kind}: {asked.question} {answer}")
    assert invented == []
