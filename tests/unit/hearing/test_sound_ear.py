"""Which hops are encoded, with parts that only count."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_alm.hearing.encoder import HOP_SAMPLES
from edge_alm.hearing.gate import BLOCK_SAMPLES
from edge_alm.hearing.sound_ear import BLOCKS_PER_HOP, SoundEar
from edge_alm.types import Guess, Samples

BLOCK = np.zeros(BLOCK_SAMPLES, np.float32)


class Parts:
    """All of them in one: the gate is open when told, no sound goes on, nothing is guessed."""

    is_active = stands_out = False
    level_db = -100.0

    def __init__(self) -> None:
        self.open = False
        self.wanted: list[bool] = []
        self.skipped = self.passed_over = 0

    def push(
        self, samples: Samples, *, wanted: bool | None = None, stands_out: bool = False
    ) -> Any:
        if wanted is None:
            return self.open
        assert len(samples) == HOP_SAMPLES
        self.wanted.append(wanted)
        return None

    def skip(self) -> None:
        self.skipped += 1

    def pass_over(self) -> None:
        self.passed_over += 1

    def hear(self, hop: object, sounds: object) -> list[Guess]:
        return []

    def reset(self, start: int = 0) -> None:
        """Holds nothing."""


@given(st.lists(st.lists(st.booleans(), min_size=BLOCKS_PER_HOP, max_size=BLOCKS_PER_HOP)))
def test_a_thinned_one_hears_every_second_hop_for_both(hops: list[list[bool]]) -> None:
    parts = Parts()
    part = cast(Any, parts)
    ear = SoundEar(part, part, part, None, lambda hop: None, part, lambda guess: None)
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
