"""Reads the shapes of a background: where many sounds lie that are no sound of the user's own.

An .npz: ``directions`` [n, d] (int8, times 1/127) of a phrase table's tower, and ``tower`` [32],
the SHA-256 of its weights. Made by ``python -m export.background``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edge_alm.models.files import broken
from edge_alm.models.npz_file import read_shapes

_DTYPES: frozenset[np.dtype[Any]] = frozenset((np.dtype(np.int8), np.dtype(np.uint8)))
LEAST_SOUNDS = 100
"""Fewer say nothing about what two in a hundred are like."""


def check_background(path: Path) -> tuple[int, int]:
    """How many sounds there are, and the width of their directions; reads headers only.

    Raises:
        ModelMissingError: no such file.
        ModelBrokenError: says what is wrong.
    """
    shapes = read_shapes(path, "a background", _DTYPES)
    directions = shapes.get("directions", ())
    if (
        shapes.keys() != {"directions", "tower"}
        or shapes["tower"] != (32,)
        or len(directions) != 2
        or directions[0] < LEAST_SOUNDS
    ):
        raise broken(path, f"directions of {LEAST_SOUNDS} sounds, tower [32]", f"{shapes}")
    return directions[0], directions[1]
