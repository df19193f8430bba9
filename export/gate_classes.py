"""The five classes of a gate for microcontrollers, made of those of a larger encoder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import UsageError
from edge_alm.hearing.audioset import ontology, voice_labels
from edge_alm.hearing.tracker import NOISE_LABELS
from export.thresholds import NOT_EVENTS

GATE = ("nothing", "speech", "alarm", "impact", "other")
ALARMS = ("Alarm",)
IMPACTS = (
    "Explosion",
    "Gunshot, gunfire",
    "Breaking",
    "Shatter",
    "Smash, crash",
    "Bang",
    "Slam",
    "Thump, thud",
    "Whack, thwack",
    "Slap, smack",
)
"""With all their kinds: what is over at once and may mean harm."""


class GateClasses:
    """Which of an encoder's classes are of which of the gate's.

    Args:
        labels: the encoder's, of AudioSet.

    Raises:
        UsageError: one of the gate's classes has none of them.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        tree = ontology()

        def kinds(roots: Sequence[str]) -> frozenset[str]:
            return frozenset(roots).union(*(tree.descendants(root) for root in roots))

        meant = {"speech": voice_labels(), "alarm": kinds(ALARMS), "impact": kinds(IMPACTS)}
        silent = NOT_EVENTS | NOISE_LABELS
        meant["other"] = frozenset(labels) - silent - frozenset().union(*meant.values())
        self._meant = meant
        self._columns: Mapping[str, list[int]] = {
            name: [i for i, label in enumerate(labels) if label in meant[name]] for name in GATE[1:]
        }
        if empty := [name for name, columns in self._columns.items() if not columns]:
            raise UsageError("teacher", expected=f"classes of {empty[0]}", got="none")

    def __call__(self, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        """The gate's probabilities [..., 5] of the encoder's [..., n labels].

        A class has the highest of its own; nothing is what the highest of all leaves.
        """
        found = [probabilities[..., columns].max(axis=-1) for columns in self._columns.values()]
        nothing = 1.0 - np.max(found, axis=0)
        return np.stack([nothing, *found], axis=-1).astype(np.float32)

    def of(self, labels: Iterable[str]) -> str | None:
        """The gate's class of a sound that is called by some of the encoder's labels.

        None where they are of several of the gate's classes, or of none. Labels that name no event
        (a place, plain noise) do not count.
        """
        wanted = frozenset(labels)
        found = [name for name, own in self._meant.items() if own & wanted]
        return found[0] if len(found) == 1 else None
