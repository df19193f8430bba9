"""CompA's scores against their definition, and pairs that the runtime hears."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from toy import write_pairs

from edge_alm.errors import UsageError
from export import compa
from export.compa import PAIRS_FILE, Scores, hear_pairs, read_pairs, score, score_pairs
from export.corpus import Clip
from export.recordings import Recording

DATA = Path(__file__).parents[2] / "data"
FITS = st.integers(1, 6).flatmap(
    lambda n: arrays(np.float64, (n, 2, 2), elements=st.sampled_from((0.0, 0.5, 1.0)))
)


@settings(deadline=None)
@given(FITS)
def test_scores_are_counted_as_defined(fits: np.ndarray) -> None:
    texts = [f[0, 0] > f[0, 1] and f[1, 1] > f[1, 0] for f in fits]
    audios = [f[0, 0] > f[1, 0] and f[1, 1] > f[0, 1] for f in fits]
    groups = [a and b for a, b in zip(texts, audios, strict=True)]
    assert score(fits) == Scores(*(float(np.mean(each)) for each in (texts, audios, groups)))


def test_guessing_scores_as_chance_has_it() -> None:
    found = score(np.random.default_rng(0).random((20_000, 2, 2)))
    assert (found.text, found.audio, found.group) == pytest.approx(compa.BY_CHANCE, abs=0.02)


def test_pairs_are_read_back(tmp_path: Path) -> None:
    pairs = read_pairs(write_pairs(tmp_path))
    assert len(pairs) == 3
    for pair in pairs:
        for caption, recording in zip(pair.captions, pair.recordings, strict=True):
            assert caption == ", then ".join(placed.label for placed in recording.timeline)

    def knows(recordings: object, captions: object) -> np.ndarray:
        return np.eye(2)

    assert score_pairs(pairs, knows) == {"order": Scores(1.0, 1.0, 1.0)}


@pytest.mark.parametrize("damage", ["", "{", "[]", '[{"kind": "order"}]', "7"])
def test_damaged_pairs_are_told_in_one_line(tmp_path: Path, damage: str) -> None:
    (write_pairs(tmp_path) / PAIRS_FILE).write_text(damage)
    with pytest.raises(UsageError, match=r"expected pairs of recordings, got .*export\.compa"):
        read_pairs(tmp_path)


def test_a_pair_is_composed_and_heard(models: Path, tmp_path: Path) -> None:
    clips = [
        Clip(DATA / f"{name}.flac", name, "", name, "dev", "debian", False)
        for name in ("crow", "doorbell")
    ]
    hear_pairs(tmp_path / "one", clips, ["order"], 1, 0, "default")
    (pair,) = read_pairs(tmp_path / "one")
    assert pair.kind == "order"
    assert set(pair.captions) == {"crow, then doorbell", "doorbell, then crow"}
    assert all(isinstance(each, Recording) and each.hops for each in pair.recordings)
    hear_pairs(tmp_path / "again", clips, ["order"], 1, 0, "default")
    one, again = ((tmp_path / name / "0000.f16").read_bytes() for name in ("one", "again"))
    assert one == again


def test_the_command_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing, out = str(tmp_path / "nothing"), str(tmp_path / "out")
    arguments = ["compa", "--corpus", nothing, "--esc10", nothing, "--out", out]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit, match=r"^compa: corpus"):
        compa.main()
