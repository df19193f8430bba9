"""Bounds-checks a LiteRT (TensorFlow Lite) encoder before native code sees it.

LiteRT reads a file where it lies in memory and follows its offsets. Here every offset on the way to
the tensors, their weights and the operators is compared with what is really there, and every
index with how many there are; weights are not read.

Sources: https://flatbuffers.dev/internals for the form of tables and vectors,
https://github.com/google-ai-edge/LiteRT/blob/main/tflite/schema/schema.fbs for the fields.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_alm.models.files import broken, mapped
from edge_alm.models.yamnet import EMBEDDING, SCORES

SUFFIX = ".tflite"
_IDENTIFIER = b"TFL3"
_VERSION = 3
_MAX_BYTES = 2**31 - 1
_MAX_ITEMS = 100_000
"""Of a vector of tables; ours have under 200. Bounds the time to about 0.5 s."""
_MAX_RANK = 8
_MAX_VALUES = 1 << 26
"""Of a tensor; YAMNet's largest has a million. One of three billion kept LiteRT busy for
minutes."""
_DTYPES = {0: "float32", 3: "uint8", 9: "int8"}
"""TensorType of what an encoder may take and give."""

# Fields, by their place in the schema's tables.
_MODEL_VERSION, _MODEL_CODES, _MODEL_SUBGRAPHS, _MODEL_BUFFERS = 0, 1, 2, 4
_TENSORS, _INPUTS, _OUTPUTS, _OPERATORS = 0, 1, 2, 3
_SHAPE, _TYPE, _BUFFER, _NAME = 0, 1, 2, 3
_CODE, _FROM, _TO = 0, 1, 2
_DATA = 0


@dataclass(frozen=True, slots=True)
class TfliteTensor:
    """What goes in or comes out."""

    shape: tuple[int, ...]
    dtype: str
    """``float32``, ``int8`` or ``uint8``."""


@dataclass(frozen=True, slots=True)
class TfliteInfo:
    """What a checked file declares."""

    input: TfliteTensor
    outputs: dict[str, tuple[int, ...]]
    """``class_scores`` and ``embedding`` to shape: LiteRT's converter gives outputs names of its
    own, whose order is that of the network it was given."""


def check_tflite(path: Path) -> TfliteInfo:
    """Refuse a file that is not a well-formed LiteRT encoder with all its weights inside.

    Raises:
        ModelMissingError: no such file.
        ModelBrokenError: says what is wrong.
    """
    with mapped(path) as buffer:
        try:
            return _check(_Reader(buffer))
        except (ValueError, struct.error) as error:
            raise broken(path, "a whole LiteRT encoder", str(error)) from error


class _Reader:
    """Follows offsets and never leaves the buffer; ValueError says where it would."""

    def __init__(self, buffer: memoryview) -> None:
        self.buffer = buffer

    def number(self, form: str, at: int) -> int:
        """The little-endian number at a byte."""
        if not 0 <= at <= len(self.buffer) - struct.calcsize(form):
            raise ValueError(f"byte {at} of {len(self.buffer)}")
        return int(struct.unpack_from(f"<{form}", self.buffer, at)[0])

    def field(self, table: int, index: int) -> int:
        """Where a table's field lies; 0 where it has its default."""
        layout = table - self.number("i", table)
        size, table_bytes = self.number("H", layout), self.number("H", layout + 2)
        place = 4 + 2 * index
        if place + 2 > size:
            return 0
        offset = self.number("H", layout + place)
        if offset >= max(table_bytes, 1):
            raise ValueError(f"a field {offset} bytes into a table of {table_bytes}")
        return table + offset if offset else 0

    def value(self, table: int, index: int, form: str) -> int:
        """A field that is a number."""
        at = self.field(table, index)
        return self.number(form, at) if at else 0

    def vector(self, table: int, index: int, item_bytes: int) -> tuple[int, int]:
        """Where a field's items begin, and how many there are."""
        at = self.field(table, index)
        if not at:
            return 0, 0
        at += self.number("I", at)
        count = self.number("I", at)
        if at + 4 + count * item_bytes > len(self.buffer):
            raise ValueError(f"{count} items at byte {at} of {len(self.buffer)}")
        return at + 4, count

    def tables(self, table: int, index: int) -> list[int]:
        """Where the tables of a field are."""
        start, count = self.vector(table, index, 4)
        if count > _MAX_ITEMS:
            raise ValueError(f"{count} tables")
        places = range(start, start + 4 * count, 4)
        return [at + self.number("I", at) for at in places]

    def numbers(self, table: int, index: int) -> tuple[int, ...]:
        """A field that is a list of int32."""
        start, count = self.vector(table, index, 4)
        return struct.unpack_from(f"<{count}i", self.buffer, start)

    def text(self, table: int, index: int) -> str:
        """A field that is a string."""
        start, count = self.vector(table, index, 1)
        return bytes(self.buffer[start : start + count]).decode()


