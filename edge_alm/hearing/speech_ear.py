"""The half that hears speech: VAD, segmenter, transcription."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from edge_alm.hearing.blocks import History
from edge_alm.hearing.encoder import HOP_SAMPLES, Hop
from edge_alm.hearing.gate import BLOCK_SAMPLES
from edge_alm.hearing.segmenter import SpeechSegment, SpeechSegmenter
from edge_alm.hearing.transcription import Transcription
from edge_alm.hearing.vad import SileroVad
from edge_alm.types import SAMPLE_RATE_HZ, Event, Samples

LIKELY = 0.5
"""A probability that counts as speech."""
HISTORY_BLOCKS = 32 * SAMPLE_RATE_HZ // BLOCK_SAMPLES
"""32 s: the longest segment, its pre-roll and the wait for its end."""
HISTORY_HOPS = HISTORY_BLOCKS * BLOCK_SAMPLES // HOP_SAMPLES
VOICE_SCORE = 0.2
"""A segment in which the encoder never gave a voice this score has no words in it. Spoken
prompts reach 0.96 and, in white noise at 10 dB, 0.37; some sneezes and barks pass the VAD and
stay under 0.2."""


class SpeechEar:
    """Blocks in, speech events out. State of one stream.

    Args:
        vad, segmenter: the parts.
        transcription: what makes text of segments; None for no text, and then no events.
        voices: columns of the encoder's scores that are voices; none, and the VAD alone decides.
    """

    def __init__(
        self,
        vad: SileroVad,
        segmenter: SpeechSegmenter,
        transcription: Transcription | None,
        voices: Sequence[int],
    ) -> None:
        self._vad, self._segmenter, self._transcription = vad, segmenter, transcription
        self._voices = list(voices)
        self._history = History(HISTORY_BLOCKS)
        self.reset(0)

    def reset(self, start: int) -> None:
        """Begin anew at sample index ``start``."""
        self._vad.reset()
        self._segmenter.reset(start)
        self._history.reset(start)
        self._hops: deque[tuple[int, int, float]] = deque(maxlen=HISTORY_HOPS)
        self.is_speech = False
        """Whether the last block had speech in it."""

    def hear_hop(self, hop: Hop) -> None:
        """Take the encoder's word on whether there is a voice, if it knows voices."""
        if not self._voices:
            return
        first = hop.start - HOP_SAMPLES
        self._hops.append((first, hop.end, float(hop.scores[self._voices].max())))

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
            if not self._has_voice(segment):
                continue
            samples = self._history.read(segment.start_sample, segment.end_sample)
            self._transcription.submit(segment.end_sample - len(samples), samples)

    def _has_voice(self, segment: SpeechSegment) -> bool:
        scores = [
            score
            for first, end, score in self._hops
            if first < segment.end_sample and end > segment.start_sample
        ]
        return not scores or max(scores) >= VOICE_SCORE
