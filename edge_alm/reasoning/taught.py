"""Sounds of the user's own, told from all others by a few examples.

Where a phrase table's tower points for an example stands for it. What sets the examples apart from
everything else is the linear discriminant that whitens with the second moment of a background:
``w = (B'B / n + ridge I)^-1 m``, ``m`` the mean of the examples (as in Hariharan, Malik and
Ramanan 2012, "Discriminative decorrelation", with the moment in place of the covariance). How much
is enough is read off the background, too. Nothing is trained: a sound is learnt in milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_alm.errors import ModelBrokenError
from edge_alm.models.background_file import check_background
from edge_alm.models.taught import TaughtSound
from edge_alm.reasoning.phrases import Floats, Phrases

RIDGE = 0.003
FALSE_SHARE = 0.01
"""Of the background that would be taken for a taught sound. After five examples, of labels that the
tower had not met, 98 % of the same recording in other scenes were heard and 3.1 % of other sounds
taken for it; of other recordings of the kind 85 %, and 3.4 % (at half of it 97 and 1.8, 76 and 2.2;
at twice 99 and 5.8, 93 and 6.1; ``python -m export.teaching``)."""
FITS, NOT_AT_ALL = 0.75, 0.1
"""A score that :data:`FALSE_SHARE` of the background reach is told as the first, from which on a
sound is heard; one that so many reach, as 0."""


def read_background(path: Path, phrases: Phrases) -> Floats:
    """Directions [n, d] of the sounds of a background.

    Raises:
        ModelMissingError: no such file.
        ModelBrokenError: an array is missing, or it was made with another tower.
    """
    check_background(path)
    with np.load(path, allow_pickle=False) as arrays:
        if arrays["tower"].tobytes() != phrases.tower_sha256:
            raise ModelBrokenError(
                str(path),
                expected="a background of the bundle's phrase table",
                got="one of another",
                hint="make it with python -m export.background",
            )
        directions: Floats = arrays["directions"].astype(np.float32) / np.float32(127)
    return directions


class TaughtJudge:
    """Tells how well taught sounds fit what was heard.

    Args:
        directions: of the examples of each sound, [n examples, d] each.
        background: directions [n, d].
        false_share: see :data:`FALSE_SHARE`.
    """

    def __init__(
        self,
        directions: Sequence[Floats],
        background: Floats,
        false_share: float = FALSE_SHARE,
    ) -> None:
        moment = background.T @ background / len(background)
        ridge = RIDGE * np.eye(len(moment), dtype=np.float32)
        means = np.stack([each.mean(axis=0) for each in directions])
        self._weights = np.linalg.solve(moment + ridge, means.T).T.astype(np.float32)
        scores = background @ self._weights.T
        self._zero = np.quantile(scores, 1.0 - NOT_AT_ALL, axis=0)
        self._enough = np.quantile(scores, 1.0 - false_share, axis=0)

    def shares(self, direction: Floats) -> Floats:
        """0 to 1 for each sound [..., n sounds], of directions [..., d]; :data:`FITS` is enough."""
        scores = np.einsum("nd,...d->...n", self._weights, direction)
        shares: Floats = FITS * (scores - self._zero) / (self._enough - self._zero)
        return np.clip(shares, 0.0, 1.0).astype(np.float32)


def judge_taught(
    sounds: Sequence[TaughtSound], phrases: Phrases, background: Floats
) -> TaughtJudge:
    """What tells of these sounds; at least one."""
    return TaughtJudge([phrases.point(sound.examples) for sound in sounds], background)
