"""The battery that a machine runs from.

By the kernel's ``Documentation/ABI/testing/sysfs-class-power`` and ``power_supply_class.rst``:
``type`` is ``Battery``; ``status`` is ``Discharging`` where it powers a load; ``voltage_now`` in uV
and ``current_now`` in uA, negative while discharging (many drivers leave the sign out); some have
``power_now`` in uW instead. ``scope`` is ``Device`` for a mouse's battery. A charged battery on the
mains says nothing about what the machine draws.
"""

from __future__ import annotations

import time
from pathlib import Path

from edge_alm.bench.meters.meter import MeterError, Quantity, Reading, read_number, read_text


def read_watts(folder: Path) -> float:
    """What one supply gives, without the sign.

    Raises:
        MeterError: a file is missing or no number.
    """
    if (folder / "power_now").is_file():
        return abs(read_number(folder / "power_now")) * 1e-6
    return abs(read_number(folder / "voltage_now") * read_number(folder / "current_now")) * 1e-12


class Battery:
    """All batteries of the machine; those count that are being discharged.

    Args:
        folders: of their supplies.
    """

    name = "battery"
    scope = "the whole machine, screen and all, at its battery's gauge"
    quantity: Quantity = "watts"
    interval_s = 1.0
    """Gauges renew what they say every second at best."""
    longest_s = 5.0

    def __init__(self, folders: list[Path]) -> None:
        self._folders = folders

    @classmethod
    def find(cls, sysfs: Path) -> Battery | None:
        """The batteries under ``sysfs``; None where there is none.

        Raises:
            MeterError: none is being discharged, or it doesn't say with what power.
        """
        folders = [
            folder
            for folder in sorted((sysfs / "class" / "power_supply").glob("*"))
            if (folder / "type").is_file()
            and read_text(folder / "type") == "Battery"
            and not ((folder / "scope").is_file() and read_text(folder / "scope") == "Device")
        ]
        if not folders:
            return None
        meter = cls(folders)
        meter.read()
        return meter

    def read(self) -> list[Reading]:
        """See :class:`~edge_alm.bench.meters.meter.Meter`."""
        at_s = time.monotonic()
        states = {folder: read_text(folder / "status") for folder in self._folders}
        discharging = [folder for folder, state in states.items() if state == "Discharging"]
        if not discharging:
            raise MeterError(
                f"battery {', '.join(folder.name for folder in states)}",
                expected="Discharging",
                got=", ".join(states.values()),
                hint="unplug the charger",
            )
        return [Reading(at_s, sum(map(read_watts, discharging)))]

    def close(self) -> None:
        """Nothing is open."""
