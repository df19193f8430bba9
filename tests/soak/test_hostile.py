"""No file, however broken, ends the process, hangs it or takes its memory."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command import ROOT, environment
from hostile import KINDS, make_case
from scales import scale

CASES = 1_000_000
"""Of all kinds together, in the long run; in the short one 1 in 300."""
SHARES = {"wav": 3, "flac": 3, "ogg": 3, "mp3": 3, "bundle": 0.1}
"""Of the kinds that are not 1."""


FOUND = {"log": 3275, "wav": 16342}
"""Cases that were neither read nor refused once: text that is none, and nothing to be sought in."""


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_broken_file_is_read_or_refused(kind: str, tmp_path: Path) -> None:
    total = sum(SHARES.get(name, 1) for name in KINDS)
    count = round(scale(CASES / 300, CASES) * SHARES.get(kind, 1) / total)
    assert read(kind, 0, count, tmp_path) < count, "some changes break it"


@pytest.mark.parametrize("kind", FOUND)
def test_what_was_found_before_is_mended(kind: str, tmp_path: Path) -> None:
    read(kind, FOUND[kind], 1, tmp_path)


def read(kind: str, first: int, count: int, folder: Path) -> int:
    """How many of these cases could be read."""
    state = folder / "state"
    state.write_bytes(bytes(8))
    script = ROOT / "tests" / "soak" / "hostile.py"
    done = subprocess.run(
        [sys.executable, script, kind, str(first), str(count), folder, state],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(OMP_NUM_THREADS="1"),
        check=False,
    )
    if done.returncode:
        number = int.from_bytes(state.read_bytes(), "little")
        kept = ROOT / "build" / "hostile" / f"{kind}-{number}{KINDS[kind][0]}"
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(make_case(kind, number))
        how = signal.Signals(-done.returncode).name if done.returncode < 0 else done.stderr[-2000:]
        pytest.fail(f"{kept}: {how}", pytrace=False)
    assert "refused unchanged" not in done.stderr, done.stderr
    return int(done.stdout)
