"""A source that counts what passes. No ROS in here."""

from __future__ import annotations

import time
from collections.abc import Iterator

from edge_alm.types import SAMPLE_RATE_HZ, Event, Fault, Frame, Lost, Packet, Source


class Meter:
    """Hands on a source's packets and keeps count of them.

    Read from other threads; each count is written by the one that listens.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.name, self.live = source.name, source.live
        self.samples = 0
        """Heard so far, at 16 kHz."""
        self.lost_samples = 0
        self.faults = 0
        """Told of this stream: the source's, and what hearing gave up for want of time."""
        self.busy_s = 0.0
        """How long the listener has worked on what was heard; over its duration this is the
        real-time factor."""

    @property
    def started_unix(self) -> float | None:
        """See :class:`~edge_alm.types.Source`."""
        return self._source.started_unix

    @property
    def position_s(self) -> float:
        """Where the stream is, on its clock."""
        return (self.samples + self.lost_samples) / SAMPLE_RATE_HZ

    @property
    def waiting_s(self) -> float:
        """Audio that waits, of a source that says so; else 0."""
        return float(getattr(self._source, "waiting_s", 0.0))

    def packets(self) -> Iterator[Packet]:
        """See :class:`~edge_alm.types.Source`."""
        for packet in self._source.packets():
            if isinstance(packet, Frame):
                self.samples += len(packet.samples)
            elif isinstance(packet, Lost):
                self.lost_samples += packet.samples
            began_s = time.perf_counter()
            yield packet
            self.busy_s += time.perf_counter() - began_s

    def note(self, event: Event) -> None:
        """Count an event that is told."""
        self.faults += isinstance(event, Fault)

    def close(self) -> None:
        """See :class:`~edge_alm.types.Source`."""
        self._source.close()
