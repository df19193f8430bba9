from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from edge_alm.errors import ModelBrokenError
from edge_alm.models.ctranslate2_folder import check_ctranslate2
from edge_alm.models.whisper import prepare

FLOAT32, INT8, FLOAT16 = 0, 1, 4
MATRIX = np.random.default_rng(5).normal(size=(3, 8)).astype("<f2")
MATRIX[1] = 0
BIAS = np.arange(3, dtype="<f2")


def named(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def variable(name: str, shape: Sequence[int], kind: int, data: bytes) -> bytes:
    sizes = struct.pack(f"<B{len(shape)}IBI", len(shape), *shape, kind, len(data))
    return named(name) + sizes + data


def weights(*variables: bytes) -> bytes:
    head = struct.pack("<I", 6) + named("WhisperSpec") + struct.pack("<II", 3, len(variables))
    return head + b"".join(variables) + struct.pack("<I", 0)


def test_matrices_become_bytes_and_a_scale_a_row(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(
        weights(
            variable("a/weight", [3, 8], FLOAT16, MATRIX.tobytes()),
            variable("a/bias", [3], FLOAT16, BIAS.tobytes()),
        )
    )
    (tmp_path / "config.json").write_text("{}")
    prepare(tmp_path / "raw", tmp_path / "model.bin")
    assert check_ctranslate2(tmp_path) == "WhisperSpec"
    wide = MATRIX.astype(np.float32)
    largest = np.abs(wide).max(axis=1)
    scales = np.where(largest == 0, 1, 127 / np.where(largest == 0, 1, largest)).astype("<f4")
    rows = np.rint(wide * scales[:, None]).astype(np.int8)
    assert np.abs(rows / scales[:, None] - wide).max() <= largest.max() / 254 * 1.001
    assert (tmp_path / "model.bin").read_bytes() == weights(
        variable("a/weight", [3, 8], INT8, rows.tobytes()),
        variable("a/weight_scale", [3], FLOAT32, scales.tobytes()),
        variable("a/bias", [3], FLOAT16, BIAS.tobytes()),
    )


def test_a_file_cut_anywhere_or_without_a_matrix_is_refused(tmp_path: Path) -> None:
    whole = weights(variable("a/weight", [3, 8], FLOAT16, MATRIX.tobytes()))
    for content in (b"", whole[:20], whole[:60], weights(variable("b", [3], FLOAT16, b"\0" * 6))):
        (tmp_path / "raw").write_bytes(content)
        with pytest.raises(ModelBrokenError):
            prepare(tmp_path / "raw", tmp_path / "model.bin")
