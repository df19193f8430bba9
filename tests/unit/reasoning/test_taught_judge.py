"""Taught sounds told from a background, and texts that are their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phrase_files import N_IN, write_phrases

from edge_alm.errors import ModelBrokenError, UsageError
from edge_alm.hearing.phrase_watch import HEARD_SHARE
from edge_alm.models.background_file import LEAST_SOUNDS
from edge_alm.models.taught import TaughtSound
from edge_alm.reasoning.judges import Judges
from edge_alm.reasoning.phrases import Floats, Phrases, pool
from edge_alm.reasoning.taught import FALSE_SHARE, FITS, TaughtJudge, read_background


def directions(rng: np.random.Generator, n: int, d: int = 8) -> Floats:
    rows = rng.standard_normal((n, d)).astype(np.float32)
    out: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return out


def test_what_fits_is_heard() -> None:
    """The two lie in parts that do not know each other."""
    assert FITS == HEARD_SHARE


@given(seed=st.integers(0, 2**32 - 1), examples=st.integers(1, 20))
def test_what_is_like_an_example_fits_and_little_of_the_background_does(
    seed: int, examples: int
) -> None:
    rng = np.random.default_rng(seed)
    background = directions(rng, 1000)
    around = directions(rng, 1) + 0.05 * rng.standard_normal((examples, 8))
    judge = TaughtJudge([around.astype(np.float32)], background)
    shares = judge.shares(background)[:, 0]
    assert shares.min() >= 0.0
    assert shares.max() <= 1.0
    assert np.mean(shares > FITS) <= FALSE_SHARE + 1e-3
    assert judge.shares(around.mean(axis=0))[0] >= FITS


def test_each_sound_has_its_own_share() -> None:
    rng = np.random.default_rng(0)
    background = directions(rng, 500)
    axes = np.eye(8, dtype=np.float32)
    judge = TaughtJudge([axes[:1], axes[1:2]], background)
    assert (judge.shares(axes[:2]) >= FITS).tolist() == [[True, False], [False, True]]


@pytest.fixture
def phrases(tmp_path: Path) -> Phrases:
    return Phrases(write_phrases(tmp_path / "phrases.npz"))


def hops(unit: int, n: int = 1) -> Floats:
    """Embeddings in which one class stands out."""
    return np.repeat(np.eye(N_IN, dtype=np.float32)[unit : unit + 1], n, axis=0)


def make(phrases: Phrases) -> Judges:
    rng = np.random.default_rng(1)
    background = directions(rng, 300, phrases.directions(["dog"]).shape[1])
    examples = pool(hops(1, 2))[None]  # rain in the table's words
    return Judges(phrases, [TaughtSound("Our dog", examples, "e")], background)


def test_a_name_means_what_was_taught_and_not_its_words(phrases: Phrases) -> None:
    judge = make(phrases).of_hops(["our dog", "dog", "rain"])
    rain, dog = judge(hops(1)), judge(hops(0))
    assert rain[0] >= FITS > dog[0]
    assert rain[2] > rain[1]
    assert dog[1] > dog[2]
    own = make(phrases).of_taught()
    assert own is not None
    assert own(hops(1))[0] == pytest.approx(rain[0], abs=1e-6)


def test_names_are_found_in_a_query(phrases: Phrases) -> None:
    judges = make(phrases)
    assert judges.taught_name("OUR  dog") == "Our dog"
    assert judges.taught_name("a dog") is None
    assert judges.parts("our dog, then rain") == ["our dog", "rain"]
    assert Judges(phrases).of_taught() is None


def test_words_that_nobody_knows_are_refused(phrases: Phrases) -> None:
    with pytest.raises(UsageError, match="words that name it"):
        Judges(phrases).of(["dog", "zzz"])


def test_a_background_is_of_one_tower(phrases: Phrases, tmp_path: Path) -> None:
    path = tmp_path / "background.npz"
    rows = np.full((LEAST_SOUNDS, 6), 127, np.int8)
    np.savez(path, directions=rows, tower=np.frombuffer(phrases.tower_sha256, np.uint8))
    assert np.all(read_background(path, phrases) == 1.0)
    np.savez(path, directions=rows, tower=np.zeros(32, np.uint8))
    with pytest.raises(ModelBrokenError, match="one of another"):
        read_background(path, phrases)


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"directions": np.zeros((LEAST_SOUNDS, 4), np.int8)},
        {"directions": np.zeros((LEAST_SOUNDS - 1, 4), np.int8), "tower": np.zeros(32, np.uint8)},
        {"directions": np.zeros(LEAST_SOUNDS, np.int8), "tower": np.zeros(32, np.uint8)},
        {"directions": np.zeros((LEAST_SOUNDS, 4), np.int8), "tower": np.zeros(31, np.uint8)},
        {"directions": np.zeros((LEAST_SOUNDS, 4), np.float32), "tower": np.zeros(32, np.uint8)},
    ],
)
def test_what_is_no_background_is_refused(
    arrays: dict[str, Any], phrases: Phrases, tmp_path: Path
) -> None:
    np.savez(tmp_path / "b.npz", **arrays)
    with pytest.raises(ModelBrokenError):
        read_background(tmp_path / "b.npz", phrases)
