"""``python -m quantize sweep``: a model in every form, side by side, in one table."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Protocol

from edge_alm.errors import EdgeAlmError, UsageError
from edge_alm.models.files import replace_durably
from quantize import gguf_files, onnx_files
from quantize.encoders import KINDS
from quantize.llama_quantiser import TYPES
from quantize.report import Report, Row
from quantize.target import scratch_folder

GGUF_TYPES = ("Q8_0", "Q5_K_M", "Q4_K_M", "Q4_1", "Q4_0")
"""What is tried unless the command names others."""
_GGUF_MAGIC = b"GGUF"


class Workshop(Protocol):
    """Makes and compares copies of a model in fewer bits."""

    def make(self, to: Any, path: Path) -> dict[str, Any]:
        """Write the model in another form; what there is to know of it."""
        ...

    def compare(self, made: Any) -> list[Row]:
        """The model's own row and those of what was made."""
        ...


def add_parser(subparsers: Any) -> None:
    """Add the command to what ``ArgumentParser.add_subparsers`` returned."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "sweep", help="a model in every form, side by side", description=__doc__
    )
    onnx_files.add_options(parser)
    parser.add_argument("--no-importance", action="store_true", help="of a language model")
    parser.add_argument("--to", action="append", metavar="FORM", help="only these; repeatable")
    parser.add_argument("--out", type=Path, required=True, help="folder: the kept, and the table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Make, compare, and keep what is worth it; a form that cannot be made is told and left out.

    Raises:
        EdgeAlmError: something is missing or wrong, or no form at all could be made.
    """
    suffix, forms, workshop = _open(args)
    unknown = sorted(set(args.to or ()) - forms.keys())
    if unknown:
        got = ", ".join(unknown)
        raise UsageError("--to", expected=f"some of {', '.join(forms)}", got=got)
    wanted = args.to or [form for form, by_default in forms.items() if by_default]
    with scratch_folder(args.out, args.model.stem) as scratch:
        made = []
        for form in wanted:
            path = scratch / f"{args.model.stem}-{form}{suffix}"
            try:
                made.append((form, path, workshop.make(form, path)))
            except EdgeAlmError as error:
                print(f"without {form}: {error}", flush=True)
        if not made:
            raise UsageError(str(args.model), expected="a form that can be made", got="none")
        rows = workshop.compare(made)
        report = Report(args.model.stem, onnx_files.machine(), args.command_line, rows)
        for (_, path, _), row in zip(made, rows[1:], strict=True):
            if row.verdict is not None and row.verdict.keep:
                replace_durably(path, args.out / path.name)
        report.write(args.out / f"{args.model.stem}.sweep")
        print(report.to_table())


def _open(args: argparse.Namespace) -> tuple[str, dict[str, bool], Workshop]:
    """The files' suffix, the forms with whether they are tried by default, and the workshop."""
    if _begins_with(args.model, _GGUF_MAGIC):
        forms = {name: name in GGUF_TYPES for name in TYPES}
        return ".gguf", forms, gguf_files.Workshop(args)
    source = onnx_files.find_source(args.model)
    calibrated = args.calibrate is not None
    forms = {str(kind): kind != "int8-static" or calibrated for kind in KINDS}
    return ".onnx", forms, onnx_files.Workshop(source, args)


def _begins_with(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except OSError:  # a folder, or nothing: who opens it says so
        return False
