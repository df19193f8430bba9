"""From what a person writes as SOURCE to the source."""

from __future__ import annotations

from edge_alm.audio.backends import load_backend
from edge_alm.audio.file import AudioFile
from edge_alm.audio.microphone import Microphone
from edge_alm.audio.stdin import Stdin
from edge_alm.errors import UsageError
from edge_alm.types import Source

_NOT_YET = ("serial", "udp", "ble")


def open_source(spec: str | None, *, realtime: bool = False, backend: str = "auto") -> Source:
    """Open a source of audio.

    Args:
        spec: None, "" or "mic" for the default microphone; "mic:NAME" for one whose name
            contains NAME, or has that index; "-" for 16 kHz mono s16le on standard input;
            "ros:TOPIC" for chunks on a ROS 2 topic;
            anything else is a file ("./mic" for a file of that name).
        realtime: pace a file or standard input as a microphone would.
        backend: for microphones: "sounddevice", "pyaudio", or "auto" (the first of the two
            that works).

    Raises:
        UsageError: a kind of source, or a backend, that this version does not have.
        SourceError: the file cannot be heard.
        DeviceError: no such microphone, or it cannot be opened.
        MissingExtraError: the package for microphones, or ROS 2, is not installed.
    """
    if not spec or spec == "mic" or spec.startswith("mic:"):
        name = spec[4:].strip() if spec else ""
        return Microphone(load_backend(backend), name or None)
    if spec == "-":
        return Stdin(realtime=realtime)
    kind, colon, _ = spec.partition(":")
    if colon and kind == "ros":
        from edge_alm.audio.ros import RosTopic

        return RosTopic(spec[4:])
    if colon and kind in _NOT_YET:
        raise UsageError(
            f"source {spec}",
            expected="in this version a file, '-', 'mic', 'mic:NAME' or 'ros:TOPIC'",
            got=f"'{kind}:'",
            hint=f"for a file of that name write ./{spec}",
        )
    return AudioFile(spec, realtime=realtime)
