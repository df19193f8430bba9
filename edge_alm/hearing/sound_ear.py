"""The half that hears sounds: gate, log-mel, encoder, tracker, guesser, watcher."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edge_alm.hearing.encoder import HOP_SAMPLES, Hop, HopEncoder
from edge_alm.hearing.gate import BLOCK_SAMPLES, SoundGate
from edge_alm.hearing.guesses import Guesser
from edge_alm.hearing.taught_ear import TaughtEar
from edge_alm.hearing.tracker import Tracker
from edge_alm.hearing.watch import Watcher
from edge_alm.types import Event, Guess, Samples, Sound

BLOCKS_PER_HOP = HOP_SAMPLES // BLOCK_SAMPLES
REFRESH_HOPS = 10
"""Every 4.8 s the encoder looks past a shut gate, so that a sound which came in too slowly
for the gate is still found; costs a tenth of the encoder."""
REFRESH_DB = -60.0
"""dBFS; quieter than this there is no such look: YAMNet calls it silence."""


class SoundEar:
    """Blocks in, sound and watch events out. State of one stream.

    Args:
        gate, hops, tracker: the parts.
        watcher: what the user wants to be told of; None for nothing.
        on_hop: called with every hop that was encoded.
        guesser: what stood out without a name; it sees every block and hop.
        on_guess: called with every guess at what the tracker has no name for.
        taught: knows the sounds that the user taught; None: there are none.
    """

    def __init__(
        self,
        gate: SoundGate,
        hops: HopEncoder,
        tracker: Tracker,
        watcher: Watcher | None,
        on_hop: Callable[[Hop], None],
        guesser: Guesser,
        on_guess: Callable[[Guess], None],
        taught: TaughtEar | None = None,
    ) -> None:
        self._gate, self._hops, self._tracker, self._guesser = gate, hops, tracker, guesser
        self._watcher, self._on_hop, self._on_guess = watcher, on_hop, on_guess
        self._taught = taught
        self.thinned = False
        """Whether only every second hop is encoded, to save the machine the other."""
        self.reset(0)

    def reset(self, start: int) -> None:
        """Begin anew at sample index ``start``."""
        self._gate.reset()
        self._hops.reset(start)
        self._tracker.reset()
        self._guesser.reset(start)
        if self._watcher:
            self._watcher.reset()
        if self._taught:
            self._taught.reset()
        self._blocks: list[Samples] = []
        self._open = False
        self._skipped = 0
        self._passed_over = False

    def push(self, block: Samples, *, speech: bool) -> list[Event]:
        """Events that ``block`` [BLOCK_SAMPLES] decides; ``speech`` opens the gate too."""
        self._open |= self._gate.push(block) or speech
        self._guesser.push(self._gate.level_db, stands_out=self._gate.stands_out)
        self._blocks.append(block)
        if len(self._blocks) < BLOCKS_PER_HOP:
            return []
        if self.thinned and not self._passed_over:
            self._hops.push(np.concatenate(self._blocks), wanted=False)
            self._tracker.pass_over()
            self._blocks, self._passed_over = [], True  # still open: the next hop is heard for it
            return []
        self._passed_over = False
        refresh = self._skipped >= REFRESH_HOPS and self._gate.level_db > REFRESH_DB
        hop = self._hops.push(
            np.concatenate(self._blocks), wanted=self._open or self._tracker.is_active or refresh
        )
        self._blocks, self._open = [], False
        self._skipped = 0 if hop else self._skipped + 1
        if hop is None:
            self._tracker.skip()
            sounds: list[Sound] = []
        else:
            self._on_hop(hop)
            sounds = self._tracker.push(hop)
        if self._taught:
            sounds += self._taught.push(hop)
        self._guess(self._guesser.hear(hop, sounds))
        return [*sounds, *(self._watcher.hear(hop, sounds) if self._watcher else ())]

    def finish(self, end: int) -> list[Event]:
        """What the last, partial hop still decides, and the ends of all that goes on at ``end``."""
        silence = np.zeros(BLOCK_SAMPLES, dtype=np.float32)
        events: list[Event] = []
        while self._blocks:
            events += self.push(silence, speech=False)
        sounds = self._tracker.finish(end) + (self._taught.finish(end) if self._taught else [])
        self._guess(self._guesser.finish(end, sounds))
        return [*events, *sounds]

    def ongoing(self) -> tuple[Sound, ...]:
        """The sounds that go on at this moment."""
        return self._tracker.ongoing() + (self._taught.ongoing() if self._taught else ())

    def _guess(self, guesses: list[Guess]) -> None:
        for guess in guesses:
            self._on_guess(guess)
