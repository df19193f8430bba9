"""What the tests of ROS share: a node that watches, and nodes in processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import rclpy
import soundfile
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from edge_alm_msgs.msg import AudioChunk, AudioEvent
from edge_alm_msgs.srv import AskAudio
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Bool, String

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data"
INSTALLED = ROOT / "build" / "ros" / "install" / "edge_alm_ros"
EXECUTABLES = INSTALLED / "lib" / "edge_alm_ros"
EXAMPLES = ROOT / "ros_nodes" / "examples"
SETTLE_S = 0.15
PATIENCE_S = float(os.environ.get("EDGE_ALM_PATIENCE_S", "60"))
"""For a machine that is busy with other things."""
CHUNK_S = 0.02
GLASS = frozenset(("Breaking", "Shatter", "Glass", "Crack"))
"""What the sound encoder calls breaking glass."""
CONFIGURE, CLEANUP, ACTIVATE, DEACTIVATE = 1, 2, 3, 4
UNCONFIGURED, INACTIVE, ACTIVE = "unconfigured", "inactive", "active"
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Process:
    """A node that has been started."""

    def __init__(self, command: Sequence[str]) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            command,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "RCUTILS_LOGGING_BUFFERED_STREAM": "0", "PYTHONUNBUFFERED": "1"},
            # A shell's background jobs ignore Ctrl-C, and so would their children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    @property
    def log(self) -> str:
        if not self._log.closed:
            self._log.seek(0)
            self._last_log = self._log.read()
        return self._last_log

    def close(self) -> None:
        """Whatever has become of it."""
        self.process.kill()
        self.process.wait()
        _ = self.log  # for whoever asks later
        self._log.close()

    def wait_for_log(self, word: str) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while word not in self.log:
            assert time.monotonic() < end_s, (word, self.log)
            time.sleep(0.05)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def stop(self) -> int:
        """As Ctrl-C does; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE_S)

    def fail(self) -> str:
        """What it printed before it gave up by itself, with the status of a mistake."""
        try:
            assert self.process.wait(PATIENCE_S) == 2, self.log
            assert "Traceback" not in self.log
            return self.log
        finally:
            self.close()


def arguments(namespace: str, parameters: dict[str, object]) -> list[str]:
    words = ["--ros-args", "-r", f"__ns:={namespace}"]
    for name, value in parameters.items():
        words += ["-p", f"{name}:={value}"]
    return words


@contextmanager
def running(command: Sequence[object]) -> Iterator[Process]:
    """A node that must end cleanly when told to."""
    process = Process([str(word) for word in command])
    try:
        yield process
        killed = process.process.returncode == -signal.SIGKILL
        status = process.stop()
        assert killed or status == 0, (status, process.log)
        assert "Traceback" not in process.log, process.log
    except BaseException:
        print(process.log, file=sys.stderr)
        raise
    finally:
        process.close()


def reasoner(namespace: str, **parameters: object) -> Any:
    """The audio reasoner with parameters; their dots are written as ``__``."""
    named = {name.replace("__", "."): value for name, value in parameters.items()}
    return running([EXECUTABLES / "audio_reasoner", *arguments(namespace, named)])


