"""Makes one float file out of the quantised YAMNet that its source ships.

The source is a graph for integer accelerators: every weight is stored in full float precision
and passes a QuantizeLinear/DequantizeLinear pair at run time, input and output are uint8 and
the batch is fixed to 1. Without those pairs it is the float network again: scores as logits,
and beside them the embedding that feeds the classifier. The result is the same bytes every
time, so that it has a SHA-256 of its own in the catalogue.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

from edge_alm.errors import ModelBrokenError
from edge_alm.models.protobuf import (
    Buffer,
    Field,
    MalformedError,
    Reader,
    signed,
    write_bytes,
    write_number,
)

SCORES = "class_scores"
"""Output [n, 521], logits."""
EMBEDDING = "embedding"
"""Output [n, 1024], what the classifier sees."""
CLASSES, WIDTH = 521, 1024
_PATCH = (1, 96, 64)
_FLOAT, _INT64 = 1, 7
_QUANTISERS = ("QuantizeLinear", "DequantizeLinear")

# ModelProto, GraphProto, NodeProto, TensorProto
_MODEL_GRAPH = 7
_NODE, _INITIALISER, _INPUT, _OUTPUT, _VALUE_INFO = 1, 5, 11, 12, 13
_NODE_INPUT, _NODE_OUTPUT, _NODE_OP_TYPE = 1, 2, 4
_DIMS, _DATA_TYPE, _NAME, _RAW_DATA, _EXTERNAL_DATA = 1, 2, 8, 9, 13


def prepare(source: Path, target: Path) -> None:
    """Write the float network to ``target``.

    Args:
        source: folder with ``model.onnx`` and ``model.data`` as they were fetched.
        target: the file to write: input ``audio`` float [n, 1, 96, 64], outputs
            :data:`SCORES` and :data:`EMBEDDING`, weights inside.

    Raises:
        ModelBrokenError: the source is not the graph that this knows.
        OSError: reading or writing failed.
    """
    buffer = (source / "model.onnx").read_bytes()
    data = (source / "model.data").read_bytes()
    try:
        target.write_bytes(_rewrite_model(buffer, data))
    except (MalformedError, KeyError, IndexError, ValueError) as error:
        raise ModelBrokenError(
            "yamnet's source graph",
            expected="a QDQ graph that ends in Reshape and Gemm",
            got=f"{type(error).__name__}: {error}",
        ) from error


def _rewrite_model(buffer: bytes, data: bytes) -> bytes:
    reader = Reader(buffer)
    out: list[Buffer] = []
    graphs = 0
    for field in reader.fields(0, len(buffer)):
        if field.number == _MODEL_GRAPH:
            graphs += 1
            out.append(write_bytes(_MODEL_GRAPH, _rewrite_graph(reader, field, memoryview(data))))
        else:
            out.append(buffer[field.begin : field.end])
    if graphs != 1:
        raise ValueError(f"{graphs} graphs")
    return b"".join(out)


class _Node:
    """A node's names; the rest of it stays bytes."""

    def __init__(self, reader: Reader, field: Field) -> None:
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.op_type = ""
        self._rest: list[Buffer] = []
        for part in reader.fields(field.start, field.end):
            if part.number == _NODE_INPUT:
                self.inputs.append(reader.text(part))
            elif part.number == _NODE_OUTPUT:
                self.outputs.append(reader.text(part))
            else:
                if part.number == _NODE_OP_TYPE:
                    self.op_type = reader.text(part)
                self._rest.append(reader.buffer[part.begin : part.end])

    def to_bytes(self) -> bytes:
        names = [write_bytes(_NODE_INPUT, name) for name in self.inputs]
        names += [write_bytes(_NODE_OUTPUT, name) for name in self.outputs]
        return write_bytes(_NODE, *names, *self._rest)


