"""The payloads of frames that are not audio. Reserved bytes are sent as 0 and not looked at."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from edge_alm.bridge.frame import ProtocolError
from edge_alm.bridge.numbers import (
    MAX_NAME_BYTES,
    MAX_TEXT_BYTES,
    Capability,
    FrameType,
    Status,
    Wish,
)

MIN_RATE_HZ, MAX_RATE_HZ = 8_000, 96_000
UNKNOWN_PERCENT = 255
NO_WISH = Wish(0)
_HELLO = struct.Struct("<IBBHIBBHHH")
_WELCOME = struct.Struct("<IBBH")
_STATS = struct.Struct("<IIIIbBH")
_SYNC = struct.Struct("<Q")
_SYNC_REPLY = struct.Struct("<QQI")
_AGAIN = struct.Struct("<II")
_TEXT = struct.Struct("<QBBH")


def cut_text(text: str, limit_bytes: int) -> bytes:
    """UTF-8 of at most ``limit_bytes``, never half a character."""
    return text.encode()[:limit_bytes].decode(errors="ignore").encode()


def _read_text(data: bytes, limit_bytes: int) -> str:
    try:
        if len(data) <= limit_bytes:
            return data.decode()
    except UnicodeDecodeError:
        pass
    raise ProtocolError(Status.BAD_PAYLOAD)


def _need(condition: bool) -> None:
    if not condition:
        raise ProtocolError(Status.BAD_PAYLOAD)


@dataclass(frozen=True, slots=True)
class Hello:
    """A device that has begun a session."""

    TYPE: ClassVar[FrameType] = FrameType.HELLO
    session: int
    """32 bits, other than the last session's."""
    codecs: int
    """Bit n: it can send audio of type n."""
    rate_hz: int
    frame_samples: int
    """Of its audio frames, as a rule."""
    capabilities: Capability
    name: str
    lowest_version: int = 1
    highest_version: int = 1

    def pack(self) -> bytes:
        """The payload."""
        return _HELLO.pack(
            self.session,
            self.lowest_version,
            self.highest_version,
            self.codecs,
            self.rate_hz,
            0,
            0,
            self.frame_samples,
            self.capabilities,
            0,
        ) + cut_text(self.name, MAX_NAME_BYTES)

    @classmethod
    def unpack(cls, data: bytes) -> Hello:
        """The message; a capability that is unknown here is left out.

        Raises:
            ProtocolError: BAD_PAYLOAD.
        """
        _need(len(data) >= _HELLO.size)
        session, lowest, highest, codecs, rate_hz, _, _, frame, can, _ = _HELLO.unpack_from(data)
        _need(MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ and lowest <= highest)
        name = _read_text(data[_HELLO.size :], MAX_NAME_BYTES)
        capabilities = Capability(can & sum(Capability))
        return cls(session, codecs, rate_hz, frame, capabilities, name, lowest, highest)


@dataclass(frozen=True, slots=True)
class Welcome:
    """The host's answer: from now on audio may come."""

    TYPE: ClassVar[FrameType] = FrameType.WELCOME
    session: int
    codec: FrameType
    wishes: Wish = NO_WISH
    version: int = 1

    def pack(self) -> bytes:
        """The payload."""
        return _WELCOME.pack(self.session, self.version, self.codec, self.wishes)

    @classmethod
    def unpack(cls, data: bytes) -> Welcome:
        """The message.

        Raises:
            ProtocolError: BAD_PAYLOAD.
        """
        _need(len(data) == _WELCOME.size)
        session, version, codec, wishes = _WELCOME.unpack(data)
        _need(codec < FrameType.HELLO and codec in iter(FrameType))
        return cls(session, FrameType(codec), Wish(wishes & sum(Wish)), version)


