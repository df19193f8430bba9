"""Splits text into the pieces of words that a vocabulary knows, as BERT does."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_LONGEST_WORD = 100


class WordPiece:
    """Of every word the longest beginning that is a piece, then of the rest, and so on.

    Args:
        pieces: by number; those inside a word begin with ``##``.
        unknown: stands for a word that is not made of pieces; without it such a word is left out.
    """

    def __init__(self, pieces: Sequence[str], unknown: str | None = None) -> None:
        self._numbers = {piece: i for i, piece in enumerate(pieces)}
        self._longest = max(map(len, pieces), default=0)
        self._unknown = [] if unknown is None else [self._numbers[unknown]]

    def __call__(self, text: str) -> list[int]:
        """Numbers of the text's pieces; case and accents do not count."""
        parts = unicodedata.normalize("NFD", text.lower())
        plain = "".join(c for c in parts if unicodedata.category(c) != "Mn")
        return [n for word in re.findall(r"\w+|[^\w\s]", plain) for n in self._split(word)]

    def _split(self, word: str) -> list[int]:
        numbers: list[int] = []
        rest, prefix = word[:_LONGEST_WORD], ""
        while rest:
            ends = range(min(len(rest), self._longest), 0, -1)
            end = next((end for end in ends if prefix + rest[:end] in self._numbers), 0)
            if not end:
                return self._unknown
            numbers.append(self._numbers[prefix + rest[:end]])
            rest, prefix = rest[end:], "##"
        return numbers
