"""The half that hears speech: VAD, segmenter, transcription."""

from __future__ import annotations

import numpy as np

from edge_alm.hearing.blocks import History
from edge_alm.hearing.gate import BLOCK_SAMPLES
from edge_alm.hearing.segmenter import SpeechSegment, SpeechSegmenter
from edge_alm.hearing.transcription import Transcription
from edge_alm.hearing.vad import SileroVad
from edge_alm.types import SAMPLE_RATE_HZ, Event, Samples

LIKELY = 0.5
"""A probability that counts as speech."""
HISTORY_BLOCKS = 32 * SAMPLE_RATE_HZ // BLOCK_SAMPLES
"""32 s: the longest segment, its pre-roll and the wait for its end."""


class SpeechEar:
    """Blocks in, speech events out. State of one stream.

    Args:
        vad, segmenter: the parts.
        transcription: what makes text of segments; None for no text, and then no events.
    """

    def __init__(
        self, vad: SileroVad, segmenter: SpeechSegmenter, transcription: Transcription | None
    ) -> None:
        self._vad, self._segmenter, self._transcription = vad, segmenter, transcription
        self._history = History(HISTORY_BLOCKS)
        self.reset(0)

    def reset(self, start: int) -> None:
        """Begin anew at sample index ``start``."""
        self._vad.reset()
        self._segmenter.reset(start)
        self._history.reset(start)
        self.is_speech = False
        """Whether the last block had speech in it."""

    def push(self, block: Samples) -> list[Event]:
        """Events that are ready after ``block`` [BLOCK_SAMPLES]."""
        self._history.push(block)
        probabilities = self._vad.push(block)
        self.is_speech = bool(np.any(probabilities > LIKELY))
        self._submit(self._segmenter.push(probabilities))
        return self._transcription.collect() if self._transcription else []

    def finish(self, end: int) -> list[Event]:
        """The segment that is open at ``end``, where the stream ends or breaks off."""
        self._submit(self._segmenter.push(self._vad.flush()))
        self._submit(self._segmenter.flush(end))
        return self._transcription.finish() if self._transcription else []

    def _submit(self, segments: list[SpeechSegment]) -> None:
        if self._transcription is None:
            return
        for segment in segments:
            samples = self._history.read(segment.start_sample, segment.end_sample)
            self._transcription.submit(segment.end_sample - len(samples), samples)
