"""A million damaged frames: no crash, no hang, no growth, nothing taken with a wrong CRC or tag."""

from __future__ import annotations

import random
import resource
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from desk import MBEDTLS, ROOT, Tool, has_mbedtls, make

from edge_alm.bridge.frame import Deframer, ProtocolError, enclose, pack, unpack
from edge_alm.bridge.seal import DeviceSeal, HostSeal
from edge_alm.bridge.session import HostSession

pytest.importorskip("cryptography")
from firmware_bridge.fuzz_host import datagrams, down_frames, up_frames

PYTHON_S, C_S = 5.0, 5.0
FUZZERS_S = 15


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
    seeds = [pack(frame) for frame in up_frames()]
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
    rng = random.Random(0)
    key = bytes(32)
    host, device = HostSeal({9: key}), DeviceSeal(9, key)
    address = ("127.0.0.1", 9)
    frame = pack(up_frames()[1])
    greeting = device.greeting()
    _, reply = host.receive(greeting, address, 0.0)
    assert reply is not None
    assert host.receive(greeting, address, 0.0) == (None, reply)
    assert host.receive(greeting[:-1] + bytes([greeting[-1] ^ 1]), address, 0.0) == (None, None)
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
    require(has_mbedtls(), MBEDTLS)
    make("tool", tmp_path)
    tool = Tool(tmp_path / "ealm_tool")
    packed = [pack(frame) for frame in (*up_frames(), *down_frames())]
    seeds = [*packed, *datagrams(down_frames(), 4)]
    count, seed = 0, 1
    passed = [0] * len(seeds)
    end_s = time.monotonic() + C_S
    while time.monotonic() < end_s:
        for i, data in enumerate(seeds):
            passed[i] += int(tool("fuzz", seed, 1000, data.hex())[0])
            count += 1000
            seed += 1
    tool.close()
    assert count >= 40_000
    assert all(passed)
    assert sum(passed) < count
    print(f"{count} frames and datagrams")


@pytest.mark.parametrize("side", ["c", "python"])
def test_fuzzers_find_nothing(
    side: str, tmp_path: Path, require: Callable[[object, str], None]
) -> None:
    """As ``make fuzz`` does for longer: they follow what their input reaches."""
    if side == "c":
        require(shutil.which("clang") and has_mbedtls(), "clang and Mbed TLS: scripts/system-deps")
    else:
        require("atheris", "the extra dev, on x86-64 Linux")
    words = ["--only", side, "--seconds", str(FUZZERS_S), "--folder", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "firmware_bridge.fuzz", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=FUZZERS_S + 60,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[1]) > 1000
