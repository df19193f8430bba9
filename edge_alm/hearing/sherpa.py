"""Speech to text by sherpa-onnx: any of its models, offline or streaming, by its folder."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from edge_alm.errors import ModelBrokenError, missing_extra
from edge_alm.hearing.transcriber import Transcript
from edge_alm.models.sherpa_folder import SherpaModel, check_sherpa
from edge_alm.native import run_probe
from edge_alm.types import SAMPLE_RATE_HZ, Samples

_SHORTEST_SAMPLES = SAMPLE_RATE_HZ
"""Models with a long reach back fail on less."""
_TAIL_SAMPLES = SAMPLE_RATE_HZ * 2 // 3
"""Silence after the speech, so that a streaming model gives its last words."""
_TRIAL_TIMEOUT_S = 120.0
_TRIAL = """
import json
from pathlib import Path
from edge_alm.hearing.sherpa import try_folder
try_folder(Path(json.loads({folder!r})))
print(json.dumps({{}}))
"""


class SherpaTranscriber:
    """A model of sherpa-onnx, on one thread.

    The C++ ends the process when a model is not what it expects, in ways that no look at its files
    rules out: so the model is first opened, and reads a second of noise, in a process of its own.

    Args:
        folder: the graphs and ``tokens.txt``; see :mod:`edge_alm.models.sherpa_folder`.

    Raises:
        ModelMissingError: no such folder or file.
        ModelBrokenError: damaged, of no known kind, or sherpa-onnx fails on it.
        MissingExtraError: the package sherpa-onnx is not installed.
    """

    def __init__(self, folder: Path) -> None:
        model = check_sherpa(folder)
        try:
            import sherpa_onnx  # noqa: F401
        except ImportError as error:
            raise missing_extra("sherpa", "sherpa-onnx", str(error)) from error
        code = _TRIAL.format(folder=json.dumps(str(folder.resolve())))
        if (trial := run_probe(code, _TRIAL_TIMEOUT_S)).status != "ok":
            raise ModelBrokenError(
                str(folder),
                expected=f"a {model.kind} model that sherpa-onnx can run",
                got=trial.reason,
            )
        self._folder, self._recognizer = folder, _open(model)
        self._streaming = model.streaming

    def transcribe(self, samples: Samples) -> Transcript:
        """See :class:`~edge_alm.hearing.transcriber.Transcriber`.

        Raises:
            ModelBrokenError: the model fails on these samples.
        """
        try:
            return _read(self._recognizer, self._streaming, samples)
        except RuntimeError as error:
            seconds = len(samples) / SAMPLE_RATE_HZ
            raise ModelBrokenError(
                str(self._folder), expected=f"to read {seconds:.1f} s", got=str(error)
            ) from error

    def draft(self, samples: Samples) -> Transcript:
        """See :class:`~edge_alm.hearing.transcriber.Transcriber`."""
        return self.transcribe(samples)


def try_folder(folder: Path) -> None:
    """Open a model and let it read; what is wrong with it may end the process."""
    model = check_sherpa(folder)
    noise = np.random.default_rng(0).normal(0.0, 0.01, SAMPLE_RATE_HZ).astype(np.float32)
    _read(_open(model), model.streaming, noise)


def _open(model: SherpaModel) -> Any:
    import sherpa_onnx

    family = sherpa_onnx.OnlineRecognizer if model.streaming else sherpa_onnx.OfflineRecognizer
    return getattr(family, f"from_{model.kind}")(num_threads=1, **model.arguments)


def _read(recognizer: Any, streaming: bool, samples: Samples) -> Transcript:
    tail = max(_TAIL_SAMPLES if streaming else 0, _SHORTEST_SAMPLES - len(samples))
    stream = recognizer.create_stream()
    stream.accept_waveform(SAMPLE_RATE_HZ, np.pad(samples, (0, tail)))
    if streaming:
        stream.input_finished()
        while recognizer.is_ready(stream):
            recognizer.decode_stream(stream)
        text, logs = recognizer.get_result(stream), recognizer.ys_probs(stream)
    else:
        recognizer.decode_stream(stream)
        text, logs = stream.result.text, stream.result.ys_log_probs
    text = text.strip()
    if not any(c.isalnum() for c in text):
        return Transcript("", 0.0, 0.0)
    # CTC models give no probabilities of their tokens.
    confidence = math.exp(min(0.0, math.fsum(logs) / len(logs))) if logs else 1.0
    return Transcript(text, confidence, 0.0)
