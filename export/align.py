"""Train the projector and the adapter that let a small language model hear.

    python -m export.align export/align.toml --model FOLDER_OR_GGUF --out build/align
    accelerate launch -m export.align ...        # on several GPUs

The language model is frozen; an embedding of the sound encoder becomes a soft token through
LayerNorm, Linear, GELU, Linear, and low-rank adapters on all of the model's linear layers learn to
read it. Two losses: the right answer's tokens, and the right choice among the options by their
likelihoods, just as the device chooses. A run can be killed at any time; the same command goes
on from its last checkpoint, bit for bit as if nothing had happened.
"""

# mypy: allow-subclassing-any
# Types of torch are not followed.

from __future__ import annotations

import argparse
import json
import pickle
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_alm.errors import EdgeAlmError, UsageError
from export.lessons import Curriculum, Lessons, LessonsConfig
from export.trees import Branch, Item, Tokenize, Tree, TreeMaker

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"
UNSEEN = -1e9  # in a mask: finite, for a row of padding sees nothing
PRECISIONS = ("no", "bf16")


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What is trained.

    Raises:
        ValueError: a number is not positive.
    """

    rank: int = 16
    alpha: int = 32
    hidden: int = 1024
    queries: int = 0
    """Learned queries to each run of hops, for export.ablations; 0: one soft token for each hop,
    which is what the runtime loads."""

    def __post_init__(self) -> None:
        _check_positive(self, "rank", "alpha", "hidden")
        if self.queries < 0:
            raise ValueError(f"queries: not negative, got {self.queries}")


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How it is trained.

    Raises:
        ValueError: a number is out of range, or an unknown precision.
    """

    steps: int = 600
    batch: int = 8
    micro_batch: int = 2
    warmup: int = 20
    decay: int = 120
    lr_projector: float = 1e-3
    lr_adapter: float = 3e-4
    choice_weight: float = 1.0
    warm_start: int = 0
    mixed_precision: str = "no"
    """"bf16" holds the frozen model in that type too; projector and adapters stay float32."""
    compile: bool = False
    """Compile the layers (a minute at the start): a third faster on a CPU."""
    checkpoint_every: int = 25
    seed: int = 0

    def __post_init__(self) -> None:
        _check_positive(self, "steps", "batch", "micro_batch", "checkpoint_every")
        if self.seed < 0:
            raise ValueError(f"seed: not negative, got {self.seed}")
        if self.mixed_precision not in PRECISIONS:
            raise ValueError(
                f"mixed_precision: one of {', '.join(PRECISIONS)}, got {self.mixed_precision!r}"
            )


@dataclass(frozen=True, slots=True)
class Config:
    """A training run."""

    data: LessonsConfig
    model: ModelConfig
    training: TrainingConfig
    phases: tuple[tuple[int, LessonsConfig], ...] = ()
    """Until which step something else than ``data`` is learnt from, in order."""

    def curriculum(self) -> tuple[tuple[int, LessonsConfig], ...]:
        """All phases; ``data`` is the last."""
        return (*self.phases, (self.training.steps, self.data))


def read_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """The run that a TOML file describes.

    Args:
        path: the file.
        overrides: ``section.key=value``, the value in TOML.

    Raises:
        UsageError: not a readable file, or an unknown section, key or kind of value.
    """
    try:
        text = path.read_text(encoding="utf-8")
        tables = tomllib.loads(text)
        for override in overrides:
            for section, table in tomllib.loads(override).items():
                tables.setdefault(section, {}).update(table)
        sections = {"data": LessonsConfig, "model": ModelConfig, "training": TrainingConfig}
        phases = tables.pop("phase", [])
        if unknown := tables.keys() - sections.keys():
            raise ValueError(f"unknown section {sorted(unknown)[0]}")
        data = tables.get("data", {})
        return Config(
            **{name: _section(kind, tables.get(name, {})) for name, kind in sections.items()},
            phases=tuple(_phase(phase, data) for phase in phases),
        )
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(str(path), expected="a training configuration", got=str(error)) from error


