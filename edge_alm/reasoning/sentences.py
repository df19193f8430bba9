"""Directions of texts by a sentence encoder: a network in place of a table of word pieces.

It knows what words mean together, takes a few milliseconds for each text and lies in a folder that
``python -m export text`` made, in 8 bits after ``python -m quantize onnx``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import ModelBrokenError
from edge_alm.models.onnx_session import open_session
from edge_alm.models.sentences_folder import EMBEDDING, IDS, MASK, check_sentences
from edge_alm.reasoning.wordpiece import WordPiece

BEGIN, END, UNKNOWN = "[CLS]", "[SEP]", "[UNK]"
LONGEST_PIECES = 62
"""Of a text; the rest of a longer one is not read. Names of sounds have 2 to 15."""


class Sentences:
    """A sentence encoder.

    Args:
        folder: with ``manifest.json``, float or quantised.

    Raises:
        ModelMissingError: no such folder, or a file of it is missing.
        ModelBrokenError: it is damaged, or something else.
    """

    def __init__(self, folder: Path) -> None:
        info = check_sentences(folder)
        self.width = info.width
        try:
            words = info.vocabulary.read_text("utf-8").splitlines()
            self._begin, self._end = words.index(BEGIN), words.index(END)
            self._unknown = words.index(UNKNOWN)
        except ValueError as error:
            raise ModelBrokenError(
                str(info.vocabulary), expected="BERT's vocabulary", got=str(error)
            ) from error
        self._split = WordPiece(words, UNKNOWN)
        self._session = open_session(info.network)

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors [n, width]; zeros for a text without a known word."""
        out = np.zeros((len(texts), self.width), np.float32)
        for row, text in zip(out, texts, strict=True):
            inputs = self.inputs(text)
            if not np.isin(inputs[IDS], (self._begin, self._unknown, self._end)).all():
                row[:] = self._session.run([EMBEDDING], inputs)[0][0]
        return out

    def inputs(self, text: str) -> dict[str, NDArray[np.int64]]:
        """What the network reads for one text: ids and mask [1, tokens]."""
        pieces = self._split(text)[:LONGEST_PIECES]
        ids = np.array([[self._begin, *pieces, self._end]], np.int64)
        return {IDS: ids, MASK: np.ones_like(ids)}
