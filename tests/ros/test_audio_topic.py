"""Audio over a topic: every chunk is heard, or told of, whatever its publisher does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import soxr
from ros_world import GLASS, PATIENCE_S, Probe, chunks_of, reasoner, recording, silence

from edge_alm.audio.memory import MemoryAudio
from edge_alm.runtime import load
from edge_alm.types import Sound

STARTED = 1_700_000_000.0
LATE = (
    "audio chunks come twice, overlap or are out of order; what came late is left out; "
    "let one node publish on the topic"
)


@pytest.fixture
def listener(probe: Probe, namespace: str) -> Iterator[Probe]:
    """A reasoner that listens to the probe's audio."""
    with reasoner(
        namespace,
        autostart=True,
        models__language_model="none",
        models__transcribe=False,
        input__source="ros:audio",
        diagnostics__period_s=0.2,
    ):
        probe.await_listening()
        probe.await_listener()
        yield probe


def scene() -> np.ndarray:
    return np.concatenate([recording("doorbell"), silence(2), recording("glass"), silence(3)])


def settled(probe: Probe, samples: int) -> dict[str, str]:
    """Diagnostics once the whole stream has been heard or lost."""

    def is_through() -> bool:
        last = probe.diagnostics[-1] if probe.diagnostics else {}
        return float(last.get("position_s", 0)) >= samples / 16_000 - 0.03

    probe.until(is_through, f"{samples} samples")
    return probe.diagnostics[-1]


def test_a_topic_is_heard_like_the_recording_itself(listener: Probe) -> None:
    samples = (np.round(scene() * 32767).astype(np.float32)) / np.float32(32768)
    with load(llm=False, transcribe=False) as ears:
        heard = [e for e in ears.listen(MemoryAudio(samples)) if isinstance(e, Sound)]
    listener.play(chunks_of(scene(), started=STARTED))
    values = settled(listener, len(samples))
    assert values["lost_samples"] == "0"
    # The last sounds end with the stream, which goes on here.
    starts = [(e.label, e.start) for e in heard if e.state == "start"]
    listener.until(lambda: len(listener.labels()) >= len(starts), "all sounds")
    told = [e for e in listener.events if e.type == "sound" and e.state == "start"]
    for (label, start), event in zip(starts, told, strict=True):
        assert event.label == label
        onset = event.onset.sec + event.onset.nanosec * 1e-9
        assert onset == pytest.approx(STARTED + start, abs=1e-3)


def test_another_rate_is_resampled(listener: Probe) -> None:
    high = soxr.resample(scene(), 16_000, 48_000)
    listener.play(chunks_of(high, started=STARTED, rate_hz=48_000))
    values = settled(listener, len(scene()))
    assert values["lost_samples"] == "0"
    listener.until(listener.hears_glass, "the glass")


def test_what_is_wrong_is_told_and_counted(listener: Probe) -> None:
    samples = scene()
    chunks = chunks_of(samples, started=STARTED)
    gap = chunks[50:60]
    del chunks[50:60]
    chunks[10].encoding = "mp3"
    chunks[20].sample_rate = 7
    chunks[30].data = chunks[30].data[:-1]
    floats = np.frombuffer(chunks[40].data, "<i2").astype("<f4") / 32768
    floats[3] = np.nan
    chunks[40].encoding, chunks[40].data = "f32le", floats.tobytes()
    chunks.insert(45, chunks[44])
    listener.play(chunks)
    values = settled(listener, len(samples))
    assert len(gap) == 10
    assert values["lost_samples"] == str((10 + 3) * 320)
    lost = [(e.lost_samples, e.text) for e in listener.events if e.type == "lost"]
    assert sorted(lost) == [(320, "chunks missing")] * 3 + [(3200, "chunks missing")]
    faults = sorted({(e.label, e.text.split(":")[0]) for e in listener.events if e.type == "fault"})
    assert faults == [
        ("bad-chunk", "audio chunk, data"),
        ("bad-chunk", "audio chunk, encoding"),
        ("bad-chunk", "audio chunk, sample rate"),
        ("bad-samples", "audio chunks"),
        ("late-chunk", LATE),
    ]
    listener.until(listener.hears_glass, "the glass, all the same")


def test_a_publisher_that_begins_anew(listener: Probe) -> None:
    doorbell = recording("doorbell")
    whole = len(doorbell) // 320 * 320
    listener.play(chunks_of(doorbell[:whole], started=STARTED))
    again = STARTED + whole / 16_000 + 5.0
    listener.play(chunks_of(np.concatenate([recording("glass"), silence(3)]), started=again))
    listener.until(listener.hears_glass, "the glass")
    assert [(e.lost_samples, e.text) for e in listener.events if e.type == "lost"] == [
        (5 * 16_000, "sender began anew")
    ]
    glass = next(e for e in listener.events if e.label in GLASS and e.state == "start")
    assert again - 0.5 < glass.onset.sec + glass.onset.nanosec * 1e-9 < again + 1.5


def test_the_command_listens_to_a_topic(probe: Probe, namespace: str) -> None:
    command = [sys.executable, "-m", "edge_alm", "listen", f"ros:{namespace}/audio"]
    lines: list[str] = []
    process = subprocess.Popen(
        [*command, "--json", "--no-speech", "--no-llm"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        out, err = process.stdout, process.stderr
        assert out is not None
        assert err is not None
        reader = threading.Thread(target=_collect, args=(out, lines))
        reader.start()
        probe.await_listener()
        probe.play(chunks_of(scene(), started=STARTED))
        # Of the two rings and the glass; each line is there as soon as it is known.
        probe.until(lambda: "".join(lines).count("start") >= 3, "three sounds")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 130
        reader.join(PATIENCE_S)
        assert err.read() == ""
    finally:
        process.kill()
        process.communicate()
    events: list[dict[str, Any]] = [json.loads(line) for line in lines]
    glass = next(e for e in events if e.get("label") in GLASS and e["state"] == "start")
    assert glass["at_unix"] == pytest.approx(STARTED + glass["start"], abs=2e-3)


def _collect(pipe: Iterable[str], lines: list[str]) -> None:
    for line in pipe:
        lines.append(line)


def test_the_command_refuses_what_is_no_topic() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edge_alm", "listen", "ros:/a b"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("edge-alm: ros:/a b: expected the name of a topic")
    assert done.stderr.count("\n") == 1