def _rewrite_graph(reader: Reader, graph: Field, data: memoryview) -> bytes:
    nodes: list[_Node] = []
    weights: dict[str, Field] = {}
    inputs: list[str] = []
    rest: list[Buffer] = []
    for field in reader.fields(graph.start, graph.end):
        if field.number == _NODE:
            nodes.append(_Node(reader, field))
        elif field.number == _INITIALISER:
            weights[_name(reader, field, _NAME)] = field
        elif field.number == _INPUT:
            inputs.append(_name(reader, field, 1))
        elif field.number not in (_OUTPUT, _VALUE_INFO):
            rest.append(reader.buffer[field.begin : field.end])

    source_of: dict[str, str] = {}
    kept: list[_Node] = []
    for node in nodes:
        if node.op_type in _QUANTISERS:
            source_of[node.outputs[0]] = source_of.get(node.inputs[0], node.inputs[0])
        else:
            node.inputs = [source_of.get(name, name) for name in node.inputs]
            kept.append(node)
    reshape, classifier = kept[-2:]
    if (reshape.op_type, classifier.op_type) != ("Reshape", "Gemm"):
        raise ValueError(f"it ends in {reshape.op_type} and {classifier.op_type}")
    reshape.outputs = [EMBEDDING]
    classifier.inputs[0] = EMBEDDING
    classifier.outputs = [SCORES]

    out = [node.to_bytes() for node in kept]
    used = {name for node in kept for name in node.inputs}
    for name, field in weights.items():
        if name == reshape.inputs[1]:
            shape = struct.pack("<2q", -1, WIDTH)
            out.append(_write_tensor(name, [2], _INT64, shape))
        elif name in used:
            out.append(_embed_tensor(reader, name, field, data))
    out.append(_write_value(_INPUT, inputs[0], _PATCH))
    out.append(_write_value(_OUTPUT, SCORES, (CLASSES,)))
    out.append(_write_value(_OUTPUT, EMBEDDING, (WIDTH,)))
    return b"".join([*out, *rest])


def _name(reader: Reader, field: Field, number: int) -> str:
    for part in reader.fields(field.start, field.end):
        if part.number == number:
            return reader.text(part)
    raise ValueError(f"something at byte {field.begin} has no name")


def _embed_tensor(reader: Reader, name: str, field: Field, data: memoryview) -> bytes:
    """The tensor with its weights inside instead of a place in ``data``."""
    dims: list[int] = []
    place: dict[str, str] = {}
    raw: Buffer = b""
    for part in reader.fields(field.start, field.end):
        if part.number == _DIMS:
            dims.append(signed(part.value))
        elif part.number == _DATA_TYPE and part.value != _FLOAT:
            raise ValueError(f"{name} is not float")
        elif part.number == _RAW_DATA:
            raw = reader.buffer[part.start : part.end]
        elif part.number == _EXTERNAL_DATA:
            pair = [reader.text(item) for item in reader.fields(part.start, part.end)]
            place[pair[0]] = pair[1]
    if place:
        offset, length = int(place["offset"]), int(place["length"])
        raw = data[offset : offset + length]
    count = 4
    for dim in dims:
        count *= dim
    if len(raw) != count:
        raise ValueError(f"{name} has {len(raw)} bytes instead of {count}")
    return _write_tensor(name, dims, _FLOAT, raw)


def _write_tensor(name: str, dims: Iterable[int], data_type: int, raw: Buffer) -> bytes:
    shape = [write_number(_DIMS, dim) for dim in dims]
    return write_bytes(
        _INITIALISER,
        *shape,
        write_number(_DATA_TYPE, data_type),
        write_bytes(_NAME, name),
        write_bytes(_RAW_DATA, raw),
    )


def _write_value(number: int, name: str, dims: Iterable[int]) -> bytes:
    """A float input or output with a free first axis ``n``."""
    batch = write_bytes(1, write_bytes(2, "n"))
    shape = write_bytes(2, batch, *(write_bytes(1, write_number(1, dim)) for dim in dims))
    tensor = write_bytes(1, write_number(1, _FLOAT), shape)
    return write_bytes(number, write_bytes(1, name), write_bytes(2, tensor))
