"""The language model's own embeddings of tokens, so that text and soft tokens run in one batch.

llama.cpp takes tokens or embeddings, not both at once, and what is heard is a few of either kind in
turn. A token alone takes SmolLM2-135M 11.8 ms on one x86 core, one of 16 6.7 ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_alm.models.gguf_file import check_gguf

TENSOR = "token_embd.weight"
_PLAIN = frozenset({"llama", "qwen2", "qwen3"})
"""Architectures that take a row as it stands; others scale it first."""
_Q8_0: np.dtype[Any] = np.dtype([("scale", "<f2"), ("values", "i1", (32,))])
_ROWS: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "Q8_0": _Q8_0,
}


class EmbeddingTable:
    """Rows of ``token_embd.weight``, read from the file as they are asked for.

    Args:
        model: a GGUF file.

    Raises:
        ModelMissingError, ModelBrokenError: as :func:`check_gguf` says.
    """

    def __init__(self, model: Path) -> None:
        info = check_gguf(model)
        kind, offset = info.places.get(TENSOR, ("", 0))
        self._rows: NDArray[Any] | None = None
        if info.architecture in _PLAIN and kind in _ROWS:
            width, count = info.shapes[TENSOR]
            dtype, per_row = _ROWS[kind], width // 32 if kind == "Q8_0" else width
            self._rows = np.memmap(
                model, dtype=dtype, mode="r", offset=offset, shape=(count, per_row)
            )

    @property
    def is_known(self) -> bool:
        """Whether the rows can be read; not of every type and architecture."""
        return self._rows is not None

    def __getitem__(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Embeddings [n, n_embd] of n tokens, as llama.cpp makes them."""
        if self._rows is None:
            raise KeyError("a table that cannot be read")
        rows = np.asarray(self._rows[list(tokens)])
        if rows.dtype == _Q8_0:
            values = rows["values"].astype(np.float32)
            values *= rows["scale"].astype(np.float32)[..., None]
            return values.reshape(len(rows), 32 * rows.shape[1])
        return rows.astype(np.float32)
