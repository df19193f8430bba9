"""The whole way: recording, emulated board, UART, bridge; and the events that the file gives."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from boards import assemble
from desk import ROOT
from numpy.typing import NDArray

from edge_alm.audio.device import Device
from edge_alm.audio.memory import MemoryAudio
from edge_alm.audio.source import open_link
from edge_alm.bridge.adpcm import AdpcmEncoder, decode
from edge_alm.bridge.numbers import Wish
from edge_alm.hearing.gate import BLOCK_SAMPLES, SoundGate
from edge_alm.runtime import load
from edge_alm.types import Event, Frame, Sound
from firmware_bridge.emulator import EmulatedBoard, build

HOME = ROOT / "tests" / "data" / "home.flac"


@pytest.fixture(scope="module")
def firmware(
    tmp_path_factory: pytest.TempPathFactory, require: Callable[[object, str], None]
) -> Path:
    for program in ("arm-none-eabi-gcc", "qemu-system-arm", "make"):
        require(shutil.which(program) is not None, f"{program}: scripts/system-deps")
    return build(tmp_path_factory.mktemp("firmware"))


@pytest.fixture(scope="module")
def home() -> NDArray[np.int16]:
    samples, _ = soundfile.read(HOME, dtype="int16", always_2d=True)
    return np.asarray(samples[: 12 * 16_000, 0], np.int16)


def timeless(events: list[Event]) -> set[Event]:
    return {replace(event, at_unix=None) for event in events}


def test_pcm16_is_heard_as_the_file_is(
    firmware: Path, home: NDArray[np.int16], models: Path
) -> None:
    with load(llm=False) as ears, EmulatedBoard(firmware, home, "pcm16") as board:
        heard = list(ears.listen(board.source))
        shown = board.wait()
        expected = list(ears.listen(MemoryAudio(home / np.float32(32_768))))
    assert timeless(heard) == timeless(expected)
    told = {event.label for event in expected if isinstance(event, Sound)}
    # What ended with the recording was told when the board had said BYE.
    assert {line[2:] for line in shown if line.startswith("1 ")} == told
    assert all(event.at_unix for event in heard)


def test_adpcm_comes_as_the_codec_gives_it(firmware: Path, home: NDArray[np.int16]) -> None:
    samples = home[: 4 * 16_000]
    encoder = AdpcmEncoder()
    blocks = [encoder.encode(samples[i : i + 320].tolist()) for i in range(0, len(samples), 320)]
    expected = np.concatenate([decode(block) for block in blocks]) / np.float32(32_768)
    with EmulatedBoard(firmware, samples) as board:
        device = Device(open_link(board.source))
        heard, lost = assemble(list(device.packets()))
        device.close()
    assert lost == 0
    assert np.array_equal(heard, expected)


def test_a_shut_gate_sends_nothing(firmware: Path, home: NDArray[np.int16]) -> None:
    """What is heard are the blocks for which the Python gate is open, and silence."""
    quiet = np.zeros(2 * BLOCK_SAMPLES, np.int16)
    samples = np.concatenate((quiet, home[: 3 * 16_000], np.tile(quiet, 10)))
    samples = samples[: len(samples) // BLOCK_SAMPLES * BLOCK_SAMPLES]
    gate = SoundGate()
    blocks = samples.reshape(-1, BLOCK_SAMPLES)
    is_open = [gate.push(block / np.float32(32_768)) for block in blocks]
    assert 0 < sum(is_open) < len(blocks)
    expected = np.where(np.array(is_open)[:, None], blocks, 0).ravel() / np.float32(32_768)
    with EmulatedBoard(firmware, samples, "pcm16", "gated") as board:
        device = Device(open_link(board.source), wishes=Wish.GATED)
        heard, lost = assemble(list(device.packets()))
        device.close()
    assert lost == 0
    assert np.array_equal(heard, expected)
    status = device.status()
    assert status["heard_samples"] == sum(is_open) * BLOCK_SAMPLES
    assert status["withheld_samples"] == len(samples) - status["heard_samples"]


def test_paced_it_sends_as_a_microphone_does(firmware: Path, home: NDArray[np.int16]) -> None:
    samples = home[: 4 * 16_000]
    with EmulatedBoard(firmware, samples, "paced") as board:
        device = Device(open_link(board.source))
        arrived = [time.monotonic() for packet in device.packets() if isinstance(packet, Frame)]
        device.close()
    assert len(arrived) == 200
    # 50.0 frames a second; a busy machine may stretch it.
    assert (arrived[-1] - arrived[0]) / 199 == pytest.approx(0.02, rel=0.25)
