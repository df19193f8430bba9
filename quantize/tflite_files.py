"""``python -m quantize tflite``: an encoder in int8 for LiteRT (TensorFlow Lite).

litert-torch converts, ai-edge-quantizer puts weights and, at run time, activations into 8 bits.
Both come with JAX, about 0.6 GB, and so are no extra of this package:
``pip install litert-torch ai-edge-quantizer`` beside the extra ``export``.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import re
import shutil
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import MissingExtraError, RefusedError, UsageError
from edge_alm.hearing.audioset import read_labels
from edge_alm.hearing.tflite import open_interpreter
from quantize import onnx_files
from quantize.agreement import Outputs, compare
from quantize.encoder_bench import TIMED_CALLS, Recordings, ten_class_accuracy
from quantize.encoders import read_model
from quantize.recordings import evenly
from quantize.report import Report, Row
from quantize.sensitivity import find_sensitive
from quantize.target import fresh_file
from quantize.timing import peak_bytes, time_in_turn
from quantize.torch_graph import to_torch
from quantize.verdict import Bounds, Figures, judge

MOST_LOSS = 0.004
"""As :data:`quantize.encoders.MOST_LOSS` of dynamic int8."""
_PACKAGES = ("litert_torch", "ai_edge_quantizer", "ai_edge_litert")


def add_parser(subparsers: Any) -> None:
    """Add the command to what ``ArgumentParser.add_subparsers`` returned."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "tflite", help="an encoder for LiteRT: int8", description=__doc__
    )
    onnx_files.add_options(parser)
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    parser.add_argument("--float", type=Path, metavar="FILE", help="keep the float model there")
    parser.set_defaults(run=run, scenes=0)


def run(args: argparse.Namespace) -> None:
    """Convert, quantise, measure against the float LiteRT model, decide.

    The float model is kept where it is asked for, whatever the verdict: on some processors it is
    the faster one.

    Raises:
        RefusedError: the verdict.
        EdgeAlmError: something is missing or wrong.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"package {missing[0]}",
            expected="it to be installed",
            got="no such package",
            hint="pip install litert-torch ai-edge-quantizer",
        )
    source = onnx_files.find_source(args.model)
    workshop = onnx_files.Workshop(source, args)
    recordings = workshop.recordings
    with fresh_file(args.out) as part:
        floats = part.with_name("float.tflite")
        patches = [next(iter(one.values())) for one in recordings.inputs]
        convert(source.path, patches[0], floats)
        if args.float is not None:
            with fresh_file(args.float) as kept:
                shutil.copyfile(floats, kept)
        few = [patches[i] for i in evenly(len(patches), onnx_files.ABLATION_INPUTS)]
        most = MOST_LOSS if args.loss is None else args.loss
        left_out = quantise(floats, part, few, most)
        report = Report(
            f"{source.name} for LiteRT",
            onnx_files.machine(),
            args.command_line,
            measure(floats, part, patches, recordings, workshop.class_map, left_out),
        )
        report.settle(args.out)


def convert(model: Path, example: NDArray[np.float32], target: Path) -> None:
    """Write an ONNX encoder as a float LiteRT model with a batch of one.

    Raises:
        UsageError: operators that :mod:`quantize.torch_graph` does not know, or that LiteRT does
            not take.
        RefusedError: the result is not the same network.
    """
    import litert_torch
    import torch

    module = to_torch(read_model(model))
    sample = torch.from_numpy(np.array(example))
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it tells of every pass
            litert_torch.convert(module, (sample,)).export(str(target))
    except Exception as error:  # MLIR's and its own share no public base
        raise UsageError(
            str(model), expected="a graph that LiteRT takes", got=str(error).splitlines()[0]
        ) from error
    wanted = [output.numpy() for output in module(sample)]
    worst = max(
        float(np.abs(a - b).max()) for a, b in zip(wanted, Runner(target)(example), strict=True)
    )
    if not worst <= 1e-3:
        raise RefusedError(
            str(target), expected="the float model's output within 0.001", got=f"{worst:g}"
        )


class Runner:
    """A LiteRT model on one thread.

    Args:
        path: a .tflite file.
    """

    def __init__(self, path: Path) -> None:
        self._interpreter = open_interpreter(path)
        self._input = self._interpreter.get_input_details()[0]["index"]
        details = self._interpreter.get_output_details()
        self._outputs = [
            detail["index"] for detail in sorted(details, key=lambda detail: str(detail["name"]))
        ]

    def __call__(self, patch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """The outputs for one input, in the order of the graph's."""
        self._interpreter.set_tensor(self._input, patch)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]

    def all(self, patches: Sequence[NDArray[np.float32]]) -> Outputs:
        """Embeddings and scores, told apart by the shipped order: scores first."""
        found = [self(patch) for patch in patches]
        scores, embeddings = (np.concatenate(part) for part in zip(*found, strict=True))
        return Outputs(embeddings, scores)


