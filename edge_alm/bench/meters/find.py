"""Which meter a machine has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from edge_alm.bench.meters.battery import Battery
from edge_alm.bench.meters.external import ExternalMeter
from edge_alm.bench.meters.jetson import Ina3221
from edge_alm.bench.meters.meter import Meter, MeterError
from edge_alm.bench.meters.rapl import Rapl
from edge_alm.bench.meters.raspberry import Pmic
from edge_alm.errors import UsageError

SYSFS = Path("/sys")
FINDERS: Mapping[str, Callable[[Path], Meter | None]] = {
    "ina3221": Ina3221.find,
    "pmic": lambda _sysfs: Pmic.find(),
    "rapl": Rapl.find,
    "battery": Battery.find,
}
"""The first that works is taken. A battery's gauge sees more than RAPL, and too coarsely."""


def find_meter(choice: str = "auto", sysfs: Path = SYSFS) -> tuple[Meter | None, list[str]]:
    """A meter, and a line for each that is there and cannot be used.

    Args:
        choice: ``auto``, one of :data:`FINDERS`, ``serial:PATH[@BAUD]``, or ``none``.

    Raises:
        UsageError: no such choice.
        MeterError, DeviceError: the one that was chosen is not there, or cannot be used.
    """
    if choice == "none":
        return None, []
    if choice.startswith("serial:"):
        return ExternalMeter.open(choice.removeprefix("serial:")), []
    if choice == "auto":
        reasons = []
        for find in FINDERS.values():
            try:
                meter = find(sysfs)
            except MeterError as error:
                reasons.append(str(error))
                continue
            if meter is not None:
                return meter, reasons
        return None, reasons
    if choice not in FINDERS:
        expected = f"auto, none, {', '.join(FINDERS)} or serial:PATH"
        raise UsageError(f"meter {choice}", expected=expected, got=choice)
    meter = FINDERS[choice](sysfs)
    if meter is None:
        raise MeterError(f"meter {choice}", expected="one on this machine", got="none")
    return meter, []
