"""What a link is: frames in, frames out, and an end that can come at any time."""

from __future__ import annotations

from typing import Protocol

from edge_alm.errors import EdgeAlmError


class LinkLostError(EdgeAlmError):
    """The other end has gone; opening the link again may bring it back."""

    code = "link-lost"


class Link(Protocol):
    """One way to a device. ``read`` is called by one thread, ``write`` by any under a lock."""

    name: str
    """As a person writes it: ``serial:/dev/ttyACM0``."""
    delay_s: float
    """Of the jitter buffer that it needs."""

    def open(self) -> None:
        """Open it, also again after it was lost.

        Raises:
            DeviceError: it is not there, or someone else has it.
        """
        ...

    def read(self, timeout_s: float) -> list[bytes]:
        """What came and may be frames; none where nothing came in time.

        Raises:
            LinkLostError: the other end has gone.
        """
        ...

    def write(self, frame: bytes) -> None:
        """Send a packed frame; never waits. One that has no room is dropped and counted.

        Raises:
            LinkLostError: the other end has gone.
        """
        ...

    def counts(self) -> dict[str, int]:
        """What was dropped on this side, by reason."""
        ...

    def close(self) -> None:
        """Idempotent."""
        ...
