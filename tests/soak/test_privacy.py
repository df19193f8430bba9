"""Nothing leaves the machine, and nothing that was heard stays on it unless somebody asked."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from command import DATA, ROOT, command, environment

HOME = DATA / "home.flac"


@pytest.fixture(scope="module")
def alone(require: Callable[[object, str], None]) -> list[str]:
    """What runs a command in a network of its own, with no way out of it, not even a loopback."""
    words = ["unshare", "--net", *(() if os.geteuid() == 0 else ("--map-root-user",))]
    able = shutil.which("unshare") and subprocess.run([*words, "true"], check=False).returncode == 0
    require(able, "a network namespace")
    return words


COMMANDS: dict[str, tuple[object, ...]] = {
    "listen": ("listen", HOME, "--json", "--watch", "a doorbell", "--partial"),
    "ask": ("ask", HOME, "What was heard first?", "--choice", "a dog", "--choice", "a doorbell"),
    "think": ("ask", HOME, "What was heard first?", "--think", "--json"),
    "eval": ("eval", "questions.jsonl", "--json"),
    "bench": ("bench", "--json", "--quick", "--no-llm"),
    "models": ("models", "verify"),
    "doctor": ("doctor",),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_works_without_a_network_and_keeps_nothing(
    name: str, models: Path, alone: list[str], tmp_path: Path
) -> None:
    work, home = tmp_path / "work", tmp_path / "home"
    work.mkdir()
    home.mkdir()
    (work / "questions.jsonl").write_text(
        f'{{"id": "1", "audio": "{HOME}", "question": "Is there a doorbell?", '
        '"choices": ["yes", "no"], "answer": "yes", "skill": "present"}\n'
    )
    store = tmp_path / "store"
    shutil.copytree(models, store, symlinks=True, copy_function=link)
    kept = contents(tmp_path)
    done = subprocess.run(
        [*alone, *command(*COMMANDS[name])],
        capture_output=True,
        text=True,
        cwd=work,
        env=environment(EDGE_ALM_HOME=str(store), HOME=str(home), PYTHONPATH=str(ROOT)),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    new = {path for path, size in contents(tmp_path).items() if kept.get(path) != size}
    # What a model made of its own fixed words, and how fast this machine is: nothing of a user's.
    assert all(path.parts[0] == "store" and path.parts[1] in OWN for path in new), new


def link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # on another file system
        shutil.copy2(source, target)


OWN = ("prefixes", "silences", "tuning.json", "native")
"""In the store: states of the language model before any scene, what Whisper says to silence."""


def contents(folder: Path) -> dict[Path, int]:
    return {
        path.relative_to(folder): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file()
    }
