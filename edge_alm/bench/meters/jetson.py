"""The INA3221 of a Jetson: volts and amps of its rails.

By the kernel's ``Documentation/hwmon/ina3221.rst``: ``in[123]_label``, ``in[123]_input`` in mV
and ``curr[123]_input`` in mA. ``in[456]`` are the shunts' voltages, ``in7`` and ``curr4`` sums of
channels: no rails. A channel that is not connected has no label (NVIDIA's own kernels: ``NC``), and
one that is switched off answers "No data available". JetPack 4's older driver (``rail_name_*``) is
not read.

Rails nest. ``VDD_IN`` (Orin Nano, Orin NX, Xavier NX: ``tegra234-p3767.dtsi``, and NVIDIA's forum,
200883) and ``POM_5V_IN`` (Nano: the same forum, 73608) are the whole module's input, in which the
others are contained. The AGX modules have no such rail, and theirs are added up: ``VDD_GPU_SOC``,
``VDD_CPU_CV`` and ``VIN_SYS_5V0`` of the AGX Orin (``tegra234-p3701.dtsi``). Its
``VDDQ_VDD2_1V8AO`` is taken for a part of ``VIN_SYS_5V0``, at whose 5 V it is measured, and not
counted again; no document of NVIDIA's that was at hand says so. None sees the carrier board.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path

from edge_alm.bench.meters.meter import MeterError, Quantity, Reading, read_number, read_text

CHANNELS = (1, 2, 3)
TOTALS = ("VDD_IN", "POM_5V_IN")
INSIDE = {"VDDQ_VDD2_1V8AO": "VIN_SYS_5V0"}
"""Rails that another one feeds."""


def choose_rails(labels: Collection[str]) -> list[str]:
    """The rails that together are the module, none of them twice."""
    for total in TOTALS:
        if total in labels:
            return [total]
    return sorted(name for name in labels if INSIDE.get(name) not in labels)


class Ina3221:
    """All INA3221 of the machine.

    Args:
        rails: for each label the folder and the channel.

    Raises:
        MeterError: no rails.
    """

    name = "INA3221"
    quantity: Quantity = "watts"
    interval_s = 0.1
    longest_s = 0.5

    def __init__(self, rails: dict[str, tuple[Path, int]]) -> None:
        chosen = choose_rails(rails)
        if not chosen:
            raise MeterError("INA3221", expected="a rail with a label", got="none")
        self._files = [
            (folder / f"in{channel}_input", folder / f"curr{channel}_input")
            for folder, channel in (rails[label] for label in chosen)
        ]
        self.scope = f"the module without its carrier: {' + '.join(chosen)}"

    @classmethod
    def find(cls, sysfs: Path) -> Ina3221 | None:
        """The chips under ``sysfs``; None where there is none.

        Raises:
            MeterError: they cannot be read.
        """
        folders = [
            folder
            for folder in sorted((sysfs / "class" / "hwmon").glob("hwmon*"))
            if (folder / "name").is_file() and read_text(folder / "name") == "ina3221"
        ]
        rails = {}
        for folder in folders:
            for channel in CHANNELS:
                path = folder / f"in{channel}_label"
                label = read_text(path) if path.is_file() else ""
                if label not in ("", "NC"):
                    rails[label] = folder, channel
        if not folders:
            return None
        meter = cls(rails)
        meter.read()
        return meter

    def read(self) -> list[Reading]:
        """See :class:`~edge_alm.bench.meters.meter.Meter`."""
        at_s = time.monotonic()
        milli_squared = sum(read_number(volts) * read_number(amps) for volts, amps in self._files)
        return [Reading(at_s, milli_squared * 1e-6)]

    def close(self) -> None:
        """Nothing is open."""
