"""Sealed frames over UDP, on loopback or on a named interface."""

from __future__ import annotations

import fcntl
import socket
import struct
import time
from collections.abc import Mapping

from edge_alm.bridge.links import LinkLostError
from edge_alm.bridge.seal import MAX_DATAGRAM_BYTES, HostSeal
from edge_alm.errors import DeviceError, UsageError

LOOPBACK = "127.0.0.1"
_SIOCGIFADDR = 0x8915  # Linux: the IPv4 address of an interface
_AT_ONCE = 64
"""Datagrams that are dropped before others have their turn."""


def address_of(interface: str) -> str:
    """The IPv4 address of a network interface.

    Raises:
        DeviceError: there is none of that name, or it has no address.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            name = struct.pack("256s", interface.encode()[:15])
            return socket.inet_ntoa(fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, name)[20:24])
        except OSError as error:
            names = ", ".join(name for _, name in socket.if_nameindex())
            raise DeviceError(
                f"network interface {interface}",
                expected=f"one with an IPv4 address, of: {names}",
                got=error.strerror or str(error),
            ) from error


class UdpLink:
    """Datagrams from one paired device at a time.

    Args:
        address: ``PORT`` for loopback, ``INTERFACE:PORT`` for that interface's address.
        devices: key by device id.

    Raises:
        UsageError: not such an address, or no device is paired.
        MissingExtraError: the package ``cryptography`` is not installed.
    """

    delay_s = 0.06
    """A datagram that is overtaken by one of 60 ms later is late indeed, also over Wi-Fi."""
    gather_s = 0.0
    is_behind = False

    def __init__(self, address: str, devices: Mapping[int, bytes]) -> None:
        interface, _, port = address.rpartition(":")
        if not (port.isascii() and port.isdigit() and int(port) < 65_536):
            raise UsageError(
                f"source udp:{address}",
                expected="udp:PORT (loopback) or udp:INTERFACE:PORT, such as udp:wlan0:5004",
                got=repr(address),
            )
        if not devices:
            raise UsageError(
                f"source udp:{address}",
                expected="a paired device",
                got="none",
                hint="edge-alm bridge pair NAME",
            )
        self.name = f"udp:{address}"
        self._interface, self._port = interface, int(port)
        self._seal = HostSeal(devices)
        self._socket: socket.socket | None = None
        self._not_sent = 0

    @property
    def port(self) -> int:
        """The port in use; of a free one (0) after :meth:`open`."""
        return self._port

    def open(self) -> None:
        """See :class:`~edge_alm.bridge.links.Link`."""
        self.close()
        host = address_of(self._interface) if self._interface else LOOPBACK
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            opened.bind((host, self._port))
        except OSError as error:
            opened.close()
            raise DeviceError(
                self.name,
                expected="a port that is free",
                got=error.strerror or str(error),
                hint="end the other program, or take another port",
            ) from error
        self._port = opened.getsockname()[1]
        opened.setblocking(False)
        self._socket = opened

    def fileno(self) -> int:
        """See :class:`~edge_alm.bridge.links.Link`."""
        return -1 if self._socket is None else self._socket.fileno()

    def read(self) -> list[bytes]:
        """See :class:`~edge_alm.bridge.links.Link`. One frame, and a flood's worth of others:
        as a rule nothing lies behind a frame, and to find that out costs a system call.
        """
        opened = self._socket
        if opened is None:
            raise LinkLostError(self.name, expected="an open socket", got="a closed one")
        try:
            for _ in range(_AT_ONCE):
                # One byte more than the longest, so that a longer one is seen as too long.
                datagram, address = opened.recvfrom(MAX_DATAGRAM_BYTES + 1)
                frame, reply = self._seal.receive(datagram, address, time.monotonic())
                if reply is not None:
                    self._put(opened, reply, address)
                if frame is not None:
                    return [frame]
        except BlockingIOError:
            pass
        except OSError as error:
            raise LinkLostError(self.name, expected="a network", got=str(error)) from error
        return []

    def write(self, frame: bytes) -> None:
        """See :class:`~edge_alm.bridge.links.Link`."""
        datagram, address = self._seal.seal(frame), self._seal.address
        if self._socket is None or datagram is None or address is None:
            self._not_sent += 1
            return
        self._put(self._socket, datagram, address)

    def counts(self) -> dict[str, int]:
        """See :class:`~edge_alm.bridge.links.Link`."""
        dropped = {reason.replace(" ", "_"): n for reason, n in self._seal.dropped.items()}
        return {**dropped, "not_sent": self._not_sent}

    def close(self) -> None:
        """See :class:`~edge_alm.bridge.links.Link`."""
        opened, self._socket = self._socket, None
        if opened is not None:
            opened.close()

    def _put(self, opened: socket.socket, datagram: bytes, address: tuple[str, int]) -> None:
        try:
            opened.sendto(datagram, socket.MSG_DONTWAIT, address)
        except OSError:  # no room, or nobody is there any more: as if it was lost on the way
            self._not_sent += 1
