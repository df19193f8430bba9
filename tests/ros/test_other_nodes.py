"""watch_for and the example, on events of a real reasoner."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from ros_world import (
    EXAMPLES,
    EXECUTABLES,
    LATCHED,
    Probe,
    Process,
    arguments,
    chunks_of,
    reasoner,
    recording,
    running,
    silence,
)
from ros_world import GLASS as GLASS_LABELS
from std_msgs.msg import Bool, Float64
from std_srvs.srv import Trigger

GLASS = np.concatenate([recording("glass"), silence(2)])


@pytest.fixture
def listener(probe: Probe, namespace: str, require: Any) -> Iterator[Probe]:
    """A reasoner that listens to the probe's audio, speech too."""
    require("ctranslate2", "the extra asr")
    with reasoner(
        namespace, autostart=True, models__language_model="none", input__source="ros:audio"
    ):
        probe.await_listening()
        probe.await_listener()
        yield probe


def play_again_until(
    probe: Probe, samples: np.ndarray, condition: Callable[[], object], what: str
) -> None:
    """Play and play again: when two other nodes have found each other cannot be seen from here."""
    first, started = 0, time.time()

    def holds() -> bool:
        nonlocal first
        probe.play(chunks_of(samples, started=started, first=first))
        first += len(samples)
        return bool(condition())

    probe.until(holds, what)


def test_a_phrase_on_a_topic(listener: Probe, namespace: str) -> None:
    told: list[bool] = []
    listener.hear(Bool, "alarm", lambda m: told.append(m.data), LATCHED)
    parameters: dict[str, object] = {
        "phrase": "glass breaking",
        "topic": "alarm",
        "hold_off_s": 1.0,
    }
    with running([EXECUTABLES / "watch_for", *arguments(namespace, parameters)]):
        listener.until(lambda: told == [False], "the first word")
        play_again_until(listener, GLASS, lambda: True in told, "the alarm")
        listener.until(lambda: told[-1] is False, "its end")
    assert told[0] is False
    assert told[-1] is False


def test_a_phrase_calls_a_service(listener: Probe, namespace: str) -> None:
    calls: list[float] = []

    def on_call(_request: Any, response: Any) -> Any:
        calls.append(time.monotonic())
        response.success = True
        return response

    parameters: dict[str, object] = {"phrase": "glass", "service": "stop", "hold_off_s": 600.0}
    with running([EXECUTABLES / "watch_for", *arguments(namespace, parameters)]) as watcher:
        play_again_until(
            listener, GLASS, lambda: "nobody serves it" in watcher.log, "glass that calls nobody"
        )
        listener.node.create_service(Trigger, "stop", on_call)
        heard_before = 0

        def called_and_heard_again() -> bool:
            nonlocal heard_before
            heard = sum(label in GLASS_LABELS for label in listener.labels())
            if not calls:
                heard_before = heard
            # What one play is called: at most this many names. Then it was heard in another.
            return bool(calls) and heard > heard_before + len(GLASS_LABELS)

        play_again_until(listener, GLASS, called_and_heard_again, "a call, and glass after it")
    assert len(calls) == 1


def test_a_watcher_without_a_phrase_says_so(namespace: str) -> None:
    process = Process([str(EXECUTABLES / "watch_for"), *arguments(namespace, {})])
    assert "phrase: expected some words" in process.fail()


@pytest.mark.parametrize(
    ("name", "words"),
    [("glass", "[stop, glass breaking]"), ("speech_hold", "[hold, glass breaking]")],
)
def test_the_robot_stops(listener: Probe, namespace: str, name: str, words: str) -> None:
    speeds: list[float] = []
    listener.hear(Float64, "speed", lambda m: speeds.append(m.data), 100)
    script = EXAMPLES / "stop_robot.py"
    with running([sys.executable, script, *arguments(namespace, {"words": words})]):
        listener.until(lambda: len(speeds) > 5, "a moving robot")
        assert set(speeds) == {0.5}
        # No recording here says "stop": another word stands for it.
        samples = np.concatenate([silence(1), recording(name), silence(3)])
        play_again_until(listener, samples, lambda: speeds[-1] == 0.0, "a standing robot")
        listener.spin(0.5)
        assert speeds[-3:] == [0.0] * 3


def test_the_example_is_short() -> None:
    text = (EXAMPLES / "stop_robot.py").read_text(encoding="utf-8")
    code = text.split('"""', 2)[2].strip().splitlines()
    assert len(code) <= 45
