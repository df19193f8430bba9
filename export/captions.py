"""Captions of a run of sounds in several wordings, and captions of the same sounds in another
composition.

What is contrasted comes from :mod:`export.contrasts`; here it is put into words: the order in one
of several wordings, a sound by one of its everyday names. The last wordings, and of each sound the
last name, are held out from training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain

import numpy as np

from export.contrasts import ATTRIBUTES, contrast
from export.imagined import everyday
from export.labels import meaning, similar
from export.scenes import Placed

THEN = ", then "
"""Between the parts of a caption of :func:`export.contrasts.contrast`."""
PARAPHRASES, NEGATIVES = 3, 3
_WORDS = frozenset(chain.from_iterable(ATTRIBUTES))


@dataclass(frozen=True, slots=True)
class Wording:
    """A way to tell an order."""

    joint: str
    opening: str = ""
    backwards: bool = False
    """The last sound is named first."""

    def __call__(self, parts: Sequence[str]) -> str:
        """Parts in order of time as a caption; one alone is the caption."""
        if len(parts) == 1:
            return parts[0]
        return self.opening + self.joint.join(parts[::-1] if self.backwards else parts)


WORDINGS = (
    Wording(THEN),
    Wording(" followed by "),
    Wording(", then ", opening="first "),
    Wording(" before "),
    Wording(" and afterwards "),
    Wording(" after ", backwards=True),
)
HELD_OUT = (Wording(" and later "), Wording(", preceded by ", backwards=True))


@dataclass(frozen=True, slots=True)
class Captions:
    """What a recording is trained with; the same for all losses."""

    plain: str
    """The true caption in the labels' own words."""
    right: tuple[str, ...]
    """It in :data:`PARAPHRASES` wordings."""
    wrong: tuple[str, ...]
    """:data:`NEGATIVES` captions that are not true; of the same sounds where there are several."""
    part: str
    """One of its sounds alone."""
    absent: tuple[str, ...]
    """:data:`NEGATIVES` sounds that are not there."""


def caption(
    rng: np.random.Generator, timeline: Sequence[Placed], labels: Sequence[str]
) -> Captions | None:
    """Captions of a run of sounds; None where several sounds allow no contrast.

    Args:
        rng: chooses what is contrasted and the words.
        timeline: the run, by start.
        labels: of sounds that others may have.
    """
    there = list(dict.fromkeys(placed.label for placed in timeline))
    absent = _absent(rng, there, labels)
    if len(there) == 1:
        true, others = there, [[absent[0]], [absent[0], *there], [*there, absent[0]]]
    elif contrasted := contrast(rng, timeline):
        true, *others = (each.split(THEN) for each in contrasted)
    else:
        return None
    part = true[int(rng.integers(len(true)))]
    return Captions(
        THEN.join(true),
        tuple(word(rng, true) for _ in range(PARAPHRASES)),
        tuple(word(rng, others[i % len(others)]) for i in range(NEGATIVES)),
        rename(rng, _bare(part)[1]),
        tuple(rename(rng, label) for label in absent),
    )


def word(rng: np.random.Generator, parts: Sequence[str]) -> str:
    """A caption in one of the wordings of training, with names of training."""
    wording = WORDINGS[int(rng.integers(len(WORDINGS)))]
    return wording([rename(rng, part) for part in parts])


def rename(rng: np.random.Generator, part: str) -> str:
    """A sound by one of its names, with its attribute if it has one; half of the time as it is."""
    attribute, label = _bare(part)
    names = other_names(label)[:-1]
    if names and rng.random() < 0.5:
        label = names[int(rng.integers(len(names)))]
    return f"{attribute} {label}" if attribute else label


def other_names(label: str) -> tuple[str, ...]:
    """Everyday names of the sound, in the table's order and without the label; the last is never
    trained. Empty where the table does not have the label."""
    return tuple(name for name in _names().get(meaning(label), ()) if name != label)


@cache
def _names() -> dict[str, tuple[str, ...]]:
    """Everyday names by the meaning of each of them."""
    found: dict[str, dict[str, None]] = {}
    for group in everyday().values():
        for name in group:
            found.setdefault(meaning(name), {}).update(dict.fromkeys(group))
    return {own: tuple(names) for own, names in found.items()}


def _bare(part: str) -> tuple[str, str]:
    """Attribute, or nothing, and sound."""
    first, _, rest = part.partition(" ")
    return (first, rest) if first in _WORDS and rest else ("", part)


def _absent(rng: np.random.Generator, there: Sequence[str], labels: Sequence[str]) -> list[str]:
    """Labels that are like none of those that are there; the same again where there are too few."""
    found: list[str] = []
    for i in rng.permutation(len(labels)):
        if not any(similar(labels[i], label) for label in there):
            found.append(labels[i])
        if len(found) == NEGATIVES:
            break
    return [found[i % len(found)] for i in range(NEGATIVES)] if found else ["silence"] * NEGATIVES
