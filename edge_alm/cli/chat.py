"""``edge-alm chat``: talk with it while it listens."""

from __future__ import annotations

import argparse
import sys
import threading
from typing import TYPE_CHECKING, Any

from edge_alm.cli.options import SOURCE_HELP, add_model_options, add_source_options, load_ears
from edge_alm.cli.output import event_to_text, print_event
from edge_alm.errors import EdgeAlmError, UsageError
from edge_alm.types import Event

if TYPE_CHECKING:
    from collections.abc import Iterator

PROMPT = "> "


def add_parser(subparsers: Any) -> None:
    """Add the command to what ``ArgumentParser.add_subparsers`` returned."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "chat",
        help="talk with it while it listens",
        description="Type a question and a newline at any time; what is heard is printed in "
        "between. The end of input (Ctrl-D) or /quit ends it, /reset forgets the scene.",
    )
    parser.add_argument("source", nargs="?", metavar="SOURCE", help=SOURCE_HELP)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--quiet", action="store_true", help="do not print what is heard, only answers"
    )
    add_source_options(parser)
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Listen on a thread, answer what comes in on standard input."""
    if args.source == "-":
        raise UsageError(
            "chat -",
            expected="standard input for questions",
            got="'-' as the source",
            hint="use a file or a microphone",
        )
    is_terminal = sys.stdin.isatty()
    with load_ears(args, llm=True) as ears:
        events = ears.listen(args.source, realtime=args.realtime, backend=args.backend)
        listening = threading.Thread(target=_print_events, args=(events, args), daemon=True)
        listening.start()
        if not is_terminal and not args.realtime:
            # Questions from a pipe are about the recording, not about its first moment.
            listening.join()
        while (question := _read_question(is_terminal)) is not None:
            if question == "/quit":
                break
            if question == "/reset":
                ears.reset()
            elif question:
                try:
                    print_event(ears.ask(question, remember=True), as_json=args.json)
                except UsageError as error:
                    print(f"edge-alm: {error}", file=sys.stderr)
    return 0


def _read_question(is_terminal: bool) -> str | None:
    if is_terminal:
        sys.stderr.write(PROMPT)
        sys.stderr.flush()
    line = sys.stdin.readline()
    return line.strip() if line else None


def _print_events(events: Iterator[Event], args: argparse.Namespace) -> None:
    try:
        for event in events:
            if args.json and not args.quiet:
                print_event(event, as_json=True)
            elif not args.quiet:
                print(event_to_text(event), file=sys.stderr)
    except EdgeAlmError as error:
        print(f"edge-alm: {error}", file=sys.stderr)
