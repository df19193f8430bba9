"""``python -m quantize onnx``: an encoder, a Whisper or a sentence encoder in fewer bits."""

from __future__ import annotations

import argparse
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import EdgeAlmError, ModelMissingError, UsageError
from edge_alm.models import store
from edge_alm.models.bundle import load_bundle
from edge_alm.models.files import fresh_folder
from edge_alm.models.manifest import (
    AUDIO_GRAPH,
    Manifest,
    load_manifest,
    read_golden,
    write_manifest,
)
from edge_alm.models.onnx_file import check_onnx
from edge_alm.models.onnx_session import open_session
from edge_alm.models.yamnet import CLASSES, SCORES
from edge_alm.native import this_cpu
from quantize import answers, speech_files, text_files
from quantize.agreement import Inputs
from quantize.encoder_bench import EncoderBench, Recordings
from quantize.encoders import KINDS, Kind, quantise, read_model, write_model
from quantize.recordings import (
    Cut,
    choose_patches,
    evenly,
    exported_windows,
    read_all,
    read_clips,
    yamnet_patches,
)
from quantize.report import Report, Row
from quantize.target import fresh_file
from quantize.verdict import Bounds, Figures, judge
from quantize.weights import weight_files

ESC10 = Path("../shared/data/esc10")
RECORDINGS = Path(__file__).resolve().parent.parent / "tests" / "data"
"""What is compared on where ESC-10 is missing."""
CALIBRATION_INPUTS = 200
ABLATION_INPUTS = 96
UNLABELLED_INPUTS = 400
SCENES = 20
_YAMNET = (1, 96, 64)
_OTHERS = {"speech": speech_files.run, "text": text_files.run}
"""By a manifest's kind: what is not a sound encoder."""


def add_parser(subparsers: Any) -> None:
    """Add the command to what ``ArgumentParser.add_subparsers`` returned."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "onnx",
        help="an encoder, a Whisper or a sentence encoder: int8 or int4",
        description=__doc__,
    )
    add_options(parser)
    parser.add_argument("--to", choices=KINDS, required=True, metavar="KIND", help=_kinds())
    parser.add_argument("--out", type=Path, required=True, help="the file (or folder) to write")
    parser.set_defaults(run=run)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the commands for encoders share."""
    parser.add_argument("model", type=Path, help="an ONNX file, or a folder of python -m export")
    parser.add_argument("--calibrate", type=Path, metavar="DIR", help="recordings for the ranges")
    parser.add_argument("--esc10", type=Path, default=ESC10, help="(default: %(default)s)")
    parser.add_argument("--recordings", type=Path, default=RECORDINGS, help="without ESC-10")
    parser.add_argument(
        "--scenes", type=int, default=SCENES, help="for the bundle's answers (default: %(default)s)"
    )
    parser.add_argument("--bundle", default="default", help="that answers (default: %(default)s)")
    parser.add_argument("--loss", type=float, help="that layers in few bits may cost together")


def run(args: argparse.Namespace) -> None:
    """Quantise, measure, decide; the file stays away when it is refused.

    Raises:
        RefusedError: the verdict.
        EdgeAlmError: something is missing or wrong.
    """
    if args.model.is_dir() and (manifest := load_manifest(args.model)).kind in _OTHERS:
        _OTHERS[manifest.kind](args, manifest, machine(), packages())
        return
    source = find_source(args.model)
    workshop = Workshop(source, args)
    with workshop.target(args.out) as part:
        notes = workshop.make(args.to, part)
        float_row, row = workshop.compare([(args.to, part, notes)])
        report = Report(
            f"{source.name} to {args.to}", machine(), args.command_line, (float_row, row)
        )
        report.settle(args.out)


@dataclass(frozen=True, slots=True)
class Source:
    """The model to be quantised."""

    path: Path
    """The ONNX file."""
    folder: Path | None = None
    manifest: Manifest | None = None
    """Of its folder; None for a file that stands alone."""

    @property
    def name(self) -> str:
        """For a title."""
        return self.manifest.name if self.manifest else self.path.stem


