"""The C library on the desk: built once with the sanitizers, driven line by line."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
C = ROOT / "firmware_bridge" / "c"
MBEDTLS = "a C compiler and Mbed TLS: scripts/system-deps"


def has_mbedtls() -> bool:
    """Whether the host's tool can be built."""
    if not (shutil.which("make") and shutil.which("cc")):
        return False
    source = "#include <mbedtls/chachapoly.h>"
    words = ["cc", "-E", "-xc", "-"]
    return subprocess.run(words, input=source, text=True, capture_output=True).returncode == 0


def make(target: str, folder: Path, **variables: str) -> str:
    """What ``make`` prints; fails the test where it fails."""
    words = [f"{name}={value}" for name, value in variables.items()]
    done = subprocess.run(
        ["make", "-C", str(C), target, f"BUILD={folder}", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Tool:
    """``ealm_tool`` as a process; a complaint of a sanitizer ends it and fails the test."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen(
            [program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"},
        )

    def __call__(self, *words: object) -> list[str]:
        """The words of the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "ealm_tool has ended: see its complaint above"
        return answer.split()

    def bytes_of(self, *words: object) -> bytes:
        """An answer that is bytes."""
        (answer,) = self(*words)
        return bytes.fromhex(answer.replace("-", ""))

    def close(self) -> None:
        """End it; its exit status tells of the sanitizers' last word."""
        self._process.communicate(timeout=10)
        assert self._process.returncode == 0
