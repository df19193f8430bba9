"""Killed at any moment of listening, downloading or teaching, the next start works."""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from command import DATA, Running, command, edge_alm, environment
from file_server import serve
from scales import IS_LONG, scale

from edge_alm.log import EventLog, read_log
from edge_alm.types import Event, without_words

KILLS = round(scale(4, 67))
"""Of each; those of the log alone are in ``test_log_killed.py``."""
MISSING_S = 1.0
STREET_S = 400.0
LISTENED_S, TAUGHT_S, DOWNLOADED_S = 8.0, 3.0, 1.2
"""About as long as each takes, if nothing kills it."""
OURS = {"name": "ours", "examples": 2, "usable": True}
THEIRS = {**OURS, "name": "theirs"}
DOWNLOAD = """
import sys
from pathlib import Path
from edge_alm.models.catalog import Artefact, ModelFile, WebSource
from edge_alm.models.fetch import fetch_artefact
url, size, sha256, folder = sys.argv[1:]
file = ModelFile("file", int(size), sha256)
fetch_artefact(Artefact("tiny", "", "MIT", "", (file,), (), (WebSource("", url),)), Path(folder))
"""

pytestmark = pytest.mark.timeout(0 if IS_LONG else 600)


@pytest.fixture
def rng() -> random.Random:
    return random.Random(8)


def test_listening(models: Path, tmp_path: Path, rng: random.Random) -> None:
    """What was told a second before is in the log, and nothing in it that a whole run has not."""
    street, log = tmp_path / "street.wav", tmp_path / "log"
    home, rate_hz = soundfile.read(DATA / "home.flac", dtype="int16")
    soundfile.write(street, np.resize(home, round(STREET_S * rate_hz)), rate_hz)
    words = ("listen", street, "--log", log, "--json")
    whole = [without_words(event) for event in edge_alm(*words).events]
    assert len(whole) > 100
    assert streams(log) == [whole]
    for kill in range(KILLS):
        before = streams(log)
        run = Running(*words)
        time.sleep(rng.uniform(0.0, LISTENED_S))
        killed_s = time.monotonic() - run.began_s
        run.process.kill()
        run.finish()
        with EventLog(log):  # the next start works
            pass
        after = streams(log)
        assert after[: len(before)] == before
        kept = [event for stream in after[len(before) :] for event in stream]
        assert kept == whole[: len(kept)]
        sure = sum(at_s < killed_s - MISSING_S for at_s, _ in run.lines)
        assert len(kept) >= sure, kill
    before = streams(log)
    assert edge_alm(*words).status == 0
    assert streams(log) == [*before, whole]


def test_teaching(models: Path, tmp_path: Path, rng: random.Random) -> None:
    """A sound was taught or was not; both it and what was taught before are whole."""
    for folder in models.iterdir():
        if folder.name != "taught":
            (tmp_path / folder.name).symlink_to(folder)
    home = str(tmp_path)
    run = partial(edge_alm, EDGE_ALM_HOME=home)
    clips = [DATA / "doorbell.flac", DATA / "alarm_clock.flac"]
    assert run("teach", "ours", *clips).status == 0
    for _ in range(KILLS):
        run("teach", "--forget", "theirs")
        kill(command("teach", "theirs", *clips), rng.uniform(0.0, TAUGHT_S), EDGE_ALM_HOME=home)
        known = run("teach", "--list", "--json").objects
        assert known in ([OURS], [OURS, THEIRS])
    run("teach", "--forget", "theirs")
    assert run("teach", "theirs", *clips).status == 0
    assert run("teach", "--list", "--json").objects == [OURS, THEIRS]
    assert len(list((tmp_path / "taught").iterdir())) == 2


def test_downloading(tmp_path: Path, rng: random.Random) -> None:
    """A file is there, whole, or not at all, and the next start completes it."""
    content = rng.randbytes(400_000)
    sha256 = hashlib.sha256(content).hexdigest()
    with serve(content) as server:
        server.bytes_per_s = 800_000
        words = [server.url, str(len(content)), sha256]
        for number in range(KILLS):
            home = tmp_path / str(number)
            for _ in range(2):  # the second goes on where the first was killed
                argv = [sys.executable, "-c", DOWNLOAD, *words, str(home)]
                kill(argv, rng.uniform(0.0, DOWNLOADED_S))
                file = home / "tiny" / "file"
                assert not file.exists() or file.read_bytes() == content
            subprocess.run(argv, env=environment(), check=True)
            assert file.read_bytes() == content
            assert [path.name for path in (home / "staging").iterdir()] == ["tiny.lock"]


def kill(argv: Sequence[str], after_s: float, **env: str) -> None:
    """Run a command and kill it after so long, if it has not ended by then."""
    process = subprocess.Popen(
        argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(**env)
    )
    time.sleep(after_s)
    process.kill()
    assert process.wait() in (0, -signal.SIGKILL)


def streams(log: Path) -> list[list[Event]]:
    """The events of each stream of a log, in order."""
    found: dict[int, list[Event]] = {}
    for one in read_log(log) if log.exists() else ():
        found.setdefault(one.stream, []).append(one.event)
    return list(found.values())