@dataclass(frozen=True, slots=True)
class Stats:
    """What a device has counted since its session began."""

    TYPE: ClassVar[FrameType] = FrameType.STATS
    frames_sent: int
    samples_dropped: int
    """That were due and had no room to wait; the host sees them as lost."""
    frames_received: int
    frames_refused: int
    gain_db: int = 0
    battery_percent: int = UNKNOWN_PERCENT

    def pack(self) -> bytes:
        """The payload."""
        return _STATS.pack(
            self.frames_sent,
            self.samples_dropped,
            self.frames_received,
            self.frames_refused,
            self.gain_db,
            self.battery_percent,
            0,
        )

    @classmethod
    def unpack(cls, data: bytes) -> Stats:
        """The message.

        Raises:
            ProtocolError: BAD_PAYLOAD.
        """
        _need(len(data) == _STATS.size)
        return cls(*_STATS.unpack(data)[:6])


@dataclass(frozen=True, slots=True)
class Sync:
    """The host asks for the device's clock."""

    TYPE: ClassVar[FrameType] = FrameType.SYNC
    host_us: int
    """The host's clock; the device gives it back as it came."""

    def pack(self) -> bytes:
        """The payload."""
        return _SYNC.pack(self.host_us)

    @classmethod
    def unpack(cls, data: bytes) -> Sync:
        """The message.

        Raises:
            ProtocolError: BAD_PAYLOAD.
        """
        _need(len(data) == _SYNC.size)
        return cls(*_SYNC.unpack(data))


@dataclass(frozen=True, slots=True)
class SyncReply:
    """The device's clock."""

    TYPE: ClassVar[FrameType] = FrameType.SYNC_REPLY
    host_us: int
    position: int
    """Samples that the microphone had taken when the SYNC arrived."""
    held_us: int
    """From the arrival to this answer."""

    def pack(self) -> bytes:
        """The payload."""
        return _SYNC_REPLY.pack(self.host_us, self.position, self.held_us)

    @classmethod
    def unpack(cls, data: bytes) -> SyncReply:
        """The message.

        Raises:
            ProtocolError: BAD_PAYLOAD.
        """
        _need(len(data) == _SYNC_REPLY.size)
        return cls(*_SYNC_REPLY.unpack(data))


@dataclass(frozen=True, slots=True)
class Again:
    """The host asks for frames that it misses."""

    TYPE: ClassVar[FrameType] = FrameType.AGAIN
    first: int
    """Sequence number of the first of them."""
    more: int = 0
    """Bit n: the one n + 1 after it, too; 32 bits."""

    @classmethod
    def of(cls, sequences: Sequence[int]) -> Again:
        """The message that asks for ``sequences``: ascending, within 33 of each other."""
        first = sequences[0]
        return cls(first % 2**32, sum(1 << (n - first - 1) for n in sequences[1:]))

    @property
    def sequences(self) -> list[int]:
        """What it asks for."""
        more = (n + 1 for n in range(32) if self.more >> n & 1)
        return [self.first, *((self.first + n) % 2**32 for n in more)]

    def pack(self) -> bytes:
        """The payload."""
        return _AGAIN.pack(self.first, self.more)

    @classmethod
    def unpack(cls, data: bytes) -> Again:
        """The message.

        Raises:
            ProtocolError: BAD_PAYLOAD.
        """
        _need(len(data) == _AGAIN.size)
        return cls(*_AGAIN.unpack(data))


@dataclass(frozen=True, slots=True)
class Told:
    """CAPTION and EVENT: what the host has heard, for a display or a motor."""

    position: int
    """The device's sample at which it began."""
    code: int
    """See :class:`~edge_alm.bridge.numbers.EventCode`; 0 with a caption."""
    confidence: int
    """0 to 255."""
    text: str

    def pack(self) -> bytes:
        """The payload."""
        fixed = _TEXT.pack(self.position, self.code, self.confidence, 0)
        return fixed + cut_text(self.text, MAX_TEXT_BYTES)

    @classmethod
    def unpack(cls, data: bytes) -> Told:
        """The message.

        Raises:
            ProtocolError: BAD_PAYLOAD.
        """
        _need(len(data) >= _TEXT.size)
        position, code, confidence, _ = _TEXT.unpack_from(data)
        return cls(position, code, confidence, _read_text(data[_TEXT.size :], MAX_TEXT_BYTES))


Message: TypeAlias = Hello | Welcome | Stats | Sync | SyncReply
