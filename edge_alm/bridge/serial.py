"""A serial line: a UART's adapter, USB CDC, a pseudo-terminal, or an emulator's socket."""

from __future__ import annotations

import fcntl
import os
import socket
import termios
import threading
import tty
from contextlib import suppress
from pathlib import Path

from edge_alm.bridge.frame import Deframer, enclose
from edge_alm.bridge.links import LinkLostError
from edge_alm.errors import DeviceError, UsageError

BAUD = 921_600
"""PCM16 at 16 kHz needs 370,000; USB CDC takes no notice."""
READ_BYTES = 65_536
PENDING_BYTES = 16_384
"""As much may wait to be sent; a device that does not read loses what is told it."""


def split_address(address: str, baud: int) -> tuple[str, int]:
    """Path and speed (of :mod:`termios`) of ``PATH`` or ``PATH@BAUD``; ``baud`` where none is said.

    Raises:
        UsageError: no path, or not a rate.
    """
    path, at, said = address.rpartition("@")
    path, rate = (path, said) if at and said.isdigit() else (address, str(baud))
    speed = getattr(termios, f"B{rate}", None)
    if not path or speed is None:
        raise UsageError(
            f"source serial:{address}",
            expected="serial:PATH or serial:PATH@BAUD with a rate such as 921600",
            got="no path" if not path else f"{rate} baud",
        )
    return path, int(speed)


def open_line(path: str, speed: int) -> int:
    """A descriptor of a line that is ours alone: raw, never waits, nothing old in it.

    Args:
        path: of a character device.
        speed: of :mod:`termios`.

    Raises:
        DeviceError: it is not there, no line, or someone else has it.
    """
    fd = -1
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        tty.setraw(fd, termios.TCSANOW)
        settings = termios.tcgetattr(fd)
        settings[2] |= termios.CLOCAL | termios.CREAD
        settings[4] = settings[5] = speed
        termios.tcsetattr(fd, termios.TCSANOW, settings)
        termios.tcflush(fd, termios.TCIFLUSH)
    except BaseException as error:
        if fd >= 0:
            os.close(fd)
        if isinstance(error, (OSError, termios.error)):
            raise _not_opened(f"serial:{path}", error) from error
        raise
    return fd


def _not_opened(name: str, error: OSError | termios.error) -> DeviceError:
    return DeviceError(
        name,
        expected="a serial line, free to use",
        got=os.strerror(error.args[0]) if error.args else str(error),
        hint="plug the device in; ls /dev/serial/by-id names those that are there, "
        "and the group dialout may use them",
    )


class SerialLink:
    """COBS between zero bytes on a character device, or on a Unix socket.

    Args:
        address: ``PATH`` or ``PATH@BAUD``.

    Raises:
        UsageError: no path, or not a rate.
    """

    delay_s = 0.0
    """Bytes do not overtake each other: what is missing will not come."""
    gather_s = 0.002
    """Bytes come a few at a time (USB: 64, an emulator's UART: one) and cost less together."""

    def __init__(self, address: str) -> None:
        self._path, self._speed = split_address(address, BAUD)
        self.name = f"serial:{self._path}"
        self._fd = -1
        self._socket: socket.socket | None = None
        self._deframer = Deframer()
        self._pending = bytearray()
        self._writing = threading.Lock()  # who reads writes too what had to wait
        self._dropped = 0

    def open(self) -> None:
        """See :class:`~edge_alm.bridge.links.Link`."""
        self.close()
        try:
            if Path(self._path).is_socket():
                self._socket = socket.socket(socket.AF_UNIX)
                self._socket.connect(self._path)
                self._socket.setblocking(False)
                self._fd = self._socket.fileno()
            else:
                self._fd = open_line(self._path, self._speed)
        except OSError as error:
            self.close()
            raise _not_opened(self.name, error) from error
        # What the last connection left unfinished ends here.
        self._deframer = Deframer()
        self._pending = bytearray()

    @property
    def is_behind(self) -> bool:
        """See :class:`~edge_alm.bridge.links.Link`."""
        return bool(self._pending)

    def fileno(self) -> int:
        """See :class:`~edge_alm.bridge.links.Link`."""
        return self._fd

    def read(self) -> list[bytes]:
        """See :class:`~edge_alm.bridge.links.Link`."""
        fd = self._fd
        if fd < 0:
            raise self._lost("closed")
        try:
            if self._pending:
                with self._writing:
                    self._flush()
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return []
        except OSError as error:  # EIO where USB was pulled or a pty's end closed
            raise self._lost(str(error)) from error
        if not data:
            raise self._lost("end of file")
        return list(self._deframer.push(data))

    def write(self, frame: bytes) -> None:
        """See :class:`~edge_alm.bridge.links.Link`."""
        data = enclose(frame)
        with self._writing:
            if self._fd < 0 or len(self._pending) + len(data) > PENDING_BYTES:
                self._dropped += 1
                return
            self._pending += data
            self._flush()

    def counts(self) -> dict[str, int]:
        """See :class:`~edge_alm.bridge.links.Link`."""
        return {"not_cobs": self._deframer.bad, "not_sent": self._dropped}

    def close(self) -> None:
        """See :class:`~edge_alm.bridge.links.Link`."""
        # Once, whoever else closes it, and while nobody writes: the number may soon be another's.
        with self._writing:
            fd, self._fd = self._fd, -1
            line, self._socket = self._socket, None
        if line is not None:
            line.close()
        elif fd >= 0:
            with suppress(OSError):
                os.close(fd)

    def _flush(self) -> None:
        try:
            sent = os.write(self._fd, self._pending)
        except BlockingIOError:
            return
        except OSError as error:
            raise self._lost(str(error)) from error
        del self._pending[:sent]

    def _lost(self, got: str) -> LinkLostError:
        return LinkLostError(self.name, expected="a device at its other end", got=got)
