"""An audio encoder of transformers as a folder that the runtime loads by ``--encoder``.

Network (ONNX, batch and time free), front end, labels, thresholds, golden arrays and manifest; or
nothing, where the result is further than :data:`export.parity.LIMIT` from the original.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edge_alm.errors import UsageError
from edge_alm.hearing.exported import ExportedEncoder
from edge_alm.hearing.front_end import FrontEnd, read_front_end
from edge_alm.models.files import fresh_folder
from edge_alm.models.manifest import (
    ACTIVATIONS,
    AUDIO_GRAPH,
    Graph,
    Manifest,
    write_manifest,
)
from edge_alm.models.yamnet import EMBEDDING, SCORES
from edge_alm.types import Samples
from export.graph import OPSET, runner, trace, write_golden
from export.parity import GOLDEN_CLIP, LIMIT, Parity, read_clips, windows
from export.source import Source, find_source, load_extractor, load_model, load_tokenizer
from export.thresholds import NOT_EVENTS
from export.towers import (
    FRAMES,
    FRONT_END_ARRAYS,
    SUPPORTED,
    ClapTextTower,
    Labels,
    Tower,
    make_tower,
)

NETWORK, TEXT_NETWORK = "encoder.onnx", "text.onnx"
GOLDEN, TEXT_GOLDEN = "encoder.golden.npz", "text.golden.npz"
LABELS, THRESHOLDS = "labels.csv", "thresholds.csv"
TOKENIZER = "tokenizer.json"
TEXT_GRAPH = "text"
WINDOW_S = 2.0
"""A longer window hears more of a sound, smears its end and costs more at every hop of 0.48 s."""
_MIN_WINDOW_S, _MAX_WINDOW_S = 0.5, 60.0
"""AST's patches and the convolutions of wav2vec 2.0 need 0.35 s for the half window of a check."""
THRESHOLD = 0.5
_COMMAND = "python -m export encoder"
PROMPT = "This is a sound of {}."
"""Around a label for CLAP, as its makers evaluate it."""

_CLASSES = {
    "audio-spectrogram-transformer": ("ASTForAudioClassification", "ASTModel"),
    "whisper": (
        "WhisperForAudioClassification",
        "WhisperForConditionalGeneration",
        "WhisperModel",
    ),
    "clap": ("ClapModel",),
}
_STEMS = {
    "data2vec-audio": "Data2VecAudio",
    "hubert": "Hubert",
    "unispeech": "UniSpeech",
    "unispeech-sat": "UniSpeechSat",
    "wav2vec2": "Wav2Vec2",
    "wav2vec2-conformer": "Wav2Vec2Conformer",
    "wavlm": "WavLM",
}


@dataclass(frozen=True, slots=True)
class EncoderOptions:
    """What may be chosen of an export."""

    window_s: float = WINDOW_S
    """What the runtime gives the network at every hop; of CLAP at most its own length."""
    as_published: bool = False
    """Fill the window up to the length that the network was made for, as its feature extractor
    does, instead of cutting its position table."""
    labels: Path | None = None
    """For CLAP: a text file with a sound a line to score audio against."""
    prompt: str = PROMPT
    threshold: float = THRESHOLD
    """Of every label, for the tracker."""
    activation: str | None = None
    """What makes probabilities of scores; None: what the model's configuration says."""
    licence: str | None = None
    """None: what the model's card says."""
    audio: tuple[Path, ...] = ()
    """Recordings to check parity on; none: one of this package's."""
    opset: int = OPSET
    limit: float = LIMIT


@dataclass(frozen=True, slots=True)
class Exported:
    """What was made."""

    manifest: Manifest
    window_ms: float
    """How long one window takes here, on one thread."""


