"""Bounds-checks an ONNX file before native code sees it.

Every length, count and offset in the file is compared with what is really there. Nothing is
allocated by a number from the file: it is mapped and walked, weights are not read.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from edge_alm.models.files import broken, inside, mapped
from edge_alm.models.protobuf import (
    FIXED32,
    FIXED64,
    LENGTH,
    VARINT,
    Field,
    MalformedError,
    Reader,
    signed,
)

Shape: TypeAlias = tuple[int | None, ...]

_MAX_BYTES = 2**31 - 1
"""A protobuf message cannot be larger."""
_MAX_FIELDS = 200_000
"""Ours have under 10,000; bounds the time to about 0.5 s."""
_MAX_DEPTH = 8
_MAX_RANK = 16
_MAX_NODES = 100_000
_IR_VERSIONS = range(3, 32)
_DECIMAL = re.compile(r"[0-9]{1,18}\Z")

_BITS = {
    **dict.fromkeys((1, 6, 12), 32),  # float, int32, uint32
    **dict.fromkeys((2, 3, 9, 17, 18, 19, 20, 24), 8),  # (u)int8, bool, float8 kinds
    **dict.fromkeys((4, 5, 10, 16), 16),  # (u)int16, float16, bfloat16
    **dict.fromkeys((7, 11, 13, 14), 64),  # (u)int64, double, complex64
    15: 128,  # complex128
    **dict.fromkeys((21, 22, 23), 4),  # (u)int4, float4
    **dict.fromkeys((25, 26), 2),  # (u)int2
}
"""TensorProto.DataType to bits an element."""
_STRING = 8

# The typed data fields of TensorProto, for tensors that do not use raw_data.
_FLOAT_DATA, _INT32_DATA, _STRING_DATA, _INT64_DATA = 4, 5, 6, 7
_DOUBLE_DATA, _UINT64_DATA = 10, 11
_TYPED = {
    **dict.fromkeys((1, 14), _FLOAT_DATA),
    **dict.fromkeys(
        (2, 3, 4, 5, 6, 9, 10, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26), _INT32_DATA
    ),
    _STRING: _STRING_DATA,
    7: _INT64_DATA,
    **dict.fromkeys((11, 15), _DOUBLE_DATA),
    **dict.fromkeys((12, 13), _UINT64_DATA),
}
_ENTRY_BYTES = {_FLOAT_DATA: 4, _DOUBLE_DATA: 8}


@dataclass(frozen=True, slots=True)
class OnnxInfo:
    """What a checked file declares."""

    inputs: dict[str, Shape]
    """Name to shape; None is an axis without a fixed size. Weights are left out."""
    outputs: dict[str, Shape]
    nodes: int
    tensors: int
    weight_bytes: int
    """Of all tensors, those in other files included."""
    opsets: dict[str, int]
    """Domain to version; ``ai.onnx`` for the operators of ONNX itself."""
    metadata: dict[str, str]
    """What its maker noted, name to text."""


def check_onnx(path: Path) -> OnnxInfo:
    """Refuse a file that is not a well-formed ONNX model with all its weights in place.

    Args:
        path: the .onnx file; weights in other files must lie in its folder.

    Raises:
        ModelMissingError: no such file.
        ModelBrokenError: says what is wrong.
    """
    with mapped(path) as buffer:
        if len(buffer) > _MAX_BYTES:
            raise broken(path, f"at most {_MAX_BYTES} bytes", f"{len(buffer)} bytes")
        try:
            return _Checker(Reader(buffer, _MAX_FIELDS), path.parent).model(len(buffer))
        except (MalformedError, ValueError, OSError) as error:
            raise broken(path, "a whole ONNX model", str(error)) from error


class _Checker:
    """Walks one model. All methods raise ValueError with the reason."""

    def __init__(self, reader: Reader, folder: Path) -> None:
        self.reader = reader
        self.folder = folder
        self.nodes = 0
        self.tensors = 0
        self.weight_bytes = 0

    def model(self, end: int) -> OnnxInfo:
        graphs = []
        ir_version = 0
        opsets: dict[str, int] = {}
        metadata: dict[str, str] = {}
        for field in self.reader.fields(0, end):
            if field.number == 1:
                ir_version = _number(field)
            elif field.number == 7:
                graphs.append(_message(field))
            elif field.number == 8:
                domain, version = self._opset(field)
                opsets[domain] = version
            elif field.number == 14:
                pair = {part.number: self.reader.text(part) for part in self._fields(field)}
                metadata[pair.get(1, "")] = pair.get(2, "")
            elif field.number == 25:  # FunctionProto: its nodes are field 7
                for part in self._fields(field):
                    if part.number == 7:
                        self._node(part, 1)
        if ir_version not in _IR_VERSIONS:
            raise ValueError(f"IR version {ir_version}")
        if len(graphs) != 1 or not opsets:
            raise ValueError(f"{len(graphs)} graphs and {len(opsets)} operator sets")
        inputs, outputs, weights = self._graph(graphs[0], 0)
        if not self.nodes or not outputs:
            raise ValueError(f"{self.nodes} nodes and {len(outputs)} outputs")
        return OnnxInfo(
            {name: shape for name, shape in inputs.items() if name not in weights},
            outputs,
            self.nodes,
            self.tensors,
            self.weight_bytes,
            opsets,
            metadata,
        )

    def _fields(self, field: Field) -> list[Field]:
        _message(field)
        return list(self.reader.fields(field.start, field.end))

    def _opset(self, field: Field) -> tuple[str, int]:
        domain, version = "", 0
        for part in self._fields(field):
            if part.number == 1:
                domain = self.reader.text(part)
            elif part.number == 2:
                version = _number(part)
        return domain or "ai.onnx", version

    def _graph(
        self, graph: Field, depth: int
    ) -> tuple[dict[str, Shape], dict[str, Shape], set[str]]:
        if depth > _MAX_DEPTH:
            raise ValueError(f"graphs nested over {_MAX_DEPTH} deep")
        inputs: dict[str, Shape] = {}
        outputs: dict[str, Shape] = {}
        weights: set[str] = set()
        for field in self.reader.fields(graph.start, graph.end):
            if field.number == 1:
                self._node(field, depth)
            elif field.number == 5:
                weights.add(self._tensor(field))
            elif field.number == 15:
                self._sparse_tensor(field)
            elif field.number in (11, 12, 13):
                name, shape = self._value(field)
                if field.number == 11:
                    inputs[name] = shape
                elif field.number == 12:
                    outputs[name] = shape
        return inputs, outputs, weights

    def _node(self, node: Field, depth: int) -> None:
        self.nodes += 1
        if self.nodes > _MAX_NODES:
            raise ValueError(f"over {_MAX_NODES} nodes")
        op_type = ""
        for field in self._fields(node):
            if field.number in (1, 2, 3, 7):
                self.reader.text(field)
            elif field.number == 4:
                op_type = self.reader.text(field)
            elif field.number == 5:
                self._attribute(field, depth)
        if not op_type:
            raise ValueError("a node without an operator")

    def _attribute(self, attribute: Field, depth: int) -> None:
        for field in self._fields(attribute):
            if field.number in (5, 10):
                self._tensor(field)
            elif field.number in (6, 11):
                self._graph(_message(field), depth + 1)
            elif field.number in (22, 23):
                self._sparse_tensor(field)
            elif field.number in (1, 21):
                self.reader.text(field)

    def _value(self, value: Field) -> tuple[str, Shape]:
        name = ""
        shape: list[int | None] = []
        for field in self._fields(value):
            if field.number == 1:
                name = self.reader.text(field)
            elif field.number == 2:
                for kind in self._fields(field):
                    if kind.number == 1:  # a tensor; sequences and maps have no shape here
                        shape = self._shape(kind)
        if not name:
            raise ValueError("an input or output without a name")
        return name, tuple(shape)

    def _shape(self, tensor_type: Field) -> list[int | None]:
        shape: list[int | None] = []
        for part in self._fields(tensor_type):
            if part.number == 2:
                for dim in self._fields(part):
                    if dim.number != 1:
                        continue
                    size: int | None = None
                    for item in self._fields(dim):
                        if item.number == 1:
                            size = signed(_number(item))
                            if size < 0:
                                raise ValueError(f"an axis of {size}")
                    shape.append(size)
        if len(shape) > _MAX_RANK:
            raise ValueError(f"{len(shape)} axes")
        return shape

    def _sparse_tensor(self, field: Field) -> None:
        for part in self._fields(field):
            if part.number in (1, 2):
                self._tensor(part)

    def _tensor(self, tensor: Field) -> str:
        self.tensors += 1
        dims: list[int] = []
        entries: dict[int, int] = {}
        place: dict[str, str] = {}
        data_type = location = 0
        raw_bytes = -1
        name = ""
        for field in self._fields(tensor):
            if field.number == 1:
                dims += self._dims(field)
            elif field.number == 2:
                data_type = _number(field)
            elif field.number in (4, 5, 6, 7, 10, 11):
                got = self._entries(field)
                entries[field.number] = entries.get(field.number, 0) + got
            elif field.number == 8:
                name = self.reader.text(field)
            elif field.number == 9:
                raw_bytes = _length(field)
            elif field.number == 13:
                pair = {item.number: self.reader.text(item) for item in self._fields(field)}
                place[pair.get(1, "")] = pair.get(2, "")
            elif field.number == 14:
                location = _number(field)
            elif field.number == 3:
                raise ValueError(f"tensor {name!r} is in segments")
        if len(dims) > _MAX_RANK or any(not 0 <= dim < 2**40 for dim in dims):
            raise ValueError(f"tensor {name!r} has the shape {dims[: _MAX_RANK + 1]}")
        count = math.prod(dims)
        if data_type == _STRING:
            need_bytes = 0
            if raw_bytes >= 0 or location:
                raise ValueError(f"tensor {name!r} of strings has raw data")
        elif data_type in _BITS:
            need_bytes = (count * _BITS[data_type] + 7) // 8
        else:
            raise ValueError(f"tensor {name!r} has the element type {data_type}")
        if location not in (0, 1):
            raise ValueError(f"tensor {name!r} lies at location {location}")
        if location == 1:
            if raw_bytes >= 0 or entries:
                raise ValueError(f"tensor {name!r} is inside and outside the file")
            self._external(name, place, need_bytes)
        elif raw_bytes >= 0:
            if raw_bytes != need_bytes or entries:
                raise ValueError(f"tensor {name!r} has {raw_bytes} bytes instead of {need_bytes}")
        else:
            self._check_entries(name, data_type, count, entries)
        self.weight_bytes += need_bytes
        return name

    def _dims(self, field: Field) -> list[int]:
        if field.wire_type == VARINT:
            return [signed(field.value)]
        _length(field)
        dims = []
        at = field.start
        while at < field.end:
            value, at = self.reader.varint(at, field.end)
            dims.append(signed(value))
            if len(dims) > _MAX_RANK:
                break
        return dims

    def _entries(self, field: Field) -> int:
        """How many entries a typed data field holds, packed or not."""
        if field.number == _STRING_DATA or field.wire_type != LENGTH:
            expected = {_STRING_DATA: LENGTH, _FLOAT_DATA: FIXED32, _DOUBLE_DATA: FIXED64}
            if field.wire_type != expected.get(field.number, VARINT):
                raise ValueError(f"data of wire type {field.wire_type} at byte {field.begin}")
            return 1
        length = _length(field)
        if width := _ENTRY_BYTES.get(field.number):
            if length % width:
                raise ValueError(f"data of {length} bytes at byte {field.begin}")
            return length // width
        if length and self.reader.buffer[field.end - 1] >= 0x80:
            raise ValueError(f"data at byte {field.begin} ends inside a number")
        # One byte of each number is below 0x80. No name may hold the array: a traceback would
        # keep it alive, and the mapping could not be closed.
        return int(
            np.count_nonzero(
                np.frombuffer(self.reader.buffer, np.uint8, length, field.start) < 0x80
            )
        )

    def _check_entries(
        self, name: str, data_type: int, count: int, entries: dict[int, int]
    ) -> None:
        number = _TYPED[data_type]
        need = count
        if data_type in (14, 15):  # complex: real and imaginary
            need = 2 * count
        elif _BITS.get(data_type, 8) < 8:  # packed into bytes
            need = (count * _BITS[data_type] + 7) // 8
        got = entries.pop(number, 0)
        if got != need or any(entries.values()):
            raise ValueError(f"tensor {name!r} has {got} entries instead of {need}")

    def _external(self, name: str, place: dict[str, str], need_bytes: int) -> None:
        path = inside(self.folder, place.get("location", ""))
        offset, length = place.get("offset", "0"), place.get("length", str(need_bytes))
        if not (_DECIMAL.match(offset) and _DECIMAL.match(length)):
            raise ValueError(f"tensor {name!r} lies at {offset!r}, {length!r}")
        if int(length) != need_bytes:
            raise ValueError(f"tensor {name!r} has {length} bytes instead of {need_bytes}")
        size_bytes = path.stat().st_size if path.is_file() else -1
        if int(offset) + need_bytes > size_bytes:
            raise ValueError(
                f"tensor {name!r} ends at byte {int(offset) + need_bytes} of {path.name},"
                f" which has {max(size_bytes, 0)}"
            )


def _number(field: Field) -> int:
    if field.wire_type != VARINT:
        raise ValueError(f"no number at byte {field.begin}")
    return field.value


def _message(field: Field) -> Field:
    _length(field)
    return field


def _length(field: Field) -> int:
    if field.wire_type != LENGTH:
        raise ValueError(f"a number instead of data at byte {field.begin}")
    return field.end - field.start