def _phase(table: Any, data: dict[str, Any]) -> tuple[int, LessonsConfig]:
    """A phase is ``data`` with some of it changed, and ``until``."""
    if not isinstance(table, dict) or type(table.get("until")) is not int:
        raise TypeError(f"a phase is a table with a step in until, got {table!r}")
    changes = {name: value for name, value in table.items() if name != "until"}
    return table["until"], _section(LessonsConfig, {**data, **changes})


def _section(kind: Any, table: Any) -> Any:
    if not isinstance(table, dict):
        raise TypeError(f"a section is a table, got {table!r}")
    defaults = {field.name: field.default for field in fields(kind)}
    if unknown := table.keys() - defaults.keys():
        raise ValueError(f"unknown key {sorted(unknown)[0]}, known: {', '.join(sorted(defaults))}")
    return kind(**{name: _value(name, table[name], defaults[name]) for name in table})


def _value(name: str, value: Any, default: Any) -> Any:
    """The value, if it is of the default's kind."""
    if isinstance(default, tuple) and isinstance(value, list):
        value = tuple(float(each) if type(each) is int else each for each in value)
    if type(value) is int and isinstance(default, float):
        value = float(value)
    if type(value) is not type(default):
        raise TypeError(f"{name}: a value like {default!r}, got {value!r}")
    return value


def _check_positive(config: Any, *names: str) -> None:
    for name in names:
        if getattr(config, name) < 1:
            raise ValueError(f"{name}: at least 1, got {getattr(config, name)}")


class Projector(nn.Module):
    """As :class:`edge_alm.reasoning.projector.Projector`, to be trained."""

    def __init__(self, n_in: int, n_hidden: int, n_out: int) -> None:
        super().__init__()
        self.ln = nn.LayerNorm(n_in)
        self.w1 = nn.Linear(n_in, n_hidden)
        self.w2 = nn.Linear(n_hidden, n_out)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Soft tokens [n, n_out] of embeddings [n, n_in]."""
        return torch.as_tensor(self.w2(nn.functional.gelu(self.w1(self.ln(embeddings)))))

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """The weights under the names of the runtime's file."""
        named = {
            "ln_weight": self.ln.weight,
            "ln_bias": self.ln.bias,
            "w1": self.w1.weight,
            "b1": self.w1.bias,
            "w2": self.w2.weight,
            "b2": self.w2.bias,
        }
        return {name: value.detach().float().cpu().numpy() for name, value in named.items()}


class Queries(nn.Module):
    """As many embeddings of every run of hops as there are learned queries.

    One layer of the Q-Former of BLIP-2 (arXiv:2301.12597) as GAMA uses it: the queries attend to
    the hops, whose places in the run are told by sines. What they find is added to the run's mean,
    so that a projector that began near words begins there still.
    """

    _WIDTH, _HEADS = 256, 4

    def __init__(self, n_in: int, queries: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(queries, self._WIDTH) * 0.5)
        self.ln = nn.LayerNorm(n_in)
        self.narrow = nn.Linear(n_in, self._WIDTH)
        self.attention = nn.MultiheadAttention(self._WIDTH, self._HEADS, batch_first=True)
        self.widen = nn.Linear(self._WIDTH, n_in)

    def forward(self, runs: Sequence[Tensor]) -> Tensor:
        """Embeddings [len(runs) * queries, n_in] of runs [n, n_in]."""
        hops = nn.utils.rnn.pad_sequence(list(runs), batch_first=True)
        lengths = torch.tensor(list(map(len, runs)), device=hops.device)
        places = torch.arange(hops.shape[1], device=hops.device)
        keys = self.narrow(self.ln(hops)) + _sines(places, self._WIDTH)
        asked = self.queries.expand(len(runs), -1, -1)
        unseen = places >= lengths[:, None]
        found, _ = self.attention(asked, keys, keys, key_padding_mask=unseen, need_weights=False)
        mean = hops.sum(1) / lengths[:, None]
        return torch.as_tensor((mean[:, None] + self.widen(found)).flatten(0, 1))


