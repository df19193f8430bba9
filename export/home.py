"""A quiet home: its noise, its quiet sounds, and which recordings should wake a gate in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from edge_alm.errors import UsageError
from edge_alm.hearing.watch import Matcher
from export.corpus import Clip
from export.gate_classes import GateClasses
from export.scenes import Recipe

WAKING = ("speech", "alarm", "impact")
HOME_NOISE = Recipe.empty("room tone")
ROOM_DB = HOME_NOISE.alone_db
"""RMS of a room, dBFS."""
ROOMS = replace(
    HOME_NOISE,
    noise=("room tone", "hum", "pink"),
    events=(0.0, 1.0),
    repeat=0.0,
    near_far=0.0,
    spread_db=0.0,
)
QUIET = frozenset(
    (
        *("rain", "wind", "fire crackling", "fire burning", "water", "bubbling liquid"),
        *("clock tick", "clock ticking", "footsteps", "paper crumpling"),
        *("electric motor whirr", "3d printer motor"),
        *("birds chirping", "crickets chirping", "crickets at night"),
        *("light traffic", "city street noise"),
    )
)
"""What is heard in a quiet home, or through its windows, and should not wake anyone. No aircraft:
the corpus has those of war games, and one of them fires."""
MEANT: Mapping[str, str] = {
    "fire engine siren": "alarm",
    "police siren": "alarm",
    "crossbow shot": "other",
    "sling shot": "other",
    "lark singing": "other",
}
"""Labels whose words name classes of something else, too."""


def kind_of(label: str, matcher: Matcher, gate: GateClasses) -> str | None:
    """The gate's class of a clip that is called so; None where it may be of several, or of none.

    Args:
        label: a clip's, in words.
        matcher: which of the encoder's labels that means.
        gate: which of its classes these are of.
    """
    if label in MEANT:
        return MEANT[label]
    try:
        return gate.of(matcher.labels(label))
    except UsageError:  # no class is called so
        return None


def require(clips: Sequence[Clip], what: str) -> None:
    """Make sure that there are some clips.

    Raises:
        UsageError: there are none.
    """
    if not clips:
        raise UsageError(
            "corpus",
            expected=what,
            got="none",
            hint="python -m export.corpus --root build/corpus --esc10 ../shared/data/esc10",
        )
