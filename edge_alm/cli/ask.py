"""``edge-alm ask``: one question about one or several recordings."""

from __future__ import annotations

import argparse
from typing import Any

from edge_alm.cli.options import add_model_options, add_source_options, load_ears
from edge_alm.cli.output import event_to_text, print_event, print_line, print_notice
from edge_alm.errors import UsageError
from edge_alm.types import Fault


def add_parser(subparsers: Any) -> None:
    """Add the command to what ``ArgumentParser.add_subparsers`` returned."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "ask",
        help="answer a question about recordings",
        description="Listen to recordings, then answer a question about them.",
        usage="edge-alm ask SOURCE [SOURCE ...] QUESTION [options]",
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
    add_source_options(parser)
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Listen to all, then answer."""
    from edge_alm.reasoning.reasoner import check_question

    *sources, question = args.words
    if not sources:
        raise UsageError(
            "ask",
            expected="at least one SOURCE and a QUESTION",
            got=f"only {question!r}",
            hint='for example: edge-alm ask street.ogg "What was heard first?"',
        )
    # A mistake is told before hours are listened to: here, and by opening every source first.
    check_question(question, args.choice or None)
    with load_ears(args, llm=True) as ears:
        streams = [
            ears.listen(source, realtime=args.realtime, backend=args.backend) for source in sources
        ]
        for source, events in zip(sources, streams, strict=True):
            if len(sources) > 1:
                ears.begin_recording(source)
            for event in events:
                if isinstance(event, Fault):
                    print_notice(event_to_text(event))
        answer = ears.ask(question, choices=args.choice or None, think=args.think)
    if args.json:
        print_event(answer, as_json=True)
    else:
        print_line(answer.text)
    return 0
