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


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_broken_file_is_read_or_refused(kind: str, tmp_path: Path) -> None:
    total = sum(SHARES.get(name, 1) for name in KINDS)
    count = round(scale(CASES / 300, CASES) * SHARES.get(kind, 1) / total)
    state = tmp_path / "state"
    state.write_bytes(bytes(8))
    script = ROOT / "tests" / "soak" / "hostile.py"
    done = subprocess.run(
        [sys.executable, script, kind, "0", str(count), tmp_path, state],
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
    assert int(done.stdout) < count, "some changes break it"
