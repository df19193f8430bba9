"""RAPL: the energy counters of x86 CPUs, through the kernel's powercap.

By the kernel's ``Documentation/power/powercap/powercap.rst``: a zone has ``name``, ``energy_uj`` (a
counter in microjoules) and ``max_energy_range_uj``, its range: then it begins at 0 again.
``intel-rapl:N`` with the name ``package-N`` is a CPU package; ``intel-rapl:N:M`` are parts of it
(core, uncore) and would count twice, as would ``intel-rapl-mmio:N``, another way to the same
counter, and ``psys``, which contains the packages. AMD's CPUs are there by the same names. Since
Linux 5.10 only root may read the counters (CVE-2020-8694).
"""

from __future__ import annotations

import re
import time
from pathlib import Path

from edge_alm.bench.meters.meter import MeterError, Quantity, Reading, read_number, read_text

HINT = "run as root, or let others read: sudo chmod a+r /sys/class/powercap/intel-rapl:*/*energy*"
_ZONE = re.compile(r"intel-rapl:\d+")


def joules_between(before_uj: float, now_uj: float, range_uj: float) -> float:
    """What a counter counted, wrapped around at most once.

    Raises:
        MeterError: half the range or more, minutes of full load: someone has reset it.
    """
    counted_uj = (now_uj - before_uj) % range_uj
    if counted_uj >= range_uj / 2:
        raise MeterError(
            "RAPL", expected="a counter that counts", got=f"{before_uj:.0f}, then {now_uj:.0f} uJ"
        )
    return counted_uj * 1e-6


class _Zone:
    def __init__(self, folder: Path) -> None:
        self._path = folder / "energy_uj"
        self._range_uj = read_number(folder / "max_energy_range_uj", HINT)
        if self._range_uj <= 0.0:
            raise MeterError(str(folder), expected="a range", got=f"{self._range_uj:.0f} uJ")
        self._last_uj = read_number(self._path, HINT)

    def count(self) -> float:
        """Joules since the last time."""
        before_uj, self._last_uj = self._last_uj, read_number(self._path, HINT)
        return joules_between(before_uj, self._last_uj, self._range_uj)


class Rapl:
    """All CPU packages.

    Args:
        folders: of their zones.

    Raises:
        MeterError: they cannot be read.
    """

    name = "RAPL"
    scope = "the CPU packages: without memory modules, disk and screen"
    quantity: Quantity = "joules"
    interval_s = 0.1
    longest_s = 60.0
    """A counter loses nothing meanwhile, unless it wraps around twice."""

    def __init__(self, folders: list[Path]) -> None:
        self._zones = [_Zone(folder) for folder in folders]
        self._joules = 0.0

    @classmethod
    def find(cls, sysfs: Path) -> Rapl | None:
        """The packages under ``sysfs``; None where there is none.

        Raises:
            MeterError: they are there and cannot be read.
        """
        folders = [
            folder
            for folder in sorted((sysfs / "class" / "powercap").glob("intel-rapl:*"))
            if _ZONE.fullmatch(folder.name)
            and (folder / "name").is_file()
            and read_text(folder / "name").startswith("package-")
        ]
        return cls(folders) if folders else None

    def read(self) -> list[Reading]:
        """See :class:`~edge_alm.bench.meters.meter.Meter`."""
        at_s = time.monotonic()
        for zone in self._zones:
            self._joules += zone.count()
        return [Reading(at_s, self._joules)]

    def close(self) -> None:
        """Nothing is open."""
