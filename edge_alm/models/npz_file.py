"""Reads what the arrays of an .npz file declare, without the arrays."""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from edge_alm.errors import ModelMissingError
from edge_alm.models.files import broken

_MAX_HEADER_BYTES = 10_000
FLOATS: frozenset[np.dtype[Any]] = frozenset((np.dtype(np.float16), np.dtype(np.float32)))


def read_shapes(
    path: Path, what: str, dtypes: frozenset[np.dtype[Any]] = FLOATS
) -> dict[str, tuple[int, ...]]:
    """Shapes of all arrays by name.

    Args:
        path: of the file.
        what: it should be, for the message: "a projector".
        dtypes: that its arrays may have.

    Raises:
        ModelMissingError: no such file.
        ModelBrokenError: no .npz, an array of another type, or of another size than it says.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return {
                info.filename.removesuffix(".npy"): _read_shape(archive, info, dtypes)
                for info in archive.infolist()
            }
    except FileNotFoundError:
        raise ModelMissingError(str(path), expected=what, got="no such file") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise broken(path, "an .npz file", str(error)) from error
    except (ValueError, KeyError, NotImplementedError, RuntimeError, SyntaxError) as error:
        raise broken(path, f"arrays of {what}", str(error)) from error


def _read_shape(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, dtypes: frozenset[np.dtype[Any]]
) -> tuple[int, ...]:
    """The shape that an array declares, once its size has been found to agree.

    Raises:
        ValueError: it does not agree, or has none of the types.
    """
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"{info.filename} is of version {version}")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file, _MAX_HEADER_BYTES)
        size_bytes = file.tell() + math.prod(shape) * dtype.itemsize
    if dtype not in dtypes or any(size < 0 for size in shape):
        raise ValueError(f"{info.filename} is {dtype} of {shape}")
    if info.file_size != size_bytes:
        raise ValueError(f"{info.filename} has {info.file_size} bytes instead of {size_bytes}")
    return tuple(int(size) for size in shape)
