"""Build the locked llama-cpp-python for this CPU, once per machine, and print its wheel's path.

The package comes as source only. Its wheel is kept under ``EDGE_ALM_HOME`` (by default
``~/.cache/edge-alm``), one folder per version and set of switches, so that a second clone or
``make clean && make demo`` does not compile again. Your own ``CMAKE_ARGS`` (CUDA, say) are
added after ours and make a folder of their own.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "llama-cpp-python"


def locked_version() -> str:
    """The version that requirements.lock names."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    found = re.search(rf"^{PACKAGE}==([^\s;]+)", text, re.MULTILINE)
    if found is None:
        raise SystemExit(f"requirements.lock: expected a line {PACKAGE}==VERSION, got none")
    return found[1]


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Where built wheels are kept."""
    cache = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(environment.get("EDGE_ALM_HOME") or Path(cache) / "edge-alm") / "wheels"


def compile_wheel(requirement: str, folder: Path, switches: str) -> None:
    """Run pip; show how far the compiler is; on failure print the end of its log and exit."""
    command = [sys.executable, "-m", "pip", "wheel", "--verbose", "--no-deps"]
    # --no-cache-dir: pip's own cache of built wheels does not know the switches.
    command += ["--no-cache-dir", "--no-binary", PACKAGE, "--wheel-dir", str(folder), requirement]
    environment = {
        "CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count() or 1),
        **os.environ,
        "CMAKE_ARGS": switches,
    }
    log: list[str] = []
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            log.append(line)
            step = re.match(r"\s*\[(\d+/\d+)\]", line)
            if step and sys.stderr.isatty():
                print(f"\r  compiling {step[1]} ", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if process.returncode != 0:
        sys.stderr.writelines(log[-40:])
        raise SystemExit(
            f"{requirement}: expected to compile, got exit {process.returncode} (above); "
            "if there is no C++ compiler run scripts/system-deps"
        )


def build_unless_there(folder: Path, version: str, switches: str) -> None:
    """Leave the wheel in the folder, whole or not at all."""
    if any(folder.glob("*.whl")):
        return
    print(
        f"Building {PACKAGE} {version} for this CPU: about 4 minutes on two cores, "
        f"once; kept in {folder}",
        file=sys.stderr,
        flush=True,
    )
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        compile_wheel(f"{PACKAGE}=={version}", Path(scratch), switches)
        folder.mkdir(exist_ok=True)
        for wheel in Path(scratch).glob("*.whl"):
            wheel.replace(folder / wheel.name)


def main() -> None:
    """Print the path of the wheel; build it first where it is not there."""
    native = runpy.run_path(str(ROOT / "edge_alm" / "native.py"))  # numpy is not there yet
    switches = " ".join(
        [*native["llama_cmake_args"](native["this_cpu"]()), os.environ.get("CMAKE_ARGS", "")]
    ).strip()
    version = locked_version()
    recipe = hashlib.sha256(switches.encode()).hexdigest()[:12]
    folder = cache_folder(os.environ) / f"{PACKAGE}-{version}-{platform.machine()}-{recipe}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another clone may be compiling: wait, then use its wheel
        build_unless_there(folder, version, switches)
    print(next(folder.glob("*.whl")))


if __name__ == "__main__":
    main()
