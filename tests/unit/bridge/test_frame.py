"""Frames and COBS: every frame comes back, and nothing that was damaged does."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_alm.bridge.frame import (
    MAX_COBS_BYTES,
    Deframer,
    ProtocolError,
    WireFrame,
    cobs_decode,
    cobs_encode,
    enclose,
    pack,
    unpack,
)
from edge_alm.bridge.messages import Hello, Stats, Sync, SyncReply, Told, Welcome, cut_text
from edge_alm.bridge.numbers import (
    CRC_BYTES,
    HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    Capability,
    FrameType,
    Status,
    Wish,
)

frames = st.builds(
    WireFrame,
    type=st.sampled_from(FrameType),
    session=st.integers(0, 2**16 - 1),
    sequence=st.integers(0, 2**32 - 1),
    due=st.integers(0, 2**32 - 1),
    position=st.integers(0, 2**64 - 1),
    payload=st.binary(max_size=300),
    stream=st.integers(0, 255),
    flags=st.integers(0, 255),
)
# Runs without a zero around 254 bytes are what COBS is about.
stuffed = st.lists(
    st.one_of(st.binary(max_size=20), st.integers(250, 260).map(lambda n: b"\x07" * n)),
    max_size=6,
).map(b"\0".join)


def status_of(data: bytes) -> Status:
    with pytest.raises(ProtocolError) as caught:
        unpack(data)
    return caught.value.status


@settings(deadline=None)
@given(frames)
def test_a_frame_comes_back(frame: WireFrame) -> None:
    assert unpack(pack(frame)) == frame


@settings(deadline=None)
@given(frames, st.data())
def test_no_damaged_frame_is_taken(frame: WireFrame, data: st.DataObject) -> None:
    packed = bytearray(pack(frame))
    at = data.draw(st.integers(0, len(packed) - 1))
    packed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ProtocolError):
        unpack(bytes(packed))
    cut = data.draw(st.integers(0, len(packed) - 1))
    with pytest.raises(ProtocolError):
        unpack(pack(frame)[:cut])


def test_what_is_wrong_is_told() -> None:
    good = pack(WireFrame(FrameType.PCM16, 1, 2, 3, 4, b"ab"))
    assert status_of(good[:27]) == Status.TRUNCATED
    assert status_of(good[:-1]) == Status.TRUNCATED
    assert status_of(good + b"\0") == Status.TOO_LONG
    assert status_of(good[:-1] + bytes([good[-1] ^ 1])) == Status.BAD_CRC
    with pytest.raises(ProtocolError, match="TOO_LONG"):
        pack(WireFrame(FrameType.PCM16, 1, 2, 3, 4, bytes(MAX_PAYLOAD_BYTES + 1)))
    longest = pack(WireFrame(FrameType.PCM16, 1, 2, 3, 4, bytes(MAX_PAYLOAD_BYTES)))
    assert len(longest) == HEADER_BYTES + MAX_PAYLOAD_BYTES + CRC_BYTES


@settings(deadline=None)
@given(stuffed)
def test_cobs_comes_back_and_has_no_zero(data: bytes) -> None:
    encoded = cobs_encode(data)
    assert 0 not in encoded
    assert len(encoded) <= len(data) + len(data) // 254 + 1
    assert cobs_decode(encoded) == data


@pytest.mark.parametrize("data", [b"\x05abc", b"\x02", b"\x03a\0", b"\0"])
def test_what_is_not_cobs_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="BAD_COBS"):
        cobs_decode(data)


@settings(deadline=None)
@given(st.lists(frames, max_size=5), st.binary(max_size=40), st.integers(1, 100))
def test_a_line_is_cut_into_its_frames(sent: list[WireFrame], noise: bytes, size: int) -> None:
    """However it is cut, and after any noise (which may eat nothing but itself)."""
    line = noise + b"".join(enclose(pack(frame)) for frame in sent)
    deframer = Deframer()
    found = [
        piece for at in range(0, len(line), size) for piece in deframer.push(line[at : at + size])
    ]
    assert found[len(found) - len(sent) :] == [pack(frame) for frame in sent]


def test_a_line_without_end_takes_no_memory() -> None:
    deframer = Deframer()
    rng = random.Random(0)
    for _ in range(1000):
        assert not list(deframer.push(bytes(rng.randrange(1, 256) for _ in range(100))))
    assert len(deframer._held) <= MAX_COBS_BYTES
    good = pack(WireFrame(FrameType.BYE, 1, 2, 3, 4))
    assert list(deframer.push(enclose(good))) == [good]
    assert deframer.bad == 1


CAN = Capability.TWO_WAY | Capability.FEELS_EVENTS


@pytest.mark.parametrize(
    "message",
    [
        Hello(0x12345678, 3, 16_000, 320, CAN, "glasses"),
        Welcome(0x12345678, FrameType.ADPCM, Wish.GATED),
        Stats(1, 2, 3, 4, -6, 80),
        Sync(2**63),
        SyncReply(2**63, 2**40, 17),
        Told(2**40, 3, 255, "turn left"),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_message_comes_back_and_no_part_of_it_does(message: Hello) -> None:
    payload = message.pack()
    assert type(message).unpack(payload) == message
    fixed = len(payload) - len(getattr(message, "name", getattr(message, "text", "")))
    for size in range(fixed):
        with pytest.raises(ProtocolError, match="BAD_PAYLOAD"):
            type(message).unpack(payload[:size])


@settings(deadline=None)
@given(st.text(max_size=100), st.integers(0, 120))
def test_text_is_never_cut_inside_a_character(text: str, limit: int) -> None:
    cut = cut_text(text, limit)
    assert len(cut) <= limit
    assert text.startswith(cut.decode())
    assert len(cut) > limit - 4 or cut.decode() == text
