"""A session in a file: what a link gave, damaged frames too, and when. How users report bugs."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from edge_alm.bridge.frame import MAX_FRAME_BYTES
from edge_alm.errors import SourceError

MAGIC = b"EALMCAP1"
_DELAY = struct.Struct("<I")
_ENTRY = struct.Struct("<QH")
_START_BYTES = len(MAGIC) + _DELAY.size


class CaptureWriter:
    """Writes a capture.

    Args:
        path: a file that is not there yet.
        delay_s: of the link's jitter buffer.

    Raises:
        SourceError: the file cannot be written.
    """

    def __init__(self, path: Path, delay_s: float) -> None:
        self._path = path
        self.frames = 0
        try:
            self._file = path.open("xb")
            self._file.write(MAGIC + _DELAY.pack(round(1e6 * delay_s)))
        except OSError as error:
            raise self._failed(error) from error

    def __enter__(self) -> CaptureWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def write(self, data: bytes, now_s: float) -> None:
        """What a link gave at ``now_s``.

        Raises:
            SourceError: the disk is full.
        """
        data = data[: MAX_FRAME_BYTES + 1]  # longer is as wrong
        try:
            self._file.write(_ENTRY.pack(round(1e6 * now_s), len(data)) + data)
        except OSError as error:
            raise self._failed(error) from error
        self.frames += 1

    def _failed(self, error: OSError) -> SourceError:
        return SourceError(str(self._path), expected="a new file", got=error.strerror or str(error))


def read_delay_s(path: Path) -> float:
    """The delay of the jitter buffer of a capture's link.

    Raises:
        SourceError: not a capture.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_START_BYTES)
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(head) < _START_BYTES or not head.startswith(MAGIC):
        raise _bad(path, "something else")
    return float(_DELAY.unpack_from(head, len(MAGIC))[0] / 1e6)


def read_capture(path: Path) -> Iterator[tuple[bytes, float]]:
    """What a capture holds: bytes, and when they came by the host's clock, in seconds.

    Raises:
        SourceError: not a capture, or cut off.
    """
    try:
        with path.open("rb") as file:
            file.seek(_START_BYTES)
            while head := file.read(_ENTRY.size):
                if len(head) < _ENTRY.size:
                    raise _bad(path, "one that is cut off")
                at_us, size = _ENTRY.unpack(head)
                data = file.read(size)
                if len(data) < size:
                    raise _bad(path, "one that is cut off")
                yield data, at_us / 1e6
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> SourceError:
    return SourceError(str(path), expected="a capture", got=error.strerror or str(error))


def _bad(path: Path, got: str) -> SourceError:
    return SourceError(
        str(path), expected="a capture of edge-alm bridge record", got=got, hint="record it again"
    )
