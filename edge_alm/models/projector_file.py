"""Reads the shapes of a projector, the small network from sound embeddings to soft tokens.

A projector is an .npz of six arrays, float16 or float32: ``ln_weight`` and ``ln_bias`` [inputs],
``w1`` [hidden, inputs], ``b1`` [hidden], ``w2`` [outputs, hidden], ``b2`` [outputs].
"""

from __future__ import annotations

import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_alm.errors import ModelMissingError
from edge_alm.models.files import broken

HOP_LEVELS = 4
"""Levels that a soft token is made from besides the embedding, one every 120 ms: the embedding
says what is heard and hardly how loud, or when within the hop."""
LEVEL_MIDDLE_DB, LEVEL_SCALE_DB = 20.0, 20.0
"""A level of the middle, about -30 dBFS, stands there as 0, and one a scale above as 1."""
FULL_SCALE_DB = 50.0
"""The level of 0 dBFS: 52 for white noise, 48 for a sine."""
_MAX_HEADER_BYTES = 10_000
_FLOATS = (np.dtype(np.float16), np.dtype(np.float32))


@dataclass(frozen=True, slots=True)
class ProjectorInfo:
    """The widths of a checked projector."""

    inputs: int
    hidden: int
    outputs: int


def check_projector(path: Path) -> ProjectorInfo:
    """Refuse a file whose arrays are not those of a projector; reads headers only.

    Raises:
        ModelMissingError: no such file.
        ModelBrokenError: says what is wrong.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            shapes = {
                info.filename.removesuffix(".npy"): _read_shape(archive, info)
                for info in archive.infolist()
            }
    except FileNotFoundError:
        raise ModelMissingError(str(path), expected="a projector", got="no such file") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise broken(path, "an .npz file", str(error)) from error
    except (ValueError, KeyError, NotImplementedError, RuntimeError, SyntaxError) as error:
        raise broken(path, "arrays of a projector", str(error)) from error
    w1, w2 = shapes.get("w1", ()), shapes.get("w2", ())
    if len(w1) != 2 or len(w2) != 2 or not all(w1 + w2):
        raise broken(path, "matrices w1 and w2", f"{sorted(shapes)}")
    hidden, inputs = w1
    outputs = w2[0]
    expected: dict[str, tuple[int, ...]] = {
        "ln_weight": (inputs,),
        "ln_bias": (inputs,),
        "w1": (hidden, inputs),
        "b1": (hidden,),
        "w2": (outputs, hidden),
        "b2": (outputs,),
    }
    if shapes != expected:
        raise broken(path, f"{expected}", f"{shapes}")
    return ProjectorInfo(inputs, hidden, outputs)


def _read_shape(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[int, ...]:
    """The shape that an array declares, once its size has been found to agree.

    Raises:
        ValueError: it does not agree, or is not of floats.
    """
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"{info.filename} is of version {version}")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file, _MAX_HEADER_BYTES)
        size_bytes = file.tell() + math.prod(shape) * dtype.itemsize
    if dtype not in _FLOATS or any(size < 0 for size in shape):
        raise ValueError(f"{info.filename} is {dtype} of {shape}")
    if info.file_size != size_bytes:
        raise ValueError(f"{info.filename} has {info.file_size} bytes instead of {size_bytes}")
    return tuple(int(size) for size in shape)
