"""The action: text as it is written, new answers as the scene develops, and giving up."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

from action_msgs.msg import GoalStatus
from edge_alm_msgs.action import ListenAndAnswer
from rclpy.action import ActionClient
from ros_world import CLEANUP, CONFIGURE, Probe, chunks_of, reasoner, recording, silence


class Goal:
    """A goal that was sent, with its feedback."""

    def __init__(self, probe: Probe, **request: Any) -> None:
        self._probe = probe
        self.feedback: list[Any] = []
        self._client = ActionClient(probe.node, ListenAndAnswer, "audio_reasoner/listen_and_answer")
        probe.until(self._client.server_is_ready, "the action")
        sent = self._client.send_goal_async(
            ListenAndAnswer.Goal(**request),
            feedback_callback=lambda message: self.feedback.append(message.feedback),
        )
        self.handle = probe.result(sent)
        self.result = self.handle.get_result_async() if self.handle.accepted else None

    def finish(self) -> tuple[int, Any]:
        reply = self._probe.result(self.result)
        return reply.status, reply.result

    def cancel(self) -> None:
        self._probe.result(self.handle.cancel_goal_async())


@contextmanager
def slow_server() -> Iterator[tuple[str, threading.Event]]:
    """A language model that writes a word every 50 ms, for a minute; and whether it was left."""
    left = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            try:
                for number in range(1200):
                    chunk = {"choices": [{"delta": {"content": f"{number} "}}]}
                    self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
                    time.sleep(0.05)
            except OSError:
                left.set()

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"data": [{"id": "slow"}]}')

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{httpd.server_address[1]}/v1", left
        finally:
            httpd.shutdown()
            thread.join()


def test_a_goal_is_cancelled_in_mid_answer(probe: Probe, namespace: str) -> None:
    with (
        slow_server() as (url, left),
        reasoner(namespace, models__language_model=url, models__transcribe=False),
    ):
        assert not Goal(probe, question="What?").handle.accepted  # there are no models yet
        assert probe.change(CONFIGURE)
        goal = Goal(probe, question="What was heard?")
        assert goal.handle.accepted
        probe.until(lambda: len(goal.feedback) > 3, "some words")
        began_s = time.monotonic()
        goal.cancel()
        status, result = goal.finish()
        assert time.monotonic() - began_s < 5
        assert status == GoalStatus.STATUS_CANCELED
        assert not result.success
        probe.until(left.is_set, "the server to notice")
        texts = [one.text for one in goal.feedback]
        assert all(b.startswith(a) for a, b in zip(texts, texts[1:]))  # noqa: B905, RUF007
        # Another one, while the node is cleaned up, and others can be asked meanwhile.
        goal = Goal(probe, question="What was heard?")
        probe.until(lambda: goal.feedback, "a word")
        assert probe.state() == "inactive"
        assert probe.change(CLEANUP)
        status, result = goal.finish()
        assert status == GoalStatus.STATUS_ABORTED
        assert "closed" in result.message or "cancelled" in result.message


def test_the_answer_changes_with_the_scene(probe: Probe, namespace: str, require: Any) -> None:
    require("llama_cpp", "the extra llm")
    with reasoner(namespace, models__transcribe=False, input__source="ros:audio"):
        probe.start()
        probe.await_listener()
        goal = Goal(probe, question="What broke?", choices=["glass", "a chair"], listen_s=30.0)
        probe.until(lambda: any(one.complete for one in goal.feedback), "the first answer")
        started = time.time()
        probe.play(chunks_of(recording("glass"), started=started))
        probe.play(chunks_of(silence(3), started=started, first=2 * 16_000))
        probe.until(lambda: max(one.answers for one in goal.feedback) > 1, "another answer")
        goal.cancel()
        assert goal.finish()[0] == GoalStatus.STATUS_CANCELED
        once = Goal(probe, question="What broke?", choices=["glass", "a chair"])
        status, result = once.finish()
        assert status == GoalStatus.STATUS_SUCCEEDED
        assert (result.success, result.choice, result.answers) == (True, "glass", 1)
        free = Goal(probe, question="What was heard first?")
        status, result = free.finish()
        assert status == GoalStatus.STATUS_SUCCEEDED
        # The text as it grew; rclpy drops the feedback that a result overtakes.
        texts = [one.text for one in free.feedback]
        assert texts
        assert all(b.startswith(a) for a, b in pairwise([*texts, result.answer]))
        status, result = Goal(probe, question="What?", listen_s=-1.0).finish()
        assert status == GoalStatus.STATUS_ABORTED
        assert "0 to 3600 seconds" in result.message
