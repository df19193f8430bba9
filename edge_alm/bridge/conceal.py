"""What stands in for samples that were lost: noise of the colour of what is heard around them.

An autoregressive model of what was heard before the gap, driven by noise of its residual's power,
runs into the gap; one of what was heard after it runs backwards; the two are blended (as in
Kauppinen and Roth, "Audio signal extrapolation", 2002, but driven). The model is fitted with Burg's
method. Tones go on, and noise keeps its level.
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
    """Fills the gaps of one stream; the same stream is always filled alike."""

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
        angle = np.linspace(0.0, np.pi / 2, count)
        onwards = self._extrapolate(before, count) * np.cos(angle)
        backwards = self._extrapolate(after[::-1], count)[::-1] * np.sin(angle)
        return np.asarray(onwards + backwards, np.float32)

    def _extrapolate(self, heard: Samples, count: int) -> NDArray[np.float64]:
        weights, power = _burg(heard.astype(np.float64), min(ORDER, len(heard) // 4))
        order = len(weights)
        noise: NDArray[np.float64] = np.sqrt(power) * self._rng.standard_normal(count)
        loudest = float(np.abs(heard).max(initial=0.0))
        made = np.concatenate((heard[len(heard) - order :].astype(np.float64), noise))
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
