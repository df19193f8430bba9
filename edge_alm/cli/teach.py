"""``edge-alm teach``: sounds of the user's own, from a few recordings."""

from __future__ import annotations

import argparse
import json
from typing import Any

from edge_alm.cli.output import print_line, print_notice
from edge_alm.errors import UsageError


def add_parser(subparsers: Any) -> None:
    """Add the command to what ``ArgumentParser.add_subparsers`` returned."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "teach",
        help="a sound of your own, from a few recordings of it",
        description="Learn a sound from 1 to 20 recordings of it. From then on listen tells of it "
        "by its name, and find, label and --watch know it.",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help='"our doorbell"')
    parser.add_argument("clips", nargs="*", metavar="FILE", help="a recording of the sound")
    parser.add_argument("--list", action="store_true", help="print the sounds that were taught")
    parser.add_argument("--forget", metavar="NAME", help="drop a sound that was taught")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--bundle", default="default", metavar="NAME|DIR", help="the models (default: tiny)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Teach, list or forget."""
    chosen = (args.name is not None, args.list, args.forget is not None)
    if sum(chosen) != 1:
        raise UsageError(
            "teach", expected="NAME and recordings, --list or --forget NAME", got="not one of them"
        )
    if args.list:
        return _list(args)
    if args.forget is not None:
        from edge_alm.models.taught import forget

        forget(args.forget)
        print_notice(f"forgotten: {args.forget}")
        return 0
    from edge_alm.models.bundle import load_bundle
    from edge_alm.teacher import Teacher

    bundle = load_bundle(args.bundle, language_model=False, transcriber=False)
    with Teacher(bundle) as teacher:
        sound = teacher.teach(args.name, args.clips)
    _tell(args, sound.name, len(sound.examples))
    return 0


def _list(args: argparse.Namespace) -> int:
    from edge_alm.models.bundle import load_bundle
    from edge_alm.models.taught import taught

    bundle = load_bundle(args.bundle, language_model=False, transcriber=False)
    sounds = taught()
    for sound in sounds:
        usable = sound.encoder_id == bundle.encoder_id
        _tell(args, sound.name, len(sound.examples), usable=usable)
    if not sounds:
        print_notice("nothing was taught")
    return 0


def _tell(args: argparse.Namespace, name: str, examples: int, *, usable: bool = True) -> None:
    told = {"name": name, "examples": examples, "usable": usable}
    line = f"{name}: {examples} recording{'' if examples == 1 else 's'}"
    if not usable:
        line += ", heard by another encoder: forget it and teach it again"
    print_line(json.dumps(told, ensure_ascii=False) if args.json else line)
