"""A sentence encoder of ``python -m export text`` in fewer bits, judged by its directions."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_alm.errors import UsageError
from edge_alm.models.catalog import BUNDLES
from edge_alm.models.manifest import Manifest, read_manifest
from edge_alm.models.phrases_file import CLASSES
from edge_alm.reasoning.phrases import read_lines
from edge_alm.reasoning.sentences import Sentences
from export.corpus import read_table
from quantize.agreement import Outputs, compare
from quantize.encoders import quantise
from quantize.recordings import evenly
from quantize.report import Report, Row
from quantize.speech_files import FORMS, quantised_folder
from quantize.timing import peak_bytes, time_in_turn
from quantize.verdict import Bounds, Figures, Verdict, judge

if TYPE_CHECKING:
    import onnx

LEAST_COSINE = 0.98
"""Of any phrase with the float network."""
ABLATION_TEXTS = 64


def run(args: argparse.Namespace, manifest: Manifest, machine: str, packages: Any) -> None:
    """Quantise, compare the directions of phrases, decide.

    Raises:
        RefusedError: the verdict.
        UsageError: a kind that needs a calibration.
        EdgeAlmError: something is missing or wrong.
    """
    if args.to not in FORMS:
        raise UsageError(f"--to {args.to}", expected=f"of text {', '.join(FORMS)}", got=args.to)
    texts = phrases()
    encode = Sentences(args.model)
    few = [encode.inputs(texts[i]) for i in evenly(len(texts), ABLATION_TEXTS)]
    notes: dict[str, Any] = {}

    def make(model: onnx.ModelProto) -> onnx.ModelProto:
        changed, found = quantise(model, args.to, few, most_loss=args.loss)
        notes["left_in_float"], notes["alone"] = list(found.left_out), found.alone
        return changed

    step = {"command": args.command_line, "packages": packages}
    with quantised_folder(args.out, args.model, manifest, make, step) as folder:
        (before, _), (after, least) = _measure([args.model, folder], texts)
        verdict = judge(before, after, Bounds(cosine_low=LEAST_COSINE))
        if not least >= LEAST_COSINE:
            lost = f"least cosine {least:.4f}, at least {LEAST_COSINE:g} needed"
            verdict = Verdict(False, (*(() if verdict.keep else verdict.reasons), lost))
        row = Row(args.to, after, verdict, {"least_cosine": least, **notes})
        title = f"{manifest.name} to {args.to}"
        Report(title, machine, args.command_line, (Row("float", before), row)).settle(args.out)
        left = len(notes["left_in_float"])
        print(f"least cosine of {len(texts)} phrases {least:.4f}, {left} layers left in float")


def phrases() -> list[str]:
    """What is compared on: AudioSet's 521 names and the paraphrases of ESC-10's labels."""
    with np.load(BUNDLES / "tiny" / "phrases.npz", allow_pickle=False) as arrays:
        names = read_lines(arrays[CLASSES])
    return [*names, *(row["phrase"] for row in read_table("paraphrases.csv"))]


def _measure(folders: Sequence[Path], texts: Sequence[str]) -> list[tuple[Figures, float]]:
    """Figures of the encoders and their least cosine; the first is the float one."""
    encoders = [Sentences(folder) for folder in folders]
    latencies = time_in_turn([partial(_embed, each, texts) for each in encoders], len(texts))
    directions = [encode(texts) for encode in encoders]
    found = []
    for folder, own, latency in zip(folders, directions, latencies, strict=True):
        agreement = compare(Outputs(directions[0], None), Outputs(own, None))
        graphs = read_manifest(folder).graphs.values()
        figures = Figures(
            bytes=sum((folder / graph.file).stat().st_size for graph in graphs),
            median_ms=latency.median_ms,
            p95_ms=latency.p95_ms,
            best_ms=latency.best_ms,
            peak_bytes=peak_bytes(_PEAK.format(str(folder.absolute())), folder),
            cosine=agreement.cosine,
            cosine_low=agreement.cosine_low,
        )
        found.append((figures, float(np.sum(directions[0] * own, axis=1).min())))
    return found


def _embed(encode: Sentences, texts: Sequence[str], i: int) -> object:
    return encode([texts[i % len(texts)]])


_PEAK = """
from pathlib import Path
from edge_alm.reasoning.sentences import Sentences
Sentences(Path({!r}))(["a dog"])
"""
