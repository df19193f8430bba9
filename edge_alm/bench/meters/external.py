"""A meter on the bench that prints lines on a serial line.

One reading a line, ``time,volts,amps`` or ``time,watts``: time in seconds on the meter's own
clock, numbers with a point; what a microcontroller with an INA219 can be made to print. A line
without a digit is a heading; what else is not of this form is told and not read.
"""

from __future__ import annotations

import os
import re
import time
from collections import deque
from contextlib import suppress
from itertools import pairwise

from edge_alm.bench.meters.meter import MeterError, Quantity, Reading, parse_number
from edge_alm.bridge.serial import open_line, split_address

BAUD = 115_200
LONGEST_LINE_BYTES = 4096
SLIP_S = 1.0
"""A time that is so far in the future has another beginning."""


def parse_line(line: str) -> tuple[float, float] | None:
    """The meter's time in seconds, and watts; None for a heading.

    Raises:
        MeterError: it is neither.
    """
    fields = [field.strip() for field in line.split(",")]
    if not re.search(r"\d", line):
        return None
    if len(fields) not in (2, 3):
        raise MeterError("meter", expected="time,volts,amps or time,watts", got=repr(line))
    at_s, *rest = (parse_number(field, "meter") for field in fields)
    return at_s, rest[0] if len(rest) == 1 else rest[0] * rest[1]


class ExternalMeter:
    """Reads a descriptor that does not wait.

    Args:
        fd: is closed by :meth:`close`.
        name: as a person writes it: ``serial:/dev/ttyUSB0``.
    """

    scope = "whatever the meter is wired to"
    quantity: Quantity = "watts"
    interval_s = 0.1
    longest_s = 2.0

    def __init__(self, fd: int, name: str) -> None:
        self.name = name
        self._fd = fd
        self._text = b""
        self._lines: deque[str] = deque()
        self._is_cut = True  # the first line may have begun before we came
        self._newest_s: float | None = None  # of the meter's clock
        self._offset_s = 0.0

    @classmethod
    def open(cls, address: str) -> ExternalMeter:
        """A serial line, ``PATH`` or ``PATH@BAUD``.

        Raises:
            UsageError, DeviceError: as :mod:`edge_alm.bridge.serial`.
        """
        path, speed = split_address(address, BAUD)
        return cls(open_line(path, speed), f"serial:{path}")

    def read(self) -> list[Reading]:
        """See :class:`~edge_alm.bench.meters.meter.Meter`."""
        now_s = time.monotonic()
        if not self._lines:
            self._receive()
        found = self._parse()
        if not found:
            return []
        offset_s = self._place([at_s for at_s, _ in found], now_s)
        return [Reading(at_s + offset_s, watts) for at_s, watts in found]

    def close(self) -> None:
        """See :class:`~edge_alm.bench.meters.meter.Meter`."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)

    def _parse(self) -> list[tuple[float, float]]:
        """The lines up to one that is wrong, which is told when it is the first."""
        found: list[tuple[float, float]] = []
        while self._lines:
            try:
                values = parse_line(self._lines[0])
            except MeterError:
                if not found:
                    self._lines.popleft()
                    raise
                break
            self._lines.popleft()
            if values is not None:
                found.append(values)
        return found

    def _place(self, times_s: list[float], now_s: float) -> float:
        """What to add to the meter's times: their differences are better than arrivals.

        Lines may have waited for us for any time, but none comes from the future.
        """
        before_s, self._newest_s = self._newest_s, times_s[-1]
        clock = times_s if before_s is None else [before_s, *times_s]
        began_anew = any(b <= a for a, b in pairwise(clock))
        if began_anew or before_s is None or times_s[-1] + self._offset_s > now_s + SLIP_S:
            self._offset_s = now_s - times_s[-1]
        return self._offset_s

    def _receive(self) -> None:
        try:
            data = os.read(self._fd, 65_536)
        except BlockingIOError:
            return
        except OSError as error:  # EIO where USB was pulled
            raise self._gone(str(error)) from error
        if not data:
            raise self._gone("end of file")
        *lines, self._text = (self._text + data).split(b"\n")
        if len(self._text) > LONGEST_LINE_BYTES:
            self._text, self._is_cut = b"", True
            raise MeterError(self.name, expected="lines", got=f"{LONGEST_LINE_BYTES} bytes in one")
        if lines and self._is_cut:
            del lines[0]
            self._is_cut = False
        self._lines += [line.decode("utf-8", errors="replace").strip() for line in lines]

    def _gone(self, got: str) -> MeterError:
        return MeterError(self.name, expected="a meter at its other end", got=got)
