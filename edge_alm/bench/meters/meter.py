"""What a power meter is; reading numbers that may not be there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from edge_alm.errors import EdgeAlmError

Quantity: TypeAlias = Literal["watts", "joules"]


class MeterError(EdgeAlmError):
    """A meter is there and cannot be used, or says what is no power."""

    code = "meter"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a meter said."""

    at_s: float
    """On the clock of ``time.monotonic``."""
    value: float
    """Watts just then, or joules since some moment: :attr:`Meter.quantity`."""


class Meter(Protocol):
    """A source of readings. Used by one thread at a time."""

    name: str
    scope: str
    """What it measures, and what not."""
    quantity: Quantity
    interval_s: float
    """How often to read it: more often tells nothing new, or costs what it measures."""
    longest_s: float
    """Between readings that are further apart nothing is known."""

    def read(self) -> list[Reading]:
        """What is new, oldest first; never waits for it.

        Raises:
            MeterError: it says nothing, or nonsense. It may be asked again.
        """
        ...

    def close(self) -> None:
        """Idempotent."""
        ...


def parse_number(text: str, what: str) -> float:
    """A finite number.

    Raises:
        MeterError: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise MeterError(what, expected="a number", got=repr(text))
    return value


def read_text(path: Path, hint: str = "") -> str:
    """What a file of sysfs holds, without the newline.

    Raises:
        MeterError: it cannot be read; a channel that is switched off says "No data available".
    """
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        got = error.strerror or str(error)
        raise MeterError(str(path), expected="a file to read", got=got, hint=hint) from error


def read_number(path: Path, hint: str = "") -> float:
    """The number that a file of sysfs holds.

    Raises:
        MeterError: it cannot be read, or holds no number.
    """
    return parse_number(read_text(path, hint), str(path))
