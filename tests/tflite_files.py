"""A LiteRT encoder of two matrix products, written without a converter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from numpy.typing import NDArray

from edge_alm.hearing.encoder import PATCH_FRAMES
from edge_alm.hearing.logmel import MEL_BANDS

PATCH = (1, 1, PATCH_FRAMES, MEL_BANDS)
_FLOAT, _INT8 = 0, 9
_FULLY_CONNECTED, _ITS_OPTIONS = 9, 8
RANGE = 8.0, 64.0
"""What 127 stands for, in the input and the outputs of a file in 8 bits."""


def write_tflite(
    path: Path,
    scores: NDArray[np.float32],
    embedding: NDArray[np.float32],
    *,
    int8: bool = False,
    version: int = 3,
    shape: tuple[int, ...] = PATCH,
    first_weights: int = 1,
) -> Path:
    """A file that multiplies a patch [6144] by ``scores`` [classes, 6144] and by ``embedding``.

    Args:
        path: the file to write.
        scores: a matrix.
        embedding: another.
        int8: everything in 8 bits, input and outputs too.
        version: of the schema.
        shape: of the input.
        first_weights: the tensor that the first product takes its weights from.
    """
    builder: Any = flatbuffers.Builder(1024)
    weights = scores, embedding
    scales = [float(np.abs(each).max()) / 127.0 for each in weights]
    data = [
        np.round(each / scale).astype(np.int8) if int8 else each
        for each, scale in zip(weights, scales, strict=True)
    ]
    blobs = [_bytes(builder, each.tobytes()) for each in data]
    buffers = [_table(builder, 1, offsets={0: blob} if blob else {}) for blob in (0, *blobs)]
    source, product = (limit / 127.0 for limit in RANGE)
    described = [
        ("patch", shape, 0, source),
        ("weights_0", scores.shape, 1, scales[0]),
        ("weights_1", embedding.shape, 2, scales[1]),
        ("output_0", (1, len(scores)), 0, product),
        ("output_1", (1, len(embedding)), 0, product),
    ]
    tensors = []
    for name, sizes, buffer, scale in described:
        offsets = {0: _ints(builder, sizes), 3: builder.CreateString(name)}
        if int8:
            offsets[4] = _quantisation(builder, scale)
        numbers = {1: ("Int8", _INT8 if int8 else _FLOAT), 2: ("Uint32", buffer)}
        tensors.append(_table(builder, 5, numbers, offsets))
    operators = []
    for taken, given in ((first_weights, 3), (2, 4)):
        options = _table(builder, 1)
        ends = {1: _ints(builder, (0, taken, -1)), 2: _ints(builder, (given,))}
        operators.append(_table(builder, 5, {3: ("Uint8", _ITS_OPTIONS)}, {**ends, 4: options}))
    graph = _table(
        builder,
        4,
        offsets={
            0: _tables(builder, tensors),
            1: _ints(builder, (0,)),
            2: _ints(builder, (3, 4)),
            3: _tables(builder, operators),
        },
    )
    newest = 4 if int8 else 1
    numbers = {0: ("Int8", _FULLY_CONNECTED), 2: ("Int32", newest), 3: ("Int32", _FULLY_CONNECTED)}
    code = _table(builder, 4, numbers)
    model = _table(
        builder,
        5,
        {0: ("Uint32", version)},
        {
            1: _tables(builder, [code]),
            2: _tables(builder, [graph]),
            4: _tables(builder, buffers),
        },
    )
    builder.Finish(model, b"TFL3")
    path.write_bytes(builder.Output())
    return path


def _table(
    builder: Any,
    fields: int,
    numbers: dict[int, tuple[str, int]] | None = None,
    offsets: dict[int, int] | None = None,
) -> int:
    builder.StartObject(fields)
    for slot, (kind, value) in (numbers or {}).items():
        getattr(builder, f"Prepend{kind}Slot")(slot, value, 0)
    for slot, offset in (offsets or {}).items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    return int(builder.EndObject())


def _tables(builder: Any, tables: list[int]) -> int:
    builder.StartVector(4, len(tables), 4)
    for table in reversed(tables):
        builder.PrependUOffsetTRelative(table)
    return int(builder.EndVector())


def _ints(builder: Any, values: tuple[int, ...]) -> int:
    return int(builder.CreateNumpyVector(np.array(values, np.int32)))


def _bytes(builder: Any, content: bytes) -> int:
    """Where LiteRT wants weights to lie: on a multiple of 16."""
    builder.StartVector(1, len(content), 16)
    builder.head -= len(content)
    builder.Bytes[builder.head : builder.head + len(content)] = content
    return int(builder.EndVector())


def _quantisation(builder: Any, scale: float) -> int:
    scales = builder.CreateNumpyVector(np.array([scale], np.float32))
    zero_points = builder.CreateNumpyVector(np.array([0], np.int64))
    return _table(builder, 4, offsets={2: scales, 3: zero_points})
