"""The machine that a report is of, and the state that it is in. Linux's files; elsewhere little.

Everything is read below ``root``. Where a file is missing, as in most virtual machines, nothing is
said: None or empty means not known, never "none". By the kernel's documents:
``Documentation/ABI/testing/sysfs-devices-system-cpu`` (``cpufreq``, ``thermal_throttle``),
``driver-api/thermal/sysfs-api.rst`` (``thermal_zone``, ``cooling_device``) and, for a Raspberry Pi,
``vcgencmd get_throttled`` (raspberrypi.com, "vcgencmd").
"""

from __future__ import annotations

import math
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edge_alm.native import parse_cpuinfo

ROOT = Path("/")
X86_FEATURES = re.compile(r"sse4_2|avx|avx2|fma|f16c|avx_vnni\w*|avx512\w+|amx_\w+")
ARM_FEATURES = re.compile(r"neon|asimd|asimdhp|asimddp|i8mm|bf16|sve\w*|sme\w*")
"""What the libraries here have code for; a CPU tells dozens more. ``sme`` of an x86 CPU is another
thing."""
ARM_CORES = {
    0xD03: "Cortex-A53",
    0xD04: "Cortex-A35",
    0xD05: "Cortex-A55",
    0xD07: "Cortex-A57",
    0xD08: "Cortex-A72",
    0xD09: "Cortex-A73",
    0xD0A: "Cortex-A75",
    0xD0B: "Cortex-A76",
    0xD0C: "Neoverse-N1",
    0xD40: "Neoverse-V1",
    0xD41: "Cortex-A78",
    0xD42: "Cortex-A78AE",
    0xD44: "Cortex-X1",
    0xD46: "Cortex-A510",
    0xD47: "Cortex-A710",
    0xD49: "Neoverse-N2",
    0xD4F: "Neoverse-V2",
}
"""``CPU part`` of Arm's own designs (``CPU implementer`` 0x41); Linux gives no names there."""
PACKAGES = ("edge-alm", "onnxruntime", "llama-cpp-python", "ctranslate2", "numpy")
PI_NOW = {
    0: "under-voltage",
    1: "clock held down",
    2: "throttled",
    3: "at the soft temperature limit",
}
"""Bits of ``get_throttled``; 16 higher stands that it has been so since the start."""
COMMAND = ("vcgencmd", "get_throttled")
TIMEOUT_S = 2.0
BUSY_SHARE = 0.25
"""Of the cores: where others had more before anything was measured, figures are not to be trusted.
"""
FULL_CLOCK = 0.99
"""Share of the highest clock; some drivers round."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What stays as it is."""

    model: str
    """The board or computer, as its maker calls it; may be empty."""
    cpu: str
    cores: int
    """That this process may use."""
    features: tuple[str, ...]
    """By Linux's names, those that the libraries here have code for."""
    memory_mb: float | None
    system: str
    """Kernel and architecture."""
    versions: Mapping[str, str]
    """Of Python, this package and the native libraries."""


@dataclass(frozen=True, slots=True)
class State:
    """What changes from minute to minute."""

    governors: tuple[str, ...]
    """Of the CPU's clock, each once."""
    mhz: tuple[float, ...]
    """The clock of each group of cores that share one."""
    ceiling: float | None
    """Share of the hardware's highest clock that is allowed, the lowest of all groups; 1 is all."""
    temperatures_c: Mapping[str, float]
    """By thermal zone."""
    throttles: int | None
    """How often x86 cores and packages have throttled since the machine started."""
    cooled: tuple[str, ...]
    """Cooling that slows the CPU down at this moment."""
    pi: tuple[str, ...] | None
    """What a Raspberry Pi says is wrong with its power or temperature now; and what was."""
    load: float | None
    """Processes that ran or waited for a core, over the last minute."""


