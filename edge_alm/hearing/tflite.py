"""The sound encoder in LiteRT (TensorFlow Lite): a ``.tflite`` in the place of an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import MissingExtraError, ModelBrokenError, missing_extra
from edge_alm.hearing.audioset import read_labels
from edge_alm.hearing.encoder import PATCH_FRAMES
from edge_alm.hearing.logmel import MEL_BANDS
from edge_alm.models.tflite_file import check_tflite
from edge_alm.models.yamnet import EMBEDDING, SCORES
from edge_alm.native import quiet_stderr

Floats = NDArray[np.float32]


class TfliteEncoder:
    """An :class:`~edge_alm.hearing.encoder.Encoder` on one thread, float or 8 bits inside.

    Inputs and outputs may be in 8 bits too, as microcontrollers have them.

    Args:
        model: a file of ``python -m quantize tflite``: log-mel [1, 1, 96, 64] (or the same values
            in another shape) to logits of the classes and an embedding of any width.
        class_map: CSV of the class names.

    Raises:
        ModelMissingError: no such file.
        ModelBrokenError: the file is damaged or has other shapes.
        MissingExtraError: neither ai-edge-litert nor tflite-runtime is installed.
    """

    def __init__(self, model: Path, class_map: Path) -> None:
        info = check_tflite(model)
        self.labels = read_labels(class_map)
        widths = tuple(info.outputs[name][-1:] for name in (SCORES, EMBEDDING))
        fits = int(np.prod(info.input.shape)) == PATCH_FRAMES * MEL_BANDS
        if not fits or widths[0] != (len(self.labels),) or not widths[1]:
            raise ModelBrokenError(
                f"encoder {model.name}",
                expected=f"a patch of {PATCH_FRAMES} x {MEL_BANDS}, {len(self.labels)} scores "
                "and an embedding",
                got=f"{info.input.shape} to {tuple(info.outputs.values())}",
                hint="make it with python -m quantize tflite",
            )
        self.embedding_size = int(widths[1][0])
        self._interpreter = open_interpreter(model)
        (self._input,) = self._interpreter.get_input_details()
        self._outputs = sorted(self._interpreter.get_output_details(), key=lambda d: str(d["name"]))

    def encode(self, patch: Floats) -> tuple[Floats, Floats]:
        """See :class:`~edge_alm.hearing.encoder.Encoder`."""
        logits, embedding = self.run(patch)
        probabilities = 1.0 / (1.0 + np.exp(-np.clip(logits, -60.0, 60.0)))
        return probabilities.astype(np.float32), embedding

    def run(self, patch: Floats) -> tuple[Floats, Floats]:
        """Logits [len(labels)] and embedding [embedding_size] of a patch's values in any shape."""
        source = self._input
        values = _quantised(patch, source).reshape(source["shape"])
        self._interpreter.set_tensor(source["index"], values)
        self._interpreter.invoke()
        scores, embedding = (
            _dequantised(self._interpreter.get_tensor(each["index"]), each).reshape(-1)
            for each in self._outputs
        )
        return scores, embedding


def open_interpreter(model: Path) -> Any:
    """LiteRT with a model in it, ready to be called, on one thread.

    Raises:
        ModelBrokenError: LiteRT refuses it.
        MissingExtraError: as :class:`TfliteEncoder`.
    """
    interpreter_class = _find_interpreter()
    try:
        with quiet_stderr():  # it tells which delegate it made
            interpreter = interpreter_class(str(model), num_threads=1)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ModelBrokenError(
            str(model),
            expected="a model that LiteRT can open",
            got=str(error).strip().partition("\n")[0],
            hint="make it again with python -m quantize tflite",
        ) from error
    return interpreter


def _find_interpreter() -> Any:
    """The class, of the package that this machine has."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as cause:
        try:
            from tflite_runtime.interpreter import Interpreter
        except ImportError:
            raise _no_package(cause) from cause
    return Interpreter


def _no_package(cause: ImportError) -> MissingExtraError:
    return missing_extra("tflite", "ai-edge-litert", str(cause))


def _quantised(values: Floats, tensor: dict[str, Any]) -> NDArray[Any]:
    """As the tensor holds them: q = value / scale + zero point.

    Source: https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec.
    """
    scale, zero_point = tensor["quantization"]
    if not scale:
        return values
    limits = np.iinfo(tensor["dtype"])
    steps = np.round(values / np.float32(scale)) + zero_point
    return np.asarray(np.clip(steps, limits.min, limits.max), dtype=tensor["dtype"])


def _dequantised(values: NDArray[Any], tensor: dict[str, Any]) -> Floats:
    scale, zero_point = tensor["quantization"]
    floats = values.astype(np.float32)
    return (floats - np.float32(zero_point)) * np.float32(scale) if scale else floats
