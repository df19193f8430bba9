"""From what a person writes as SOURCE to the source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_alm.audio.backends import load_backend
from edge_alm.audio.file import AudioFile
from edge_alm.audio.microphone import Microphone
from edge_alm.audio.stdin import Stdin
from edge_alm.errors import UsageError
from edge_alm.types import Source

if TYPE_CHECKING:
    from edge_alm.bridge.links import Link

BRIDGED = ("serial", "udp", "ble")
"""Links of the firmware bridge."""


def open_source(spec: str | None, *, realtime: bool = False, backend: str = "auto") -> Source:
    """Open a source of audio.

    Args:
        spec: None, "" or "mic" for the default microphone; "mic:NAME" for one whose name
            contains NAME, or has that index; "-" for 16 kHz mono s16le on standard input;
            "ros:TOPIC" for chunks on a ROS 2 topic; "serial:PATH", "udp:PORT",
            "udp:INTERFACE:PORT" or "ble:ADDRESS" for a device behind the firmware bridge;
            anything else is a file ("./mic" for a file of that name).
        realtime: pace a file or standard input as a microphone would.
        backend: for microphones: "sounddevice", "pyaudio", or "auto" (the first of the two
            that works).

    Raises:
        UsageError: a kind of source, or a backend, that this version does not have.
        SourceError: the file cannot be heard.
        DeviceError: no such microphone or link, or it cannot be opened.
        MissingExtraError: the package for microphones, ROS 2, sealed datagrams or Bluetooth is
            not installed.
    """
    if not spec or spec == "mic" or spec.startswith("mic:"):
        name = spec[4:].strip() if spec else ""
        return Microphone(load_backend(backend), name or None)
    if spec == "-":
        return Stdin(realtime=realtime)
    kind, colon, address = spec.partition(":")
    if colon and kind == "ros":
        from edge_alm.audio.ros import RosTopic

        return RosTopic(address)
    if colon and kind in BRIDGED:
        from edge_alm.audio.device import Device

        return Device(open_link(spec))
    return AudioFile(spec, realtime=realtime)


def open_link(spec: str) -> Link:
    """The link to a device behind the firmware bridge; not opened yet.

    Args:
        spec: "serial:PATH" or "serial:PATH@BAUD"; "udp:PORT" on loopback or
            "udp:INTERFACE:PORT", for paired devices; "ble:ADDRESS".

    Raises:
        UsageError: not such an address, or no device is paired.
        MissingExtraError: the package ``cryptography`` (udp) or ``bleak`` (ble) is not
            installed.
        SourceError: the file of the paired devices is damaged (udp).
    """
    kind, _, address = spec.partition(":")
    if kind == "serial":
        from edge_alm.bridge.serial import SerialLink

        return SerialLink(address)
    if kind == "udp":
        from edge_alm.bridge.pairs import keys
        from edge_alm.bridge.udp import UdpLink

        return UdpLink(address, keys())
    if kind == "ble":
        from edge_alm.bridge.ble import BleLink

        return BleLink(address)
    raise UsageError(
        f"source {spec}",
        expected="serial:PATH, udp:PORT, udp:INTERFACE:PORT or ble:ADDRESS",
        got=f"'{kind}:'",
        hint=f"for a file of that name write ./{spec}",
    )
