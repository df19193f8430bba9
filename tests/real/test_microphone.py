"""Microphones through a real sound server: PulseAudio, ALSA, PortAudio and both libraries."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import Require
from pulse import SoundServer, missing

BACKENDS = ("sounddevice", "pyaudio")

# Listens until its standard input ends; one JSON line a packet, the samples to a file.
LISTEN = """
import json, sys, threading, time
from edge_alm.audio import microphone
from edge_alm.audio.source import open_source
from edge_alm.errors import EdgeAlmError
from edge_alm.types import Frame, event_to_dict
spec, backend, path, options = sys.argv[1:]
options = json.loads(options)
microphone.RING_S = options.get("ring_s", microphone.RING_S)
try:
    source = open_source(spec, backend=backend)
    threading.Thread(target=lambda: (sys.stdin.read(), source.close()), daemon=True).start()
    with open(path, "wb") as out:
        for packet in source.packets():
            if isinstance(packet, Frame):
                out.write(packet.samples.tobytes())
                line = {"type": "frame", "start": packet.start, "end": packet.end}
            else:
                line = event_to_dict(packet)
            print(json.dumps({**line, "now": time.time()}), flush=True)
            time.sleep(options.get("sleep_s", 0))
    print(json.dumps({"type": "closed", "started_unix": source.started_unix, "name": source.name}))
except EdgeAlmError as error:
    print(json.dumps({"type": "error", "line": str(error), "code": error.code}))
"""

# Ends while another thread closes the microphone: closing waits for the callback, which is slow.
# The interpreter's end is slower yet, so that the thread goes on when libraries are unloaded.
CLOSE_AND_END = """
import sys, threading, time
from edge_alm.audio import microphone
from edge_alm.audio.source import open_source
class End:
    def __del__(self, sleep=time.sleep):
        sleep(1.5)
sys.end = End()
backend, callback_s = sys.argv[1], float(sys.argv[2])
take = microphone.Tap.__call__
microphone.Tap.__call__ = lambda *block: (take(*block), time.sleep(callback_s))
source = open_source("mic", backend=backend)
packets = source.packets()
next(packets)
threading.Thread(target=source.close, daemon=True).start()
time.sleep(0.1)
"""


class Listener:
    """A child that listens; its packets as dicts."""

    def __init__(self, server: SoundServer, spec: str, backend: str, path: Path, **options: float):
        self.path = path
        self.seen: list[dict[str, Any]] = []
        self._child = subprocess.Popen(
            [sys.executable, "-c", LISTEN, spec, backend, str(path), json.dumps(options)],
            env=server.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def until(self, kind: str) -> dict[str, Any]:
        """Read on to the next packet of a kind. The test's time limit ends a wait in vain."""
        assert self._child.stdout
        for line in self._child.stdout:
            packet: dict[str, Any] = json.loads(line)
            self.seen.append(packet)
            if packet["type"] == kind:
                return packet
            if packet["type"] == "error":
                raise AssertionError(packet["line"])
        raise AssertionError(f"ended before a packet {kind}")

    def close(self) -> dict[str, Any]:
        """End it and check the rule of the clock over all that it gave."""
        assert self._child.stdin
        self._child.stdin.close()
        last = self.until("closed")
        assert self._child.wait(10) == 0
        clock = 0
        for packet in self.seen:
            if packet["type"] == "frame":
                assert packet["start"] == clock
                clock = packet["end"]
            elif packet["type"] == "lost":
                assert packet["at"] == pytest.approx(clock / 16_000, abs=0.001)
                clock += packet["samples"]
        return last

    def samples(self) -> np.ndarray:
        return np.fromfile(self.path, np.float32)

    def kill(self) -> None:
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            assert pipe
            pipe.close()

    def clock_errors_s(self, started_unix: float) -> list[float]:
        """By how much the clock was behind the wall at every frame."""
        frames = [packet for packet in self.seen if packet["type"] == "frame"]
        return [f["now"] - started_unix - f["end"] / 16_000 for f in frames]


