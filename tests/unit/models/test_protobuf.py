from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_alm.models.protobuf import (
    MalformedError,
    Reader,
    signed,
    write_bytes,
    write_number,
    write_varint,
)


@given(st.integers(0, 2**64 - 1))
def test_a_number_comes_back(value: int) -> None:
    raw = write_varint(value)
    assert Reader(raw).varint(0, len(raw)) == (value, len(raw))


@given(st.lists(st.tuples(st.integers(1, 2**29 - 1), st.integers(-(2**63), 2**63 - 1) | st.text())))
def test_a_message_comes_back(pairs: list[tuple[int, int | str]]) -> None:
    raw = b"".join(
        write_number(n, v) if isinstance(v, int) else write_bytes(n, v) for n, v in pairs
    )
    reader = Reader(raw)
    got = [
        (f.number, reader.text(f) if f.wire_type == 2 else signed(f.value))
        for f in reader.fields(0, len(raw))
    ]
    assert got == pairs


@given(st.binary(max_size=64))
def test_any_bytes_are_a_message_or_malformed(raw: bytes) -> None:
    try:
        fields = list(Reader(raw).fields(0, len(raw)))
    except MalformedError:
        return
    assert b"".join(raw[f.begin : f.end] for f in fields) == raw


@pytest.mark.parametrize(
    "raw", [b"\x80" * 11, b"\xff" * 9 + b"\x7f", b"\x0a\x05abc", b"\x0d\0\0", b"\x0b", b"\x00\x01"]
)
def test_what_does_not_fit_is_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedError):
        list(Reader(raw).fields(0, len(raw)))
