"""Reads the shapes of a projector, the small network from sound embeddings to soft tokens.

A projector is an .npz of six arrays, float16 or float32: ``ln_weight`` and ``ln_bias`` [inputs],
``w1`` [hidden, inputs], ``b1`` [hidden], ``w2`` [outputs, hidden], ``b2`` [outputs].
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_alm.models.files import broken
from edge_alm.models.npz_file import read_shapes

HOP_LEVELS = 4
"""Levels that a soft token is made from besides the embedding, one every 120 ms: the embedding
says what is heard and hardly how loud, or when within the hop."""
LEVEL_MIDDLE_DB, LEVEL_SCALE_DB = 20.0, 20.0
"""A level of the middle, about -30 dBFS, stands there as 0, and one a scale above as 1."""
FULL_SCALE_DB = 50.0
"""The level of 0 dBFS: 52 for white noise, 48 for a sine."""


@dataclass(frozen=True, slots=True)
class ProjectorInfo:
    """The widths of a checked projector."""

    inputs: int
    hidden: int
    outputs: int


def check_projector(path: Path) -> ProjectorInfo:
    """Refuse a file whose arrays are not those of a projector; reads headers only.

    Raises:
        ModelMissingError: no such file.
        ModelBrokenError: says what is wrong.
    """
    shapes = read_shapes(path, "a projector")
    w1, w2 = shapes.get("w1", ()), shapes.get("w2", ())
    if len(w1) != 2 or len(w2) != 2 or not all(w1 + w2):
        raise broken(path, "matrices w1 and w2", f"{sorted(shapes)}")
    hidden, inputs = w1
    outputs = w2[0]
    expected: dict[str, tuple[int, ...]] = {
        "ln_weight": (inputs,),
        "ln_bias": (inputs,),
        "w1": (hidden, inputs),
        "b1": (hidden,),
        "w2": (outputs, hidden),
        "b2": (outputs,),
    }
    if shapes != expected:
        raise broken(path, f"{expected}", f"{shapes}")
    return ProjectorInfo(inputs, hidden, outputs)
