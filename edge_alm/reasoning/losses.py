"""What the scene is told of gaps: a long one at once, many short ones together."""

from __future__ import annotations

from dataclasses import replace

from edge_alm.types import SAMPLE_RATE_HZ, Lost

LONG_SAMPLES = SAMPLE_RATE_HZ // 4
"""A gap like this is a line of its own."""
TOGETHER_S = 10.0
"""Shorter ones within this time share a line. On a link that loses a tenth of its frames there are
five gaps a second, and a line takes 14 of the context's tokens."""


class LossDigest:
    """State of one stream."""

    def __init__(self) -> None:
        self._short: Lost | None = None

    def push(self, lost: Lost) -> list[Lost]:
        """What the scene is told now; ``samples`` of one that stands for many is their sum."""
        if lost.samples >= LONG_SAMPLES:
            return [lost]
        short = self._short
        if short is None:
            self._short = lost
        elif lost.at - short.at < TOGETHER_S:
            self._short = replace(short, samples=short.samples + lost.samples)
        else:
            self._short = lost
            return [short]
        return []
