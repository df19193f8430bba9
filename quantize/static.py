"""Weights and activations in 8 bits, with ranges from a calibration on real audio (QDQ).

onnxruntime's own tools do it: every activation gets one range for all recordings, every weight one
scale an output channel. What a layer's ranges do to the result is seen only when it is run, so
the ranges are measured once and a graph is written for any choice of layers.
"""

from __future__ import annotations

import copy
import logging
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import UsageError

if TYPE_CHECKING:
    import onnx

LAYERS = ("Conv", "MatMul", "Gemm", "ConvTranspose")
"""Operators that may stay float on their own."""
_OPSET = 13
"""QuantizeLinear has an axis, and so scales by channel, from here on."""


class StaticQuantiser:
    """A model's ranges, from which graphs are written.

    Args:
        model: with its weights inside.
        inputs: what to run the model on, by name of its inputs.

    Raises:
        UsageError: no inputs, or a model that onnxruntime's tools do not take.
    """

    def __init__(
        self, model: onnx.ModelProto, inputs: Sequence[Mapping[str, NDArray[Any]]]
    ) -> None:
        import onnx
        from onnx import version_converter
        from onnxruntime.quantization.calibrate import CalibrationDataReader, create_calibrator
        from onnxruntime.quantization.registry import QDQRegistry

        class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime is untyped
            def __init__(self) -> None:
                self._left = iter(inputs)

            def get_next(self) -> Mapping[str, NDArray[Any]] | None:
                return next(self._left, None)

        if not inputs:
            raise UsageError("calibration", expected="recordings", got="none")
        if model.opset_import[0].version < _OPSET:
            model = version_converter.convert_version(model, _OPSET)
        self._model = onnx.shape_inference.infer_shapes(model)
        for i, node in enumerate(self._model.graph.node):
            node.name = node.name or f"{node.op_type}_{i}"
        self._types = list(QDQRegistry)
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "model.onnx"
            onnx.save(self._model, source)
            calibrator = create_calibrator(
                source, self._types, augmented_model_path=str(Path(folder) / "augmented.onnx")
            )
            calibrator.collect_data(Reader())
            self._ranges = calibrator.compute_data()
            del calibrator  # its session holds the file
        found = (entry.range_value for entry in self._ranges.data.values())
        if not all(np.all(np.isfinite(value)) for value in found):
            raise UsageError(
                "calibration",
                expected="finite activations",
                got="NaN or infinity",
                hint="leave out the recording that does that, or use --to int8-dynamic",
            )
        self.layers = [node.name for node in self._model.graph.node if node.op_type in LAYERS]
        """Names of the nodes that may be left out."""

    def write(self, left_out: Collection[str] = ()) -> onnx.ModelProto:
        """The model in 8 bits but for the nodes ``left_out``."""
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        quantiser = QDQQuantizer(
            copy.deepcopy(self._model),
            True,  # a scale for each output channel
            False,  # all 8 bits: a CPU on which that overflows fails the verdict there
            QuantType.QInt8,
            QuantType.QUInt8,
            self._ranges,
            [],
            list(left_out),
            self._types,
            {},
        )
        level = logging.getLogger().level
        logging.getLogger().setLevel(logging.ERROR)  # it tells the root logger of every constant
        try:
            quantiser.quantize_model()
        finally:
            logging.getLogger().setLevel(level)
        quantiser.model.topological_sort()
        found: onnx.ModelProto = quantiser.model.model
        return found