def find_source(model: Path) -> Source:
    """An ONNX file, or the graph that hears in an exported folder.

    Raises:
        ModelMissingError, ModelBrokenError: as :func:`load_manifest`.
        UsageError: a folder whose manifest has no such graph.
    """
    if not model.is_dir():
        return Source(model)
    manifest = load_manifest(model)
    if AUDIO_GRAPH not in manifest.graphs:
        got = ", ".join(manifest.graphs) or manifest.kind
        raise UsageError(str(model), expected=f"a graph {AUDIO_GRAPH!r}", got=got)
    return Source(model / manifest.graphs[AUDIO_GRAPH].file, model, manifest)


class Workshop:
    """A float encoder, and the recordings that its copies in fewer bits are made and judged by.

    Args:
        source: the float encoder.
        args: the options of :func:`add_options`.

    Raises:
        EdgeAlmError: the model or the recordings are missing or wrong.
    """

    def __init__(self, source: Source, args: argparse.Namespace) -> None:
        self._source, self._args = source, args
        self._model = read_model(source.path)
        cut = self._cut(source)
        self._calibration: Sequence[Inputs] = ()
        if args.calibrate is not None:
            patches = choose_patches(args.calibrate, CALIBRATION_INPUTS, cut)
            self._calibration = self._inputs(patches)
        clips = read_clips(args.esc10)
        patches, owners = (
            read_all(clips, cut)
            if clips
            else (choose_patches(args.recordings, UNLABELLED_INPUTS, cut), np.zeros(0, np.int64))
        )
        labels = tuple(clip.label for clip in clips)
        self.recordings = Recordings(self._inputs(patches), owners, labels)
        """What the encoders are compared on."""
        self.class_map = _class_map(source)
        """Names of the classes; None where they are not known."""
        self._bench = EncoderBench(self.recordings, self.class_map)

    def _cut(self, source: Source) -> Cut:
        """What makes inputs of recordings for this encoder.

        Raises:
            UsageError: nothing here knows how.
        """
        inputs = check_onnx(source.path).inputs
        if len(inputs) == 1:
            ((self._name, shape),) = inputs.items()
            if shape[1:] == _YAMNET:
                return yamnet_patches
            if source.manifest is not None and source.folder is not None:
                return exported_windows(source.folder, source.manifest)
        raise UsageError(
            str(source.path),
            expected=f"an input [n, {', '.join(map(str, _YAMNET))}], or a folder of an export",
            got=str(inputs),
        )

    def _inputs(self, patches: NDArray[np.float32]) -> list[Inputs]:
        return [{self._name: patch[None]} for patch in patches]

    def make(self, kind: Kind, path: Path) -> dict[str, Any]:
        """Write the encoder in few bits; what there is to know of it.

        Raises:
            UsageError: a kind that needs a calibration, without one.
        """
        if kind == "int8-static" and not self._calibration:
            raise UsageError("--to int8-static", expected="--calibrate DIR", got="none")
        # With a calibration the layers are chosen on it, and the verdict is on other recordings.
        chosen = self._calibration or self.recordings.inputs
        few = [chosen[i] for i in evenly(len(chosen), ABLATION_INPUTS)]
        model, found = quantise(self._model, kind, few, self._calibration, self._args.loss)
        write_model(model, path)
        return {"left_in_float": list(found.left_out), "alone": found.alone}

    def compare(self, made: Sequence[tuple[str, Path, Mapping[str, Any]]]) -> list[Row]:
        """The float encoder's row and those of what was made, each with its verdict."""
        paths = [self._source.path, *(path for _, path, _ in made)]
        figures = self._with_answers(paths, self._bench.measure(paths))
        rows = [Row("float", figures[0])]
        for (name, _, notes), own in zip(made, figures[1:], strict=True):
            rows.append(Row(name, own, judge(figures[0], own, Bounds()), notes))
        return rows

    def _with_answers(self, paths: Sequence[Path], figures: Sequence[Figures]) -> list[Figures]:
        """The figures with a bundle's answers, where it has what that takes."""
        args = self._args
        try:
            if not args.scenes:
                return [*figures]
            cases = answers.make_cases(args.esc10, args.scenes)
            bundle = load_bundle(args.bundle)
            width = check_onnx(bundle.encoder).outputs["embedding"][-1]
            if check_onnx(paths[0]).outputs.get("embedding", (None,))[-1] != width:
                raise UsageError("encoder", expected=f"embeddings of {width}", got="another width")
            if bundle.language_model is None:
                return [*figures]
            reasoner = answers.open_reasoner(bundle, bundle.language_model)
        except EdgeAlmError as error:
            print(f"without answers: {error}", file=sys.stderr)
            return [*figures]
        found = []
        try:
            for path, own in zip(paths, figures, strict=True):
                heard = answers.hear(replace(bundle, encoder=path), cases)
                given = answers.answer(reasoner, heard)
                found.append(replace(own, answers=given.accuracy, answers_n=len(given.right)))
        finally:
            reasoner.close()
        return found

    @contextmanager
    def target(self, out: Path) -> Iterator[Path]:
        """Where to write the graph; at the end ``out`` is there, whole.

        Of a folder with a manifest a folder is made: its other files, the new graph with a new
        golden output, and the manifest carried on.
        """
        manifest, folder = self._source.manifest, self._source.folder
        if manifest is None or folder is None:
            with fresh_file(out) as part:
                yield part
            return
        graph = manifest.graphs[AUDIO_GRAPH]
        golden_in, golden_out = read_golden(folder, graph) if graph.golden else ({}, {})
        with fresh_folder(out) as scratch:
            part = scratch / graph.file
            part.parent.mkdir(parents=True, exist_ok=True)
            yield part
            # The new graph has its weights inside.
            beside = {str(path.relative_to(folder)) for path in weight_files(self._source.path)}
            for name in manifest.files.keys() - {graph.file, graph.golden} - beside:
                (scratch / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / name, scratch / name)
            info = check_onnx(part)
            step: dict[str, Any] = {"command": self._args.command_line, "packages": packages()}
            if graph.golden:
                found = open_session(part).run([*golden_out], golden_in)
                arrays = dict(zip(golden_out, found, strict=True))
                np.savez(scratch / graph.golden, **golden_in, **arrays)  # type: ignore[arg-type]
                step["max_difference_from_float"] = max(
                    float(np.abs(arrays[name] - golden_out[name]).max()) for name in arrays
                )
            graphs = {**manifest.graphs, AUDIO_GRAPH: replace(graph, opset=info.opsets["ai.onnx"])}
            produced_by = (*manifest.produced_by, step)
            write_manifest(scratch, replace(manifest, graphs=graphs, produced_by=produced_by))


def machine() -> str:
    """What the numbers were taken on."""
    cpu = this_cpu()
    return (
        f"{cpu.name or cpu.machine}, {cpu.system} {cpu.machine}, Python {platform.python_version()}"
    )


def packages() -> dict[str, str]:
    """Versions that the result depends on."""
    return {name: version(name) for name in ("onnx", "onnxruntime", "numpy")}


def _kinds() -> str:
    return "; ".join(f"{kind}: {what}" for kind, what in KINDS.items())


def _class_map(source: Source) -> Path | None:
    """Names of the encoder's classes, where it has as many as there are names."""
    if source.manifest is not None and source.folder is not None:
        return source.folder / source.manifest.labels if source.manifest.labels else None
    try:
        path = store.locate("yamnet") / "yamnet_class_map.csv"
    except ModelMissingError:
        return None
    scores = check_onnx(source.path).outputs.get(SCORES, (None,))
    return path if scores[-1] == CLASSES else None
