"""An ONNX encoder in fewer bits."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from edge_alm.errors import RefusedError, UsageError, missing_extra
from edge_alm.models.onnx_file import check_onnx
from edge_alm.models.onnx_session import open_session
from quantize import linear
from quantize.agreement import Inputs, Outputs, compare, run
from quantize.sensitivity import Sensitivity, find_sensitive
from quantize.static import StaticQuantiser
from quantize.weights import store_in_8_bits

if TYPE_CHECKING:
    import onnx

Kind: TypeAlias = Literal["int8-weights", "int8-dynamic", "int8-static", "int4"]
KINDS: Mapping[Kind, str] = {
    "int8-weights": "weights stored in 8 bits, all arithmetic in float",
    "int8-dynamic": "linear layers in 8 bits, activations scaled at every call",
    "int8-static": "weights and activations in 8 bits, activations scaled by a calibration (QDQ)",
    "int4": "linear layers' weights in 4 bits, a scale for every 32",
}
MOST_LOSS: Mapping[Kind, float] = {"int8-dynamic": 0.004, "int8-static": 0.03, "int4": 0.03}
"""Of 1 less the 5 % quantile of the cosine with float: what layers in few bits may lose together
before the most sensitive of them stay float. All of YAMNet's in dynamic int8 lose 0.14, all but
one of fourteen 0.006, all but two 0.002."""


def read_model(path: Path) -> onnx.ModelProto:
    """A checked ONNX file with its weights inside.

    Raises:
        ModelMissingError, ModelBrokenError: as :func:`check_onnx`.
        MissingExtraError: the package onnx is not installed.
        UsageError: quantised already, or too little memory.
    """
    check_onnx(path)
    try:
        import onnx
    except ImportError as error:
        raise missing_extra("export", "onnx", str(error)) from error
    try:
        model = onnx.load(path)
    except Exception as error:  # protobuf's DecodeError and onnx's own share no base
        # What is malformed has been refused above.
        raise no_memory(str(path)) from error
    done = {"DequantizeLinear", "DynamicQuantizeMatMul", "MatMulNBits", "ConvInteger"}
    if found := sorted({node.op_type for node in model.graph.node} & done):
        raise UsageError(str(path), expected="a float model", got=f"one with {found[0]} in it")
    return model


def quantise(
    model: onnx.ModelProto,
    kind: Kind,
    inputs: Sequence[Inputs],
    calibration: Sequence[Inputs] = (),
    most_loss: float | None = None,
) -> tuple[onnx.ModelProto, Sensitivity]:
    """``model`` in few bits, the layers that cannot do with them in float.

    What stays float in arithmetic still has its large weights stored in 8 bits.

    Args:
        model: with its weights inside; stays as it is.
        kind: one of :data:`KINDS`.
        inputs: on which layers are tried; not those of the calibration.
        calibration: for int8-static.
        most_loss: None: :data:`MOST_LOSS`.

    Raises:
        UsageError: no calibration where one is needed, or nothing in the model to quantise.
    """
    if kind == "int8-weights":
        changed = copy.deepcopy(model)
        store_in_8_bits(changed)
        return changed, Sensitivity({}, (), 0.0)
    layers, write = _writer(model, kind, calibration)
    if not layers:
        raise UsageError("the model", expected="linear layers or convolutions", got="none")
    before = run_model(model, inputs)

    def loss_of(chosen: Collection[str]) -> float:
        after = run_model(write(chosen), inputs)
        return 1.0 - compare(before, after).cosine_low

    most = MOST_LOSS[kind] if most_loss is None else most_loss
    found = find_sensitive(layers, loss_of, most)
    changed = write([name for name in layers if name not in found.left_out])
    store_in_8_bits(changed)
    return changed, found


def run_model(model: onnx.ModelProto, inputs: Sequence[Inputs]) -> Outputs:
    """What a model in memory makes of inputs."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        write_model(model, path)
        return run(open_session(path), inputs)


def write_model(model: onnx.ModelProto, path: Path) -> None:
    """Check and write a model; the same bytes every time.

    Raises:
        RefusedError: it is no valid graph.
        UsageError: too little memory, or over protobuf's 2 GB.
        OSError: the disk refused.
    """
    import onnx

    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        got = str(error).splitlines()[0]
        raise RefusedError("the model", expected="a valid graph", got=got) from error
    try:
        content = model.SerializeToString(deterministic=True)
    except Exception as error:  # protobuf's EncodeError is of a package without types
        raise no_memory("the model") from error
    path.write_bytes(content)


def no_memory(what: str) -> UsageError:
    """The error for a model that is too large for this machine."""
    return UsageError(
        what,
        expected="memory for it and a copy of it, and less than 2 GB",
        got="too little, or more",
        hint="close other programs or use a machine with more",
    )


def _writer(
    model: onnx.ModelProto, kind: Kind, calibration: Sequence[Inputs]
) -> tuple[Sequence[str], Callable[[Collection[str]], onnx.ModelProto]]:
    """The layers there are, and what makes a graph with some of them in few bits."""
    if kind == "int8-static":
        static = StaticQuantiser(model, calibration)

        def calibrated(chosen: Collection[str]) -> onnx.ModelProto:
            return static.write([name for name in static.layers if name not in chosen])

        return static.layers, calibrated
    form: linear.Form = "int4" if kind == "int4" else "int8"

    def rewritten(chosen: Collection[str]) -> onnx.ModelProto:
        changed = copy.deepcopy(model)
        linear.rewrite(changed, dict.fromkeys(chosen, form))
        return changed

    return [layer.name for layer in linear.find_layers(model)], rewritten
