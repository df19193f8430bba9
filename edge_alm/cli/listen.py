"""``edge-alm listen``: print what is heard, as it is heard."""

from __future__ import annotations

import argparse
from typing import Any

from edge_alm.cli.options import (
    SOURCE_HELP,
    add_log_options,
    add_model_options,
    add_redaction,
    add_source_options,
    load_ears,
    open_log,
)
from edge_alm.cli.output import PartialLine, print_event
from edge_alm.errors import UsageError
from edge_alm.types import Event, without_words


def add_parser(subparsers: Any) -> None:
    """Add the command to what ``ArgumentParser.add_subparsers`` returned."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "listen",
        help="print what is heard, as it is heard",
        description="Print sounds and speech as they are heard; Ctrl-C stops.",
    )
    parser.add_argument("source", nargs="?", metavar="SOURCE", help=SOURCE_HELP)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--watch",
        action="append",
        default=[],
        metavar="TEXT",
        help="say so when this sound starts, or the last of several in order (any words: "
        "'a dog barking, then rain'); may be given several times",
    )
    parser.add_argument(
        "--ask",
        action="append",
        default=[],
        metavar="QUESTION",
        help="answer this at the end of the source; may be given several times",
    )
    parser.add_argument(
        "--no-llm",
        action="store_true",
        help="never load a language model (without --ask none is loaded anyway)",
    )
    parser.add_argument(
        "--partial",
        action="store_true",
        help="show on standard error what is being said, before it is over",
    )
    add_log_options(parser)
    add_redaction(parser)
    add_source_options(parser)
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Listen until the source ends."""
    if args.ask and args.no_llm:
        raise UsageError("--ask", expected="a language model", got="--no-llm", hint="drop one")
    if not all(question.strip() for question in args.ask):
        raise UsageError("--ask", expected="a question", got="none")
    for option, words in (("--ask", args.ask), ("--partial", args.partial)):
        # An answer may tell what was said.
        if args.redact_speech and words:
            raise UsageError(
                option, expected="words to show", got="--redact-speech", hint="drop one"
            )
    with open_log(args) as log, load_ears(args, llm=bool(args.ask)) as ears:
        partial = PartialLine()

        def tell(event: Event) -> None:
            if log:
                log.write(event)
            partial.clear()
            shown = without_words(event) if args.redact_speech else event
            print_event(shown, as_json=args.json)

        events = ears.listen(
            args.source,
            watch=args.watch,
            realtime=args.realtime,
            backend=args.backend,
            on_partial=partial.show if args.partial else None,
        )
        for event in events:
            tell(event)
        for question in args.ask:
            tell(ears.ask(question))
    return 0
