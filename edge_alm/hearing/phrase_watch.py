"""Being told when a sound starts that any words name. Pure decisions on shares.

Every hop that was heard is compared with all phrases at once. A phrase is heard when it fits well
enough, and can be heard again after it has not fitted for a while: one sound, one event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_alm.hearing.encoder import HOP_FRAMES, HOP_SAMPLES, PATCH_FRAMES, Hop
from edge_alm.hearing.logmel import HOP_SAMPLES as FRAME_SAMPLES
from edge_alm.hearing.tracker import steepest
from edge_alm.hearing.watch import Query, Sighting, Sightings
from edge_alm.types import Sound, Watch, to_seconds

Floats: TypeAlias = NDArray[np.float32]
Judge: TypeAlias = Callable[[Floats], Floats]
"""How well each of some texts fits, 0 to 1 [n texts]: given consecutive hops [n hops, n_in]."""

HEARD_SHARE = 0.75
"""What fits so well is heard: of unseen recordings, watched for by words that are no name of a
class, 34 % at 0.52 false events per 100 other sounds; classes with such words in their names had
21 % at 0.39 (``python -m export.watching``)."""
NAMED_SHARE = 0.85
"""The same where the tracker also knows the sound by its name. Both together hear 72 % of ESC-10's
sounds and 42 % of Debian's that have names, at 0.84 and 0.42; the names alone 52 and 33 %, at 0.55
and 0.29."""
KEPT_SHARE = 0.6
"""It goes on while it fits so well."""
POOLED_HOPS = 2
APART_SAMPLES = 3 * HOP_SAMPLES
"""After so long without a hop that had a sound in it, what fits is another sound."""


class RecentHops:
    """The last hops that had a sound in them, as far as they follow each other."""

    def __init__(self) -> None:
        self._hops: list[Hop] = []

    @property
    def end(self) -> int | None:
        """Sample index at which the last one ended; None where there was none."""
        return self._hops[-1].end if self._hops else None

    def put(self, hop: Hop) -> bool:
        """Whether it lies so far from the one before that what it has is another sound."""
        pause = 0 if self.end is None else hop.start - self.end
        self._hops = [*(() if pause else self._hops), hop][-POOLED_HOPS:]
        return pause >= APART_SAMPLES

    def embeddings(self) -> Floats:
        """Theirs [n, n_in], n from 1 to :data:`POOLED_HOPS`."""
        return np.stack([hop.embedding for hop in self._hops])


class PhraseWatcher:
    """State of one stream.

    A part of a query that has a name among the encoder's classes is also heard when the tracker
    says so: what is known best is told with its name, and at once.

    Args:
        queries: what to watch for.
        judge: of the parts of all queries, one after the other.
        named: of each part the tracker's labels that mean it; may be empty.
        heard_share, named_share, kept_share: see the constants.
    """

    def __init__(
        self,
        queries: Sequence[Query],
        judge: Judge,
        named: Sequence[frozenset[str]],
        *,
        heard_share: float = HEARD_SHARE,
        named_share: float = NAMED_SHARE,
        kept_share: float = KEPT_SHARE,
    ) -> None:
        self._texts = [text for query in queries for text in query.parts]
        self._named = tuple(named)
        self._kept_share = kept_share
        self._least = [named_share if labels else heard_share for labels in named]
        self._sightings = Sightings(queries)
        self._judge = judge
        self.reset()

    def reset(self) -> None:
        """See :class:`~edge_alm.hearing.watch.Watcher`."""
        self._hops = RecentHops()
        self._since: list[float | None] = [None] * len(self._texts)
        """When what each text fits began, seconds; None where it does not."""
        self._told = [False] * len(self._texts)
        """Whether that has been told."""
        self._ongoing: set[str] = set()
        """Labels of the tracker's sounds that go on."""
        self._sightings.reset()

    def hear(self, hop: Hop | None, sounds: Iterable[Sound]) -> list[Watch]:
        """See :class:`~edge_alm.hearing.watch.Watcher`."""
        named = self._name(sounds)
        # What judges has learnt from sounds, not from plain noise.
        shares = None if hop is None or hop.is_noise else self._fit(hop)
        sightings = []
        for part, sound in enumerate(named):
            share = 0.0 if shares is None else round(float(shares[part]), 3)
            since = self._since[part]
            if self._told[part] or (sound is None and (share < self._least[part] or since is None)):
                continue
            self._told[part] = True
            if sound is not None:
                label, since, share = sound.label, sound.start, max(share, sound.confidence)
            else:
                label = self._texts[part]
            sightings.append(Sighting(part, label, since or 0.0, share))
        return self._sightings.take(sightings)

    def _name(self, sounds: Iterable[Sound]) -> list[Sound | None]:
        """For each part the start that the tracker tells of it; a second name of a sound that goes
        on is no start."""
        named: list[Sound | None] = [None] * len(self._texts)
        for sound in sounds:
            if sound.state == "end":
                self._ongoing.discard(sound.label)
                continue
            for part, labels in enumerate(self._named):
                if sound.label in labels and self._ongoing.isdisjoint(labels):
                    named[part] = sound
            self._ongoing.add(sound.label)
        return named

    def _fit(self, hop: Hop) -> Floats:
        """How well each part fits; what does not any more can be heard again."""
        apart = self._hops.put(hop)
        shares = self._judge(self._hops.embeddings())
        for part, share in enumerate(shares.tolist()):
            if apart or share < self._kept_share:
                self._since[part], self._told[part] = None, False
            if share >= self._kept_share and self._since[part] is None:
                self._since[part] = to_seconds(onset(hop))
        return shares


def onset(hop: Hop) -> int:
    """Sample index of the steepest rise where what first fits in this hop must have begun.

    As :class:`~edge_alm.hearing.tracker.Tracker` has it: in the newer two thirds of the patch, else
    its middle.
    """
    step = steepest(hop.levels_db, PATCH_FRAMES // 3, PATCH_FRAMES, rising=True)
    first = hop.start - HOP_SAMPLES
    return max(first + (HOP_FRAMES if step is None else step) * FRAME_SAMPLES, 0)
