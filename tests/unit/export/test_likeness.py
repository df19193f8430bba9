"""What compares phrases with sounds, trained on scenes whose sounds are told apart by one unit."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from phrase_files import arrays, write_phrases
from text_models import save_bert
from toy import LABELS, WIDTH, make_recording

from edge_alm.models.projector_file import HOP_LEVELS
from edge_alm.reasoning.judges import Judges
from edge_alm.reasoning.phrases import Heard, Phrases
from edge_alm.reasoning.sentences import Sentences
from edge_alm.reasoning.stretches import Stretches
from export import likeness
from export.likeness import (
    USUAL_EACH,
    Examples,
    Judge,
    choose_usual,
    gather,
    one_of_four,
    quantised,
    read_words,
    sureness,
    train,
    usual_arrays,
    wordings,
)
from export.minilm import export_minilm
from export.replay import ALL, FAMILIES, FOLDS, Likeness, fold, replay
from export.scenes import Placed

N_IN = WIDTH - HOP_LEVELS
ROWS, BIAS = np.eye(len(LABELS), N_IN, dtype=np.float32), np.zeros(len(LABELS), np.float32)


@pytest.fixture(scope="module")
def examples() -> Examples:
    rng = np.random.default_rng(0)
    return gather([make_recording(rng) for _ in range(60)], ROWS, BIAS)


def test_a_stretch_is_pooled_and_knows_what_was_there(examples: Examples) -> None:
    assert len(examples.labels) > 60
    mean = examples.pooled[:, :N_IN]
    strongest = [LABELS[int(i)] for i in mean[:, : len(LABELS)].argmax(1)]
    same = [a == b for a, b in zip(strongest, examples.labels, strict=True)]
    assert np.mean(same) > 0.9  # a short one next to another has a hop of it
    assert torch.all(examples.pooled[:, N_IN:] >= mean - 1e-5)


def test_a_tower_learns_the_labels_it_meets(
    examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(likeness, "STEPS", 200)
    directions = torch.eye(len(LABELS))
    own = torch.tensor([LABELS.index(label) for label in examples.labels])
    half = torch.arange(len(own)) % 2 == 0
    tower = train(examples, half, directions, directions, own)
    rest = torch.where(~half)[0]
    usual = choose_usual(examples.labels, half)
    scores = Judge(directions, directions)(tower, examples, rest, usual)
    assert one_of_four(scores, own[rest], LABELS) > 0.95
    blind = torch.zeros_like(scores)
    assert one_of_four(blind, own[rest], LABELS) == 0.0


def test_a_label_is_met_in_all_its_wordings(
    examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each label has two here; a tower of both points between them, one of the first only there."""
    monkeypatch.setattr(likeness, "STEPS", 200)
    n = len(LABELS)
    own = torch.tensor([LABELS.index(label) for label in examples.labels])
    every, names = torch.ones(len(own), dtype=torch.bool), torch.eye(2 * n)[:n]
    worded = [torch.stack((torch.eye(2 * n)[i], torch.eye(2 * n)[n + i])) for i in range(n)]
    monkeypatch.setattr(likeness, "CLASSES_WEIGHT", 0.0)
    for given in ((), worded):
        tower = train(examples, every, names, names, own, worded=given)
        with torch.no_grad():
            pointed = tower(examples.pooled)[torch.arange(len(own)), n + own].mean()
        assert (float(pointed) > 0.3) == bool(given)


def test_wordings_begin_with_the_label_and_have_its_other_names() -> None:
    found = wordings("church bell")
    assert found[0] == "church bell"
    assert all("bell" in each for each in found[: len(likeness.WORDINGS)])
    assert "the sound of church bell" in found
    assert len(found) % len(likeness.WORDINGS) == 0
    assert len(wordings("dog bark")) > len(likeness.WORDINGS)


def test_a_few_of_each_label_stand_for_any_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = ["rain"] * 50 + ["dog", "bell"] + ["horn"] * 7
    kept = torch.ones(len(labels), dtype=torch.bool)
    kept[50] = False
    chosen = choose_usual(labels, kept).tolist()
    assert len(set(chosen)) == len(chosen)
    names = sorted(labels[i] for i in chosen)
    assert names == ["bell"] + ["horn"] * USUAL_EACH + ["rain"] * USUAL_EACH
    monkeypatch.setattr(likeness, "USUAL", 2)
    assert len(choose_usual(labels, kept)) == 2


