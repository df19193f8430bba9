"""Ears for robots and smart glasses: sounds, speech and answers, on the device.

import edge_alm

with edge_alm.load() as ears:
    for event in ears.listen("street.ogg"):
        print(event)
    print(ears.ask("Which sound came first?").text)
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from edge_alm.errors import EdgeAlmError
from edge_alm.types import Answer, Event, Fault, Lost, Sound, Speech, Watch

if TYPE_CHECKING:
    from edge_alm.runtime import Ears, load

# ONNX Runtime from 1.29 on tells Microsoft of every model it opens, on Linux too, and keeps what it
# has to tell below the user's cache. It looks at this once, when it is first imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "Ears",
    "EdgeAlmError",
    "Event",
    "Fault",
    "Lost",
    "Sound",
    "Speech",
    "Watch",
    "__version__",
    "load",
]


def __getattr__(name: str) -> Any:
    # The runtime brings its dependencies; `import edge_alm` alone stays cheap.
    if name in ("Ears", "load"):
        from edge_alm import runtime

        return getattr(runtime, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
