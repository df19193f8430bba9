"""Which segments reach the transcription; the VAD is a list of numbers here."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_alm.hearing.encoder import HOP_SAMPLES, PATCH_FRAMES, Hop
from edge_alm.hearing.gate import BLOCK_SAMPLES
from edge_alm.hearing.segmenter import SpeechSegmenter
from edge_alm.hearing.speech_ear import VOICE_SCORE, SpeechEar
from edge_alm.hearing.transcriber import Transcript
from edge_alm.hearing.transcription import (
    LONGEST_QUEUE,
    InlineTranscription,
    ThreadedTranscription,
    Transcription,
)
from edge_alm.types import Event, Fault, Samples, Speech

BLOCKS_PER_HOP = HOP_SAMPLES // BLOCK_SAMPLES
WORDS = "the words"


class WrittenVad:
    """Says 1 for a block of ones and 0 for silence."""

    def push(self, samples: Samples) -> NDArray[np.float32]:
        return np.array(samples[::512], np.float32)

    def flush(self) -> NDArray[np.float32]:
        return np.zeros(0, np.float32)

    def reset(self) -> None: ...


class WrittenTranscriber:
    """Keeps what it is given; a lock makes it slow."""

    def __init__(self) -> None:
        self.heard: list[Samples] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def transcribe(self, samples: Samples) -> Transcript:
        self.may_go_on.wait(10)
        self.heard.append(samples)
        return Transcript(WORDS, 0.9, 0.1)


def hear(transcription: Transcription | None, voice: float | None) -> list[Event]:
    """2.4 s of silence, 2.4 s of speech, 2.4 s of silence; ``voice`` is the encoder's score."""
    ear = SpeechEar(WrittenVad(), SpeechSegmenter(), transcription, [1])  # type: ignore[arg-type]
    events: list[Event] = []
    hops = np.repeat([0, 1, 0], 5)
    for number, level in enumerate(hops):
        for _ in range(BLOCKS_PER_HOP):
            events += ear.push(np.full(BLOCK_SAMPLES, level, np.float32))
            assert ear.is_speech == bool(level)
        if voice is not None:
            start, nothing = number * HOP_SAMPLES, np.zeros(0, np.float32)
            scores = np.array([0.9, voice * level], np.float32)
            levels_db = np.zeros(PATCH_FRAMES, np.float32)
            ear.hear_hop(Hop(start, start + HOP_SAMPLES, scores, nothing, levels_db, False))
    return events + ear.finish(len(hops) * HOP_SAMPLES)


@pytest.mark.parametrize("voice", [None, VOICE_SCORE, 1.0])
def test_a_segment_with_a_voice_becomes_text(voice: float | None) -> None:
    transcriber = WrittenTranscriber()
    (speech,) = hear(InlineTranscription(lambda: transcriber), voice)
    assert isinstance(speech, Speech)
    assert speech.text == WORDS
    assert 2.0 <= speech.start <= 2.4
    assert 4.8 <= speech.end <= 5.2
    (samples,) = transcriber.heard
    assert len(samples) == round((speech.end - speech.start) * 16_000)
    assert samples.sum() == 5 * HOP_SAMPLES, "all of the speech, and nothing of it twice"


def test_a_segment_without_a_voice_does_not() -> None:
    transcriber = WrittenTranscriber()
    assert hear(InlineTranscription(lambda: transcriber), VOICE_SCORE - 0.01) == []
    assert transcriber.heard == []


def test_without_transcription_there_are_no_events() -> None:
    assert hear(None, 1.0) == []


def test_a_slow_transcriber_gives_up_the_oldest_and_says_so() -> None:
    transcriber = WrittenTranscriber()
    transcriber.may_go_on.clear()
    transcription = ThreadedTranscription(lambda: transcriber)
    for number in range(LONGEST_QUEUE + 3):
        transcription.submit(number * 16_000, np.full(16_000, number, np.float32))
    transcriber.may_go_on.set()
    events = transcription.finish()
    transcription.close()
    faults = [event for event in events if isinstance(event, Fault)]
    starts = [event.start for event in events if isinstance(event, Speech)]
    assert {fault.code for fault in faults} == {"speech-skipped"}
    assert len(faults) + len(starts) == LONGEST_QUEUE + 3
    assert 2 <= len(faults) <= 3, "one may already have been taken up"
    assert starts == sorted(starts)
    assert starts[-1] == LONGEST_QUEUE + 2
