"""What stands in for samples that were lost: more of what was heard around them.

On either side an autoregressive model by Burg's method runs on, driven by noise of its residual's
power; the two are blended, at even power however like each other they are.

At 10 % loss of frames of 20 ms this leaves 68 % of the sounds' starts in 10 minutes of composed
scenes, silence 44 % (``python -m benchmarks.bridge --only concealed``). Far more is won by having
frames sent again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_alm.types import Samples

ORDER = 32
CONTEXT_S = 0.06
"""As much as is looked at on either side."""
_LEAST_ENERGY = 1e-12


class Concealer:
    """Fills the gaps of one stream, of any rate; the same stream is always filled alike."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)

    def fill(self, before: Samples, after: Samples, count: int) -> Samples:
        """What may have been between.

        Args:
            before: the samples heard last, at most :data:`CONTEXT_S` of them; may be none.
            after: those heard next.
            count: how many are missing.

        Returns:
            Shape [count].
        """
        onwards = self._extrapolate(before.astype(np.float64), count)
        backwards = self._extrapolate(after[::-1].astype(np.float64), count)[::-1]
        share = np.linspace(0.0, 1.0, count)
        energy = float(np.sqrt((onwards @ onwards) * (backwards @ backwards)))
        likeness = max(0.0, float(onwards @ backwards) / (energy + _LEAST_ENERGY))
        power = (1 - share) ** 2 + share**2 + 2 * likeness * share * (1 - share)
        blend = (onwards * (1 - share) + backwards * share) / np.sqrt(power)
        return np.asarray(blend, np.float32)

    def _extrapolate(self, heard: NDArray[np.float64], count: int) -> NDArray[np.float64]:
        weights, power = _burg(heard, min(ORDER, len(heard) // 4))
        order = len(weights)
        noise: NDArray[np.float64] = np.sqrt(power) * self._rng.standard_normal(count)
        loudest = float(np.abs(heard).max(initial=0.0))
        made = np.concatenate((heard[len(heard) - order :], noise))
        for i in range(order, order + count):
            made[i] += weights @ made[i - order : i]
        return np.asarray(np.clip(made[order:], -loudest, loudest))


def _burg(heard: NDArray[np.float64], order: int) -> tuple[NDArray[np.float64], float]:
    """Weights of the samples before one, the oldest first, and the power of what they miss."""
    if not len(heard):
        return np.zeros(0), 0.0
    forward, backward = heard[1:], heard[:-1]
    polynomial = np.ones(1)
    power = float(heard @ heard) / len(heard)
    for _ in range(order):
        energy = float(forward @ forward + backward @ backward)
        if energy < _LEAST_ENERGY:
            break
        reflection = -2.0 * float(forward @ backward) / energy
        padded = np.append(polynomial, 0.0)
        polynomial = padded + reflection * padded[::-1]
        power *= 1.0 - reflection**2
        forward, backward = (
            (forward + reflection * backward)[1:],
            (backward + reflection * forward)[:-1],
        )
    return -polynomial[:0:-1], max(power, 0.0)
