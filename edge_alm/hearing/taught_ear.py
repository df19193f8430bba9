"""Starts and ends of sounds that the user taught. Pure decisions on shares."""

from __future__ import annotations

from collections.abc import Sequence

from edge_alm.hearing.encoder import Hop
from edge_alm.hearing.phrase_watch import (
    HEARD_SHARE,
    KEPT_SHARE,
    Judge,
    RecentHops,
    onset,
)
from edge_alm.types import Sound, to_seconds


class TaughtEar:
    """State of one stream.

    Args:
        names: of the sounds.
        judge: of them.
    """

    def __init__(self, names: Sequence[str], judge: Judge) -> None:
        self._names, self._judge = tuple(names), judge
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._hops = RecentHops()
        self._active: dict[str, Sound] = {}

    def push(self, hop: Hop | None) -> list[Sound]:
        """Starts and ends that a hop decides; None: nothing was heard in it."""
        last_end = self._hops.end
        if hop is None:
            ends = self._end_all(last_end)
            self.reset()
            return ends
        if hop.is_noise:
            return []
        ends = self._end_all(last_end) if self._hops.put(hop) else []
        shares = self._judge(self._hops.embeddings())
        starts: list[Sound] = []
        for name, share in zip(self._names, shares.tolist(), strict=True):
            sound = self._active.get(name)
            if sound is None and share >= HEARD_SHARE:
                start = to_seconds(onset(hop))
                self._active[name] = Sound(name, start, None, round(share, 3), "start")
                starts.append(self._active[name])
            elif sound is not None and share < KEPT_SHARE:
                ends.append(self._end(name, hop.start))
            elif sound is not None and share > sound.confidence:
                self._active[name] = Sound(name, sound.start, None, round(share, 3), "start")
        return ends + starts

    def finish(self, at: int) -> list[Sound]:
        """Ends of all that goes on, at sample index ``at``."""
        ends = self._end_all(at)
        self.reset()
        return ends

    def ongoing(self) -> tuple[Sound, ...]:
        """The sounds that have started and not ended."""
        return tuple(self._active.values())

    def _end_all(self, at: int | None) -> list[Sound]:
        """Nothing has started before the first hop, and so before there is an ``at``."""
        return [] if at is None else [self._end(name, at) for name in sorted(self._active)]

    def _end(self, name: str, at: int) -> Sound:
        sound = self._active.pop(name)
        end = max(to_seconds(at), sound.start)
        return Sound(name, sound.start, end, sound.confidence, "end")
