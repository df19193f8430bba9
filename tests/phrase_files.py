"""A small phrase table in which everything can be worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

PIECES = ("dog", "bark", "rain", "bell", "door", "##s")
CLASSES = ("dog", "rain", "bell")
NAMES = ("dog bark", "rain", "door bell")
N_IN, WIDTH = 3, 6


def text_bytes(texts: Sequence[str]) -> Any:
    return np.frombuffer("\n".join(texts).encode(), np.uint8)


def arrays(**changes: Any) -> dict[str, Any]:
    """Unit ``i`` of an embedding stands for class ``i``; every piece has a direction of its own."""
    pointing = np.zeros((WIDTH, 2 * N_IN), np.float16)
    for i, piece in enumerate((PIECES.index(name) for name in CLASSES)):
        pointing[piece, i] = 1.0
    made = {
        "pieces": text_bytes(PIECES),
        "classes": text_bytes(CLASSES),
        "names": text_bytes(NAMES),
        "piece_rows": 127 * np.eye(len(PIECES), dtype=np.int8),
        "piece_scales": np.full(len(PIECES), 1 / 127, np.float16),
        "class_rows": 127 * np.eye(len(CLASSES), dtype=np.int8),
        "class_scales": np.full(len(CLASSES), 8 / 127, np.float16),
        "class_bias": np.full(len(CLASSES), -4.0, np.float32),
        "w1": np.eye(2 * N_IN, dtype=np.float16),
        "b1": np.zeros(2 * N_IN, np.float16),
        "w2": pointing,
        "b2": np.zeros(WIDTH, np.float16),
        "sharpness": np.array([20.0], np.float32),
        "score_range": np.array([-18.0, 0.0], np.float32),
    }
    return {**made, **changes}


def write_phrases(path: Path, **changes: Any) -> Path:
    np.savez(path, **arrays(**changes))
    return path
