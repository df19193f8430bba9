"""Rows of a language model's embeddings, from files made here."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from edge_alm.errors import ModelBrokenError
from edge_alm.models.gguf_file import BLOCKS
from edge_alm.reasoning.embedding_table import EmbeddingTable

WIDTH, TOKENS = 32, 3
ROWS = np.random.default_rng(0).integers(-127, 128, (TOKENS, WIDTH)).astype("i1")
SCALE = 0.25
"""A power of two: every form holds the values exactly."""


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def make_file(path: Path, kind: int, data: bytes, architecture: str = "llama") -> Path:
    """A GGUF of one tensor, with 64 bytes of another before it in the data."""
    keys = [text("general.architecture") + struct.pack("<I", 8) + text(architecture)]
    keys.append(text(f"{architecture}.embedding_length") + struct.pack("<II", 4, WIDTH))
    tokens = b"".join(map(text, "abc"))
    keys.append(text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, TOKENS) + tokens)
    head = b"GGUF" + struct.pack("<IQQ", 3, 2, len(keys)) + b"".join(keys)
    head += text("output_norm.weight") + struct.pack("<IQIQ", 1, 16, 0, 0)
    head += text("token_embd.weight") + struct.pack("<IQQIQ", 2, WIDTH, TOKENS, kind, 64)
    path.write_bytes(head + b"\0" * (-len(head) % 32) + b"\xff" * 64 + data)
    return path


FORMS = {
    "F32": (ROWS * SCALE).astype("<f4").tobytes(),
    "F16": (ROWS * SCALE).astype("<f2").tobytes(),
    "Q8_0": b"".join(struct.pack("<e", SCALE) + row.tobytes() for row in ROWS),
}


def number(name: str) -> int:
    return next(number for number, (form, _, _) in BLOCKS.items() if form == name)


@pytest.mark.parametrize("form", FORMS)
def test_rows_in_any_order_and_number(form: str, tmp_path: Path) -> None:
    table = EmbeddingTable(make_file(tmp_path / "model.gguf", number(form), FORMS[form]))
    assert table.is_known
    for tokens in ([0, 1, 2], [2, 2, 0], [1], []):
        rows = table[tokens]
        assert rows.dtype == np.float32
        assert np.array_equal(rows, (ROWS[tokens] * SCALE).reshape(-1, WIDTH))


@pytest.mark.parametrize(("form", "architecture"), [("Q4_0", "llama"), ("F32", "gemma")])
def test_what_cannot_be_read_is_said(form: str, architecture: str, tmp_path: Path) -> None:
    data = FORMS.get(form, b"\0" * 18 * TOKENS)
    table = EmbeddingTable(make_file(tmp_path / "model.gguf", number(form), data, architecture))
    assert not table.is_known
    with pytest.raises(KeyError):
        table[[0]]


def test_a_file_that_ends_too_early_is_refused(tmp_path: Path) -> None:
    path = make_file(tmp_path / "model.gguf", number("F32"), FORMS["F32"][:-1])
    with pytest.raises(ModelBrokenError, match=r"token_embd\.weight"):
        EmbeddingTable(path)
