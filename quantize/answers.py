"""What a bundle answers when one of its models is replaced.

Scenes of recordings that no training heard (:mod:`export.evaluation`) are heard once for each
encoder; what reached the language model is kept and read again by each language model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_alm.audio.memory import MemoryAudio
from edge_alm.errors import UsageError
from edge_alm.models.bundle import Bundle
from edge_alm.questions import normalise
from edge_alm.reasoning.reasoner import LocalReasoner
from edge_alm.runtime import Ears
from edge_alm.types import Answer, Event, Guess
from export.corpus import read_corpus
from export.evaluation import Case, choose_clips, make_case

SET = "esc10"
EMPTY = "empty"
EMPTY_SHARE = 0.2
"""Of the scenes: silence, room tone, white noise, for what is invented there."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A scene as it reached the language model, and the questions about it."""

    case: Case
    calls: tuple[tuple[str, tuple[Any, ...]], ...]
    """Methods of a reasoner and their arguments."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Of one language model."""

    right: tuple[bool, ...]
    """Of every question with choices about a scene of sounds."""
    given: tuple[str, ...]
    """The same questions' answers."""
    invented: tuple[bool, ...]
    """Of every question about an empty recording: whether something was named in it."""

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return float(np.mean(self.right))

    @property
    def invented_share(self) -> float:
        """Share of wrong answers about nothing."""
        return float(np.mean(self.invented)) if self.invented else 0.0


def make_cases(esc10: Path, scenes: int) -> list[Case]:
    """Scenes with sounds, and a fifth as many without.

    Raises:
        UsageError: ESC-10 is not on this machine.
    """
    if not (esc10 / "clips.csv").is_file():
        raise UsageError(str(esc10), expected="ESC-10's clips", got="none")
    clips = choose_clips(SET, read_corpus(Path("build/corpus"), esc10))
    empty = max(3, round(EMPTY_SHARE * scenes))
    cases = [make_case(SET, clips, number) for number in range(scenes)]
    return cases + [make_case(EMPTY, clips, number) for number in range(empty)]


class Recorder:
    """A reasoner that answers nothing and remembers what it was told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def append_event(self, event: Event) -> None:
        """Remember it."""
        self.calls.append(("append_event", (event,)))

    def append_guess(self, guess: Guess) -> None:
        """Remember it."""
        self.calls.append(("append_guess", (guess,)))

    def append_embeddings(
        self, embeddings: NDArray[np.float32], start_s: float, end_s: float
    ) -> None:
        """Remember them."""
        self.calls.append(("append_embeddings", (embeddings, start_s, end_s)))

    def begin_recording(self, name: str) -> None:
        """Remember it."""
        self.calls.append(("begin_recording", (name,)))

    def begin_stream(self) -> None:
        """Remember it."""
        self.calls.append(("begin_stream", ()))

    def flush(self) -> None:
        """Nothing is left to do."""

    def ask(self, question: str, **_: Any) -> Answer:
        """Nobody asks."""
        raise UsageError("question", expected="a language model", got="a recorder")

    def reset(self) -> None:
        """Forget all."""
        self.calls = []

    def close(self) -> None:
        """Nothing is held."""


def hear(bundle: Bundle, cases: Sequence[Case]) -> list[Heard]:
    """Let a bundle hear the cases; speech stays untold."""
    recorder = Recorder()
    found = []
    with Ears(replace(bundle, transcriber=None), reasoner=lambda: recorder) as ears:
        for case in cases:
            ears.reset()
            for name, scene in zip("ab", case.recordings, strict=False):
                if len(case.recordings) > 1:
                    ears.begin_recording(f"{name}.wav")
                for _ in ears.listen(MemoryAudio(scene.samples)):
                    pass
            ears.flush()
            found.append(Heard(case, tuple(recorder.calls)))
    return found


def open_reasoner(bundle: Bundle, model: Path) -> LocalReasoner:
    """A bundle's reasoner with ``model`` for its language model, on one thread."""
    return LocalReasoner(
        model,
        projector=bundle.projector,
        adapter=bundle.adapter,
        phrases=bundle.phrases,
        sentences=bundle.sentences,
        trained=bundle.scene_format is not None,
        prior_weight=bundle.prior_weight,
        n_ctx=bundle.context_tokens,
        n_threads=1,
    )


def answer(reasoner: LocalReasoner, scenes: Sequence[Heard]) -> Answers:
    """Ask every question with choices about every scene."""
    right, given, invented = [], [], []
    for heard in scenes:
        reasoner.reset()
        for name, arguments in heard.calls:
            method: Callable[..., None] = getattr(reasoner, name)
            method(*arguments)
        for asked, text in _ask(reasoner, heard.case):
            is_right = normalise(text) == normalise(asked)
            if heard.case.kind == SET:
                right.append(is_right)
                given.append(text)
            else:
                invented.append(not is_right)
    return Answers(tuple(right), tuple(given), tuple(invented))


def _ask(reasoner: LocalReasoner, case: Case) -> Iterator[tuple[str, str]]:
    """The right answer and the one given."""
    for asked in case.asked:
        if asked.choices:
            yield asked.answer, reasoner.ask(asked.question, choices=asked.choices).text
