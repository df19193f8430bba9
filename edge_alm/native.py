"""Native code on this machine: how to build llama.cpp for its CPU, and does a library run.

Standard library only: the build asks this file for its switches before anything is
installed (``scripts/llama_cmake_args.py`` loads it by path), and ``edge-alm doctor`` runs
every native library through :func:`run_probe`, because a library built for the wrong CPU
does not raise, it kills the process.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

AVX512_FLAGS = frozenset({"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"})
"""What GGML_AVX512 compiles for (ggml-cpu/CMakeLists.txt); a CPU needs them all."""

GGML_SWITCHES: Mapping[str, frozenset[str]] = {
    "GGML_SSE42": frozenset({"sse4_2"}),
    "GGML_AVX": frozenset({"avx"}),
    "GGML_AVX2": frozenset({"avx2"}),
    "GGML_FMA": frozenset({"fma"}),
    "GGML_F16C": frozenset({"f16c"}),
    "GGML_BMI2": frozenset({"bmi2"}),
    "GGML_AVX_VNNI": frozenset({"avx_vnni"}),
    "GGML_AVX512": AVX512_FLAGS,
    "GGML_AVX512_VBMI": AVX512_FLAGS | {"avx512vbmi"},
    "GGML_AVX512_VNNI": AVX512_FLAGS | {"avx512_vnni"},
    "GGML_AVX512_BF16": AVX512_FLAGS | {"avx512_bf16"},
}
"""ggml's switches and the /proc/cpuinfo flags each one needs. AMX is left out on purpose."""


@dataclass(frozen=True)
class Cpu:
    """What decides how native code is built."""

    system: str
    """As ``platform.system()`` says: Linux, Darwin."""
    machine: str
    """As ``platform.machine()`` says: x86_64, aarch64, arm64."""
    name: str
    """As a person would call it; may be empty."""
    flags: frozenset[str]
    """Linux's names of the CPU's features; empty where the system has no such list."""

    @property
    def has_amx(self) -> bool:
        """Whether llama.cpp's own choice of switches would take in AMX."""
        return any(flag.startswith("amx_") for flag in self.flags)


def parse_cpuinfo(text: str) -> tuple[str, frozenset[str]]:
    """The first CPU's name and feature flags from the text of ``/proc/cpuinfo``.

    x86 calls the list ``flags``, Arm ``Features``; Arm gives a board's ``Model`` or nothing
    in place of a name.
    """
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip(), value.strip())
    name = fields.get("model name") or fields.get("Model") or ""
    return name, frozenset((fields.get("flags") or fields.get("Features") or "").split())


def this_cpu() -> Cpu:
    """The CPU this process runs on."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # macOS has none, and no switch depends on it there
        text = ""
    name, flags = parse_cpuinfo(text)
    return Cpu(platform.system(), platform.machine(), name or platform.processor(), flags)


def llama_cmake_args(cpu: Cpu) -> list[str]:
    """Switches for building llama.cpp, to go into ``CMAKE_ARGS``.

    llama.cpp's own default on x86 is ``GGML_NATIVE=ON``, which compiles for all the CPU
    reports. Where that includes AMX the first decode was seen to die with a general
    protection fault. So on x86 Linux every instruction set is named here, on or off (off
    too, because ``GGML_NATIVE=OFF`` alone turns AVX2 on whatever the CPU), and AMX is not
    among them. On Arm and macOS there is no AMX, ``GGML_NATIVE=ON`` finds dot-product and
    i8mm by itself, and nothing is added.
    """
    if cpu.system != "Linux" or cpu.machine != "x86_64" or not cpu.flags:
        return []
    return ["-DGGML_NATIVE=OFF"] + [
        f"-D{switch}={'ON' if needs <= cpu.flags else 'OFF'}"
        for switch, needs in GGML_SWITCHES.items()
    ]


def llama_reinstall_command(cpu: Cpu) -> str:
    """The shell command that rebuilds llama-cpp-python for this CPU."""
    switches = " ".join(llama_cmake_args(cpu))
    environment = f"CMAKE_ARGS={shlex.quote(switches)} " if switches else ""
    return (
        f"{environment}{shlex.quote(sys.executable)} -m pip install "
        "--force-reinstall --no-deps --no-cache-dir --no-binary llama-cpp-python llama-cpp-python"
    )


@dataclass(frozen=True)
class Outcome:
    """How a probe ended."""

    status: Literal["ok", "failed", "crashed", "timeout"]
    report: Mapping[str, Any]
    """The probe's own report when ``ok``, else empty."""
    reason: str
    """One line; empty when ``ok``. For a crash the signal's name."""
    seconds: float
    """Wall clock of the whole process, start and imports included."""


_PREAMBLE = (
    "import resource\n"
    "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"  # a crash is expected: no core file
)


def run_probe(code: str, timeout_s: float) -> Outcome:
    """Run Python code in a process of its own and say how that ended.

    Args:
        code: its last line on stdout is its report, one JSON object. What it raises is its
            reason, whose last line on stderr is taken.
        timeout_s: after this the process is killed.
    """
    here = str(Path(__file__).resolve().parent.parent)
    known = os.environ.get("PYTHONPATH")
    began_s = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", _PREAMBLE + code],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        cwd=os.sep,  # `python -c` imports from its folder first; the user's may hold a numpy.py
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (here, known)))},
    )
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return Outcome("timeout", {}, f"no end within {timeout_s:g} s", timeout_s)
    finally:
        process.kill()
        process.communicate()
    seconds = time.monotonic() - began_s
    if process.returncode < 0:
        return Outcome("crashed", {}, _signal_name(-process.returncode), seconds)
    if process.returncode > 0:
        return Outcome("failed", {}, _last_line(err) or f"exit {process.returncode}", seconds)
    try:
        report = json.loads(_last_line(out))
    except ValueError:
        report = None
    if not isinstance(report, dict):
        return Outcome("failed", {}, f"no report, but {_last_line(out)!r}", seconds)
    return Outcome("ok", report, "", seconds)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else ""


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Drop what native libraries write to stderr meanwhile.

    ALSA and JACK tell of devices that nobody asked for, LiteRT of its delegate. sounddevice does
    the same when it initialises PortAudio.
    """
    try:
        kept = os.dup(2)
    except OSError:  # stderr is closed
        yield
        return
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(null)
        os.close(kept)


_M_MMAP_THRESHOLD = -3
"""From glibc's malloc.h."""
_MAPPED_BYTES = 2 << 20


def keep_heap_small() -> None:
    """Let glibc map every large block on its own, so that freeing it returns it to the system.

    By default glibc raises that limit to 32 MB as it sees large blocks freed, and then keeps
    them: listening to speech peaks at 209 MB resident without this and at 191 MB with it.
    """
    _call_libc("mallopt", _M_MMAP_THRESHOLD, _MAPPED_BYTES)


def return_freed_memory() -> None:
    """Give freed heap back to the system; about 3 ms.

    YAMNet's session leaves 69 MB resident without this and 34 MB with it; CTranslate2 beside
    it grows to 199 MB without and stays at 166 MB with it.
    """
    _call_libc("malloc_trim", 0)


def _call_libc(name: str, *arguments: int) -> None:
    """Call a function of glibc; other C libraries have none of these and need none."""
    if sys.platform == "linux":
        function = getattr(ctypes.CDLL(None), name, None)
        if function is not None:
            function(*arguments)
