"""A text-audio space, trained on scenes whose sounds are told apart by one unit."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from phrase_files import text_bytes, write_phrases
from toy import LABELS, WIDTH, make_recording, write_pairs, write_scenes

from edge_alm.errors import UsageError
from edge_alm.models.projector_file import HOP_LEVELS
from edge_alm.reasoning.phrases import Phrases
from export import contrast
from export.captions import HELD_OUT, THEN, WORDINGS, other_names
from export.compa import read_pairs, score_pairs
from export.contrast import (
    HEADS,
    LOSSES,
    AudioTower,
    Chained,
    Compared,
    Space,
    TextTower,
    alibi,
    found_first,
    held_out,
    make_space,
    pointed,
    ramp,
    read_words,
    restore,
    save,
    train,
)
from export.excerpts import Excerpts, singles

SEEDS = st.integers(0, 2**31)
D = 12
JOINTS = " ".join(
    wording.opening + wording.joint for wording in (*WORDINGS, *HELD_OUT)
).replace(",", " ")  # fmt: skip
OTHERS = {name: label for label in LABELS for name in other_names(label)}
NAMED = {word: label for name, label in OTHERS.items() for word in name.split()}
PIECES = list(dict.fromkeys([*LABELS, *NAMED, *JOINTS.split(), "loud", "quiet", "long", "short"]))


def vectors() -> torch.Tensor:
    """A direction for each label and its other names, and short ones for all other words."""
    torch.manual_seed(0)
    rows = 0.1 * torch.randn(len(PIECES), D)
    for i, piece in enumerate(PIECES):
        label = piece if piece in LABELS else NAMED.get(piece)
        if label:
            rows[i] = torch.eye(D)[LABELS.index(label)]
    return rows


@pytest.fixture(scope="module")
def text() -> TextTower:
    tower: TextTower = TextTower(PIECES, vectors()).eval()
    return tower


@pytest.fixture(scope="module")
def excerpts() -> Excerpts:
    rng = np.random.default_rng(0)
    return Excerpts([make_recording(rng) for _ in range(60)])


def blank(excerpts: Excerpts, seed: int = 0) -> Space:
    torch.manual_seed(seed)
    return make_space(excerpts.singles, PIECES, vectors())


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.integers(2, 12), st.data())
def test_a_hop_stays_what_it_is_when_others_follow(seed: int, n: int, data: st.DataObject) -> None:
    torch.manual_seed(seed)
    tower = AudioTower(torch.zeros(WIDTH), torch.ones(WIDTH), D).eval()
    hops, k = torch.randn(2, n, WIDTH), data.draw(st.integers(1, n))
    with torch.no_grad():
        torch.testing.assert_close(tower.states(hops)[:, :k], tower.states(hops[:, :k]))
        # and what stands behind a shorter recording does not count
        both = tower(hops, torch.tensor([k, n]))
        torch.testing.assert_close(both[:1], tower(hops[:1, :k], torch.tensor([k])))
    torch.testing.assert_close(both.norm(dim=1), torch.ones(2))


@settings(deadline=None)
@given(st.integers(1, 6))
def test_attention_falls_off_with_distance_and_never_looks_ahead(n: int) -> None:
    bias = alibi(n)
    for head in range(HEADS):
        for i in range(n):
            for j in range(n):
                expected = -(i - j) * 2 ** (-8 * (head + 1) / HEADS) if j <= i else -np.inf
                assert float(bias[head, i, j]) == pytest.approx(expected)


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_the_ramp_rises_from_the_first_place_to_the_last(lengths: list[int]) -> None:
    found = ramp(torch.tensor(lengths))
    assert found.shape == (len(lengths), max(lengths))
    for row, n in zip(found, lengths, strict=True):
        expected = torch.linspace(-1, 1, n) if n > 1 else torch.zeros(1)
        torch.testing.assert_close(row[:n], expected)
        assert not row[n:].any()


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from(LABELS), min_size=1, max_size=4), min_size=1, max_size=5))
def test_a_text_has_one_direction_in_any_batch(text: TextTower, named: list[list[str]]) -> None:
    texts = [THEN.join(parts) for parts in named]
    with torch.no_grad():
        together = text(texts)
        alone = torch.cat([text([each]) for each in texts])
    assert together.shape == (len(texts), text.width)
    torch.testing.assert_close(together, alone)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(len(texts)))


def test_a_text_tower_tells_orders_apart_and_a_bag_does_not(text: TextTower) -> None:
    texts = ["dog, then rain", "rain, then dog"]
    with torch.no_grad():
        one, other = text(texts)
    assert (one - other).norm() > 0.01
    torch.testing.assert_close(*text.bags(texts))
    assert not text(["xyzzy", ""]).any()


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_teaches_which_sound_it_is(
    excerpts: Excerpts, loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contrast, "BATCH", 16)
    space = blank(excerpts)
    values = list(train(space, excerpts, loss, 40, 0))
    assert np.mean(values[-5:]) < 0.7 * values[0]
    rng = np.random.default_rng(9)
    unseen = singles([make_recording(rng) for _ in range(30)])
    own = [LABELS.index(each.timeline[0].label) for each in unseen]
    assert found_first(pointed(space, unseen, LABELS), own, 1) > 0.8


def test_composed_negatives_teach_which_sound_came_first(
    excerpts: Excerpts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contrast, "BATCH", 32)
    pairs = read_pairs(write_pairs(tmp_path, pairs=30))
    space = blank(excerpts)
    before = score_pairs(pairs, Compared(space.eval()))["order"].group
    for _ in train(space, excerpts, "compa", 200, 0):
        pass
    after = score_pairs(pairs, Compared(space))["order"].group
    assert before < 0.5 < 0.8 < after


def test_the_same_seed_learns_the_same(excerpts: Excerpts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contrast, "BATCH", 8)
    one, same, other = (
        list(train(blank(excerpts, seed), excerpts, "afclap", 3, seed)) for seed in (0, 0, 1)
    )
    assert one == pytest.approx(same)
    assert one != pytest.approx(other)


def test_what_was_learnt_is_read_back(excerpts: Excerpts, tmp_path: Path) -> None:
    space, path = blank(excerpts), tmp_path / "compa.npz"
    save(path, space, 5, 1)
    again = blank(excerpts, seed=7)
    assert not restore(tmp_path / "other.npz", again, 5, 1)
    assert restore(path, again, 5, 1)
    for name, value in space.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value)
    with pytest.raises(UsageError, match="5 steps and seed 1"):
        restore(path, again, 6, 1)
    with pytest.raises(UsageError, match="new --out"):
        restore(path, Space(AudioTower(torch.zeros(3), torch.ones(3), D), space.text), 5, 1)
    path.write_bytes(b"no archive")
    with pytest.raises(UsageError, match="new --out"):
        restore(path, again, 5, 1)


@settings(deadline=None)
@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 6), SEEDS)
def test_a_label_is_found_where_fewer_fit_as_well(n: int, m: int, places: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, own = rng.integers(0, 3, (n, m)), rng.integers(0, m, n).tolist()
    right = [
        sum(score >= row[i] for j, score in enumerate(row) if j != i) < places
        for row, i in zip(scores, own, strict=True)
    ]
    found = found_first(torch.from_numpy(scores), own, places)
    assert found == pytest.approx(np.mean(right))


def test_captions_are_put_into_words_that_no_training_had(tmp_path: Path) -> None:
    pairs = read_pairs(write_pairs(tmp_path))
    for i, (pair, other) in enumerate(zip(pairs, held_out(pairs), strict=True)):
        wording = HELD_OUT[i % len(HELD_OUT)]
        assert other.captions == tuple(wording(c.split(THEN)) for c in pair.captions)
        assert other.recordings is pair.recordings


def make_phrases(path: Path) -> Path:
    return write_phrases(path, LABELS, LABELS, n_in=WIDTH - HOP_LEVELS)


def test_single_stretches_looked_for_in_order_tell_it_too(tmp_path: Path) -> None:
    pairs = read_pairs(write_pairs(tmp_path, pairs=10))
    chained = Chained(Phrases(make_phrases(tmp_path / "phrases.npz")))
    assert score_pairs(pairs, chained)["order"].group > 0.8
    assert not chained(pairs[0].recordings, ["then"]).any()


def write_words(path: Path) -> Path:
    rows = vectors().numpy()
    scales = np.abs(rows).max(axis=1) / 127
    np.savez(
        path,
        pieces=text_bytes(PIECES),
        piece_rows=np.round(rows / scales[:, None]).astype(np.int8),
        piece_scales=scales.astype(np.float16),
    )
    return path


def test_word_pieces_are_read_as_a_bundle_reads_them(tmp_path: Path) -> None:
    pieces, rows = read_words(write_words(tmp_path / "words.npz"))
    assert pieces == PIECES
    assert (rows - vectors()).abs().max() < 0.02
    (tmp_path / "words.npz").write_bytes(b"no archive")
    with pytest.raises(UsageError, match=r"python -m export\.words"):
        read_words(tmp_path / "words.npz")


def test_the_command_compares_all_losses_and_goes_on_where_it_stopped(
    models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(contrast, "BATCH", 8)
    arguments = [
        *("contrast", "--words", str(write_words(tmp_path / "words.npz")), "--steps", "2"),
        *("--scenes", str(write_scenes(tmp_path / "scenes", 20)), "--out", str(tmp_path / "out")),
        *("--pairs", str(write_pairs(tmp_path / "pairs"))),
        *("--phrases", str(make_phrases(tmp_path / "phrases.npz"))),
    ]
    monkeypatch.setattr(sys, "argv", arguments)
    contrast.main()
    first = capsys.readouterr().out.splitlines()
    found = json.loads(first[-1])
    assert list(found) == ["table", "find", *LOSSES]
    for loss in ("find", *LOSSES):
        assert set(found[loss]) == {"pairs order", "pairs order, other words"}
    assert [line.split(":")[0] for line in first if ": step 2 of 2" in line] == list(LOSSES)
    (tmp_path / "out" / "modular.npz").unlink()
    contrast.main()
    again = capsys.readouterr().out.splitlines()
    assert json.loads(again[-1]) == found
    assert [line.split(":")[0] for line in again if ": step" in line] == ["modular"]


def test_the_command_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words, out = str(tmp_path / "words.npz"), str(tmp_path / "out")
    arguments = ["contrast", "--words", words, "--scenes", str(tmp_path), "--out", out]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit, match=r"^contrast: .*vectors of word pieces"):
        contrast.main()
    monkeypatch.setattr(sys, "argv", [*arguments, "--steps", "0"])
    with pytest.raises(SystemExit, match="--steps: expected at least 1"):
        contrast.main()
