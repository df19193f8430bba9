"""Hours of a home: nothing grows, nothing drifts, nothing is missing."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command import ROOT, environment
from day import EVERY_MINUTES, describe
from scales import IS_LONG, scale

from edge_alm.log import read_log

SETTLED_MINUTES = 60 if IS_LONG else 4
"""The first hour fills the context and the allocator's pools."""
GROWTH = scale(1.05, 1.01)
"""Of memory at most. In a few minutes hearing runs ahead of the questions, and by how much is the
machine's affair."""


@pytest.mark.timeout(0 if IS_LONG else 600)
def test_a_day(tmp_path: Path, models: Path, require: Callable[[object, str], None]) -> None:
    require("llama_cpp", "the extra llm")
    minutes = round(scale(8, 24 * 60))
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "soak" / "day.py", str(minutes), tmp_path / "log"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(OMP_NUM_THREADS="1"),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["minute"] for line in lines] == list(range(minutes))
    # The first minute begins in a quiet that the others do not.
    events = [line["events"] for line in lines]
    busy = events[EVERY_MINUTES::EVERY_MINUTES]
    assert len(busy[0]) >= 8
    assert not any("other" in event for event in busy[0])
    assert all(own == busy[0] for own in busy)
    assert not any(own for i, own in enumerate(events) if i % EVERY_MINUTES)
    logged = [describe(line.event) for line in read_log(tmp_path / "log")]
    assert logged == [(i, own) for i, minute in enumerate(events) for own in minute]
    assert all(line["stray_cells"] == 0 for line in lines)
    settled = lines[SETTLED_MINUTES:]
    for what in ("threads", "files"):
        # One less when the ears have come to the day's end before the questions have.
        assert all(line[what] <= settled[0][what] for line in settled), settled
    half = len(settled) // 2
    before, after = (
        statistics.median(line["rss_bytes"] for line in part)
        for part in (settled[:half], settled[half:])
    )
    assert after < before * GROWTH, (before, after)
