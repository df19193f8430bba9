"""What a comparison is made of: peers that do the same work, and what it takes each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import numpy as np

from edge_alm.bench.report import Samples
from edge_alm.bench.trace import Trace
from edge_alm.errors import EdgeAlmError

RUNTIME = "the runtime"
"""What it is called among its peers."""
WARM_UP = -1
"""The number of the round before the first, of which nothing counts."""


class Taken(NamedTuple):
    """What a peer's work took, in one respect."""

    what: str
    """Which figure of its section; empty where there is but one."""
    unit: str
    value: float


Work: TypeAlias = Callable[[int], Sequence[Taken]]
"""Does it once; gets the number of the round, from 0 on, or :data:`WARM_UP`."""


@dataclass(frozen=True, slots=True)
class Section:
    """One comparison."""

    name: str
    """The first part of its figures' names; the last is the peer's."""
    peers: Sequence[tuple[str, Work]]
    """Those beside which the others are put come first. One may have several works."""
    notes: list[str] = field(default_factory=list)
    """What was left out and why, and whatever else is to be said to it."""


def run_rounds(
    sections: Sequence[Section], rounds: int, trace: Trace, tell: Callable[[str], None]
) -> Samples:
    """Let all peers of all sections do their work, in another order every round.

    Who fails before the first round is left out, with a note.

    Raises:
        EdgeAlmError: a peer failed later.
    """
    works: list[tuple[str, str, Work]] = []
    with trace.phase("warm-up"):
        for section in sections:
            for peer, work in section.peers:
                tell(f"warm-up: {section.name}, {peer}")
                try:
                    work(WARM_UP)
                except EdgeAlmError as error:
                    section.notes.append(f"{peer} left out: {error}")
                else:
                    works.append((section.name, peer, work))
    taken: list[list[Taken]] = [[] for _ in works]
    rng = np.random.default_rng(0)
    for number in range(rounds):
        tell(f"round {number + 1} of {rounds}")
        with trace.phase(f"round {number + 1}"):
            for i in rng.permutation(len(works)):
                taken[i] += works[i][2](number)
    samples = Samples()
    for (section_name, peer, _), found in zip(works, taken, strict=True):
        for what, unit, value in found:
            samples.add("/".join(filter(None, (section_name, what, peer))), unit, value)
    return samples
