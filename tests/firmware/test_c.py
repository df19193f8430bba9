"""C and Python agree on the shared vectors and on whatever hypothesis thinks of."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from desk import ROOT, Tool, make
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_alm.bridge import adpcm
from edge_alm.bridge.fragments import Joiner
from edge_alm.bridge.frame import (
    ProtocolError,
    WireFrame,
    cobs_decode,
    cobs_encode,
    pack,
    unpack,
)
from edge_alm.bridge.numbers import FrameType, Status
from edge_alm.hearing.gate import BLOCK_SAMPLES, SoundGate
from firmware_bridge.generate import generated
from firmware_bridge.vectors import vectors

VECTORS = ROOT / "firmware_bridge" / "vectors"
DATA = ROOT / "tests" / "data"
QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def cases(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((VECTORS / f"{name}.json").read_text("utf-8"))
    return found


@pytest.fixture(scope="module")
def tool(
    tmp_path_factory: pytest.TempPathFactory, require: Callable[[object, str], None]
) -> Iterator[Tool]:
    require(bool(shutil.which("make") and shutil.which("cc")), "a C compiler: scripts/system-deps")
    folder = tmp_path_factory.mktemp("firmware")
    make("tool", folder)
    running = Tool(folder / "ealm_tool")
    yield running
    running.close()


def as_hex(data: bytes) -> str:
    return data.hex() or "-"


@pytest.mark.parametrize("made", [generated, vectors], ids=["headers", "vectors"])
def test_what_is_generated_does_not_change(made: Callable[[], dict[Path, str]]) -> None:
    for path, text in made().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: generate it again"


def test_frames(tool: Tool) -> None:
    for case in cases("frames"):
        data = bytes.fromhex(case["bytes"])
        answer = tool("unpack", as_hex(data))
        if "status" in case:
            assert answer == ["error", str(int(Status[case["status"]]))]
            with pytest.raises(ProtocolError, match=case["status"]):
                unpack(data)
            continue
        kind = int(FrameType[case["type"]])
        names = ("flags", "stream", "session", "sequence", "due", "position")
        fields = [str(kind), *(str(case[name]) for name in names), case["payload"] or "-"]
        assert answer == fields
        assert tool.bytes_of("pack", *fields) == data
        frame = unpack(data)
        assert frame.payload.hex() == case["payload"]
        assert pack(frame) == data


def test_cobs(tool: Tool) -> None:
    for case in cases("cobs"):
        plain, encoded = bytes.fromhex(case["plain"]), bytes.fromhex(case["encoded"])
        assert tool.bytes_of("cobs", as_hex(plain)) == encoded == cobs_encode(plain)
        assert tool.bytes_of("uncobs", as_hex(encoded)) == plain == cobs_decode(encoded)


def test_adpcm(tool: Tool) -> None:
    for case in cases("adpcm"):
        samples = np.array(case["samples"], "<i2")
        block = bytes.fromhex(case["block"])
        answer = tool("adpcm", *case["before"], samples.tobytes().hex())
        assert answer == [case["block"], *map(str, case["after"])]
        decoded = adpcm.decode(block)
        assert tool.bytes_of("unadpcm", block.hex()) == decoded.astype("<i2").tobytes()
        assert len(decoded) == len(samples)


@pytest.mark.parametrize("case", cases("gate"), ids=lambda case: case["recording"])
def test_the_gate_decides_alike(tool: Tool, case: dict[str, Any]) -> None:
    samples, _ = soundfile.read(DATA / case["recording"], dtype="int16", always_2d=True)
    tool("gate")
    for i, (expected, level_db) in enumerate(zip(case["open"], case["levels_db"], strict=True)):
        block = samples[i * BLOCK_SAMPLES : (i + 1) * BLOCK_SAMPLES, 0]
        opened, found_db = tool("gate", block.astype("<i2").tobytes().hex())
        assert opened == expected, f"block {i}"
        assert float(found_db) == pytest.approx(level_db, abs=0.02)


@QUICK
@given(
    levels_db=st.lists(st.floats(-90, 0), min_size=1, max_size=12),
    tone_hz=st.floats(70, 7_900),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_gate_measures_alike(
    tool: Tool, levels_db: list[float], tone_hz: float, seed: int
) -> None:
    """Levels agree to 0.01 dB, so a decision differs only where a margin is met that closely."""
    rng = np.random.default_rng(seed)
    gate = SoundGate()
    tool("gate")
    for level_db in levels_db:
        made = rng.standard_normal(BLOCK_SAMPLES)
        made += 3 * np.sin(2 * np.pi * tone_hz / 16_000 * np.arange(BLOCK_SAMPLES))
        block = np.clip(made / 3 * 32768 * 10 ** (level_db / 20), -32768, 32767).astype("<i2")
        gate.push(block.astype(np.float32) / np.float32(32768))
        _, found_db = tool("gate", block.tobytes().hex())
        assert float(found_db) == pytest.approx(gate.level_db, abs=0.01)


@QUICK
@given(data=st.binary(max_size=200))
def test_parsers_refuse_the_same(tool: Tool, data: bytes) -> None:
    for name, parse in (("unpack", unpack), ("uncobs", cobs_decode), ("unadpcm", adpcm.decode)):
        try:
            parse(data)
            expected = None
        except ProtocolError as error:
            expected = ["error", str(int(error.status))]
        answer = tool(name, as_hex(data))
        assert (answer == expected) if expected else (answer[0] != "error")


@QUICK
@given(
    samples=st.lists(st.integers(-32768, 32767), min_size=1, max_size=400),
    predictor=st.integers(-32768, 32767),
    index=st.integers(0, 88),
)
def test_adpcm_of_anything(tool: Tool, samples: list[int], predictor: int, index: int) -> None:
    encoder = adpcm.AdpcmEncoder()
    encoder._predictor, encoder._index = predictor, index
    block = encoder.encode(samples)
    raw = np.array(samples, "<i2").tobytes()
    assert tool("adpcm", predictor, index, raw.hex())[0] == block.hex()
    decoded = tool.bytes_of("unadpcm", block.hex())
    assert decoded == adpcm.decode(block).astype("<i2").tobytes()


@QUICK
@given(
    frames=st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=3),
    value_bytes=st.integers(2, 60),
    cut=st.sets(st.integers(0, 100), max_size=4),
    noise=st.binary(max_size=20),
)
def test_fragments_are_alike(
    tool: Tool, frames: list[bytes], value_bytes: int, cut: set[int], noise: bytes
) -> None:
    """C's fragments make frames here, and what is left of them the same frames there."""
    joiner, check = Joiner(), Joiner()
    fragments = []
    for frame in frames:
        *made, end = tool("split", value_bytes, frame.hex())
        assert end == "-"
        fragments += [bytes.fromhex(one) for one in made]
        assert max(len(one) for one in fragments) <= value_bytes
        assert [check.push(bytes.fromhex(one)) for one in made][-1] == frame
    assert check.bad == 0
    tool("join")
    for value in [*(f for n, f in enumerate(fragments) if n not in cut), noise or b"\x80"]:
        bad, frame_here = joiner.bad, joiner.push(value)
        answer = tool("join", value.hex())
        if frame_here is not None:
            assert answer == [frame_here.hex()]
        else:
            assert (answer[0] == "error") == (joiner.bad > bad)


def test_boards_compile_against_stubs(
    tmp_path: Path, require: Callable[[object, str], None]
) -> None:
    require(bool(shutil.which("make") and shutil.which("cc")), "a C compiler: scripts/system-deps")
    make("stubs", tmp_path)


def test_the_footprint(tmp_path: Path, require: Callable[[object, str], None]) -> None:
    require(bool(shutil.which("arm-none-eabi-gcc")), "gcc-arm-none-eabi: scripts/system-deps")
    printed = make("footprint", tmp_path)
    words = printed.split("footprint on Cortex-M4: ")[1].split()
    flash, ram = int(words[1]), int(words[7])
    assert 0 < flash <= 8192
    assert 0 < ram <= 4096


def test_a_good_frame_of_another_session_moves_nothing(tool: Tool) -> None:
    frame = WireFrame(FrameType.GAIN, 0x5678, 0, 0, 0, b"\x01", flags=1)
    assert tool("device", pack(frame).hex()) == ["-"]
    other = WireFrame(FrameType.GAIN, 0x5679, 0, 0, 0, b"\x01", flags=1)
    assert tool("device", pack(other).hex()) == ["error", str(int(Status.NOT_READY))]
