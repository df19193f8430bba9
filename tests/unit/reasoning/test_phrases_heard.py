"""Phrases compared with what was heard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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


def test_scores_are_what_is_more_than_usual_by_a_plain_loop(tmp_path: Path) -> None:
    pointing = np.array([[127, 0, 0, 0, 0, 0], [0, 0, 90, 90, 0, 0]], np.int8)
    often = np.array([0.5, 0.1, 0.2], np.float32)
    usual: dict[str, Any] = {"usual_directions": pointing, "usual_classes": often}
    phrases = Phrases(write_phrases(tmp_path / "phrases.npz", **usual))
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

    def tower(row: np.ndarray, pointed: np.ndarray) -> float:
        others = np.log(sum(np.exp(20 * float(c @ pointed)) for c in classes))
        return float(20 * float(row @ pointed) - others)

    for text, row, score in zip(texts, rows, phrases.scores([heard], texts)[0], strict=True):
        shares = np.exp([float(row @ c) / 0.03 for c in classes])
        shares /= shares.sum()
        expected = tower(row, direction)
        expected -= np.log(np.mean([np.exp(tower(row, p / np.linalg.norm(p))) for p in pointing]))
        expected += np.log((shares @ heard.classes + 1e-6) / (shares @ often + 1e-6))
        assert score == pytest.approx(expected, abs=0.05), text


def test_what_a_sound_is_no_more_than_any_scores_nothing(tmp_path: Path) -> None:
    heard = Phrases(write_phrases(tmp_path / "a.npz")).hear(hops((1.0, 0.3, 0.2)))
    alike = np.round(127 * heard.direction).astype(np.int8)[None]
    usual: dict[str, Any] = {"usual_directions": alike, "usual_classes": heard.classes}
    phrases = Phrases(write_phrases(tmp_path / "b.npz", **usual))
    assert phrases.scores([heard], ["dog", "rain", "door bell"]) == pytest.approx(0.0, abs=0.15)


@pytest.mark.parametrize(
    ("score", "share"), [(-1e9, 0.0), (-18.0, 0.0), (-9.0, 0.5), (0.0, 1.0), (5.0, 1.0)]
)
def test_a_score_has_a_place_on_a_scale(tmp_path: Path, score: float, share: float) -> None:
    scale: dict[str, Any] = {"score_range": np.array([-18.0, 0.0], np.float32)}
    phrases = Phrases(write_phrases(tmp_path / "phrases.npz", **scale))
    assert phrases.shares(np.array([score], np.float32)) == pytest.approx([share])
