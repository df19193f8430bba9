"""From scores per hop to sounds with an onset and an offset.

Pure decisions on numbers. A class starts when its score reaches its threshold and ends when
it falls below a share of it (hysteresis). Onset and offset are placed inside the patch by
the steepest rise and fall of its level.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import ModelBrokenError
from edge_alm.hearing.audioset import Ontology
from edge_alm.hearing.encoder import HOP_FRAMES, HOP_SAMPLES, PATCH_FRAMES, Hop
from edge_alm.hearing.logmel import HOP_SAMPLES as FRAME_SAMPLES
from edge_alm.types import Sound, to_seconds

SUSTAIN_SHARE = 0.5
"""A sound goes on while its score is at least this share of its threshold."""
NARROW_FAMILY = 7
"""Siblings under a class with at most so many descendants are names for one sound (bark,
yip, bow-wow): only the best of them is reported at a time."""
CLEAR_SCORE = 0.7
"""A score this high starts a sound at once; a lower one, over its threshold, has to come twice
in a row. On ESC-10 and the Debian clips 0.7 instead of 0 takes wrong starts from 1.9 to 0.7 a
clip and clips with a right one from 79 % to 73 %."""
TEXTURE_ROOTS = ("Water", "Wind", "Rain", "Noise", "Steam", "Spray", "Rustle", "Hiss", "Liquid")
"""With their descendants: lasting sounds for which the first moment of plain noise is taken.
They always have to come twice."""
TAKEOVER_SAMPLES = 3 * HOP_SAMPLES
"""A child that starts within this time of its parent takes the parent's onset."""
NOISE_HOPS = 4
"""Consecutive hops of plain noise that end whatever else was heard in it."""
NOISE_LABELS = frozenset(("Noise", "White noise", "Pink noise", "Static"))
"""What plain noise may be called."""
SMOOTH_FRAMES = 5
"""50 ms on either side are compared to find a rise or fall."""
CLEAR_STEP_DB = 4.0
"""A smaller rise or fall says nothing about the onset or offset."""
LATE_FALL_SHARE = 0.5
"""The last fall that is at least this share of the steepest one is the end: of two barks, the
second one's."""

NEVER = 2.0
"""A threshold that no probability reaches."""


@cache
def read_thresholds(path: Path | None = None) -> dict[str, float]:
    """Threshold by label. Made from real recordings by ``python -m export.thresholds``.

    Args:
        path: a CSV with the columns label, threshold; None: the one of this package.

    Raises:
        ModelBrokenError: not such a file.
    """
    file = path or resources.files(__package__) / "thresholds.csv"
    try:
        rows = csv.DictReader(file.read_text("utf-8").splitlines())
        return {row["label"]: float(row["threshold"]) for row in rows}
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise ModelBrokenError(
            f"thresholds {file.name}", expected="the columns label, threshold", got=str(error)
        ) from error


@dataclass(slots=True)
class _Active:
    onset: int
    confidence: float


