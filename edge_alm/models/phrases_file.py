"""Reads the shapes of a phrase table: how well any phrase fits what the sound encoder heard.

An .npz: ``pieces`` and ``classes`` are texts, one a line, as bytes of UTF-8. A phrase is
the sum of its word pieces' rows in ``piece_rows`` [pieces, d] (int8, times ``piece_scales``
[pieces]), at length 1. The encoder's last layer is ``class_rows`` [classes, n_in] (int8, times
``class_scales``) and ``class_bias``. The sound tower is ``w1`` [hidden, 2 n_in], ``b1``, ``w2`` [d,
hidden], ``b2``; ``sharpness`` [1] and ``score_range`` [2] scale what it says. What any sound is
like: where the tower points for some, ``usual_directions`` [sounds, d] (int8, at length 1), and the
mean probability of each class over them, ``usual_classes`` [classes].

A table that was made for a sentence encoder has no pieces, but the directions that this one gives
the classes' names: ``class_directions`` [classes, d].
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_alm.models.files import broken
from edge_alm.models.npz_file import FLOATS, read_shapes

TEXTS = PIECES, CLASSES = "pieces", "classes"
_DTYPES: frozenset[np.dtype[Any]] = FLOATS | {np.dtype(np.int8), np.dtype(np.uint8)}
_MATRICES = ("class_rows", "w1", "w2", "usual_directions")
_PIECE_ROWS, CLASS_DIRECTIONS = "piece_rows", "class_directions"


@dataclass(frozen=True, slots=True)
class PhrasesInfo:
    """The widths of a checked phrase table."""

    inputs: int
    """Of the encoder's embedding."""
    width: int
    """Of a phrase's vector."""
    of_sentences: bool
    """Whether a sentence encoder makes these vectors, not the sums of pieces."""


def check_phrases(path: Path) -> PhrasesInfo:
    """Refuse a file whose arrays are not those of a phrase table; reads headers only.

    Raises:
        ModelMissingError: no such file.
        ModelBrokenError: says what is wrong.
    """
    shapes = read_shapes(path, "a phrase table", _DTYPES)
    of_sentences = CLASS_DIRECTIONS in shapes
    names = (CLASS_DIRECTIONS if of_sentences else _PIECE_ROWS, *_MATRICES)
    matrices = {name: shapes.get(name, ()) for name in names}
    if any(len(shape) != 2 or not all(shape) for shape in matrices.values()):
        raise broken(path, f"matrices {', '.join(names)}", str(matrices))
    (rows, width), (classes, inputs), (hidden, _), _, (sounds, _) = matrices.values()
    texts = {CLASSES} if of_sentences else {PIECES, CLASSES}
    of_words = (
        {CLASS_DIRECTIONS: (classes, width)}
        if of_sentences
        else {_PIECE_ROWS: (rows, width), "piece_scales": (rows,)}
    )
    expected = {
        **{name: shapes[name] for name in sorted(texts) if len(shapes.get(name, ())) == 1},
        **of_words,
        "class_rows": (classes, inputs),
        "class_scales": (classes,),
        "class_bias": (classes,),
        "w1": (hidden, 2 * inputs),
        "b1": (hidden,),
        "w2": (width, hidden),
        "b2": (width,),
        "sharpness": (1,),
        "score_range": (2,),
        "usual_directions": (sounds, width),
        "usual_classes": (classes,),
    }
    if shapes != expected or not shapes.keys() >= texts:
        raise broken(path, f"{expected}", f"{shapes}")
    return PhrasesInfo(inputs, width, of_sentences)
