"""A real HTTP server on this machine that can misbehave in the ways that servers do."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FileServer:
    """Serves ``content`` under ``/file``; the switches may be set at any time."""

    content: bytes
    url: str = ""
    ranges: bool = True
    """False: answers a range request with the whole file."""
    drops: list[int] = field(default_factory=list)
    """For each of the next requests, the bytes after which the connection breaks."""
    statuses: list[int] = field(default_factory=list)
    """For each of the next requests, an error status instead of the file."""
    bytes_per_s: float = 0.0
    """0: as fast as possible."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    """Path and Range header of every request so far."""


@contextlib.contextmanager
def serve(content: bytes) -> Iterator[FileServer]:
    state = FileServer(content)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            state.requests.append((self.path, asked))
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("Location", "/file")
                self.end_headers()
                return
            if self.path.startswith("/missing"):
                self.send_error(404)
                return
            if state.statuses:
                self.send_error(state.statuses.pop(0))
                return
            match = re.match(r"bytes=(\d+)-$", asked) if state.ranges else None
            start = int(match[1]) if match else 0
            if start >= len(state.content):
                self.send_error(416)
                return
            self.send_response(206 if match else 200)
            if match:
                size = len(state.content)
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            self.send_header("Content-Length", str(len(state.content) - start))
            self.end_headers()
            end = start + state.drops.pop(0) if state.drops else len(state.content)
            self.send(state.content[start:end])

        def send(self, body: bytes) -> None:
            step = 16_384 if state.bytes_per_s else len(body)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for at in range(0, len(body), step or 1):
                    self.wfile.write(body[at : at + step])
                    if state.bytes_per_s:
                        time.sleep(step / state.bytes_per_s)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
