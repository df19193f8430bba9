"""How often a watched phrase is heard where it is there, and where it is not, on recorded scenes.

    python -m export.watching build/scenes/dev-clean build/scenes/dev-debian

Each label of the scenes is watched for in all of them, by the watchers that run on a device. It is
heard where it sets off an event while it sounds; an event is false where nothing sounds that could
be called so. The scenes are dense, so beside false events an hour stands what share of the sounds
that are something else set one off.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from edge_alm.errors import EdgeAlmError
from edge_alm.hearing.audioset import read_labels
from edge_alm.hearing.encoder import HOP_FRAMES, HOP_SAMPLES, Hop
from edge_alm.hearing.phrase_watch import (
    HEARD_SHARE,
    KEPT_SHARE,
    NAMED_SHARE,
    Judge,
    PhraseWatcher,
)
from edge_alm.hearing.watch import NameMatcher, NameWatcher, Query, Watcher
from edge_alm.models.bundle import load_bundle
from edge_alm.models.projector_file import HOP_LEVELS, LEVEL_MIDDLE_DB, LEVEL_SCALE_DB
from edge_alm.reasoning.judges import Judges
from edge_alm.reasoning.phrases import Floats, Phrases
from edge_alm.types import Sound
from export.corpus import similar
from export.recordings import Recording, read_recordings
from export.replay import HOP_S, hops_of, sounds_of
from export.scenes import Placed

EARLY_S, LATE_S = 0.6, 1.1
"""An event is of a sound from so long before its start to so long after its end."""
SHARES = (0.7, HEARD_SHARE, 0.8, NAMED_SHARE, 0.9)
Step: TypeAlias = tuple[Hop, list[Sound]]


@dataclass(slots=True)
class Tally:
    """What became of some phrases."""

    phrases: int = 0
    there: int = 0
    """Sounds that a phrase names."""
    heard: int = 0
    again: int = 0
    """Further events of the same sound."""
    false: int = 0
    others: int = 0
    """Sounds that are something else, once for each phrase."""

    def count(self, label: str, timeline: Sequence[Placed], starts_s: Sequence[float]) -> None:
        """A scene in which ``label`` was watched for, and set off events at these times."""

        def covers(placed: Placed, at_s: float) -> bool:
            return placed.start_s - EARLY_S <= at_s <= placed.end_s + LATE_S

        alike = [placed for placed in timeline if similar(label, placed.label)]
        for placed in timeline:
            if placed.label == label:
                n = sum(covers(placed, at_s) for at_s in starts_s)
                self.there += 1
                self.heard += n > 0
                self.again += max(n - 1, 0)
        self.false += sum(not any(covers(p, at_s) for p in alike) for at_s in starts_s)
        self.others += len(timeline) - len(alike)

    def line(self, hours: float) -> str:
        """For people."""
        return (
            f"{self.phrases:4} phrases: heard {self.heard / max(self.there, 1):6.1%} of "
            f"{self.there:4}, again {self.again / max(self.heard, 1):5.1%}; false "
            f"{self.false / max(self.phrases * hours, 1e-9):6.2f} an hour, "
            f"{self.false / max(self.others, 1):6.2%} of other sounds"
        )


def read_steps(recording: Recording, names: dict[str, str]) -> list[Step]:
    """The hops of a recording, and the sounds that start and end with each.

    What is not in a recording is made up: scores, which no watcher reads, and levels within a
    quarter of a hop. A sound starts and ends with the hop in which it did; when the tracker was
    sure of it is not known.

    Args:
        recording: a scene.
        names: of the encoder's classes, by their lower case.
    """
    rows = hops_of(recording.items)
    told: list[list[Sound]] = [[] for _ in rows]
    for sound in sounds_of(recording.items) if rows else ():
        over = replace(sound, label=names.get(sound.label, sound.label))
        begun = replace(over, state="start", end=None)
        for at_s, event in ((sound.start, begun), (sound.end or sound.start, over)):
            after = (i for i, (end_s, _) in enumerate(rows) if end_s > at_s)
            told[next(after, len(rows) - 1)].append(event)
    hops, before_db = [], np.zeros(HOP_FRAMES, np.float32)
    for end_s, row in rows:
        end = round(end_s / HOP_S) * HOP_SAMPLES
        levels_db = row[-HOP_LEVELS:] * LEVEL_SCALE_DB + LEVEL_MIDDLE_DB
        after_db = np.repeat(levels_db, HOP_FRAMES // HOP_LEVELS)
        patch_db = np.concatenate((before_db, after_db))
        empty = np.empty(0, np.float32)
        hops.append(Hop(end - HOP_SAMPLES, end, empty, row[:-HOP_LEVELS], patch_db, False))
        before_db = after_db
    return list(zip(hops, told, strict=True))


def watch(watcher: Watcher, steps: Sequence[Step]) -> dict[str, list[float]]:
    """When each query was heard."""
    watcher.reset()
    found: dict[str, list[float]] = {}
    for hop, sounds in steps:
        for event in watcher.hear(hop, sounds):
            found.setdefault(event.query, []).append(event.start)
    return found


class Remembered:
    """A judge that works out once what it is asked again for every threshold."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._known: dict[bytes, Floats] = {}

    def __call__(self, embeddings: Floats) -> Floats:
        """See :data:`~edge_alm.hearing.phrase_watch.Judge`."""
        key = embeddings.astype(np.float16).tobytes()
        if key not in self._known:
            self._known[key] = self._judge(embeddings)
        return self._known[key]


