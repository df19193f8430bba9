"""From a module of torch to an ONNX file with free axes, through optimum; and how to run it.

Where optimum knows the architecture its configuration is the base, with the patches that make it
traceable; CLAP, which it does not know, is traced by the same exporter of torch without any.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from edge_alm.errors import UsageError
from edge_alm.models.manifest import OPSET_DOMAIN, Arrays, Graph, Tensor
from edge_alm.models.onnx_file import check_onnx
from edge_alm.models.onnx_session import open_session

OPSET = 17
"""The first with LayerNormalization; every onnxruntime since 1.13 reads it."""

Axes: TypeAlias = Mapping[str, Mapping[int, str]]
"""Name of an input or output to its free axes: number to name."""


def trace(
    module: Any, example: Mapping[str, torch.Tensor], axes: Axes, path: Path, *, opset: int = OPSET
) -> Graph:
    """Write ``module`` as an ONNX file.

    Args:
        module: an ``nn.Module`` with a ``config`` of transformers and a dict of outputs.
        example: its inputs, by argument name.
        axes: the free axes of inputs and outputs.
        path: the file to write.
        opset: of ONNX's own operators.

    Returns:
        What a manifest says of it.

    Raises:
        UsageError: it cannot be traced, or not to this opset.
    """
    with quiet(), torch.no_grad():
        from optimum.exporters.onnx import export

        outputs = module(**example)
        free = {name: dict(axes.get(name, {})) for name in outputs}
        config = _config(module, example, free, axes)
        try:
            export(module, config, path, opset=opset, disable_dynamic_axes_fix=True)
        except MemoryError:
            raise
        except Exception as error:  # the exporter raises whatever its parts do
            words = " ".join(str(error).split())[:200]
            raise UsageError(
                f"{module.config.model_type}, opset {opset}",
                expected="a network that torch can trace",
                got=words or type(error).__name__,
            ) from error
    _write_shapes(path, {**example, **outputs}, axes)
    info = check_onnx(path)
    return Graph(
        path.name,
        info.opsets[OPSET_DOMAIN],
        {name: _tensor(value, axes.get(name, {})) for name, value in example.items()},
        {name: _tensor(value, axes.get(name, {})) for name, value in outputs.items()},
    )


def write_golden(
    folder: Path, name: str, graph: Graph, module: Any, inputs: Mapping[str, NDArray[Any]]
) -> Graph:
    """Write an input and what torch makes of it; returns the graph that names the file."""
    with torch.no_grad():
        found = module(**{key: torch.from_numpy(value) for key, value in inputs.items()})
    arrays: dict[str, Any] = {**inputs, **{key: value.numpy() for key, value in found.items()}}
    np.savez(folder / name, **arrays)
    return replace(graph, golden=name)


def runner(path: Path) -> Callable[[Mapping[str, NDArray[Any]]], Arrays]:
    """The file as a function from inputs to outputs, by name."""
    session = open_session(path)
    names = [output.name for output in session.get_outputs()]

    def run(inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    return run


def _config(module: Any, example: Mapping[str, torch.Tensor], outputs: Axes, axes: Axes) -> Any:
    """optimum's configuration of the architecture, with our inputs and outputs."""
    from optimum.exporters.onnx.base import OnnxConfig
    from optimum.exporters.tasks import TasksManager
    from optimum.utils import NormalizedConfig

    kind = module.config.model_type
    known: Any = OnnxConfig
    if kind in TasksManager.get_supported_model_type_for_task("feature-extraction", "onnx"):
        known = TasksManager.get_exporter_config_constructor(
            "onnx", model_type=kind, task="feature-extraction", library_name="transformers"
        ).func

    class Config(known):  # type: ignore[misc]
        NORMALIZED_CONFIG_CLASS = NormalizedConfig

        @property
        def inputs(self) -> Axes:
            return {name: dict(axes.get(name, {})) for name in example}

        @property
        def outputs(self) -> Axes:
            return outputs

        def generate_dummy_inputs(self, framework: str = "pt", **_: Any) -> dict[str, Any]:
            return dict(example)

    return Config(module.config, task="feature-extraction")


@contextmanager
def quiet() -> Iterator[None]:
    """Without the tracer's warnings: what they fear, a result that depends on the length or the
    batch of the example, is what every export is checked for afterwards."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def _write_shapes(path: Path, values: Mapping[str, torch.Tensor], axes: Axes) -> None:
    """Name the free axes and write down the size of all others."""
    import onnx

    # Weights beyond 2 GB lie beside the file and stay there.
    model = onnx.load(path, load_external_data=False)
    for value in (*model.graph.input, *model.graph.output):
        shape = value.type.tensor_type.shape
        del shape.dim[:]
        for number, size in enumerate(values[value.name].shape):
            name = axes.get(value.name, {}).get(number)
            dim = shape.dim.add()
            if name is None:
                dim.dim_value = size
            else:
                dim.dim_param = name
    onnx.save(model, path)


def _tensor(value: torch.Tensor, axes: Mapping[int, str]) -> Tensor:
    shape = tuple(axes.get(number, size) for number, size in enumerate(value.shape))
    return Tensor(str(value.dtype).removeprefix("torch."), shape)
