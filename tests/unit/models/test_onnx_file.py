from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_builders import (
    FLOAT,
    INT64,
    onnx_external,
    onnx_model,
    onnx_node,
    onnx_tensor,
    onnx_value,
    small_onnx,
)

from edge_alm.errors import ModelBrokenError, ModelMissingError
from edge_alm.models.onnx_file import check_onnx
from edge_alm.models.protobuf import write_bytes, write_number

FLOATS = np.zeros(6, "<f4").tobytes()


def write(folder: Path, content: bytes) -> Path:
    path = folder / "m.onnx"
    path.write_bytes(content)
    return path


def test_onnxruntime_and_the_check_agree_on_a_good_file(tmp_path: Path) -> None:
    import onnxruntime

    path = write(tmp_path, small_onnx())
    info = check_onnx(path)
    assert (info.inputs, info.outputs) == ({"x": (1, 3)}, {"y": (1, 2)})
    assert (info.nodes, info.tensors, info.weight_bytes) == (1, 2, 32)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": np.ones((1, 3), np.float32)})
    assert y.tolist() == [[7.0, 10.0]]


@pytest.mark.parametrize(
    "tensor",
    [
        onnx_tensor("w", [3, 2], FLOAT, FLOATS[:-1]),
        onnx_tensor("w", [3, 3], FLOAT, FLOATS),
        onnx_tensor("w", [2**39, 2**39], FLOAT, FLOATS),
        onnx_tensor("w", [-1, 6], FLOAT, FLOATS),
        onnx_tensor("w", [1] * 17, FLOAT, FLOATS[:4]),
        onnx_tensor("w", [6], 99, FLOATS),
        onnx_tensor("w", [6], 8, FLOATS),  # strings have no raw form
        onnx_tensor("w", [3, 2], FLOAT, FLOATS)[:-3] + b"\0\0\0\0",
        write_bytes(5, write_number(1, 6), write_number(2, FLOAT), write_bytes(4, FLOATS[:8])),
        write_bytes(5, write_number(1, 2), write_number(2, INT64), write_bytes(7, b"\1\xff")),
        write_bytes(5, write_number(1, 2), write_number(2, INT64), write_bytes(7, b"\1\1\1")),
        write_bytes(5, write_number(1, 2), write_number(2, INT64)),
    ],
)
def test_a_tensor_that_does_not_fit_its_data_is_refused(tmp_path: Path, tensor: bytes) -> None:
    with pytest.raises(ModelBrokenError):
        check_onnx(write(tmp_path, small_onnx(tensor)))


def test_typed_data_is_counted_packed_or_not(tmp_path: Path) -> None:
    head = write_number(1, 2) + write_number(2, INT64)
    packed = write_bytes(5, head, write_bytes(7, b"\x80\x01\x05"))
    plain = write_bytes(5, head, write_number(7, 128), write_number(7, 5))
    floats = write_bytes(5, write_number(1, 2), write_number(2, FLOAT), write_bytes(4, FLOATS[:8]))
    assert check_onnx(write(tmp_path, small_onnx(packed, plain, floats))).tensors == 3


def test_weights_in_another_file_must_be_there_whole(tmp_path: Path) -> None:
    (tmp_path / "w.data").write_bytes(bytes(32))
    good = onnx_external("w", [3, 2], location="w.data", offset=8, length=24)
    assert check_onnx(write(tmp_path, small_onnx(good))).weight_bytes == 24
    for place in (
        {"location": "w.data", "offset": 9, "length": 24},
        {"location": "w.data", "offset": 8, "length": 23},
        {"location": "w.data", "offset": -8, "length": 24},
        {"location": "w.data", "offset": 10**30, "length": 24},
        {"location": "nothing.data", "offset": 0, "length": 24},
        {"location": ".", "offset": 0, "length": 24},
        {"offset": 0},
    ):
        with pytest.raises(ModelBrokenError):
            check_onnx(write(tmp_path, small_onnx(onnx_external("w", [3, 2], **place))))


@pytest.mark.parametrize("kind", ["parent", "absolute", "link", "deep"])
def test_weights_outside_the_folder_are_refused(tmp_path: Path, kind: str) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(64))
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "link").symlink_to(secret)
    location = {
        "parent": "../secret",
        "absolute": str(secret),
        "link": "link",
        "deep": "sub/../../secret",
    }[kind]
    tensor = onnx_external("w", [3, 2], location=location, offset=0, length=24)
    with pytest.raises(ModelBrokenError, match="leaves its folder"):
        check_onnx(write(folder, small_onnx(tensor)))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00",
        b"<!DOCTYPE html><html>not found</html>",
        b"\x08\x08",
        onnx_model(),
        onnx_model(onnx_node("Relu", ["x"], "y")),
        onnx_model(onnx_node("", ["x"], "y"), onnx_value(12, "y", FLOAT, [1])),
        small_onnx() + small_onnx(),
        small_onnx()[:-1],
        onnx_model(onnx_node("Relu", ["x"], "y"), onnx_value(12, "y", FLOAT, [1]), ir_version=1000),
    ],
)
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ModelBrokenError):
        check_onnx(write(tmp_path, content))


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ModelMissingError):
        check_onnx(tmp_path / "nothing.onnx")
    with pytest.raises(ModelBrokenError):
        check_onnx(tmp_path)


def test_nested_graphs_are_walked_but_not_for_ever(tmp_path: Path) -> None:
    def nest(depth: int, leaf: bytes) -> bytes:
        for _ in range(depth):
            graph = write_bytes(6, leaf)
            attribute = write_bytes(5, write_bytes(1, "body"), graph)
            leaf = write_bytes(1, write_bytes(4, "Loop"), attribute)
        return leaf

    out = onnx_value(12, "y", FLOAT, [1])
    assert check_onnx(write(tmp_path, onnx_model(nest(5, onnx_node("Relu", ["x"], "y")), out)))
    with pytest.raises(ModelBrokenError, match="deep"):
        check_onnx(write(tmp_path, onnx_model(nest(50, onnx_node("Relu", ["x"], "y")), out)))
    bad = onnx_tensor("w", [7], FLOAT, FLOATS)
    with pytest.raises(ModelBrokenError, match="bytes instead of"):
        check_onnx(write(tmp_path, onnx_model(nest(2, bad), out)))


def test_a_file_of_many_tiny_fields_is_given_up_soon(tmp_path: Path) -> None:
    path = write(tmp_path, onnx_model(write_bytes(1, write_bytes(4, "Relu") + b"\x50\x01" * 2**23)))
    started_s = time.perf_counter()
    with pytest.raises(ModelBrokenError, match="absurdly"):
        check_onnx(path)
    assert time.perf_counter() - started_s < 5


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 400),
    insert=st.binary(max_size=12),
)
def test_damage_is_refused_or_harmless(
    tmp_path: Path, edits: list[tuple[int, int]], cut: int, insert: bytes
) -> None:
    (tmp_path / "w.data").write_bytes(bytes(32))
    content = bytearray(
        small_onnx(
            onnx_external("w", [3, 2], location="w.data", offset=8, length=24),
            write_bytes(5, write_number(1, 2), write_number(2, INT64), write_bytes(7, b"\1\1")),
        )
    )
    for at, value in edits:
        content[at % len(content)] = value
    at = cut % (len(content) + 1)
    content[at:at] = insert
    path = write(tmp_path, bytes(content[: len(content) - cut % 7]))
    with suppress(ModelBrokenError):
        check_onnx(path)
