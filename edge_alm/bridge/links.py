"""What a link is: frames in, frames out, and an end that can come at any time."""

from __future__ import annotations

from typing import Protocol

from edge_alm.errors import EdgeAlmError


class LinkLostError(EdgeAlmError):
    """The other end has gone; opening the link again may bring it back."""

    code = "link-lost"


class Link(Protocol):
    """One way to a device. ``read`` is called by one thread, ``write`` by any under a lock.

    Nothing waits but ``open`` and ``close``.
    """

    name: str
    """As a person writes it: ``serial:/dev/ttyACM0``."""
    delay_s: float
    """Of the jitter buffer that it needs."""
    gather_s: float
    """As much time as what comes is given to become more, before it is read."""

    @property
    def is_behind(self) -> bool:
        """Whether something still has to be written, which :meth:`read` does."""
        ...

    def fileno(self) -> int:
        """What can be polled for something to read; -1 where the link is closed."""
        ...

    def open(self) -> None:
        """Open it, also again after it was lost.

        Raises:
            DeviceError: it is not there, or someone else has it.
        """
        ...

    def read(self) -> list[bytes]:
        """What came and may be frames; not always all of it.

        Raises:
            LinkLostError: the other end has gone.
        """
        ...

    def write(self, frame: bytes) -> None:
        """Send a packed frame. One that has no room is dropped and counted.

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