class Probe:
    """A node in this process; everything it hears of a reasoner is kept."""

    def __init__(self, namespace: str) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("probe", namespace=namespace, context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self.events: list[Any] = []
        self.speech: list[str] = []
        self.listening: list[bool] = []
        self.diagnostics: list[dict[str, str]] = []
        self._clients: dict[str, Any] = {}
        self._name = f"{namespace}/audio_reasoner"
        self.hear(AudioEvent, "audio_reasoner/events", self.events.append, 1000)
        self.hear(String, "audio_reasoner/speech", lambda m: self.speech.append(m.data), 100)
        self.hear(
            Bool, "audio_reasoner/listening", lambda m: self.listening.append(m.data), LATCHED
        )
        self.hear(DiagnosticArray, "/diagnostics", self._on_diagnostics, 100)
        self.audio = self.node.create_publisher(AudioChunk, "audio", QoSProfile(depth=1000))

    def __enter__(self) -> Probe:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.node.destroy_node()
        self.context.try_shutdown()

    def hear(self, kind: Any, topic: str, callback: Callable[[Any], object], qos: Any) -> Any:
        return self.node.create_subscription(kind, topic, callback, qos)

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            if status.name.startswith(f"{self._name}:"):
                values = {value.key: value.value for value in status.values}
                self.diagnostics.append({"message": status.message, **values})

    def spin(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            self._executor.spin_once(left_s)

    def until(self, condition: Callable[[], object], what: str) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end_s, (what, self.told(), self.listening)
            self._executor.spin_once(0.1)

    def result(self, future: Any) -> Any:
        self.until(future.done, "a reply")
        return future.result()

    def call(self, kind: Any, name: str, request: Any) -> Any:
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = self.node.create_client(kind, name)
            self.until(client.service_is_ready, name)
            # A server that has not found our side yet throws its reply away.
            self.spin(SETTLE_S)
        self.until(client.service_is_ready, name)
        return self.result(client.call_async(request))

    # The reasoner

    def change(self, transition: int) -> bool:
        request = ChangeState.Request()
        request.transition.id = transition
        return bool(self.call(ChangeState, "audio_reasoner/change_state", request).success)

    def state(self) -> str:
        reply = self.call(GetState, "audio_reasoner/get_state", GetState.Request())
        return str(reply.current_state.label)

    def start(self) -> None:
        """Configure and activate; then its subscriptions have found us, and ours it."""
        assert self.change(CONFIGURE)
        assert self.change(ACTIVATE)
        self.await_listening()

    def await_listening(self) -> None:
        self.until(lambda: self.listening and self.listening[-1], "listening")
        self.until(
            lambda: self.node.count_publishers("audio_reasoner/events"), "a publisher of events"
        )

    def set(self, name: str, value: bool | float | str) -> str:
        """Set a parameter of the reasoner; why not, or nothing."""
        if isinstance(value, bool):
            kind = {"type": ParameterType.PARAMETER_BOOL, "bool_value": value}
        elif isinstance(value, float):
            kind = {"type": ParameterType.PARAMETER_DOUBLE, "double_value": value}
        else:
            kind = {"type": ParameterType.PARAMETER_STRING, "string_value": value}
        request = SetParameters.Request()
        request.parameters = [Parameter(name=name, value=ParameterValue(**kind))]
        (result,) = self.call(SetParameters, "audio_reasoner/set_parameters", request).results
        return "" if result.successful else str(result.reason) or "refused"

    def ask(self, question: str, **more: Any) -> Any:
        request = AskAudio.Request(question=question, **more)
        return self.call(AskAudio, "audio_reasoner/ask", request)

    def told(self, kind: str = "") -> list[tuple[str, str, str]]:
        return [(e.type, e.state, e.label) for e in self.events if kind in ("", e.type)]

    def labels(self) -> list[str]:
        """Of the sounds that started."""
        return [e.label for e in self.events if e.type == "sound" and e.state == "start"]

    def hears_glass(self) -> bool:
        """By whichever of the names that fit."""
        return not GLASS.isdisjoint(self.labels())

    # Audio

    def await_listener(self) -> None:
        self.until(self.audio.get_subscription_count, "who listens to /audio")
        # The other side may have found us a moment later than we found it.
        self.spin(0.3)

    def play(self, chunks: Sequence[Any], times_real: float = 8.0) -> None:
        """Publish chunks, faster than they sound."""
        for chunk in chunks:
            self.audio.publish(chunk)
            self.spin(CHUNK_S / times_real)


def recording(name: str) -> np.ndarray:
    samples, rate_hz = soundfile.read(DATA / f"{name}.flac", dtype="float32")
    assert rate_hz == 16_000
    return np.asarray(samples if samples.ndim == 1 else samples[:, 0], np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * 16_000), np.float32)


def stamp(unix_s: float) -> Time:
    return Time(sec=int(unix_s), nanosec=int(unix_s % 1 * 1e9))


def chunks_of(
    samples: np.ndarray, *, started: float, first: int = 0, rate_hz: int = 16_000
) -> list[Any]:
    """As a driver would publish them, from sample ``first`` on; ``started`` stamps sample 0."""
    n = round(CHUNK_S * rate_hz)
    found = []
    for i in range(0, len(samples), n):
        part = np.round(samples[i : i + n] * 32767).astype("<i2")
        chunk = AudioChunk(sample_rate=rate_hz, channels=1, encoding=AudioChunk.S16LE)
        chunk.first_sample = first + i
        chunk.header.stamp = stamp(started + (first + i) / rate_hz)
        chunk.data = part.tobytes()
        found.append(chunk)
    return found
