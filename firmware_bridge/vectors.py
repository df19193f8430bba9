"""Write the test vectors that every implementation of the protocol should agree with.

    python -m firmware_bridge.vectors

Bytes are in hexadecimal. ``frames``: fields and bytes, and bytes with the status that refuses
them. ``cobs``: plain and encoded. ``adpcm``: the state before a block, its samples, the block and
the state after it. ``seal``: conversations of a device and its host with their nonces; what a
device sends, what comes down to it, with the frame that it opens to or the status that refuses it.
``gate``: for recordings of tests/data (16 kHz), whether the gate is open after
each whole block of 96 ms, and its level in dBFS.
"""

from __future__ import annotations

import json
import random
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from edge_alm.bridge.adpcm import AdpcmEncoder
from edge_alm.bridge.frame import WireFrame, cobs_encode, pack
from edge_alm.bridge.messages import Again, Hello, Stats, Sync, SyncReply, Told, Welcome
from edge_alm.bridge.numbers import Capability, Flag, FrameType, Status, Wish
from edge_alm.bridge.seal import DeviceSeal, HostSeal
from edge_alm.hearing.gate import BLOCK_SAMPLES, SoundGate

FOLDER = Path(__file__).parent / "vectors"
RECORDINGS = Path(__file__).parent.parent / "tests" / "data"
GATED = ("home.flac", "glass.flac", "stream.flac", "speech_hold.flac", "toilet_flush.flac")


def frames() -> list[dict[str, Any]]:
    """Good frames of every type, and bad ones."""
    can = Capability.TWO_WAY | Capability.SOUND_GATE | Capability.FEELS_EVENTS
    hello = Hello(0x12345678, 3, 16_000, 320, can, "glasses").pack()
    welcome = Welcome(0x12345678, FrameType.ADPCM, Wish.GATED).pack()
    block = AdpcmEncoder().encode([0, 100, 300, -200, 5])
    reply = SyncReply(1_000_000, 25, 40).pack()
    top = 2**32 - 1

    def up(kind: FrameType, number: int, at: int, payload: bytes, flags: int = 0) -> WireFrame:
        return WireFrame(kind, 0x5678, number, at, at, payload, flags=flags)

    def down(kind: FrameType, number: int, payload: bytes) -> WireFrame:
        return WireFrame(kind, 0x5678, number, 0, 0, payload, flags=Flag.DOWN)

    good = [
        up(FrameType.HELLO, 0, 0, hello),
        down(FrameType.WELCOME, 0, welcome),
        up(FrameType.PCM16, 1, 0, bytes.fromhex("0000 0100 ffff 0080")),
        up(FrameType.ADPCM, 2, 4, block),
        up(FrameType.STATS, 3, 9, Stats(3, 0, 2, 0, -6, 80).pack()),
        down(FrameType.SYNC, 1, Sync(1_000_000).pack()),
        up(FrameType.SYNC_REPLY, 4, 9, reply),
        down(FrameType.GAIN, 2, b"\xfa"),
        up(FrameType.MUTE, 5, 9, b"\x01", Flag.MUTED),
        down(FrameType.CAPTION, 3, Told(9, 0, 230, "turn left").pack()),
        down(FrameType.EVENT, 4, Told(9, 1, 128, "Doorbell").pack()),
        down(FrameType.AGAIN, 5, Again.of([3, 5, 35]).pack()),
        WireFrame(FrameType.OPUS, 0x5678, top, top, 2**64 - 1, b"\xf8\xff\xfe", stream=3),
        WireFrame(FrameType.BYE, 0x5678, 6, 9, 1545, flags=Flag.MUTED),
    ]
    packed = pack(good[2])
    bad = [
        (b"", Status.TRUNCATED),
        (packed[:-1], Status.TRUNCATED),
        (packed + b"\0", Status.TOO_LONG),
        (packed[:6] + b"\x01\x04" + packed[8:], Status.TOO_LONG),
        (packed[:10] + b"\x80" + packed[11:], Status.BAD_CRC),
        (_with_byte(packed, 0, 2), Status.BAD_VERSION),
        (_with_byte(packed, 3, 15), Status.BAD_TYPE),
        (_with_byte(packed, 3, 27), Status.BAD_TYPE),
    ]
    return [
        *({**_fields(frame), "bytes": pack(frame).hex()} for frame in good),
        *({"bytes": data.hex(), "status": status.name} for data, status in bad),
    ]


def cobs() -> list[dict[str, Any]]:
    """Plain bytes and encoded ones."""
    run = bytes(range(1, 255))
    cases = [b"", b"\0", b"\0\0", b"a", b"a\0", b"\0a", run, run + b"\0", run + b"x", run * 2]
    return [{"plain": plain.hex(), "encoded": cobs_encode(plain).hex()} for plain in cases]


