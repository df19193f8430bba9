from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tflite_files import PATCH, write_tflite

from edge_alm.errors import ModelBrokenError, ModelMissingError
from edge_alm.models.tflite_file import check_tflite

PATCH_VALUES = 96 * 64
SAME_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def matrix(rows: int, seed: int = 0) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, PATCH_VALUES)).astype(np.float32)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return write_tflite(tmp_path / "e.tflite", matrix(3), matrix(5))


@pytest.mark.parametrize("int8", [False, True])
def test_what_goes_in_and_comes_out_is_told(tmp_path: Path, int8: bool) -> None:
    info = check_tflite(write_tflite(tmp_path / "e.tflite", matrix(3), matrix(5), int8=int8))
    assert (info.input.shape, info.input.dtype) == (PATCH, "int8" if int8 else "float32")
    assert info.outputs == {"class_scores": (1, 3), "embedding": (1, 5)}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"version": 2}, "schema version 2"),
        ({"first_weights": 9}, "number 10 of 6 tensors"),
        ({"first_weights": -2}, "number -1 of 6 tensors"),
        ({"shape": (-1, 96, 64)}, "a tensor of shape"),
        ({"shape": (1,) * 9}, "a tensor of shape"),
        ({"shape": (1 << 20, 96, 64)}, "a tensor of shape"),
    ],
)
def test_a_wrong_number_is_named(tmp_path: Path, change: dict[str, int], reason: str) -> None:
    path = write_tflite(tmp_path / "e.tflite", matrix(3), matrix(5), **change)  # type: ignore[arg-type]
    with pytest.raises(ModelBrokenError, match=reason):
        check_tflite(path)


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\0" * 64, b"\x08\0\0\0TFL3" + b"\xff" * 64])
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "e.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelBrokenError):
        check_tflite(path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelMissingError):
        check_tflite(tmp_path / "e.tflite")


@SAME_FOLDER
@given(share=st.floats(0.0, 0.999))
def test_a_file_cut_anywhere_is_refused(whole: Path, share: float) -> None:
    content = whole.read_bytes()
    path = whole.with_name("cut.tflite")
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ModelBrokenError):
        check_tflite(path)


@SAME_FOLDER
@given(at=st.integers(0, 1999), value=st.integers(0, 2**32 - 1), near_start=st.booleans())
def test_no_number_leads_out_of_the_file(
    whole: Path, at: int, value: int, near_start: bool
) -> None:
    """Weights lie between the tables at the start and those written first, at the end."""
    content = bytearray(whole.read_bytes())
    at = at if near_start else len(content) - 2004 + at
    content[at : at + 4] = value.to_bytes(4, "little")
    path = whole.with_name("changed.tflite")
    path.write_bytes(content)
    with contextlib.suppress(ModelBrokenError):
        check_tflite(path)
