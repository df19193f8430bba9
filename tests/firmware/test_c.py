"""C and Python agree on the shared vectors and on whatever hypothesis thinks of."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from desk import MBEDTLS, ROOT, Tool, has_mbedtls, make
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_alm.bridge import adpcm
from edge_alm.bridge.fragments import Joiner
from edge_alm.bridge.frame import (
    MAX_FRAME_BYTES,
    ProtocolError,
    WireFrame,
    cobs_decode,
    cobs_encode,
    pack,
    unpack,
)
from edge_alm.bridge.numbers import FrameType, Status
from edge_alm.bridge.seal import DeviceSeal, HostSeal
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
    require(has_mbedtls(), MBEDTLS)
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


@pytest.mark.parametrize("case", cases("seal"), ids=lambda case: f"device {case['device']:x}")
def test_seal(tool: Tool, case: dict[str, Any]) -> None:
    """C by Mbed TLS, and both sides in Python, from the same nonces to the same bytes."""
    names = ("key", "greeting_nonce", "greeting", "reply_nonce", "reply")
    key, ours, greeting, theirs, reply = (bytes.fromhex(case[name]) for name in names)
    device = DeviceSeal(case["device"], key, lambda _: ours)
    host = HostSeal({case["device"]: key}, lambda _: theirs)
    address = ("127.0.0.1", 1)
    assert tool("share", case["device"], case["key"]) == ["-"]
    assert tool("open", 0, case["reply"]) == ["error", str(int(Status.REPLAYED))]
    assert tool.bytes_of("greet", 5, case["greeting_nonce"]) == greeting == device.greeting()
    assert tool("greet", 1_000_004, bytes(12).hex()) == ["-"]
    assert tool.bytes_of("greet", 1_000_005, bytes(12).hex()) == greeting
    assert host.receive(greeting, address, 0.0) == (None, reply)
    assert tool("close", "00") == ["error", str(int(Status.NOT_READY))]
    assert tool("open", 6, as_hex(case_flipped(reply))) == ["error", str(int(Status.BAD_TAG))]
    assert tool("open", 7, case["reply"]) == ["-"]
    assert device.receive(reply) is None
    for row in case["up"]:
        frame, datagram = bytes.fromhex(row["frame"]), bytes.fromhex(row["datagram"])
        assert tool.bytes_of("close", as_hex(frame)) == datagram == device.seal(frame)
        assert host.receive(datagram, address, 0.0) == (frame, None)
    for row in case["down"]:
        taken = device.receive(bytes.fromhex(row["datagram"]))
        answer = tool("open", 8, row["datagram"])
        if "status" in row:
            assert taken is None
            assert answer == ["error", str(int(Status[row["status"]]))]
        else:
            assert taken == bytes.fromhex(row["frame"])
            assert answer == [row["frame"] or "-"]


def case_flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@QUICK
@given(
    moves=st.lists(st.integers(-70, 70), min_size=1, max_size=30),
    first=st.sampled_from([0, 1, 63, 64, 1000, 2**63]),
)
def test_counters_are_taken_alike(tool: Tool, moves: list[int], first: int) -> None:
    key, ours = bytes(32), bytes(12)
    device, host = DeviceSeal(9, key, lambda _: ours), HostSeal({9: key})
    tool("share", 9, key.hex())
    _, reply = host.receive(tool.bytes_of("greet", 0, ours.hex()), ("", 1), 0.0)
    assert reply is not None
    tool("open", 0, reply.hex())
    device.receive(reply)
    host.receive(tool.bytes_of("close", "-"), ("", 1), 0.0)
    keys, counter, taken = host._active, first, list[int]()
    assert keys is not None
    for move in moves:
        counter = max(0, counter + move)
        keys.sent = counter
        datagram = host.seal(b"frame")
        assert datagram is not None
        answer = tool("open", 0, datagram.hex())
        if device.receive(datagram) is None:
            assert answer == ["error", str(int(Status.REPLAYED))]
        else:
            assert answer == [b"frame".hex()]
            assert counter not in taken
            taken.append(counter)


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
    frames=st.lists(st.binary(min_size=1, max_size=MAX_FRAME_BYTES), min_size=1, max_size=3),
    value_bytes=st.integers(2, 244),
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
    found = re.findall(r"footprint(.*) on Cortex-M4: flash (\d+) bytes.*, RAM (\d+) bytes", printed)
    assert [what for what, _, _ in found] == ["", " with the seal"]
    for _, flash, ram in found:
        assert 0 < int(flash) <= 8192
        assert 0 < int(ram) <= 4096


def test_a_good_frame_of_another_session_moves_nothing(tool: Tool) -> None:
    frame = WireFrame(FrameType.GAIN, 0x5678, 0, 0, 0, b"\x01", flags=1)
    assert tool("device", pack(frame).hex()) == ["-"]
    other = WireFrame(FrameType.GAIN, 0x5679, 0, 0, 0, b"\x01", flags=1)
    assert tool("device", pack(other).hex()) == ["error", str(int(Status.NOT_READY))]
