"""The runtime beside what people would use instead: one run, one report.

    python -m benchmarks.peers [--only answers|speech|sounds|writing|cascade ...] [--rounds 5]
        [--out FILE] [--html FILE] [--json]

- *answers*: from a question to its first token, after 30 s, 2 and 10 minutes of recordings
  (``--long``: 30, too), beside llama.cpp that reads the scene when it is asked.
- *speech*: utterances of about two seconds to text, and words wrong, beside faster-whisper with the
  same weights and sherpa-onnx with any model (``--sherpa DIR``).
- *sounds*: a hop of sound through every form of the bundle's encoder, beside LiteRT
  (``--tflite FILE``; ``python -m quantize tflite`` writes such a model).
- *writing*: tokens a second beside plain llama.cpp, a build of it (``--llama-bench FILE``), and
  what memory allows.
- *cascade*: ten seconds of sound to an answer, beside transcribing, tagging and prompting when the
  question comes.

All in turn, in another order every round. What is missing here is left out, with a line that says
why. ``edge-alm bench --compare`` takes two of its reports, too.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TypeAlias

from benchmarks.ask_latency import AUDIO_FOLDERS
from benchmarks.peers.answers import open_answers
from benchmarks.peers.cascade import open_cascade
from benchmarks.peers.page import to_html
from benchmarks.peers.section import Section, run_rounds
from benchmarks.peers.sounds import open_sounds
from benchmarks.peers.speech import open_speech
from benchmarks.peers.table import to_text
from benchmarks.peers.writing import open_writing, weight_bytes
from edge_alm.bench import machine
from edge_alm.bench.measure import describe_bundle
from edge_alm.bench.report import Report, check_writable, write_file
from edge_alm.bench.trace import Trace
from edge_alm.errors import EdgeAlmError, UsageError
from edge_alm.models.bundle import Bundle, load_bundle
from edge_alm.models.gguf_file import check_gguf

LENGTHS_S = (30, 120, 600)
LONG_S = 1800
Opener: TypeAlias = Callable[[argparse.Namespace, Bundle, ExitStack], Sequence[Section]]

OPENERS: Mapping[str, Opener] = {
    "answers": lambda args, bundle, stack: [
        open_answers(bundle, find_audio(args.audio), lengths_s(args), stack)
    ],
    "speech": lambda args, bundle, stack: [
        open_speech(bundle, args.corpus, args.prompts, args.sherpa)
    ],
    "sounds": lambda args, bundle, stack: [open_sounds(args.bundle, bundle, args.tflite)],
    "writing": lambda args, bundle, stack: open_writing(
        bundle, args.tokens, args.llama_bench, stack
    ),
    "cascade": lambda args, bundle, stack: [open_cascade(bundle, stack)],
}


def find_audio(folder: Path | None) -> Path:
    return folder or next(own for own in AUDIO_FOLDERS if own.is_dir())


def lengths_s(args: argparse.Namespace) -> list[int]:
    return sorted({*args.lengths, *([LONG_S] if args.long else [])})


def positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError(text)
    return number


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers")
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--only", nargs="+", choices=OPENERS, help="these comparisons (all)")
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the JSON object there")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with plots, too")
    parser.add_argument("--json", action="store_true", help="one JSON object in place of a table")
    answers = parser.add_argument_group("answers")
    answers.add_argument("--audio", type=Path, metavar="DIR", help="recordings to be asked about")
    answers.add_argument(
        "--lengths",
        type=positive,
        nargs="+",
        default=LENGTHS_S,
        help="seconds heard before a question",
    )
    answers.add_argument("--long", action="store_true", help="after 30 minutes, too")
    speech = parser.add_argument_group("speech")
    speech.add_argument("--corpus", type=Path, default=Path("build/corpus"))
    speech.add_argument("--prompts", type=positive, default=20)
    speech.add_argument(
        "--sherpa", type=Path, nargs="*", default=[], metavar="DIR", help="models of sherpa-onnx"
    )
    sounds = parser.add_argument_group("sounds")
    sounds.add_argument(
        "--tflite", type=Path, nargs="*", default=[], metavar="FILE", help="the encoder for LiteRT"
    )
    writing = parser.add_argument_group("writing")
    writing.add_argument("--tokens", type=positive, default=64, help="written in a round")
    writing.add_argument(
        "--llama-bench", type=Path, metavar="FILE", help="the program of a build of llama.cpp"
    )
    return parser


def main(words: Sequence[str] | None = None) -> None:
    parser = make_parser()
    args = parser.parse_args(words)
    try:
        run(args)
    except EdgeAlmError as error:
        parser.error(str(error))


def run(args: argparse.Namespace) -> None:
    """Measure, print and write.

    Raises:
        EdgeAlmError: a file cannot be written, or there is nothing to measure.
    """
    for path in filter(None, (args.out, args.html)):
        check_writable(path)
    report = measure(args)
    text = json.dumps(report.to_dict())
    if args.out:
        write_file(args.out, text + "\n")
    if args.html:
        write_file(args.html, to_html(report))
    print(text if args.json else to_text(report))


def measure(args: argparse.Namespace) -> Report:
    """Open what can be opened here, and let it run."""
    began = datetime.now(timezone.utc).isoformat(timespec="seconds")
    board, before = machine.read_machine(), machine.read_state()
    chosen = [name for name in OPENERS if args.only is None or name in args.only]
    bundle = load_bundle(args.bundle)
    if bundle.language_model is None or bundle.transcriber is None:
        raise UsageError(
            f"bundle {bundle.name}", expected="a language model and a transcriber", got="less"
        )
    notes: list[str] = []
    with ExitStack() as stack, Trace() as trace:
        sections: list[Section] = []
        with trace.phase("loading"):
            for name in chosen:
                tell(f"loading: {name}")
                try:
                    sections += OPENERS[name](args, bundle, stack)
                except EdgeAlmError as error:
                    notes.append(f"{name} left out: {error}")
        samples = run_rounds(sections, args.rounds, trace, tell)
    figures = samples.figures()
    notes += [note for section in sections for note in section.notes]
    if not figures:
        raise UsageError("comparison", expected="something to measure", got="; ".join(notes))
    after = machine.read_state()
    values = {
        "version": board.versions.get("edge-alm", ""),
        "began": began,
        "bundle": describe_bundle(bundle, {}),
        "machine": machine.to_dict(board),
        "start": machine.to_dict(before),
        "end": machine.to_dict(after),
        "plan": {
            "rounds": args.rounds,
            "comparisons": chosen,
            "lengths_s": lengths_s(args),
            "prompts": args.prompts,
            "decode_tokens": args.tokens,
        },
        "meter": None,
        "weight_bytes": weight_bytes(check_gguf(bundle.language_model)),
        "notes": [*notes, *machine.find_faults(board, before, after)],
        "trace": trace.to_dict(),
    }
    return Report(values, figures)


tell = partial(print, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
