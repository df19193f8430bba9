"""Fixtures for every test: what a test needs, or a skip that says what is missing.

A machine without the models or the audio still runs the rest of the suite. With ``CI=true``
a missing part is a failure, so that a skip can never pass for a green run.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

ROOT = Path(__file__).resolve().parent.parent
IN_ROS = os.environ.get("EDGE_ALM_ROS") == "1"
"""Set by whoever runs the tests of ROS (`make test`): then they must run."""
# Elsewhere there is no rclpy, and these tests could not even be collected.
collect_ignore = [] if IN_ROS else ["ros"]
HAS_BLUETOOTH = all(importlib.util.find_spec(name) for name in ("bumble", "bleak"))
if not HAS_BLUETOOTH and (os.environ.get("CI") != "true" or sys.version_info < (3, 11)):
    # bumble wants Python 3.11; where it can be it must be under CI.
    collect_ignore.append("firmware/test_ble.py")
Require: TypeAlias = Callable[[object, str], None]

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell's background jobs ignore Ctrl-C, and so would the programs under test.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _require(part: object, reason: str) -> None:
    """Skip (fail under ``CI=true``) unless ``part`` is there.

    A string is the name of a module, which must be installed; it is not imported.
    Anything else counts by its truth.
    """
    if isinstance(part, str):
        top = part.partition(".")[0]
        present = importlib.util.find_spec(top) is not None
    else:
        present = bool(part)
    if present:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"missing under CI: {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def require() -> Require:
    """``require("llama_cpp", "the extra llm")`` or ``require(condition, reason)``."""
    return _require


@pytest.fixture(scope="session")
def models() -> Path:
    """The store, with every artefact of the default bundle in it."""
    from edge_alm.errors import DownloadError
    from edge_alm.models import store
    from edge_alm.models.catalog import default_artefacts

    try:
        for name in default_artefacts():
            store.pull(name)
    except DownloadError as error:
        _require(False, f"the default models cannot be fetched: {error}")
    return store.home()


@pytest.fixture(scope="session")
def esc10() -> Path:
    """ESC-10's folds 1 to 4: 320 Ogg clips and ``clips.csv``."""
    folder = ROOT.parent / "shared" / "data" / "esc10"
    _require((folder / "clips.csv").is_file(), f"no recordings at {folder}")
    return folder
