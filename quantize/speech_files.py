"""A Whisper of ``python -m export whisper`` in 8 bits, judged by the words it writes."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_alm.errors import UsageError
from edge_alm.hearing.engines import open_whisper
from edge_alm.hearing.whisper import WhisperTranscriber
from edge_alm.models.files import fresh_folder
from edge_alm.models.manifest import Manifest, read_golden, read_manifest, write_manifest
from edge_alm.models.onnx_session import open_session
from edge_alm.types import Samples
from quantize import linear
from quantize.encoders import read_model, write_model
from quantize.recordings import find_recordings, noises, read_samples
from quantize.report import Report, Row
from quantize.timing import peak_bytes, time_in_turn
from quantize.verdict import Bounds, Figures, judge
from quantize.weights import store_in_8_bits

if TYPE_CHECKING:
    import onnx

ENGINE = "onnxruntime"
FORMS: dict[str, linear.Form | None] = {
    "int8-dynamic": "int8",
    "int8-weights": None,
    "int4": "int4",
}
"""By what ``--to`` calls them; None: only stored in 8 bits."""
_NOISE_S = 10.0


def run(args: argparse.Namespace, manifest: Manifest, machine: str, packages: Any) -> None:
    """Quantise both graphs, compare what they write, decide.

    Raises:
        RefusedError: the verdict.
        UsageError: a kind that needs a calibration, or no words to compare.
        EdgeAlmError: something is missing or wrong.
    """
    if args.to not in FORMS:
        raise UsageError(f"--to {args.to}", expected=f"of speech {', '.join(FORMS)}", got=args.to)
    recordings = [read_samples(path) for path in find_recordings(args.recordings)]
    step = {"command": args.command_line, "packages": packages}
    with quantised_folder(
        args.out, args.model, manifest, partial(_quantise, args.to), step
    ) as folder:
        before, after = _measure([args.model, folder], recordings)
        row = Row(args.to, after, judge(before, after, Bounds()))
        title = f"{manifest.name} to {args.to}"
        report = Report(title, machine, args.command_line, (Row("float", before), row))
        report.settle(args.out)


def word_errors(expected: Sequence[str], got: Sequence[str]) -> int:
    """Levenshtein's distance in words."""
    row = list(range(len(got) + 1))
    for i, word in enumerate(expected, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(got, 1):
            change = diagonal + (word != other)
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, change)
    return row[-1]


def _quantise(kind: str, model: onnx.ModelProto) -> onnx.ModelProto:
    """Change a graph, all linear layers of it."""
    if form := FORMS[kind]:
        layers = linear.find_layers(model)
        linear.rewrite(model, {layer.name: form for layer in layers})
    store_in_8_bits(model)
    return model


def _measure(folders: Sequence[Path], recordings: Sequence[Samples]) -> list[Figures]:
    """Figures of the models; the first is the float one."""
    ears = [WhisperTranscriber(open_whisper(ENGINE, folder)) for folder in folders]
    texts = [[ear.transcribe(samples).text.split() for samples in recordings] for ear in ears]
    spoken = [i for i, words in enumerate(texts[0]) if words]
    total = sum(len(texts[0][i]) for i in spoken)
    if not total:
        raise UsageError("--recordings", expected="some in which somebody speaks", got="no words")
    said = [recordings[i] for i in spoken]
    jobs = [partial(_read, ear, said) for ear in ears]
    latencies = time_in_turn(jobs, len(spoken))
    found = []
    for folder, ear, own, latency in zip(folders, ears, texts, latencies, strict=True):
        wrong = sum(word_errors(a, b) for a, b in zip(texts[0], own, strict=True))
        noisy = [ear.transcribe(samples).text.split() for _, samples in noises(_NOISE_S)]
        minutes = len(noisy) * _NOISE_S / 60
        manifest = read_manifest(folder)
        found.append(
            Figures(
                bytes=sum((folder / g.file).stat().st_size for g in manifest.graphs.values()),
                median_ms=latency.median_ms,
                p95_ms=latency.p95_ms,
                best_ms=latency.best_ms,
                peak_bytes=peak_bytes(_PEAK.format(str(folder.absolute())), folder),
                words=1.0 - wrong / total,
                words_n=total,
                invented=sum(map(len, noisy)) / minutes,
            )
        )
    return found


def _read(ear: WhisperTranscriber, recordings: Sequence[Samples], i: int) -> object:
    return ear.transcribe(recordings[i % len(recordings)])


_PEAK = """
from pathlib import Path
from edge_alm.hearing.engines import open_whisper
network = open_whisper("onnxruntime", Path({!r}))
"""


@contextmanager
def quantised_folder(
    out: Path,
    source: Path,
    manifest: Manifest,
    make: Callable[[onnx.ModelProto], onnx.ModelProto],
    step: dict[str, Any],
) -> Iterator[Path]:
    """A folder with the new graphs and all else of the old, that becomes ``out`` at the end."""
    with fresh_folder(out) as scratch:
        for name in manifest.files:
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, scratch / name)
        for graph in manifest.graphs.values():
            write_model(make(read_model(source / graph.file)), scratch / graph.file)
            if graph.golden:
                given, expected = read_golden(source, graph)
                found = open_session(scratch / graph.file).run([*expected], given)
                arrays: dict[str, Any] = {**given, **dict(zip(expected, found, strict=True))}
                np.savez(scratch / graph.golden, **arrays)
        produced_by = (*manifest.produced_by, step)
        write_manifest(scratch, replace(manifest, produced_by=produced_by))
        yield scratch
