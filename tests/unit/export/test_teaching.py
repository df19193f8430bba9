"""What is taught and what it is told from, of scenes whose sounds are told apart by one unit."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from phrase_files import write_phrases
from toy import LABELS, WIDTH, make_recording, write_scenes

from edge_alm.models.background_file import check_background
from edge_alm.models.projector_file import HOP_LEVELS
from edge_alm.reasoning.phrases import Phrases
from edge_alm.reasoning.taught import read_background
from export import background, teaching
from export.background import EACH, gather
from export.replay import FOLDS
from export.scenes import Placed
from export.teaching import EXAMPLES, Heard, lessons, sounds

N_IN = WIDTH - HOP_LEVELS


def test_of_each_label_there_are_a_few_moments() -> None:
    rng = np.random.default_rng(0)
    pooled, labels = gather([make_recording(rng) for _ in range(60)])
    assert pooled.shape == (len(labels), 2 * N_IN)
    assert np.all(pooled[:, N_IN:] >= pooled[:, :N_IN] - 1e-6)  # the maximum and the mean
    assert {label: labels.count(label) for label in LABELS} == dict.fromkeys(LABELS, EACH)
    right = [
        LABELS[int(row[: len(LABELS)].argmax())] == label
        for row, label in zip(pooled, labels, strict=True)
        if label
    ]
    assert np.mean(right) > 0.9


def test_a_background_file_is_of_its_phrase_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_phrases(tmp_path / "p.npz", n_in=N_IN)
    folder, out = write_scenes(tmp_path / "scenes", n=200), tmp_path / "b.npz"
    monkeypatch.setattr(background, "EACH", 50)
    words = ["background", "--phrases", table, "--scenes", folder, "--out", out]
    monkeypatch.setattr(sys, "argv", list(map(str, words)))
    background.main()
    told = capsys.readouterr().out
    n, width = check_background(out)
    assert f"{n} moments" in told
    directions = read_background(out, Phrases(table))
    assert directions.shape == (n, width)
    assert np.all(np.linalg.norm(directions, axis=1) <= 1.02)


def test_a_sound_is_heard_moment_by_moment() -> None:
    timeline = (Placed("dog", 1.0, 3.0, -20.0, source="a"), Placed("rain", 5.0, 5.4, -20.0))
    dog, rain = sounds([make_recording(np.random.default_rng(0), timeline)])
    assert (dog.label, dog.source, rain.label) == ("dog", "a", "rain")
    assert dog.whole.shape == (2 * N_IN,)
    assert len(dog.moments) == 4
    assert len(rain.moments) == 1
    assert np.all(dog.whole[N_IN:] >= dog.moments[:, N_IN:] - 1e-6)


def test_lessons_are_of_one_recording_or_of_several() -> None:
    none = np.zeros(1, np.float32)
    heard = [Heard("dog", "a", none, none)] * 8
    heard += [Heard("rain", f"r{i}", none, none) for i in range(9)]
    heard += [Heard("bell", "b", none, none)] * 3
    (same, kind) = list(lessons(heard))
    assert (same[0], kind[0]) == ("same", "kind")
    for _, examples, wanted in (same, kind):
        assert len(examples) == EXAMPLES
        assert not set(examples) & set(wanted)
    assert sorted(same[1] + same[2]) == list(range(8))
    assert sorted(kind[1] + kind[2]) == list(range(8, 17))


def test_what_is_told_apart_is_found_and_not_confused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(FOLDS):  # the tower points where the embedding does
        write_phrases(tmp_path / f"label{i}.npz", LABELS, LABELS, n_in=N_IN)
    scenes = write_scenes(tmp_path / "dev", n=60, seed=1)
    train = write_scenes(tmp_path / "train", n=60, seed=2)
    words = ["teaching", scenes, "--background", train, "--likeness", tmp_path]
    monkeypatch.setattr(sys, "argv", list(map(str, words)))
    teaching.main()
    told = capsys.readouterr().out.splitlines()
    assert len(told) == len(teaching.FALSE_SHARES)
    assert all(line.startswith("same") and "lessons, found" in line for line in told)
    found = [float(line.split("found ")[1].split("%")[0]) for line in told]
    confused = [float(line.split("confused ")[1].split("%")[0]) for line in told]
    assert found == sorted(found)
    # Few moments make the background, and what two sounds share is as clear as it gets here.
    assert all(a > 5 * b for a, b in zip(found, confused, strict=True))
    assert found[-1] > 50.0
