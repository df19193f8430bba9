"""``edge-alm bridge``: devices behind the firmware bridge."""

from __future__ import annotations

import argparse
import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from edge_alm.audio.device import Device, Replay
from edge_alm.audio.source import open_link
from edge_alm.bridge import pairs
from edge_alm.bridge.capture import CaptureWriter
from edge_alm.cli.options import add_model_options, load_ears
from edge_alm.cli.output import print_event, print_line, print_notice
from edge_alm.types import Fault, Packet

LINK_HELP = "serial:PATH, serial:PATH@BAUD, udp:PORT, udp:INTERFACE:PORT or ble:ADDRESS"


def add_parser(subparsers: Any) -> None:
    """Add the command to what ``ArgumentParser.add_subparsers`` returned."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "bridge",
        help="glasses and microcontrollers as microphones",
        description="Look at, record and pair devices behind the firmware bridge. "
        "Listen to one with: edge-alm listen serial:PATH",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    status = actions.add_parser("status", help="what comes from a device")
    status.add_argument("link", metavar="LINK", help=LINK_HELP)
    status.add_argument("--seconds", type=float, default=5.0, help="to look (default: %(default)s)")
    status.add_argument("--json", action="store_true", help="one JSON object")
    status.set_defaults(run=show_status)

    record = actions.add_parser("record", help="write what a device sends to a file")
    record.add_argument("link", metavar="LINK", help=LINK_HELP)
    record.add_argument("file", type=Path, metavar="FILE", help="a new file")
    record.add_argument("--seconds", type=float, help="to record (default: until Ctrl-C)")
    record.set_defaults(run=record_session)

    replay = actions.add_parser("replay", help="hear such a file as the device was heard")
    replay.add_argument("file", type=Path, metavar="FILE")
    replay.add_argument("--json", action="store_true", help="one JSON object a line")
    replay.add_argument("--watch", action="append", default=[], metavar="TEXT", help="see listen")
    add_model_options(replay)
    replay.set_defaults(run=replay_session)

    pair = actions.add_parser("pair", help="make a key for a device that sends over UDP")
    pair.add_argument("name", metavar="NAME")
    pair.set_defaults(run=pair_device)

    forget = actions.add_parser("forget", help="take a device's key away")
    forget.add_argument("name", metavar="NAME")
    forget.set_defaults(run=forget_device)

    paired = actions.add_parser("devices", help="list the paired devices")
    paired.set_defaults(run=list_devices)


def show_status(args: argparse.Namespace) -> int:
    """Listen for some seconds and print what there was."""
    device = Device(open_link(args.link))
    _drain(device, args.seconds)
    found = device.status()
    if args.json:
        print_line(json.dumps(found))
        return 0
    for key, value in found.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        print_line(f"{key.replace('_', ' '):<26}{'-' if shown in (None, '', {}) else shown}")
    if "device" not in found:
        print_notice(f"no device has said HELLO on {device.name} within {args.seconds:g} s")
    return 0


def record_session(args: argparse.Namespace) -> int:
    """Write a capture until the time is over, the device says BYE or Ctrl-C."""
    link = open_link(args.link)
    with CaptureWriter(args.file, link.delay_s) as writer:
        device = Device(link, on_frame=writer.write)
        with suppress(KeyboardInterrupt):
            _drain(device, args.seconds)
    print_notice(f"{writer.frames} frames in {args.file}")
    return 0


def replay_session(args: argparse.Namespace) -> int:
    """Print the events of a capture."""
    replay = Replay(args.file)
    with load_ears(args, llm=False) as ears:
        for event in ears.listen(replay, watch=args.watch):
            print_event(event, as_json=args.json)
    return 0


def pair_device(args: argparse.Namespace) -> int:
    """Make a key and print what the device needs to know."""
    made = pairs.pair(args.name)
    print_line(f"device id  0x{made.device}\nkey        {made.key}")
    print_notice("the key is shown here once for the device's firmware; keep it secret")
    return 0


def forget_device(args: argparse.Namespace) -> int:
    """Take a device's key away."""
    pairs.forget(args.name)
    return 0


def list_devices(args: argparse.Namespace) -> int:
    """Print names and ids."""
    for pair in pairs.read_pairs():
        print_line(f"0x{pair.device}  {pair.name}")
    return 0


def _drain(device: Device, seconds: float | None) -> None:
    """Read a device until it ends or the time is over, and close it; its faults are notices."""

    def drain(packets: Iterator[Packet]) -> None:
        for packet in packets:
            if isinstance(packet, Fault):
                print_notice(packet.message)

    reader = threading.Thread(target=drain, args=(device.packets(),), daemon=True)
    reader.start()
    try:
        reader.join(seconds)
    finally:
        device.close()
        reader.join(1.0)
