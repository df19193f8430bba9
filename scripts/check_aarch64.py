"""Check that a user on 64-bit Arm compiles nothing but llama-cpp-python.

Resolves what `make demo` installs (the base and the extras mic and asr) for Linux aarch64 on
every supported Python, at the locked versions, from wheels only; downloads and installs
nothing. The last line is the result.

    .venv/bin/python scripts/check_aarch64.py
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
EXTRAS = ("mic", "asr")

# 2.36 is Debian 12, on which Raspberry Pi OS of 2023 builds; 2.35 is Ubuntu 22.04 (Jetson).
GLIBC_MINOR = 35


def applying(lines: list[str], python: str) -> list[str]:
    """The requirements whose markers hold on that Python on Linux aarch64, without the markers.

    pip evaluates markers for the Python it runs on, whatever --python-version says.
    """
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "platform_machine": "aarch64",
        "platform_system": "Linux",
        "sys_platform": "linux",
    }
    found = []
    for line in lines:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            requirement.marker = None
            found.append(str(requirement))
    return found


def resolve(python: str, wanted: list[str], locked: list[str]) -> tuple[str, list[str]]:
    """pip's complaint (empty when all is well) and the wheels it would install."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run"]
    command += ["--ignore-installed", "--only-binary=:all:", "--no-cache-dir"]
    # pip holds Requires-Python against the Python it runs on too; the lock was resolved on each.
    command += ["--ignore-requires-python", "--implementation", "cp", "--python-version", python]
    for minor in range(17, GLIBC_MINOR + 1):
        command += ["--platform", f"manylinux_2_{minor}_aarch64"]
    command += ["--platform", "manylinux2014_aarch64"]
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("\n".join(applying(locked, python)), encoding="utf-8")
        report = Path(folder) / "report.json"
        command += ["--target", folder, "--report", str(report), "-c", str(constraints)]
        done = subprocess.run(
            command + applying(wanted, python), capture_output=True, text=True, errors="replace"
        )
        if done.returncode != 0:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            return "\n".join(errors) or done.stderr, []
        installs = json.loads(report.read_text(encoding="utf-8"))["install"]
    return "", [Path(i["download_info"]["url"]).name for i in installs]


def main() -> int:
    """Exit status 0 when every Python resolves, else 1."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = list(project["dependencies"])
    for extra in EXTRAS:
        wanted += project["optional-dependencies"][extra]
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    locked = [line for line in lock.splitlines() if re.match(r"\w", line)]

    began_s = time.monotonic()
    with ThreadPoolExecutor(len(PYTHONS)) as pool:
        results = list(pool.map(lambda python: resolve(python, wanted, locked), PYTHONS))
    broken = 0
    for python, (complaint, wheels) in zip(PYTHONS, results, strict=True):
        native = sum("aarch64" in wheel for wheel in wheels)
        broken += bool(complaint)
        print(f"python {python}: {complaint or f'{len(wheels)} wheels, {native} native'}")
    print(
        f"aarch64: {len(PYTHONS) - broken} of {len(PYTHONS)} Pythons resolve from wheels "
        f"({time.monotonic() - began_s:.0f} s)"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
