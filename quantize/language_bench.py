"""Everything that is measured of language models, on the same text and the same scenes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_alm.models.bundle import Bundle
from edge_alm.reasoning.llama import LlamaContext
from quantize import answers
from quantize.scene_texts import HELD_OUT_SEED, scene_texts
from quantize.timing import peak_bytes, time_in_turn
from quantize.verdict import Figures

TEXTS = 24
"""About 3,000 tokens of scenes, questions and answers."""
TIMED_TOKENS = 60
_N_CTX = 2048


@dataclass(frozen=True, slots=True)
class Reading:
    """What a model expected of the held-out texts."""

    log_likelihoods: NDArray[np.float64]
    """Of each token, natural logarithm [n]."""
    best: NDArray[np.int64]
    """The likeliest token in its place [n]."""

    @property
    def perplexity(self) -> float:
        """exp of the mean negative log likelihood."""
        return float(np.exp(-self.log_likelihoods.mean()))


class LanguageBench:
    """Measures language models against the first of them, on one thread.

    Args:
        adapter: a LoRA adapter that they run with, or None.
        bundle: whose encoder, projector and adapter answer with each model; None: no answers.
        scenes: what the bundle heard.
        texts: number of held-out texts.
    """

    def __init__(
        self,
        adapter: Path | None,
        bundle: Bundle | None = None,
        scenes: Sequence[answers.Heard] = (),
        texts: int = TEXTS,
    ) -> None:
        self._adapter, self._bundle, self._scenes = adapter, bundle, scenes
        self._texts = texts

    def measure(self, models: Sequence[Path], timed_tokens: int = TIMED_TOKENS) -> list[Figures]:
        """Figures of the models; the first is the float one.

        Raises:
            ModelMissingError, ModelBrokenError, RefusedError: one does not run.
        """
        with contextlib.ExitStack() as stack:
            contexts = [stack.enter_context(self._open(model)) for model in models]
            texts = [*scene_texts(contexts[0], self._texts, HELD_OUT_SEED)]
            readings = [read(context, texts) for context in contexts]
            jobs: list[Callable[[int], object]] = [partial(_write, c) for c in contexts]
            latencies = time_in_turn(jobs, timed_tokens)
        figures = [
            Figures(
                bytes=model.stat().st_size,
                median_ms=latency.median_ms,
                p95_ms=latency.p95_ms,
                best_ms=latency.best_ms,
                peak_bytes=peak_bytes(self._probe(model), model),
                top1=float(np.mean(reading.best == readings[0].best)),
                perplexity=reading.perplexity,
            )
            for model, latency, reading in zip(models, latencies, readings, strict=True)
        ]
        return [self._with_answers(*pair) for pair in zip(models, figures, strict=True)]

    def _open(self, model: Path) -> LlamaContext:
        return LlamaContext(model, n_ctx=_N_CTX, n_threads=1, adapter=self._adapter)

    def _probe(self, model: Path) -> str:
        adapter = str(self._adapter.absolute()) if self._adapter else None
        return (
            "from pathlib import Path\n"
            "from quantize.language_bench import load_once\n"
            f"load_once({str(model.absolute())!r}, {adapter!r})"
        )

    def _with_answers(self, model: Path, figures: Figures) -> Figures:
        if self._bundle is None or not self._scenes:
            return figures
        reasoner = answers.open_reasoner(self._bundle, model)
        try:
            given = answers.answer(reasoner, self._scenes)
        finally:
            reasoner.close()
        return replace(
            figures,
            answers=given.accuracy,
            answers_n=len(given.right),
            invented=given.invented_share,
        )


def read(context: LlamaContext, texts: Sequence[tuple[list[int], int]]) -> Reading:
    """What a model expects of each text, from where the scene begins."""
    likelihoods, best = [], []
    for tokens, start in texts:
        tokens = tokens[: context.n_ctx]
        context.clear()
        for at in range(0, len(tokens), context.n_batch):
            part = tokens[at : at + context.n_batch]
            n = len(part)
            logits = context.decode(part, range(at, at + n), [0] * n, [True] * n)
            for row, place in zip(logits, range(at + 1, at + n + 1), strict=True):
                if start <= place < len(tokens):
                    values = row.astype(np.float64)
                    highest = values.max()
                    total = highest + np.log(np.exp(values - highest).sum())
                    likelihoods.append(values[tokens[place]] - total)
                    best.append(int(row.argmax()))
    return Reading(np.array(likelihoods), np.array(best))


def load_once(model: str, adapter: str | None) -> None:
    """Load a model as it is used and run it over one full batch."""
    with LlamaContext(
        Path(model), n_ctx=_N_CTX, n_threads=1, adapter=Path(adapter) if adapter else None
    ) as context:
        n = context.n_batch
        context.decode([1] * n, range(n), [0] * n, [False] * (n - 1) + [True])


def _write(context: LlamaContext, i: int) -> object:
    """One token after a prompt of 64, as an answer is written."""
    if i == 0:
        context.clear()
        n = min(64, context.n_batch)
        context.decode([1] * n, range(n), [0] * n, [False] * (n - 1) + [True])
    _, end = context.span(0)
    return context.decode([1], [end], [0], [True])
