"""The PMIC of a Raspberry Pi 5: volts and amps of what it puts out.

``vcgencmd pmic_read_adc`` (github.com/raspberrypi/utils, ``vcgencmd``) prints a line for every
converter of the chip, twelve currents and then their voltages::

      VDD_CORE_A current(7)=1.12518000A
      VDD_CORE_V volt(15)=0.89316150V

The numbers in brackets are the ADC's channels and do not match: a rail's two lines have its name in
common. ``EXT5V_V``, the board's input, and ``BATT_V``, the clock's battery, have no current. So the
sum of volts times amps is what the PMIC puts out: less than the board draws by what the converters
lose, and without all that hangs on 5 V (USB, fan, hats). It serves for differences on one board.
Raspberry Pi's documentation does not describe the lines; several public captures agree on them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable

from edge_alm.bench.meters.meter import MeterError, Quantity, Reading, parse_number

COMMAND = ("vcgencmd", "pmic_read_adc")
TIMEOUT_S = 2.0
_LINE = re.compile(r"\s*(?P<rail>\w+)_(?P<unit>[AV])\s+(?:current|volt)\(\d+\)=(?P<value>.*)\s*")


def parse_rails(text: str) -> dict[str, float]:
    """Watts of each rail that has a current.

    Raises:
        MeterError: a current without its voltage, a value that is no number, or no rail at all.
    """
    values: dict[str, dict[str, float]] = {"A": {}, "V": {}}
    for line in text.splitlines():
        if found := _LINE.fullmatch(line):
            unit = found["unit"]
            values[unit][found["rail"]] = parse_number(
                found["value"].strip().removesuffix(unit), f"{found['rail']}_{unit}"
            )
    amps, volts = values["A"], values["V"]
    if not amps or not amps.keys() <= volts.keys():
        raise MeterError(
            " ".join(COMMAND),
            expected="amps and volts of every rail, as on a Raspberry Pi 5",
            got=f"no volts of {', '.join(sorted(amps.keys() - volts.keys()))}" if amps else text,
        )
    return {rail: amps[rail] * volts[rail] for rail in amps}


def run_vcgencmd() -> str:
    """What the command prints.

    Raises:
        MeterError: it fails.
    """
    try:
        done = subprocess.run(
            COMMAND, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MeterError(" ".join(COMMAND), expected="an answer", got=str(error)) from error
    if done.returncode != 0:
        raise MeterError(
            " ".join(COMMAND),
            expected="amps and volts of every rail, as on a Raspberry Pi 5",
            got=done.stderr or done.stdout,
            hint="the group video may ask",
        )
    return done.stdout


class Pmic:
    """The chip by its command.

    Args:
        ask: returns what the command prints.
    """

    name = "Raspberry Pi PMIC"
    scope = "outputs of the PMIC: without what its converters lose, USB, fan and hats"
    quantity: Quantity = "watts"
    interval_s = 0.5
    """Each reading starts a process."""
    longest_s = 3.0

    def __init__(self, ask: Callable[[], str] = run_vcgencmd) -> None:
        self._ask = ask

    @classmethod
    def find(cls) -> Pmic | None:
        """None where the command is not installed.

        Raises:
            MeterError: an older board.
        """
        if shutil.which(COMMAND[0]) is None:
            return None
        meter = cls()
        meter.read()
        return meter

    def read(self) -> list[Reading]:
        """See :class:`~edge_alm.bench.meters.meter.Meter`."""
        at_s = time.monotonic()
        return [Reading(at_s, sum(parse_rails(self._ask()).values()))]

    def close(self) -> None:
        """Nothing is open."""
