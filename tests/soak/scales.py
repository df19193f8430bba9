"""How long: minutes in the suite, hours by `make soak`."""

from __future__ import annotations

import os

IS_LONG = os.environ.get("SOAK") == "long"


def scale(short: float, long: float) -> float:
    """The one in the suite, the other by `make soak`."""
    return long if IS_LONG else short
