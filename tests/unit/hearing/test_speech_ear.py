"""Which segments reach the transcription; the VAD is a list of numbers here."""

from __future__ import annotations

import threading
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_alm.hearing.encoder import HOP_SAMPLES, PATCH_FRAMES, Hop
from edge_alm.hearing.gate import BLOCK_SAMPLES
from edge_alm.hearing.segmenter import SegmenterSettings, SpeechSegmenter
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
        self.drafted: list[Samples] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def transcribe(self, samples: Samples) -> Transcript:
        self.may_go_on.wait(10)
        self.heard.append(samples)
        return Transcript(WORDS if samples.any() else "", 0.9, 0.1)

    def draft(self, samples: Samples) -> Transcript:
        """As many words as there are tenths of a second of speech."""
        self.may_go_on.wait(10)
        self.drafted.append(samples)
        return Transcript("word " * round(samples.sum() / 1600), 0.5, 0.1)


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


def test_speech_is_told_while_it_goes_on() -> None:
    transcriber = WrittenTranscriber()
    told: list[Speech] = []
    (speech,) = hear(InlineTranscription(lambda: transcriber, told.append), 1.0)
    assert isinstance(speech, Speech)
    assert {partial.start for partial in told} == {speech.start}
    ends = [partial.end for partial in told]
    assert ends == sorted(ends)
    assert ends[0] - 2.4 < 0.5, "soon after the first speech"
    assert all(0.15 < later - sooner < 0.6 for sooner, later in pairwise(ends))
    words = [len(partial.text.split()) for partial in told]
    assert words == sorted(set(words)), "each time more, from the beginning"
    assert hear(InlineTranscription(lambda: WrittenTranscriber()), 1.0) == [speech]


def test_drafts_have_the_gate_of_segments() -> None:
    transcriber = WrittenTranscriber()
    told: list[Speech] = []
    assert hear(InlineTranscription(lambda: transcriber, told.append), VOICE_SCORE - 0.01) == []
    assert len(transcriber.drafted) <= 1, "before the encoder had heard any of it"
    assert [bool(partial.text) for partial in told] in ([], [True, False])


def test_what_was_told_and_is_no_speech_is_taken_back() -> None:
    """A voice that is one no more when the segment ends; and a segment that stays too short."""
    for blocks, voice_until in ((20, 10), (1, 1)):
        transcriber = WrittenTranscriber()
        told: list[Speech] = []
        transcription = InlineTranscription(lambda: transcriber, told.append)  # noqa: B023
        settings = SegmenterSettings(min_speech_s=0.2 if blocks == 20 else 5.0)
        ear = SpeechEar(WrittenVad(), SpeechSegmenter(settings), transcription, [0])  # type: ignore[arg-type]
        events: list[Event] = []
        for number in range(40):
            level = float(5 <= number < 5 + max(blocks, 8))
            events += ear.push(np.full(BLOCK_SAMPLES, level, np.float32))
            if transcriber.drafted and voice_until == 10:
                ear._has_voice = lambda segment: False  # type: ignore[method-assign]
        assert events + ear.finish(40 * BLOCK_SAMPLES) == []
        assert [bool(partial.text) for partial in told[-2:]] == [True, False]
        assert told[-1].start == told[0].start


def test_a_segment_without_a_voice_does_not() -> None:
    transcriber = WrittenTranscriber()
    assert hear(InlineTranscription(lambda: transcriber), VOICE_SCORE - 0.01) == []
    assert transcriber.heard == []


def settle(transcription: ThreadedTranscription) -> None:
    """Wait until it has done all that it was given."""
    with transcription._changed:
        assert transcription._changed.wait_for(
            lambda: (
                not (
                    transcription._waiting
                    or transcription._foreseen
                    or transcription._draft
                    or transcription._busy
                )
            ),
            10,
        )


def test_a_segment_is_read_before_its_end_is_certain_and_only_once() -> None:
    transcriber = WrittenTranscriber()
    transcription = ThreadedTranscription(lambda: transcriber)
    ear = SpeechEar(WrittenVad(), SpeechSegmenter(), transcription, [])  # type: ignore[arg-type]
    read: list[tuple[float, int]] = []
    told: list[tuple[float, int, Event]] = []
    for level, blocks in ((1.0, 10), (0.0, 3), (1.0, 10), (0.0, 10)):
        for number in range(1, blocks + 1):
            events = ear.push(np.full(BLOCK_SAMPLES, level, np.float32))
            settle(transcription)
            told += [(level, number, event) for event in events + transcription.collect()]
            read += [(level, number)] * (len(transcriber.heard) - len(read))
    assert ear.finish(33 * BLOCK_SAMPLES) == []
    transcription.close()
    assert read == [(0.0, 3), (0.0, 3)], "0.2 s after speech: in the pause and at the end"
    ((level, number, speech),) = told
    assert (level, number) == (0.0, 5), "0.4 s after it"
    assert isinstance(speech, Speech)
    assert len(transcriber.heard[-1]) == round((speech.end - speech.start) * 16_000)


def test_what_was_foreseen_is_told_at_once() -> None:
    transcriber = WrittenTranscriber()
    transcription = ThreadedTranscription(lambda: transcriber)
    transcription.foresee(0, np.ones(16_000, np.float32))
    settle(transcription)
    transcription.submit(0, np.ones(16_000, np.float32))
    (speech,) = transcription.collect()
    transcription.close()
    assert isinstance(speech, Speech)
    assert len(transcriber.heard) == 1


