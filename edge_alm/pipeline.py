"""The main path: packets in, events out. No threads, no devices, no clock.

    frame -> blocks of 96 ms --> VAD -> segments -> transcription ---------> Speech
                             `-> gate -> hops of 0.48 s -> log-mel -> encoder
                                                     -> tracker -----------> Sound, Watch

Speech opens the way to the encoder just as the sound gate does. Every decision depends on
the sample index alone: the events are the same however the stream is cut into frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from edge_alm.hearing.blocks import BlockCutter
from edge_alm.hearing.gate import BLOCK_SAMPLES
from edge_alm.hearing.sound_ear import SoundEar
from edge_alm.hearing.speech_ear import SpeechEar
from edge_alm.types import (
    SAMPLE_RATE_HZ,
    Event,
    Frame,
    Packet,
    Samples,
    Sound,
    Speech,
    Watch,
    to_seconds,
)

LONGEST_CONCEALED_SAMPLES = SAMPLE_RATE_HZ // 2
"""A shorter gap is heard as what its source made up, or as silence; a longer one ends what goes on,
and all starts anew."""


class Pipeline:
    """One stream's way from samples to events."""

    def __init__(self, speech: SpeechEar, sound: SoundEar) -> None:
        self._speech, self._sound = speech, sound
        self._blocks = BlockCutter(BLOCK_SAMPLES, LONGEST_CONCEALED_SAMPLES)
        self._begin(0)

    def run(self, packets: Iterable[Packet]) -> Iterator[Event]:
        """Events of a whole stream, each as soon as it is known."""
        for packet in packets:
            if not isinstance(packet, Frame):
                yield packet
                continue
            if self._blocks.breaks(packet):
                yield from self._finish()
                self._begin(packet.start)
            for block in self._blocks.push(packet):
                yield from self._hear(block)
            yield from map(self._doubt, self._speech.collect())
        yield from self._finish()

    @property
    def heard_s(self) -> float:
        """How long the stream has been heard."""
        return to_seconds(self._blocks.end)

    def ongoing(self) -> tuple[Sound, ...]:
        """The sounds that go on at this moment."""
        return self._sound.ongoing()

    def thin(self, thinned: bool) -> None:
        """Hear only every second hop of sounds, or every one."""
        self._sound.thinned = thinned

    def _begin(self, start: int) -> None:
        for part in (self._blocks, self._speech, self._sound):
            part.reset(start)

    def _hear(self, block: Samples) -> Iterator[Event]:
        yield from map(self._doubt, self._speech.push(block))
        yield from map(self._doubt, self._sound.push(block, speech=self._speech.is_speech))

    def _doubt(self, event: Event) -> Event:
        """What was heard across gaps carries less confidence: by their share of it."""
        if not isinstance(event, Sound | Speech | Watch):
            return event
        start, end = round(event.start * SAMPLE_RATE_HZ), self._blocks.end
        if isinstance(event, Speech):
            end = round(event.end * SAMPLE_RATE_HZ)
        share = self._blocks.missing_share(start, end)
        return (
            replace(event, confidence=round(event.confidence * (1 - share), 3)) if share else event
        )

    def _finish(self) -> Iterator[Event]:
        for block in self._blocks.flush():
            yield from self._hear(block)
        yield from map(self._doubt, self._sound.finish(self._blocks.end))
        yield from map(self._doubt, self._speech.finish(self._blocks.end))
