"""``edge-alm find`` and ``edge-alm label``: sounds by any words, without a language model."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from edge_alm.cli.output import print_line, print_notice


def add_parser(subparsers: Any) -> None:
    """Add both commands to what ``ArgumentParser.add_subparsers`` returned."""
    find: argparse.ArgumentParser = subparsers.add_parser(
        "find",
        help="where in a recording something is heard, by any words",
        description="Print when what the text names is heard, the best match first.",
    )
    find.add_argument("source", metavar="FILE", help="a recording")
    find.add_argument("text", help='a sound, or several in order: "a dog barking, then rain"')
    find.add_argument(
        "--at-least",
        type=_share,
        default=0.5,
        metavar="SCORE",
        help="0 to 1 (default: %(default)s)",
    )
    find.set_defaults(run=run_find)
    label: argparse.ArgumentParser = subparsers.add_parser(
        "label",
        help="which of some words each sound of a recording is like",
        description="Print each stretch of a recording that stands out with the label that fits.",
    )
    label.add_argument("source", metavar="FILE", help="a recording")
    label.add_argument(
        "--labels", required=True, metavar="A,B,...", help="any words, separated by commas"
    )
    label.set_defaults(run=run_label)
    for parser in (find, label):
        parser.add_argument("--json", action="store_true", help="one JSON object a line")
        parser.add_argument(
            "--bundle", default="default", metavar="NAME|DIR", help="the models (default: tiny)"
        )


def run_find(args: argparse.Namespace) -> int:
    """Print the finds."""
    with _finder(args) as finder:
        finder.hear(args.source)
        found = finder.find(args.text, args.at_least)
    for each in found:
        line = f"{each.start:8.2f} {each.end:8.2f}  {each.score:.2f}"
        print_line(json.dumps(asdict(each)) if args.json else line)
    if not found:
        print_notice(f"not heard: {args.text}")
    return 0


def run_label(args: argparse.Namespace) -> int:
    """Print the stretches."""
    with _finder(args) as finder:
        finder.hear(args.source)
        stretches = finder.label(args.labels.split(","))
    for each in stretches:
        name, score = each.labels[0]
        line = f"{each.start:8.2f} {each.end:8.2f}  {score:.2f}  {name}"
        told = {"start": each.start, "end": each.end, "labels": dict(each.labels)}
        print_line(json.dumps(told, ensure_ascii=False) if args.json else line)
    if not stretches:
        print_notice("nothing stood out")
    return 0


def _finder(args: argparse.Namespace) -> Any:
    from edge_alm.finder import Finder
    from edge_alm.models.bundle import load_bundle

    return Finder(load_bundle(args.bundle, language_model=False, transcriber=False))


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text!r}")
    return share
