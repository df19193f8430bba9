"""``edge-alm devices``: the audio inputs that can be listened to."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from edge_alm.audio.backends import BACKENDS, load_backend
from edge_alm.audio.capture import InputDevice
from edge_alm.errors import DeviceError, MissingExtraError

_NONE = (
    "no audio input found; plug a microphone in, or start PulseAudio or PipeWire "
    "(in a container: pass /dev/snd or the sound server's socket)"
)


def add_parser(subparsers: Any) -> None:
    """Add the command to what ``ArgumentParser.add_subparsers`` returned."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "devices",
        help="list the microphones",
        description="List the audio inputs of every installed capture library. "
        "Listen to one with: edge-alm listen mic:NAME",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the inputs; 0 also when there are none.

    Raises:
        MissingExtraError, DeviceError: no capture library works.
    """
    inputs, broken = find_inputs()
    if len(broken) == len(BACKENDS):
        raise broken[BACKENDS[0]]
    if args.json:
        unavailable = [
            {"backend": name, "code": error.code, "message": str(error)}
            for name, error in broken.items()
        ]
        print(json.dumps({"inputs": [asdict(d) for d in inputs], "unavailable": unavailable}))
        return 0
    for device in inputs:
        print(
            f"{device.backend:<11} {device.index:>3}{'*' if device.default else ' '} "
            f"{device.name}  ({device.channels} ch, {device.rate_hz} Hz)"
        )
    if any(device.default for device in inputs):
        print("* the default, which `edge-alm listen` takes")
    if not inputs:
        print(_NONE)
    for name, error in broken.items():
        print(f"{name}: not available: {error}")
    return 0


def find_inputs() -> tuple[list[InputDevice], dict[str, MissingExtraError | DeviceError]]:
    """The inputs by capture library, and why a library cannot be used."""
    inputs: list[InputDevice] = []
    broken: dict[str, MissingExtraError | DeviceError] = {}
    for name in BACKENDS:
        try:
            backend = load_backend(name)
            try:
                inputs += backend.inputs()
            finally:
                backend.close()
        except (MissingExtraError, DeviceError) as error:
            broken[name] = error
    return inputs, broken
