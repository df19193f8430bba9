"""A small phrase table in which everything can be worked out by hand; to which nothing is usual."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

PIECES = ("dog", "bark", "rain", "bell", "door", "##s")
CLASSES = ("dog", "rain", "bell")
N_IN, WIDTH = 3, 6


def text_bytes(texts: Sequence[str]) -> Any:
    return np.frombuffer("\n".join(texts).encode(), np.uint8)


def arrays(
    pieces: Sequence[str] = PIECES,
    classes: Sequence[str] = CLASSES,
    n_in: int = N_IN,
    **changes: Any,
) -> dict[str, Any]:
    """Unit ``i`` of an embedding stands for class ``i``; every piece has a direction of its own."""
    pointing = np.zeros((len(pieces), 2 * n_in), np.float16)
    for i, piece in enumerate(pieces.index(name) for name in classes):
        pointing[piece, i] = 1.0
    made = {
        "pieces": text_bytes(pieces),
        "classes": text_bytes(classes),
        "piece_rows": 127 * np.eye(len(pieces), dtype=np.int8),
        "piece_scales": np.full(len(pieces), 1 / 127, np.float16),
        "class_rows": 127 * np.eye(len(classes), n_in, dtype=np.int8),
        "class_scales": np.full(len(classes), 8 / 127, np.float16),
        "class_bias": np.full(len(classes), -4.0, np.float32),
        "w1": np.eye(2 * n_in, dtype=np.float16),
        "b1": np.zeros(2 * n_in, np.float16),
        "w2": pointing,
        "b2": np.zeros(len(pieces), np.float16),
        "sharpness": np.array([20.0], np.float32),
        "score_range": np.array([-18.0, 0.0], np.float32) + np.float32(np.log(len(classes))),
        "usual_directions": np.zeros((1, len(pieces)), np.int8),
        "usual_classes": np.ones(len(classes), np.float32),
    }
    return {**made, **changes}


def write_phrases(
    path: Path,
    pieces: Sequence[str] = PIECES,
    classes: Sequence[str] = CLASSES,
    n_in: int = N_IN,
    **changes: Any,
) -> Path:
    """Of :func:`arrays` with the same arguments."""
    np.savez(path, **arrays(pieces, classes, n_in, **changes))
    return path


def sentence_arrays(width: int = WIDTH, n_in: int = N_IN) -> dict[str, Any]:
    """As :func:`arrays`, for a sentence encoder; class ``i`` lies along axis ``i``."""
    made = arrays(n_in=n_in)
    for name in ("pieces", "piece_rows", "piece_scales"):
        del made[name]
    pointing = np.eye(width, 2 * n_in, dtype=np.float16)
    class_directions = np.eye(len(CLASSES), width, dtype=np.float16)
    return {
        **made,
        "class_directions": class_directions,
        "w2": pointing,
        "b2": np.zeros(width, np.float16),
        "usual_directions": np.zeros((1, width), np.int8),
    }