@pytest.fixture
def server(require: Require) -> Iterator[SoundServer]:
    lacks = missing()
    require(not lacks, f"no sound server to listen to: apt install {lacks}")
    with SoundServer() as sound_server:
        yield sound_server


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, require: Require) -> str:
    name: str = request.param
    require(name, f"the package {name} (extra {'mic' if name == 'sounddevice' else name})")
    return name


@pytest.fixture
def listeners() -> Iterator[list[Listener]]:
    running: list[Listener] = []
    yield running
    for listener in running:
        listener.kill()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 s of noise below 6 kHz whose loudness changes like speech: no two stretches alike."""
    random = np.random.default_rng(0)
    spectrum = np.fft.rfft(random.normal(size=4 * 44_100))
    spectrum[4 * 6_000 :] = 0
    noise = np.fft.irfft(spectrum)
    loudness = np.interp(np.arange(len(noise)), np.arange(41) * 4_410, random.uniform(0.05, 1, 41))
    path = tmp_path_factory.mktemp("room") / "recording.wav"
    sound = noise * loudness
    sound[: 44_100 // 2] = 0  # a null sink that starts to play swallows some milliseconds
    soundfile.write(path, 0.5 * sound / np.abs(sound).max(), 44_100)
    return path


def delay_of(wanted: np.ndarray, heard: np.ndarray) -> int:
    """Where in ``heard`` ``wanted`` lies, by the peak of their cross-correlation."""
    size = len(heard) + len(wanted)
    product = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(wanted, size))
    return int(np.argmax(np.fft.irfft(product, size)[: len(heard)]))


def test_what_is_played_is_heard(
    server: SoundServer, backend: str, recording: Path, listeners: list[Listener], tmp_path: Path
) -> None:
    import soxr

    listener = Listener(server, "mic:room", backend, tmp_path / "heard.f32")
    listeners.append(listener)
    listener.until("frame")
    assert server.play(recording).wait(30) == 0
    until_s = time.time() + 1
    while listener.until("frame")["now"] < until_s:
        pass
    last = listener.close()
    assert "room" in last["name"]
    assert {packet["type"] for packet in listener.seen} == {"frame", "closed"}

    # At 128 kHz, because the delay is no whole number of samples at 16 kHz.
    wanted = soxr.resample(soundfile.read(recording, dtype="float32")[0], 44_100, 128_000)
    heard = soxr.resample(listener.samples(), 16_000, 128_000)
    delay = delay_of(wanted, heard)
    # Every quarter of a second lies where the whole does: nothing lost, nothing put in.
    for at in range(64_000, len(wanted) - 32_000, 32_000):
        piece = wanted[at : at + 32_000]
        place = heard[delay + at : delay + at + 32_000]
        assert np.corrcoef(piece, place)[0, 1] > 0.98, f"at {at / 128_000} s"
        assert np.dot(piece, place) / np.dot(piece, piece) == pytest.approx(1, abs=0.03)
    assert np.abs(heard[delay + len(wanted) + 12_800 :]).max() < 1e-3
    errors_s = listener.clock_errors_s(last["started_unix"])
    assert max(np.abs(errors_s)) < 0.25


@pytest.mark.parametrize("end", ["unplugged", "crashed"])
def test_a_device_goes_and_comes_back(
    server: SoundServer,
    backend: str,
    end: str,
    recording: Path,
    listeners: list[Listener],
    tmp_path: Path,
) -> None:
    listener = Listener(server, "mic", backend, tmp_path / "heard.f32")
    listeners.append(listener)
    while listener.until("frame")["end"] < 16_000:
        pass
    if end == "unplugged":
        server.unplug()
    else:
        server.stop()
    gone_unix = time.time()
    fault = listener.until("fault")
    assert fault["code"] == "device-lost"
    assert fault["now"] - gone_unix < 2
    time.sleep(0.3)
    if end == "unplugged":
        server.plug_in()
    else:
        server.start()
    lost = listener.until("lost")
    assert lost["reason"] == "device-lost"
    server.play(recording)
    until_s = time.time() + 2
    while listener.until("frame")["now"] < until_s:
        pass
    last = listener.close()
    assert [p["type"] for p in listener.seen if p["type"] != "frame"] == ["fault", "lost", "closed"]
    # It hears again, and the clock still agrees with the wall.
    assert np.abs(listener.samples()[-8_000:]).max() > 0.05
    errors_s = listener.clock_errors_s(last["started_unix"])
    assert max(np.abs(errors_s[-20:])) < 0.3


def test_a_reader_that_is_too_slow_is_told_what_it_lost(
    server: SoundServer, backend: str, listeners: list[Listener], tmp_path: Path
) -> None:
    path = tmp_path / "heard.f32"
    listener = Listener(server, "mic", backend, path, ring_s=0.3, sleep_s=0.7)
    listeners.append(listener)
    for _ in range(3):
        lost = listener.until("lost")
        assert lost["reason"] == "reader too slow"
    last = listener.close()
    # Every frame came out at most a ring, two sleeps and a block after it was taken.
    errors_s = listener.clock_errors_s(last["started_unix"])
    assert min(errors_s) > -0.25
    assert max(errors_s) < 0.3 + 2 * 0.7 + 0.25


def test_close_does_not_wait_for_a_frozen_server(
    server: SoundServer, backend: str, listeners: list[Listener], tmp_path: Path
) -> None:
    listener = Listener(server, "mic", backend, tmp_path / "heard.f32")
    listeners.append(listener)
    listener.until("frame")
    server.freeze()
    listener.until("fault")
    time.sleep(0.8)  # the first attempt to open it again hangs by now
    start_s = time.monotonic()
    listener.close()
    assert time.monotonic() - start_s < 2


@pytest.mark.parametrize("callback_s", [0.2, 0.8])  # waited for, left alone
def test_a_process_may_end_while_its_microphone_closes(
    server: SoundServer, backend: str, callback_s: float
) -> None:
    subprocess.run(
        [sys.executable, "-c", CLOSE_AND_END, backend, str(callback_s)],
        env=server.env,
        check=True,
        timeout=20,
    )


def test_an_unknown_device_is_an_error_that_lists_the_known(
    server: SoundServer, backend: str, listeners: list[Listener], tmp_path: Path
) -> None:
    listener = Listener(server, "mic:no such thing", backend, tmp_path / "heard.f32")
    listeners.append(listener)
    with pytest.raises(AssertionError, match=r"no such thing.*one of the inputs .*room"):
        listener.until("frame")
    assert listener.seen[-1]["code"] == "device"


def devices(server: SoundServer, *words: str) -> subprocess.CompletedProcess[str]:
    code = """
