"""``python -m quantize gguf``: a language model in fewer bits, by llama.cpp's own quantiser."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_alm.errors import EdgeAlmError
from edge_alm.models.adapter_file import check_adapter
from edge_alm.models.bundle import Bundle, load_bundle
from edge_alm.models.gguf_file import check_gguf
from quantize import answers
from quantize.importance import measure_importance
from quantize.language_bench import LanguageBench
from quantize.llama_quantiser import TYPES, WITHOUT_IMPORTANCE, quantise_gguf
from quantize.onnx_files import ESC10, SCENES, machine
from quantize.report import Report, Row
from quantize.target import fresh_file
from quantize.verdict import Bounds, Verdict, judge

FLOAT = ("F32", "F16")
"""Types that one goes to for a reference, not for speed: they have no verdict."""


def add_parser(subparsers: Any) -> None:
    """Add the command to what ``ArgumentParser.add_subparsers`` returned."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "gguf", help="a language model: Q8_0, Q5_K_M, Q4_K_M, Q4_0, ...", description=__doc__
    )
    add_options(parser)
    parser.add_argument("--to", choices=TYPES, required=True, metavar="TYPE", help=", ".join(TYPES))
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    parser.set_defaults(run=run)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the commands for language models share."""
    parser.add_argument("model", type=Path, help="a GGUF file, best in F16 or F32")
    parser.add_argument("--esc10", type=Path, default=ESC10, help="(default: %(default)s)")
    parser.add_argument(
        "--scenes", type=int, default=SCENES, help="for the bundle's answers (default: %(default)s)"
    )
    parser.add_argument(
        "--bundle", default="default", help="whose adapter and ears to use (default: %(default)s)"
    )
    parser.add_argument("--no-importance", action="store_true", help="all weights count the same")


def run(args: argparse.Namespace) -> None:
    """Quantise, measure, decide; the file stays away when it is refused.

    Raises:
        RefusedError: the verdict.
        EdgeAlmError: something is missing or wrong.
    """
    workshop = Workshop(args)
    with fresh_file(args.out) as part:
        notes = workshop.make(args.to, part)
        float_row, row = workshop.compare([(args.to, part, notes)])
        title = f"{args.model.stem} to {args.to}"
        report = Report(title, machine(), args.command_line, (float_row, row))
        report.settle(args.out)


class Workshop:
    """A language model, and what its copies in fewer bits are made and judged by.

    Args:
        args: the options of :func:`add_options`.

    Raises:
        EdgeAlmError: the model is missing or wrong.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._types = check_gguf(args.model).types
        bundle, scenes = self._ears()
        self._adapter = bundle.adapter if bundle else None
        self._bench = LanguageBench(self._adapter, bundle, scenes)
        self._importance: Mapping[str, Any] | None = None

    def _ears(self) -> tuple[Bundle | None, Sequence[answers.Heard]]:
        """A bundle whose parts fit the model, and what it heard; or None and nothing."""
        args = self._args
        try:
            bundle = replace(load_bundle(args.bundle), language_model=args.model)
            if bundle.adapter is not None:
                check_adapter(bundle.adapter, check_gguf(bundle.adapter), check_gguf(args.model))
        except EdgeAlmError as error:
            print(f"without a bundle: {error}", file=sys.stderr)
            return None, ()
        try:
            cases = answers.make_cases(args.esc10, args.scenes) if args.scenes else []
        except EdgeAlmError as error:
            print(f"without answers: {error}", file=sys.stderr)
            cases = []
        return bundle, answers.hear(bundle, cases) if cases else ()

    def make(self, to: str, path: Path) -> dict[str, Any]:
        """Write the model in another type; what there is to know of it."""
        wanted = to not in WITHOUT_IMPORTANCE and not self._args.no_importance
        if wanted and self._importance is None:
            self._importance = measure_importance(self._args.model, self._adapter)
        info = quantise_gguf(self._args.model, path, to, self._importance if wanted else None)
        return {
            "importance_matrix": wanted,
            "tensor_types": dict(info.types),
            "made_of_tensor_types": dict(self._types),
        }

    def compare(self, made: Sequence[tuple[str, Path, Mapping[str, Any]]]) -> list[Row]:
        """The source's row and those of what was made, each with its verdict."""
        paths = [self._args.model, *(path for _, path, _ in made)]
        figures = self._bench.measure(paths)
        rows = [Row(f"{self._args.model.stem}, as it was", figures[0])]
        for (name, _, notes), own in zip(made, figures[1:], strict=True):
            if name in FLOAT:
                verdict = Verdict(True, ("to compare others with",))
            else:
                verdict = judge(figures[0], own, Bounds())
            rows.append(Row(name, own, verdict, notes))
        return rows
