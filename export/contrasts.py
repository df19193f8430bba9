"""Captions that differ in one thing: the right one, and those of a scene composed otherwise.

What CompA (Ghosh et al., ICLR 2024) asks of a model, it is taught here: which sound came first,
and which of two was loud and which quiet, long and short, near and far.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, permutations

import numpy as np

from export.scenes import Placed

LOUDER_DB = 8.0
LONGER = 2.2
MOST_SOUNDS = 4
MOST_WRONG = 3
ATTRIBUTES = ("loud", "quiet"), ("long", "short"), ("near", "far")
KIND_SHARES = 2.0, 1.0, 2.0
"""Long from short is learnt first: it stands in the text as it is asked for."""


def contrast(rng: np.random.Generator, timeline: Sequence[Placed]) -> tuple[str, ...] | None:
    """Captions, the right one first; None where the scene has nothing to contrast."""
    order, attributes = _order(rng, timeline), _attributes(rng, timeline)
    if order and attributes:  # which of two was loud is the harder thing to hear
        return attributes if rng.random() < 0.8 else order
    return order or attributes


def _order(rng: np.random.Generator, timeline: Sequence[Placed]) -> tuple[str, ...] | None:
    labels = [label for label, _ in groupby(placed.label for placed in timeline)]
    if not 2 <= len(labels) <= MOST_SOUNDS or len(set(labels)) < len(labels):
        return None
    wrong = list(permutations(labels))[1:]
    chosen = [wrong[i] for i in rng.permutation(len(wrong))[:MOST_WRONG]]
    return tuple(", then ".join(order) for order in (labels, *chosen))


def _attributes(rng: np.random.Generator, timeline: Sequence[Placed]) -> tuple[str, ...] | None:
    if len(timeline) != 2 or timeline[0].label == timeline[1].label:
        return None
    a, b = timeline
    lengths_s = a.end_s - a.start_s, b.end_s - b.start_s
    clear = (
        abs(a.level_db - b.level_db) >= LOUDER_DB,
        max(lengths_s) >= LONGER * min(lengths_s),
        {a.attribute, b.attribute} == {"near", "far"},
    )
    more = a.level_db > b.level_db, lengths_s[0] > lengths_s[1], a.attribute == "near"
    kinds = [i for i, is_clear in enumerate(clear) if is_clear]
    if not kinds:
        return None
    shares = np.array([KIND_SHARES[kind] for kind in kinds])
    kind = kinds[rng.choice(len(kinds), p=shares / shares.sum())]
    words = ATTRIBUTES[kind] if more[kind] else ATTRIBUTES[kind][::-1]

    def caption(one: Placed, other: Placed, first: str, second: str) -> str:
        return f"{first} {one.label}, then {second} {other.label}"

    return (
        caption(a, b, *words),
        caption(a, b, *words[::-1]),
        caption(b, a, *words),
        caption(b, a, *words[::-1]),
    )
