"""How far two encoders agree on the same inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import RefusedError

if TYPE_CHECKING:
    import onnxruntime

Inputs: TypeAlias = Mapping[str, NDArray[Any]]
LOW = 0.05
"""The quantile that tells how the worst recordings fare."""
EMBEDDINGS = ("embedding", "embeddings")
SCORES = ("class_scores", "scores", "logits")


@dataclass(frozen=True, slots=True)
class Outputs:
    """What an encoder made of some inputs."""

    embeddings: NDArray[np.float32]
    """[n, ...], one row an input."""
    scores: NDArray[np.float32] | None
    """[n, classes]; None for an encoder without classes."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of an encoder with the float one."""

    n: int
    cosine: float
    """Median, of the embeddings."""
    cosine_low: float
    """Their 5 % quantile."""
    top1: float | None
    """Share of the inputs with the same highest class; None without classes."""


def run(session: onnxruntime.InferenceSession, inputs: Sequence[Inputs]) -> Outputs:
    """Run an encoder on one input after the other.

    Raises:
        RefusedError: it runs out of memory, or onnxruntime gives up in another way.
    """
    names = [output.name for output in session.get_outputs()]
    embedding = next((n for n in EMBEDDINGS if n in names), names[-1])
    scores = next((n for n in SCORES if n in names and n != embedding), None)
    wanted = [embedding] if scores is None else [embedding, scores]
    try:
        found = [session.run(wanted, dict(one)) for one in inputs]
    except Exception as error:  # onnxruntime's own exceptions share no public base
        raise RefusedError(
            "the model", expected="to run", got=str(error).splitlines()[0]
        ) from error
    stacked = [np.concatenate(parts) for parts in zip(*found, strict=True)]
    return Outputs(stacked[0], stacked[1] if scores else None)


def compare(before: Outputs, after: Outputs) -> Agreement:
    """How far ``after`` agrees with ``before``; NaN counts as no agreement at all."""
    n = len(before.embeddings)
    a, b = (x.embeddings.reshape(n, -1).astype(np.float64) for x in (before, after))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    # Two embeddings of nothing are the same; one of nothing and one of something are not.
    both_zero = ~a.any(axis=1) & ~b.any(axis=1)
    cosine = np.where(both_zero, 1.0, (a * b).sum(axis=1) / np.maximum(norms, 1e-12))
    cosine = np.nan_to_num(cosine, nan=0.0)
    top1 = None
    if before.scores is not None and after.scores is not None:
        top1 = float(np.mean(before.scores.argmax(-1) == after.scores.argmax(-1)))
    return Agreement(n, float(np.median(cosine)), float(np.quantile(cosine, LOW)), top1)
