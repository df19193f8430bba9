"""A million damaged frames: no crash, no hang, no growth, nothing taken with a wrong CRC or tag."""

from __future__ import annotations

import random
import resource
import shutil
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from desk import Tool, make

from edge_alm.bridge.frame import Deframer, ProtocolError, WireFrame, enclose, pack, unpack
from edge_alm.bridge.messages import Hello, Stats, Sync, SyncReply, Told, Welcome
from edge_alm.bridge.numbers import Capability, FrameType, Wish
from edge_alm.bridge.seal import DeviceSeal, HostSeal
from edge_alm.bridge.session import HostSession

CAN = Capability.TWO_WAY | Capability.SOUND_GATE | Capability.FEELS_EVENTS
SEEDS = [
    WireFrame(FrameType.HELLO, 7, 0, 0, 0, Hello(7, 3, 16_000, 320, CAN, "glasses").pack()),
    WireFrame(FrameType.PCM16, 7, 1, 0, 0, bytes(range(64))),
    WireFrame(FrameType.ADPCM, 7, 2, 32, 32, bytes(4) + bytes(range(60))),
    WireFrame(FrameType.STATS, 7, 3, 64, 64, Stats(1, 2, 3, 4, 5, 6).pack()),
    WireFrame(FrameType.SYNC_REPLY, 7, 4, 64, 64, SyncReply(1, 2, 3).pack()),
    WireFrame(FrameType.BYE, 7, 5, 64, 64),
]
DOWN = [
    (FrameType.WELCOME, Welcome(0x12345678, FrameType.ADPCM, Wish.GATED).pack()),
    (FrameType.SYNC, Sync(5).pack()),
    (FrameType.EVENT, Told(9, 1, 2, "Doorbell").pack()),
    (FrameType.GAIN, b"\x05"),
    (FrameType.CAPTION, Told(9, 0, 2, "turn left").pack()),
    (FrameType.BYE, b""),
]
PYTHON_S, C_S = 10.0, 10.0


def mutate(data: bytes, rng: random.Random) -> bytes:
    """A few edits; half of the time the CRC is made right again, so that more is reached."""
    edited = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(edited) + 1)
        choice = rng.randrange(4)
        if choice == 0 and at < len(edited):
            edited[at] ^= 1 << rng.randrange(8)
        elif choice == 1:
            del edited[at : at + rng.randrange(1, 8)]
        elif choice == 2:
            edited[at:at] = rng.randbytes(rng.randrange(1, 8))
        elif at < len(edited):
            edited[at] = rng.choice((0, 1, 127, 128, 255))
    if rng.random() < 0.5 and len(edited) > 4:
        edited[-4:] = zlib.crc32(bytes(edited[:-4])).to_bytes(4, "little")
    return bytes(edited)


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_the_host_takes_any_bytes() -> None:
    rng = random.Random(0)
    seeds = [pack(frame) for frame in SEEDS]
    host, deframer = HostSession(0.06), Deframer()
    count, now_s, end_s = 0, 0.0, time.monotonic() + PYTHON_S
    before = 0
    while time.monotonic() < end_s:
        for _ in range(1000):
            data = mutate(rng.choice(seeds), rng)
            try:
                unpack(data)
            except ProtocolError:
                pass
            else:
                assert zlib.crc32(data[:-4]) == int.from_bytes(data[-4:], "little")
            host.receive(data, now_s)
            for piece in deframer.push(enclose(data)[rng.randrange(4) :]):
                host.receive(piece, now_s)
            now_s += 0.01
            host.take_outbox()
        count += 1000
        if not before:
            before = peak_bytes()
    assert count >= 10_000
    assert peak_bytes() - before < 20_000_000
    print(f"{count} frames")


def test_nothing_is_taken_with_a_wrong_tag() -> None:
    pytest.importorskip("cryptography")
    rng = random.Random(0)
    key = bytes(32)
    host, device = HostSeal({9: key}), DeviceSeal(9, key)
    address = ("127.0.0.1", 9)
    frame = pack(SEEDS[1])
    _, reply = host.receive(device.greeting(), address, 0.0)
    assert reply is not None
    device.receive(reply)
    first = device.seal(frame)
    assert first is not None
    assert host.receive(first, address, 0.0) == (frame, None)
    for i in range(20_000):
        good = device.seal(frame)
        assert good is not None
        bad = mutate(good, rng)
        if bad != good:
            taken, _ = host.receive(bad, address, i / 100)
            assert taken is None
    last = device.seal(frame)
    assert last is not None
    assert host.receive(last, address, 1e6) == (frame, None)


def test_the_library_takes_any_bytes(
    tmp_path: Path, require: Callable[[object, str], None]
) -> None:
    """Under the sanitizers, on the heap in buffers of just their size."""
    require(bool(shutil.which("make") and shutil.which("cc")), "a C compiler: scripts/system-deps")
    make("tool", tmp_path)
    tool = Tool(tmp_path / "ealm_tool")
    down = [WireFrame(kind, 0x5678, 0, 0, 0, payload, flags=1) for kind, payload in DOWN]
    seeds = [pack(frame) for frame in (*SEEDS, *down)]
    count, passed, seed = 0, 0, 1
    end_s = time.monotonic() + C_S
    while time.monotonic() < end_s:
        for data in seeds:
            passed += int(tool("fuzz", seed, 5000, data.hex())[0])
            count += 5000
            seed += 1
    tool.close()
    assert count >= 100_000
    assert 0 < passed < count
    print(f"{count} frames")
