"""``edge-alm eval``: answer a file of questions and score the answers."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_alm.cli.options import add_model_options, load_ears
from edge_alm.cli.output import event_to_text, print_line, print_notice
from edge_alm.errors import SourceError
from edge_alm.questions import Question, is_right, read_questions, summarise
from edge_alm.types import Fault

if TYPE_CHECKING:
    from edge_alm.runtime import Ears


def add_parser(subparsers: Any) -> None:
    """Add the command to what ``ArgumentParser.add_subparsers`` returned."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "eval",
        help="answer a file of questions and score the answers",
        description="Answer the questions of a .jsonl file of ours or a .json file as MMAU "
        "publishes it, and print the accuracy in all and by skill.",
    )
    parser.add_argument("questions", type=Path, metavar="QUESTIONS")
    parser.add_argument(
        "--json",
        action="store_true",
        help="one JSON object a question, and the summary as the last",
    )
    parser.add_argument(
        "--think", action="store_true", help="write down what was heard before answering"
    )
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Answer all, recording by recording."""
    questions = read_questions(args.questions)
    # Questions about the same audio share one hearing; the order in the file is kept otherwise.
    by_audio: dict[tuple[Path, ...], list[Question]] = {}
    for question in questions:
        by_audio.setdefault(question.audio, []).append(question)
    for path in {path for audio in by_audio for path in audio}:
        if not path.is_file():
            raise SourceError(
                f"{args.questions.name}: {path}", expected="a recording", got="no such file"
            )
    results: list[tuple[Question, bool]] = []
    ttfts_ms: list[float] = []
    with load_ears(args, llm=True) as ears:
        for audio, group in by_audio.items():
            hear(ears, audio)
            for question in group:
                answer = ears.ask(question.question, choices=question.choices, think=args.think)
                right = is_right(question, answer.text, answer.choice)
                results.append((question, right))
                ttfts_ms.append(answer.ttft_ms)
                if args.json:
                    row = {"id": question.id, "text": answer.text, "choice": answer.choice}
                    print_line(json.dumps({**row, "right": right}, ensure_ascii=False))
                else:
                    _show_progress(len(results), len(questions))
    summary = summarise(results, round(statistics.median(ttfts_ms), 1))
    print_line(json.dumps(summary, ensure_ascii=False) if args.json else _to_table(summary))
    return 0


def hear(ears: Ears, audio: tuple[Path, ...]) -> None:
    """Fill the scene with these recordings and nothing else."""
    ears.reset()
    for path in audio:
        if len(audio) > 1:
            ears.begin_recording(path.name)
        for event in ears.listen(path):
            if isinstance(event, Fault):
                print_notice(event_to_text(event))
    ears.flush()  # a live ear would have had the time


def _show_progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done} of {total}" + ("\n" if done == total else ""))
        sys.stderr.flush()


def _to_table(summary: dict[str, Any]) -> str:
    lines = [f"{'':24} {'n':>6} {'right':>7}"]
    for name, row in {"all": summary, **summary["by_skill"]}.items():
        lines.append(f"{name:24} {row['n']:6} {row['accuracy']:7.1%}")
    lines.append(f"median time to first token {summary['median_ttft_ms']:.0f} ms")
    return "\n".join(lines)