def export_encoder(model: str, out: Path, options: EncoderOptions) -> Exported:
    """Write the encoder's folder, whole or not at all.

    Args:
        model: a folder of transformers, or a name on the hub.
        out: the folder to make.
        options: what may be chosen.

    Raises:
        UsageError: the model cannot be read or is of an architecture that is not supported; a
            wrong option; a folder that cannot be written.
        ModelBrokenError: weights are missing.
        RefusedError: the result differs from the original.
    """
    source = find_source(model, SUPPORTED)
    _check(options, source)
    network, extractor = load_model(source, _classes(source.kind)), load_extractor(source)
    texts = _read_texts(source, network, options)
    tower: Any = make_tower(network, extractor, texts).eval()
    window_samples = round(_window_s(tower, options) * tower.rate_hz)
    clips = read_clips(options.audio, tower.rate_hz)
    licence = options.licence or source.licence()
    with fresh_folder(out) as folder, torch.no_grad():
        spec = tower.front_end(pad=options.as_published)
        if spec.arrays:
            np.savez(folder / FRONT_END_ARRAYS, **spec.arrays)
        front_end = read_front_end(folder, spec.settings)
        heard = windows(clips, window_samples)
        features = front_end(heard[0])
        graph = _trace_audio(tower, features, folder, options.opset)
        parity = Parity(options.limit)
        _check_windows(parity, folder, tower, front_end, heard, pad=options.as_published)
        _check_published(parity, folder, tower, window_samples, clips)
        graph = write_golden(folder, GOLDEN, graph, tower, {tower.input_name: features})
        graphs = {AUDIO_GRAPH: graph}
        if source.kind == "clap":
            graphs[TEXT_GRAPH] = _export_text(parity, folder, source, network, options)
        _write_labels(folder, tower.labels, options.threshold)
        manifest = write_manifest(
            folder,
            Manifest(
                kind="encoder",
                name=out.name,
                architecture=source.kind,
                ids=(source.name,),
                licence=licence,
                graphs=graphs,
                produced_by=(source.step(_COMMAND, options=_told(options)),),
                sample_rate_hz=tower.rate_hz,
                window_samples=window_samples,
                front_end=spec.settings,
                labels=LABELS if tower.labels else None,
                thresholds=THRESHOLDS if tower.labels else None,
                activation=_activation(tower, options),
                parity=parity.to_dict(),
            ),
        )
        window_ms = _time(folder)
    return Exported(manifest, window_ms)


def _told(options: EncoderOptions) -> dict[str, Any]:
    """What was chosen, without where it lay."""
    values = {key: value for key, value in asdict(options).items() if value is not None}
    audio = [path.name for path in options.audio or (GOLDEN_CLIP,)]
    labels = {"labels": options.labels.name} if options.labels else {}
    return {**values, **labels, "audio": audio}


def _check(options: EncoderOptions, source: Source) -> None:
    if not _MIN_WINDOW_S <= options.window_s <= _MAX_WINDOW_S:
        expected = f"{_MIN_WINDOW_S:g} to {_MAX_WINDOW_S:g}"
        raise UsageError("--window-s", expected=expected, got=f"{options.window_s:g}")
    if not 0.0 < options.threshold < 1.0:
        raise UsageError("--threshold", expected="between 0 and 1", got=f"{options.threshold:g}")
    if options.activation not in (None, *ACTIVATIONS):
        raise UsageError("--activation", expected=", ".join(ACTIVATIONS), got=options.activation)
    if options.labels and source.kind != "clap":
        raise UsageError("--labels", expected="a CLAP model", got=source.kind)
    if "{}" not in options.prompt:
        raise UsageError("--prompt", expected="a text with {} in it", got=options.prompt)


def _classes(kind: str) -> tuple[str, ...]:
    if kind in _CLASSES:
        return _CLASSES[kind]
    return f"{_STEMS[kind]}ForSequenceClassification", f"{_STEMS[kind]}Model"


def _window_s(tower: Tower, options: EncoderOptions) -> float:
    longest = tower.native_s or options.window_s
    if options.as_published and tower.native_s is None:
        raise UsageError("--as-published", expected="a network of one length", got="of any length")
    return min(options.window_s, longest)


def _activation(tower: Tower, options: EncoderOptions) -> str:
    if not tower.labels:
        return "none"
    return options.activation or tower.activation


