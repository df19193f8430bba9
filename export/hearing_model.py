"""A language model that hears: a projector before it, low-rank adapters in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_alm.errors import UsageError
from export.settings import ModelConfig
from export.trees import Tokenize, Tree

UNSEEN = -1e9  # in a mask: finite, for a row of padding sees nothing


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
        else:
            # Of several processes each must give every weight a gradient, be it zero.
            nothing = torch.zeros(1, self.projector.w1.in_features, device=self.device)
            hops = self.queries([nothing]) if self.queries else nothing
            inputs = inputs + 0.0 * self.projector(hops).sum().to(inputs.dtype)
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


def trainable(model: HearingModel) -> dict[str, Tensor]:
    """All that is trained, by name."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


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
