"""PROTOCOL.md says what the code does: its examples in hexadecimal are the code's own bytes."""

from __future__ import annotations

import re

import pytest
from desk import ROOT

from edge_alm.bridge.adpcm import AdpcmEncoder
from edge_alm.bridge.frame import WireFrame, enclose, pack
from edge_alm.bridge.messages import Hello, Welcome
from edge_alm.bridge.numbers import Capability, EventCode, Flag, FrameType, Wish

PAGE = (ROOT / "firmware_bridge" / "PROTOCOL.md").read_text("utf-8")
CAN = Capability.TWO_WAY | Capability.SOUND_GATE | Capability.FEELS_EVENTS
AUDIO = WireFrame(FrameType.PCM16, 0x5678, 1, 0, 0, bytes.fromhex("0000 0100 ffff 0080"))
HELLO = Hello(0x12345678, 3, 16_000, 320, CAN, "glasses")
WELCOME = Welcome(0x12345678, FrameType.ADPCM, Wish.GATED)
EXAMPLES = {
    "audio": pack(AUDIO),
    "hello": pack(WireFrame(FrameType.HELLO, 0x5678, 0, 0, 0, HELLO.pack())),
    "welcome": pack(WireFrame(FrameType.WELCOME, 0x5678, 0, 0, 0, WELCOME.pack(), flags=Flag.DOWN)),
    "adpcm": AdpcmEncoder().encode([0, 100, 300, -200, 5]),
    "serial": enclose(pack(AUDIO)),
}


def on_the_page() -> list[bytes]:
    return [bytes.fromhex(block) for block in re.findall(r"```\n([0-9a-f\s]+)```", PAGE)]


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_are_right(name: str) -> None:
    assert EXAMPLES[name] in on_the_page(), EXAMPLES[name].hex()


def test_there_are_no_others() -> None:
    assert len(on_the_page()) == len(EXAMPLES)


@pytest.mark.parametrize("kind", FrameType)
def test_every_type_is_on_the_page(kind: FrameType) -> None:
    assert re.search(rf"\| [\d, ]*\b{int(kind)}\b[\d, ]* \| [A-Z_, \d]*\b{kind.name}\b", PAGE)


@pytest.mark.parametrize("bit", Capability)
def test_every_capability_is_on_the_page(bit: Capability) -> None:
    assert f"{int(bit)} {bit.name}" in PAGE


def test_the_codes_of_events() -> None:
    assert [int(code) for code in EventCode] == [1, 2, 3, 4, 5]
