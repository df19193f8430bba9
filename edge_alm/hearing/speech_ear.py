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
FIRST_DRAFT_SAMPLES = 6 * BLOCK_SAMPLES
"""Length of a segment, the time before its first speech included, at its first draft."""
SOONEST_DRAFT_SAMPLES, LATEST_DRAFT_SAMPLES = 2 * BLOCK_SAMPLES, 5 * BLOCK_SAMPLES
"""By which each further draft is longer: a sixth of what there is, 0.19 to 0.48 s. Short ones
cost little, and the first seldom has words in it."""


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
        self._heard = start
        self._draft_start: int | None = None
        self._draft_due = start
        self._drafted: int | None = None  # its drafts have not come to their end yet
        self._foreseen: SpeechSegment | None = None
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
        self._heard += len(block)
        probabilities = self._vad.push(block)
        self.is_speech = bool(np.any(probabilities > LIKELY))
        self._submit(self._segmenter.push(probabilities))
        self._foresee()
        self._draft()
        return self.collect()

    def collect(self) -> list[Event]:
        """Events that have become ready since the last block."""
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
            if segment.start_sample == self._drafted:
                self._drafted = None
        if self._drafted is not None and self._drafted != self._segmenter.open_start:
            self._transcription.submit(self._drafted, np.zeros(0, np.float32))
            self._drafted = None

    def _foresee(self) -> None:
        """Hand over what will be a segment if nobody says more: a while before that is certain all
        of its samples are there."""
        segment = self._segmenter.likely
        if self._transcription is None or segment is None or segment == self._foreseen:
            return
        self._foreseen = segment
        if self._has_voice(segment):
            samples = self._history.read(segment.start_sample, segment.end_sample)
            self._transcription.foresee(segment.end_sample - len(samples), samples)

    def _draft(self) -> None:
        """Hand over what is being said, as far as it goes, now and then."""
        start = self._segmenter.open_start
        if start is None or self._transcription is None or not self._transcription.wants_drafts:
            return
        if start != self._draft_start:
            self._draft_start, self._draft_due = start, start + FIRST_DRAFT_SAMPLES
        # A hop that ends before the first words knows nothing of their voice.
        spoken = SpeechSegment(start + FIRST_DRAFT_SAMPLES // 2, self._heard)
        if self._heard < self._draft_due or not self._has_voice(spoken):
            return
        longer = min(max((self._heard - start) // 6, SOONEST_DRAFT_SAMPLES), LATEST_DRAFT_SAMPLES)
        self._draft_due = self._heard + longer
        self._drafted = start
        self._transcription.draft(start, self._history.read(start, self._heard))

    def _has_voice(self, segment: SpeechSegment) -> bool:
        scores = [
            score
            for first, end, score in self._hops
            if first < segment.end_sample and end > segment.start_sample
        ]
        return not scores or max(scores) >= VOICE_SCORE
