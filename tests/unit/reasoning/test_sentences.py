"""Phrases whose directions a sentence encoder makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from phrase_files import CLASSES, N_IN, sentence_arrays, write_phrases
from text_models import WIDTH, save_bert

from edge_alm.errors import ModelBrokenError, UsageError
from edge_alm.reasoning.judges import Judges
from edge_alm.reasoning.phrases import Phrases
from edge_alm.reasoning.sentences import LONGEST_PIECES, Sentences
from export.minilm import export_minilm


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sentences")
    export_minilm(save_bert(folder / "bert"), folder / "made")
    return folder / "made"


@pytest.fixture(scope="module")
def table(folder: Path) -> Path:
    """A table whose classes lie where the sentence encoder has their names."""
    path = folder.parent / "phrases.npz"
    made = sentence_arrays(WIDTH)
    made["class_directions"] = Sentences(folder)(CLASSES).astype(np.float16)
    np.savez(path, **made)
    return path


def test_directions_have_length_one_but_for_what_has_no_known_word(folder: Path) -> None:
    encode = Sentences(folder)
    dog, again, nothing, unknown = encode(["dog bark", "Dog bark", "", "☃"])
    assert np.linalg.norm(dog) == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_array_equal(dog, again)
    assert not nothing.any()
    assert not unknown.any()


def test_a_long_text_is_read_as_far_as_its_place_goes(folder: Path) -> None:
    encode = Sentences(folder)
    long = "a " * LONGEST_PIECES
    np.testing.assert_array_equal(encode([long]), encode([long + "dog " * 500]))


def test_scores_are_those_of_the_sentence_encoders_directions(folder: Path, table: Path) -> None:
    phrases, encode = Phrases(table, folder), Sentences(folder)
    hops = np.random.default_rng(0).random((3, N_IN)).astype(np.float32)
    heard, texts = phrases.hear(hops), ["dog", "rain on a zebra"]
    rows, classes = encode(texts), encode(CLASSES)
    for row, score in zip(rows, phrases.scores([heard], texts)[0], strict=True):
        others = np.log(np.exp(20 * classes @ heard.direction).sum())
        shares = np.exp(row @ classes.T / 0.03)
        fits = np.log(float(shares / shares.sum() @ heard.classes) + 1e-6)
        usual = -np.log(len(CLASSES))  # this table makes that of any sound
        expected = 20 * row @ heard.direction - others + fits - usual
        assert score == pytest.approx(expected, abs=0.05)


def test_words_that_are_not_known_are_refused(folder: Path, table: Path) -> None:
    judges = Judges(Phrases(table, folder))
    assert judges.of(["dog"])(Phrases(table, folder).hear(np.ones((1, N_IN), np.float32))).shape
    with pytest.raises(UsageError, match="none that is known"):
        judges.of(["☃"])


def test_table_and_words_must_be_made_for_each_other(
    folder: Path, table: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelBrokenError, match="expected one for word pieces"):
        Phrases(table)
    with pytest.raises(ModelBrokenError, match="expected a table for a sentence encoder"):
        Phrases(write_phrases(tmp_path / "p.npz"), folder)
