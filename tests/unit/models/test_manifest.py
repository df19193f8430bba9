from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_builders import encoder_onnx

from edge_alm.errors import EdgeAlmError, ModelBrokenError, ModelMissingError, UsageError
from edge_alm.models.files import fresh_folder
from edge_alm.models.manifest import (
    MANIFEST,
    Graph,
    Manifest,
    Tensor,
    load_manifest,
    read_golden,
    read_manifest,
    write_manifest,
)
from edge_alm.models.onnx_file import check_onnx


def write(folder: Path) -> Manifest:
    """A folder with one graph and its manifest."""
    folder.mkdir(exist_ok=True)
    (folder / "encoder.onnx").write_bytes(encoder_onnx())
    info = check_onnx(folder / "encoder.onnx")
    inputs, outputs = (
        {name: Tensor("float32", tuple(n or "free" for n in shape)) for name, shape in side.items()}
        for side in (info.inputs, info.outputs)
    )
    arrays: dict[str, Any] = {
        name: np.ones([2 if isinstance(n, str) else n for n in tensor.shape], np.float32)
        for name, tensor in (inputs | outputs).items()
    }
    np.savez(folder / "golden.npz", **arrays)
    graph = Graph("encoder.onnx", info.opsets["ai.onnx"], inputs, outputs, "golden.npz")
    return write_manifest(
        folder,
        Manifest(
            "encoder",
            "test",
            "made",
            ("nobody/made",),
            "CC0-1.0",
            graphs={"audio": graph},
            produced_by=({"command": "made", "packages": {"numpy": "2"}},),
            sample_rate_hz=16_000,
            window_samples=16_000,
            front_end={"kind": "waveform"},
        ),
    )


def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads((folder / MANIFEST).read_text())
    edit(values)
    (folder / MANIFEST).write_text(json.dumps(values))


def test_what_is_written_is_read_and_written_as_the_same_bytes(tmp_path: Path) -> None:
    written = write(tmp_path)
    first = (tmp_path / MANIFEST).read_bytes()
    assert load_manifest(tmp_path) == written
    write_manifest(tmp_path, read_manifest(tmp_path))
    assert (tmp_path / MANIFEST).read_bytes() == first


def test_a_file_that_was_swapped_lost_or_added_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    model = tmp_path / "encoder.onnx"
    content = model.read_bytes()
    model.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ModelBrokenError, match="expected SHA-256"):
        load_manifest(tmp_path)
    model.write_bytes(content + b"\0")
    with pytest.raises(ModelBrokenError, match=f"expected {len(content)} bytes"):
        load_manifest(tmp_path)
    model.unlink()
    with pytest.raises(ModelMissingError, match="export it again"):
        load_manifest(tmp_path)
    model.write_bytes(content)
    (tmp_path / "encoder.onnx.data").write_bytes(b"")
    with pytest.raises(ModelBrokenError, match=r"encoder\.onnx\.data too"):
        load_manifest(tmp_path)


def _audio(values: dict[str, Any]) -> dict[str, Any]:
    graph: dict[str, Any] = values["graphs"]["audio"]
    return graph


@pytest.mark.parametrize(
    ("edit", "word"),
    [
        (lambda v: _audio(v).update(opset=99), "expected opset 99"),
        (lambda v: _audio(v)["outputs"]["embedding"]["shape"].__setitem__(-1, 7), "embedding of"),
        (lambda v: _audio(v)["inputs"].update(more={"dtype": "int64", "shape": []}), "inputs"),
        (lambda v: _audio(v).update(file="other.onnx"), "without a hash"),
        (lambda v: _audio(v).update(file=3), "without a hash"),
        (lambda v: _audio(v).update(opset="17"), "opset '17'"),
        (lambda v: v.update(format=2), "format 2"),
        (lambda v: v.update(more=1), "unknown keys"),
        (lambda v: v.pop("ids"), "no 'ids'"),
        (lambda v: v.update(kind="spell"), "kind 'spell'"),
        (lambda v: v.update(sample_rate_hz=-1), "sample_rate_hz is -1"),
        (lambda v: v.update(window_samples=True), "window_samples is True"),
        (lambda v: v.update(name=3), "name is 3"),
        (lambda v: v["files"].update({"../x": {"bytes": 1, "sha256": "0" * 64}}), "leaves"),
        (lambda v: v["files"]["encoder.onnx"].update(sha256="no"), "hash 'no'"),
        (lambda v: v.update(files=[]), "a manifest of format"),
        (lambda v: v.update(graphs=7), "a manifest of format"),
    ],
)
def test_a_manifest_that_lies_is_refused_in_one_line(
    tmp_path: Path, edit: Callable[[dict[str, Any]], object], word: str
) -> None:
    write(tmp_path)
    change(tmp_path, edit)
    with pytest.raises(ModelBrokenError, match=word) as caught:
        load_manifest(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "null", '{"format": 1}', "[" * 5000, "\0" * 2_000_000])
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(ModelBrokenError):
        read_manifest(tmp_path)
    with pytest.raises(ModelMissingError):
        read_manifest(tmp_path / "elsewhere")


def test_golden_arrays_have_the_shapes_of_the_graph(tmp_path: Path) -> None:
    graph = write(tmp_path).graphs["audio"]
    inputs, outputs = read_golden(tmp_path, graph)
    assert (inputs.keys(), outputs.keys()) == (graph.inputs.keys(), graph.outputs.keys())
    wrong = {name: Tensor("float32", (3,)) for name in graph.inputs}
    for other in (replace(graph, inputs=wrong), replace(graph, golden="none.npz")):
        with pytest.raises(ModelBrokenError):
            read_golden(tmp_path, other)


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder"

    def interrupted() -> None:
        with fresh_folder(target) as scratch:
            (scratch / "half").write_bytes(b"1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(target.parent.iterdir()) == []
    with fresh_folder(target) as scratch:
        (scratch / "whole").write_bytes(b"12")
    assert [path.name for path in target.iterdir()] == ["whole"]
    assert list(target.parent.iterdir()) == [target]
    with pytest.raises(UsageError, match="expected a new folder"), fresh_folder(target):
        pass


def test_a_target_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(EdgeAlmError, match="can be written"), fresh_folder(tmp_path / "file" / "x"):
        pass
    with pytest.raises(UsageError, match="No space left"), fresh_folder(tmp_path / "full"):
        raise OSError(28, "No space left on device")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
