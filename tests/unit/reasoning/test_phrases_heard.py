"""Phrases compared with what was heard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from phrase_files import CLASSES, WIDTH, write_phrases

from edge_alm.reasoning.phrases import Phrases


@pytest.fixture
def phrases(tmp_path: Path) -> Phrases:
    return Phrases(write_phrases(tmp_path / "phrases.npz"))


def hops(*strengths: tuple[float, float, float]) -> np.ndarray:
    return np.array(strengths, np.float32)


def test_a_phrase_is_the_sum_of_its_words_at_length_one(phrases: Phrases) -> None:
    dog, bark, both, nothing = phrases.directions(["Dog", "bark", "dog bark", "xyz"])
    np.testing.assert_allclose(both, (dog + bark) / np.sqrt(2.0), atol=1e-3)
    assert np.linalg.norm(dog) == pytest.approx(1.0, abs=1e-3)
    assert not nothing.any()


def test_scores_are_tower_and_table_by_a_plain_loop(phrases: Phrases) -> None:
    heard = phrases.hear(hops((1.0, 0.0, 0.2), (0.6, 0.0, 0.0)))
    mean = np.array([0.8, 0.0, 0.1])
    direction = np.zeros(WIDTH)
    direction[[0, 2, 3]] = mean
    direction /= np.linalg.norm(direction)
    np.testing.assert_allclose(heard.direction, direction, atol=2e-3)
    logits = np.array([8.0 * 1.0 - 4.0, -4.0, 8.0 * 0.2 - 4.0])
    np.testing.assert_allclose(heard.classes, 1 / (1 + np.exp(-logits)), atol=3e-3)
    texts = ["dog", "rain", "dog bark"]
    rows, classes = phrases.directions(texts), phrases.directions(CLASSES)
    for text, row, score in zip(texts, rows, phrases.scores([heard], texts)[0], strict=True):
        others = np.log(sum(np.exp(20 * float(c @ direction)) for c in classes))
        shares = np.exp([float(row @ c) / 0.03 for c in classes])
        table = np.log(float(shares / shares.sum() @ heard.classes) + 1e-6)
        expected = 20 * float(row @ direction) - others + table
        assert score == pytest.approx(expected, abs=0.05), text


@pytest.mark.parametrize(
    ("score", "share"), [(-1e9, 0.0), (-18.0, 0.0), (-9.0, 0.5), (0.0, 1.0), (5.0, 1.0)]
)
def test_a_score_has_a_place_on_a_scale(phrases: Phrases, score: float, share: float) -> None:
    assert phrases.shares(np.array([score], np.float32)) == pytest.approx([share])