def _check(reader: _Reader) -> TfliteInfo:
    if len(reader.buffer) > _MAX_BYTES:
        raise ValueError(f"over {_MAX_BYTES} bytes")
    if (identifier := bytes(reader.buffer[4:8])) != _IDENTIFIER:
        raise ValueError(f"the identifier {identifier!r}, not {_IDENTIFIER!r}")
    model = reader.number("I", 0)
    if (version := reader.value(model, _MODEL_VERSION, "I")) != _VERSION:
        raise ValueError(f"schema version {version}")
    graphs = reader.tables(model, _MODEL_SUBGRAPHS)
    if len(graphs) != 1:
        raise ValueError(f"{len(graphs)} subgraphs")
    buffers = reader.tables(model, _MODEL_BUFFERS)
    for buffer in buffers:
        reader.vector(buffer, _DATA, 1)
    codes = len(reader.tables(model, _MODEL_CODES))
    tensors = reader.tables(graphs[0], _TENSORS)
    for tensor in tensors:
        _below(reader.value(tensor, _BUFFER, "I"), len(buffers), "buffers")
        shape = reader.numbers(tensor, _SHAPE)
        values = math.prod(shape[:_MAX_RANK])
        if len(shape) > _MAX_RANK or min(shape, default=0) < 0 or values > _MAX_VALUES:
            raise ValueError(f"a tensor of shape {shape[: _MAX_RANK + 1]}")
    for operator in reader.tables(graphs[0], _OPERATORS):
        _below(reader.value(operator, _CODE, "I"), codes, "operators")
        for side in (_FROM, _TO):
            for tensor in reader.numbers(operator, side):
                _below(tensor + 1, len(tensors) + 1, "tensors and none")  # -1: left out
    ends = [
        [tensors[_below(i, len(tensors), "tensors")] for i in reader.numbers(graphs[0], side)]
        for side in (_INPUTS, _OUTPUTS)
    ]
    if (len(ends[0]), len(ends[1])) != (1, 2):
        raise ValueError(f"{len(ends[0])} inputs and {len(ends[1])} outputs, not 1 and 2")
    described = list(_describe(reader, ends[1]))
    ((_, source),) = _describe(reader, ends[0])
    outputs = [tensor.shape for _, tensor in sorted(described, key=lambda each: each[0])]
    return TfliteInfo(source, dict(zip((SCORES, EMBEDDING), outputs, strict=True)))


def _describe(reader: _Reader, tensors: list[int]) -> Iterator[tuple[str, TfliteTensor]]:
    for tensor in tensors:
        kind = reader.value(tensor, _TYPE, "b")
        if kind not in _DTYPES:
            raise ValueError(
                f"an input or output of type {kind}, not {', '.join(_DTYPES.values())}"
            )
        shape = reader.numbers(tensor, _SHAPE)
        yield reader.text(tensor, _NAME), TfliteTensor(shape, _DTYPES[kind])


def _below(index: int, count: int, what: str) -> int:
    if not 0 <= index < count:
        raise ValueError(f"number {index} of {count} {what}")
    return index
