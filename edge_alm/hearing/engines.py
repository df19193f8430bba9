"""Which engine turns speech into text."""

from __future__ import annotations

from pathlib import Path

from edge_alm.errors import UsageError
from edge_alm.hearing.transcriber import Transcriber, WhisperTranscriber


def open_transcriber(engine: str, folder: Path) -> Transcriber:
    """The transcriber of an engine with the model in ``folder``.

    Args:
        engine: one of :data:`edge_alm.models.bundle.ENGINES`.
        folder: the model, in the engine's form.

    Raises:
        ModelMissingError, ModelBrokenError, MissingExtraError: as the transcribers.
        UsageError: no such engine.
    """
    if engine == "ctranslate2":
        return WhisperTranscriber(folder)
    if engine == "faster-whisper":
        from edge_alm.hearing.faster_whisper import FasterWhisperTranscriber

        return FasterWhisperTranscriber(folder)
    if engine == "sherpa-onnx":
        from edge_alm.hearing.sherpa import SherpaTranscriber

        return SherpaTranscriber(folder)
    raise UsageError(f"transcriber {engine}", expected="an engine", got="none of that name")
