"""Sound encoders beside their teacher: size, cost, and what they still know.

    python -m benchmarks.students build/distill/small/encoder.onnx build/distill/small/*.tflite \
        --corpus build/corpus --esc10 ../shared/data/esc10

The teacher is YAMNet in float. Every file is an encoder of patches, for ONNX Runtime or LiteRT;
``labels.csv`` beside it names its scores. Columns:

- parameters and multiplications of one patch, counted in the graph of a float ONNX file;
- best and median time of a patch, 0.48 s on from the one before, on one thread, all in turn;
- probe: ESC-10's folds 1 to 4, each told by a ridge regression (of :data:`RIDGE`) on the mean
  embeddings of the other three folds' clips. Students of :mod:`export.distill` have heard the folds
  1 to 3, without their labels;
- map: the same clips by the classes that their labels mean, nothing learnt;
- same: hops, and whole recordings, of which student and teacher have the same highest class, in the
  development split of the Debian recordings, which no student heard.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_alm.bench.table import align
from edge_alm.errors import EdgeAlmError
from edge_alm.hearing.audioset import read_labels
from edge_alm.hearing.encoder import Encoder, cut_patches
from edge_alm.hearing.exported import open_encoder
from edge_alm.models import store
from export.corpus import read_corpus, read_samples
from export.gate_classes import GATE, GateClasses
from quantize.encoder_bench import TIMED_CALLS, Recordings, ten_class_accuracy
from quantize.encoders import read_model
from quantize.recordings import read_all, read_clips
from quantize.timing import time_in_turn

RIDGE = 0.1
"""Of the mean square of the features, added for every clip."""
LABELS = "labels.csv"
HEAD = (
    *("", "parameters", "products", "file", "best ms", "median ms"),
    *("probe", "map", "same hops", "same clips"),
)
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Heard:
    """What an encoder makes of patches."""

    scores: Floats
    """[n, classes]."""
    embeddings: Floats
    """[n, width]."""


@dataclass(frozen=True, slots=True)
class Row:
    """One encoder; None: not to be told of it."""

    name: str
    parameters: int | None
    multiplications: int | None
    bytes: int
    best_ms: float
    median_ms: float
    probe: float
    label_map: float | None
    same_hops: float
    same_clips: float


def count(path: Path) -> tuple[int, int]:
    """Parameters of a float ONNX file, and multiplications of one patch.

    Those of convolutions and matrix products: of each output, the weights that it takes.
    """
    from onnx import shape_inference

    graph = shape_inference.infer_shapes(read_model(path)).graph
    weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim][1:]
        for value in (*graph.value_info, *graph.output)
    }
    parameters, multiplications = 0, 0
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm"):
            taken = [weights[name] for name in node.input[1:] if name]
            parameters += sum(int(np.prod(shape)) for shape in taken)
            each = taken[0][1:] if node.op_type == "Conv" else taken[0]
            places = shapes[node.output[0]] if node.op_type == "Conv" else ()
            multiplications += int(np.prod(each) * np.prod(places))
    return parameters, multiplications


def hear(encoder: Encoder, patches: Floats) -> Heard:
    found = [encoder.encode(patch) for patch in patches]
    scores, embeddings = (np.stack(part) for part in zip(*found, strict=True))
    return Heard(scores, embeddings)


def pool(values: Floats, owners: NDArray[np.int64], how: str) -> Floats:
    """The ``mean`` or ``max`` of each clip's rows [clips, ...]."""
    rows = [values[owners == clip] for clip in range(int(owners.max()) + 1)]
    return np.stack([getattr(row, how)(axis=0) for row in rows])


def probe(features: Floats, labels: Sequence[str], folds: Sequence[int]) -> float:
    """Share of the clips told right by a ridge regression on the other folds.

    Args:
        features: [clips, width].
        labels: of the clips.
        folds: of the clips.
    """
    names, own = np.unique(labels, return_inverse=True)
    wanted = np.eye(len(names))[own]
    right = 0
    for fold in sorted(set(folds)):
        out = np.asarray(folds) == fold
        mean, spread = features[~out].mean(axis=0), features[~out].std(axis=0) + 1e-6
        known, new = ((features[part] - mean) / spread for part in (~out, out))
        width = features.shape[1]
        alike = known @ known.T / width + RIDGE * np.eye(len(known))
        answers = new @ known.T / width @ np.linalg.solve(alike, wanted[~out])
        right += int((answers.argmax(axis=1) == own[out]).sum())
    return right / len(features)


