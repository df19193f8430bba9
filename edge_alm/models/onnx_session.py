"""How every ONNX model here is opened: checked, one thread, nothing spinning."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge_alm.errors import ModelBrokenError, UsageError, missing_extra
from edge_alm.models.onnx_file import check_onnx
from edge_alm.native import return_freed_memory

if TYPE_CHECKING:
    import onnxruntime

_ERROR = 3
"""onnxruntime's severity; its warnings are about unused initialisers in published models."""


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """A session on the CPU with one thread that sleeps between calls.

    Raises:
        ModelMissingError: no such file.
        ModelBrokenError: damaged, or not a graph that onnxruntime runs.
        UsageError: there is too little memory for it.
        MissingExtraError: onnxruntime cannot be imported.
    """
    check_onnx(path)
    try:
        import onnxruntime
    except ImportError as error:
        raise missing_extra("", "onnxruntime", str(error)) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERROR
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's own exceptions share no public base
        if "bad_alloc" in str(error):
            raise UsageError(
                str(path), expected="memory enough to open it", got="too little"
            ) from error
        raise ModelBrokenError(
            str(path),
            expected="a model that onnxruntime can open",
            got=str(error).splitlines()[0],
            hint="edge-alm models verify",
        ) from error
    return_freed_memory()
    return session
