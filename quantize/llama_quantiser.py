"""llama.cpp's own quantiser, in a process of its own.

Native code cannot be interrupted, and what it does when memory runs out is its own affair. In a
child both are an exit like any other: Ctrl-C reaches the parent, which ends the child.
"""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import UsageError
from edge_alm.models.gguf_file import GgufInfo, check_gguf
from edge_alm.native import run_probe
from edge_alm.reasoning.llama import import_llama, last_error

TYPES: Mapping[str, int] = MappingProxyType(
    {
        "F32": 0, "F16": 1, "Q8_0": 7, "Q6_K": 18, "Q5_K_M": 17, "Q5_K_S": 16, "Q5_1": 9,
        "Q5_0": 8, "Q4_K_M": 15, "Q4_K_S": 14, "Q4_1": 3, "Q4_0": 2, "IQ4_NL": 25, "IQ4_XS": 30,
        "Q3_K_M": 12, "Q2_K": 10,
    }
)  # fmt: skip
"""Name to llama.cpp's ``llama_ftype``."""
WITHOUT_IMPORTANCE = ("F32", "F16", "Q8_0")
"""Types whose quantiser does not look at an importance matrix."""
_LONGEST_S = 4 * 3600.0


def quantise_gguf(
    source: Path,
    target: Path,
    to: str,
    importance: Mapping[str, NDArray[np.float32]] | None = None,
) -> GgufInfo:
    """Write ``source`` with its matrices of the type ``to``.

    Args:
        source: a GGUF language model; of any type, though what it lost already stays lost.
        target: the file to write; a failure may leave a part of it.
        to: one of :data:`TYPES`.
        importance: of :func:`quantize.importance.measure_importance`; None: without.

    Returns:
        What the new file declares. A row that a type's blocks of 256 do not divide is stored in
        another type of about as many bits, so ask it for the types.

    Raises:
        UsageError: not a type, or llama.cpp refuses, crashes or runs out of memory.
        ModelMissingError, ModelBrokenError: the source is missing or damaged.
    """
    if to not in TYPES:
        raise UsageError("type", expected=f"one of {', '.join(TYPES)}", got=repr(to))
    check_gguf(source)
    table = target.with_name(target.name + ".importance.npz")
    if importance is not None:
        np.savez(table, **importance)  # type: ignore[arg-type]
    arguments = (str(source.absolute()), str(target.absolute()), TYPES[to])
    code = (
        "from quantize.llama_quantiser import report_quantised\n"
        f"report_quantised(*{arguments!r}, {str(table.absolute()) if importance else ''!r})"
    )
    outcome = run_probe(code, _LONGEST_S)
    table.unlink(missing_ok=True)
    reason = outcome.reason or str(outcome.report.get("reason", ""))
    if reason:
        if outcome.status == "crashed":
            reason = f"it crashed with {reason}"
        raise UsageError(
            f"{source} to {to}",
            expected="llama.cpp to write it",
            got=reason,
            hint="there must be memory and disk for the model and a copy of it",
        )
    return check_gguf(target)


def report_quantised(source: str, target: str, ftype: int, importance: str) -> None:
    """In the child: quantise, and print the report as one JSON line."""
    llama = import_llama()
    params = llama.llama_model_quantize_default_params()
    params.nthread = 1
    params.ftype = ftype
    params.allow_requantize = True
    kept: list[Any] = []  # what the native code is pointed at
    if importance:
        with np.load(importance) as arrays:
            params.imatrix = _importance(llama, {n: arrays[n] for n in arrays.files}, kept)
    status = llama.llama_model_quantize(
        os.fsencode(source), os.fsencode(target), ctypes.byref(params)
    )
    print(json.dumps({"reason": last_error() if status else ""}))


def _importance(llama: Any, arrays: Mapping[str, NDArray[np.float32]], kept: list[Any]) -> Any:
    """The array of llama.cpp's structs, ended by one without a name."""
    entries = (llama.llama_model_imatrix_data * (len(arrays) + 1))()
    pointer = ctypes.POINTER(ctypes.c_float)
    for entry, (name, values) in zip(entries, arrays.items(), strict=False):
        values = np.ascontiguousarray(values, dtype=np.float32)
        kept += [values, name.encode()]
        entry.name = kept[-1]
        entry.data = values.ctypes.data_as(pointer)
        entry.size = values.size
    kept.append(entries)
    return ctypes.cast(entries, ctypes.POINTER(llama.llama_model_imatrix_data))
