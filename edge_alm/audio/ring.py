"""A bounded queue of samples between a capture callback and the thread that reads."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

import numpy as np

from edge_alm.types import Samples


@dataclass(slots=True)
class Gap:
    """Samples missing at this point of the stream."""

    samples: int
    reason: str


class Ring:
    """One writer, one reader; samples come out in order, gaps exactly where they happened.

    What does not fit is dropped and counted: at any moment every sample offered to
    :meth:`write` has been read, is held, or is in a gap that has been or will be read.
    The writer never waits for the reader, except for the copy of one :meth:`read`.

    Args:
        capacity_samples: how many samples it can hold, at least 1.
    """

    FULL = "reader too slow"

    def __init__(self, capacity_samples: int) -> None:
        if capacity_samples < 1:
            raise ValueError(f"ring capacity: expected at least 1 sample, got {capacity_samples}")
        self._buffer = np.zeros(capacity_samples, np.float32)
        self._written = 0  # samples ever stored; the next goes to this index, modulo capacity
        self._read = 0  # samples ever taken out
        self._gaps: deque[tuple[int, Gap]] = deque()  # (value of _written where it happened, gap)
        self._closed = False
        self._changed = threading.Condition()

    def write(self, samples: Samples) -> None:
        """Copy ``samples`` (shape [n]) in; drop and count what does not fit."""
        with self._changed:
            if self._closed:
                return
            capacity = len(self._buffer)
            fits = min(len(samples), capacity - (self._written - self._read))
            at = self._written % capacity
            first = min(fits, capacity - at)
            self._buffer[at : at + first] = samples[:first]
            self._buffer[: fits - first] = samples[first:fits]
            self._written += fits
            self._add_gap(len(samples) - fits, self.FULL)
            self._changed.notify()

    def lose(self, samples: int, reason: str) -> None:
        """Note that ``samples`` never arrived at this point."""
        with self._changed:
            if not self._closed:
                self._add_gap(samples, reason)
                self._changed.notify()

    def read(self, timeout_s: float) -> Samples | Gap | None:
        """The samples up to the next gap, or the gap that comes next.

        Returns:
            Shape [n], n >= 1, a copy; or a gap; or None when nothing came within ``timeout_s``.

        Raises:
            EOFError: closed, and everything has been read.
        """
        with self._changed:
            if not self._changed.wait_for(self._has_news, timeout_s):
                return None
            end = self._written
            if self._gaps:
                end = self._gaps[0][0]
                if end == self._read:
                    return self._gaps.popleft()[1]
            if end == self._read:
                raise EOFError("the ring is closed")
            capacity = len(self._buffer)
            at, count = self._read % capacity, end - self._read
            head = self._buffer[at : at + count]
            samples = np.concatenate((head, self._buffer[: count - len(head)]))
            self._read = end
            return samples

    def close(self) -> None:
        """Take nothing more in and wake the reader. Idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _has_news(self) -> bool:
        return self._closed or bool(self._gaps) or self._written > self._read

    def _add_gap(self, samples: int, reason: str) -> None:
        if samples <= 0:
            return
        if self._gaps:
            at, gap = self._gaps[-1]
            if at == self._written and gap.reason == reason:
                gap.samples += samples
                return
        self._gaps.append((self._written, Gap(samples, reason)))
