"""How much each input of a language model's matrices matters: llama.cpp's importance matrix.

The mean square of what every input of every matrix carries while the model reads scenes. A
quantiser then spends a block's few steps where errors would be multiplied most. Source: llama.cpp's
``tools/imatrix``, which does the same in C++.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import ModelBrokenError
from edge_alm.models.gguf_file import check_gguf
from edge_alm.reasoning.llama import LlamaContext
from quantize.scene_texts import IMPORTANCE_SEED, scene_texts

TEXTS = 48
"""About 8,000 tokens."""
_N_CTX = 1024
_F32 = 0
_NAME_BYTES, _OP_PARAMS, _SOURCES = 64, 16, 10


class _Tensor(ctypes.Structure):
    """ggml's tensor (ggml.h). Held against ggml's own functions before a field of it is used."""


_Tensor._fields_ = [
    ("type", ctypes.c_int),
    ("buffer", ctypes.c_void_p),
    ("ne", ctypes.c_int64 * 4),
    ("nb", ctypes.c_size_t * 4),
    ("op", ctypes.c_int),
    ("op_params", ctypes.c_int32 * _OP_PARAMS),
    ("flags", ctypes.c_int32),
    ("src", ctypes.POINTER(_Tensor) * _SOURCES),
    ("view_src", ctypes.c_void_p),
    ("view_offs", ctypes.c_size_t),
    ("data", ctypes.c_void_p),
    ("name", ctypes.c_char * _NAME_BYTES),
]


class _Watched(LlamaContext):
    """A context that tells of every matrix it multiplies with.

    Args:
        model: a GGUF file.
        adapter: a LoRA adapter of it, or None.
        matrices: names of the tensors to watch, and their number of inputs.
    """

    def __init__(self, model: Path, adapter: Path | None, matrices: dict[str, int]) -> None:
        self._matrices = matrices
        self.sums = {name: np.zeros(n, np.float64) for name, n in matrices.items()}
        self.rows = dict.fromkeys(matrices, 0)
        self.fault = ""
        super().__init__(model, adapter=adapter, n_ctx=_N_CTX, n_seq_max=1, n_threads=1)

    def _context_params(self, n_ctx: int) -> Any:
        params = super()._context_params(n_ctx)
        kind = self._llama.ggml_backend_sched_eval_callback
        self._ggml = _ggml()
        self._callback = kind(self._observe)  # kept alive here for as long as it may be called
        params.cb_eval = self._callback
        return params

    def _observe(self, address: int, ask: bool, _user: Any) -> bool:
        """Asked before a tensor is computed whether it is wanted, and told after it was."""
        tensor = ctypes.cast(address, ctypes.POINTER(_Tensor)).contents
        if self.fault or not self._has_layout(address, tensor):
            return not ask
        if not (tensor.src[0] and tensor.src[1]):
            return not ask
        name = tensor.src[0].contents.name.decode("utf-8", "replace")
        if self._ggml.ggml_op_desc(ctypes.c_void_p(address)) != b"MUL_MAT":
            return not ask
        if name not in self._matrices:
            return not ask
        if not ask:
            self._add(name, tensor.src[1].contents)
        return True

    def _has_layout(self, address: int, tensor: _Tensor) -> bool:
        name = self._ggml.ggml_get_name(ctypes.c_void_p(address))
        data = self._ggml.ggml_get_data(ctypes.c_void_p(address))
        if (tensor.name, tensor.data) == (name, data):
            return True
        self.fault = "ggml's tensors have another layout"
        return False

    def _add(self, name: str, source: _Tensor) -> None:
        inputs, rows = int(source.ne[0]), int(source.ne[1] * source.ne[2] * source.ne[3])
        plain = source.type == _F32 and source.nb[0] == 4 and source.nb[1] == 4 * inputs
        if inputs != self._matrices[name] or not plain or not source.data:
            self.fault = f"{name} is multiplied with {inputs} values of type {source.type}"
            return
        values = ctypes.cast(source.data, ctypes.POINTER(ctypes.c_float))
        array = np.ctypeslib.as_array(values, (rows, inputs)).astype(np.float64)
        self.sums[name] += (array**2).sum(axis=0)
        self.rows[name] += rows


def measure_importance(
    model: Path, adapter: Path | None = None, texts: int = TEXTS
) -> dict[str, NDArray[np.float32]]:
    """Mean square of each input of each matrix that was used, by the matrix's name.

    Args:
        model: a GGUF file, best in float.
        adapter: a LoRA adapter that it will run with, or None.
        texts: number of scenes that are read.

    Raises:
        MissingExtraError, ModelMissingError, ModelBrokenError: the model does not run, or this
            version of llama.cpp has tensors of another form.
    """
    shapes = check_gguf(model).shapes
    matrices = {name: shape[0] for name, shape in shapes.items() if len(shape) == 2}
    with closing(_Watched(model, adapter, matrices)) as context:
        for tokens, _ in scene_texts(context, texts, IMPORTANCE_SEED):
            _read(context, tokens)
        used = {name: rows for name, rows in context.rows.items() if rows}
        if context.fault or not used:
            raise ModelBrokenError(
                f"model {model.name}",
                expected="matrices whose inputs can be watched",
                got=context.fault or "none",
                hint="quantise it with --no-importance",
            )
        return {
            name: np.asarray(context.sums[name] / rows, dtype=np.float32)
            for name, rows in used.items()
        }


def _read(context: LlamaContext, tokens: Sequence[int]) -> None:
    context.clear()
    for start in range(0, min(len(tokens), _N_CTX), context.n_batch):
        part = tokens[start : start + context.n_batch][: _N_CTX - start]
        n = len(part)
        wanted = [False] * (n - 1) + [True]
        context.decode(part, range(start, start + n), [0] * n, wanted)


def _ggml() -> Any:
    """ggml's own accessors, for what may change its place."""
    from llama_cpp import _ggml as package

    library = package.libggml
    pointer = [ctypes.c_void_p]
    for name, result in (
        ("ggml_get_name", ctypes.c_char_p),
        ("ggml_get_data", ctypes.c_void_p),
        ("ggml_op_desc", ctypes.c_char_p),
    ):
        function = getattr(library, name)
        function.argtypes, function.restype = pointer, result
    return library