def adpcm() -> list[dict[str, Any]]:
    """Consecutive blocks of a recording, of a square wave that clips, and of odd lengths."""
    glass, _ = soundfile.read(RECORDINGS / "glass.flac", dtype="int16", always_2d=True)
    square = np.where(np.arange(640) // 20 % 2, 32767, -32768)
    noise = random.Random(0)
    odd = [noise.randrange(-3000, 3000) for _ in range(21)]
    parts = [(glass[3200:4800, 0].tolist(), 320), (square.tolist(), 320), (odd, 7)]
    cases = []
    for samples, size in parts:
        encoder = AdpcmEncoder()
        for at in range(0, len(samples), size):
            part = samples[at : at + size]
            before = (encoder._predictor, encoder._index)
            block = encoder.encode(part)
            after = (encoder._predictor, encoder._index)
            cases.append({"before": before, "samples": part, "block": block.hex(), "after": after})
    return cases


def seal() -> list[dict[str, Any]]:
    """Two devices' conversations, the second one's with counters at their ends."""
    frame = bytes.fromhex(frames()[2]["bytes"])
    return [_conversation(0xC0FFEE, b"", frame, 0), _conversation(1, frame, b"x" * 1052, 2**63)]


def _conversation(device: int, first: bytes, second: bytes, jump: int) -> dict[str, Any]:
    noise = random.Random(device)
    key, ours, theirs = (noise.randbytes(size) for size in (32, 12, 12))
    board = DeviceSeal(device, key, lambda _: ours)
    host = HostSeal({device: key}, lambda _: theirs)
    _, reply = host.receive(board.greeting(), ("127.0.0.1", 1), 0.0)
    if reply is None:
        raise ValueError("the greeting was refused")
    board.receive(reply)
    up = [{"frame": one.hex(), "datagram": _some(board.seal(one)).hex()} for one in (first, second)]
    host.receive(bytes.fromhex(up[0]["datagram"]), ("127.0.0.1", 1), 0.0)
    keys = host._active
    if keys is None:
        raise ValueError("the first datagram was refused")

    def sent(counter: int, one: bytes) -> bytes:
        keys.sent = counter
        return _some(host.seal(one))

    down: list[dict[str, str]] = []

    def came(data: bytes, opens_to: bytes | Status) -> None:
        frame = {"frame": opens_to.hex()} if isinstance(opens_to, bytes) else {}
        status = {"status": opens_to.name} if isinstance(opens_to, Status) else {}
        down.append({"datagram": data.hex(), **frame, **status})

    good = sent(jump, first)
    came(good[:-1] + bytes([good[-1] ^ 1]), Status.BAD_TAG)
    came(_flipped(good, 15), Status.BAD_TAG)
    came(good[:8] + good[9:], Status.BAD_TAG if first else Status.TRUNCATED)
    came(good, first)
    came(good, Status.REPLAYED)
    came(_flipped(good, 0), Status.BAD_TYPE)
    came(_flipped(good, 1), Status.BAD_TYPE)
    came(_flipped(good, 4), Status.UNKNOWN_DEVICE)
    came(good[:31], Status.TRUNCATED)
    came(good + bytes(1085 - len(good)), Status.TOO_LONG)
    came(reply, Status.REPLAYED)
    came(sent(jump + 100, second), second)
    came(sent(jump + 99, second), second)
    came(sent(jump + 99, second), Status.REPLAYED)
    came(sent(jump + 37, second), second)
    came(sent(jump + 36, second), Status.REPLAYED)
    came(sent(jump + 163, first), first)
    came(sent(jump + 101, first), first)
    came(sent(jump + 100, first), Status.REPLAYED)
    return {
        "device": device,
        "key": key.hex(),
        "greeting_nonce": ours.hex(),
        "greeting": board.greeting().hex(),
        "reply_nonce": theirs.hex(),
        "reply": reply.hex(),
        "up": up,
        "down": down,
    }


def _some(datagram: bytes | None) -> bytes:
    if datagram is None:
        raise ValueError("the seal is not open")
    return datagram


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x80]) + data[at + 1 :]


def gate() -> list[dict[str, Any]]:
    """Decisions of the sound gate."""
    cases = []
    for name in GATED:
        samples, _ = soundfile.read(RECORDINGS / name, dtype="int16", always_2d=True)
        whole = len(samples) // BLOCK_SAMPLES * BLOCK_SAMPLES
        listener, opened, levels_db = SoundGate(), "", []
        for block in samples[:whole, 0].reshape(-1, BLOCK_SAMPLES):
            opened += "01"[listener.push(block.astype(np.float32) / 32768)]
            levels_db.append(round(listener.level_db, 2))
        cases.append({"recording": name, "open": opened, "levels_db": levels_db})
    return cases


def vectors() -> dict[Path, str]:
    """Every file and its text."""
    return {
        FOLDER / f"{make.__name__}.json": _lines(make())
        for make in (frames, cobs, adpcm, seal, gate)
    }


def _lines(cases: list[dict[str, Any]]) -> str:
    """JSON with a case a line."""
    return "[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n"


def _fields(frame: WireFrame) -> dict[str, Any]:
    return {
        "type": frame.type.name,
        "flags": frame.flags,
        "stream": frame.stream,
        "session": frame.session,
        "sequence": frame.sequence,
        "due": frame.due,
        "position": frame.position,
        "payload": frame.payload.hex(),
    }


def _with_byte(packed: bytes, at: int, value: int) -> bytes:
    """The frame with one byte changed and a CRC that fits."""
    body = packed[:at] + bytes([value]) + packed[at + 1 : -4]
    return body + zlib.crc32(body).to_bytes(4, "little")


if __name__ == "__main__":
    for file, text in vectors().items():
        file.write_text(text, encoding="utf-8")
        print(file)
