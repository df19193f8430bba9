"""``edge-alm ask``: one question about one or several recordings, or about what a log has."""

from __future__ import annotations

import argparse
from typing import Any

from edge_alm.cli.options import (
    add_log_options,
    add_model_options,
    add_source_options,
    duration,
    load_ears,
    open_log,
)
from edge_alm.cli.output import event_to_text, print_event, print_line, print_notice
from edge_alm.errors import UsageError
from edge_alm.types import Answer, Fault


def add_parser(subparsers: Any) -> None:
    """Add the command to what ``ArgumentParser.add_subparsers`` returned."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "ask",
        help="answer a question about recordings, or from an event log",
        description="Listen to recordings, then answer a question about them; or answer it from "
        "what an event log has of the time since then.",
        usage="edge-alm ask SOURCE [SOURCE ...] QUESTION [options]\n"
        "       edge-alm ask --log FILE --since TIME QUESTION [options]",
    )
    parser.add_argument(
        "words",
        nargs="+",
        metavar="SOURCE ... QUESTION",
        help="one or more sources, and the question last",
    )
    parser.add_argument(
        "--choice",
        action="append",
        default=[],
        metavar="TEXT",
        help="an answer to choose from; give two or more",
    )
    parser.add_argument(
        "--think", action="store_true", help="write down what was heard before answering"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument(
        "--since",
        type=duration,
        metavar="TIME",
        help="answer from the log what was heard in the last 90s, 15m, 2h or 1d",
    )
    add_log_options(parser)
    add_source_options(parser)
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Answer, from a log or from recordings."""
    from edge_alm.reasoning.reasoner import check_question

    *sources, question = args.words
    check_usage(args, sources, question)
    # A mistake is told before hours are listened to: here, and by opening every source first.
    check_question(question, args.choice or None)
    if args.since is not None:
        answer = _ask_log(args, question)
    else:
        answer = _ask_recordings(args, sources, question)
    if args.json:
        print_event(answer, as_json=True)
    else:
        print_line(answer.text)
    return 0


def check_usage(args: argparse.Namespace, sources: list[str], question: str) -> None:
    """Sources, or a log and a time.

    Raises:
        UsageError: neither, or both.
    """
    if args.since is not None and args.log is None:
        raise UsageError(
            "--since",
            expected="the log of which it is a part",
            got="none",
            hint='for example: edge-alm ask --log home.log --since 2h "Did anyone knock?"',
        )
    if args.since is not None and sources:
        raise UsageError(
            "--since",
            expected="a question alone: it is answered from the log",
            got=f"the source {sources[0]!r}, too",
            hint="drop one",
        )
    if args.since is not None and args.log_words:
        raise UsageError("--log-words", expected="a SOURCE to log", got="--since", hint="drop one")
    if args.since is None and not sources:
        raise UsageError(
            "ask",
            expected="at least one SOURCE and a QUESTION",
            got=f"only {question!r}",
            hint='for example: edge-alm ask street.ogg "What was heard first?"; '
            "from a log with --since TIME",
        )


def _ask_log(args: argparse.Namespace, question: str) -> Answer:
    from edge_alm.log import check_log
    from edge_alm.recall import recall

    check_log(args.log)
    with load_ears(args, llm=True, hears=False) as ears:
        ears.flush()  # loaded, as it is where it has listened
        return recall(
            ears, args.log, question, args.since, choices=args.choice or None, think=args.think
        )


def _ask_recordings(args: argparse.Namespace, sources: list[str], question: str) -> Answer:
    """Listen to all, then answer."""
    with open_log(args) as log, load_ears(args, llm=True) as ears:
        streams = [
            ears.listen(source, realtime=args.realtime, backend=args.backend) for source in sources
        ]
        for i, (source, events) in enumerate(zip(sources, streams, strict=True)):
            if len(sources) > 1:
                ears.begin_recording(source)
            if log and i:
                log.begin_stream()
            for event in events:
                if log:
                    log.write(event)
                if isinstance(event, Fault):
                    print_notice(event_to_text(event))
        answer = ears.ask(question, choices=args.choice or None, think=args.think)
        if log:
            log.write(answer)
        return answer
