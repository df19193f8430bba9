"""Speech to text by faster-whisper, which reads all 30 s whatever was said: to compare with."""

from __future__ import annotations

import math
import os
from pathlib import Path

from edge_alm.errors import ModelBrokenError, ModelMissingError, missing_extra
from edge_alm.hearing.transcriber import Transcript
from edge_alm.hearing.whisper import is_speech
from edge_alm.models.ctranslate2_folder import check_ctranslate2
from edge_alm.types import Samples


class FasterWhisperTranscriber:
    """Any Whisper model in CTranslate2 form, in 8 bits, greedy, without timestamps.

    Args:
        folder: as of :class:`~edge_alm.hearing.whisper_ctranslate2.CTranslate2Whisper`, and
            ``tokenizer.json``. A multilingual model finds out the language.
        threads: of the CPU.

    Raises:
        ModelMissingError: no such folder or file.
        ModelBrokenError: damaged, or no Whisper.
        MissingExtraError: the package faster-whisper is not installed.
    """

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        check_ctranslate2(folder)
        tokenizer = folder / "tokenizer.json"
        if not tokenizer.is_file():  # faster-whisper would fetch one from the web
            raise ModelMissingError(str(tokenizer), expected="a tokenizer", got="no such file")
        os.environ.setdefault("CT2_USE_MKL", "0")  # as of CTranslate2Whisper
        try:
            from faster_whisper import WhisperModel
        except ImportError as error:
            raise missing_extra("faster-whisper", "faster-whisper", str(error)) from error
        try:
            self._model = WhisperModel(
                str(folder), device="cpu", compute_type="int8", cpu_threads=threads
            )
        except Exception as error:  # of CTranslate2 and of the tokenizer, which have no base
            raise ModelBrokenError(
                f"transcriber {folder}", expected="a Whisper in CTranslate2 form", got=str(error)
            ) from error

    def transcribe(self, samples: Samples) -> Transcript:
        """See :class:`~edge_alm.hearing.transcriber.Transcriber`."""
        found, _ = self._model.transcribe(
            samples,
            language=None if self._model.model.is_multilingual else "en",
            beam_size=1,
            without_timestamps=True,
            condition_on_previous_text=False,
        )
        segments = list(found)
        tokens = sum(len(segment.tokens) for segment in segments)
        if not tokens:
            return Transcript("", 0.0, 1.0)
        log = sum(segment.avg_logprob * len(segment.tokens) for segment in segments) / tokens
        confidence = math.exp(min(0.0, log))
        no_speech = max(segment.no_speech_prob for segment in segments)
        text = "".join(segment.text for segment in segments).strip()
        if not is_speech(text, confidence, no_speech):
            text = ""
        return Transcript(text, confidence, no_speech)

    def draft(self, samples: Samples) -> Transcript:
        """See :class:`~edge_alm.hearing.transcriber.Transcriber`."""
        return self.transcribe(samples)