class Tracker:
    """State of one stream.

    Args:
        labels: names of the scores, in order.
        thresholds: by label; a label that is missing is never reported.
        ontology: which labels are kinds of which.
    """

    def __init__(
        self, labels: Sequence[str], thresholds: dict[str, float], ontology: Ontology
    ) -> None:
        self._labels = tuple(labels)
        self._index = {label: i for i, label in enumerate(labels)}
        self._on = np.array([thresholds.get(label, NEVER) for label in labels], dtype=np.float32)
        self._ontology = ontology
        self._rivals = {label: self._narrow_siblings(label) for label in labels}
        self._textures = frozenset(TEXTURE_ROOTS).union(
            *(ontology.descendants(root) for root in TEXTURE_ROOTS)
        )
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._active: dict[str, _Active] = {}
        self._blocked: set[str] = set()
        self._seen: frozenset[str] = frozenset()
        self._noise_run = 0
        self._last: Hop | None = None

    @property
    def is_active(self) -> bool:
        """Whether any sound goes on."""
        return bool(self._active)

    def ongoing(self) -> tuple[Sound, ...]:
        """The sounds that have started and not ended."""
        return tuple(self._sound(label, None) for label in self._active)

    def push(self, hop: Hop) -> list[Sound]:
        """Starts and ends that this hop decides; ends first."""
        on = {self._labels[i] for i in np.flatnonzero(hop.scores >= self._on)}
        sustained = {
            label
            for label in self._active.keys() | self._blocked
            if hop.scores[self._index[label]] >= SUSTAIN_SHARE * self._on[self._index[label]]
        }
        self._noise_run = self._noise_run + 1 if hop.is_noise else 0
        if hop.is_noise:
            on &= NOISE_LABELS | self._active.keys()
            sustained |= NOISE_LABELS & self._active.keys()
        if self._noise_run >= NOISE_HOPS:
            on &= NOISE_LABELS
            sustained &= NOISE_LABELS
        clear = {
            label for label in on - self._textures if hop.scores[self._index[label]] >= CLEAR_SCORE
        }
        before, self._seen = self._seen, frozenset(on)
        startable = clear | (on & before)
        heard = self._ontology.most_specific(startable | (sustained & self._active.keys()))

        sounds = []
        for label in sorted(self._active.keys() - (sustained | on)):
            sounds.append(self._end(label, self._offset(hop)))
        for label in self._active.keys() & heard:
            active = self._active[label]
            active.confidence = max(active.confidence, float(hop.scores[self._index[label]]))
        starts = []
        for label in sorted(heard - self._active.keys() - self._blocked, key=self._surplus(hop)):
            if not (self._rivals[label] & self._active.keys()):
                onset = self._inherited_onset(label, self._onset(hop, seen_before=label in before))
                self._active[label] = _Active(onset, float(hop.scores[self._index[label]]))
                starts.append(label)
        # A child takes over from its parents, which may return only after they fell silent.
        covered = {a for label in self._active for a in self._ontology.ancestors(label)}
        for label in sorted(self._active.keys() & covered):
            sounds.append(self._end(label, self._onset(hop)))
        self._blocked = (self._blocked & (sustained | on)) | (covered & (on | sustained))
        self._last = hop
        return sounds + [self._sound(label, None) for label in starts]

    def skip(self) -> None:
        """A hop was not encoded: nothing was heard in it."""
        self._last = None
        self._noise_run = 0
        self._seen = frozenset()
        self._blocked.clear()

    def pass_over(self) -> None:
        """A hop was not encoded, whatever was in it: what goes on may go on."""
        self._last = None

    def finish(self, at: int) -> list[Sound]:
        """Ends of all that goes on, at sample index ``at`` (the end of the stream or a gap)."""
        sounds = [self._end(label, at) for label in sorted(self._active)]
        self.reset()
        return sounds

    def _sound(self, label: str, end: int | None) -> Sound:
        active = self._active[label]
        return Sound(
            label,
            to_seconds(active.onset),
            None if end is None else to_seconds(end),
            round(active.confidence, 3),
            "start" if end is None else "end",
        )

    def _end(self, label: str, at: int) -> Sound:
        sound = self._sound(label, max(at, self._active[label].onset))
        del self._active[label]
        return sound

    def _surplus(self, hop: Hop) -> Callable[[str], tuple[float, str]]:
        """Sort key: clearest first."""
        return lambda label: (
            -float(hop.scores[self._index[label]] / self._on[self._index[label]]),
            label,
        )

    def _narrow_siblings(self, label: str) -> frozenset[str]:
        if label in NOISE_LABELS:
            return NOISE_LABELS - {label}
        return frozenset(
            sibling
            for parent in self._ontology.parents(label)
            if len(kinds := self._ontology.descendants(parent)) <= NARROW_FAMILY
            for sibling in kinds
        ) - {label}

    def _inherited_onset(self, label: str, onset: int) -> int:
        """A child that follows its parent closely is the same sound, better understood."""
        earlier = (
            self._active[parent].onset
            for parent in self._ontology.ancestors(label) & self._active.keys()
        )
        return min((at for at in earlier if onset - at <= TAKEOVER_SAMPLES), default=onset)

    def _onset(self, hop: Hop, *, seen_before: bool = False) -> int:
        """The steepest rise where the sound must have begun, else the middle of its patch.

        That is the newer two thirds of the patch that had the sound first; the older third
        was the newer half of the patch before, in which nothing started.
        """
        levels_db, first = self._levels_db(hop)
        patch = HOP_FRAMES if self._last is not None and not seen_before else 0
        step = steepest(levels_db, patch + PATCH_FRAMES // 3, patch + PATCH_FRAMES, rising=True)
        return max(first + (patch + HOP_FRAMES if step is None else step) * FRAME_SAMPLES, 0)

    def _offset(self, hop: Hop) -> int:
        """The last steep fall between the patch that still had the sound and the one that
        has it no longer, else the middle between them.
        """
        levels_db, first = self._levels_db(hop)
        patch = len(levels_db) - PATCH_FRAMES
        step = steepest(levels_db, 0, patch + 2 * PATCH_FRAMES // 3, rising=False)
        return first + (patch + HOP_FRAMES // 2 if step is None else step) * FRAME_SAMPLES

    def _levels_db(self, hop: Hop) -> tuple[NDArray[np.float32], int]:
        """Levels of this patch and of what the last one had before it, and where they begin."""
        if self._last is None:
            return hop.levels_db, hop.start - HOP_SAMPLES
        older = self._last.levels_db[:HOP_FRAMES]
        return np.concatenate((older, hop.levels_db)), hop.start - 2 * HOP_SAMPLES


def steepest(levels_db: NDArray[np.float32], first: int, last: int, *, rising: bool) -> int | None:
    """Frame in [first, last) where the level rises most, or falls for the last time; None if
    no step is clear.
    """
    sums = np.concatenate(([0.0], np.cumsum(levels_db, dtype=np.float64)))
    frames = np.arange(SMOOTH_FRAMES, len(levels_db) - SMOOTH_FRAMES + 1)
    frames = frames[(frames >= first) & (frames < last)]
    before = (sums[frames] - sums[frames - SMOOTH_FRAMES]) / SMOOTH_FRAMES
    after = (sums[frames + SMOOTH_FRAMES] - sums[frames]) / SMOOTH_FRAMES
    step_db = (after - before) if rising else (before - after)
    if not len(frames) or step_db.max() < CLEAR_STEP_DB:
        return None
    if rising:
        return int(frames[step_db.argmax()])
    steep = np.flatnonzero(step_db >= max(CLEAR_STEP_DB, LATE_FALL_SHARE * step_db.max()))
    apart = np.flatnonzero(np.diff(steep) > 1)
    run = steep[apart[-1] + 1 :] if len(apart) else steep
    return int(frames[run[step_db[run].argmax()]])
