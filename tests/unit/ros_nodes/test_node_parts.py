"""The parts of the nodes that know no ROS: parameters, phrases, sensors, the meter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_alm.audio.chunks import Chunk, ChunkStream
from edge_alm.audio.memory import MemoryAudio
from edge_alm.errors import UsageError
from edge_alm.types import Fault, Lost, Sound
from edge_alm_ros.meter import Meter
from edge_alm_ros.parameters import ACTIVE, BY_NAME, CONFIGURED, PARAMETERS, problem
from edge_alm_ros.phrases import HoldOff, PhraseSpotter
from edge_alm_ros.sensors import powers_w, temperatures_c


def test_defaults_are_no_problem_before_configuring() -> None:
    assert problem({p.name: p.default for p in PARAMETERS}) == ""
    assert len(BY_NAME) == len(PARAMETERS)
    assert all(p.description and p.description[0].islower() for p in PARAMETERS)
    assert problem({"qos_overrides./x": 3, "use_sim_time": True}, ACTIVE) == ""


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("input.source", "", "expected some text"),
        ("models.bundle", "  ", "expected some text"),
        ("input.backend", "alsa", "expected auto or sounddevice or pyaudio, got 'alsa'"),
        ("input.queue_s", 0.1, "expected 0.5 to 60, got 0.1"),
        ("input.queue_s", float("nan"), "expected 0.5 to 60"),
        ("models.language_model", "ftp://x", "expected 'bundle', 'none' or http"),
        ("models.language_model", "http://", "expected 'bundle', 'none' or http"),
    ],
)
def test_bad_values(name: str, value: str | float, word: str) -> None:
    assert word in problem({name: value})
    assert problem({name: value}).startswith(f"{name}: ")


def test_what_is_in_use_stays_as_it_is() -> None:
    assert problem({"models.bundle": "tiny"}) == ""
    assert "clean it up first" in problem({"models.bundle": "tiny"}, CONFIGURED)
    assert "clean it up first" in problem({"models.bundle": "tiny"}, ACTIVE)
    assert problem({"input.source": "mic"}, CONFIGURED) == ""
    assert "deactivate it first" in problem({"input.source": "mic"}, ACTIVE)
    assert problem({"output.frame_id": "ear"}, ACTIVE) == ""


@pytest.mark.parametrize(
    ("phrase", "event", "heard"),
    [
        ("stop", ("speech", "", "", "Stop!"), True),
        ("stop", ("speech", "", "", "Don't stop, please."), True),
        ("stop", ("speech", "", "", "The bus-stop"), True),
        ("stop", ("speech", "", "", "It never stopped."), False),
        ("stop now", ("speech", "", "", "Stop, now!"), True),
        ("stop now", ("speech", "", "", "now stop"), False),
        ("glass breaking", ("sound", "start", "Shatter", ""), True),
        ("glass breaking", ("sound", "start", "Breaking", ""), True),
        ("glass breaking", ("sound", "end", "Breaking", ""), False),
        ("dog", ("sound", "start", "Bark", ""), True),
        ("dog", ("sound", "start", "Cat", ""), False),
        ("blorbl", ("sound", "start", "Cat", ""), False),
        ("blorbl", ("speech", "", "", "blorbl"), True),
        ("dog", ("watch", "", "Bark", "dog"), True),
        ("dog", ("watch", "", "Meow", "cat"), False),
        ("dog", ("answer", "", "dog", "dog"), False),
    ],
)
def test_phrases(phrase: str, event: tuple[str, str, str, str], heard: bool) -> None:
    spotter = PhraseSpotter(phrase)
    assert spotter.is_heard(*event) is heard
    assert spotter.is_heard(*event) is heard


def test_no_phrase() -> None:
    with pytest.raises(UsageError, match="expected some words"):
        PhraseSpotter(" ?! ")


def test_hold_off() -> None:
    hold = HoldOff(2.0)
    assert [hold.passes(t) for t in (0.0, 1.9, 2.0, 3.0, 4.0)] == [True, False, True, False, True]


def test_sensors(tmp_path: Path) -> None:
    """Folders as the kernel lays them out."""
    for name, values in {
        "class/thermal/thermal_zone0": {"type": "cpu-thermal\n", "temp": "48500\n"},
        "class/thermal/thermal_zone1": {"type": "gpu-thermal\n", "temp": ""},
        "class/hwmon/hwmon2": {"name": "ina3221\n", "power1_input": "2500000\n"},
        "class/power_supply/BAT0": {"power_now": "7100000\n"},
    }.items():
        (tmp_path / name).mkdir(parents=True)
        for file, text in values.items():
            (tmp_path / name / file).write_text(text)
    assert temperatures_c(tmp_path) == {"cpu-thermal": 48.5}
    assert powers_w(tmp_path) == {"ina3221 power1": 2.5, "BAT0": 7.1}
    assert temperatures_c(tmp_path / "none") == powers_w(tmp_path / "none") == {}


def test_the_meter_counts() -> None:
    stream = ChunkStream("x")
    for first in (0, 320, 960):
        samples = np.zeros(320, "<f4")
        stream.put(Chunk(samples.tobytes(), "f32le", 16_000, 1, first, 100.0 + first / 16_000))
    stream.put(Chunk(b"", "?", 16_000, 1, 0, 0.0))
    meter = Meter(stream)
    assert meter.waiting_s == pytest.approx(0.06)
    packets = meter.packets()
    given = [next(packets) for _ in range(5)]
    kinds = [type(packet).__name__ for packet in given]
    meter.note(Sound("Bell", 0.0, None, 0.9, "start"))
    for packet in given:
        if isinstance(packet, Lost | Fault):
            meter.note(packet)
    assert kinds == ["Frame", "Frame", "Lost", "Frame", "Fault"]
    assert (meter.samples, meter.lost_samples, meter.faults) == (960, 320, 1)
    assert meter.position_s == 0.08
    assert meter.started_unix == 100.0
    meter.close()
    assert list(packets) == []
    assert Meter(MemoryAudio(np.zeros(10, np.float32))).waiting_s == 0.0
