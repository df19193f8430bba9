"""The frame, the same on every link, and how a serial line tells where one ends."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from edge_alm.bridge.numbers import (
    CRC_BYTES,
    HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    MEANINGS,
    VERSION,
    Flag,
    FrameType,
    Status,
)

MAX_FRAME_BYTES = HEADER_BYTES + MAX_PAYLOAD_BYTES + CRC_BYTES
MAX_COBS_BYTES = MAX_FRAME_BYTES + MAX_FRAME_BYTES // 254 + 1
_HEADER = struct.Struct("<BBBBHHIIQ")
_CRC = struct.Struct("<I")
_TYPES = {int(kind): kind for kind in FrameType}
# An operator of enum's flags takes 4 us, of whole numbers 30 ns.
_DOWN, _MUTED = int(Flag.DOWN), int(Flag.MUTED)


class ProtocolError(ValueError):
    """Bytes that are not what the protocol says. Counted and dropped, never told to a user."""

    def __init__(self, status: Status) -> None:
        self.status = status
        super().__init__(f"{status.name}: {MEANINGS[status]}")


@dataclass(frozen=True, slots=True)
class WireFrame:
    """One frame. Numbers that are not in range are refused by :func:`pack`."""

    type: FrameType
    session: int
    """Low 16 bits of the session id."""
    sequence: int
    """Frames of this stream and direction before this one, modulo 2**32."""
    due: int
    """Samples that the device meant to send before this frame, modulo 2**32."""
    position: int
    """Samples that the device's microphone took before this frame's first one."""
    payload: bytes = b""
    stream: int = 0
    flags: int = 0

    @property
    def is_audio(self) -> bool:
        """Whether the payload is sound."""
        return self.type < FrameType.HELLO

    @property
    def is_down(self) -> bool:
        """Whether the host sent it."""
        return bool(self.flags & _DOWN)

    @property
    def is_muted(self) -> bool:
        """Whether the device was."""
        return bool(self.flags & _MUTED)


def pack(frame: WireFrame) -> bytes:
    """The bytes of a frame.

    Raises:
        ProtocolError: TOO_LONG.
    """
    if len(frame.payload) > MAX_PAYLOAD_BYTES:
        raise ProtocolError(Status.TOO_LONG)
    header = _HEADER.pack(
        VERSION,
        frame.flags,
        frame.stream,
        frame.type,
        frame.session,
        len(frame.payload),
        frame.sequence & 0xFFFFFFFF,
        frame.due & 0xFFFFFFFF,
        frame.position,
    )
    body = header + frame.payload
    return body + _CRC.pack(zlib.crc32(body))


def unpack(data: bytes) -> WireFrame:
    """The frame that ``data`` is, exactly.

    Raises:
        ProtocolError: TRUNCATED, TOO_LONG, BAD_CRC, BAD_VERSION, BAD_TYPE.
    """
    if len(data) < HEADER_BYTES + CRC_BYTES:
        raise ProtocolError(Status.TRUNCATED)
    version, flags, stream, kind, session, length, sequence, due, position = _HEADER.unpack_from(
        data
    )
    size = HEADER_BYTES + length + CRC_BYTES
    if length > MAX_PAYLOAD_BYTES or len(data) > size:
        raise ProtocolError(Status.TOO_LONG)
    if len(data) < size:
        raise ProtocolError(Status.TRUNCATED)
    if _CRC.unpack_from(data, size - CRC_BYTES)[0] != zlib.crc32(data[: size - CRC_BYTES]):
        raise ProtocolError(Status.BAD_CRC)
    if version != VERSION:
        raise ProtocolError(Status.BAD_VERSION)
    if kind not in _TYPES:
        raise ProtocolError(Status.BAD_TYPE)
    payload = bytes(data[HEADER_BYTES : size - CRC_BYTES])
    return WireFrame(
        _TYPES[kind], session, sequence, due, position, payload, stream=stream, flags=flags
    )


def cobs_encode(data: bytes) -> bytes:
    """Consistent overhead byte stuffing (Cheshire and Baker 1999): no byte of it is zero."""
    out = bytearray()
    for part in data.split(b"\0"):
        start = 0
        while len(part) - start >= 254:
            out += b"\xff" + part[start : start + 254]
            start += 254
        out.append(len(part) - start + 1)
        out += part[start:]
    return bytes(out)


def cobs_decode(data: bytes) -> bytes:
    """The inverse of :func:`cobs_encode`.

    Raises:
        ProtocolError: BAD_COBS.
    """
    if b"\0" in data:
        raise ProtocolError(Status.BAD_COBS)
    out = bytearray()
    at, end = 0, len(data)
    while at < end:
        code = data[at]
        after = at + code
        if after > end:
            raise ProtocolError(Status.BAD_COBS)
        out += data[at + 1 : after]
        if code < 255 and after < end:
            out.append(0)
        at = after
    return bytes(out)


class Deframer:
    """Bytes of a serial line in, candidates for a frame out. Holds one frame at most."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._skipping = False
        self.bad = 0
        """Pieces between zero bytes that were too long or not COBS."""

    def push(self, data: bytes) -> Iterator[bytes]:
        """What lies between zero bytes, decoded; not yet checked."""
        *whole, rest = data.split(b"\0")
        for piece in whole:
            self._hold(piece)
            if self._skipping:
                self.bad += 1
            elif self._held:
                try:
                    yield cobs_decode(bytes(self._held))
                except ProtocolError:
                    self.bad += 1
            self._held.clear()
            self._skipping = False
        self._hold(rest)

    def _hold(self, piece: bytes) -> None:
        if self._skipping or len(self._held) + len(piece) > MAX_COBS_BYTES:
            self._held.clear()
            self._skipping = True
        else:
            self._held += piece


def enclose(data: bytes) -> bytes:
    """A packed frame as it goes over a serial line, between zero bytes."""
    return b"\0" + cobs_encode(data) + b"\0"