def test_what_was_foreseen_otherwise_is_read_anew() -> None:
    transcriber = WrittenTranscriber()
    transcription = ThreadedTranscription(lambda: transcriber)
    for start, foreseen, said in ((0, 16_000, 17_000), (40_000, 16_000, 16_000)):
        transcription.foresee(start, np.zeros(foreseen, np.float32))
        settle(transcription)
        transcription.submit(start, np.ones(said, np.float32))
    events = transcription.finish()
    transcription.close()
    assert [event.start for event in events if isinstance(event, Speech)] == [0.0]
    assert [len(samples) for samples in transcriber.heard] == [16_000, 17_000, 16_000]


def test_a_slow_transcriber_is_not_asked_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_alm.hearing.transcription.FORESEEN_S", -1.0)
    transcriber = WrittenTranscriber()
    transcription = ThreadedTranscription(lambda: transcriber)
    transcription.foresee(0, np.ones(16_000, np.float32))
    settle(transcription)
    assert transcriber.heard == []
    transcription.submit(0, np.ones(16_000, np.float32))
    assert len(transcription.finish()) == len(transcriber.heard) == 1
    transcription.close()


def test_what_is_foreseen_is_given_up_where_the_machine_is_overloaded() -> None:
    transcriber = WrittenTranscriber()
    transcription = ThreadedTranscription(lambda: transcriber)
    transcription.relieve(True)
    transcription.foresee(0, np.ones(16_000, np.float32))
    transcription.relieve(False)
    settle(transcription)
    transcription.close()
    assert transcriber.heard == []


def test_without_transcription_there_are_no_events() -> None:
    assert hear(None, 1.0) == []


def test_a_slow_transcriber_gives_up_the_oldest_and_says_so() -> None:
    transcriber = WrittenTranscriber()
    transcriber.may_go_on.clear()
    transcription = ThreadedTranscription(lambda: transcriber)
    for number in range(LONGEST_QUEUE + 3):
        transcription.submit(number * 16_000, np.full(16_000, number + 1, np.float32))
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


def test_a_relieved_one_gives_up_all_and_takes_up_work_again() -> None:
    transcriber = WrittenTranscriber()
    transcriber.may_go_on.clear()
    told: list[Speech] = []
    transcription = ThreadedTranscription(lambda: transcriber, told.append)
    for number in range(4):
        transcription.submit(number * 16_000, np.full(16_000, 1, np.float32))
    transcription.relieve(True)
    transcription.submit(4 * 16_000, np.full(16_000, 1, np.float32))
    transcription.draft(5 * 16_000, np.ones(16_000, np.float32))
    transcription.relieve(False)
    transcription.submit(6 * 16_000, np.full(16_000, 1, np.float32))
    transcriber.may_go_on.set()
    events = transcription.finish()
    transcription.close()
    faults = [event for event in events if isinstance(event, Fault)]
    starts = [event.start for event in events if isinstance(event, Speech)]
    assert {fault.code for fault in faults} == {"speech-skipped"}
    assert starts in ([6.0], [0.0, 6.0]), "the first may already have been taken up"
    assert len(faults) + len(starts) == 6
    assert transcriber.drafted == []
    assert told == []


def test_drafts_of_a_segment_that_is_given_up_come_to_their_end() -> None:
    transcriber = WrittenTranscriber()
    told: list[Speech] = []
    transcription = ThreadedTranscription(lambda: transcriber, told.append)
    transcription.draft(0, np.ones(16_000, np.float32))
    while not told:
        transcription._thread.join(0.01)
    transcription.relieve(True)
    transcription.submit(0, np.ones(32_000, np.float32))
    (fault,) = transcription.finish()
    transcription.close()
    assert isinstance(fault, Fault)
    assert [(partial.start, bool(partial.text)) for partial in told] == [(0.0, True), (0.0, False)]


def test_segments_come_before_drafts_and_old_drafts_are_left_out() -> None:
    transcriber = WrittenTranscriber()
    transcriber.may_go_on.clear()
    told: list[Speech] = []
    transcription = ThreadedTranscription(lambda: transcriber, told.append)
    transcription.submit(0, np.ones(16_000, np.float32))
    for tenths in range(3, 9):
        transcription.draft(32_000, np.ones(1600 * tenths, np.float32))
    transcription.submit(16_000, np.ones(16_000, np.float32))
    transcription.draft(48_000, np.ones(1600, np.float32))
    transcriber.may_go_on.set()
    starts = [event.start for event in transcription.finish() if isinstance(event, Speech)]
    transcription.submit(48_000, np.zeros(0, np.float32))
    transcription.finish()
    transcription.close()
    assert starts == [0.0, 1.0]
    assert len(transcriber.drafted) <= 1
    assert [(partial.start, bool(partial.text)) for partial in told] in (
        [],
        [(3.0, True), (3.0, False)],
    )


def test_what_the_listener_of_drafts_raises_is_raised() -> None:
    def fail(partial: Speech) -> None:
        raise ZeroDivisionError(partial.text)

    transcription = ThreadedTranscription(WrittenTranscriber, fail)
    transcription.draft(0, np.ones(16_000, np.float32))
    transcription._thread.join(10)
    with pytest.raises(ZeroDivisionError):
        transcription.collect()
    transcription.submit(0, np.ones(16_000, np.float32))
    with pytest.raises(ZeroDivisionError):
        transcription.finish()
