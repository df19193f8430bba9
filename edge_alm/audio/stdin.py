"""Raw samples on standard input."""

from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Iterator

import numpy as np

from edge_alm.audio.pace import Pace
from edge_alm.errors import SourceError
from edge_alm.types import Fault, Frame, Packet

_POLL_S = 0.1  # how soon close() is seen while the writer is silent
_READ_BYTES = 65_536  # what a Linux pipe holds: 2 s
_PACED_READ_BYTES = 3_200  # 0.1 s
_EXPECTED = "16 kHz mono s16le samples without a header"
_HEADERS = {
    b"RIFF": "a WAV file",
    b"RF64": "a WAV file",
    b"fLaC": "a FLAC file",
    b"OggS": "an Ogg file",
    b"FORM": "an AIFF file",
    b"ID3\x03": "an MP3 file",
    b"ID3\x04": "an MP3 file",
}


class Stdin:
    """16 kHz mono s16le read from a file descriptor until its end.

    A pipe holds its writer back, so nothing is lost here however slow the reader is. A byte
    left over at the end is reported as a fault ``odd-byte``.

    Args:
        realtime: deliver at the pace of a microphone.
        fd: the file descriptor, by default standard input; it stays open.

    Raises:
        SourceError: standard input is closed or a terminal.
    """

    name = "stdin"
    live = False

    def __init__(self, *, realtime: bool = False, fd: int | None = None) -> None:
        self._fd = _stdin_fd() if fd is None else fd
        self._pace = Pace() if realtime else None
        self._closed = threading.Event()

    @property
    def started_unix(self) -> float | None:
        """None: who wrote the samples knows when they were taken."""
        return None

    def packets(self) -> Iterator[Packet]:
        """Frames as they come, until the end of the input.

        Raises:
            SourceError: no byte at all, the header of an audio file, or a read error.
        """
        position = 0
        left = b""
        while not self._closed.is_set():
            data = self._read()
            if data is None:
                continue
            left += data
            if position == 0:
                if data and len(left) < 4:
                    continue
                _check_start(left)
            whole = len(left) // 2 * 2
            if whole:
                samples = np.frombuffer(left[:whole], "<i2").astype(np.float32) / np.float32(32768)
                frame = Frame(position, samples)
                if self._pace is not None:
                    self._pace.wait(frame.end, self._closed)
                    if self._closed.is_set():
                        return
                yield frame
                position = frame.end
                left = left[whole:]
            if not data:
                if left:
                    yield Fault(
                        "odd-byte",
                        "stdin: one byte is left over at the end",
                        "check that the samples have 16 bits",
                    )
                return

    def close(self) -> None:
        """Make :meth:`packets` end within 0.1 s."""
        self._closed.set()

    def _read(self) -> bytes | None:
        """Some bytes, none at the end of the input, None when nothing has come yet."""
        try:
            if not select.select([self._fd], [], [], _POLL_S)[0]:
                return None
            return os.read(self._fd, _PACED_READ_BYTES if self._pace else _READ_BYTES)
        except (OSError, ValueError) as cause:
            raise SourceError("stdin", expected=_EXPECTED, got=str(cause)) from cause


def _stdin_fd() -> int:
    hint = "pipe samples in, as in: arecord -f S16_LE -r 16000 -t raw | edge-alm listen -"
    try:
        fd = sys.stdin.fileno()
        terminal = os.isatty(fd)
    except (AttributeError, OSError, ValueError) as cause:  # None, replaced, or closed
        raise SourceError("stdin", expected=_EXPECTED, got="no input", hint=hint) from cause
    if terminal:
        raise SourceError("stdin", expected=_EXPECTED, got="a terminal", hint=hint)
    return fd


def _check_start(start: bytes) -> None:
    if not start:
        raise SourceError("stdin", expected=_EXPECTED, got="the end of the input at once")
    kind = _HEADERS.get(start[:4])
    if kind:
        raise SourceError(
            "stdin",
            expected=_EXPECTED,
            got=f"what looks like {kind}",
            hint="give the file's name instead of '-', or convert: "
            "ffmpeg -i - -f s16le -ar 16000 -ac 1 - | edge-alm listen -",
        )
