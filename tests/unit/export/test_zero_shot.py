"""Texts compared with clips that no tower has heard."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from phrase_files import CLASSES, N_IN, PIECES, write_phrases

from edge_alm.hearing.audioset import ontology
from edge_alm.reasoning.phrases import Floats, Phrases, pool
from export import zero_shot
from export.corpus import ESC10_FAMILY, Clip, read_table
from export.imagined import everyday
from export.replay import ALL, FOLDS, fold
from export.zero_shot import Files, Heard, Judge, Table, Towers, measure, read_paraphrases

TEXTS = ("dog bark", "rain", "door bells")


def make_heard(
    phrases: Phrases, rng: np.random.Generator, split: str = "dev", source: str = "a"
) -> tuple[Heard, Floats]:
    """A clip and the embeddings of its hops."""
    hops = rng.random((4, N_IN)).astype(np.float32)
    clip = Clip(Path("x.wav"), "dog", "animal", source, split, "debian", True)
    return Heard(clip, pool(hops), phrases.hear(hops).classes), hops


def test_a_judge_scores_as_the_runtime_does(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    w1 = rng.normal(size=(5, 2 * N_IN)).astype(np.float16)
    w2 = rng.normal(size=(len(PIECES), 5)).astype(np.float16)
    b1 = np.zeros(5, np.float16)
    phrases = Phrases(write_phrases(tmp_path / "p.npz", w1=w1, b1=b1, w2=w2))
    heard, hops = zip(*(make_heard(phrases, rng) for _ in range(6)), strict=True)
    table = Table(phrases.directions, CLASSES)
    judge = Judge(table, Towers(phrases.directions, CLASSES, {ALL: phrases.point}))
    expected = phrases.scores([phrases.hear(each) for each in hops], TEXTS)
    expected -= np.log(len(CLASSES))  # what this table makes of any sound
    np.testing.assert_allclose(judge(heard, TEXTS), expected, atol=1e-3)
    assert np.abs(Judge(table, None)(heard, TEXTS) - expected).max() > 0.1


def test_every_clip_has_the_tower_that_has_not_heard_it(tmp_path: Path) -> None:
    """Each tower here points to a piece of its own, whatever it hears."""
    phrases, rng = Phrases(write_phrases(tmp_path / "p.npz")), np.random.default_rng(0)
    names = [ALL, *(f"source{i}" for i in range(FOLDS))]
    towers = {
        name: lambda pooled, i=i: np.tile(
            np.eye(len(PIECES), dtype=np.float32)[i], (len(pooled), 1)
        )
        for i, name in enumerate(names)
    }
    sources = [f"recording {i}" for i in range(12)]
    assert {fold(source) for source in sources} == set(range(FOLDS))
    heard = [make_heard(phrases, rng, "train", source)[0] for source in sources]
    heard.append(make_heard(phrases, rng)[0])
    found = Towers(phrases.directions, CLASSES, towers)
    flat = Table(lambda texts: np.zeros((len(texts), 1), np.float32), CLASSES)
    best = Judge(flat, found)(heard, PIECES[: len(names)]).argmax(axis=1)
    expected = [names.index(f"source{fold(source)}") for source in sources]
    assert best.tolist() == [*expected, names.index(ALL)]


def test_files_score_as_the_runtime_does(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    usual = {"usual_classes": np.array([0.5, 0.1, 0.2], np.float32)}
    changes: dict[str, dict[str, Any]] = {ALL: {}, f"source{fold('a')}": usual}
    files = {
        name: Phrases(write_phrases(tmp_path / "p.npz", **change))
        for name, change in changes.items()
    }
    heard, hops = zip(
        *(make_heard(files[ALL], rng, split) for split in ("dev", "train", "dev")), strict=True
    )
    found = Files(files)(heard, TEXTS)
    for row, each, own in zip(found, heard, hops, strict=True):
        file = files[each.tower]
        np.testing.assert_allclose(row, file.scores([file.hear(own)], TEXTS)[0], atol=1e-3)
    assert {each.tower for each in heard} == files.keys()


def test_figures_are_those_of_the_clips_they_are_about() -> None:
    """The judge knows ESC-10's labels but no paraphrase, and puts Debian's right ones second."""
    labels = [*read_paraphrases(), "creak", "gong", "thump"]
    none = np.zeros(1, np.float32)
    heard = [
        Heard(Clip(Path(), label, "", label, split, corpus, label != "gong"), none, none)
        for corpus, own in (("esc10", labels[:10]), ("debian", labels[10:]))
        for split in ("train", "dev")
        for label in own
    ]

    def judge(heard: Sequence[Heard], texts: Sequence[str]) -> Floats:
        out = np.zeros((len(heard), len(texts)), np.float32)
        for row, each in zip(out, heard, strict=True):
            if each.clip.label in texts:
                at = texts.index(each.clip.label)
                row[at] = 1.0
                if each.clip.corpus == "debian":
                    row[at - 1] += 2.0
        return out

    found = measure(judge, heard)
    assert (found.esc10, found.fold4, found.paraphrased) == (1.0, 1.0, 0.0)
    assert found.unheard == (0.0, 1.0)
    assert found.unseen == (1.0, 1.0)  # among one


def test_no_training_has_met_a_paraphrase() -> None:
    def plain(text: str) -> str:
        first, _, rest = text.lower().partition(" ")
        return rest if first in ("a", "an", "the") else text.lower()

    met = {plain(row["label"]) for row in read_table("debian_sounds.csv")} | set(ESC10_FAMILY)
    met |= {plain(part) for name in ontology().labels() for part in (name, *name.split(", "))}
    met |= {plain(name) for group in everyday().values() for name in group}
    paraphrases = read_paraphrases()
    assert paraphrases.keys() == ESC10_FAMILY.keys()
    assert {len(own) for own in paraphrases.values()} == {20}
    every = [plain(phrase) for own in paraphrases.values() for phrase in own]
    assert len(set(every)) == len(every)
    assert not set(every) & met


def test_the_command_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["zero_shot", "--likeness", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"zero_shot: .*all\.npz"):
        zero_shot.main()
