"""A manifest: what a folder of exported or quantised models is, and that it still is that.

``manifest.json`` beside the files says where they come from and what goes in and out; with a
golden input and output for every graph, so that another machine can check itself. It names every
file of the folder with its size and SHA-256: a file that was swapped is refused, and so is a
graph whose opset, inputs or outputs are not the ones that are written down.

    {"format": 1, "kind": "encoder", "name": "...", "architecture": "hubert",
     "ids": ["superb/hubert-base-superb-er"], "licence": "apache-2.0",
     "produced_by": [{"command": "python -m export encoder ...", "packages": {"torch": "2.13.0"}}],
     "sample_rate_hz": 16000, "window_samples": 16000,
     "front_end": {"kind": "waveform", ...},
     "labels": "labels.csv", "thresholds": "thresholds.csv", "activation": "softmax",
     "graphs": {"audio": {"file": "encoder.onnx", "opset": 17,
                          "inputs": {"samples": {"dtype": "float32", "shape": ["batch", "time"]}},
                          "outputs": {...}, "golden": "encoder.golden.npz"}},
     "parity": {"max_difference": 2e-6, "limit": 0.001},
     "files": {"encoder.onnx": {"bytes": 123, "sha256": "..."}}}
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import ModelBrokenError, ModelMissingError
from edge_alm.models.files import inside, sha256_file
from edge_alm.models.onnx_file import OnnxInfo, Shape, check_onnx

MANIFEST = "manifest.json"
FORMAT = 1
KINDS = ("encoder", "speech", "text", "language_model", "adapter")
ACTIVATIONS = ("sigmoid", "softmax", "none")
"""What makes probabilities of an encoder's scores."""
AUDIO_GRAPH = "audio"
"""The graph of an encoder that hears."""
OPSET_DOMAIN = "ai.onnx"
_MAX_BYTES = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_EXTRA = (MANIFEST, "README.md")
"""What may lie in the folder without being named."""

Arrays: TypeAlias = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output of a graph."""

    dtype: str
    """numpy's name."""
    shape: tuple[int | str, ...]
    """A text names an axis of any length."""


@dataclass(frozen=True, slots=True)
class Graph:
    """An ONNX file, and what goes in and out."""

    file: str
    opset: int
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    golden: str = ""
    """An .npz with an array for every input and output, by name; "" for none."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file's size and SHA-256 in lower-case hexadecimal."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What ``manifest.json`` says."""

    kind: str
    """One of :data:`KINDS`."""
    name: str
    architecture: str
    """transformers' ``model_type``."""
    ids: tuple[str, ...]
    """Names that the weights have, or had, on a model hub, or of the folder they came from."""
    licence: str
    """Of the weights, as their card says; "unknown" where it does not."""
    files: Mapping[str, StoredFile] = field(default_factory=dict)
    """By path below the folder. Filled in by :func:`write_manifest`."""
    graphs: Mapping[str, Graph] = field(default_factory=dict)
    """By role: ``audio`` and ``text`` of an encoder, ``encoder`` and ``decoder`` for speech,
    ``text`` of a sentence encoder."""
    produced_by: tuple[Mapping[str, Any], ...] = ()
    """Steps, oldest first: ``command``, ``packages`` (name to version) and what a step adds."""
    sample_rate_hz: int | None = None
    """What the front end takes."""
    window_samples: int | None = None
    """How much of it an encoder looks at, at that rate."""
    front_end: Mapping[str, Any] | None = None
    """How samples become the first graph's input; read by :mod:`edge_alm.hearing.front_end`."""
    labels: str | None = None
    """CSV with the columns index, mid, display_name: a row for each score."""
    thresholds: str | None = None
    """CSV with the columns label, threshold."""
    activation: str = "none"
    """One of :data:`ACTIVATIONS`."""
    parity: Mapping[str, Any] = field(default_factory=dict)
    """``max_difference`` from the model that this was made of, ``limit``, on which inputs."""


def load_manifest(folder: Path) -> Manifest:
    """Read a folder's manifest and hold its files to it.

    Every file is hashed (1 GB takes about a second).

    Raises:
        ModelMissingError: no manifest there, or a file that it names is missing.
        ModelBrokenError: not a manifest; a file of another size or hash, or one too many; a graph
            with another opset or other inputs and outputs.
    """
    manifest = read_manifest(folder)
    for name, expected in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise ModelMissingError(
                str(path), expected=f"a file of {MANIFEST}", got="no such file", hint=_AGAIN
            )
        if (size := path.stat().st_size) != expected.bytes:
            raise _swapped(path, f"{expected.bytes} bytes", f"{size}")
        if (got := sha256_file(path)) != expected.sha256:
            raise _swapped(path, f"SHA-256 {expected.sha256}", got)
    here = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    if unknown := sorted(here - manifest.files.keys() - {*_EXTRA}):
        raise _swapped(folder, f"the files of {MANIFEST}", f"{', '.join(unknown)} too")
    for graph in manifest.graphs.values():
        path = folder / graph.file
        check_graph(path, graph, check_onnx(path))
    return manifest


def check_graph(path: Path, graph: Graph, info: OnnxInfo) -> None:
    """Refuse an ONNX file that is not the graph of a manifest.

    Args:
        path: the file, for the error.
        graph: what the manifest says.
        info: what the file says.

    Raises:
        ModelBrokenError: another opset, other names or other sizes.
    """
    opset = info.opsets.get(OPSET_DOMAIN, 0)
    if opset != graph.opset:
        raise _swapped(path, f"opset {graph.opset}", f"{opset}")
    sides = (("input", graph.inputs, info.inputs), ("output", graph.outputs, info.outputs))
    for side, expected, got in sides:
        if expected.keys() != got.keys():
            raise _swapped(path, f"{side}s {sorted(expected)}", f"{sorted(got)}")
        for name, tensor in expected.items():
            if not _agree(tensor.shape, got[name]):
                raise _swapped(path, f"{side} {name} of {list(tensor.shape)}", f"{got[name]}")


