"""Two recordings and two captions that differ in one thing: the CompA protocol on our own sounds.

CompA (Ghosh et al., ICLR 2024) asks whether a model puts the right one of two captions to each of
two recordings that have the same sounds in another composition. Here: which sound comes first,
and which of the two is loud and which quiet, long and short, near and far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_alm.errors import UsageError
from edge_alm.types import SAMPLE_RATE_HZ, Samples
from export.acoustics import fade, filter_event, make_noise, make_room
from export.corpus import Clip, read_samples, similar
from export.scenes import FAR_DB, occurrence

ATTRIBUTES = {
    "loudness": ("loud", "quiet"),
    "length": ("long", "short"),
    "distance": ("near", "far"),
}
KINDS = ("order", *ATTRIBUTES)
LEVEL_DB = -20.0
QUIET_DB = 18.0
"""How far under a loud sound a quiet one is."""
NOISE_DB = -60.0
LONG_S, SHORT_S, USUAL_S = 3.5, 0.7, 2.5
GAP_S = 0.7
_EDGE_S = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """The first caption belongs to the first recording, the second to the second."""

    kind: str
    captions: tuple[str, str]
    recordings: tuple[Samples, Samples]


def make_pair(rng: np.random.Generator, clips: Sequence[Clip], kind: str) -> Pair:
    """A pair of one of :data:`KINDS`.

    Raises:
        UsageError: an unknown kind, or no two clips that are long enough and not alike.
    """
    if kind not in KINDS:
        raise UsageError("kind of pair", expected=f"one of {', '.join(KINDS)}", got=repr(kind))
    least_s = LONG_S if kind == "length" else 0.0
    one, other = _choose(rng, clips, least_s)
    a, b = read_samples(one, 6.0), read_samples(other, 6.0)
    if kind == "order":
        first, second = (_render(rng, occurrence(s)[0], "") for s in (a, b))
        captions = (f"{one.label}, then {other.label}", f"{other.label}, then {one.label}")
        orders = ((first, second), (second, first))
    else:
        more, less = ATTRIBUTES[kind]
        captions = (
            f"{more} {one.label}, then {less} {other.label}",
            f"{less} {one.label}, then {more} {other.label}",
        )
        orders = (
            (_render(rng, a, more), _render(rng, b, less)),
            (_render(rng, a, less), _render(rng, b, more)),
        )
    recordings = (_join(rng, *orders[0]), _join(rng, *orders[1]))
    return Pair(kind, captions, recordings)


def _choose(rng: np.random.Generator, clips: Sequence[Clip], least_s: float) -> tuple[Clip, Clip]:
    chosen: list[Clip] = []
    for index in rng.permutation(len(clips)):
        clip = clips[index]
        if any(similar(clip.label, other.label) for other in chosen):
            continue
        if len(read_samples(clip, 6.0)) < least_s * SAMPLE_RATE_HZ:
            continue
        chosen.append(clip)
        if len(chosen) == 2:
            return chosen[0], chosen[1]
    raise UsageError("clips", expected="two that are not alike", got="too few of them")


def _render(rng: np.random.Generator, samples: Samples, attribute: str) -> Samples:
    length_s = {"long": LONG_S, "short": SHORT_S}.get(attribute, USUAL_S)
    event: Any = fade(_loudest(samples, round(length_s * SAMPLE_RATE_HZ)))
    level_db = LEVEL_DB
    if attribute == "quiet":
        level_db -= QUIET_DB
    elif attribute == "far":
        event = filter_event(event, make_room(rng, 0.7), 0.9, 1_300.0)
        level_db -= FAR_DB
    rms = float(np.sqrt(np.mean(np.square(event))))
    gain = min(10 ** (level_db / 20) / max(rms, 1e-9), 0.98 / max(float(np.abs(event).max()), 1e-9))
    return np.asarray(event * np.float32(gain), dtype=np.float32)


def _loudest(samples: Samples, length: int) -> Samples:
    """The stretch of ``length`` samples with the most energy."""
    if len(samples) <= length:
        return samples
    energy = np.concatenate(([0.0], np.cumsum(np.square(samples, dtype=np.float64))))
    start = int(np.argmax(energy[length:] - energy[:-length]))
    return samples[start : start + length]


def _join(rng: np.random.Generator, first: Samples, second: Samples) -> Samples:
    edge, gap = (np.zeros(round(s * SAMPLE_RATE_HZ), np.float32) for s in (_EDGE_S, GAP_S))
    joined = np.concatenate((edge, first, gap, second, edge))
    noise = make_noise(rng, ("room tone",), len(joined)) * np.float32(10 ** (NOISE_DB / 20))
    return np.asarray(np.clip(joined + noise, -1.0, 1.0), dtype=np.float32)
