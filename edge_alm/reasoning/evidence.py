"""How likely each choice of a question about sounds is, by the stretches that were heard alone.

A small language model reads which names fit which stretch, but it hardly compares a dozen numbers
with each other. Here the comparison is made outright: every stretch is one of the sounds that are
asked about, or another; the first that is one of them is the first, and so on. Formulas, no weights
that were learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_alm.reasoning.inquiry import Aspect, Inquiry

Floats: TypeAlias = NDArray[np.float64]

SLOPE, OFFSET = 12.0, -2.5
"""Log odds that a stretch is what a phrase says, against any other sound, by the phrase's score on
the scale of its table."""
WEIGHT = 4.0
"""Of evidence beside a language model's log likelihoods, which is surer of itself than it is right.
"""
LEAST = 0.2
"""A name that fits less does not make the first, or the longest, of a long recording."""
DOUBT = 0.01
"""How often evidence is about the wrong thing; what is less likely is not looked at."""
APART_S = 0.2
"""What starts closer together came together."""
NEAR = 8
"""So many stretches may be the one sound that a question names."""
PAUSE_S = 1.2
"""A sound that pauses for less goes on, as a clock does between its ticks."""
INSIDE = 0.8
"""A stretch with so much of it inside a longer one is a part of that."""
_MIDDLE_STEP = 4.5


@dataclass(frozen=True, slots=True, eq=False)
class Spans:
    """Stretches that were heard, n of them."""

    start_s: Floats
    """[n], on one time line."""
    end_s: Floats
    """[n], finite."""
    loudness: Floats
    """[n], in steps of :mod:`edge_alm.reasoning.loudness`; NaN where it is not known."""
    recording: NDArray[np.int64]
    """[n], which one it is of, from 0."""

    def __getitem__(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> Spans:
        return Spans(
            self.start_s[chosen],
            self.end_s[chosen],
            self.loudness[chosen],
            self.recording[chosen],
        )


def weigh(inquiry: Inquiry, spans: Spans, scores: Floats, until_s: float) -> Floats | None:
    """Log probability of each choice.

    Args:
        inquiry: what is asked.
        spans: what was heard.
        scores: how well the choices' sounds, and after them the question's, fit each span
            [n, k + m], as :meth:`~edge_alm.reasoning.phrases.Phrases.scaled`.
        until_s: how long the recording is.

    Returns:
        One for each choice; None where nothing was heard that tells.
    """
    whole = np.flatnonzero(_whole(spans))
    if not len(whole):
        return None
    order = whole[np.argsort(spans.start_s[whole], kind="stable")]
    spans = spans[order]
    shares = _shares(scores[order])
    n = len(inquiry.sounds)
    likely = _likely(inquiry, spans, shares[:, :n], shares[:, n:], until_s)
    total = likely.sum()
    if total <= 0.0:
        return None
    out: Floats = np.log((1.0 - DOUBT) * likely / total + DOUBT / len(likely))
    return out


def _shares(scores: Floats) -> Floats:
    """How likely each stretch is each sound; what is left is another sound."""
    odds = np.exp(np.clip(SLOPE * scores + OFFSET, -30.0, 30.0))
    out: Floats = odds / (1.0 + odds.sum(axis=1, keepdims=True))
    return out


def _likely(
    inquiry: Inquiry, spans: Spans, sounds: Floats, others: Floats, until_s: float
) -> Floats:
    """How likely each choice is, but for a factor."""
    aspect, values = inquiry.aspect, inquiry.values
    surely = np.where(sounds >= LEAST, sounds, 0.0)
    match aspect:
        case Aspect.HEARD:
            likely: Floats = sounds.max(axis=0)
        case Aspect.MISSING:
            likely = 1.0 - sounds.max(axis=0)
        case Aspect.FIRST:
            likely = _first(surely)
        case Aspect.LAST:
            likely = _first(surely[np.argsort(-spans.end_s, kind="stable")])
        case Aspect.BEFORE | Aspect.AFTER | Aspect.BETWEEN:
            likely = _beside(aspect, spans.start_s, surely, others)
        case Aspect.RECORDING:
            likely = _recording(spans.recording, others[:, 0], values)
        case Aspect.EARLIER:
            likely = _earlier(spans.start_s, others, values)
        case Aspect.WHERE:
            centres = (spans.start_s + spans.end_s) / 2.0 / until_s
            likely = _nearest(centres, _places(others[:, 0]), values)
        case _:
            likely = _greatest(aspect, spans, surely)
    return likely


def _greatest(aspect: Aspect, spans: Spans, sounds: Floats) -> Floats:
    """How likely each sound is the longest, or the loudest, or the opposite."""
    if aspect in (Aspect.LONGEST, Aspect.SHORTEST):
        least = np.maximum(sounds.max(axis=0) / 2.0, LEAST)
        size = np.array([_length_s(spans[likely]) for likely in (sounds >= least).T])
    else:
        steps = np.where(np.isnan(spans.loudness), _MIDDLE_STEP, spans.loudness)
        weights = sounds**2
        size = np.einsum("n,nk->k", steps, weights) / np.maximum(weights.sum(axis=0), 1e-9)
    order = np.argsort(-size if aspect in (Aspect.LONGEST, Aspect.LOUDEST) else size, kind="stable")
    heard = sounds.max(axis=0)[order]
    likely = np.empty(len(order))
    likely[order] = heard * _before(1.0 - heard)
    return likely


def _length_s(spans: Spans) -> float:
    """How long these spans are in all, with the pauses of one sound."""
    total_s, until_s = 0.0, -np.inf
    for start_s, end_s in zip(spans.start_s, spans.end_s, strict=True):
        since_s = until_s if start_s < until_s + PAUSE_S else start_s
        total_s += max(end_s - since_s, 0.0)
        until_s = max(until_s, end_s)
    return float(total_s)


def _first(sounds: Floats) -> Floats:
    """How likely each sound [n, k] is the first, in the order of the rows."""
    remains = np.maximum(1.0 - sounds.sum(axis=1), 0.0)
    out: Floats = np.einsum("n,nk->k", _before(remains), sounds)
    return out


def _before(remains: Floats) -> Floats:
    """Of each the product of all that stand before it."""
    out: Floats = np.concatenate(([1.0], np.cumprod(remains)[:-1]))[: len(remains)]
    return out


def _beside(aspect: Aspect, start_s: Floats, sounds: Floats, others: Floats) -> Floats:
    """How likely each sound is next to, or between, the question's own."""
    likely = np.zeros(sounds.shape[1])
    for i, first in _places(others[:, 0]):
        before, after = start_s < start_s[i] - APART_S, start_s > start_s[i] + APART_S
        if aspect is Aspect.BEFORE:
            likely += first * _first(sounds[before][::-1])
        elif aspect is Aspect.AFTER:
            likely += first * _first(sounds[after])
        else:
            for j, last in _places(others[:, -1]):
                inside = after & (start_s < start_s[j] - APART_S)
                inside |= before & (start_s > start_s[j] + APART_S)
                likely += first * last * _first(sounds[inside])
    return likely


