"""What was taught stays, whatever happens while more is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_alm.errors import ModelBrokenError, UsageError
from edge_alm.models import taught
from edge_alm.models.taught import LONGEST_NAME_CHARS, TaughtSound

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGE_ALM_HOME", str(tmp_path))
    return tmp_path


def sound(name: str, value: float = 1.0, n: int = 2) -> TaughtSound:
    return TaughtSound(name, np.full((n, 6), value, np.float32), "encoder")


names = st.text(st.characters(categories=("L", "N", "P", "Zs"), exclude_characters=","), min_size=1)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(names=st.lists(names, max_size=5))
def test_what_is_remembered_is_there_until_it_is_forgotten(names: list[str]) -> None:
    for path in taught.folder().glob("*"):  # of the example before
        path.unlink()
    kept: dict[str, str] = {}
    for given_ in names:
        try:
            name = taught.check_name(given_)
        except UsageError:
            assert not given_.split() or len(given_) > LONGEST_NAME_CHARS
            continue
        taught.remember(sound(name))
        kept[name.lower()] = name
    assert sorted(s.name for s in taught.taught()) == sorted(kept.values())
    for name in kept.values():
        assert taught.is_taught(name)
        taught.forget(f" {name} ")
    assert taught.taught() == []


def test_examples_come_back() -> None:
    values = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float16)
    taught.remember(TaughtSound("bell", values.astype(np.float32), "abc"))
    (back,) = taught.taught()
    assert (back.name, back.encoder_id) == ("bell", "abc")
    assert np.array_equal(back.examples, values)
    taught.remember(sound("bell", 2.0))
    (back,) = taught.taught()
    assert np.all(back.examples == 2.0)


@pytest.mark.parametrize("name", ["", "  ", "a, b", "x" * (LONGEST_NAME_CHARS + 1), "a\x1b[2J"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="characters without a comma"):
        taught.check_name(name)


def test_forgetting_what_is_not_there_says_what_is() -> None:
    with pytest.raises(UsageError, match="a sound that was taught"):
        taught.forget("bell")
    taught.remember(sound("our bell"))
    with pytest.raises(UsageError, match="one of: our bell"):
        taught.forget("bell")


@pytest.mark.parametrize("keep", [0, 10, 200, -1])
def test_a_damaged_file_is_told(keep: int) -> None:
    path = taught.remember(sound("bell"))
    whole = path.read_bytes()
    path.write_bytes(whole[:keep])
    with pytest.raises(ModelBrokenError, match="remove it and teach it again"):
        taught.taught()


def test_another_npz_is_no_sound() -> None:
    path = taught.remember(sound("bell"))
    np.savez(path, name=np.zeros(1, np.uint8))
    with pytest.raises(ModelBrokenError, match="expected a taught sound"):
        taught.taught()


def test_a_folder_that_cannot_be_written_is_one_line(home: Path) -> None:
    (home / "taught").write_text("a file in its place")
    with pytest.raises(UsageError, match="a folder that can be written"):
        taught.remember(sound("bell"))


def test_what_was_taught_outlives_a_kill(home: Path) -> None:
    """Killed at any moment, each sound is one of those that were taught, whole."""
    code = (
        "import numpy as np\n"
        "from edge_alm.models.taught import TaughtSound, remember\n"
        "for i in range(10**6):\n"
        "    remember(TaughtSound('bell', np.full((20, 2048), i % 512, np.float32), 'e'))\n"
        "    print(i, flush=True)\n"
    )
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        (back,) = taught.taught()
        assert back.examples.shape == (20, 2048)
        assert np.all(back.examples == back.examples[0, 0])