def _read_texts(source: Source, network: Any, options: EncoderOptions) -> Labels | None:
    """What CLAP is to score audio against."""
    if options.labels is None:
        return None
    try:
        lines = options.labels.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(str(options.labels), expected="a text file", got=str(error)) from error
    names = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if len(names) < 2:
        raise UsageError(str(options.labels), expected="two labels or more", got=f"{len(names)}")
    tokens = load_tokenizer(source)(
        [options.prompt.format(name) for name in names], padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        return Labels(names, network.get_text_features(tokens.input_ids, tokens.attention_mask))


def _trace_audio(tower: Any, features: NDArray[np.float32], folder: Path, opset: int) -> Graph:
    free = {0: "batch", 1: tower.time_axis}
    one = {0: "batch"}
    axes = {
        tower.input_name: free,
        SCORES: one,
        EMBEDDING: one,
        FRAMES: {0: "batch", 1: "time"},
    }
    # Two of them: what is traced with one may take every batch for one.
    example = torch.from_numpy(np.concatenate((features, features)))
    return trace(tower, {tower.input_name: example}, axes, folder / NETWORK, opset=opset)


def _check_windows(
    parity: Parity,
    folder: Path,
    tower: Any,
    front_end: FrontEnd,
    heard: list[Samples],
    *,
    pad: bool,
) -> None:
    """As the runtime hears: window by window; then three and more at once; then half a window."""
    run = runner(folder / NETWORK)
    inputs = [front_end(window) for window in heard]
    for window, features in zip(heard, inputs, strict=True):
        parity.compare(
            _torch(tower, tower.features(window, pad=pad)), run({tower.input_name: features})
        )
    batch = np.concatenate((*inputs, inputs[0], inputs[-1]))
    parity.compare(_torch(tower, batch), run({tower.input_name: batch}))
    shorter = np.ascontiguousarray(batch[:1, : batch.shape[1] // 2 + 1])
    parity.compare(_torch(tower, shorter), run({tower.input_name: shorter}))


def _check_published(
    parity: Parity, folder: Path, tower: Any, window_samples: int, clips: Sequence[Samples]
) -> None:
    """As transformers' own code hears, at the network's own length where it has one."""
    run = runner(folder / NETWORK)
    longest = round(tower.native_s * tower.rate_hz) if tower.native_s else window_samples
    front_end = read_front_end(folder, tower.front_end(pad=True).settings)
    for clip in clips:
        samples = clip[:longest]
        parity.compare(tower.published(samples), run({tower.input_name: front_end(samples)}))


def _export_text(
    parity: Parity, folder: Path, source: Source, network: Any, options: EncoderOptions
) -> Graph:
    """CLAP's other tower, so that a program can make embeddings of texts too."""
    tower: Any = ClapTextTower(network).eval()
    tokenizer = load_tokenizer(source)
    texts = [options.prompt.format(name) for name in ("a dog", "rain falling on a roof", "speech")]
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    inputs = {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask}
    free = {0: "batch", 1: "tokens"}
    axes = {"input_ids": free, "attention_mask": free, EMBEDDING: {0: "batch"}}
    graph = trace(tower, inputs, axes, folder / TEXT_NETWORK, opset=options.opset)
    run = runner(folder / TEXT_NETWORK)
    shorter = tokenizer(texts[:1], return_tensors="pt")
    for item in (tokens, shorter):
        arrays = {name: item[name].numpy() for name in inputs}
        expected = {name: value.numpy() for name, value in tower(**dict(item)).items()}
        parity.compare(expected, run(arrays))
    tokenizer.backend_tokenizer.save(str(folder / TOKENIZER))
    arrays = {name: value.numpy() for name, value in inputs.items()}
    return write_golden(folder, TEXT_GOLDEN, graph, tower, arrays)


def _torch(tower: Any, features: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    found = tower(torch.from_numpy(np.ascontiguousarray(features)))
    return {name: value.numpy() for name, value in found.items()}


def _write_labels(folder: Path, labels: Sequence[str], threshold: float) -> None:
    if not labels:
        return
    with (folder / LABELS).open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("index", "mid", "display_name"))
        rows.writerows((i, "", label) for i, label in enumerate(labels))
    with (folder / THRESHOLDS).open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("label", "threshold"))
        rows.writerows((label, f"{threshold:g}") for label in labels if label not in NOT_EVENTS)


def _time(folder: Path) -> float:
    """Milliseconds of one window as the runtime hears it; the best of three."""
    encoder = ExportedEncoder(folder)
    window = np.zeros(encoder.window_samples, np.float32)
    took_s = []
    for _ in range(3):
        began_s = time.perf_counter()
        encoder.hear(window)
        took_s.append(time.perf_counter() - began_s)
    return 1e3 * min(took_s)