def _earlier(start_s: Floats, others: Floats, answers: Sequence[float]) -> Floats:
    """How likely it is that the first of two sounds began earlier, and that it did not."""
    yes = no = 0.0
    for i, early in _places(others[:, 0]):
        for j, late in _places(others[:, 1]):
            yes += early * late * bool(start_s[i] < start_s[j] - APART_S)
            no += early * late * bool(start_s[i] > start_s[j] + APART_S)
    return np.array([yes if answer else no for answer in answers])


def _places(shares: Floats) -> list[tuple[int, float]]:
    """The stretches that may be one sound, and how likely each is, if one of them is."""
    odds = shares / (1.0 - np.minimum(shares, 1.0 - 1e-9))
    best = np.argsort(-odds, kind="stable")[:NEAR]
    best = best[shares[best] >= DOUBT]
    total = float(odds[best].sum())
    return [(int(i), float(odds[i]) / total) for i in best]


def _nearest(
    centres: Floats, places: Sequence[tuple[int, float]], values: Sequence[float]
) -> Floats:
    """How likely it is that what is at one of the places is nearest to each value."""
    likely = np.zeros(len(values))
    for i, share in places:
        likely[np.abs(np.array(values) - centres[i]).argmin()] += share
    return likely


def _recording(numbers: NDArray[np.int64], shares: Floats, recordings: Sequence[float]) -> Floats:
    """How likely each of the recordings is the one with the sound."""
    has = np.array([shares[numbers == each].max(initial=0.0) for each in recordings])
    has = np.clip(has, 1e-9, 1.0 - 1e-9)
    out: Floats = has / (1.0 - has)
    return out


def _whole(spans: Spans) -> NDArray[np.bool_]:
    """Which stretches are not a part of a longer one, [n]."""
    length_s = spans.end_s - spans.start_s
    both_s = np.minimum(spans.end_s[:, None], spans.end_s) - np.maximum(
        spans.start_s[:, None], spans.start_s
    )
    inside = both_s >= INSIDE * np.maximum(length_s[:, None], 1e-6)
    part: NDArray[np.bool_] = inside & (length_s > length_s[:, None])
    return np.logical_not(part.any(axis=1))
