"""The lifecycle node: transitions, events, parameters, questions, death and return."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rcl_interfaces.srv import DescribeParameters, ListParameters
from ros_world import (
    ACTIVATE,
    ACTIVE,
    CLEANUP,
    CONFIGURE,
    DATA,
    DEACTIVATE,
    EXECUTABLES,
    INACTIVE,
    UNCONFIGURED,
    Probe,
    Process,
    arguments,
    chunks_of,
    reasoner,
    recording,
    silence,
    stamp,
)

from edge_alm.models.bundle import load_bundle
from edge_alm.runtime import load
from edge_alm.types import Sound, Speech

HOME = DATA / "home.flac"


def seconds(time: Any) -> float:
    return float(time.sec + time.nanosec * 1e-9)


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def test_the_node_tells_what_the_runtime_hears(probe: Probe, namespace: str) -> None:
    with load(llm=False) as ears:
        heard = list(ears.listen(HOME, watch=["glass breaking"]))
    with reasoner(
        namespace,
        input__source=HOME,
        input__realtime=False,
        models__language_model="none",
        output__frame_id="ear",
        watch__phrases='["glass breaking"]',
    ) as node:
        assert probe.state() == UNCONFIGURED
        assert probe.change(CONFIGURE)
        assert (probe.state(), node.process.poll()) == (INACTIVE, None)
        assert probe.events == []
        began_unix = time.time()
        assert probe.change(ACTIVATE)
        probe.until(lambda: probe.listening[-2:] == [True, False], "the end of the file")
        assert probe.state() == ACTIVE
        probe.until(lambda: len(probe.events) >= len(heard), "all events")
    assert [e.type for e in probe.events] == [e.type for e in heard]
    bundle = load_bundle("default", language_model=False)
    for message, event in zip(probe.events, heard, strict=True):
        assert message.header.frame_id == "ear"
        assert message.stream_id == "home.flac"
        assert (message.bundle_id, message.bundle_hash) == (bundle.name, bundle.sha256)
        assert message.header.stamp == message.onset
        if isinstance(event, Sound):
            assert (message.label, message.state) == (event.label, event.state)
            assert message.audioset_id.startswith("/")
            assert message.confidence == pytest.approx(event.confidence)
            ended = event.end is not None
            assert ended == (message.offset.sec > 0)
        if isinstance(event, Sound | Speech):
            origin_unix = seconds(message.onset) - event.start
            assert began_unix - 5 < origin_unix < time.time()
    assert probe.speech == [e.text for e in heard if isinstance(e, Speech)]
    assert any("hold" in text for text in probe.speech)
    assert [(e.text, e.label) for e in probe.events if e.type == "watch"]


def test_redacted_no_word_is_on_any_topic(probe: Probe, namespace: str) -> None:
    with reasoner(
        namespace,
        input__source=HOME,
        input__realtime=False,
        models__language_model="none",
        output__redact_speech=True,
    ):
        probe.start()
        probe.until(lambda: probe.listening[-2:] == [True, False], "the end of the file")
        probe.until(lambda: any(e.type == "speech" for e in probe.events), "speech")
    assert {e.text for e in probe.events if e.type == "speech"} == {""}
    assert probe.speech == []


def test_a_late_subscriber_knows_the_state_and_hears_what_follows(
    probe: Probe, namespace: str
) -> None:
    started = time.time()
    with reasoner(
        namespace,
        autostart=True,
        models__language_model="none",
        models__transcribe=False,
        input__source=f"ros:{namespace}/audio",
    ):
        probe.await_listening()
        probe.await_listener()
        doorbell = np.concatenate([recording("doorbell"), silence(2)])
        doorbell = doorbell[: len(doorbell) // 320 * 320]
        probe.play(chunks_of(doorbell, started=started))
        probe.until(lambda: "Ding-dong" in probe.labels(), "the doorbell")
        with Probe(namespace) as late:
            late.await_listening()
            assert late.listening == [True]
            glass = np.concatenate([recording("glass"), silence(3)])
            probe.play(chunks_of(glass, started=started, first=len(doorbell)))
            late.until(late.hears_glass, "the glass")
            assert "Ding-dong" not in late.labels()


def test_a_failed_configure_is_a_failure_that_can_be_mended(probe: Probe, namespace: str) -> None:
    with reasoner(
        namespace, models__bundle="nonsense", models__language_model="none", input__source=HOME
    ) as node:
        assert not probe.change(CONFIGURE)
        assert probe.state() == UNCONFIGURED
        node.wait_for_log("cannot configure: bundle")
        assert probe.set("models.bundle", "default") == ""
        assert probe.change(CONFIGURE)
        assert probe.set("input.source", "/nowhere.wav") == ""
        assert not probe.change(ACTIVATE)
        assert probe.state() == INACTIVE
        node.wait_for_log("/nowhere.wav: expected audio")
        assert probe.set("input.source", "udp:5005") == ""
        assert not probe.change(ACTIVATE)
        node.wait_for_log("cannot activate: source udp:5005")
        assert probe.set("input.source", str(HOME)) == ""
        assert probe.change(ACTIVATE)


def test_cycles_leave_no_thread_and_no_file(probe: Probe, namespace: str) -> None:
    with reasoner(
        namespace, models__language_model="none", input__source=f"ros:{namespace}/audio"
    ) as node:
        pid = node.process.pid
        counts = []
        for _ in range(4):
            for transition in (CONFIGURE, ACTIVATE, DEACTIVATE, CLEANUP):
                assert probe.change(transition)
            probe.spin(0.5)
            counts.append((threads(pid), open_files(pid)))
        assert probe.state() == UNCONFIGURED
        # The first cycle starts what stays: onnxruntime's and DDS's own.
        assert counts[-1][0] <= counts[1][0], counts
        assert counts[-1][1] <= counts[1][1], counts
        assert probe.listening[-1] is False


def test_parameters_at_start(namespace: str) -> None:
    for name, value, word in (
        ("input.backend", "alsa", "expected auto or sounddevice or pyaudio"),
        ("models.language_model", "yes-please", "expected 'bundle', 'none' or http"),
        ("diagnostics.period_s", "0.0001", "diagnostics.period_s"),
        ("models.transcribe", "7", "models.transcribe"),
    ):
        command = [str(EXECUTABLES / "audio_reasoner"), *arguments(namespace, {name: value})]
        assert word in Process(command).fail()


def test_parameters_at_run_time(probe: Probe, namespace: str) -> None:
    with reasoner(
        namespace,
        models__language_model="none",
        models__transcribe=False,
        input__source=f"ros:{namespace}/audio",
    ):
        names = probe.call(
            ListParameters, "audio_reasoner/list_parameters", ListParameters.Request()
        ).result.names
        ours = [n for n in names if n.partition(".")[0] in ("models", "input", "watch", "output")]
        assert len(ours) > 8
        described = probe.call(
            DescribeParameters,
            "audio_reasoner/describe_parameters",
            DescribeParameters.Request(names=ours),
        ).descriptors
        assert all(descriptor.description for descriptor in described)
        assert "expected some text" in probe.set("input.source", " ")
        assert probe.set("input.queue_s", 1000.0)
        assert "AudioChunk or AudioStamped" in probe.set("input.message", "Foo")
        probe.start()
        assert "deactivate it first" in probe.set("input.source", "mic")
        assert "clean it up first" in probe.set("models.bundle", "tiny")
        assert probe.set("output.frame_id", "left_ear") == ""
        probe.await_listener()
        probe.play(chunks_of(recording("glass"), started=time.time()))
        probe.play(chunks_of(silence(2), started=time.time(), first=40 * 16_000))
        probe.until(lambda: probe.labels(), "a sound")
        assert {event.header.frame_id for event in probe.events} == {"left_ear"}
        assert probe.change(DEACTIVATE)
        assert probe.set("input.source", "mic") == ""


def test_a_killed_reasoner_comes_back(probe: Probe, namespace: str) -> None:
    settings: dict[str, object] = {
        "autostart": True,
        "models__language_model": "none",
        "models__transcribe": False,
        "input__source": f"ros:{namespace}/audio",
    }
    glass = recording("glass")
    with reasoner(namespace, **settings) as node:
        probe.await_listening()
        probe.await_listener()
        probe.play(chunks_of(glass, started=time.time()))
        probe.play(chunks_of(silence(2), started=time.time(), first=40 * 16_000))
        probe.until(probe.hears_glass, "the glass")
        node.kill()
        assert node.process.returncode == -signal.SIGKILL
    probe.events.clear()
    probe.listening.clear()
    with reasoner(namespace, **settings):
        probe.await_listening()
        # The dead one is still known for a while, so that nothing tells when the new one has been
        # found: play on. It hears a stream that is under way: the first number it meets is no gap.
        sound, first = np.concatenate([glass, silence(2)]), 123_456
        sound = sound[: len(sound) // 320 * 320]

        def hears_glass_in_time() -> bool:
            nonlocal first
            probe.play(chunks_of(sound, started=time.time(), first=first))
            first += len(sound)
            return probe.hears_glass()

        probe.until(hears_glass_in_time, "the glass again")
        assert probe.told("lost")[:1] in ([], [("lost", "", "")])


def test_two_reasoners_in_two_namespaces(probe: Probe, namespace: str) -> None:
    other = f"{namespace}/other"
    settings: dict[str, object] = {
        "autostart": True,
        "models__language_model": "none",
        "models__transcribe": False,
        "input__source": "ros:audio",  # relative: each its own
    }
    with Probe(other) as second, reasoner(namespace, **settings), reasoner(other, **settings):
        for one in (probe, second):
            one.await_listening()
            one.await_listener()
        now = time.time()
        probe.play(chunks_of(recording("glass"), started=now))
        second.play(chunks_of(recording("doorbell"), started=now))
        for one in (probe, second):
            one.play(chunks_of(silence(2), started=now, first=40 * 16_000))
        probe.until(probe.hears_glass, "the glass")
        second.until(lambda: "Ding-dong" in second.labels(), "the doorbell")
        assert "Ding-dong" not in probe.labels()
        assert not second.hears_glass()


def test_questions(probe: Probe, namespace: str, require: Any) -> None:
    require("llama_cpp", "the extra llm")
    started = time.time()
    with reasoner(namespace, models__transcribe=False, input__source="ros:audio"):
        refused = probe.ask("What broke?")
        assert not refused.success
        assert "ros2 lifecycle set" in refused.message
        probe.start()
        probe.await_listener()
        probe.play(chunks_of(recording("doorbell"), started=started))
        probe.play(chunks_of(silence(4), started=started, first=6 * 16_000))
        probe.play(chunks_of(recording("glass"), started=started, first=20 * 16_000))
        probe.play(chunks_of(silence(3), started=started, first=22 * 16_000))
        probe.until(probe.hears_glass, "the glass")
        probe.until(
            lambda: sum(e.state == "end" for e in probe.events) >= len(probe.labels()), "the ends"
        )
        choices = ["glass", "a doorbell"]
        answer = probe.ask("What broke?", choices=choices)
        assert (answer.success, answer.choice) == (True, "glass")
        assert answer.answer == "glass"
        assert 0 < answer.ttft_ms <= answer.total_ms
        # What is asked about decides: all of it, the last seconds, or since a moment.
        asked, either = "Was a bell ringing heard?", ["yes", "no"]
        recent = probe.ask(asked, choices=either, last_s=8.0)
        since = probe.ask(asked, choices=either, since=stamp(started + 18))
        whole = probe.ask(asked, choices=either)
        assert (whole.choice, recent.choice, since.choice) == ("yes", "no", "no")
        assert not probe.ask("").success
        assert "0 or more seconds" in probe.ask("What?", last_s=-1.0).message
        probe.until(lambda: probe.diagnostics, "diagnostics")
        assert {"real_time_factor", "lost_samples", "input_queue_s", "scene_queue"} <= set(
            probe.diagnostics[-1]
        )
