"""Which layers cannot do with few bits, found by ablation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What was found."""

    alone: dict[str, float]
    """Layer to the loss with that layer alone in few bits; empty where nobody had to know."""
    left_out: tuple[str, ...]
    """Layers that stay float, the most sensitive first."""
    loss: float
    """With all others in few bits."""


def find_sensitive(
    layers: Sequence[str], loss_of: Callable[[Collection[str]], float], most: float
) -> Sensitivity:
    """Leave out as few layers as keep the loss within ``most``.

    If all of them together lose too much, each is tried alone; then the worst are left out one
    after the other until the rest is good enough. Losses of single layers rank well and do not
    add up, so each step is measured. Ranked by loss per weight instead, YAMNet in dynamic int8
    kept four layers in float where two do.

    Args:
        layers: names.
        loss_of: the loss with these layers in few bits, the others in float.
        most: how much may be lost.
    """
    loss = loss_of(layers)
    if loss <= most:
        return Sensitivity({}, (), loss)
    alone = {layer: loss_of([layer]) for layer in layers}
    worst_first = sorted(layers, key=lambda layer: -alone[layer])
    for count in range(1, len(layers) + 1):
        left_out = worst_first[:count]
        rest = [layer for layer in layers if layer not in left_out]
        loss = loss_of(rest) if rest else 0.0
        if loss <= most:
            break
    return Sensitivity(alone, tuple(left_out), loss)
