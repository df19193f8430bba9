"""Store the sound encoder's weights in 8 bits.

    python -m quantize.encoder --out FILE --esc10 ../shared/data/esc10

Each large weight becomes int8 with one scale an output channel, followed by Cast and Mul. Both
depend on constants only, so onnxruntime does them once, while it loads: the arithmetic stays
float and so does the speed. Measured on ESC-10's folds 1 to 4 (the table that this prints):
3.97 MB instead of 14.93 MB, median cosine of the embeddings 0.9998.

Activations stay float because one 8-bit step for all recordings does not suit them: the output of
layer 12 reaches 37.8 on one and stays below 1 on forty others. Static quantisation (onnxruntime
1.32, per-channel weights, calibrated on fold 1 by MinMax or the 99.99 % percentile, with the
channels equalised, without the first or the depthwise layers) takes 1.1 ms a patch instead of
1.8 but the median cosine falls to between 0.11 and 0.27; 16-bit activations keep 0.999 and take
7.1 ms.
"""

from __future__ import annotations

import argparse
import csv
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edge_alm.audio.source import open_source
from edge_alm.hearing.encoder import HOP_SAMPLES, HopEncoder
from edge_alm.hearing.logmel import LogMel
from edge_alm.hearing.onnx import open_session
from edge_alm.models import store
from edge_alm.models.yamnet import EMBEDDING, SCORES
from edge_alm.types import Frame

if TYPE_CHECKING:
    import onnx
    import onnxruntime

SMALLEST = 10_000
"""Weights with fewer values stay float: the first layer, all depthwise layers and the narrowest
pointwise ones. They are 1 % of the values; in 8 bits too they take the 5 % quantile of the cosine
from 0.9994 to 0.9968 and save 0.14 MB."""


def quantise(source: Path, target: Path) -> None:
    """Write ``source`` with its large weights in 8 bits to ``target``; the same bytes every time.

    Names, shapes and types of inputs and outputs stay.

    Args:
        source: an ONNX file with float weights inside.
        target: the file to write.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(source)
    graph = model.graph
    restore: list[onnx.NodeProto] = []
    stored: list[onnx.TensorProto] = []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < SMALLEST:
            stored.append(tensor)
            continue
        name = tensor.name
        steps, scale = to_int8(values)
        stored.append(numpy_helper.from_array(steps, f"{name}_int8"))
        stored.append(numpy_helper.from_array(scale, f"{name}_scale"))
        restore.append(
            helper.make_node("Cast", [f"{name}_int8"], [f"{name}_steps"], to=TensorProto.FLOAT)
        )
        restore.append(helper.make_node("Mul", [f"{name}_steps", f"{name}_scale"], [name]))
    nodes = [*restore, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(stored)
    graph.node.extend(nodes)
    onnx.checker.check_model(model)
    target.write_bytes(model.SerializeToString(deterministic=True))


def to_int8(values: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """``values`` [channels, ...] as steps of the same shape and scales [channels, 1, ...].

    steps * scale is within half a scale of ``values``.
    """
    axes = tuple(range(1, values.ndim))
    scale = np.abs(values).max(axis=axes, keepdims=True) / np.float32(127.0)
    steps = np.rint(values / np.where(scale > 0.0, scale, np.float32(1.0)))
    return steps.astype(np.int8), scale.astype(np.float32)


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two encoders differ on the same patches."""

    patches: int
    cosine: NDArray[np.float32]
    """Of the embeddings [patches]."""
    agreement: float
    """Share of the patches with the same highest class."""
    ms: tuple[float, float]
    """Median time of one patch on one thread, before and after, measured in turn."""


def compare(before: Path, after: Path, patches: NDArray[np.float32]) -> Comparison:
    """Run both files on ``patches`` [n, 1, frames, bands], one patch at a time, in turn."""
    sessions = [open_session(before), open_session(after)]
    took_s: tuple[list[float], list[float]] = ([], [])
    cosine, same = [], []
    for patch in patches:
        results = []
        for session, times in zip(sessions, took_s, strict=True):
            start_s = time.perf_counter()
            results.append(_encode(session, patch[None]))
            times.append(time.perf_counter() - start_s)
        (scores, embedding), (other_scores, other_embedding) = results
        norms = np.linalg.norm(embedding) * np.linalg.norm(other_embedding)
        cosine.append(float(embedding @ other_embedding / max(norms, 1e-12)))
        same.append(scores.argmax() == other_scores.argmax())
    before_ms, after_ms = (1e3 * float(np.median(times)) for times in took_s)
    return Comparison(
        len(patches),
        np.array(cosine, dtype=np.float32),
        float(np.mean(same)),
        (before_ms, after_ms),
    )


def _encode(
    session: onnxruntime.InferenceSession, patches: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    scores, embedding = session.run([SCORES, EMBEDDING], {session.get_inputs()[0].name: patches})
    return scores[0], embedding[0]


class _Recorder:
    """An encoder that keeps what it is given."""

    embedding_size = 1

    def __init__(self) -> None:
        self.labels: tuple[str, ...] = ("nothing",)
        self.patches: list[NDArray[np.float32]] = []

    def encode(self, patch: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        self.patches.append(patch)
        return np.zeros(1, np.float32), np.zeros(1, np.float32)


def read_patches(esc10: Path, every: int = 5) -> NDArray[np.float32]:
    """Every ``every``-th patch [n, 1, 96, 64] that the runtime would encode in folds 1 to 4."""
    recorder = _Recorder()
    encoder = HopEncoder(recorder, LogMel())
    with (esc10 / "clips.csv").open(newline="", encoding="utf-8") as file:
        clips = [row["path"] for row in csv.DictReader(file) if int(row["fold"]) <= 4]
    for clip in clips:
        packets = open_source(str(esc10 / clip)).packets()
        samples = np.concatenate([p.samples for p in packets if isinstance(p, Frame)])
        encoder.reset()
        for hop in np.pad(samples, (0, -len(samples) % HOP_SAMPLES)).reshape(-1, HOP_SAMPLES):
            encoder.push(hop, wanted=True)
    return np.stack(recorder.patches)[::every, None]


def main() -> None:
    """Write the file; print how it differs from the float one."""
    parser = argparse.ArgumentParser(prog="python -m quantize.encoder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--esc10", type=Path, required=True)
    args = parser.parse_args()
    source = store.locate("yamnet") / "yamnet.onnx"
    quantise(source, args.out)
    found = compare(source, args.out, read_patches(args.esc10))
    sizes = (source.stat().st_size, args.out.stat().st_size)
    print(f"patches of ESC-10, folds 1-4        {found.patches}")
    print(f"cosine of the embeddings, median    {np.median(found.cosine):.4f}")
    print(f"cosine of the embeddings, 5 %       {np.quantile(found.cosine, 0.05):.4f}")
    print(f"same highest class                  {found.agreement:.1%}")
    print(f"size, MB                            {sizes[0] / 1e6:.2f} -> {sizes[1] / 1e6:.2f}")
    print(f"a patch on one thread, median ms    {found.ms[0]:.2f} -> {found.ms[1]:.2f}")


if __name__ == "__main__":
    main()