def same(a: Floats, b: Floats) -> float:
    """Share of the rows whose highest class is the same."""
    return float(np.mean(a.argmax(axis=1) == b.argmax(axis=1)))


def open_file(path: Path, class_map: Path) -> Encoder:
    beside = path.parent / LABELS
    return open_encoder(path, beside if beside.is_file() else class_map)


def is_float_onnx(path: Path) -> bool:
    try:
        read_model(path)
    except EdgeAlmError:
        return False
    return True


def measure(files: Sequence[Path], esc10: Path, corpus: Path) -> list[Row]:
    """The teacher's row, then one for every file.

    Raises:
        EdgeAlmError: a file or the recordings are missing or wrong.
    """
    folder = store.locate("yamnet")
    class_map = folder / "yamnet_class_map.csv"
    paths = [folder / "yamnet.onnx", *files]
    encoders = [open_file(path, class_map) for path in paths]
    clips = read_clips(esc10)
    labels = tuple(clip.label for clip in clips)
    folds = [int(clip.path.name.partition("-")[0]) for clip in clips]
    batched, owners = read_all(clips)
    patches = batched[:, 0]
    unheard = [c for c in read_corpus(corpus, esc10) if (c.corpus, c.split) == ("debian", "dev")]
    cut = [cut_patches(read_samples(clip)) for clip in unheard]
    debian_owners = np.repeat(np.arange(len(cut)), [len(part) for part in cut])
    debian = np.concatenate(cut)
    jobs = [
        partial(lambda e, i: e.encode(patches[i * 37 % len(patches)]), each) for each in encoders
    ]
    latencies = time_in_turn(jobs, TIMED_CALLS)
    teacher = hear(encoders[0], debian).scores
    gate, told = GateClasses(read_labels(class_map)), Recordings((), owners, labels)
    rows = []
    for path, encoder, latency in zip(paths, encoders, latencies, strict=True):
        own, other = hear(encoder, patches), hear(encoder, debian).scores
        is_gate = encoder.labels == GATE
        wanted = gate(teacher) if is_gate else teacher
        pooled = [pool(scores, debian_owners, "max") for scores in (wanted, other)]
        parameters, multiplications = count(path) if is_float_onnx(path) else (None, None)
        rows.append(
            Row(
                name="/".join(path.parts[-2:]),
                parameters=parameters,
                multiplications=multiplications,
                bytes=path.stat().st_size,
                best_ms=latency.best_ms,
                median_ms=latency.median_ms,
                probe=probe(pool(own.embeddings, owners, "mean"), labels, folds),
                label_map=None if is_gate else ten_class_accuracy(own.scores, told, encoder.labels),
                same_hops=same(wanted, other),
                same_clips=same(*pooled),
            )
        )
    print(f"{len(clips)} clips of ESC-10; {len(debian)} hops of {len(cut)} Debian recordings")
    return rows


def to_cells(row: Row) -> tuple[str, ...]:
    def millions(value: int | None) -> str:
        return "-" if value is None else f"{value / 1e6:.2f} M"

    return (
        row.name,
        millions(row.parameters),
        millions(row.multiplications),
        f"{row.bytes / 1e3:.0f} kB",
        f"{row.best_ms:.3f}",
        f"{row.median_ms:.3f}",
        f"{row.probe:.1%}",
        "-" if row.label_map is None else f"{row.label_map:.1%}",
        f"{row.same_hops:.1%}",
        f"{row.same_clips:.1%}",
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("files", type=Path, nargs="*")
    parser.add_argument("--esc10", type=Path, default=Path("../shared/data/esc10"))
    parser.add_argument("--corpus", type=Path, default=Path("build/corpus"))
    args = parser.parse_args()
    try:
        rows = measure(args.files, args.esc10, args.corpus)
    except EdgeAlmError as error:
        parser.error(str(error))
    print("\n".join(align([HEAD, *map(to_cells, rows)], left=(0,))))
    print(json.dumps([asdict(row) for row in rows]))


if __name__ == "__main__":
    main()
