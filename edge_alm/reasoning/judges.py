"""Words compared with what is heard, hop after hop; what they mean is worked out once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from edge_alm.errors import UsageError
from edge_alm.reasoning.phrases import Floats, Phrases

Judge: TypeAlias = Callable[[Floats], Floats]
"""0 to 1 for each text [n texts], of the embeddings of consecutive hops [n hops, n_in]."""


class Judges:
    """Makes judges of one phrase table.

    Args:
        phrases: the table.
    """

    def __init__(self, phrases: Phrases) -> None:
        self._phrases = phrases

    def of(self, texts: Sequence[str]) -> Judge:
        """A judge of these texts.

        Raises:
            UsageError: a text in which no word is known.
        """
        prepared = self._phrases.prepare(texts)
        for text, direction in zip(texts, prepared.directions, strict=True):
            if not direction.any():
                raise UsageError(
                    f"sound {text!r}", expected="words that name it", got="none that is known"
                )

        def judge(embeddings: Floats) -> Floats:
            return self._phrases.judge(self._phrases.hear(embeddings), prepared)

        return judge
