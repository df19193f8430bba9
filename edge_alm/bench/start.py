"""From nothing to ready: a process of its own, and the models read anew."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_alm.errors import EdgeAlmError
from edge_alm.native import run_probe

TIMEOUT_S = 600.0
"""The slowest board with the slowest card reads a gigabyte in less."""
HEARD_S = 10.0
"""Of each kind of audio, before the first question."""
QUESTION = "What was heard first?"


class StartError(EdgeAlmError):
    """The process that was to be timed did not come to its end."""

    code = "bench-start"


@dataclass(frozen=True, slots=True)
class Start:
    """How a fresh process did."""

    ready_s: float
    """From its start to the models loaded, the language model's prompt read, if there is one."""
    first_ms: float | None
    """To the first token of its first answer; None without a language model."""
    peak_rss_bytes: int
    """After it heard sounds and a voice, and answered."""


def start(options: Mapping[str, Any]) -> Start:
    """Time a fresh process.

    Args:
        options: for :func:`edge_alm.load`; plain values.

    Raises:
        StartError: it failed.
    """
    begun_s = time.monotonic()  # one clock for all processes
    code = (
        # Paths among the options are relative; modules that lie beside them are none of ours.
        "import os, sys\nsys.path[:] = filter(None, sys.path)\n"
        f"os.chdir({str(Path.cwd())!r})\n"
        "from edge_alm.bench.start import report\n"
        f"report({begun_s!r}, {json.dumps(dict(options))!r})"
    )
    outcome = run_probe(code, TIMEOUT_S)
    if outcome.status != "ok":
        raise StartError(
            "a fresh process", expected="to listen and answer", got=outcome.reason or outcome.status
        )
    return Start(**outcome.report)


def report(begun_s: float, options: str) -> None:
    """In that process: load, listen, answer; print a :class:`Start` as JSON."""
    from edge_alm.runtime import load

    chosen = json.loads(options)
    with load(**chosen) as ears:
        ears.prepare()
        ready_s = time.monotonic() - begun_s
        from edge_alm.audio.memory import MemoryAudio
        from edge_alm.bench.sounds import make_sounds, make_voice

        for made in (make_sounds, make_voice):
            for _ in ears.listen(MemoryAudio(made(HEARD_S))):
                pass
        first_ms = ears.ask(QUESTION).ttft_ms if chosen.get("llm", True) else None
    found = {"ready_s": ready_s, "first_ms": first_ms, "peak_rss_bytes": peak_rss_bytes()}
    print(json.dumps(found), flush=True)


def forget(paths: Iterable[Path]) -> bool:
    """Ask the system to drop files from its memory, so that they are read from disk again.

    What another process has mapped stays. False where the system has no such call.
    """
    if not hasattr(os, "posix_fadvise"):
        return False
    for path in paths:
        for file in path.rglob("*") if path.is_dir() else [path]:
            if file.is_file():
                with file.open("rb") as opened:
                    os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True


def peak_rss_bytes() -> int:
    """The most memory that this process has had resident."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
