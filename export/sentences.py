"""A sentence encoder that ``python -m export text`` wrote, through ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import ModelBrokenError
from edge_alm.models.manifest import load_manifest
from edge_alm.models.onnx_session import open_session
from edge_alm.models.yamnet import EMBEDDING
from edge_alm.reasoning.phrases import Floats
from edge_alm.reasoning.wordpiece import WordPiece

KIND = TEXT_GRAPH = "text"
IDS, MASK = "input_ids", "attention_mask"
VOCABULARY = "vocab.txt"
BEGIN, END, UNKNOWN = "[CLS]", "[SEP]", "[UNK]"


class Sentences:
    """From texts to directions; see :class:`~export.phrases.SentenceEncoder`.

    Args:
        folder: with ``manifest.json``, float or quantised.

    Raises:
        ModelMissingError: no such folder, or a file of it is missing.
        ModelBrokenError: it is damaged, or something else.
    """

    def __init__(self, folder: Path) -> None:
        manifest = load_manifest(folder)
        if manifest.kind != KIND or TEXT_GRAPH not in manifest.graphs:
            raise ModelBrokenError(
                str(folder),
                expected="a sentence encoder",
                got=manifest.kind,
                hint="python -m export text makes one",
            )
        words = (folder / VOCABULARY).read_text("utf-8").splitlines()
        self._begin, self._end = words.index(BEGIN), words.index(END)
        self._split = WordPiece(words, UNKNOWN)
        self._session = open_session(folder / manifest.graphs[TEXT_GRAPH].file)

    def __call__(self, texts: Sequence[str]) -> Floats:
        """Unit vectors [n, width]."""
        return np.stack([self.embed(text) for text in texts])

    def embed(self, text: str) -> Floats:
        """The unit vector [width] of one text."""
        (found,) = self._session.run([EMBEDDING], self.inputs(text))
        direction: Floats = found[0]
        return direction

    def inputs(self, text: str) -> dict[str, NDArray[np.int64]]:
        """What the graph reads for one text: ids and mask [1, tokens]."""
        ids = np.array([[self._begin, *self._split(text), self._end]], np.int64)
        return {IDS: ids, MASK: np.ones_like(ids)}
