"""From a sound server to events: what is played into a room is heard as from a file."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Require
from pulse import SoundServer, missing

from quantize.speech_files import word_errors

DATA = Path(__file__).resolve().parent.parent / "data"
BACKENDS = ("sounddevice", "pyaudio")
"""And the packages they want."""
CLEAR = ("Toilet flush", "Caw")
GLASS_S = 10.5


def listen(*words: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "edge_alm", "listen", "--json", "--no-llm", *words],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def summary(events: list[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    """Start and end of what is heard alike wherever the hops happen to fall.

    A sound goes by its label, an utterance by its place among the others.
    """
    sounds = {
        event["label"]: (event["start"], event["end"])
        for event in events
        if event["type"] == "sound" and event["state"] == "end" and event["label"] in CLEAR
    }
    said = [event for event in events if event["type"] == "speech"]
    return sounds | {
        f"utterance {at}": (event["start"], event["end"]) for at, event in enumerate(said)
    }


def words(events: list[dict[str, Any]]) -> list[str]:
    said = " ".join(event["text"] for event in events if event["type"] == "speech")
    return re.findall(r"[a-z']+", said.lower())


def test_a_microphone_hears_what_a_file_gives(require: Require, models: Path) -> None:
    """Through both backends at once, each in a process of its own."""
    lacking = missing()
    require(not lacking, f"system packages: {lacking}")
    for backend in BACKENDS:
        require(backend, f"the package {backend}")
    scene = DATA / "home.flac"
    of_file = listen(str(scene))
    filed = [json.loads(line) for line in of_file.communicate(timeout=120)[0].splitlines()]
    expected = summary(filed)
    assert len(expected) == 4, expected
    with SoundServer() as server:
        ears = [listen("mic:room", "--backend", name, env=server.env) for name in BACKENDS]
        time.sleep(8.0)  # a null sink needs 2 s to deliver its first block; loading the rest
        player = server.play(scene)
        assert player.wait(timeout=90) == 0
        time.sleep(3.0)
        for each in ears:
            each.send_signal(signal.SIGINT)
        printed = [each.communicate(timeout=90)[0] for each in ears]
    for text in printed:
        check([json.loads(line) for line in text.splitlines()], filed)


def check(events: list[dict[str, Any]], filed: list[dict[str, Any]]) -> None:
    """One backend's events against the file's."""
    expected = summary(filed)
    assert not [event for event in events if event["type"] in ("lost", "fault")]
    assert all("at_unix" in event for event in events)
    heard = summary(events)
    assert heard.keys() == expected.keys()
    # The smallest Whisper hears another word ("police" for "please") by how a segment is cut.
    assert word_errors(words(filed), words(events)) <= len(words(filed)) // 4
    # One delay for all: when playing began on the microphone's clock.
    delays_s = [heard[what][0] - expected[what][0] for what in expected]
    assert max(delays_s) - min(delays_s) < 0.5, delays_s
    delay_s = sum(delays_s) / len(delays_s)
    # The glass is called breaking, shatter, crack or chop, by where in a hop it breaks.
    starts_s = [event["start"] - delay_s for event in events if event["type"] == "sound"]
    assert any(start_s == pytest.approx(GLASS_S, abs=0.6) for start_s in starts_s), starts_s
    for what, (start, end) in expected.items():
        # What rings out, as the flush does, ends up to 1.3 s sooner or later.
        assert heard[what][1] - heard[what][0] == pytest.approx(end - start, abs=1.5), what
