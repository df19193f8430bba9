"""Is an exported network the one that was trained? Numbers on real audio, and a limit.

What is compared is what a user gets: the runtime's own front end and ONNX Runtime on one side,
transformers' feature extractor and torch on the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_alm.audio.source import open_source
from edge_alm.errors import RefusedError, UsageError
from edge_alm.models.catalog import BUNDLES
from edge_alm.types import SAMPLE_RATE_HZ, Frame, Samples

LIMIT = 1e-3
"""The largest difference of any output, absolute."""
GOLDEN_CLIP = BUNDLES / "tiny" / "golden.flac"
"""A recording that is always there."""


@dataclass
class Parity:
    """The largest difference of each output so far."""

    limit: float = LIMIT
    by_output: dict[str, float] = field(default_factory=dict)
    checks: int = 0

    def compare(self, expected: Mapping[str, NDArray[Any]], got: Mapping[str, Any]) -> None:
        """Hold one run's outputs to their reference.

        Raises:
            RefusedError: an output is over the limit, not a number, or of another shape.
        """
        for name, reference in expected.items():
            value = np.asarray(got[name])
            if value.shape != reference.shape:
                raise self._refuse(name, f"shape {reference.shape}", f"{value.shape}")
            difference = float(np.max(np.abs(value - reference), initial=0.0))
            if not difference <= self.limit:
                raise self._refuse(name, f"at most {self.limit:g} from torch", f"{difference:.3g}")
            self.by_output[name] = max(self.by_output.get(name, 0.0), difference)
        self.checks += 1

    def to_dict(self) -> dict[str, Any]:
        """As a manifest tells it."""
        return {
            "limit": self.limit,
            "max_difference": max(self.by_output.values(), default=0.0),
            "by_output": dict(self.by_output),
            "checks": self.checks,
        }

    @staticmethod
    def _refuse(name: str, expected: str, got: str) -> RefusedError:
        return RefusedError(f"parity of {name}", expected=expected, got=got, hint="report it")


def read_clips(paths: Sequence[Path], rate_hz: int) -> list[Samples]:
    """The recordings as mono float32 at ``rate_hz``.

    Raises:
        SourceError: a file that is no audio.
        UsageError: one without a sound in it.
    """
    clips = []
    for path in paths or (GOLDEN_CLIP,):
        packets = open_source(str(path)).packets()
        samples = np.concatenate([p.samples for p in packets if isinstance(p, Frame)])
        if not samples.any():
            raise UsageError(str(path), expected="a recording with sound in it", got="silence")
        if rate_hz != SAMPLE_RATE_HZ:
            import soxr

            samples = soxr.resample(samples, SAMPLE_RATE_HZ, rate_hz, quality="HQ")
        clips.append(np.asarray(samples, dtype=np.float32))
    return clips


def windows(clips: Iterable[Samples], samples: int, most: int = 3) -> list[Samples]:
    """Stretches [samples] from the clips, spread evenly; a short clip is repeated."""
    found = []
    for clip in clips:
        long = np.tile(clip, -(-samples // len(clip)))
        starts = np.linspace(0, len(long) - samples, most if len(long) > samples else 1)
        found += [long[int(start) : int(start) + samples] for start in starts]
    return found
