"""Everything that is measured of encoders, on the same recordings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import UsageError
from edge_alm.hearing.audioset import ontology, read_labels
from edge_alm.hearing.encoder import HopEncoder, Yamnet
from edge_alm.hearing.gate import BLOCK_SAMPLES, SoundGate
from edge_alm.hearing.guesses import Guesser
from edge_alm.hearing.logmel import LogMel
from edge_alm.hearing.sound_ear import SoundEar
from edge_alm.hearing.tracker import NOISE_LABELS, Tracker, read_thresholds
from edge_alm.hearing.watch import NameMatcher
from edge_alm.models.onnx_session import open_session
from edge_alm.types import SAMPLE_RATE_HZ, Sound
from quantize.agreement import Inputs, compare, run
from quantize.recordings import noises
from quantize.timing import encoder_peak_bytes, time_in_turn
from quantize.verdict import Figures
from quantize.weights import weight_files

TIMED_CALLS = 300
_PATCH = (1, 96, 64)


@dataclass(frozen=True, slots=True)
class Recordings:
    """What encoders are measured on."""

    inputs: Sequence[Inputs]
    """One a call."""
    owners: NDArray[np.int64]
    """Of which clip each input is [n]; empty where the clips have no labels."""
    labels: tuple[str, ...]
    """Of the clips."""


class EncoderBench:
    """Measures encoders against the first of them.

    Args:
        recordings: what to run them on.
        class_map: CSV of the class names of an encoder of YAMNet's form; None for others, of which
            neither ESC-10's classes nor what they invent can be told.
    """

    def __init__(self, recordings: Recordings, class_map: Path | None) -> None:
        self._recordings, self._class_map = recordings, class_map

    def measure(self, paths: Sequence[Path], timed_calls: int = TIMED_CALLS) -> list[Figures]:
        """Figures of the encoders; the first is the float one.

        Raises:
            ModelMissingError, ModelBrokenError, RefusedError: one does not run.
        """
        inputs = self._recordings.inputs
        sessions = [open_session(path) for path in paths]
        jobs: list[Callable[[int], object]] = [
            partial(_call, session, inputs) for session in sessions
        ]
        latencies = time_in_turn(jobs, timed_calls)
        outputs = [run(session, inputs) for session in sessions]
        figures = []
        for path, latency, found in zip(paths, latencies, outputs, strict=True):
            agreement = compare(outputs[0], found)
            figures.append(
                Figures(
                    bytes=sum(p.stat().st_size for p in (path, *weight_files(path))),
                    median_ms=latency.median_ms,
                    p95_ms=latency.p95_ms,
                    best_ms=latency.best_ms,
                    peak_bytes=encoder_peak_bytes(path),
                    cosine=agreement.cosine,
                    cosine_low=agreement.cosine_low,
                    top1=agreement.top1,
                )
            )
            if self._class_map is not None and found.scores is not None:
                figures[-1] = self._with_classes(figures[-1], path, found.scores)
        return figures

    def _with_classes(self, figures: Figures, path: Path, scores: NDArray[np.float32]) -> Figures:
        if self._class_map is None:
            return figures
        labels = read_labels(self._class_map)
        esc10 = ten_class_accuracy(scores, self._recordings, labels)
        n = len(self._recordings.labels) if esc10 is not None else 0
        invented = None
        if self._recordings.inputs[0][next(iter(self._recordings.inputs[0]))].shape[1:] == _PATCH:
            invented = invented_a_minute(path, self._class_map)
        return replace(figures, esc10=esc10, esc10_n=n, invented=invented)


def ten_class_accuracy(
    scores: NDArray[np.float32], recordings: Recordings, labels: tuple[str, ...]
) -> float | None:
    """Share of the clips whose label means the class with the highest score in any patch.

    None where the clips have no labels, or the encoder no classes that they mean.
    """
    matcher = NameMatcher(labels)
    classes = sorted(set(recordings.labels))
    try:
        columns = [[labels.index(name) for name in matcher.labels(label)] for label in classes]
    except (UsageError, ValueError):
        return None
    if not classes:
        return None
    right = 0
    for clip, label in enumerate(recordings.labels):
        highest = scores[recordings.owners == clip].max(axis=0)
        best = max(range(len(classes)), key=lambda k: float(highest[columns[k]].max()))
        right += classes[best] == label
    return right / len(recordings.labels)


def invented_a_minute(encoder: Path, class_map: Path) -> float:
    """Sounds that the runtime's ear tells of in silence and noise, but for kinds of noise."""
    network = Yamnet(encoder, class_map)
    rules = network.labels, read_thresholds(), ontology()
    parts = SoundGate(), HopEncoder(network, LogMel()), Tracker(*rules)
    ear = SoundEar(*parts, None, lambda hop: None, Guesser(*rules), lambda guess: None)
    invented, samples_n = 0, 0
    for _, samples in noises():
        ear.reset(0)
        blocks = samples[: len(samples) // BLOCK_SAMPLES * BLOCK_SAMPLES]
        events = [e for b in blocks.reshape(-1, BLOCK_SAMPLES) for e in ear.push(b, speech=False)]
        invented += sum(
            isinstance(event, Sound) and event.state == "start" and event.label not in NOISE_LABELS
            for event in events
        )
        samples_n += len(blocks)
    return invented / (samples_n / SAMPLE_RATE_HZ / 60.0)


def _call(session: object, inputs: Sequence[Inputs], i: int) -> object:
    # Far apart in the list, so that one recording's patches are not all of the work.
    chosen = inputs[i * 37 % len(inputs)]
    return session.run(None, dict(chosen))  # type: ignore[attr-defined]
