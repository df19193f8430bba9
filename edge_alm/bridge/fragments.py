"""A frame in pieces that fit into one value of a BLE characteristic, and together again."""

from __future__ import annotations

from edge_alm.bridge.frame import MAX_FRAME_BYTES
from edge_alm.bridge.numbers import FRAGMENT_COUNT, FRAGMENT_FIRST, FRAGMENT_LAST

LEAST_VALUE_BYTES = 20
"""What a value holds at the smallest MTU of BLE (23)."""


class Splitter:
    """Fragments of one direction of a connection, numbered on from frame to frame."""

    def __init__(self) -> None:
        self._count = 0

    def split(self, frame: bytes, value_bytes: int) -> list[bytes]:
        """The values to send, in order, none longer than ``value_bytes`` (2 or more)."""
        room = value_bytes - 1
        fragments = []
        for start in range(0, len(frame), room):
            head = self._count
            head |= FRAGMENT_FIRST if start == 0 else 0
            head |= FRAGMENT_LAST if start + room >= len(frame) else 0
            fragments.append(bytes([head]) + frame[start : start + room])
            self._count = (self._count + 1) & FRAGMENT_COUNT
        return fragments


class Joiner:
    """Values of one direction of a connection in, candidates for a frame out.

    Holds one frame at most. Where fragments are missing their frame is dropped; what they may
    have damaged unseen (64 missing in one frame) the frame's CRC finds.
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self._next: int | None = None
        self.bad = 0
        """Fragments that were of no use, and frames that were given up unfinished."""

    def push(self, value: bytes) -> bytes | None:
        """The frame that is whole with this value, not yet checked; None: there is none."""
        if len(value) < 2:
            self._drop(1)
            return None
        head = value[0]
        if head & FRAGMENT_FIRST:
            self._drop(int(self._next is not None))
        elif self._next is None or head & FRAGMENT_COUNT != self._next:
            self._drop(1)
            return None
        if len(self._held) + len(value) - 1 > MAX_FRAME_BYTES:
            self._drop(1)
            return None
        self._held += value[1:]
        if not head & FRAGMENT_LAST:
            self._next = (head + 1) & FRAGMENT_COUNT
            return None
        frame = bytes(self._held)
        self._drop(0)
        return frame

    def _drop(self, bad: int) -> None:
        self.bad += bad
        self._held.clear()
        self._next = None
