"""Files that somebody else wrote, changed at random, are read whole or refused; nothing else.

    python tests/soak/hostile.py KIND FIRST COUNT FOLDER STATE

Run by ``test_hostile.py`` in a process of its own, since what is looked for kills it. The number
of the file under way stands in STATE, from which the one who started it tells which one it was;
``make_case`` makes the same bytes of a number again.
"""

from __future__ import annotations

import contextlib
import io
import json
import mmap
import os
import resource
import shutil
import signal
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edge_alm.audio.file import AudioFile
from edge_alm.errors import LONGEST_PART_CHARS, EdgeAlmError
from edge_alm.log import EventLog, heard_since, read_log
from edge_alm.models.adapter_file import check_adapter
from edge_alm.models.bundle import load_bundle
from edge_alm.models.ctranslate2_folder import check_ctranslate2
from edge_alm.models.gguf_file import check_gguf
from edge_alm.models.manifest import (
    MANIFEST,
    Graph,
    Manifest,
    Tensor,
    read_manifest,
    write_manifest,
)
from edge_alm.models.mmproj_file import check_mmproj
from edge_alm.models.onnx_file import check_onnx
from edge_alm.models.projector_file import check_projector
from edge_alm.questions import read_questions
from edge_alm.types import SAMPLE_RATE_HZ, Frame, Sound, Speech

TIME_LIMIT_S = 5
"""Of the processor's time, which other work on the machine takes none of."""
LONGEST_LINE_CHARS = 4 * LONGEST_PART_CHARS + 50
MEMORY_LIMIT_BYTES = 256 << 20
"""What reading one file of a few kB may allocate beyond what was there before."""
LONGEST_READ_SAMPLES = 64 * SAMPLE_RATE_HZ
"""A header may announce hours of silence, and is believed: so much of it is read."""
BUNDLE = Path(__file__).resolve().parents[2] / "edge_alm" / "bundles" / "tiny"
INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63, 2**64 - 1)


