"""The account of a stream: every sample is heard, lost, or was not meant to be sent."""

from __future__ import annotations

from dataclasses import dataclass

from edge_alm.bridge.frame import WireFrame

MAX_GAP_S = 86_400
"""A jump of more than a day is a wrong number, not a gap."""


@dataclass(frozen=True, slots=True)
class Gap:
    """What lies between two frames that follow each other."""

    lost: int
    """Samples that the device meant to send."""
    withheld: int
    """Samples that it did not: it was muted, or nothing was worth hearing."""


class Ledger:
    """Positions and counts of one stream, by its frames in order.

    Each frame says how many samples the microphone had taken before it, and how many of those
    the device meant to send. The differences from frame to frame tell what is missing, whatever
    was lost between, to the sample.
    """

    def __init__(self, first: WireFrame, rate_hz: int) -> None:
        self._longest = MAX_GAP_S * rate_hz
        self._due = first.due
        self.position = first.position
        """Where the next sample belongs."""
        self.heard = 0
        self.lost = 0
        self.withheld = 0

    @property
    def sent(self) -> int:
        """Samples that the device meant to send since the first frame."""
        return self.heard + self.lost

    def reach(self, frame: WireFrame) -> Gap | None:
        """What is missing before ``frame``; None: its numbers cannot be, and are not used."""
        lost = (frame.due - self._due) % 2**32
        withheld = frame.position - self.position - lost
        if lost + withheld > self._longest or withheld < 0:
            return None
        self.lost += lost
        self.withheld += withheld
        self._due = frame.due
        self.position = frame.position
        return Gap(lost, withheld)

    def hear(self, samples: int) -> None:
        """The frame that was reached holds so many."""
        self.heard += samples
        self.position += samples
        self._due = (self._due + samples) % 2**32

    def restart(self, frame: WireFrame) -> None:
        """Go on from ``frame`` without an account of what lies before it."""
        self._due, self.position = frame.due, frame.position
