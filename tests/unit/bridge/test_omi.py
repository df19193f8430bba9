"""An Omi's notifications: every frame is heard where it belongs, or counted as lost."""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pytest
from bad_links import Account
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_alm.bridge.numbers import FrameType
from edge_alm.bridge.omi import CODECS, OmiCodec, OmiStream, opus_samples
from edge_alm.bridge.session import HostSession

PCM = CODECS[0]
SAMPLES = PCM.frame_samples


def ramp(first: int, count: int) -> bytes:
    return ((np.arange(first, first + count)) % 65_536 - 32_768).astype("<i2").tobytes()


def notifications(
    frames: int, piece_bytes: int, first: int = 0, *, a_frame: bool = False
) -> list[bytes]:
    """What an Omi sends; ``a_frame``: where all pieces of a frame carry the same number."""
    sent, number = [], first
    for n in range(frames):
        payload = ramp(n * SAMPLES, SAMPLES)
        for index, start in enumerate(range(0, len(payload), piece_bytes)):
            head = struct.pack("<HB", number % 65_536, index)
            sent.append(head + payload[start : start + piece_bytes])
            number += not a_frame
        number += a_frame
    return sent


@dataclass
class Host:
    """The way from notifications to an account."""

    codec: OmiCodec = PCM
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.stream = OmiStream(self.codec, "Omi", self.counts)
        self.session = HostSession(0.0)
        self.account = Account()
        self.take(self.stream.begin())

    def take(self, frame: bytes | None) -> None:
        if frame is not None:
            self.account.add(self.session.receive(frame, 1.0))

    def push(self, values: list[bytes]) -> None:
        for value in values:
            self.take(self.stream.push(value))
        self.take(self.stream.alive())


@pytest.mark.parametrize("piece_bytes", [17, 20, 160, 244, 320])
@pytest.mark.parametrize("a_frame", [False, True])
def test_all_but_the_last_frame_is_heard(piece_bytes: int, a_frame: bool) -> None:
    host = Host()
    host.push(notifications(100, piece_bytes, 65_500, a_frame=a_frame))
    assert host.account.begins == 1
    assert (host.account.heard, host.account.lost) == (99 * SAMPLES, 0)
    assert host.account.misplaced == 0
    assert sum(host.counts.values()) == 0


@settings(deadline=None)
@given(
    st.integers(0, 65_535),
    st.sampled_from([17, 160, 244, 320]),
    st.sets(st.integers(0, 1000)),
)
def test_what_is_missing_is_told_to_the_sample(first: int, piece_bytes: int, cut: set[int]) -> None:
    """All is accounted for from the first whole frame to the one before the last that came."""
    frames = 30
    sent = notifications(frames, piece_bytes, first)
    pieces = len(sent) // frames
    # The first two frames come, for a beginning.
    gone = {n for n in cut if 2 * pieces <= n < len(sent)}
    host = Host()
    host.push([value for n, value in enumerate(sent) if n not in gone])
    came = max(n for n in range(len(sent)) if n not in gone) // pieces
    assert host.account.clock == came * SAMPLES
    assert host.account.misplaced == 0
    whole = sum(all(n * pieces + i not in gone for i in range(pieces)) for n in range(came))
    # A frame after whose last piece the next one's first is missing, too, may be whole unseen.
    assert host.account.heard <= whole * SAMPLES
    assert host.account.lost == came * SAMPLES - host.account.heard
    last = max((n for n in range(len(sent)) if n not in gone), default=0)
    assert host.counts["missing_packets"] == len([n for n in gone if n < last])


@pytest.mark.parametrize("piece_bytes", [160, 320])
def test_a_lost_notification_costs_its_frame_only(piece_bytes: int) -> None:
    sent = notifications(20, piece_bytes)
    pieces = len(sent) // 20
    for gone in range(3 * pieces, 4 * pieces):
        host = Host()
        host.push(sent[:gone] + sent[gone + 1 :])
        assert host.account.lost == SAMPLES
        assert host.account.heard == 18 * SAMPLES
        assert host.account.reasons == ["lost on the way"]


def test_before_the_first_whole_frame_there_is_no_account() -> None:
    sent = notifications(10, 160)
    host = Host()
    host.push(sent[1:2] + sent[4:5] + sent[6:])
    assert (host.account.heard, host.account.lost) == (6 * SAMPLES, 0)


@given(st.lists(st.binary(max_size=30), max_size=80))
def test_noise_breaks_nothing(noise: list[bytes]) -> None:
    host = Host()
    host.push(noise)
    assert host.account.lost + host.account.heard == host.account.clock
    assert not host.session.refused


def test_what_comes_twice_or_is_cut_off_is_counted() -> None:
    sent = notifications(10, 320)
    host = Host()
    host.push([value for value in sent for _ in range(2)] + [b"", b"ab", sent[0][:3]])
    assert (host.account.heard, host.account.lost) == (9 * SAMPLES, 0)
    assert host.counts["bad_packets"] == 13


def test_a_device_that_sends_nothing_is_there() -> None:
    host = Host()
    host.push(notifications(3, 320))
    before = host.session.frames
    host.push([])
    assert host.session.frames == before + 1
    assert host.account.clock == 2 * SAMPLES


@pytest.mark.parametrize(
    ("packet", "samples"),
    [
        (b"", 0),
        (bytes([1 << 3]), 320),  # SILK, 20 ms
        (bytes([3 << 3]), 960),  # SILK, 60 ms
        (bytes([13 << 3 | 1]), 640),  # hybrid, twice 20 ms
        (bytes([16 << 3]), 40),  # CELT, 2.5 ms
        (bytes([30 << 3]), 160),  # CELT, 10 ms
        (bytes([31 << 3 | 3, 5]), 1600),  # CELT, five times 20 ms
        (bytes([31 << 3 | 3]), 0),
        (bytes([3 << 3 | 3, 3]), 0),  # more than 120 ms
    ],
)
def test_opus_packets_tell_their_length(packet: bytes, samples: int) -> None:
    assert opus_samples(packet, 16_000) == samples


def test_the_codecs_are_those_of_the_page() -> None:
    assert {n: (c.codec, c.rate_hz, c.frame_samples) for n, c in CODECS.items()} == {
        0: (FrameType.PCM16, 16_000, 160),
        1: (FrameType.PCM16, 8_000, 160),
        20: (FrameType.OPUS, 16_000, 160),
        21: (FrameType.OPUS, 16_000, 320),
    }
