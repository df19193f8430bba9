"""Resolve every extra on every supported Python and write requirements.lock.

    python3 scripts/lock_requirements.py

Needs python3.10 to python3.13 and an index (your pip's own); installs nothing. The lock is a
constraints file: `pip install -c requirements.lock` takes from it the versions of what it
needs and nothing else. Where the Pythons agree a package has one line, elsewhere one line per
version with a marker.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
EXTRAS = "mic,pyaudio,llm,asr,faster-whisper,sherpa,bridge,opus,ble,tflite,export,dev"
FOLLOWING = ("cuda-", "nvidia-", "triton")
"""Packages that only torch for CUDA needs. It pins them itself; torch for the CPU has none."""
HEADER = """\
# Versions that are known to work together: a constraints file for pip (-c).
# Written by scripts/lock_requirements.py; do not edit by hand.
"""


def find_python(version: str) -> str:
    """The interpreter of that version: on PATH, or among pyenv's."""
    candidates = [shutil.which(f"python{version}") or ""]
    pyenv = Path.home() / ".pyenv" / "versions"
    candidates += [str(p / "bin" / "python") for p in sorted(pyenv.glob(f"{version}.*"))]
    for candidate in filter(None, candidates):
        # A pyenv shim exists for every version and fails for those not chosen.
        if subprocess.run([candidate, "--version"], capture_output=True).returncode == 0:
            return candidate
    raise SystemExit(f"python{version}: expected it on PATH, got none; install it")


def resolve(version: str) -> dict[str, str]:
    """Package to version, as pip on that Python resolves our extras."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        subprocess.run([find_python(version), "-m", "venv", f"{folder}/venv"], check=True)
        python = f"{folder}/venv/bin/python"
        # Python 3.10 brings a pip that knows no --report (22.2).
        subprocess.run([python, "-m", "pip", "install", "-q", "--upgrade", "pip"], check=True)
        command = [python, "-m", "pip", "install", "-q", "--dry-run", "--ignore-installed"]
        command += ["--report", str(report), f"{ROOT}[{EXTRAS}]"]
        subprocess.run(command, check=True)
        installs = json.loads(report.read_text(encoding="utf-8"))["install"]
    found = {normalise(i["metadata"]["name"]): i["metadata"]["version"] for i in installs}
    del found["edge-alm"]
    return {
        # 2.13.0+cpu and +cu130 are builds of one version: a constraint takes whichever is there.
        name: version.partition("+")[0]
        for name, version in found.items()
        if not name.startswith(FOLLOWING)
    }


def normalise(name: str) -> str:
    """A package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def lock_lines(resolved: dict[str, dict[str, str]]) -> list[str]:
    """Lines of the lock from package versions by Python version.

    A package that not every Python needs gets no marker for that: a constraint on a package
    that nobody asks for does nothing.
    """
    versions: defaultdict[str, dict[str, list[str]]] = defaultdict(dict)
    for python, packages in resolved.items():
        for name, version in packages.items():
            versions[name].setdefault(version, []).append(python)
    lines = []
    for name in sorted(versions):
        if len(versions[name]) == 1:
            lines.append(f"{name}=={next(iter(versions[name]))}")
            continue
        for version, pythons in versions[name].items():
            marker = " or ".join(f'python_version == "{p}"' for p in pythons)
            lines.append(f"{name}=={version}; {marker}")
    return lines


def main() -> None:
    """Write the lock."""
    resolved = {}
    for version in PYTHONS:
        print(f"python{version}", file=sys.stderr)
        resolved[version] = resolve(version)
    lines = lock_lines(resolved)
    (ROOT / "requirements.lock").write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
