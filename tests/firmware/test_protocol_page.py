"""PROTOCOL.md says what the code does: its examples in hexadecimal are the code's own bytes."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from desk import ROOT

from edge_alm.bridge import omi
from edge_alm.bridge.adpcm import AdpcmEncoder
from edge_alm.bridge.fragments import LEAST_VALUE_BYTES, Joiner, Splitter
from edge_alm.bridge.frame import WireFrame, enclose, pack, unpack
from edge_alm.bridge.messages import Again, Hello, Welcome
from edge_alm.bridge.numbers import (
    DOWN_UUID,
    SERVICE_UUID,
    UP_UUID,
    Capability,
    EventCode,
    Flag,
    FrameType,
    Wish,
)
from edge_alm.bridge.omi import CODECS, OmiStream

PAGE = (ROOT / "firmware_bridge" / "PROTOCOL.md").read_text("utf-8")
CAN = Capability.TWO_WAY | Capability.SOUND_GATE | Capability.FEELS_EVENTS
AUDIO = WireFrame(FrameType.PCM16, 0x5678, 1, 0, 0, bytes.fromhex("0000 0100 ffff 0080"))
HELLO = Hello(0x12345678, 3, 16_000, 320, CAN, "glasses")
WELCOME = Welcome(0x12345678, FrameType.ADPCM, Wish.GATED)
# Numbers go round after 65535; four samples are a short frame.
OMI = [
    bytes.fromhex("ffff 00") + AUDIO.payload[:5],
    bytes.fromhex("0000 01") + AUDIO.payload[5:],
    bytes.fromhex("0100 00 02"),
]
EXAMPLES = {
    "audio": pack(AUDIO),
    "hello": pack(WireFrame(FrameType.HELLO, 0x5678, 0, 0, 0, HELLO.pack())),
    "welcome": pack(WireFrame(FrameType.WELCOME, 0x5678, 0, 0, 0, WELCOME.pack(), flags=Flag.DOWN)),
    "again": pack(
        WireFrame(FrameType.AGAIN, 0x5678, 5, 0, 0, Again.of([3, 5, 35]).pack(), flags=Flag.DOWN)
    ),
    "adpcm": AdpcmEncoder().encode([0, 100, 300, -200, 5]),
    "serial": enclose(pack(AUDIO)),
    "ble": b"".join(Splitter().split(pack(AUDIO), LEAST_VALUE_BYTES)),
    "omi": b"".join(OMI),
}


def on_the_page() -> list[bytes]:
    return [bytes.fromhex(block) for block in re.findall(r"```\n([0-9a-f\s]+)```", PAGE)]


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_are_right(name: str) -> None:
    assert EXAMPLES[name] in on_the_page(), EXAMPLES[name].hex()


def test_there_are_no_others() -> None:
    assert len(on_the_page()) == len(EXAMPLES)


def test_the_pieces_are_a_frame_again() -> None:
    joiner = Joiner()
    came = [joiner.push(value) for value in Splitter().split(pack(AUDIO), LEAST_VALUE_BYTES)]
    assert came == [None, pack(AUDIO)]
    stream = OmiStream(CODECS[0], "Omi", Counter())
    (frame,) = [frame for frame in map(stream.push, OMI) if frame is not None]
    assert unpack(frame).payload == AUDIO.payload


@pytest.mark.parametrize("uuid", [SERVICE_UUID, UP_UUID, DOWN_UUID, omi.SERVICE])
def test_the_services_are_on_the_page(uuid: str) -> None:
    assert f"`{uuid}`" in PAGE


@pytest.mark.parametrize("kind", FrameType)
def test_every_type_is_on_the_page(kind: FrameType) -> None:
    assert re.search(rf"\| [\d, ]*\b{int(kind)}\b[\d, ]* \| [A-Z_, \d]*\b{kind.name}\b", PAGE)


@pytest.mark.parametrize("bit", Capability)
def test_every_capability_is_on_the_page(bit: Capability) -> None:
    assert f"{int(bit)} {bit.name}" in PAGE


def test_the_codes_of_events() -> None:
    assert [int(code) for code in EventCode] == [1, 2, 3, 4, 5]
