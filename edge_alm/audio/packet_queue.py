"""Packets on their way from the thread that reads links to whoever listens."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator

from edge_alm.bridge.reading import Bell
from edge_alm.types import SAMPLE_RATE_HZ, Frame, Lost, Packet, to_seconds

TOO_SLOW = "reader too slow"


class PacketQueue:
    """Between the links' thread and the reader. What does not fit becomes a ``Lost``."""

    def __init__(self, capacity_samples: int) -> None:
        self._capacity = capacity_samples
        self._packets: deque[Packet] = deque()
        self._waiting = 0
        self._ended = False
        self._lock = threading.Lock()
        self._bell = Bell()
        self._is_new = False

    @property
    def waiting_s(self) -> float:
        """Audio that waits for its reader."""
        return self._waiting / SAMPLE_RATE_HZ

    def put(self, packet: Packet) -> None:
        """Never waits. :meth:`pass_on` tells the reader."""
        with self._lock:
            if self._ended:
                return
            self._is_new = True
            last = self._packets[-1] if self._packets else None
            if not isinstance(packet, Frame):
                self._packets.append(packet)
            elif packet.made_up and isinstance(last, Lost) and last.reason == TOO_SLOW:
                return
            elif self._waiting and self._waiting + len(packet.samples) > self._capacity:
                if not packet.made_up:
                    self._drop(packet, last)
            else:
                self._packets.append(packet)
                self._waiting += len(packet.samples)

    def pass_on(self) -> None:
        """Wake the reader where there is something new."""
        if self._is_new:
            self._is_new = False
            self._bell.ring()

    def _drop(self, frame: Frame, last: Packet | None) -> None:
        if isinstance(last, Lost) and last.reason == TOO_SLOW:
            self._packets[-1] = Lost(last.samples + len(frame.samples), last.at, TOO_SLOW)
        else:
            self._packets.append(Lost(len(frame.samples), to_seconds(frame.start), TOO_SLOW))

    def end(self, *, drop: bool = False) -> None:
        """Nothing more comes; with ``drop`` what waits is given up."""
        with self._lock:
            self._ended = True
            if drop:
                self._packets.clear()
        self._bell.ring()

    def __iter__(self) -> Iterator[Packet]:
        while True:
            with self._lock:
                packet = self._packets.popleft() if self._packets else None
                if isinstance(packet, Frame):
                    self._waiting -= len(packet.samples)
                if packet is None and self._ended:
                    return
            if packet is None:
                self._bell.wait()
            else:
                yield packet
