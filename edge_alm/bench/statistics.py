"""Medians and spread of a few samples, and how sure a share is. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LEAST_FOR_P95, LEAST_FOR_P99 = 20, 100
"""With fewer samples such a quantile is only the largest of them by another name."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a few samples of one thing say of it."""

    median: float
    q1: float
    """A quarter of the samples is lower."""
    q3: float
    """A quarter of the samples is higher."""
    p95: float | None
    """None with fewer than :data:`LEAST_FOR_P95` samples."""
    p99: float | None
    """None with fewer than :data:`LEAST_FOR_P99` samples."""

    @property
    def spread(self) -> float:
        """Between the quartiles: half of the samples lie there."""
        return self.q3 - self.q1


def quantile(samples: Sequence[float], share: float) -> float:
    """What a share of the samples is lower than; between two samples on the line through both.

    Args:
        samples: one or more, in any order.
        share: 0 to 1.
    """
    ordered = sorted(samples)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    value = ordered[low] + (place - low) * (ordered[high] - ordered[low])
    return min(max(value, ordered[low]), ordered[high])  # rounding may step out by the last digit


def summarise(samples: Sequence[float]) -> Summary:
    """The median and the spread of one or more samples."""
    n = len(samples)
    return Summary(
        median=quantile(samples, 0.5),
        q1=quantile(samples, 0.25),
        q3=quantile(samples, 0.75),
        p95=quantile(samples, 0.95) if n >= LEAST_FOR_P95 else None,
        p99=quantile(samples, 0.99) if n >= LEAST_FOR_P99 else None,
    )


def wilson(share: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """Where the true share lies: Wilson's interval, of 95 % by default.

    (p + z² / 2n ± z √(p (1 - p) / n + z² / 4n²)) / (1 + z² / n), within 0 and 1.

    Args:
        share: p, found in the sample, 0 to 1.
        n: size of the sample; of nothing the interval is (0, 1).
        z: how many standard deviations.
    """
    if not n:
        return 0.0, 1.0
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def rounded(value: float, digits: int = 4) -> float:
    """A number to so many digits that count: what was measured is no better than that."""
    return float(f"{value:.{digits}g}")
