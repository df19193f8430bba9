"""Questions to the server that llama-cpp-python ships, and to servers that misbehave."""

import json
import socket
import socketserver
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from edge_alm.errors import RemoteError, UsageError
from edge_alm.models.bundle import load_bundle
from edge_alm.reasoning.reasoner import QuestionCancelledError
from edge_alm.reasoning.remote import MAX_SCENE_CHARS, RemoteReasoner, defuse, match
from edge_alm.types import Sound, Speech

KEY = "s3cret"
SAID = ["dinner is ready", "the train leaves at nine", "turn left at the corner"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(models: Path, require: Callable[[object, str], None]) -> Iterator[str]:
    """llama-cpp-python's own."""
    require("llama_cpp", "the extra llm")
    require("uvicorn", "llama-cpp-python[server]")
    model = load_bundle("default", transcriber=False).language_model
    port = _free_port()
    command = [sys.executable, "-m", "llama_cpp.server", "--model", str(model)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--n_ctx", "2048", "--api_key", KEY]
    command += ["--logits_all", "false", "--n_threads", "1", "--n_threads_batch", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/v1"
    try:
        deadline_s = time.monotonic() + 60.0
        while time.monotonic() < deadline_s and process.poll() is None:
            request = urllib.request.Request(
                f"{url}/models", headers={"Authorization": f"Bearer {KEY}"}
            )
            try:
                urllib.request.urlopen(request, timeout=1.0).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        else:
            pytest.fail(f"the server did not start: exit {process.poll()}")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=10.0)


@pytest.fixture
def reasoner(server: str) -> RemoteReasoner:
    reasoner = RemoteReasoner(server, api_key=KEY)
    reasoner.append_event(Sound("Dog", 1.0, 2.2, 0.93, "end"))
    reasoner.append_event(Speech(SAID[2], 5.2, 6.9, 0.9))
    return reasoner


def test_a_free_answer_is_streamed(reasoner: RemoteReasoner) -> None:
    pieces: list[str] = []
    answer = reasoner.ask("What was said?", on_text=pieces.append)
    assert len(pieces) > 1
    assert "".join(pieces).strip() == answer.text
    assert 0.0 < answer.ttft_ms < answer.total_ms


def test_one_of_the_choices_is_named_whatever_their_order(reasoner: RemoteReasoner) -> None:
    answers = [reasoner.ask("What was said?", choices=c) for c in (SAID, SAID[::-1])]
    assert answers[0].choice in SAID
    assert answers[0].choice == answers[1].choice


def test_turns_and_thoughts(reasoner: RemoteReasoner) -> None:
    first = reasoner.ask("What was said?", think=True, remember=True)
    assert first.text
    assert reasoner.ask("And before that?").text
    reasoner.reset()
    assert reasoner.ask("What was said?").text


def test_a_wrong_key_is_told(server: str) -> None:
    with pytest.raises(RemoteError, match=r"401.*EDGE_ALM_API_KEY"):
        RemoteReasoner(server, api_key="wrong").ask("What?")


def test_the_key_comes_from_the_environment(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_ALM_API_KEY", KEY)
    assert RemoteReasoner(server).ask("What?").text


# Servers that misbehave


@contextmanager
def _http(
    status: int,
    body: bytes,
    kind: str = "application/json",
    asked: list[bytes] | None = None,
    score: Callable[[str], object] | None = None,
) -> Iterator[str]:
    """Answers every request alike, then closes the connection; texts are scored by ``score``."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            request = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if asked is not None:
                asked.append(request)
            scoring = self.path == "/v1/completions"
            reply = body
            if scoring:
                reply = json.dumps(score(json.loads(request)["prompt"])).encode() if score else b""
            self.send_response(404 if scoring and not score else status)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(reply)

        do_GET = do_POST = _answer  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{httpd.server_address[1]}/v1"
        finally:
            httpd.shutdown()
            thread.join()


@contextmanager
def _silent() -> Iterator[str]:
    """Takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


def _event(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode() + b"\n\n"


def test_nobody_there() -> None:
    with pytest.raises(RemoteError, match="start it"):
        RemoteReasoner(f"http://127.0.0.1:{_free_port()}/v1", model="m").ask("What?")


def test_silence_ends_in_a_timeout_and_can_be_given_up() -> None:
    with _silent() as url:
        with pytest.raises(RemoteError, match="silence"):
            RemoteReasoner(url, model="m", timeout_s=0.3).ask("What?")
        began_s = time.monotonic()
        with pytest.raises(QuestionCancelledError):
            RemoteReasoner(url, model="m").ask("What?", cancelled=lambda: True)
        assert time.monotonic() - began_s < 1.0


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (500, b"no memory", "500.*no memory"),
        (404, b"", "404"),
        (200, b"<html>hello</html>\n", "stream of events"),
        (200, b"data: {broken\n\n", "expected JSON"),
        (200, b'data: {"error": {"message": "too long"}}\n\n', "too long"),
        (200, b"data: [1]\n\n", "choices"),
        (200, _event("half an ans"), "cut off"),
        (200, b"", "cut off"),
    ],
)
def test_a_bad_reply_is_told(status: int, body: bytes, words: str) -> None:
    with _http(status, body) as url, pytest.raises(RemoteError, match=words) as caught:
        RemoteReasoner(url, model="m").ask("What?")
    assert "\n" not in str(caught.value)


def test_a_server_that_closes_at_once() -> None:
    class Closer(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            pass

    with socketserver.TCPServer(("127.0.0.1", 0), Closer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        with pytest.raises(RemoteError, match=r"127\.0\.0\.1"):
            RemoteReasoner(f"http://127.0.0.1:{server.server_address[1]}/v1", model="m").ask("?")
        server.shutdown()
        thread.join()


def test_without_likelihood_the_named_choice_is_taken() -> None:
    body = _event("It was the ") + _event("Glass, I think.") + b"data: [DONE]\n\n"
    with _http(200, body, "text/event-stream") as url:
        reasoner = RemoteReasoner(url, model="m")
        answer = reasoner.ask("Which?", choices=["Dog", "Glass"])
        assert (answer.choice, answer.confidence) == ("Glass", 0.0)


def _echo(prompt: str, first: float | None) -> object:
    """As vLLM scores a text: here words are tokens, and known when the scene has them."""
    words = prompt.split(" ")
    offsets = [sum(len(w) + 1 for w in words[:i]) - bool(i) for i in range(len(words))]
    known = [-1.0 if f'"{word}"' in prompt or "nothing" in word else -3.0 for word in words]
    logprobs = {"text_offset": offsets, "token_logprobs": [first, *known[1:]]}
    return {"choices": [{"logprobs": logprobs}]}


def test_choices_go_by_likelihood_where_the_server_gives_it() -> None:
    body = _event("stop") + b"data: [DONE]\n\n"
    answers = []
    for first in (None, -2.0):  # OpenAI's way, and llama-cpp-python's, whose numbers are shifted
        with _http(200, body, score=partial(_echo, first=first)) as url:
            reasoner = RemoteReasoner(url, model="m")
            reasoner.append_event(Speech("go", 1.0, 2.0, 0.9))
            answers.append(reasoner.ask("What was said?", choices=["stop", "nothing", "go"]))
    # Less what the choice gets without any scene, "go" gains 2 nats and the others none.
    assert answers[0].choice == "go"
    assert answers[0].confidence == pytest.approx(0.787, abs=0.001)
    assert (answers[1].choice, answers[1].confidence) == ("stop", 0.0)


def test_choices_are_sent_in_an_order_of_their_own() -> None:
    body = _event("beta") + b"data: [DONE]\n\n"
    asked: list[bytes] = []
    with _http(200, body, asked=asked) as url:
        for choices in (["alpha", "beta"], ["beta", "alpha"]):
            RemoteReasoner(url, model="m").ask("Which?", choices=choices)
    half = len(asked) // 2
    assert half > 1
    assert asked[:half] == asked[half:]


def test_no_model_is_told() -> None:
    with _http(200, b'{"data": []}') as url, pytest.raises(RemoteError, match="model"):
        RemoteReasoner(url).ask("What?")


@pytest.mark.parametrize("address", ["", "localhost:8080", "ftp://x/v1", "http://"])
def test_refuses_what_is_no_address(address: str) -> None:
    with pytest.raises(UsageError):
        RemoteReasoner(address)


def test_matching_prefers_the_whole_reply_then_the_longest() -> None:
    assert match(["bell", "church bell"], "A church bell.") == "church bell"
    assert match(["bell", "church bell"], "Bell.") == "bell"
    assert match(["glass breaking", "dog"], "broken glass") == "glass breaking"
    with pytest.raises(RemoteError, match="expected one of"):
        match(["bell", "dog"], " ")


def test_outside_text_carries_no_control_marks() -> None:
    assert "<|" not in defuse("<|im_end|>")
    assert "|>" not in defuse("<|im_end|>")


def test_the_scene_is_bounded() -> None:
    asked: list[bytes] = []
    with _http(200, _event("x") + b"data: [DONE]\n\n", asked=asked) as url:
        reasoner = RemoteReasoner(url, model="m")
        for second in range(3000):
            reasoner.append_event(Sound("Dog", second, second + 1.0, 0.5, "end"))
        assert reasoner.ask("What?").text == "x"
    held = json.loads(asked[-1])["messages"][-1]["content"]
    assert len(held) < MAX_SCENE_CHARS + 100
    assert "[2999.0-3000.0 dog]" in held


def test_a_question_about_a_part_sends_only_that_part() -> None:
    asked: list[bytes] = []
    with _http(200, _event("x") + b"data: [DONE]\n\n", asked=asked) as url:
        reasoner = RemoteReasoner(url, model="m")
        for second in range(4):
            reasoner.append_event(Sound("Dog", second, second + 1.0, 0.9, "end"))
        for since_s in (2.5, None):
            assert reasoner.ask("What?", since_s=since_s).text == "x"
        reasoner.begin_stream()
        reasoner.append_event(Sound("Bell", 0.0, 1.0, 0.9, "end"))
        assert reasoner.ask("What?", since_s=0.0).text == "x"
    told = [json.loads(request)["messages"][-1]["content"] for request in asked]
    assert [text.count("dog]") for text in told] == [2, 4, 0]
    assert "[2.0-3.0 dog]" in told[0]
    assert "[0.0-1.0 bell]" in told[2]
