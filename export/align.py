"""Train the projector and the adapter that let a small language model hear.

    python -m export.align export/align.toml --model FOLDER_OR_GGUF --out build/align
    python -m export.align export/refine.toml ... --start BUNDLE     # go on from a bundle's weights
    accelerate launch -m export.align ...        # on several GPUs

The language model is frozen; an embedding of the sound encoder becomes a soft token through
LayerNorm, Linear, GELU, Linear, and low-rank adapters on all of the model's linear layers learn to
read it. Two losses: the right answer's tokens, and the right choice among the options by their
likelihoods, just as the device chooses. A run can be killed at any time; the same command goes
on from its last checkpoint, bit for bit as if nothing had happened.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edge_alm.errors import EdgeAlmError, UsageError
from edge_alm.models.bundle import load_bundle
from export.hearing_model import (
    HearingModel,
    build,
    causal_model,
    freeze_in_bf16,
    load_language_model,
    load_weights,
    trainable,
)
from export.lessons import Curriculum, Lessons
from export.runs import CHECKPOINT, LOG, read_checkpoint
from export.settings import Config, TrainingConfig, read_config
from export.start import read_weights
from export.trees import Tree, TreeMaker


@dataclass(slots=True)
class Outcome:
    """Sums over trees: losses to be divided by their counts."""

    written: float = 0.0
    tokens: int = 0
    chosen: float = 0.0
    choices: int = 0
    right: int = 0

    def add(self, other: Outcome) -> None:
        """Add another's sums."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def means(self) -> dict[str, float]:
        """Losses a token and a choice, and the share of right choices."""
        return {
            "written": round(self.written / max(1, self.tokens), 4),
            "chosen": round(self.chosen / max(1, self.choices), 4),
            "right": round(self.right / max(1, self.choices), 4),
        }


