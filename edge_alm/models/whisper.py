"""Stores Whisper's weights as the 8-bit integers that the transcriber computes with.

The published file has 16-bit floats. CTranslate2 would turn them into 8 bits itself while it
loads: the same numbers, but 165 MB at the peak against 47 MB, and 0.1 s more. The result is
the same bytes every time, so that it has a SHA-256 of its own in the catalogue.

Source of the layout and of the scheme (one scale a row): ``model_spec.py`` of
https://github.com/OpenNMT/CTranslate2, ``python/ctranslate2/specs``.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from edge_alm.models.files import broken

_FLOAT32, _INT8, _FLOAT16 = 0, 1, 4
_INT8_MAX = 127.0
_MAX_BYTES = 1 << 28
"""Of one variable; the largest of the known models has 133 MB."""


def prepare(source: Path, target: Path) -> None:
    """Write ``source`` with its weight matrices as int8, one float32 scale a row, to ``target``.

    Args:
        source: ``model.bin`` of a CTranslate2 model in float16; see
            :mod:`edge_alm.models.ctranslate2_folder` for what a whole one is.
        target: the file to write.

    Raises:
        ModelBrokenError: the source is cut short or has no float16 matrix.
        OSError: reading or writing failed.
    """
    with source.open("rb") as raw, target.open("wb") as out:
        try:
            _rewrite(raw, out)
        except (ValueError, struct.error) as error:
            raise broken(source, "whole float16 CTranslate2 weights", str(error)) from error


def _rewrite(raw: BinaryIO, out: BinaryIO) -> None:
    out.write(_read(raw, 4))
    out.write(_read_name(raw))
    out.write(_read(raw, 4))
    (count,) = struct.unpack("<I", _read(raw, 4))
    count_at = out.tell()
    out.write(struct.pack("<I", count))
    matrices = 0
    for _ in range(count):
        name = _read_name(raw)
        (rank,) = _read(raw, 1)
        shape = struct.unpack(f"<{rank}I", _read(raw, 4 * rank))
        kind, size_bytes = struct.unpack("<BI", _read(raw, 5))
        data = _read(raw, size_bytes)
        if kind == _FLOAT16 and rank == 2 and name.endswith(b"weight\0"):
            rows, scales = _quantize(np.frombuffer(data, dtype="<f2").reshape(shape))
            _write_variable(out, name, shape, _INT8, rows.tobytes())
            scale_name = _renamed(name)
            _write_variable(out, scale_name, shape[:1], _FLOAT32, scales.astype("<f4").tobytes())
            matrices += 1
        else:
            _write_variable(out, name, shape, kind, data)
    if not matrices:
        raise ValueError("no float16 matrix")
    while chunk := raw.read(1 << 16):
        out.write(chunk)
    out.seek(count_at)
    out.write(struct.pack("<I", count + matrices))


def _quantize(weights: NDArray[np.float16]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Rows as int8 and the factor that each was multiplied with."""
    wide = weights.astype(np.float32)
    largest = np.abs(wide).max(axis=1)
    scales = np.float32(_INT8_MAX) / np.where(largest == 0, np.float32(_INT8_MAX), largest)
    return np.rint(wide * scales[:, None]).astype(np.int8), scales


def _read(file: BinaryIO, size_bytes: int) -> bytes:
    if size_bytes > _MAX_BYTES:
        raise ValueError(f"{size_bytes} bytes in one piece")
    data = file.read(size_bytes)
    if len(data) != size_bytes:
        raise ValueError("it ends too early")
    return data


def _read_name(file: BinaryIO) -> bytes:
    """Length in 16 bits, text, zero: as it stands in the file."""
    length = _read(file, 2)
    return length + _read(file, struct.unpack("<H", length)[0])


def _renamed(name: bytes) -> bytes:
    text = name[2:-1] + b"_scale\0"
    return struct.pack("<H", len(text)) + text


def _write_variable(
    file: BinaryIO, name: bytes, shape: tuple[int, ...], kind: int, data: bytes
) -> None:
    file.write(name)
    file.write(struct.pack(f"<B{len(shape)}IBI", len(shape), *shape, kind, len(data)))
    file.write(data)
