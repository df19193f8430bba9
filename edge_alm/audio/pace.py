"""Play a recording's clock at the speed of a microphone's."""

from __future__ import annotations

import threading
import time

from edge_alm.types import SAMPLE_RATE_HZ


class Pace:
    """Holds frames back until a microphone would have delivered them.

    Every wait is reckoned from the first one's start, so that errors do not add up; a reader
    that falls behind gets frames at once until it has caught up.
    """

    def __init__(self) -> None:
        self._start_s: float | None = None

    def wait(self, end: int, stop: threading.Event) -> None:
        """Return when sample index ``end`` has been "recorded", or when ``stop`` is set."""
        now_s = time.monotonic()
        if self._start_s is None:
            self._start_s = now_s
        wait_s = self._start_s + end / SAMPLE_RATE_HZ - now_s
        if wait_s > 0:
            stop.wait(wait_s)