import argparse, sys
from edge_alm.cli import devices
parser = argparse.ArgumentParser()
devices.add_parser(parser.add_subparsers())
args = parser.parse_args(["devices", *sys.argv[1:]])
sys.exit(args.run(args))
"""
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        env=server.env,
        capture_output=True,
        text=True,
        check=True,
    )


def test_devices_are_listed(server: SoundServer, backend: str) -> None:
    listed = json.loads(devices(server, "--json").stdout)
    (room,) = [d for d in listed["inputs"] if d["backend"] == backend and d["name"] == "room"]
    assert room["channels"] >= 1
    assert room["rate_hz"] >= 8_000
    assert sum(d["default"] for d in listed["inputs"] if d["backend"] == backend) == 1
    assert backend not in [entry["backend"] for entry in listed["unavailable"]]
    lines = devices(server).stdout.splitlines()
    assert any(line.startswith(backend) and " room " in line for line in lines)


def test_no_devices_is_said_with_the_mend(server: SoundServer, backend: str) -> None:
    server.stop()
    assert "no audio input found; plug a microphone in" in devices(server).stdout


def test_a_missing_portaudio_is_named(require: Require) -> None:
    require("sounddevice", "the package sounddevice (extra mic)")
    code = """
import ctypes.util, sys
ctypes.util.find_library = lambda name: None
sys.modules["pyaudio"] = None
from edge_alm.audio.source import open_source
try:
    open_source("mic")
except Exception as error:
    print(type(error).__name__, error)
"""
    if sys.platform != "linux":
        pytest.skip("the package brings PortAudio along")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("DeviceError sounddevice: expected PortAudio")
    assert "apt install libportaudio2" in run.stdout
