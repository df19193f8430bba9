"""A language model on another machine, behind any OpenAI-compatible server."""

from __future__ import annotations

import contextlib
import difflib
import http
import http.client
import json
import math
import os
import queue
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import RemoteError, UsageError
from edge_alm.reasoning.prompts import (
    NOTHING_HEARD,
    OPENING,
    SYSTEM,
    event_line,
    is_heard,
    one_line,
    ongoing_line,
    recording_line,
    until_s,
)
from edge_alm.reasoning.reasoner import (
    MAX_ANSWER_TOKENS,
    MAX_THOUGHT_TOKENS,
    QuestionCancelledError,
    Stopwatch,
    check_question,
    pick,
)
from edge_alm.reasoning.scene import ALWAYS, never
from edge_alm.types import Answer, Event, Guess, Sound

API_KEY_VARIABLE = "EDGE_ALM_API_KEY"
DEFAULT_TIMEOUT_S = 60.0
MAX_SCENE_CHARS = 16_000
"""About 6000 tokens; the oldest lines go first."""
_MAX_BODY_BYTES = 1 << 24
_POLL_S = 0.2


class RemoteReasoner:
    """A :class:`~edge_alm.reasoning.reasoner.Reasoner` that sends the timed text as a chat.

    The scene is kept here as text and sent with each question to ``/chat/completions``, streamed.
    With choices the server's ``/completions`` is asked for the likelihood of each (``echo`` with
    ``logprobs``, as vLLM gives it), with the scene less without. A server that cannot is asked in
    the chat to name one, and the closest is taken: llama.cpp's server echoes no likelihoods, and
    llama-cpp-python's (0.3.36) gives each token's after the token instead of before it. Choices
    are sorted first, so that their given order cannot matter. What the server tells no
    probability of (its chat) has confidence 0.

    Args:
        base_url: ``http://host:port/v1``.
        model: the server's name for it; without one the server's first is taken.
        api_key: default: the environment's ``EDGE_ALM_API_KEY``, if set.
        timeout_s: longest silence from the server.

    Raises:
        UsageError: not an http or https address. Nothing is sent yet.
    """

    def __init__(
        self,
        base_url: str,
        model: str | None = None,
        api_key: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        self._server = _Server(base_url, api_key or os.environ.get(API_KEY_VARIABLE), timeout_s)
        self._model = model
        self._lines: deque[tuple[str, float]] = deque()
        """Each with the time until which it holds, as in the scene of a model on this machine."""
        self._turns: list[dict[str, str]] = []
        self._scores_text: bool | None = None
        self._lock = threading.RLock()

    def append_event(self, event: Event) -> None:
        """See ``Reasoner``."""
        if is_heard(event):
            self._append(event_line(event), until_s(event))

    def append_guess(self, guess: Guess) -> None:
        """Nothing: a model that was not trained for it takes guesses for sounds."""

    def append_embeddings(
        self, embeddings: NDArray[np.float32], start_s: float, end_s: float
    ) -> None:
        """Nothing: only text goes over the wire."""

    def begin_recording(self, name: str) -> None:
        """See ``Reasoner``."""
        self._append(recording_line(name))

    def _append(self, line: str, until_s: float = ALWAYS) -> None:
        with self._lock:
            self._lines.append((line, until_s))
            size = sum(len(text) for text, _ in self._lines)
            while size > MAX_SCENE_CHARS:
                size -= len(self._lines.popleft()[0])

    def begin_stream(self) -> None:
        """See ``Reasoner``."""
        with self._lock:
            self._lines = deque(
                (line, until_s if until_s == ALWAYS else -math.inf) for line, until_s in self._lines
            )

    def flush(self) -> None:
        """Nothing is pending."""

    def ask(
        self,
        question: str,
        *,
        choices: Sequence[str] | None = None,
        think: bool = False,
        ongoing: Sequence[Sound] = (),
        now_s: float | None = None,
        on_text: Callable[[str], None] | None = None,
        cancelled: Callable[[], bool] = never,
        remember: bool = False,
        since_s: float | None = None,
    ) -> Answer:
        """See ``Reasoner``. With ``since_s`` only lines of what was not over by then are sent.

        Raises:
            RemoteError: refused, timed out, 401, not JSON, an interrupted stream.
        """
        watch = Stopwatch()
        options = check_question(question, choices)
        tell = on_text or (lambda _text: None)
        with self._lock:
            lines = [line for line, until in self._lines if since_s is None or until > since_s]
            lines += [ongoing_line(sound, now_s) for sound in ongoing]
            heard = "".join(lines) or NOTHING_HEARD
            messages = _messages(heard, self._turns, question)
        if think:
            order = "List in order what was heard, in one line."
            thought, _ = self._chat(
                [*messages[:-1], _user(f"{messages[-1]['content']}\n{order}")],
                MAX_THOUGHT_TOKENS,
                tell,
                cancelled,
                watch,
            )
            tell("\n")
            messages[-1]["content"] += f"\nHeard in order: {thought}"
        if options:
            blank = _messages(NOTHING_HEARD, (), question)
            text, confidence = self._choose(messages, blank, options, cancelled, watch)
            tell(text)
        else:
            text, confidence = self._chat(messages, MAX_ANSWER_TOKENS, tell, cancelled, watch)
        if remember:
            with self._lock:
                self._turns += [_user(f"Question: {defuse(one_line(question))}"), _assistant(text)]
        return Answer(
            question=question,
            text=text,
            choice=text if options else None,
            confidence=round(confidence, 4),
            ttft_ms=watch.first_ms,
            total_ms=watch.now_ms(),
        )

    def _chat(
        self,
        messages: list[dict[str, str]],
        max_tokens: int,
        tell: Callable[[str], None],
        cancelled: Callable[[], bool],
        watch: Stopwatch,
    ) -> tuple[str, float]:
        """The streamed reply, and 0 for its unknown probability."""
        body = self._body(messages=messages, max_tokens=max_tokens, stream=True)
        text = ""
        for chunk in self._server.stream("/chat/completions", body, cancelled):
            for choice in _field(chunk, "choices", list):
                piece = (choice.get("delta") or {}).get("content")
                if piece:
                    watch.first()
                    tell(piece)
                    text += piece
        return text.strip(), 0.0

    def _choose(
        self,
        messages: list[dict[str, str]],
        blank: list[dict[str, str]],
        options: Sequence[str],
        cancelled: Callable[[], bool],
        watch: Stopwatch,
    ) -> tuple[str, float]:
        if self._scores_text is not False:
            try:
                scores = [
                    self._score(messages, option, cancelled) - self._score(blank, option, cancelled)
                    for option in options
                ]
                self._scores_text = True
                watch.first()
                return pick(options, scores)
            except _CannotScoreError:
                self._scores_text = False
        last = messages[-1]["content"]
        wanted = f"{last}\nAnswer with one of these, word for word: {'; '.join(options)}"
        reply, _ = self._chat(
            [*messages[:-1], _user(wanted)], MAX_ANSWER_TOKENS, _drop, cancelled, watch
        )
        return match(options, reply), 0.0

    def _score(
        self, messages: list[dict[str, str]], option: str, cancelled: Callable[[], bool]
    ) -> float:
        """Log probability of the option's tokens after the conversation as plain text."""
        prefix = "\n\n".join(message["content"] for message in messages) + "\nAnswer:"
        body = self._body(prompt=f"{prefix} {option.lower()}", max_tokens=1, echo=True, logprobs=1)
        try:
            reply = self._server.post("/completions", body, cancelled)
            logprobs = _field(reply, "choices", list)[0]["logprobs"]
            if logprobs["token_logprobs"][0] is not None:
                raise ValueError("a likelihood for the first token, which nothing precedes")
            pairs = zip(logprobs["text_offset"], logprobs["token_logprobs"], strict=True)
            end = len(prefix) + 1 + len(option)
            values = [float(value) for offset, value in pairs if len(prefix) <= offset < end]
        except (_StatusError, KeyError, IndexError, TypeError, ValueError) as error:
            if isinstance(error, _StatusError) and error.status in (401, 403):
                raise
            raise _CannotScoreError from error
        if not values:
            raise _CannotScoreError
        return math.fsum(values)

    def _body(self, **fields: Any) -> dict[str, Any]:
        if self._model is None:
            models = _field(self._server.get("/models"), "data", list)
            if not models or not isinstance(models[0], dict) or "id" not in models[0]:
                raise self._server.error("a model in /models", "none")
            self._model = str(models[0]["id"])
        return {"model": self._model, "temperature": 0.0, **fields}

    def reset(self) -> None:
        """See ``Reasoner``."""
        with self._lock:
            self._lines.clear()
            self._turns.clear()

    def close(self) -> None:
        """Nothing is held open between questions."""


def _messages(heard: str, turns: Sequence[dict[str, str]], question: str) -> list[dict[str, str]]:
    """The conversation so far; the scene stands in the user's first turn."""
    users = [*turns, _user(f"Question: {defuse(one_line(question))}")]
    first = _user(f"{defuse(OPENING + heard)}{users[0]['content']}")
    return [{"role": "system", "content": SYSTEM}, first, *users[1:]]


def match(options: Sequence[str], reply: str) -> str:
    """The option that a reply names, the longest if several; else the most similar one.

    Raises:
        RemoteError: an empty reply.
    """
    said = reply.casefold().strip(" \t\n.\"'")
    if not said:
        raise RemoteError("answer", expected=f"one of {', '.join(options)}", got="nothing")

    def closeness(option: str) -> tuple[bool, int, float]:
        named = option.casefold() in said
        similar = difflib.SequenceMatcher(None, option.casefold(), said, autojunk=False).ratio()
        return named, len(option) if named else 0, similar

    return max(options, key=closeness)


def defuse(text: str) -> str:
    """Outside text with the marks of control tokens broken: servers read them in any message."""
    return text.replace("<|", "< |").replace("|>", "| >")


def _user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def _assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def _drop(_text: str) -> None:
    pass


def _field(reply: Any, key: str, kind: type) -> Any:
    value = reply.get(key) if isinstance(reply, dict) else None
    if not isinstance(value, kind):
        raise RemoteError("server's reply", expected=f"JSON with {key!r}", got=str(reply)[:80])
    return value


class _CannotScoreError(Exception):
    """The server gives no likelihoods."""


class _StatusError(RemoteError):
    """An HTTP status other than 200."""

    status = 0


class _Server:
    """HTTP requests, each on a connection of its own, given up at once when cancelled."""

    def __init__(self, base_url: str, api_key: str | None, timeout_s: float) -> None:
        url = urlsplit(base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise UsageError(
                "language model address", expected="http://host:port/v1", got=repr(base_url)
            )
        self._url = url
        self._timeout_s = timeout_s
        self._headers = {"Content-Type": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"

    def error(self, expected: str, got: str, hint: str = "") -> RemoteError:
        """About this server; the address is told without what may be a password in it."""
        return RemoteError(
            f"server {self._url.hostname}:{self._port}", expected=expected, got=got, hint=hint
        )

    @property
    def _port(self) -> int:
        return self._url.port or (443 if self._url.scheme == "https" else 80)

    def get(self, path: str) -> Any:
        """The reply's JSON."""
        return self._json(b"".join(self._lines("GET", path, None, never)))

    def post(self, path: str, body: dict[str, Any], cancelled: Callable[[], bool]) -> Any:
        """The reply's JSON."""
        return self._json(b"".join(self._lines("POST", path, body, cancelled)))

    def stream(
        self, path: str, body: dict[str, Any], cancelled: Callable[[], bool]
    ) -> Iterator[Any]:
        """The JSON of each server-sent event, up to ``[DONE]``."""
        for line in self._lines("POST", path, body, cancelled):
            if not line.startswith(b"data:"):
                if line.strip() and not line.startswith((b":", b"event:", b"id:", b"retry:")):
                    raise self.error("a stream of events", repr(line[:80]))
                continue
            data = line[5:].strip()
            if data == b"[DONE]":
                return
            chunk = self._json(data)
            if isinstance(chunk, dict) and "error" in chunk:
                raise self.error("an answer", str(chunk["error"])[:200])
            yield chunk
        raise self.error("a stream that ends with [DONE]", "one that was cut off")

    def _json(self, raw: bytes) -> Any:
        try:
            return json.loads(raw)
        except ValueError:
            raise self.error("JSON", repr(raw[:80])) from None

    def _lines(
        self, method: str, path: str, body: dict[str, Any] | None, cancelled: Callable[[], bool]
    ) -> Iterator[bytes]:
        """The reply line by line.

        A thread reads, so that the caller can look at ``cancelled`` while the server is silent;
        closing the socket ends the thread.
        """
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else None
        connection = (kind or http.client.HTTPConnection)(
            self._url.hostname or "", self._port, timeout=self._timeout_s
        )
        lines: queue.SimpleQueue[bytes | Exception | None] = queue.SimpleQueue()
        opened: list[socket.socket] = []
        data = None if body is None else json.dumps(body).encode()

        def read() -> None:
            try:
                connection.connect()
                # The response takes it over where the server closes after each reply.
                opened.append(connection.sock)
                connection.request(method, self._url.path.rstrip("/") + path, data, self._headers)
                response = connection.getresponse()
                if response.status != http.HTTPStatus.OK:
                    lines.put(self._status_error(response))
                    return
                size_bytes = 0
                while line := response.readline(_MAX_BODY_BYTES):
                    size_bytes += len(line)
                    if size_bytes > _MAX_BODY_BYTES:
                        raise self.error("a reply of at most 16 MB", "more")
                    lines.put(line)
                lines.put(None)
            except Exception as error:
                lines.put(error)

        reader = threading.Thread(target=read, name="remote-llm", daemon=True)
        reader.start()
        try:
            while True:
                try:
                    line = lines.get(timeout=_POLL_S)
                except queue.Empty:
                    if cancelled():
                        raise QuestionCancelledError("question", got="cancelled") from None
                    continue
                if cancelled():
                    raise QuestionCancelledError("question", got="cancelled")
                if line is None:
                    return
                if isinstance(line, Exception):
                    raise self._explain(line) from line
                yield line
        finally:
            for sock in opened:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            reader.join(timeout=1.0)
            connection.close()

    def _status_error(self, response: http.client.HTTPResponse) -> _StatusError:
        got = f"{response.status} {response.reason}: {response.read(200).decode(errors='replace')}"
        denied = response.status in (401, 403)
        error = _StatusError(
            f"server {self._url.hostname}:{self._port}",
            expected="200 OK",
            got=one_line(got),
            hint=f"set {API_KEY_VARIABLE} to the server's key" if denied else "",
        )
        error.status = response.status
        return error

    def _explain(self, error: Exception) -> RemoteError:
        if isinstance(error, RemoteError):
            return error
        if isinstance(error, TimeoutError):
            return self.error(f"a reply within {self._timeout_s:g} s", "silence")
        if isinstance(error, ConnectionRefusedError | socket.gaierror):
            return self.error("a server", str(error), "start it, or correct the address")
        if isinstance(error, http.client.HTTPException):
            return self.error("a whole HTTP reply", f"{type(error).__name__} {error}")
        return self.error("a connection", str(error) or type(error).__name__)