def _sines(places: Tensor, width: int) -> Tensor:
    """[len(places), width], as in Vaswani et al. (arXiv:1706.03762)."""
    rates = 1e4 ** -torch.linspace(0.0, 1.0, width // 2, device=places.device)
    angles = places[:, None] * rates
    return torch.cat((angles.sin(), angles.cos()), 1)


class HearingModel(nn.Module):
    """Projector and language model; scores the continuations of trees.

    Args:
        language_model: a causal model of transformers, adapters included.
        projector: from the encoder's width to the model's.
        queries: what the projector is given in place of the hops themselves.
    """

    def __init__(
        self, language_model: Any, projector: Projector, queries: Queries | None = None
    ) -> None:
        super().__init__()
        self.language_model = language_model
        self.projector = projector
        self.queries = queries

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.projector.w1.weight.device

    def forward(self, trees: Sequence[Tree]) -> list[Tensor]:
        """Log probability of every scored token of each tree, in the order of ``Tree.rows``."""
        longest = max(map(len, trees))
        causal = causal_model(self.language_model)
        embed = self.language_model.get_input_embeddings()
        dtype = embed.weight.dtype
        tokens = torch.zeros(len(trees), longest, dtype=torch.long)
        positions = torch.zeros(len(trees), longest, dtype=torch.long)
        mask = torch.full((len(trees), 1, longest, longest), UNSEEN)
        for i, tree in enumerate(trees):
            n = len(tree)
            tokens[i, :n] = torch.tensor(tree.tokens)
            positions[i, :n] = torch.tensor(tree.positions)
            mask[i, 0, :n, :n].masked_fill_(torch.from_numpy(tree.mask()), 0.0)
        inputs = embed(tokens.to(self.device))
        where = [(i, at) for i, tree in enumerate(trees) for at in tree.soft_at]
        if where:
            runs = [
                torch.from_numpy(hops.astype(np.float32)).to(self.device)
                for tree in trees
                for hops in tree.soft
            ]
            hops = self.queries(runs) if self.queries else torch.cat(runs)
            soft = self.projector(hops).to(inputs.dtype)
            rows, columns = torch.tensor(where, device=self.device).T
            inputs = inputs.index_put((rows, columns), soft)
        hidden = causal.model(
            inputs_embeds=inputs,
            attention_mask=mask.to(self.device, dtype),
            position_ids=positions.to(self.device),
            use_cache=False,
        ).last_hidden_state
        scores = []
        for i, tree in enumerate(trees):
            logits = causal.lm_head(hidden[i, tree.rows]).float()
            targets = torch.tensor(tree.targets, device=self.device)
            scores.append(-nn.functional.cross_entropy(logits, targets, reduction="none"))
        return scores


def causal_model(language_model: Any) -> Any:
    """The model of transformers inside, adapters or not."""
    peft = getattr(language_model, "peft_config", None) is not None
    return language_model.base_model.model if peft else language_model


def freeze_in_bf16(model: HearingModel) -> None:
    """Hold all that is not trained in bfloat16: two thirds of the time of float32 on a CPU."""
    for value in model.parameters():
        if not value.requires_grad:
            value.data = value.data.to(torch.bfloat16)


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


def load_language_model(path: Path) -> tuple[Any, Tokenize]:
    """A frozen causal model and its tokenizer, from a GGUF file or a folder of transformers.

    GGUF weights are dequantised: what is trained is trained on the weights that are deployed.
    Attention is spelt out in products: compiled, on two cores, 468 tokens a second are learnt
    from where scaled_dot_product_attention, slow backwards under a mask, lets 355.

    Raises:
        UsageError: nothing there that transformers can load.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    where: dict[str, Any] = {"gguf_file": path.name} if path.suffix == ".gguf" else {}
    folder = path.parent if where else path
    if not path.exists():  # transformers would look for it on the network
        raise UsageError(str(path), expected="a language model", got="no such file or folder")
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", **where
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, **where)
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(str(path), expected="a language model", got=str(error)) from error
    return model.requires_grad_(False).eval(), tokenize_with(tokenizer)


def tokenize_with(tokenizer: Any) -> Tokenize:
    """A tokenizer of transformers as trees want it."""

    def tokenize(text: str, control: bool) -> list[int]:
        ids = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=not control)
        return [int(token) for token in ids]

    return tokenize


def build(language_model: Any, n_in: int, config: ModelConfig, seed: int) -> HearingModel:
    """Adapters on all linear layers and a new projector, seeded."""
    from peft import LoraConfig, get_peft_model
    from peft.tuners.lora import LoraLayer

    torch.manual_seed(seed)
    lora = LoraConfig(
        r=config.rank, lora_alpha=config.alpha, lora_dropout=0.0, target_modules="all-linear"
    )
    width = language_model.config.hidden_size
    adapted = get_peft_model(language_model, lora)
    for layer in adapted.modules():
        if isinstance(layer, LoraLayer):
            layer.cast_input_dtype_enabled = False  # autocast does it, once
    queries = Queries(n_in, config.queries) if config.queries else None
    return HearingModel(adapted, Projector(n_in, config.hidden, width), queries)


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Factor of the peak rates at ``step``: up, level, down to a tenth at the end."""
    up = min(1.0, (step + 1) / max(1, config.warmup))
    down = min(1.0, max(0.1, (config.steps - step) / max(1, config.decay)))
    return up * down


def trainable(model: HearingModel) -> dict[str, Tensor]:
    """All that is trained, by name."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


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


def load_weights(model: HearingModel, weights: dict[str, Tensor]) -> None:
    """Put trained weights into a model of the same shape.

    Raises:
        UsageError: other names or shapes.
    """
    own = trainable(model)
    if own.keys() != weights.keys():
        raise UsageError("checkpoint", expected="the weights of this model", got="others")
    with torch.no_grad():
        for name, value in weights.items():
            if own[name].shape != value.shape:
                raise UsageError(
                    f"checkpoint: {name}",
                    expected=str(tuple(own[name].shape)),
                    got=str(tuple(value.shape)),
                )
            own[name].copy_(value)


class Judge:
    """A trained model in float, to compare the deployed one with."""

    def __init__(self, model: HearingModel, maker: TreeMaker) -> None:
        self._model, self._maker = model.eval(), maker

    def choose(self, items: Sequence[Item], question: str, choices: Sequence[str]) -> int:
        """Index of the likeliest choice."""
        options = tuple(choice.lower() for choice in choices)
        tree = self._maker.make(items, [Branch(question, options, 0, write=False)])
        with torch.no_grad():
            (scores,) = self._model([tree])
        sums = torch.zeros(tree.continuations).index_add(
            0, torch.tensor(tree.continuation), scores.cpu()
        )
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


def load_float(run: Path, model: Path) -> Judge:
    """A run's model as it was trained, to compare the deployed one with."""
    found = load_run(run, model)
    return Judge(found.model, TreeMaker(found.tokenize, slots=found.slots))


def main() -> None:
    """Train as a configuration says."""
    parser = argparse.ArgumentParser(prog="python -m export.align")
    parser.add_argument("config", type=Path)
    parser.add_argument("--model", type=Path, required=True, help="GGUF file or folder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    args = parser.parse_args()
    try:
        config = read_config(args.config, args.set)
        language_model, tokenize = load_language_model(args.model)
        maker = TreeMaker(tokenize, slots=config.model.queries)
        lessons = Curriculum(config.curriculum(), maker, tokenize, config.training.seed)
        model = build(language_model, lessons.n_in, config.model, config.training.seed)
        Trainer(model, lessons, config, args.out).run()
    except EdgeAlmError as error:
        raise SystemExit(f"align: {error}") from error


if __name__ == "__main__":
    main()
