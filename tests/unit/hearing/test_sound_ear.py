"""Which hops are encoded, with parts that only count."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_alm.hearing.encoder import HOP_SAMPLES
from edge_alm.hearing.gate import BLOCK_SAMPLES
from edge_alm.hearing.guesses import PAUSE_BLOCKS
from edge_alm.hearing.sound_ear import BLOCKS_PER_HOP, LOOK_BLOCKS, SoundEar
from edge_alm.types import Guess, Samples

BLOCK = np.zeros(BLOCK_SAMPLES, np.float32)


class Parts:
    """All of them in one: the gate is open when told, no sound goes on, nothing is guessed."""

    is_active = False
    level_db = -100.0

    def __init__(self) -> None:
        self.open = self.stands_out = False
        self.wanted: list[bool] = []
        self.skipped = self.passed_over = 0
        self.looks: list[int] = []
        """Of each the samples that it adds to the last hop."""

    def push(
        self, samples: Samples, *, wanted: bool | None = None, stands_out: bool = False
    ) -> Any:
        if wanted is None:
            return self.open
        assert len(samples) == HOP_SAMPLES
        self.wanted.append(wanted)
        return None

    def look(self, seen: Any) -> Any:
        """Of the encoder and, what it made of it, of the tracker."""
        if seen is self:
            return []
        self.looks.append(len(seen))
        return self

    def note(self, sounds: object) -> None:
        """Nothing has a name."""

    def skip(self) -> None:
        self.skipped += 1

    def pass_over(self) -> None:
        self.passed_over += 1

    def hear(self, hop: object, sounds: object) -> list[Guess]:
        return []

    def reset(self, start: int = 0) -> None:
        """Holds nothing."""


def make_ear(parts: Parts) -> SoundEar:
    part = cast(Any, parts)
    return SoundEar(part, part, part, None, lambda hop: None, part, lambda guess: None)


def looks_at(stands_out: list[bool], *, thinned: bool = False) -> list[int]:
    """The blocks after which the encoder looks between hops."""
    parts = Parts()
    ear, found = make_ear(parts), []
    ear.thinned = thinned
    for number, parts.stands_out in enumerate(stands_out):
        ear.push(BLOCK, speech=False)
        if parts.looks:
            assert parts.looks.pop() == (number + 1) % BLOCKS_PER_HOP * BLOCK_SAMPLES
            found.append(number)
    return found


@pytest.mark.parametrize("start", range(BLOCKS_PER_HOP))
def test_what_begins_to_stand_out_is_looked_at_between_hops(start: int) -> None:
    blocks = [False] * start + [True] * 40
    # A hop that ends there is heard anyway.
    expected = [start + n for n in LOOK_BLOCKS if (start + n + 1) % BLOCKS_PER_HOP]
    assert looks_at(blocks) == expected
    assert looks_at(blocks, thinned=True) == []


def test_what_goes_on_after_a_moment_does_not_begin_anew() -> None:
    first = looks_at([True] * 40)
    assert looks_at([True] * 20 + [False] * (PAUSE_BLOCKS - 1) + [True] * 20) == first
    assert len(looks_at([True] * 20 + [False] * PAUSE_BLOCKS + [True] * 20)) > len(first)


def test_silence_is_not_looked_at() -> None:
    assert looks_at([False] * 40) == []


@given(st.lists(st.lists(st.booleans(), min_size=BLOCKS_PER_HOP, max_size=BLOCKS_PER_HOP)))
def test_a_thinned_one_hears_every_second_hop_for_both(hops: list[list[bool]]) -> None:
    parts = Parts()
    ear = make_ear(parts)
    ear.thinned = True
    for hop in hops:
        for parts.open in hop:
            ear.push(BLOCK, speech=False)
    pairs = list(zip(hops[::2], hops[1::2], strict=False))
    expected = [wanted for first, second in pairs for wanted in (False, any(first + second))]
    assert parts.wanted == expected + [False] * (len(hops) % 2)
    assert (parts.passed_over, parts.skipped) == (len(hops) - len(pairs), len(pairs))
    ear.thinned = False
    heard_for_it = len(hops) % 2 == 1 and any(hops[-1])
    for _ in range(BLOCKS_PER_HOP):
        parts.open = False
        ear.push(BLOCK, speech=False)
    assert parts.wanted[-1] is heard_for_it
