"""Vectors of word pieces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edge_alm.errors import UsageError
from export import words
from export.words import learn, padded, read_wordnet


def test_wordnet_gives_terms_and_short_definitions(tmp_path: Path) -> None:
    head = "  1 This software and database is being provided\n"
    folder = tmp_path / "usr" / "share" / "wordnet"
    folder.mkdir(parents=True)
    for kind in ("noun", "verb", "adj", "adv"):
        (folder / f"index.{kind}").write_text(head + f"door_bell n 1 1 @ 1 0 0\n{kind}9 n 1\n")
        gloss = '0 06 n 01 x 0 000 | (music) the sound of a bell; "they heard it"\n'
        (folder / f"data.{kind}").write_text(head + gloss + "1 06 n 01 x 0 000 | short\n")
    assert read_wordnet(tmp_path) == (["door bell"], ["the sound of a bell"])
    with pytest.raises(UsageError, match="wordnet-base"):
        read_wordnet(tmp_path / "nothing")


def test_sums_come_to_have_the_cosines_of_the_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sentences made of known vectors: their cosines are found again."""
    monkeypatch.setattr(words, "WIDTH", 8)
    monkeypatch.setattr(words, "EPOCHS", 200)
    generator = np.random.default_rng(0)
    true = generator.normal(size=(30, 8)).astype(np.float32)
    true[0] = 0.0
    numbers = [
        generator.integers(1, 30, size=generator.integers(1, 4)).tolist() for _ in range(800)
    ]
    ids = padded(numbers)
    sums = torch.from_numpy(true)[ids].sum(1)
    sentences = torch.nn.functional.normalize(sums, dim=1)
    learnt = torch.from_numpy(learn(ids, sentences, 30))
    got = torch.nn.functional.normalize(learnt[ids].sum(1), dim=1)
    error = (got @ got.T - sentences @ sentences.T).abs().mean()
    before = (sentences @ sentences.T).abs().mean()
    assert error < 0.25 * before