def read_machine(root: Path = ROOT) -> Machine:
    """What can be said of the machine."""
    cpuinfo = _text(root / "proc/cpuinfo")
    name, flags = parse_cpuinfo(cpuinfo)
    model = _text(root / "proc/device-tree/model").rstrip("\0")
    if not model:
        dmi = root / "sys/class/dmi/id"
        parts = (_text(dmi / "sys_vendor"), _text(dmi / "product_name"))
        model = " ".join(filter(None, parts))
    known = X86_FEATURES if "sse2" in flags else ARM_FEATURES
    total = re.search(r"^MemTotal:\s+(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE)
    return Machine(
        model=model,
        cpu=_arm_cores(cpuinfo) or name or platform.processor(),
        cores=_cores(),
        features=tuple(sorted(filter(known.fullmatch, flags))),
        memory_mb=round(int(total[1]) * 1024 / 1e6) if total else None,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        versions={"python": platform.python_version(), **_versions(PACKAGES)},
    )


def read_state(root: Path = ROOT, ask_pi: Callable[[], str | None] | None = None) -> State:
    """What can be said of its state at this moment.

    Args:
        root: of the file system.
        ask_pi: returns what ``vcgencmd get_throttled`` prints, None where there is none;
            None: the command itself.
    """
    policies = sorted((root / "sys/devices/system/cpu/cpufreq").glob("policy*"))
    governors = (_text(policy / "scaling_governor") for policy in policies)
    clocks = (_number(policy / "scaling_cur_freq") for policy in policies)
    ceilings = [
        allowed / highest
        for policy in policies
        if (allowed := _number(policy / "scaling_max_freq")) is not None
        and (highest := _number(policy / "cpuinfo_max_freq"))
    ]
    return State(
        governors=tuple(dict.fromkeys(filter(None, governors))),
        mhz=tuple(khz / 1e3 for khz in clocks if khz is not None),
        ceiling=round(min(ceilings), 3) if ceilings else None,
        temperatures_c=_temperatures_c(root),
        throttles=_throttles(root),
        cooled=tuple(_cooled(root)),
        pi=parse_pi((ask_pi or _ask_pi)() or ""),
        load=_number(root / "proc/loadavg"),
    )


def parse_pi(text: str) -> tuple[str, ...] | None:
    """What ``throttled=0x50005`` means, in words; None for a text that says nothing of the kind."""
    found = re.fullmatch(r"throttled=0x([0-9a-fA-F]{1,8})", text.strip())
    if not found:
        return None
    bits = int(found[1], 16)
    now = [f"{name} now" for bit, name in PI_NOW.items() if bits >> bit & 1]
    since = [f"{name} since it started" for bit, name in PI_NOW.items() if bits >> bit + 16 & 1]
    return (*now, *since)


def find_faults(machine: Machine, start: State, end: State) -> list[str]:
    """Why figures taken between two states may be worse than the machine: a line each."""
    faults = []
    if start.load is not None and start.load > BUSY_SHARE * machine.cores:
        faults.append(
            f"other work was going on: a load of {start.load:g} on {machine.cores} cores before "
            "anything was measured"
        )
    if start.throttles is not None and end.throttles is not None:
        count = end.throttles - start.throttles
        if count > 0:
            faults.append(f"the CPU throttled {count} times while it was measured")
    for when, state in (("start", start), ("end", end)):
        faults += [f"{what} slowed the CPU down at the {when}" for what in state.cooled]
        faults += [f"at the {when}: {what}" for what in state.pi or ()]
    ceilings = [c for c in (start.ceiling, end.ceiling) if c is not None]
    if ceilings and min(ceilings) < FULL_CLOCK:
        faults.append(f"the clock may reach {min(ceilings):.0%} of what the CPU can")
    return faults


def is_watched(state: State) -> bool:
    """Whether throttling would be seen at all."""
    seen = state.throttles is not None or state.pi is not None or state.ceiling is not None
    return seen or bool(state.temperatures_c)


def hottest_c(root: Path = ROOT) -> float | None:
    """The temperature of the hottest thermal zone."""
    return max(_temperatures_c(root).values(), default=None)


def mean_mhz(root: Path = ROOT) -> float | None:
    """The CPU's clock, the mean of all groups of cores."""
    files = (root / "sys/devices/system/cpu/cpufreq").glob("policy*/scaling_cur_freq")
    clocks = [khz / 1e3 for file in files if (khz := _number(file)) is not None]
    return sum(clocks) / len(clocks) if clocks else None


def to_dict(part: Machine | State) -> dict[str, Any]:
    """As JSON has it."""
    return asdict(part)


def _arm_cores(cpuinfo: str) -> str:
    """``4 x Cortex-A76``, where these are Arm's own designs."""
    makers = re.findall(r"^CPU implementer\s*:\s*(\w+)", cpuinfo, re.MULTILINE)
    parts = re.findall(r"^CPU part\s*:\s*(\w+)", cpuinfo, re.MULTILINE)
    if not parts or {int(maker, 16) for maker in makers} != {0x41}:
        return ""
    names = [ARM_CORES.get(int(part, 16), f"Arm part {part}") for part in parts]
    return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _versions(packages: Iterable[str]) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _temperatures_c(root: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        millidegrees = _number(zone / "temp")
        if millidegrees is not None:
            name = _text(zone / "type") or zone.name
            found[f"{name} {zone.name}" if name in found else name] = millidegrees / 1e3
    return found


def _throttles(root: Path) -> int | None:
    """All cores' counts, and each package's once: every core of it shows the same count."""
    folders = list((root / "sys/devices/system/cpu").glob("cpu[0-9]*"))
    cores = [_number(folder / "thermal_throttle/core_throttle_count") for folder in folders]
    packages: dict[str, float] = {}
    for folder in folders:
        count = _number(folder / "thermal_throttle/package_throttle_count")
        if count is not None:
            package = _text(folder / "topology/physical_package_id")
            packages[package] = max(count, packages.get(package, 0.0))
    counts = [count for count in (*cores, *packages.values()) if count is not None]
    return int(sum(counts)) if counts else None


def _cooled(root: Path) -> list[str]:
    found = []
    for device in sorted((root / "sys/class/thermal").glob("cooling_device*")):
        kind = _text(device / "type")
        slows = "cpufreq" in kind or kind in ("Processor", "intel_powerclamp")
        # -1 is a powerclamp that is off.
        if slows and (_number(device / "cur_state") or 0.0) > 0.0:
            found.append(kind)
    return found


def _ask_pi() -> str | None:
    if shutil.which(COMMAND[0]) is None:
        return None
    try:
        done = subprocess.run(
            COMMAND, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:  # a sensor may be there and not answer
        return ""


def _number(file: Path) -> float | None:
    """The first word as a number."""
    try:
        value = float(_text(file).partition(" ")[0])
    except ValueError:
        return None
    return value if math.isfinite(value) else None
