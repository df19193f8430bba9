"""``edge-alm bridge`` and ``edge-alm listen serial:``, as a user runs them."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from boards import PtyBoard
from command import DATA, Running, edge_alm, labels
from numpy.typing import NDArray

from edge_alm.audio.device import Replay
from edge_alm.bridge.numbers import FrameType
from edge_alm.types import Frame


@pytest.fixture
def sound() -> NDArray[np.int16]:
    samples, _ = soundfile.read(DATA / "doorbell.flac", dtype="int16", always_2d=True)
    return np.asarray(samples[: 8 * 16_000, 0], np.int16)


@pytest.fixture
def board(sound: NDArray[np.int16]) -> Iterator[PtyBoard]:
    made = PtyBoard(sound, codecs=(FrameType.PCM16,))
    yield made
    made.close()


@pytest.mark.usefixtures("models")
def test_a_device_is_heard_recorded_and_replayed(
    board: PtyBoard, sound: NDArray[np.int16], tmp_path: Path
) -> None:
    capture, wav = tmp_path / "x.ealm", tmp_path / "x.wav"
    done = edge_alm("bridge", "record", f"serial:{board.path}", capture)
    assert (done.status, done.out) == (0, "")
    assert done.err.endswith(f"frames in {capture}\n")
    frames = [p.samples for p in Replay(capture).packets() if isinstance(p, Frame)]
    assert np.array_equal(np.concatenate(frames), sound / np.float32(32_768))
    soundfile.write(wav, sound, 16_000, subtype="PCM_16")
    from_capture = edge_alm("bridge", "replay", capture, "--json", "--no-speech")
    from_file = edge_alm("listen", wav, "--json", "--no-speech")
    assert from_capture.status == 0
    assert from_capture.out == from_file.out != ""
    assert "expected a new file" in edge_alm("bridge", "record", "serial:/x", capture).mistake()


@pytest.mark.usefixtures("models")
def test_listen_ends_with_the_devices_last_word(board: PtyBoard) -> None:
    done = edge_alm("listen", f"serial:{board.path}", "--json", "--no-speech")
    assert (done.status, done.err) == (0, "")
    assert labels(done.events)
    assert {told.text for _, told in board.board.shown} >= set(labels(done.events))


def test_status_shows_what_comes(board: PtyBoard) -> None:
    board.is_paused.set()
    done = edge_alm("bridge", "status", f"serial:{board.path}", "--seconds", "3", "--json")
    assert done.status == 0
    (found,) = done.objects
    assert found["device"] == "board"
    assert found["rate_hz"] == 16_000
    assert found["lost_samples"] == 0
    assert found["round_trip_ms"] > 0
    board.is_paused.clear()
    plain = edge_alm("bridge", "status", f"serial:{board.path}", "--seconds", "2")
    assert any(line.split() == ["device", "board"] for line in plain.lines)


def test_a_line_on_which_nobody_speaks(tmp_path: Path) -> None:
    silent = PtyBoard(np.zeros(0, np.int16))
    silent.stop()
    done = edge_alm("bridge", "status", f"serial:{silent.path}", "--seconds", "0.5")
    assert done.status == 0
    assert "no device has said HELLO" in done.err
    silent.close()


def test_ctrl_c_ends_a_recording_that_can_be_read(board: PtyBoard, tmp_path: Path) -> None:
    board.is_paused.set()
    running = Running("bridge", "record", f"serial:{board.path}", tmp_path / "x.ealm")
    board.wait_until(lambda: board.board.is_welcome)
    done, took_s = running.stop(signal.SIGINT)
    assert done.status == 0
    assert took_s < 5
    assert "frames in" in done.err
    assert list(Replay(tmp_path / "x.ealm").packets()) == []


def test_pairing(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    home = str(tmp_path)
    made = edge_alm("bridge", "pair", "glasses", EDGE_ALM_HOME=home)
    assert made.status == 0
    device, key = (line.split()[-1] for line in made.lines)
    assert len(bytes.fromhex(key)) == 32
    listed = edge_alm("bridge", "devices", EDGE_ALM_HOME=home)
    assert listed.lines == [f"{device}  glasses"]
    assert key not in listed.out
    assert edge_alm("bridge", "forget", "glasses", EDGE_ALM_HOME=home).status == 0
    assert "none is paired" in edge_alm("bridge", "forget", "x", EDGE_ALM_HOME=home).mistake()
    unpaired = edge_alm("bridge", "status", "udp:5004", EDGE_ALM_HOME=home)
    assert "bridge pair NAME" in unpaired.mistake()


@pytest.mark.parametrize("words", [("status",), ("record", "serial:/x"), ("replay",), ("fly",)])
def test_mistakes_are_one_line(words: tuple[str, ...]) -> None:
    assert "see: edge-alm bridge" in edge_alm("bridge", *words).mistake()


def test_a_capture_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text(json.dumps({}))
    assert "expected a capture" in edge_alm("bridge", "replay", path, "--no-speech").mistake()