def read_manifest(folder: Path) -> Manifest:
    """What a folder's manifest says; its files are not looked at.

    Raises:
        ModelMissingError, ModelBrokenError: as :func:`load_manifest`.
    """
    path = folder / MANIFEST
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ModelMissingError(
            str(path), expected="a manifest", got=error.strerror or str(error), hint=_AGAIN
        ) from None
    try:
        if len(raw) > _MAX_BYTES:
            raise ValueError(f"over {_MAX_BYTES} bytes")
        return _parse(folder, json.loads(raw))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ModelBrokenError(
            str(path), expected=f"a manifest of format {FORMAT}", got=reason, hint=_AGAIN
        ) from error


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Hash what lies in ``folder`` and write ``manifest.json``, the same bytes for the same files.

    Returns:
        The manifest with its ``files`` filled in.

    Raises:
        OSError: the disk refused.
    """
    paths = sorted(p for p in folder.rglob("*") if p.is_file())
    files = {
        name: StoredFile(path.stat().st_size, sha256_file(path))
        for path in paths
        if (name := path.relative_to(folder).as_posix()) not in _EXTRA
    }
    whole = replace(manifest, files=files)
    values = {"format": FORMAT, **asdict(whole)}
    text = json.dumps(values, indent=2, ensure_ascii=False, sort_keys=True)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return whole


def read_golden(folder: Path, graph: Graph) -> tuple[Arrays, Arrays]:
    """The golden inputs and outputs of a graph, by name.

    Raises:
        ModelBrokenError: there are none, or arrays of other shapes or types.
    """
    path = folder / (graph.golden or "golden")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in (*graph.inputs, *graph.outputs)}
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise ModelBrokenError(
            str(path), expected=f"the golden arrays of {graph.file}", got=str(error)
        ) from error
    for name, tensor in {**graph.inputs, **graph.outputs}.items():
        got = arrays[name]
        if got.dtype != np.dtype(tensor.dtype) or not _agree(tensor.shape, got.shape):
            raise ModelBrokenError(
                f"{path}: {name}",
                expected=f"{tensor.dtype} {list(tensor.shape)}",
                got=f"{got.dtype} {list(got.shape)}",
            )
    return (
        {name: arrays[name] for name in graph.inputs},
        {name: arrays[name] for name in graph.outputs},
    )


_AGAIN = "export it again"


def _swapped(path: Path, expected: str, got: str) -> ModelBrokenError:
    return ModelBrokenError(str(path), expected=expected, got=got, hint=_AGAIN)


def _agree(declared: tuple[int | str, ...], got: Shape) -> bool:
    """The same sizes; an axis that is free here must be free there too, or be an array's own."""
    return len(declared) == len(got) and all(
        isinstance(a, str) or a == b for a, b in zip(declared, got, strict=True)
    )


def _parse(folder: Path, values: Any) -> Manifest:
    """Raises ValueError, TypeError, KeyError or AttributeError with the reason."""
    if (version := values.pop("format")) != FORMAT:
        raise ValueError(f"format {version!r}")
    if unknown := sorted(values.keys() - set(Manifest.__slots__)):
        raise ValueError(f"unknown keys {unknown}")
    files = {name: StoredFile(**entry) for name, entry in values.pop("files").items()}
    for name, file in files.items():
        inside(folder, name)
        if type(file.bytes) is not int or not _SHA256.match(file.sha256):
            raise ValueError(f"file {name!r} has the size {file.bytes!r}, hash {file.sha256!r}")
    graphs = {role: _parse_graph(entry) for role, entry in values.pop("graphs", {}).items()}
    steps = tuple(dict(step) for step in values.pop("produced_by", ()))
    ids = tuple(map(str, values.pop("ids")))
    manifest = Manifest(files=files, graphs=graphs, produced_by=steps, ids=ids, **values)
    for key in ("kind", "name", "architecture", "licence"):
        if not isinstance(getattr(manifest, key), str):
            raise ValueError(f"{key} is {getattr(manifest, key)!r}")
    for key in ("sample_rate_hz", "window_samples"):
        number = getattr(manifest, key)
        if number is not None and not (type(number) is int and 0 < number < 1 << 31):
            raise ValueError(f"{key} is {number!r}")
    if manifest.kind not in KINDS or manifest.activation not in ACTIVATIONS:
        raise ValueError(f"kind {manifest.kind!r}, activation {manifest.activation!r}")
    named = [manifest.labels, manifest.thresholds]
    named += [name for graph in graphs.values() for name in (graph.file, graph.golden or None)]
    if missing := [name for name in named if name is not None and name not in files]:
        raise ValueError(f"{missing} without a hash")
    return manifest


def _parse_graph(entry: Any) -> Graph:
    inputs, outputs = (
        {name: _parse_tensor(tensor) for name, tensor in entry.pop(side).items()}
        for side in ("inputs", "outputs")
    )
    graph = Graph(inputs=inputs, outputs=outputs, **entry)
    if type(graph.opset) is not int:
        raise ValueError(f"opset {graph.opset!r}")
    return graph


def _parse_tensor(entry: Any) -> Tensor:
    tensor = Tensor(str(np.dtype(entry["dtype"])), tuple(entry["shape"]))
    if not all(isinstance(size, str) or type(size) is int for size in tensor.shape):
        raise ValueError(f"shape {tensor.shape!r}")
    return tensor
