"""``edge-alm bench``: what listening and answering cost on this machine."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from edge_alm.cli.options import add_model_options, load_options
from edge_alm.cli.output import print_line, print_notice
from edge_alm.errors import UsageError

NO_METER = (
    "no power sensor read: CPU seconds stand in for joules; --meter serial:PATH reads a meter on "
    "the bench, and python -m benchmarks.power measures energy at the pace of a microphone"
)


def add_parser(subparsers: Any) -> None:
    """Add the command to what ``ArgumentParser.add_subparsers`` returned."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "bench",
        help="measure what listening and answering cost here",
        description="Start, listen, answer and write in interleaved rounds, and print what each "
        "takes on this machine, as medians with their spread. About three minutes on two x86 "
        "cores, half a minute with --quick.",
    )
    parser.add_argument(
        "source", nargs="?", metavar="FILE", help="a recording that is heard besides made audio"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the JSON object there too")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with plots, too")
    parser.add_argument("--quick", action="store_true", help="fewer rounds of less audio")
    parser.add_argument(
        "--long", action="store_true", help="also questions after 10 and 30 minutes of audio"
    )
    parser.add_argument("--no-llm", action="store_true", help="listen only")
    parser.add_argument(
        "--meter",
        default="auto",
        help="what reads the power: auto, ina3221, pmic, rapl, battery, serial:PATH[@BAUD] or none "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--compare",
        nargs=2,
        type=Path,
        metavar=("A.json", "B.json"),
        help="measure nothing; tell what differs between two reports by more than their spread",
    )
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, print and write; or compare.

    Raises:
        UsageError: options that exclude each other, a file that cannot be written or is no report.
        EdgeAlmError: the models cannot be loaded, the recording not read.
    """
    from edge_alm.bench.report import check_writable, write_file
    from edge_alm.bench.table import to_text

    if args.compare:
        return _compare(args)
    if args.no_llm and (args.llm or args.long):
        other = "--long" if args.long else "--llm"
        raise UsageError(other, expected="a language model", got="--no-llm", hint="drop one")
    for path in filter(None, (args.out, args.html)):
        check_writable(path)
    report = _measure(args)
    text = json.dumps(report.to_dict())
    if args.out:
        write_file(args.out, text + "\n")
    if args.html:
        from edge_alm.bench.page import to_html

        write_file(args.html, to_html(report))
    print_line(text if args.json else to_text(report))
    return 0


def _measure(args: argparse.Namespace) -> Any:
    from edge_alm.audio.file import AudioFile
    from edge_alm.bench.measure import Bench, make_plan
    from edge_alm.bench.meters.energy import Sampler
    from edge_alm.bench.meters.find import find_meter

    if args.source:
        AudioFile(args.source).close()  # a mistake is told before minutes have passed
    meter, reasons = find_meter(args.meter)
    notes = [f"not used: {reason}" for reason in reasons]
    if meter is None:
        notes.append(NO_METER)
    with ExitStack() as stack:
        sampler = stack.enter_context(Sampler(meter)) if meter else None
        bench = Bench(
            load_options(args, llm=not args.no_llm),
            make_plan(quick=args.quick, long=args.long),
            args.source,
            sampler,
            _tell,
        )
        return bench.run(notes)


def _compare(args: argparse.Namespace) -> int:
    from edge_alm.bench.compare import compare
    from edge_alm.bench.report import read_report

    for name in ("source", "out", "html", "quick", "long", "no_llm"):
        if getattr(args, name):
            option = "FILE" if name == "source" else f"--{name.replace('_', '-')}"
            raise UsageError("--compare", expected="two reports and no more", got=option)
    first, second = map(read_report, args.compare)
    comparison = compare(first, second)
    if args.json:
        print_line(json.dumps(comparison.to_dict()))
    else:
        print_line(comparison.to_text())
    return 0


def _tell(text: str) -> None:
    """For whoever waits at a terminal."""
    if sys.stderr.isatty():
        print_notice(text)
