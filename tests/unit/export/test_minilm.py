"""A sentence encoder as one ONNX file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from text_models import save_bert

from edge_alm.errors import ModelBrokenError, RefusedError, UsageError
from edge_alm.models.manifest import MANIFEST, load_manifest, read_golden
from edge_alm.models.sentences_folder import TEXT_GRAPH
from edge_alm.reasoning.sentences import Sentences
from export.__main__ import main
from export.minilm import export_minilm
from export.phrases import MiniLM

TEXTS = ("dog", "rain, then a dog barking", "zebra", "Café 7")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bert(tmp_path_factory.mktemp("bert") / "tiny")


@pytest.fixture(scope="module")
def made(bert: Path) -> Path:
    out = bert.parent / "made"
    assert main(["text", "--model", str(bert), "--out", str(out), "--licence", "MIT"]) == 0
    return out


def test_it_has_the_directions_of_the_original(bert: Path, made: Path) -> None:
    found, expected = Sentences(made)(TEXTS), MiniLM(bert)(TEXTS)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    apart = found @ found.T
    assert apart[~np.eye(len(TEXTS), dtype=bool)].max() < 0.999


def test_the_folder_says_what_it_is(made: Path) -> None:
    manifest = load_manifest(made)
    assert (manifest.kind, manifest.architecture, manifest.licence) == ("text", "bert", "MIT")
    assert manifest.parity["max_difference"] < 1e-4
    inputs, outputs = read_golden(made, manifest.graphs[TEXT_GRAPH])
    assert inputs["attention_mask"].min() == 0  # a batch of texts of different lengths
    np.testing.assert_allclose(np.linalg.norm(outputs["embedding"], axis=1), 1.0, atol=1e-5)


def test_what_differs_from_the_original_is_refused(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(RefusedError):
        export_minilm(bert, tmp_path / "out", limit=-1.0)
    assert not [*tmp_path.iterdir()]


def test_what_is_no_sentence_encoder_is_refused(bert: Path, made: Path, tmp_path: Path) -> None:
    for path in made.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    values = json.loads((tmp_path / MANIFEST).read_text())
    (tmp_path / MANIFEST).write_text(json.dumps(values | {"kind": "encoder"}))
    with pytest.raises(ModelBrokenError, match="export text"):
        Sentences(tmp_path)
    for path in bert.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "vocab.txt").write_text("dog\n")
    with pytest.raises(UsageError, match=r"vocab\.txt"):
        export_minilm(tmp_path, tmp_path / "out")
