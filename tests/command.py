"""The command ``edge-alm`` in a process of its own, as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_alm.types import Event, Sound, event_from_dict

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "tests" / "data"
PATIENCE_S = 120.0
"""For a machine that is busy with other things."""


@dataclass(frozen=True)
class Done:
    """What a finished command left."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def objects(self) -> list[dict[str, Any]]:
        """Each line's JSON; fails on a line that is none, or is cut off."""
        assert self.out == "" or self.out.endswith("\n"), f"half a line: {self.out[-80:]!r}"
        return [json.loads(line) for line in self.lines]

    @property
    def events(self) -> list[Event]:
        return [event_from_dict(values) for values in self.objects]

    def mistake(self) -> str:
        """The one line of a mistake: status 2, no traceback, nothing else."""
        assert self.status == 2, (self.status, self.err)
        assert self.err.startswith("edge-alm: "), self.err
        assert self.err.count("\n") == 1, self.err
        return self.err


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "edge_alm", *map(str, words)]


def environment(**more: str) -> dict[str, str]:
    paths = [more.pop("PYTHONPATH", ""), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **more}


def edge_alm(*words: object, stdin: bytes = b"", cwd: Path | None = None, **env: str) -> Done:
    done = subprocess.run(
        command(*words),
        input=stdin,
        capture_output=True,
        cwd=cwd,
        env=environment(**env),
        timeout=PATIENCE_S,
        check=False,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode(errors="replace"))


class Running:
    """A command that has been started; its output is read as it comes."""

    def __init__(self, *words: object, stdin: int = subprocess.DEVNULL, **env: str) -> None:
        self.began_s = time.monotonic()
        self.process = subprocess.Popen(
            command(*words),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(**env),
            # A shell's background jobs ignore Ctrl-C, and so would their children.
            preexec_fn=_heed_interrupts,
        )
        self.lines: list[tuple[float, bytes]] = []
        """Seconds since the start, and the line as it was written."""
        self._come = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._come:
                self.lines.append((time.monotonic() - self.began_s, line))
                self._come.notify_all()

    def wait_for(self, word: str) -> None:
        """Until a line that contains ``word`` has come."""

        def is_there() -> bool:
            return any(word.encode() in line for _, line in self.lines)

        with self._come:
            assert self._come.wait_for(is_there, PATIENCE_S), (word, self.lines)

    def stop(self, number: signal.Signals) -> tuple[Done, float]:
        """Send the signal; what the command left, and how many seconds it took to go."""
        began_s = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(PATIENCE_S)
        return self.finish(), time.monotonic() - began_s

    def finish(self) -> Done:
        status = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        assert self.process.stderr is not None
        err = self.process.stderr.read().decode(errors="replace")
        self.process.stderr.close()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return Done(status, b"".join(line for _, line in self.lines).decode(), err)


def labels(events: Sequence[Event]) -> list[str]:
    """What was heard to start, in order."""
    return [e.label for e in events if isinstance(e, Sound) and e.state == "start"]


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