def quantise(
    floats: Path, target: Path, patches: Sequence[NDArray[np.float32]], most_loss: float
) -> tuple[str, ...]:
    """Write a float LiteRT model in int8; the layers that stay float."""
    from ai_edge_litert.interpreter import Interpreter

    names = [str(d["name"]) for d in Interpreter(str(floats)).get_tensor_details()]
    found = {match for name in names for match in re.findall(r"layer_\d+", name)}
    layers = sorted(found, key=lambda name: int(name.split("_")[1]))
    before = Runner(floats).all(patches)

    def loss_of(chosen: Collection[str]) -> float:
        _write(floats, target, [name for name in layers if name not in chosen])
        return 1.0 - compare(before, Runner(target).all(patches)).cosine_low

    sensitivity = find_sensitive(layers, loss_of, most_loss)
    _write(floats, target, sensitivity.left_out)
    return sensitivity.left_out


def _write(floats: Path, target: Path, left_out: Collection[str]) -> None:
    from ai_edge_quantizer import qtyping, quantizer, recipe

    quantiser = quantizer.Quantizer(str(floats))
    quantiser.load_quantization_recipe(recipe.dynamic_wi8_afp32())
    for name in left_out:
        quantiser.update_quantization_recipe(
            rf"{name}(\D|$)",
            qtyping.TFLOperationName.ALL_SUPPORTED,
            algorithm_key=quantizer.AlgorithmName.NO_QUANTIZE,
        )
    with contextlib.redirect_stdout(io.StringIO()):
        result = quantiser.quantize()
    target.write_bytes(result.quantized_model)


def measure(
    floats: Path,
    target: Path,
    patches: Sequence[NDArray[np.float32]],
    recordings: Recordings,
    class_map: Path | None,
    left_out: Sequence[str],
) -> list[Row]:
    """The float model's row and the other's, with its verdict."""
    paths = (floats, target)
    runners = [Runner(path) for path in paths]
    jobs: list[Callable[[int], object]] = [
        partial(lambda runner, i: runner(patches[i * 37 % len(patches)]), runner)
        for runner in runners
    ]
    latencies = time_in_turn(jobs, TIMED_CALLS)
    outputs = [runner.all(patches) for runner in runners]
    figures = []
    for path, latency, found in zip(paths, latencies, outputs, strict=True):
        agreement = compare(outputs[0], found)
        esc10 = None
        if class_map is not None and recordings.labels and found.scores is not None:
            esc10 = ten_class_accuracy(found.scores, recordings, read_labels(class_map))
        code = (
            "from pathlib import Path\n"
            f"from quantize.tflite_files import Runner\nRunner(Path({str(path.absolute())!r}))"
        )
        figures.append(
            Figures(
                bytes=path.stat().st_size,
                median_ms=latency.median_ms,
                p95_ms=latency.p95_ms,
                best_ms=latency.best_ms,
                peak_bytes=peak_bytes(code, path),
                cosine=agreement.cosine,
                cosine_low=agreement.cosine_low,
                top1=agreement.top1,
                esc10=esc10,
                esc10_n=len(recordings.labels) if esc10 is not None else 0,
            )
        )
    verdict = judge(figures[0], figures[1], Bounds())
    notes = {"left_in_float": list(left_out)}
    return [Row("float", figures[0]), Row("int8", figures[1], verdict, notes)]
