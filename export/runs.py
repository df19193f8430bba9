"""A training run read back: its checkpoint, its model, and a judge by it."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edge_alm.errors import UsageError
from edge_alm.reasoning import evidence
from edge_alm.reasoning.phrases import Phrases
from edge_alm.reasoning.stretches import Stretches
from export.hearing_model import HearingModel, build, load_language_model, load_weights
from export.replay import replay
from export.settings import ModelConfig
from export.trees import Branch, Item, Tokenize, TreeMaker

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"


def read_checkpoint(run: Path) -> dict[str, Any]:
    """What a run saved last: step, config, weights and the optimizer's state.

    Raises:
        UsageError: no checkpoint there, or a damaged one.
    """
    path = run / CHECKPOINT
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if missing := {"step", "config", "weights", "optimizer"} - state.keys():
            raise ValueError(f"one without {sorted(missing)[0]}")
    except OSError as error:
        raise UsageError(str(run), expected="a training run", got=str(error)) from error
    except (RuntimeError, ValueError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        got = f"{type(error).__name__}: {str(error)[:80]}"
        raise UsageError(str(path), expected="a checkpoint", got=got) from error
    return dict(state)


class Judge:
    """A trained model in float, to compare the deployed one with."""

    def __init__(
        self, model: HearingModel, maker: TreeMaker, phrases: Phrases | None = None
    ) -> None:
        self._model, self._maker, self._phrases = model.eval(), maker, phrases

    def choose(
        self, items: Sequence[Item], question: str, choices: Sequence[str], heard_s: float
    ) -> int:
        """Index of the likeliest choice about a scene of ``heard_s``."""
        options = tuple(choice.lower() for choice in choices)
        lines: list[str] = []
        sure = None
        if self._phrases:
            stretches = Stretches(self._phrases)
            replay(items, stretches)
            lines = stretches.lines(question, choices)
            sure = stretches.weigh(question, choices, now_s=heard_s)
        branch = Branch(question, options, 0, write=False, lines=tuple(lines))
        tree = self._maker.make(items, [branch], heard_s=heard_s)
        with torch.no_grad():
            (scores,) = self._model([tree])
        sums = torch.zeros(tree.continuations).index_add(
            0, torch.tensor(tree.continuation), scores.cpu()
        )
        if sure is not None:
            sums += evidence.WEIGHT * torch.from_numpy(sure)
        return int(sums.argmax())


@dataclass(frozen=True, slots=True)
class Run:
    """A training run, read back."""

    model: HearingModel
    tokenize: Tokenize
    step: int
    config: dict[str, Any]

    @property
    def slots(self) -> int:
        """Soft tokens of each run of hops, as :class:`export.trees.TreeMaker` wants them."""
        return int(self.config["model"].get("queries", 0))


def load_run(run: Path, model: Path) -> Run:
    """The model of a run's last checkpoint, on the CPU in float32.

    Args:
        run: the folder that was trained in.
        model: the language model that it was trained on.

    Raises:
        UsageError: no checkpoint, or one of another model.
    """
    state = read_checkpoint(run)
    language_model, tokenize = load_language_model(model)
    n_in = len(state["weights"].get("projector.ln.weight", ()))
    hearing = build(language_model, n_in, ModelConfig(**state["config"]["model"]), 0)
    load_weights(hearing, state["weights"])
    return Run(hearing, tokenize, int(state["step"]), state["config"])


def load_float(
    run: Path, model: Path, phrases: Path | None = None, sentences: Path | None = None
) -> Judge:
    """A run's model as it was trained, to compare the deployed one with."""
    found = load_run(run, model)
    maker = TreeMaker(found.tokenize, slots=found.slots)
    return Judge(found.model, maker, Phrases(phrases, sentences) if phrases else None)
