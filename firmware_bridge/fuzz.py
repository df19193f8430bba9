"""Fuzz what parses the protocol: libFuzzer on the C library, atheris on the Python host.

    python -m firmware_bridge.fuzz [--seconds 600] [--only c|python] [--folder build/fuzz]

Each half of it gets half of the time. What ends one of them is left in the folder, and the exit
status is 1. clang and Mbed TLS come by scripts/system-deps, atheris with the extra ``dev``.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
LIMITS = ("-rss_limit_mb=512", "-timeout=10", "-max_len=4096", "-print_final_stats=1")


def _program(name: str, folder: Path) -> list[str]:
    if name == "python":
        return [sys.executable, "-m", "firmware_bridge.fuzz", "--atheris"]
    built = folder / "firmware"
    words = ["make", "-s", "-C", str(ROOT / "firmware_bridge" / "c"), "fuzzer", f"BUILD={built}"]
    subprocess.run(words, check=True)
    return [str(built / "ealm_fuzz")]


def fuzz(name: str, folder: Path, seconds: int) -> bool:
    """Run one of them; False: it found something."""
    from firmware_bridge.fuzz_host import seeds

    corpus = folder / name
    corpus.mkdir(parents=True, exist_ok=True)
    for i, seed in enumerate(seeds()):
        (corpus / f"seed_{i}").write_bytes(seed)
    found = folder / f"found_{name}_"
    words = [f"-max_total_time={seconds}", f"-artifact_prefix={found}", *LIMITS, str(corpus)]
    program = _program(name, folder)
    # A quarantine of 256 MB, the sanitizer's own measure, would hide what grows.
    done = subprocess.run(
        [*program, *words],
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
        cwd=ROOT,
        env={**os.environ, "ASAN_OPTIONS": "quarantine_size_mb=16"},
    )
    if done.returncode:
        print(done.stderr[-8000:], file=sys.stderr)
        print(f"{name}: exit status {done.returncode}; what ended it: {found}*")
        return False
    stats = dict(re.findall(r"stat::(\w+): +(\d+)", done.stderr))
    lives, peak_mb = stats["number_of_executed_units"], stats["peak_rss_mb"]
    print(f"{name}: {lives} lives in {seconds} s, nothing found, at most {peak_mb} MB")
    return True


def _run_atheris(arguments: list[str]) -> None:
    """Become a libFuzzer process; the library is watched from its import on."""
    import atheris

    with atheris.instrument_imports(include=["edge_alm.bridge"]):
        from firmware_bridge.fuzz_host import HostLife
    atheris.Setup([sys.argv[0], *arguments], lambda data: HostLife().live(data))
    atheris.Fuzz()


def main() -> None:
    """Fuzz both."""
    if sys.argv[1:2] == ["--atheris"]:
        _run_atheris(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description="Fuzz what parses the bridge's protocol.")
    parser.add_argument("--seconds", type=int, default=600, help="in all (default 600)")
    parser.add_argument("--only", choices=("c", "python"), help="one of them, all the time")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "fuzz")
    args = parser.parse_args()
    names = [args.only] if args.only else ["c", "python"]
    results = [fuzz(name, args.folder.resolve(), args.seconds // len(names)) for name in names]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
