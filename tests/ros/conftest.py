"""Real nodes in processes of their own, on a domain and a loopback of their own."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Iterator

import pytest

# Before anything of ROS is loaded; child processes inherit it. A pid keeps two runs of the suite
# apart; 0 is what everybody else uses.
os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ.pop("ROS_LOCALHOST_ONLY", None)

with warnings.catch_warnings():
    # lark-parser, which rclpy's generated code imports, uses modules that Python gives up.
    warnings.simplefilter("ignore", DeprecationWarning)
    import rosidl_generator_py  # noqa: F401

from ros_world import Probe

_NUMBERS = itertools.count()


@pytest.fixture
def namespace() -> str:
    """Of one test: what a killed node of another left in the discovery cannot be met here."""
    return f"/test{next(_NUMBERS)}"


@pytest.fixture
def probe(namespace: str, models: object) -> Iterator[Probe]:
    """Somebody else's node, who listens to a reasoner."""
    with Probe(namespace) as one:
        yield one
