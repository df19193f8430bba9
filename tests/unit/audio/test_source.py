import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge_alm.audio.backends import load_backend
from edge_alm.audio.capture import InputDevice, choose_input
from edge_alm.audio.file import AudioFile
from edge_alm.audio.source import open_link, open_source
from edge_alm.errors import DeviceError, MissingExtraError, UsageError

DEVICES = [
    InputDevice("test", index, name, 1, 48_000, default)
    for index, name, default in [
        (0, "HDA Intel: ALC257", False),
        (3, "USB Camera: Audio", False),
        (4, "pulse", True),
        (7, "USB Headset: Audio", False),
        (9, "pulse monitor", False),
    ]
]


def test_links_that_do_not_exist_are_told_from_those_that_do() -> None:
    with pytest.raises(UsageError) as caught:
        open_link("can:0")
    assert "serial:PATH, udp:PORT, udp:INTERFACE:PORT or ble:ADDRESS" in str(caught.value)
    assert "./can:0" in caught.value.hint


def test_without_ros_a_topic_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rclpy", None)  # what an import then finds: nothing
    with pytest.raises(MissingExtraError) as caught:
        open_source("ros:/audio")
    assert "ROS 2: expected rclpy and edge_alm_msgs to be importable" in str(caught.value)
    assert "setup.bash" in caught.value.hint
    assert "\n" not in str(caught.value)


def test_a_name_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mic", "udp:5", "-"):
        soundfile.write(tmp_path / name, np.zeros(100), 16_000, format="WAV")
        source = open_source(f"./{name}")
        assert isinstance(source, AudioFile)
        assert source.name == name
        source.close()


def test_an_unknown_backend() -> None:
    with pytest.raises(UsageError, match="expected auto, sounddevice or pyaudio, got 'alsa'"):
        open_source("mic", backend="alsa")


@pytest.mark.parametrize(
    ("backend", "extra"),
    [("sounddevice", "mic"), ("pyaudio", "pyaudio"), ("auto", "mic")],
)
def test_a_missing_extra(monkeypatch: pytest.MonkeyPatch, backend: str, extra: str) -> None:
    for package in ("sounddevice", "pyaudio"):
        monkeypatch.setitem(sys.modules, package, None)  # import then says: not found
    with pytest.raises(MissingExtraError) as caught:
        load_backend(backend)
    assert caught.value.hint == f"pip install 'edge-alm[{extra}]'"


@pytest.mark.parametrize(
    ("wanted", "index"),
    [(None, 4), ("3", 3), ("camera", 3), ("INTEL", 0), ("pulse", 4), ("PULSE M", 9)],
)
def test_which_device_a_name_means(wanted: str | None, index: int) -> None:
    assert choose_input(DEVICES, wanted).index == index


def test_without_a_default_it_is_the_first() -> None:
    assert choose_input(DEVICES[:2], None).index == 0


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("webcam", ["got no such name or index", "0 HDA Intel: ALC257; 3 USB Camera"]),
        ("5", ["got no such name or index"]),
        ("usb", ["expected only one of", "3 USB Camera: Audio; 7 USB Headset", "got 2 that fit"]),
    ],
)
def test_a_name_that_means_no_device(wanted: str, words: list[str]) -> None:
    with pytest.raises(DeviceError) as caught:
        choose_input(DEVICES, wanted)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("wanted", [None, "usb"])
def test_no_devices_at_all(wanted: str | None) -> None:
    with pytest.raises(DeviceError, match="got none on this machine; plug one in"):
        choose_input([], wanted)
