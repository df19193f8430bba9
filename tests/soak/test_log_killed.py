"""Killed at any moment of writing, the event log is whole and lacks the last second at most."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from command import ROOT, environment
from scales import IS_LONG, scale

from edge_alm.log import EventLog, read_log
from edge_alm.types import Sound

KILLS = round(scale(15, 200))
MISSING_S = 1.0
"""Of what came before a kill; more by the longest stop, on a machine without time for it."""


@pytest.mark.timeout(0 if IS_LONG else 600)
def test_killed_at_any_moment(tmp_path: Path) -> None:
    rng = random.Random(8)
    path = tmp_path / "log"
    for kill in range(KILLS):
        # A stream of its own each: its last event tells what is missing.
        before = set(streams(path))
        written, killed_s = write_and_kill(path, rng.uniform(0.0, 2.0))
        with EventLog(path):  # the next start works
            pass
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        kept = streams(path)
        new = [numbers for stream, numbers in kept.items() if stream not in before]
        assert len(new) <= 1
        numbers = new[0] if new else []
        # The oldest may have gone to make room; there is no hole.
        assert numbers == sorted(numbers)
        assert not numbers or numbers[-1] - numbers[0] == len(numbers) - 1, kill
        missing = [at_s for number, at_s in written if not numbers or number > numbers[-1]]
        times = [*missing, killed_s]
        stopped_s = max((b - a for a, b in pairwise(times)), default=0.0)
        assert times[-1] - times[0] < MISSING_S + stopped_s, kill


def write_and_kill(path: Path, after_s: float) -> tuple[list[tuple[int, float]], float]:
    """Which events the log took and when, and when the process was killed."""
    script = ROOT / "tests" / "soak" / "log_writer.py"
    out, lock = path.with_name("out"), path.with_name(f"{path.name}-lock")
    lock.unlink(missing_ok=True)
    with out.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, script, path], stdout=file, cwd=ROOT, env=environment()
        )
        # From the first sign of it on: a start takes longer than what is to be met.
        while not lock.exists():
            assert process.poll() is None
            time.sleep(0.001)
        time.sleep(after_s)
        assert process.poll() is None
        killed_s = time.monotonic()
        process.kill()
        process.wait()
    lines = out.read_text().splitlines(keepends=True)
    whole = [line.split() for line in lines if line.endswith("\n")]
    return [(int(number), float(at_s)) for number, at_s in whole], killed_s


def streams(path: Path) -> dict[int, list[int]]:
    """The numbers of the events in each stream of a log."""
    found: dict[int, list[int]] = {}
    for one in read_log(path) if path.exists() else ():
        assert isinstance(one.event, Sound)
        found.setdefault(one.stream, []).append(round(one.event.start))
    return found
