"""What stood out without a name, from levels and scores alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_alm.hearing.audioset import Ontology
from edge_alm.hearing.encoder import HOP_SAMPLES, PATCH_FRAMES, Hop
from edge_alm.hearing.gate import BLOCK_SAMPLES
from edge_alm.hearing.guesses import LONGEST_BLOCKS, NAMES, PAUSE_BLOCKS, Guesser
from edge_alm.types import Guess, Sound, to_seconds

LABELS = ("Silence", "Animal", "Dog", "Bark", "Rain", "Horn", "Bell")
THRESHOLDS = {"Animal": 0.5, "Dog": 0.5, "Bark": 0.5, "Rain": 0.8, "Horn": 0.4, "Bell": 0.4}
TREE = Ontology({"Dog": ("Animal",), "Bark": ("Dog",)})
SCORES = {"Silence": 0.9, "Horn": 0.2, "Rain": 0.3, "Bell": 0.1}
PER_HOP = HOP_SAMPLES // BLOCK_SAMPLES
BLOCK_S = to_seconds(BLOCK_SAMPLES)


def make_hop(number: int, scores: dict[str, float], *, is_noise: bool = False) -> Hop:
    row = np.array([scores.get(label, 0.01) for label in LABELS], np.float32)
    start, levels_db = number * HOP_SAMPLES, np.zeros(PATCH_FRAMES, np.float32)
    return Hop(start, start + HOP_SAMPLES, row, np.zeros(4, np.float32), levels_db, is_noise)


def run(
    levels_db: list[float | None],
    scores: dict[str, float] = SCORES,
    sounds: dict[int, list[Sound]] | None = None,
    *,
    is_noise: bool = False,
    end: int | None = None,
) -> list[Guess]:
    """Guesses about blocks, each with its level where it stands out; sounds by hop."""
    guesser, guesses = Guesser(LABELS, THRESHOLDS, TREE), []
    for i, level_db in enumerate(levels_db):
        guesser.push(level_db or 0.0, stands_out=level_db is not None)
        number, last = divmod(i, PER_HOP)
        if last == PER_HOP - 1:
            hop = make_hop(number, scores, is_noise=is_noise)
            guesses += guesser.hear(hop, (sounds or {}).get(number, []))
    return guesses + guesser.finish(len(levels_db) * BLOCK_SAMPLES if end is None else end, ())


def spans(guesses: list[Guess]) -> list[tuple[int, int]]:
    """In blocks."""
    return [(round(g.start / BLOCK_S), round(g.end / BLOCK_S)) for g in guesses]


def test_a_stretch_is_told_with_its_likeliest_names_against_their_thresholds() -> None:
    guesses = run([None] * 5 + [-20.0] * 7 + [None] * 20)
    assert spans(guesses) == [(5, 12)]
    assert guesses[0].labels[:3] == ("Horn", "Rain", "Bell")
    assert len(guesses[0].labels) == NAMES
    assert "Silence" not in guesses[0].labels


def test_of_a_family_only_its_kind_is_told_unless_that_is_unlikely() -> None:
    heard = [-20.0] * 10 + [None] * 15
    (clear,) = run(heard, {"Animal": 0.45, "Dog": 0.4, "Bark": 0.35})
    assert clear.labels[0] == "Bark"
    assert not {"Animal", "Dog"} & set(clear.labels)
    (unclear,) = run(heard, {"Animal": 0.45, "Dog": 0.05})
    assert unclear.labels[0] == "Animal"
    assert "Dog" not in unclear.labels


@given(st.lists(st.tuples(st.integers(2, 12), st.integers(1, 12)), min_size=1, max_size=6))
def test_pauses_part_what_is_repeated(runs: list[tuple[int, int]]) -> None:
    levels_db: list[float | None] = []
    expected: list[tuple[int, int]] = []
    for sounding, quiet in runs:
        start = len(levels_db)
        levels_db += [-20.0] * sounding + [None] * quiet
        if expected and start - expected[-1][1] <= PAUSE_BLOCKS - 1:
            start = expected.pop()[0]
        expected.append((start, len(levels_db) - quiet))
    assert spans(run(levels_db + [None] * 15)) == expected


@pytest.mark.parametrize(("span_s", "told"), [((0.0, 1.4), False), ((0.0, 0.5), True)])
def test_what_has_a_name_for_half_of_it_is_not_told_again(
    span_s: tuple[float, float], told: bool
) -> None:
    start = Sound("Horn", span_s[0], None, 0.9, "start")
    end = Sound("Horn", *span_s, 0.9, "end")
    heard = [-20.0] * 15 + [None] * 15
    assert bool(run(heard, sounds={0: [start], 3: [end]})) is told
    # The tracker may need two hops to name what is over.
    assert bool(run(heard, sounds={4: [start, end]})) is told


def test_names_that_overlap_do_not_add_up() -> None:
    both = [Sound(label, 0.0, 0.4, 0.9, "end") for label in ("Horn", "Bell")]
    assert len(run([-20.0] * 11 + [None] * 15, sounds={2: both})) == 1


def test_an_echo_does_not_belong_to_a_sound_and_a_click_is_none() -> None:
    assert spans(run([-10.0] * 5 + [-50.0] * 10 + [None] * 15)) == [(0, 5)]
    assert run([None] * 4 + [-10.0] + [None] * 15) == []


def test_plain_noise_is_not_told() -> None:
    assert run([-20.0] * 10 + [None] * 15, is_noise=True) == []


def test_what_does_not_end_is_told_in_parts() -> None:
    guesses = run([-20.0] * (2 * LONGEST_BLOCKS + 30))
    assert [end - start for start, end in spans(guesses)] == [LONGEST_BLOCKS] * 2 + [30]


def test_nothing_lasts_beyond_the_end() -> None:
    (guess,) = run([-20.0] * 10, end=9 * BLOCK_SAMPLES + 100)
    assert guess.end == pytest.approx(9 * BLOCK_S + 100 / 16_000, abs=1e-3)


def test_state_is_bounded_and_a_reset_forgets() -> None:
    guesser = Guesser(LABELS, THRESHOLDS, TREE)
    for number in range(2_000):
        for _ in range(PER_HOP):
            guesser.push(-20.0, stands_out=number % 7 < 3)
        sound = Sound("Horn", number * 0.48, number * 0.48 + 0.2, 0.9, "end")
        guesser.hear(make_hop(number, SCORES), [sound])
        assert len(guesser._hops) < 40
        assert len(guesser._named) < 40
    guesser.reset(0)
    assert guesser.finish(0, ()) == []
