"""The protobuf wire format: enough to read and rewrite an ONNX file without a schema.

Source: https://protobuf.dev/programming-guides/encoding. Groups (wire types 3 and 4) are
refused; ONNX has none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
Buffer: TypeAlias = bytes | memoryview


class MalformedError(ValueError):
    """The bytes are not a protobuf message."""


class Field(NamedTuple):
    """One field of a message, as offsets into the buffer; nothing is copied."""

    number: int
    wire_type: int
    value: int
    """The number of a VARINT field, unsigned; 0 otherwise."""
    begin: int
    """Offset of the tag; ``buffer[begin:end]`` is the whole field."""
    start: int
    """Offset of the payload; ``buffer[start:end]``."""
    end: int


class Reader:
    """Iterates over fields and gives up after ``max_fields`` of them.

    The limit bounds the time that a hostile file can take: 1 µs a field.
    """

    def __init__(self, buffer: Buffer, max_fields: int = 1_000_000) -> None:
        self.buffer = buffer
        self._left = max_fields

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """The unsigned number at ``at`` and the offset after it.

        Raises:
            MalformedError: it runs past ``end`` or over 64 bits.
        """
        value = 0
        for shift in range(0, 70, 7):
            if at >= end:
                raise MalformedError(f"a number at byte {at} runs past its message")
            byte = self.buffer[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >> 64:
                    break
                return value, at
        raise MalformedError(f"a number before byte {at} is over 64 bits")

    def fields(self, start: int, end: int) -> Iterator[Field]:
        """The fields of the message in ``buffer[start:end]``, in order.

        Raises:
            MalformedError: a field that does not fit, of an unknown wire type, numbered 0,
                or one too many.
        """
        at = start
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise MalformedError("absurdly many fields")
            begin = at
            tag, at = self.varint(at, end)
            number, wire_type = tag >> 3, tag & 7
            if number == 0:
                raise MalformedError(f"a field numbered 0 at byte {begin}")
            value = 0
            payload = at
            if wire_type == VARINT:
                value, at = self.varint(at, end)
            elif wire_type == LENGTH:
                length, payload = self.varint(at, end)
                at = payload + length
            elif wire_type == FIXED32:
                at += 4
            elif wire_type == FIXED64:
                at += 8
            else:
                raise MalformedError(f"wire type {wire_type} at byte {begin}")
            if at > end:
                raise MalformedError(f"the field at byte {begin} runs past its message")
            yield Field(number, wire_type, value, begin, payload, at)

    def text(self, field: Field) -> str:
        """The payload of a string field.

        Raises:
            MalformedError: not a string, over 64 KiB, or not UTF-8.
        """
        if field.wire_type != LENGTH or field.end - field.start > 65_536:
            raise MalformedError(f"the field at byte {field.begin} is no name")
        try:
            return bytes(self.buffer[field.start : field.end]).decode()
        except UnicodeDecodeError:
            raise MalformedError(f"the name at byte {field.begin} is not UTF-8") from None


def signed(value: int) -> int:
    """The int64 that an unsigned varint stands for."""
    return value - (1 << 64) if value >> 63 else value


def write_varint(value: int) -> bytes:
    """An unsigned number."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def write_number(number: int, value: int) -> bytes:
    """A VARINT field; a negative value is written as int64."""
    return write_varint(number << 3 | VARINT) + write_varint(value & (1 << 64) - 1)


def write_bytes(number: int, *parts: Buffer | str) -> bytes:
    """A LENGTH field: a string, bytes, or an embedded message made of ``parts``."""
    payload = b"".join(part.encode() if isinstance(part, str) else part for part in parts)
    return write_varint(number << 3 | LENGTH) + write_varint(len(payload)) + payload