def tree_loss(tree: Tree, scores: Tensor, choice_weight: float) -> tuple[Tensor, Outcome]:
    """Loss of one tree, and its parts.

    The mean negative log probability of the tokens to be written, and the mean cross entropy of
    the choices, whose logits are the log probabilities of their options.
    """
    continuation = torch.tensor(tree.continuation, device=scores.device)
    sums = torch.zeros(tree.continuations, device=scores.device).index_add(0, continuation, scores)
    loss = scores.sum() * 0.0
    outcome = Outcome()
    if tree.written:
        is_written = torch.isin(continuation, torch.tensor(tree.written, device=scores.device))
        written = -scores[is_written]
        loss = loss + written.mean()
        outcome.written, outcome.tokens = float(written.detach().sum()), len(written)
    if tree.choices:
        losses = torch.stack([-sums[list(choice)].log_softmax(0)[0] for choice in tree.choices])
        loss = loss + choice_weight * losses.mean()
        outcome.chosen, outcome.choices = float(losses.detach().sum()), len(losses)
        outcome.right = sum(int(sums[list(choice)].argmax() == 0) for choice in tree.choices)
    return loss, outcome


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Factor of the peak rates at ``step``: up, level, down to a tenth at the end."""
    up = min(1.0, (step + 1) / max(1, config.warmup))
    down = min(1.0, max(0.1, (config.steps - step) / max(1, config.decay)))
    return up * down


class Trainer:
    """One training run in a folder.

    Args:
        model: what :func:`build` made.
        lessons: trees to learn from, by step and place in the batch.
        config: the run.
        out: its folder; a checkpoint there is gone on from.

    Raises:
        UsageError: the batch cannot be divided among the processes.
    """

    def __init__(
        self, model: HearingModel, lessons: Lessons | Curriculum, config: Config, out: Path
    ) -> None:
        from accelerate import Accelerator, DistributedDataParallelKwargs

        training = config.training
        self._config, self._lessons, self._out = config, lessons, out
        self._accelerator = Accelerator(
            mixed_precision=training.mixed_precision,
            # Trees without soft tokens do not use the projector.
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
        if training.batch % self._accelerator.num_processes:
            expected = f"a multiple of {self._accelerator.num_processes} processes"
            raise UsageError("training.batch", expected=expected, got=str(training.batch))
        projector: list[Tensor] = []
        adapter: list[Tensor] = []
        for name, value in trainable(model).items():
            (adapter if name.startswith("language_model.") else projector).append(value)
        optimizer = torch.optim.AdamW(
            [
                {"params": projector, "lr": training.lr_projector},
                {"params": adapter, "lr": training.lr_adapter},
            ],
            weight_decay=0.01,
            betas=(0.9, 0.98),
        )
        if training.mixed_precision == "bf16":
            freeze_in_bf16(model)
        if training.compile:
            for layer in causal_model(model.language_model).model.layers:
                layer.compile(dynamic=True)
        self._plain = model.to(self._accelerator.device)
        self._model, self._optimizer = self._accelerator.prepare(model, optimizer)
        self._step = 0

    def run(self) -> None:
        """Train to the end, from wherever the folder's checkpoint stands."""
        self._out.mkdir(parents=True, exist_ok=True)
        if not self._resume():
            self._warm_start()
        self._cut_log()
        training = self._config.training
        while self._step < training.steps:
            began_s = time.perf_counter()
            outcome = self._learn()
            self._step += 1
            self._log(outcome, time.perf_counter() - began_s)
            if self._step % training.checkpoint_every == 0 or self._step == training.steps:
                self._save()
        # A process that leaves while another still talks to it may abort.
        self._accelerator.wait_for_everyone()
        self._accelerator.end_training()

    def _learn(self) -> Outcome:
        training, accelerator = self._config.training, self._accelerator
        outcome = Outcome()
        mine = range(accelerator.process_index, training.batch, accelerator.num_processes)
        trees = [self._lessons.tree(self._step, place) for place in mine]
        trees.sort(key=len)
        peaks = (training.lr_projector, training.lr_adapter)
        for group, peak in zip(self._optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * learning_rate(self._step, training)
        for i in range(0, len(trees), training.micro_batch):
            part = trees[i : i + training.micro_batch]
            with accelerator.autocast():
                scores = self._model(part)
            losses = []
            for tree, score in zip(part, scores, strict=True):
                loss, one = tree_loss(tree, score, training.choice_weight)
                losses.append(loss)
                outcome.add(one)
            accelerator.backward(torch.stack(losses).sum() / len(trees))
        accelerator.clip_grad_norm_(trainable(self._plain).values(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return outcome

    def _warm_start(self) -> None:
        """Let the projector begin near the words for what is heard: minutes saved of blind search.

        Least squares from a hop's embedding to the mean embedding of its label's tokens.
        """
        steps = self._config.training.warm_start
        if not steps:
            return
        hops, words = self._lessons.named_hops()
        table = self._plain.language_model.get_input_embeddings().weight.detach()
        device = self._plain.device
        targets = torch.stack(
            [table[torch.tensor(tokens, device=device)].mean(0) for tokens in words]
        )
        inputs = torch.from_numpy(hops.astype(np.float32)).to(device)
        optimizer = torch.optim.AdamW(self._plain.projector.parameters(), lr=1e-3)
        rng = np.random.default_rng(self._config.training.seed)
        scale = float(targets.std())
        for _ in range(steps):
            pick = torch.from_numpy(rng.integers(len(inputs), size=256)).to(device)
            loss = (self._plain.projector(inputs[pick]) - targets[pick]).div(scale).square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        print(f"warm start: {len(inputs)} hops, {loss.item():.3f} of the variance left", flush=True)

    def _cut_log(self) -> None:
        """Drop the steps after the checkpoint: they come again."""
        log = self._out / LOG
        if self._accelerator.is_main_process and log.exists():
            lines = log.read_text().splitlines(keepends=True)
            log.write_text("".join(lines[: self._step]))

    def _log(self, outcome: Outcome, took_s: float) -> None:
        if not self._accelerator.is_main_process:
            return
        line = {"step": self._step, **outcome.means(), "took_s": round(took_s, 2)}
        with (self._out / LOG).open("a") as file:
            file.write(json.dumps(line) + "\n")
        if self._step % 10 == 0 or self._step == 1:
            print(json.dumps(line), flush=True)

    def _save(self) -> None:
        if not self._accelerator.is_main_process:
            return
        state = {
            "step": self._step,
            "config": asdict(self._config),
            "weights": {
                name: value.detach().cpu() for name, value in trainable(self._plain).items()
            },
            "optimizer": self._optimizer.state_dict(),
        }
        partial = self._out / f"{CHECKPOINT}.partial"
        torch.save(state, partial)
        partial.replace(self._out / CHECKPOINT)

    def _resume(self) -> bool:
        if not (self._out / CHECKPOINT).exists():
            return False
        state = read_checkpoint(self._out)
        load_weights(self._plain, state["weights"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._step = int(state["step"])
        if self._accelerator.is_main_process:
            print(f"going on from step {self._step}", flush=True)
        return True


def main() -> None:
    """Train as a configuration says."""
    parser = argparse.ArgumentParser(prog="python -m export.align")
    parser.add_argument("config", type=Path)
    parser.add_argument("--model", type=Path, required=True, help="GGUF file or folder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", metavar="BUNDLE", help="begin with the weights of a bundle")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    args = parser.parse_args()
    try:
        config = read_config(args.config, args.set)
        language_model, tokenize = load_language_model(args.model)
        maker = TreeMaker(tokenize, slots=config.model.queries)
        lessons = Curriculum(config.curriculum(), maker, tokenize, config.training.seed)
        model = build(language_model, lessons.n_in, config.model, config.training.seed)
        if args.start:
            load_weights(model, read_weights(load_bundle(args.start), language_model.config))
        Trainer(model, lessons, config, args.out).run()
    except EdgeAlmError as error:
        raise SystemExit(f"align: {error}") from error


if __name__ == "__main__":
    main()
