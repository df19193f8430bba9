"""From the sound encoder's embedding to the language model's: a soft token for each hop."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import UsageError
from edge_alm.models.projector_file import check_projector

Floats: TypeAlias = NDArray[np.float32]

_EPSILON = 1e-5
_SQRT_HALF = math.sqrt(0.5)


class Projector:
    """LayerNorm, Linear, GELU, Linear, all in float32.

    Args:
        path: an .npz with ``ln_weight``, ``ln_bias`` [n_in], ``w1`` [n_hidden, n_in], ``b1``
            [n_hidden], ``w2`` [n_out, n_hidden], ``b2`` [n_out].

    Raises:
        ModelMissingError: no such file.
        ModelBrokenError: an array is missing or does not fit.
    """

    def __init__(self, path: Path) -> None:
        shape = check_projector(path)
        self.n_in, self.n_out = shape.inputs, shape.outputs
        with np.load(path, allow_pickle=False) as arrays:
            self._ln_weight, self._ln_bias, self._w1, self._b1, self._w2, self._b2 = (
                arrays[name].astype(np.float32)
                for name in ("ln_weight", "ln_bias", "w1", "b1", "w2", "b2")
            )

    def __call__(self, embeddings: Floats) -> Floats:
        """Soft tokens, shape [n, n_out], of embeddings, shape [n, n_in].

        Raises:
            UsageError: another shape.
        """
        if embeddings.ndim != 2 or embeddings.shape[1] != self.n_in:
            raise UsageError(
                "embeddings", expected=f"shape [n, {self.n_in}]", got=str(embeddings.shape)
            )
        x = embeddings.astype(np.float32)
        x = x - x.mean(axis=1, keepdims=True)
        x /= np.sqrt(np.square(x).mean(axis=1, keepdims=True) + np.float32(_EPSILON))
        x = x * self._ln_weight + self._ln_bias
        # Not @: OpenBLAS wakes a thread for each core, and they spin for 45 ms. This takes 0.5.
        hidden = _gelu(np.einsum("ni,oi->no", x, self._w1) + self._b1)
        out: Floats = np.einsum("ni,oi->no", hidden, self._w2) + self._b2
        return out


def _gelu(x: Floats) -> Floats:
    """x Phi(x) with the exact error function, as torch.nn.GELU() has it.

    numpy has no erf; math.erf one by one costs 0.1 ms for a hop's 1024 values.
    """
    phi = np.fromiter((math.erf(v * _SQRT_HALF) for v in x.flat), np.float32, x.size)
    return (0.5 * x * (1.0 + phi.reshape(x.shape))).astype(np.float32)
