from __future__ import annotations

import struct
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_builders import GGUF_TENSORS, gguf_file, gguf_text

from edge_alm.errors import ModelBrokenError
from edge_alm.models.gguf_file import check_gguf


def write(folder: Path, content: bytes) -> Path:
    path = folder / "m.gguf"
    path.write_bytes(content)
    return path


def test_a_good_file_tells_its_widths(tmp_path: Path) -> None:
    info = check_gguf(write(tmp_path, gguf_file({"tokenizer.chat_template": "{{x}}"})))
    assert (info.architecture, info.n_embd, info.context_length) == ("llama", 32, 512)
    assert info.shapes == {"token_embd.weight": (32, 3), "output_norm.weight": (32,)}
    assert info.types == {"F32": 2}
    assert info.metadata["tokenizer.chat_template"] == "{{x}}"


def test_a_projector_has_no_token_width(tmp_path: Path) -> None:
    keys: dict[str, object] = {"general.architecture": "clip"}
    info = check_gguf(write(tmp_path, gguf_file(keys, [("mm.weight", (8,), 0, 0)])))
    assert (info.n_embd, info.context_length) == (None, None)


@pytest.mark.parametrize(
    "tensors",
    [
        [("t", (32, 4), 0, 32)],  # past the end
        [("t", (32,), 0, 4)],  # not aligned
        [("t", (32,), 0, 0), ("u", (32,), 0, 64)],  # overlap
        [("t", (32,), 0, 0), ("t", (32,), 0, 128)],  # twice
        [("t", (32,), 4, 0)],  # a type that was removed
        [("t", (32,), 2**31, 0)],
        [("t", (33,), 2, 0)],  # not a multiple of the block
        [("t", (0,), 0, 0)],
        [("t", (2**32, 2**32, 2**32), 0, 0)],
        [("t", (2**63, 2), 0, 0)],
        [("t", (1,) * 5, 0, 0)],
        [("t", (), 0, 0)],
        [("t", (32,), 0, 2**64 - 32)],
        [("n" * 64, (32,), 0, 0)],
        [],
    ],
)
def test_a_tensor_out_of_place_is_refused(
    tmp_path: Path, tensors: list[tuple[str, tuple[int, ...], int, int]]
) -> None:
    with pytest.raises(ModelBrokenError):
        check_gguf(write(tmp_path, gguf_file(tensors=tensors, data_bytes=512)))


def test_the_last_byte_of_the_last_tensor_counts(tmp_path: Path) -> None:
    check_gguf(write(tmp_path, gguf_file(data_bytes=512)))
    with pytest.raises(ModelBrokenError, match="ends at byte"):
        check_gguf(write(tmp_path, gguf_file(data_bytes=511)))


@pytest.mark.parametrize(
    "keys",
    [
        {"general.alignment": 0},
        {"general.alignment": 24},
        {"general.alignment": 2**31},
        {"general.alignment": "32"},
        {"general.architecture": 7},
        {"general.architecture": ""},
        {"llama.block_count": 0},
        {"llama.block_count": 10_000},
        {"llama.attention.head_count": 0},
        {"llama.context_length": 2**31},
        {"llama.embedding_length": 64},
        {"tokenizer.ggml.tokens": ["a", "b"]},
        {"tokenizer.ggml.tokens": np.zeros(3, "<f4")},
        {"tokenizer.ggml.scores": np.zeros(2, "<f4")},
        {"tokenizer.ggml.scores": np.zeros(3, "<i4")},
        {"tokenizer.ggml.merges": np.zeros(3, "<i4")},
    ],
)
def test_absurd_metadata_is_refused(tmp_path: Path, keys: dict[str, object]) -> None:
    with pytest.raises(ModelBrokenError):
        check_gguf(write(tmp_path, gguf_file(keys)))


def test_other_versions_and_byte_orders_are_refused(tmp_path: Path) -> None:
    for version in (0, 1, 4, 0x03000000):
        with pytest.raises(ModelBrokenError, match="version"):
            check_gguf(write(tmp_path, gguf_file(version=version)))


def test_a_key_twice_is_refused(tmp_path: Path) -> None:
    key = gguf_text("k") + struct.pack("<IB", 0, 1)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 2)
    with pytest.raises(ModelBrokenError, match="twice"):
        check_gguf(write(tmp_path, head + key + key))


@pytest.mark.parametrize("kind", [0, 5, 8, 9])
@pytest.mark.parametrize("count", [2**20, 2**32, 2**63, 2**64 - 1])
def test_counts_beyond_the_file_cost_nothing(tmp_path: Path, kind: int, count: int) -> None:
    array = gguf_text("k") + struct.pack("<IIQ", 9, kind, count)
    content = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + array + bytes(256)
    started_s = time.perf_counter()
    with pytest.raises(ModelBrokenError):
        check_gguf(write(tmp_path, content))
    assert time.perf_counter() - started_s < 1


def test_the_largest_allowed_vocabulary_of_empty_texts_is_walked_in_time(tmp_path: Path) -> None:
    array = gguf_text("k") + struct.pack("<IIQ", 9, 8, 2**20) + bytes(8 * 2**20)
    content = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + array
    started_s = time.perf_counter()
    with pytest.raises(ModelBrokenError):
        check_gguf(write(tmp_path, content))
    assert time.perf_counter() - started_s < 3


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(
        st.tuples(
            st.integers(0, 2000),
            st.sampled_from(["<B", "<I", "<Q"]),
            st.sampled_from([0, 1, 4, 8, 9, 255, 2**31, 2**32 - 1, 2**63, 2**64 - 1]),
        ),
        max_size=3,
    ),
    cut=st.integers(0, 600),
)
def test_damage_is_refused_or_harmless(
    tmp_path: Path, edits: list[tuple[int, str, int]], cut: int
) -> None:
    content = bytearray(gguf_file(tensors=GGUF_TENSORS))
    for at, form, value in edits:
        size = struct.calcsize(form)
        struct.pack_into(form, content, at % (len(content) - size), value % 2 ** (8 * size))
    path = write(tmp_path, bytes(content[: len(content) - cut]))
    with suppress(ModelBrokenError):
        check_gguf(path)
        assert cut == 0
