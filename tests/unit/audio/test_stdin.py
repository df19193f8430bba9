import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge_alm.audio.stdin import Stdin
from edge_alm.errors import SourceError
from edge_alm.types import Fault, Frame, Samples

# What a child hears on its standard input: totals, faults, or the error.
LISTEN = """
import sys
import numpy as np
from edge_alm.audio.source import open_source
from edge_alm.types import Frame
position, total = 0, 0
try:
    for packet in open_source("-").packets():
        if isinstance(packet, Frame):
            assert packet.start == position
            position = packet.end
            total += int((packet.samples * 32768).astype(np.int64).sum())
        else:
            print(packet.code)
    print(position, total)
except Exception as error:
    print(type(error).__name__, error)
"""


def listen(data: bytes) -> list[str]:
    run = subprocess.run(
        [sys.executable, "-c", LISTEN], input=data, stdout=subprocess.PIPE, check=True
    )
    return run.stdout.decode().splitlines()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):  # a test has closed it
            os.close(end)


def hear(source: Stdin) -> tuple[Samples, list[str]]:
    parts, faults, position = [np.zeros(0, np.float32)], [], 0
    for packet in source.packets():
        if isinstance(packet, Frame):
            assert packet.start == position
            position = packet.end
            parts.append(packet.samples)
        elif isinstance(packet, Fault):
            faults.append(packet.code)
    return np.concatenate(parts), faults


def test_a_real_pipe() -> None:
    samples = np.random.default_rng(0).integers(-32768, 32768, 200_000).astype("<i2")
    assert listen(samples.tobytes()) == [f"200000 {int(samples.astype(np.int64).sum())}"]


def test_a_byte_too_many_is_reported() -> None:
    assert listen(b"\1\0\2\0\3") == ["odd-byte", "2 3"]


@pytest.mark.parametrize("data", [b"\1", b"\1\0", b"\1\0\2"])
def test_the_shortest_inputs(data: bytes) -> None:
    assert listen(data)[-1].split()[0] == str(len(data) // 2)


def test_no_input_is_an_error() -> None:
    (line,) = listen(b"")
    assert line.startswith("SourceError stdin: expected 16 kHz mono s16le")
    assert "got the end of the input at once" in line


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "aiff"])
def test_an_audio_file_is_recognised(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a.{extension}"
    soundfile.write(path, np.zeros(1_000), 16_000)
    (line,) = listen(path.read_bytes())
    assert line.startswith("SourceError stdin: expected 16 kHz mono s16le")
    assert "got what looks like a" in line
    assert "give the file's name instead of '-'" in line


def test_a_file_as_standard_input(tmp_path: Path) -> None:
    path = tmp_path / "samples.raw"
    path.write_bytes(b"\1\0" * 100_000)
    with path.open("rb") as file:
        run = subprocess.run(
            [sys.executable, "-c", LISTEN], stdin=file, stdout=subprocess.PIPE, check=True
        )
    assert run.stdout.split() == [b"100000", b"100000"]


def test_a_closed_standard_input() -> None:
    run = subprocess.run(
        ["sh", "-c", 'exec "$0" -c "$1" <&-', sys.executable, LISTEN],
        stdout=subprocess.PIPE,
        check=True,
    )
    assert run.stdout.startswith(b"SourceError stdin: expected")


def test_a_terminal_is_refused() -> None:
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    try:
        run = subprocess.run(
            [sys.executable, "-c", LISTEN], stdin=theirs, stdout=subprocess.PIPE, check=True
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert b"got a terminal; pipe samples in" in run.stdout


def test_samples_however_the_writer_cuts_them(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    samples = np.random.default_rng(1).integers(-32768, 32768, 3_000).astype("<i2")
    data = samples.tobytes()

    def write() -> None:
        at = 0
        for size in [1, 1, 1, 2, 3, 5, 7, 1_001] * 40:
            os.write(writer, data[at : at + size])
            at += size
        os.write(writer, data[at:])
        os.close(writer)

    thread = threading.Thread(target=write)
    thread.start()
    heard, faults = hear(Stdin(fd=reader))
    thread.join()
    np.testing.assert_array_equal(heard, samples.astype(np.float32) / 32768)
    assert faults == []


def test_a_header_that_comes_byte_by_byte_is_recognised(pipe: tuple[int, int]) -> None:
    reader, writer = pipe

    def write() -> None:
        for byte in b"RIFF":
            os.write(writer, bytes([byte]))
            time.sleep(0.02)
        os.close(writer)

    thread = threading.Thread(target=write)
    thread.start()
    with pytest.raises(SourceError, match="looks like a WAV file"):
        hear(Stdin(fd=reader))
    thread.join()


def test_close_interrupts_a_silent_pipe(pipe: tuple[int, int]) -> None:
    source = Stdin(fd=pipe[0])
    timer = threading.Timer(0.1, source.close)
    timer.start()
    start_s = time.monotonic()
    assert list(source.packets()) == []
    assert time.monotonic() - start_s < 1
    timer.join()


def test_realtime_paces(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.write(writer, bytes(16_000))  # 0.5 s
    os.close(writer)
    start_s = time.monotonic()
    heard, _ = hear(Stdin(fd=reader, realtime=True))
    assert len(heard) == 8_000
    assert 0.45 < time.monotonic() - start_s < 1.5
