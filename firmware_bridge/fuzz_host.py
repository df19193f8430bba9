"""The host's side under a fuzzer: lives of a host made of bytes of anyone's choice.

An input is a run of records: a byte that says what happens, a length (2) and so many bytes; the C
side takes the same ones (c/host/ealm_fuzz.c), so that both can begin with :func:`seeds`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from itertools import count
from typing import Any

from edge_alm.bridge import adpcm
from edge_alm.bridge.adpcm import AdpcmEncoder
from edge_alm.bridge.fragments import Joiner, Splitter
from edge_alm.bridge.frame import (
    MAX_FRAME_BYTES,
    Deframer,
    ProtocolError,
    WireFrame,
    enclose,
    pack,
    unpack,
)
from edge_alm.bridge.messages import Again, Hello, Stats, Sync, SyncReply, Told, Welcome
from edge_alm.bridge.numbers import (
    CRC_BYTES,
    SEAL_HEAD_BYTES,
    TAG_BYTES,
    Capability,
    Flag,
    FrameType,
    Wish,
)
from edge_alm.bridge.reorder import CAPACITY
from edge_alm.bridge.seal import PENDING, DeviceSeal, HostSeal
from edge_alm.bridge.session import HostSession
from edge_alm.bridge.stream import Heard, Missing, Part, Withheld

FRAME, RIGHT_FRAME, DATAGRAM, RIGHT_DATAGRAM, LINE, FRAGMENT, BLOCK, SAMPLES, MUTE, TICK = range(10)
SESSION = 0x12345678
DEVICE, KEY = 9, b"\x01\x02\x03" + bytes(29)
GREETING = DeviceSeal(DEVICE, KEY, bytes).greeting()
ADDRESS = ("127.0.0.1", 9)


class HostLife:
    """A host from its start: everything that bytes can reach in it."""

    def __init__(self) -> None:
        self._session = HostSession(0.06)
        self._deframer, self._joiner = Deframer(), Joiner()
        self._now_s = 0.0
        self._told = [0, 0, 0]

    @cached_property
    def _seal(self) -> HostSeal:
        """Greeted; made where it is wanted, as deriving keys takes longer than most inputs."""
        counter = count()
        seal = HostSeal({DEVICE: KEY}, lambda size: next(counter).to_bytes(size, "little"))
        _must(seal.receive(GREETING, ADDRESS, 0.0)[1] is not None)
        return seal

    @cached_property
    def _up(self) -> Any:
        """The key under which its device sends."""
        return next(iter(self._seal._pending.values())).up

    def live(self, data: bytes) -> None:
        """Every record of an input.

        Raises:
            AssertionError: something was taken, kept or told that should not have been.
        """
        for what, part in _records(data):
            self._now_s += 0.01
            if what == FRAME:
                self._frame(part)
            elif what == RIGHT_FRAME:
                body = part[:-CRC_BYTES]
                self._frame(body + zlib.crc32(body).to_bytes(CRC_BYTES, "little"))
            elif what == DATAGRAM:
                self._datagram(part)
            elif what == RIGHT_DATAGRAM and len(part) >= SEAL_HEAD_BYTES + TAG_BYTES:
                head, text = part[:SEAL_HEAD_BYTES], part[SEAL_HEAD_BYTES:-TAG_BYTES]
                self._datagram(head + self._up.encrypt(bytes(4) + head[8:], text, head))
            elif what == LINE:
                for piece in self._deframer.push(part):
                    self._frame(piece)
            elif what == FRAGMENT:
                frame = self._joiner.push(part)
                _must(len(self._joiner._held) <= MAX_FRAME_BYTES)
                if frame is not None:
                    self._frame(frame)
            elif what == BLOCK:
                with suppress(ProtocolError):
                    adpcm.decode(part)
            elif what == TICK:
                self._now_s += len(part)
                self._take(self._session.advance(self._now_s))
        self._take(self._session.finish())

    def _frame(self, data: bytes) -> None:
        try:
            frame = unpack(data)
        except ProtocolError:
            pass
        else:
            _must(pack(frame) == data)
        self._take(self._session.receive(data, self._now_s))
        _must(len(self._session._order._held) <= CAPACITY + 1)
        _must(len(self._session.take_outbox()) <= 8)

    def _datagram(self, data: bytes) -> None:
        frame, reply = self._seal.receive(data, ADDRESS, self._now_s)
        _must(len(self._seal._pending) <= PENDING)
        if frame is not None:
            # Taken: then sealing what came out gives what came in, and it is taken once.
            head = data[:SEAL_HEAD_BYTES]
            _must(head + self._up.encrypt(bytes(4) + head[8:], frame, head) == data)
            _must(self._seal.receive(data, ADDRESS, self._now_s) == (None, None))
            self._frame(frame)
        if reply is not None:
            _must(data == GREETING)

    def _take(self, parts: list[Part]) -> None:
        """What is told has to be what the ledger holds."""
        for part in parts:
            if isinstance(part, Heard):
                self._told[0] += len(part.samples)
            elif isinstance(part, Missing):
                self._told[1] += part.samples
                _must(len(part.fill) in (0, part.samples))
            elif isinstance(part, Withheld):
                self._told[2] += part.samples
        stream = self._session.stream
        if stream is None or self._session._retired:
            return
        ledger = stream.ledger
        _must(self._told == [ledger.heard, ledger.lost, ledger.withheld])


def _must(is_right: bool) -> None:
    if not is_right:
        raise AssertionError


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 3:
        size = int.from_bytes(data[1:3], "little")
        yield data[0] % 10, data[3 : 3 + size]
        data = data[3 + size :]


def record(what: int, data: bytes = b"") -> bytes:
    """One thing that happens."""
    return bytes([what]) + len(data).to_bytes(2, "little") + data


def up_frames() -> list[WireFrame]:
    """A short session of a device, in order."""
    can = Capability.TWO_WAY | Capability.SOUND_GATE | Capability.FEELS_EVENTS
    hello = Hello(SESSION, 3, 16_000, 320, can, "glasses").pack()
    tag = SESSION & 0xFFFF
    return [
        WireFrame(FrameType.HELLO, tag, 0, 0, 0, hello),
        WireFrame(FrameType.PCM16, tag, 1, 0, 0, bytes(range(64))),
        WireFrame(FrameType.ADPCM, tag, 2, 32, 32, AdpcmEncoder().encode(range(0, 1200, 10))),
        WireFrame(FrameType.STATS, tag, 3, 152, 152, Stats(1, 2, 3, 4, 5, 6).pack()),
        WireFrame(FrameType.SYNC_REPLY, tag, 4, 152, 152, SyncReply(1, 2, 3).pack()),
        WireFrame(FrameType.MUTE, tag, 5, 152, 152, b"\1", flags=Flag.MUTED),
        WireFrame(FrameType.PCM16, tag, 7, 252, 1252, bytes(64)),
        WireFrame(FrameType.BYE, tag, 8, 284, 1284),
    ]


def down_frames() -> list[WireFrame]:
    """What a host says."""
    told = [
        (FrameType.WELCOME, Welcome(SESSION, FrameType.ADPCM, Wish.GATED).pack()),
        (FrameType.SYNC, Sync(5).pack()),
        (FrameType.EVENT, Told(9, 1, 2, "Doorbell").pack()),
        (FrameType.GAIN, b"\x05"),
        (FrameType.CAPTION, Told(9, 0, 2, "turn left").pack()),
        (FrameType.AGAIN, Again(3, 0x80000002).pack()),
        (FrameType.BYE, b""),
    ]
    tag = SESSION & 0xFFFF
    return [
        WireFrame(kind, tag, i, 0, 0, payload, flags=Flag.DOWN)
        for i, (kind, payload) in enumerate(told)
    ]


def datagrams(frames: list[WireFrame], kind: int) -> list[bytes]:
    """As sealed ones, whose tags are not right yet."""
    head = b"\xe1" + bytes([kind, 0, 0]) + DEVICE.to_bytes(4, "little")
    return [
        head + (101 + i).to_bytes(8, "little") + pack(frame) + bytes(TAG_BYTES)
        for i, frame in enumerate(frames)
    ]


def _fragments(frames: list[bytes], value_bytes: int) -> bytes:
    splitter = Splitter()
    return b"".join(
        record(FRAGMENT, value) for frame in frames for value in splitter.split(frame, value_bytes)
    )


def seeds() -> list[bytes]:
    """Lives of a device and of a host that go well, for fuzzers to begin with."""
    made = []
    for frames, kind in ((up_frames(), 3), (down_frames(), 4)):
        packed = [pack(frame) for frame in frames]
        made += [record(RIGHT_FRAME, one) for one in packed]
        made.append(b"".join(record(RIGHT_FRAME, one) for one in packed))
        made.append(b"".join(record(LINE, enclose(one)) for one in packed))
        made += [_fragments(packed, value_bytes) for value_bytes in (244, 20)]
        sealed = datagrams(frames, kind)
        made.append(b"".join(record(RIGHT_DATAGRAM, one) for one in sealed))
        made.append(b"".join(record(DATAGRAM, one) for one in sealed))
    long = pack(WireFrame(FrameType.PCM16, SESSION & 0xFFFF, 1, 0, 0, bytes(range(1, 255)) * 4))
    made += [record(LINE, enclose(long)), _fragments([long], 41)]
    welcome = record(RIGHT_FRAME, pack(down_frames()[0]))
    sounds = record(SAMPLES, bytes(range(256)) * 4)
    made.append(welcome + 3 * sounds + record(MUTE + 10) + sounds + record(MUTE) + record(TICK))
    made.append(record(BLOCK, AdpcmEncoder().encode(range(0, 1200, 10))))
    made.append(record(DATAGRAM, GREETING))
    return made
