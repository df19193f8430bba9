"""Which engine turns speech into text."""

from __future__ import annotations

from pathlib import Path

from edge_alm.errors import UsageError
from edge_alm.hearing.transcriber import Transcriber
from edge_alm.hearing.whisper import WhisperNetwork, WhisperTranscriber


def open_transcriber(engine: str, folder: Path) -> Transcriber:
    """The transcriber of an engine with the model in ``folder``.

    Args:
        engine: one of :data:`edge_alm.models.bundle.ENGINES`.
        folder: the model, in the engine's form.

    Raises:
        ModelMissingError, ModelBrokenError, MissingExtraError: as the transcribers.
        UsageError: no such engine.
    """
    if engine == "faster-whisper":
        from edge_alm.hearing.faster_whisper import FasterWhisperTranscriber

        return FasterWhisperTranscriber(folder)
    if engine == "sherpa-onnx":
        from edge_alm.hearing.sherpa import SherpaTranscriber

        return SherpaTranscriber(folder)
    return WhisperTranscriber(open_whisper(engine, folder))


def open_whisper(engine: str, folder: Path) -> WhisperNetwork:
    """The networks of an English Whisper, in the form of ``ctranslate2`` or ``onnxruntime``.

    Raises:
        As :func:`open_transcriber`.
    """
    if engine == "ctranslate2":
        from edge_alm.hearing.whisper_ctranslate2 import CTranslate2Whisper

        return CTranslate2Whisper(folder)
    if engine == "onnxruntime":
        from edge_alm.hearing.whisper_onnx import OnnxWhisper

        return OnnxWhisper(folder)
    raise UsageError(f"transcriber {engine}", expected="an engine", got="none of that name")
