"""Learning a sound of the user's own from a few recordings of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import SourceError, UsageError
from edge_alm.models import taught
from edge_alm.models.bundle import Bundle
from edge_alm.models.projector_file import HOP_LEVELS
from edge_alm.models.taught import TaughtSound
from edge_alm.reasoning.notes import Notes
from edge_alm.reasoning.phrases import Floats, pool
from edge_alm.reasoning.stretches import EARLY_S, LATE_S
from edge_alm.runtime import Ears
from edge_alm.types import Event, Guess, Sound

MOST_EXAMPLES = 20


class Teacher:
    """Hears recordings and keeps what is heard in them under a name.

    Args:
        bundle: with a phrase table and a background; needs no language model.

    Raises:
        UsageError: the bundle has none.
    """

    def __init__(self, bundle: Bundle) -> None:
        check_teachable(bundle)
        self._bundle = bundle
        self._notes = _Notes()
        self._ears = Ears(bundle, reasoner=lambda: self._notes, taught_sounds=False)

    def __enter__(self) -> Teacher:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def teach(self, name: str, clips: Sequence[str | Path]) -> TaughtSound:
        """Learn a sound and keep it: all of its clips, or nothing.

        Of each clip the loudest stretch is taken: it is a recording of the sound, not of what else
        is in the room.

        Args:
            name: how it is told of, and asked for, from now on.
            clips: 1 to :data:`MOST_EXAMPLES` recordings.

        Raises:
            UsageError: a name that is none or is taken, too few or too many clips, or the disk
                refuses.
            SourceError: a clip cannot be read, or nothing is heard in it.
        """
        name = taught.check_name(name)
        if not 1 <= len(clips) <= MOST_EXAMPLES:
            raise UsageError("clips", expected=f"1 to {MOST_EXAMPLES}", got=str(len(clips)))
        if taught.is_taught(name):
            raise UsageError(
                f"sound {name!r}",
                expected="a new name",
                got="one that was taught",
                hint="forget it first: edge-alm teach --forget NAME",
            )
        examples = np.stack([self._hear(clip) for clip in clips])
        sound = TaughtSound(name, examples, self._bundle.encoder_id)
        taught.remember(sound)
        return sound

    def close(self) -> None:
        """Free the models. Idempotent."""
        self._ears.close()

    def _hear(self, clip: str | Path) -> Floats:
        self._ears.reset()
        for _ in self._ears.listen(clip):
            pass
        self._ears.flush()
        example = self._notes.example()
        if example is None:
            raise SourceError(
                str(clip),
                expected="a sound",
                got="nothing that stands out from the background",
                hint="record it again, louder or nearer; it takes about half a second of it",
            )
        return example


def check_teachable(bundle: Bundle) -> None:
    """Whether sounds can be taught to a bundle.

    Raises:
        UsageError: they cannot.
    """
    if bundle.phrases is None or bundle.background is None:
        raise UsageError(
            f"bundle {bundle.name}",
            expected="a phrase table and a background",
            got="a bundle without",
            hint="python -m export.likeness and export.background make them",
        )


class _Notes(Notes):
    """Keeps the hops of a recording, and the spans in which something stood out."""

    def __init__(self) -> None:
        self.reset()

    def append_event(self, event: Event) -> None:
        if isinstance(event, Sound) and event.end is not None:
            self._spans.append((event.start, event.end))

    def append_guess(self, guess: Guess) -> None:
        self._spans.append((guess.start, guess.end))

    def append_embeddings(
        self, embeddings: NDArray[np.float32], start_s: float, end_s: float
    ) -> None:
        edges = np.linspace(start_s, end_s, len(embeddings) + 1)[1:]
        self._hops += zip(edges.tolist(), embeddings, strict=True)

    def reset(self) -> None:
        self._hops: list[tuple[float, Floats]] = []
        self._spans: list[tuple[float, float]] = []

    def example(self) -> Floats | None:
        """The loudest stretch, pooled [2 n_in]; None where nothing stood out."""
        found = (self._hops_of(*span) for span in self._spans)
        heard = [hops for hops in found if len(hops)]
        if not heard:
            return None
        loudest = max(heard, key=lambda hops: float(hops[:, -HOP_LEVELS:].max()))
        return pool(loudest[:, :-HOP_LEVELS])

    def _hops_of(self, start_s: float, end_s: float) -> Floats:
        rows = [row for end, row in self._hops if start_s + EARLY_S < end < end_s + LATE_S]
        return np.stack(rows) if rows else np.empty((0, HOP_LEVELS + 1), np.float32)
