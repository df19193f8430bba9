from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_alm.errors import UsageError
from export.phrases import MiniLM, PhraseTable, best_split, gelu, read_safetensors

WIDTH, WIDE = 24, 32
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "dog", "bark", "##s", "cafe", ",", "rain")


def write_safetensors(path: Path, tensors: dict[str, NDArray[np.float32]]) -> None:
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, tensor in tensors.items():
        raw = tensor.tobytes()
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": "F32", "shape": [*tensor.shape], "data_offsets": offsets}  # type: ignore[dict-item]
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A seeded model of one layer."""
    folder = tmp_path_factory.mktemp("minilm")
    rng = np.random.default_rng(0)

    def some(*shape: int) -> NDArray[np.float32]:
        return rng.normal(0, 0.3, shape).astype(np.float32)

    tensors = {
        "embeddings.word_embeddings.weight": some(len(WORDS), WIDTH),
        "embeddings.token_type_embeddings.weight": some(2, WIDTH),
        "embeddings.position_embeddings.weight": some(16, WIDTH),
    }
    layer = "encoder.layer.0"
    linear = {f"attention.self.{part}": (WIDTH, WIDTH) for part in ("query", "key", "value")}
    linear["attention.output.dense"] = (WIDTH, WIDTH)
    linear["intermediate.dense"] = (WIDE, WIDTH)
    linear["output.dense"] = (WIDTH, WIDE)
    for name, (n_out, n_in) in linear.items():
        tensors[f"{layer}.{name}.weight"] = some(n_out, n_in)
        tensors[f"{layer}.{name}.bias"] = some(n_out)
    for name in (
        "embeddings.LayerNorm",
        f"{layer}.attention.output.LayerNorm",
        f"{layer}.output.LayerNorm",
    ):
        tensors[f"{name}.weight"] = 1 + some(WIDTH)
        tensors[f"{name}.bias"] = some(WIDTH)
    write_safetensors(folder / "model.safetensors", tensors)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return folder


def one_hot(texts: list[str]) -> NDArray[np.float32]:
    """An encoder to which the same text means the same and all others nothing."""
    known = ("dog", "rain", "bell")
    return np.array([[float(text == name) for name in known] for text in texts], dtype=np.float32)


def test_words_are_split_at_the_longest_known_piece(folder: Path) -> None:
    tokens = MiniLM(folder).tokenize("Dogs bark, Café! xyz")
    expected = ["[CLS]", "dog", "##s", "bark", ",", "cafe", "[UNK]", "[UNK]", "[SEP]"]
    assert [WORDS[token] for token in tokens] == expected


def test_directions_have_length_one_and_differ(folder: Path) -> None:
    vectors = MiniLM(folder)(["dog bark", "rain", "bark dog"])
    assert vectors.shape == (3, WIDTH)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[2] < 0.9999  # the order of words counts


def test_a_broken_model_is_refused(folder: Path, tmp_path: Path) -> None:
    raw = (folder / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(raw[:20])
    (tmp_path / "vocab.txt").write_text("a\n")
    with pytest.raises(UsageError, match="all-MiniLM"):
        MiniLM(tmp_path)
    with pytest.raises(UsageError, match="all-MiniLM"):
        MiniLM(tmp_path / "nowhere")


def test_tensors_come_back(tmp_path: Path) -> None:
    tensor = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_safetensors(tmp_path / "a", {"x": tensor, "y": tensor[0]})
    read = read_safetensors(tmp_path / "a")
    np.testing.assert_array_equal(read["x"], tensor)
    np.testing.assert_array_equal(read["y"], tensor[0])


@given(st.floats(-8, 8))
def test_gelu_is_x_times_the_normal_integral(x: float) -> None:
    expected = x * 0.5 * (1 + math.erf(x / math.sqrt(2)))
    assert float(gelu(np.array([x]))[0]) == pytest.approx(expected, abs=1e-5)


def test_the_phrase_that_sounds_scores_highest() -> None:
    table = PhraseTable(["Dog", "Rain", "Bell"], one_hot)  # type: ignore[arg-type]
    heard = np.array([[0.1, 0.9, 0.0], [0.2, 0.0, 0.1]], dtype=np.float32)
    scores = {phrase: table.score(phrase, heard) for phrase in ("dog", "rain", "bell")}
    assert max(scores, key=lambda phrase: scores[phrase]) == "rain"
    assert scores["rain"] == pytest.approx(0.9, abs=1e-3)
    assert table.weights("dog").sum() == pytest.approx(1)


@given(st.lists(st.tuples(st.integers(-9, 9), st.booleans()), min_size=1, max_size=12))
def test_no_threshold_splits_better(pairs: list[tuple[int, bool]]) -> None:
    scores, present = [float(score) for score, _ in pairs], [there for _, there in pairs]

    def right(least: float) -> int:
        return sum((score > least) == there for score, there in zip(scores, present, strict=True))

    # Equal scores cannot be split, so a cut between them is worth what it really splits.
    cuts = [score + step for score in scores for step in (-0.5, 0.5)]
    assert right(best_split(scores, present)) == max(map(right, cuts))


def test_nothing_cannot_be_split() -> None:
    with pytest.raises(UsageError):
        best_split([], [])
