"""Reads the shapes of a phrase table: how well any phrase fits what the sound encoder heard.

An .npz: ``pieces`` and ``classes`` are texts, one a line, as bytes of UTF-8. A phrase is
the sum of its word pieces' rows in ``piece_rows`` [pieces, d] (int8, times ``piece_scales``
[pieces]), at length 1. The encoder's last layer is ``class_rows`` [classes, n_in] (int8, times
``class_scales``) and ``class_bias``. The sound tower is ``w1`` [hidden, 2 n_in], ``b1``, ``w2`` [d,
hidden], ``b2``; ``sharpness`` [1] and ``score_range`` [2] scale what it says.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_alm.models.files import broken
from edge_alm.models.npz_file import FLOATS, read_shapes

TEXTS = ("pieces", "classes")
_DTYPES: frozenset[np.dtype[Any]] = FLOATS | {np.dtype(np.int8), np.dtype(np.uint8)}
_MATRICES = ("piece_rows", "class_rows", "w1", "w2")


@dataclass(frozen=True, slots=True)
class PhrasesInfo:
    """The widths of a checked phrase table."""

    inputs: int
    """Of the encoder's embedding."""
    width: int
    """Of a phrase's vector."""


def check_phrases(path: Path) -> PhrasesInfo:
    """Refuse a file whose arrays are not those of a phrase table; reads headers only.

    Raises:
        ModelMissingError: no such file.
        ModelBrokenError: says what is wrong.
    """
    shapes = read_shapes(path, "a phrase table", _DTYPES)
    matrices = {name: shapes.get(name, ()) for name in _MATRICES}
    if any(len(shape) != 2 or not all(shape) for shape in matrices.values()):
        raise broken(path, f"matrices {', '.join(_MATRICES)}", str(matrices))
    (pieces, width), (classes, inputs), (hidden, _), _ = matrices.values()
    expected = {
        **{name: shapes[name] for name in TEXTS if len(shapes.get(name, ())) == 1},
        "piece_rows": (pieces, width),
        "piece_scales": (pieces,),
        "class_rows": (classes, inputs),
        "class_scales": (classes,),
        "class_bias": (classes,),
        "w1": (hidden, 2 * inputs),
        "b1": (hidden,),
        "w2": (width, hidden),
        "b2": (width,),
        "sharpness": (1,),
        "score_range": (2,),
    }
    if shapes != expected or not shapes.keys() >= set(TEXTS):
        raise broken(path, f"{expected}", f"{shapes}")
    return PhrasesInfo(inputs, width)
