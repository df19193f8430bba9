"""``edge-alm chat``: talk with it while it listens."""

from __future__ import annotations

import argparse
import contextlib
import sys
import threading
from typing import TYPE_CHECKING, Any

from edge_alm.cli.options import (
    SOURCE_HELP,
    add_log_options,
    add_model_options,
    add_redaction,
    add_source_options,
    load_ears,
    open_log,
)
from edge_alm.cli.output import (
    CLEAR_LINE,
    event_to_text,
    print_event,
    print_line,
    print_notice,
)
from edge_alm.errors import EdgeAlmError, OverloadedError, RemoteError, UsageError
from edge_alm.types import Event, Fault, without_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge_alm.log import EventLog

PROMPT = "> "


def add_parser(subparsers: Any) -> None:
    """Add the command to what ``ArgumentParser.add_subparsers`` returned."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "chat",
        help="talk with it while it listens",
        description="Type a question and a newline at any time; what is heard is printed in "
        "between. The end of input (Ctrl-D) or /quit ends it, /reset forgets the scene. "
        "Questions from a pipe about a recording wait for its end, unless --realtime is given.",
    )
    parser.add_argument("source", nargs="?", metavar="SOURCE", help=SOURCE_HELP)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--quiet", action="store_true", help="print no sounds and speech, only answers and faults"
    )
    add_log_options(parser)
    add_redaction(parser)
    add_source_options(parser)
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Listen on a thread, answer what comes in on standard input."""
    from edge_alm.audio.source import open_source

    if args.source == "-":
        raise UsageError(
            "chat -",
            expected="standard input for questions",
            got="'-' as the source",
            hint="use a file or a microphone",
        )
    is_terminal = sys.stdin.isatty()
    done = threading.Event()
    with open_log(args) as log, load_ears(args, llm=True) as ears:
        source = open_source(args.source, realtime=args.realtime, backend=args.backend)
        events = ears.listen(source, realtime=args.realtime)
        listening = threading.Thread(
            target=_tell_events, args=(events, args, is_terminal, done, log), daemon=True
        )
        listening.start()
        if not (is_terminal or args.realtime or source.live):
            # Questions from a pipe are about the recording, not about its first moment.
            listening.join()
        while (question := _read_question(is_terminal)) is not None:
            if question == "/quit":
                break
            if question == "/reset":
                ears.reset()
                continue
            if not question:
                continue
            try:
                answer = ears.ask(question, remember=True)
            except (UsageError, RemoteError, OverloadedError) as error:
                print_notice(str(error))
                continue
            if log:
                log.write(answer)
            if is_terminal and not args.json:
                # The question is on the screen; a prompt may have come since.
                sys.stderr.write(CLEAR_LINE)
                sys.stderr.flush()
                print_line(answer.text)
            else:
                print_event(answer, as_json=args.json)
        done.set()
    return 0


def _read_question(is_terminal: bool) -> str | None:
    if is_terminal:
        sys.stderr.write(PROMPT)
        sys.stderr.flush()
    line = sys.stdin.readline()
    if is_terminal and not line:
        sys.stderr.write("\n")  # Ctrl-D leaves the cursor behind the prompt
    return line.strip() if line else None


def _tell_events(
    events: Iterator[Event],
    args: argparse.Namespace,
    is_terminal: bool,
    done: threading.Event,
    log: EventLog | None,
) -> None:
    # The reader of the output has gone: the next answer meets that too, and ends the command.
    with contextlib.suppress(BrokenPipeError):
        try:
            for event in events:
                if done.is_set():
                    return
                if log:
                    log.write(event)
                if args.quiet and not isinstance(event, Fault):
                    continue
                shown = without_words(event) if args.redact_speech else event
                if args.json:
                    print_event(shown, as_json=True)
                else:
                    _print_aside(event_to_text(shown), is_terminal)
        except EdgeAlmError as error:
            # A log that was closed in between is none.
            if not done.is_set():
                print_notice(str(error))


def _print_aside(text: str, is_terminal: bool) -> None:
    """Beside the answers; on a terminal above the prompt, which is written anew."""
    line = f"{CLEAR_LINE}{text}\n{PROMPT}" if is_terminal else f"{text}\n"
    sys.stderr.write(line)
    sys.stderr.flush()
