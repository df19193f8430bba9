"""The trained weights of a bundle, read back: where a further training can begin."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edge_alm.errors import UsageError
from edge_alm.models.bundle import Bundle
from edge_alm.models.gguf_file import check_gguf

_LAYERS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_PROJECTOR = {
    "ln.weight": "ln_weight",
    "ln.bias": "ln_bias",
    "w1.weight": "w1",
    "w1.bias": "b1",
    "w2.weight": "w2",
    "w2.bias": "b2",
}
_NAME = re.compile(r"blk\.(\d+)\.(\w+)\.weight\.lora_([ab])$")
_ROTATED = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}
"""Matrices whose rows llama.cpp has in another order, for the architectures in _REORDERED."""
_REORDERED = ("llama",)


def read_weights(bundle: Bundle, config: Any) -> dict[str, Tensor]:
    """Projector and adapter of a bundle, by the names of ``export.hearing_model.trainable``.

    What was rounded to float16 when the bundle was made stays so.

    Args:
        bundle: with a projector and an adapter.
        config: transformers' configuration of the language model, for its numbers of heads.

    Raises:
        UsageError: the bundle has neither, or an adapter of other layers.
        ModelBrokenError: the adapter's file is damaged.
    """
    import gguf

    if bundle.projector is None or bundle.adapter is None:
        raise UsageError("--start", expected="a bundle with projector and adapter", got="neither")
    reordered = check_gguf(bundle.adapter).architecture in _REORDERED
    with np.load(bundle.projector) as arrays:
        weights = {
            f"projector.{ours}": _tensor(arrays[theirs]) for ours, theirs in _PROJECTOR.items()
        }
    for tensor in gguf.GGUFReader(bundle.adapter).tensors:
        found = _NAME.match(tensor.name)
        if found is None or found[2] not in _LAYERS:
            raise UsageError(
                str(bundle.adapter), expected="matrices of linear layers", got=tensor.name
            )
        block, layer, side = found.groups()
        matrix = np.asarray(tensor.data)
        if reordered and side == "b" and layer in _ROTATED:
            matrix = _halves(matrix, getattr(config, _ROTATED[layer]))
        name = f"model.layers.{block}.{_LAYERS[layer]}.lora_{side.upper()}.default.weight"
        weights[f"language_model.base_model.model.{name}"] = _tensor(matrix)
    return weights


def _halves(matrix: Any, heads: int) -> Any:
    """Rows of neighbours that rotate together as rows of halves, as transformers has them."""
    rows = matrix.reshape(heads, -1, 2, matrix.shape[-1])
    return rows.swapaxes(1, 2).reshape(matrix.shape)


def _tensor(array: Any) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))