def test_a_judge_scores_as_the_file_does(
    examples: Examples, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(likeness, "STEPS", 50)
    own = torch.tensor([LABELS.index(label) for label in examples.labels])
    every = torch.ones(len(own), dtype=torch.bool)
    tower = train(examples, every, torch.eye(len(LABELS)), torch.eye(len(LABELS)), own)
    rows, scales = quantised(ROWS)
    written = arrays(LABELS, LABELS, n_in=N_IN, class_rows=rows, class_scales=scales)
    usual = choose_usual(examples.labels, every)
    written |= {"class_bias": BIAS, **tower.arrays(), **usual_arrays(tower, examples, usual)}
    np.savez(tmp_path / "p.npz", **written)
    phrases = Phrases(tmp_path / "p.npz")
    directions = torch.from_numpy(phrases.directions(LABELS))
    judge = Judge(directions, directions)
    recording = make_recording(np.random.default_rng(7))
    one = gather([recording], ROWS, BIAS)
    # Of what stands for any sound itself, so what is usual is worked out on both sides.
    merged = Examples(
        torch.cat((one.pooled, examples.pooled)),
        torch.cat((one.classes, examples.classes)),
        one.labels + examples.labels,
        one.sources + examples.sources,
    )
    n = len(one.labels)
    expected = judge(tower, merged, torch.arange(n), n + usual)
    seen: list[Heard] = []

    class Keeper(Stretches):
        def hear(self, embeddings: np.ndarray, start_s: float, end_s: float) -> Heard:
            seen.append(super().hear(embeddings, start_s, end_s))
            return seen[-1]

    stretches = Keeper(phrases)
    replay(recording.items, stretches)
    stretches.begin_stream()
    got = phrases.scores(seen, LABELS)
    np.testing.assert_allclose(got, expected.numpy(), atol=0.15)


def test_of_names_between_two_scores_so_many_are_right() -> None:
    right, wrong = torch.tensor([5.0, 5.0, 1.0, -9.0]), torch.tensor([1.0, -9.0])
    assert sureness(right, wrong, 2.0, math.inf) == 1.0
    assert sureness(right, wrong, 0.0, 5.0) == pytest.approx(0.25 / 0.75)
    assert sureness(right, wrong, 1.0, 1.0) != sureness(right, wrong, -9.0, 1.0) == 1 / 3
    assert math.isnan(sureness(right, wrong, 6.0, 7.0))


def test_a_lesson_is_heard_by_the_tower_that_does_not_know_it(tmp_path: Path) -> None:
    """Each fold's file here gives one name to everything, so that it tells which was asked."""
    for name in (ALL, *(f"{family}{i}" for family in FAMILIES for i in range(FOLDS))):
        number = 0 if name == ALL else FAMILIES.index(name[:-1]) * FOLDS + int(name[-1])
        always = np.zeros(len(LABELS), np.float16)
        always[number % len(LABELS)] = 100.0
        write_phrases(
            tmp_path / f"{name}.npz", LABELS, LABELS, n_in=N_IN, b2=always,
            class_bias=np.zeros(len(LABELS), np.float32),
            class_scales=np.zeros(len(LABELS), np.float16),
        )  # fmt: skip
    folder = Likeness(tmp_path)
    timeline = [
        Placed(label, 3.0 * i, 3.0 * i + 1.0, -20.0, source=f"recording {i}")
        for i, label in enumerate(LABELS)
    ]
    recording = make_recording(np.random.default_rng(0), timeline)
    for family in FAMILIES:
        stretches = folder.stretches(iter([timeline]), family, {})
        replay(recording.items, stretches)
        judged = stretches.judged(Judges(Phrases(tmp_path / f"{ALL}.npz")).of(LABELS))
        told = [LABELS[int(np.argmax(shares))] for _, _, shares in judged]
        folds = [fold(getattr(placed, family)) for placed in timeline]
        assert told == [LABELS[FAMILIES.index(family) * FOLDS + i] for i in folds]


def test_words_are_sums_of_pieces_or_sentences(tmp_path: Path) -> None:
    path = write_phrases(tmp_path / "p.npz")
    found, encode = read_words(path, None)
    texts = ["dog", "dog bark"]
    np.testing.assert_array_equal(encode(texts), Phrases(path).directions(texts))
    assert "piece_rows" in found
    export_minilm(save_bert(tmp_path / "bert"), tmp_path / "made")
    nothing, sentences = read_words(path, tmp_path / "made")
    assert not nothing
    np.testing.assert_array_equal(sentences(texts), Sentences(tmp_path / "made")(texts))


def test_the_command_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scenes").mkdir()
    words, out = str(tmp_path / "words.npz"), str(tmp_path / "out")
    arguments = ["likeness", "--words", words, "--scenes", str(tmp_path / "scenes"), "--out", out]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit, match="recorded scenes"):
        likeness.main()
