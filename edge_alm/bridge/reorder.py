"""The jitter buffer: frames come out in order, and a hole is waited for only so long."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")

CAPACITY = 256
"""Frames that may wait behind a hole: 5 s of frames of 20 ms, far beyond any delay in use."""
_SPAN = 1 << 32


class ReorderBuffer(Generic[T]):
    """Frames of one stream. What is in order goes through at once; no clock of its own.

    Args:
        delay_s: how long what comes after a hole waits for what is missing. This is the
            stated delay: nothing waits longer, and where nothing is missing nothing waits.
    """

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._next: int | None = None
        self._held: dict[int, tuple[T, float]] = {}
        self.duplicates = 0
        """Frames that were held already."""
        self.late = 0
        """Frames that had been given out or given up."""

    @property
    def deadline_s(self) -> float | None:
        """When :meth:`advance` has something to give; None: not before the next frame."""
        if not self._held:
            return None
        return min(arrived_s for _, arrived_s in self._held.values()) + self._delay_s

    def missing(self, most: int) -> list[int]:
        """Numbers before what is held that have not come, of the ``most`` that are next."""
        if self._next is None or not self._held:
            return []
        end = min(max(self._held), self._next + most)
        return [number for number in range(self._next, end) if number not in self._held]

    def push(self, sequence: int, item: T, now_s: float) -> list[T]:
        """Take a frame in; those that are ready.

        The first frame's number is where the stream begins. Numbers are modulo 2**32. What was
        due before ``now_s`` is given up first: what comes out depends on the times of arrival
        alone, not on how often :meth:`advance` is called.
        """
        if not self._held and sequence == self._next:  # nearly all of them
            self._next += 1
            return [item]
        ready = self.advance(now_s)
        if self._next is None:
            self._next = sequence
        ahead = (sequence - self._next + _SPAN // 2) % _SPAN - _SPAN // 2
        number = self._next + ahead
        if ahead < 0:
            self.late += 1
        elif number in self._held:
            self.duplicates += 1
        else:
            self._held[number] = (item, now_s)
        return ready + self.advance(now_s)

    def advance(self, now_s: float) -> list[T]:
        """Frames that are ready at ``now_s``."""
        if not self._held:
            return []
        ready = self._take_run()
        while self._held and (
            len(self._held) > CAPACITY
            or min(at for _, at in self._held.values()) + self._delay_s <= now_s
        ):
            self._next = min(self._held)
            ready += self._take_run()
        return ready

    def flush(self) -> list[T]:
        """All that waits, in order; the stream is over."""
        ready = [self._held[number][0] for number in sorted(self._held)]
        self._held.clear()
        self._next = None
        return ready

    def _take_run(self) -> list[T]:
        run: list[T] = []
        while self._next is not None and self._next in self._held:
            run.append(self._held.pop(self._next)[0])
            self._next += 1
        return run