def report(folder: Path, phrases: Phrases, class_names: Sequence[str]) -> Iterator[str]:
    """Lines about the scenes of a folder."""
    names = {name.lower(): name for name in class_names}
    matcher = NameMatcher(class_names)
    recordings = read_recordings(folder)
    scenes = [read_steps(recording, names) for recording in recordings]
    labels = sorted({placed.label for r in recordings for placed in r.timeline})
    hours = sum(recording.duration_s for recording in recordings) / 3600
    queries = [Query(label, (label,)) for label in labels]
    judge = Remembered(Judges(phrases).of_hops(labels))
    called = [matcher.called(label) for label in labels]
    watchers: dict[str, Watcher] = {"names": NameWatcher(queries, _Lenient(matcher))}
    for share in SHARES:
        kept = min(KEPT_SHARE, share - 0.1)
        options = {"heard_share": share, "named_share": share, "kept_share": kept}
        nothing = [frozenset[str]()] * len(labels)
        watchers[f"phrases {share:.2f}"] = PhraseWatcher(queries, judge, nothing, **options)
        watchers[f"both {share:.2f}"] = PhraseWatcher(queries, judge, called, **options)
    for name, watcher in watchers.items():
        tallies = {True: Tally(), False: Tally()}
        for known in called:
            tallies[bool(known)].phrases += 1
        for recording, steps in zip(recordings, scenes, strict=True):
            found = watch(watcher, steps)
            for label, known in zip(labels, called, strict=True):
                tallies[bool(known)].count(label, recording.timeline, found.get(label, ()))
        for is_named, tally in tallies.items():
            if tally.phrases:
                kind = "named" if is_named else "other"
                yield f"{folder.name:12} {name:13} {kind} {tally.line(hours)}"


class _Lenient:
    """Takes a phrase that means nothing for one that is never heard."""

    def __init__(self, matcher: NameMatcher) -> None:
        self._matcher = matcher

    def labels(self, phrase: str) -> frozenset[str]:
        """See :class:`~edge_alm.hearing.watch.Matcher`."""
        try:
            return self._matcher.labels(phrase)
        except EdgeAlmError:
            return frozenset()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m export.watching")
    parser.add_argument("scenes", type=Path, nargs="+", help="made by export.recordings")
    parser.add_argument("--bundle", default="default")
    args = parser.parse_args()
    try:
        bundle = load_bundle(args.bundle, language_model=False, transcriber=False)
        if bundle.phrases is None:
            raise SystemExit("watching: the bundle has no phrase table")
        phrases, names = Phrases(bundle.phrases, bundle.sentences), read_labels(bundle.labels)
        for folder in args.scenes:
            for line in report(folder, phrases, names):
                print(line, flush=True)
    except EdgeAlmError as error:
        raise SystemExit(f"watching: {error}") from error


if __name__ == "__main__":
    main()
