"""Speech to text, one segment at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from edge_alm.types import Samples


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said."""

    text: str
    """Empty: nothing was said."""
    confidence: float
    """0 to 1; geometric mean probability of the text's tokens."""
    no_speech: float
    """0 to 1; the model's probability that nobody speaks; 0 where it does not tell, or was not
    asked because the text is sure without it."""


class Transcriber(Protocol):
    """Anything that turns a segment of speech into text. Nothing is remembered between calls."""

    def transcribe(self, samples: Samples) -> Transcript:
        """The text of ``samples`` [n], n >= 1, 16 kHz."""
        ...

    def draft(self, samples: Samples) -> Transcript:
        """The same of speech that goes on: soon rather than right."""
        ...
