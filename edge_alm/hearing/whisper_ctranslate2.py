"""Whisper's networks in CTranslate2."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import ModelBrokenError, missing_extra
from edge_alm.hearing.whisper import MEL_BANDS, Written
from edge_alm.models.ctranslate2_folder import check_ctranslate2
from edge_alm.native import return_freed_memory

_PROMPT = ["<|startoftranscript|>", "<|notimestamps|>"]


class CTranslate2Whisper:
    """A :class:`~edge_alm.hearing.whisper.WhisperNetwork` in CTranslate2 form, in 8 bits.

    Args:
        folder: ``config.json``, ``model.bin``, ``vocabulary.txt``. With weights that are 8-bit
            already (see :mod:`edge_alm.models.whisper`) loading takes a third of the memory.
        threads: of the CPU.

    Raises:
        ModelMissingError: no such folder or file.
        ModelBrokenError: damaged, or not an English Whisper.
        MissingExtraError: the package ctranslate2 is not installed.
    """

    engine = "ctranslate2"

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        spec = check_ctranslate2(folder)
        # On a CPU that is not Intel's, MKL took 431 MB and six times as long as oneDNN, which
        # CTranslate2 has too; so one and the same everywhere, unless the user says otherwise.
        os.environ.setdefault("CT2_USE_MKL", "0")
        # oneDNN keeps what it made for every length that was read: after 40 segments 240 MB where
        # this stays at 204, in the same time.
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "0")
        try:
            import ctranslate2
        except ImportError as error:
            raise missing_extra("asr", "ctranslate2", str(error)) from error
        if spec != "WhisperSpec":
            raise _broken(folder, f"a {spec}")
        return_freed_memory()
        try:
            model = ctranslate2.models.Whisper(
                str(folder), device="cpu", compute_type="int8", intra_threads=threads
            )
        except (RuntimeError, ValueError) as error:
            raise _broken(folder, str(error)) from error
        if model.is_multilingual or model.n_mels != MEL_BANDS:
            raise _broken(folder, f"another with {model.n_mels} mel bands")
        self.folder, self._model = folder, model
        self._view = ctranslate2.StorageView.from_array
        weights = (folder / "model.bin").stat()
        self.key = (
            f"{folder.resolve()} {weights.st_size} {weights.st_mtime_ns} {ctranslate2.__version__}"
        )

    def encode(self, log_mel: NDArray[np.float32]) -> NDArray[np.float32]:
        """See :class:`~edge_alm.hearing.whisper.WhisperNetwork`."""
        return np.array(self._model.encode(self._view(log_mel[None])))

    def write(
        self, features: NDArray[np.float32], max_tokens: int, *, asks_no_speech: bool
    ) -> Written:
        """See :class:`~edge_alm.hearing.whisper.WhisperNetwork`."""
        result: Any = self._model.generate(
            self._view(features),
            [_PROMPT],
            beam_size=1,
            max_length=2 * max_tokens,  # CTranslate2 generates up to half of it
            return_scores=True,
            return_no_speech_prob=asks_no_speech,
        )[0]
        tokens = result.sequences[0]
        # CTranslate2's score is the mean over the tokens without the one that ends the text.
        confidence = math.exp(min(result.scores[0], 0.0)) if tokens else 0.0
        return Written(tokens, confidence, float(result.no_speech_prob))


def _broken(folder: Path, got: str) -> ModelBrokenError:
    return ModelBrokenError(
        f"transcriber {folder}",
        expected="an English Whisper in CTranslate2 form",
        got=got,
        hint="edge-alm models verify",
    )