def mutate(rng: np.random.Generator, seed: bytes) -> bytes:
    """A few changes: bits, bytes, numbers of 2 to 8 bytes, cuts, repeats, runs of another byte.

    Half of them lie in the first 128 bytes, where formats keep what they promise.
    """
    data = bytearray(seed)
    for _ in range(1 + int(rng.geometric(0.5))):
        if not data:
            break
        last = min(len(data), 128) if rng.random() < 0.5 else len(data)
        at = int(rng.integers(last))
        kind = rng.integers(7)
        if kind == 0:
            data[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            data[at] = int(rng.integers(256))
        elif kind in (2, 3):
            size = int(rng.choice((2, 4, 8)))
            value = INTERESTING[rng.integers(len(INTERESTING))] + int(rng.integers(-2, 3))
            order = "little" if rng.random() < 0.8 else "big"
            data[at : at + size] = (value % 256**size).to_bytes(size, order)
        elif kind == 4:
            del data[at : at + int(rng.integers(1, 64)) if rng.random() < 0.7 else None]
        elif kind == 5:
            end = at + int(rng.integers(1, 64))
            data[at:at] = data[at:end]
        else:
            end = min(len(data), at + int(rng.integers(1, 32)))
            data[at:end] = bytes([int(rng.integers(256))]) * (end - at)
    return bytes(data)


def make_audio(suffix: str) -> list[bytes]:
    """Two short recordings in a form, with one and two channels."""
    import soundfile

    rng = np.random.default_rng(1)
    made = []
    for channels, rate_hz in ((1, 16_000), (2, 44_100)):
        out = io.BytesIO()
        noise = rng.uniform(-0.5, 0.5, (rate_hz // 8, channels))
        soundfile.write(out, noise, rate_hz, format=suffix.upper())
        made.append(out.getvalue())
    return made


def gguf_value(value: object) -> bytes:
    """A string, a number or a list of strings, as GGUF writes them with their type."""
    if isinstance(value, str):
        raw = value.encode()
        return struct.pack("<IQ", 8, len(raw)) + raw
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    assert isinstance(value, list)
    items = b"".join(gguf_value(item)[4:] for item in value)
    return struct.pack("<IIQ", 9, 8, len(value)) + items


def make_gguf(arch: str) -> bytes:
    """A file of one tensor with what a language model, an adapter or a projector says of itself."""
    keys: dict[str, object] = {
        "general.architecture": arch,
        "general.type": "adapter" if arch == "lora" else "model",
        "adapter.type": "lora",
        "adapter.lora.alpha": 16.0,
        "general.alignment": 32,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": ["a", "b"],
        "llama.block_count": 1,
        "llama.embedding_length": 32,
        "clip.has_audio_encoder": 1,
        "clip.audio.projection_dim": 32,
    }
    head = struct.pack("<4sIQQ", b"GGUF", 3, 1, len(keys))
    for key, value in keys.items():
        head += struct.pack("<Q", len(key)) + key.encode() + gguf_value(value)
    name = b"blk.0.attn_q.weight.lora_a"
    head += struct.pack("<Q", len(name)) + name + struct.pack("<IQQIQ", 2, 32, 4, 0, 0)
    return head + bytes(-len(head) % 32) + bytes(32 * 4 * 4)


def make_onnx() -> bytes:
    """A graph of one node, by hand: protobuf's fields and lengths."""

    def field(number: int, raw: bytes | int) -> bytes:
        if isinstance(raw, int):
            return bytes([number << 3, raw])
        return bytes([number << 3 | 2, len(raw)]) + raw

    def value(name: bytes) -> bytes:
        shape = field(1, field(1, 2)) + field(1, field(2, b"n"))
        return field(1, name) + field(2, field(1, field(1, 1) + field(2, shape)))

    weight = field(1, 2) + field(2, 1) + field(8, b"w") + field(9, bytes(8))
    node = field(1, b"x") + field(1, b"w") + field(2, b"y") + field(4, b"Add")
    graph = field(1, node) + field(2, b"g") + field(5, weight)
    graph += field(11, value(b"x")) + field(12, value(b"y"))
    return field(1, 8) + field(7, graph) + field(8, field(2, 17))


def make_npz() -> bytes:
    """A projector's arrays, small."""
    out = io.BytesIO()
    arrays: dict[str, Any] = {
        "ln_weight": np.ones(8, np.float16),
        "ln_bias": np.ones(8, np.float16),
        "w1": np.ones((4, 8), np.float16),
        "b1": np.ones(4, np.float16),
        "w2": np.ones((6, 4), np.float16),
        "b2": np.ones(6, np.float16),
    }
    np.savez(out, **arrays)
    return out.getvalue()


def make_ctranslate2() -> bytes:
    """Version, kind of model, revision and one variable."""
    kind, name = b"WhisperSpec\0", b"encoder/conv1/weight\0"
    variable = (
        struct.pack("<H", len(name)) + name + struct.pack("<BIIBI", 2, 2, 2, 0, 16) + bytes(16)
    )
    return (
        struct.pack("<IH", 6, len(kind)) + kind + struct.pack("<II", 3, 1) + variable
        + struct.pack("<I", 0)
    )  # fmt: skip


def make_questions() -> list[bytes]:
    """Ours, and MMAU's."""
    both = {"id": "1", "question": "What?", "choices": ["a", "b"], "answer": "a"}
    ours = {**both, "audio": "a.wav", "skill": "which"}
    mmau = {**both, "audio_id": "a.wav", "task": "sound", "difficulty": "easy"}
    return [json.dumps(ours).encode() + b"\n", json.dumps([mmau]).encode()]


def make_manifest() -> bytes:
    """As :func:`write_manifest` writes it."""
    tensor = Tensor("float32", (1, "n"))
    graph = Graph("a.onnx", 17, {"x": tensor}, {"y": tensor})
    manifest = Manifest("encoder", "a", "ast", ("a",), "unknown", graphs={"audio": graph})
    with tempfile.TemporaryDirectory() as name:
        write_graph(Path(name))
        write_manifest(Path(name), manifest)
        return (Path(name) / MANIFEST).read_bytes()


def make_log() -> bytes:
    """A few pages of events."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "log"
        with EventLog(path, words=True) as log:
            for i in range(60):
                log.write(Sound("Bark", float(i), i + 0.5, 0.9, "end"))
                log.write(Speech("hello", float(i), i + 1.0, 0.9))
        return path.read_bytes()


def read_and_write_log(path: Path) -> None:
    for beside in path.parent.glob(f"{path.name}-*"):  # what the last one left
        beside.unlink()
    with contextlib.suppress(EdgeAlmError):
        heard_since(path, 0.0)
    with contextlib.suppress(EdgeAlmError):
        list(read_log(path))
    with EventLog(path) as log:
        log.write(Sound("Bark", 1.0, 1.5, 0.9, "end"))


def read_audio(path: Path) -> None:
    heard = 0
    file = AudioFile(path)
    try:
        for packet in file.packets():
            heard += len(packet.samples) if isinstance(packet, Frame) else 0
            if heard > LONGEST_READ_SAMPLES:
                break
    finally:
        file.close()


def read_gguf(path: Path) -> None:
    info = check_gguf(path)
    with contextlib.suppress(EdgeAlmError):
        check_adapter(path, info, info)
    with contextlib.suppress(EdgeAlmError):
        check_mmproj(path, info, 32)


def in_folder(
    name: str, read: Callable[[Path], object], beside: Callable[[Path], None]
) -> Callable[[Path], None]:
    """What reads a folder in which the file has a name of its own, and others ``beside`` it."""

    def run(path: Path) -> None:
        folder = path.with_suffix("")
        if not folder.exists():
            folder.mkdir()
            beside(folder)
        (folder / name).write_bytes(path.read_bytes())
        read(folder)

    return run


def copy_bundle(folder: Path) -> None:
    for file in BUNDLE.iterdir():
        shutil.copy(file, folder)


def write_config(folder: Path) -> None:
    (folder / "config.json").write_text("{}")


def write_graph(folder: Path) -> None:
    (folder / "a.onnx").write_bytes(b"graph")


def read_bundle(folder: Path) -> None:
    load_bundle(folder, language_model=False, transcriber=False)


KINDS: dict[str, tuple[str, Callable[[], list[bytes]], Callable[[Path], object]]] = {
    "wav": (".wav", lambda: make_audio("wav"), read_audio),
    "flac": (".flac", lambda: make_audio("flac"), read_audio),
    "ogg": (".ogg", lambda: make_audio("ogg"), read_audio),
    "mp3": (".mp3", lambda: make_audio("mp3"), read_audio),
    "gguf": (
        ".gguf",
        lambda: [make_gguf("llama"), make_gguf("lora"), make_gguf("clip")],
        read_gguf,
    ),
    "onnx": (".onnx", lambda: [make_onnx()], check_onnx),
    "projector": (".npz", lambda: [make_npz()], check_projector),
    "bundle": (
        ".json",
        lambda: [(BUNDLE / "bundle.json").read_bytes()],
        in_folder("bundle.json", read_bundle, copy_bundle),
    ),
    "manifest": (
        ".json",
        lambda: [make_manifest()],
        in_folder(MANIFEST, read_manifest, write_graph),
    ),
    "ctranslate2": (
        ".bin",
        lambda: [make_ctranslate2()],
        in_folder("model.bin", check_ctranslate2, write_config),
    ),
    "questions": (".jsonl", lambda: make_questions()[:1], read_questions),
    "mmau": (".json", lambda: make_questions()[1:], read_questions),
    "log": (".db", lambda: [make_log()], read_and_write_log),
}
"""Suffix, whole files to begin with, and what reads one."""


def make_case(kind: str, number: int, seeds: list[bytes] | None = None) -> bytes:
    """The bytes of a file of a kind; ``seeds``: its whole files, where they are made already."""
    seeds = seeds or KINDS[kind][1]()
    rng = np.random.default_rng((sorted(KINDS).index(kind), number))
    return mutate(rng, seeds[number % len(seeds)])


def main() -> None:
    kind, first, count, folder, state = sys.argv[1:]
    suffix, make, read = KINDS[kind]
    seeds = make()
    path = Path(folder) / f"case{suffix}"
    with Path(state).open("r+b") as file, mmap.mmap(file.fileno(), 8) as under_way:
        for seed in seeds:  # whole ones, so that all is imported before memory is bounded
            path.write_bytes(seed)
            try:
                read(path)
            except EdgeAlmError as error:
                print(f"{kind}: refused unchanged: {error}", file=sys.stderr)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_LIMIT_BYTES,) * 2)
        read_whole = 0
        for number in range(int(first), int(first) + int(count)):
            under_way[:8] = number.to_bytes(8, "little")
            path.write_bytes(make_case(kind, number, seeds))
            signal.setitimer(signal.ITIMER_PROF, TIME_LIMIT_S)  # SIGPROF ends the process
            try:
                read(path)
                read_whole += 1
            except EdgeAlmError as error:
                if not str(error).isprintable() or len(str(error)) > LONGEST_LINE_CHARS:
                    raise RuntimeError(f"not one clear line: {str(error)!r}") from error
            signal.setitimer(signal.ITIMER_PROF, 0)
    print(read_whole)
    sys.stdout.flush()
    os._exit(0)  # memory is bounded: an interpreter that ends may want more


if __name__ == "__main__":
    main()
