"""Scenes as the language model will meet them: composed, heard by the runtime, written down.

    python -m export.recordings --corpus build/corpus --esc10 ../shared/data/esc10 \
        --out build/scenes/train --split train --scenes 8000 --seed 0 --workers 2

Every scene goes through :class:`edge_alm.runtime.Ears`, the same gates, encoder, tracker and
transcriber as on a device, into a reasoner that only writes down what it is given. A folder holds
parts ``NNNN.jsonl``, a scene a line, and ``NNNN.f16``, the embeddings of all its hops. A part
that is there is not made again, so an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_alm.audio.memory import MemoryAudio
from edge_alm.errors import EdgeAlmError, UsageError
from edge_alm.models.bundle import Bundle, load_bundle
from edge_alm.reasoning.loudness import SoundLevels
from edge_alm.reasoning.marks import HopMarks
from edge_alm.reasoning.notes import Notes
from edge_alm.reasoning.prompts import event_line, guess_line, recording_line
from edge_alm.runtime import Ears
from edge_alm.types import Event, Guess, Samples, Sound
from export.corpus import Clip, read_corpus
from export.scenes import Placed, Recipe, compose

SCENES_PER_PART = 100
CORPUS_SHARES = {"esc10": 0.4, "debian": 0.5, "instruments": 0.1}
ONE_CORPUS = 0.7
"""Share of scenes with clips of one corpus."""


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """A scene as the language model meets it, and what was really there."""

    items: tuple[str | NDArray[np.float16], ...]
    """In order: text, or the embeddings [n, n_in] of consecutive hops."""
    timeline: tuple[Placed, ...]
    duration_s: float

    @property
    def hops(self) -> int:
        """Hops of all items together."""
        return sum(len(item) for item in self.items if not isinstance(item, str))


class Recorder(Notes):
    """A reasoner that writes down what it is given and answers nothing."""

    def __init__(self) -> None:
        self._marks = HopMarks()
        self._levels = SoundLevels()
        self._items: list[str | list[NDArray[np.float32]]] = []

    def append_event(self, event: Event) -> None:
        """See :class:`Reasoner`."""
        loudness = self._levels.step(event) if isinstance(event, Sound) else None
        self._write(event_line(event, loudness))

    def append_guess(self, guess: Guess) -> None:
        """See :class:`Reasoner`."""
        self._write(guess_line(guess, self._levels.step(guess)))

    def append_embeddings(
        self, embeddings: NDArray[np.float32], start_s: float, end_s: float
    ) -> None:
        """See :class:`Reasoner`."""
        self._levels.put(embeddings, start_s, end_s)
        self._write(self._marks.before(start_s, end_s))
        if not self._items or isinstance(self._items[-1], str):
            self._items.append([])
        last = self._items[-1]
        if isinstance(last, list):
            last.extend(embeddings)

    def begin_stream(self) -> None:
        """See :class:`Reasoner`."""
        self._levels.reset()

    def begin_recording(self, name: str) -> None:
        """See :class:`Reasoner`."""
        self._write(recording_line(name))

    def reset(self) -> None:
        """See :class:`Reasoner`."""
        self._marks.reset()
        self._levels.reset()
        self._items = []

    def _write(self, text: str) -> None:
        if text:
            self._items.append(text)

    def items(self) -> tuple[str | NDArray[np.float16], ...]:
        """What was written since the last reset."""
        return tuple(
            item if isinstance(item, str) else np.asarray(item, np.float16) for item in self._items
        )


class Listener:
    """Hears scenes one after the other, with the models of a bundle."""

    def __init__(self, bundle: Bundle) -> None:
        self._recorder = Recorder()
        self._ears = Ears(bundle, reasoner=lambda: self._recorder)

    def hear(self, samples: Samples) -> tuple[str | NDArray[np.float16], ...]:
        """The items of 16 kHz mono samples, float32 [n]."""
        self._ears.reset()
        for _ in self._ears.listen(MemoryAudio(samples)):
            pass
        self._ears.flush()
        return self._recorder.items()

    def close(self) -> None:
        """Free the models."""
        self._ears.close()


def write_part(path: Path, recordings: Sequence[Recording]) -> None:
    """Write ``path`` (.f16 and, last, .jsonl)."""
    lines, blocks, hops = [], [], 0
    for recording in recordings:
        items: list[str | int] = []
        for item in recording.items:
            if isinstance(item, str):
                items.append(item)
            else:
                items.append(len(item))
                blocks.append(item)
        timeline = [asdict(placed) for placed in recording.timeline]
        lines.append({"items": items, "timeline": timeline, "duration_s": recording.duration_s})
        hops += recording.hops
    data = np.concatenate(blocks) if blocks else np.empty((0, 1), np.float16)
    data.tofile(path.with_suffix(".f16"))
    partial = path.with_suffix(".partial")
    header = {"hops": hops, "width": data.shape[1]}
    partial.write_text("".join(json.dumps(line) + "\n" for line in [header, *lines]))
    partial.replace(path.with_suffix(".jsonl"))


def read_recordings(folder: Path) -> list[Recording]:
    """All scenes of a folder, in order; the embeddings stay on disk until they are used.

    Raises:
        UsageError: no scenes there, or a part is damaged.
    """
    recordings: list[Recording] = []
    for path in sorted(folder.glob("*.jsonl")):
        try:
            recordings += _read_part(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                str(path), expected="a part of recorded scenes", got=str(error), hint="delete it"
            ) from error
    if not recordings:
        raise UsageError(
            str(folder),
            expected="recorded scenes",
            got="none",
            hint="make them with python -m export.recordings",
        )
    return recordings


def _read_part(path: Path) -> Iterator[Recording]:
    header, *lines = map(json.loads, path.read_text().splitlines())
    n, width = header["hops"], header["width"]
    hops = np.empty((0, width), np.float16)
    if n:
        hops = np.memmap(path.with_suffix(".f16"), np.float16, "r").reshape(n, width)
    at = 0
    for line in lines:
        items: list[str | NDArray[np.float16]] = []
        for item in line["items"]:
            if isinstance(item, str):
                items.append(item)
            else:
                items.append(hops[at : at + item])
                at += item
        timeline = tuple(Placed(**placed) for placed in line["timeline"])
        yield Recording(tuple(items), timeline, line["duration_s"])
    if at != n:
        raise ValueError(f"scenes of {at} hops where the header says {n}")


def choose_clips(rng: np.random.Generator, clips: Sequence[Clip], n: int = 24) -> list[Clip]:
    """Clips for a scene: of one corpus or mixed, a corpus's labels equally likely; speech."""
    tables: dict[str, dict[str, list[Clip]]] = {}
    for clip in clips:
        tables.setdefault(clip.corpus, {}).setdefault(clip.label, []).append(clip)
    speech = [
        clip for table in [tables.pop("speech", {})] for own in table.values() for clip in own
    ]
    names = [name for name in CORPUS_SHARES if name in tables]
    shares = np.array([CORPUS_SHARES[name] for name in names])
    shares /= shares.sum()
    only = names[rng.choice(len(names), p=shares)] if rng.random() < ONE_CORPUS else None
    chosen = []
    for _ in range(n):
        table = tables[only or names[rng.choice(len(names), p=shares)]]
        labels = list(table)
        own = table[labels[rng.integers(len(labels))]]
        # The clip, and others of its label for repeats.
        chosen += [own[i] for i in rng.permutation(len(own))[:3]]
    return chosen + [speech[i] for i in rng.permutation(len(speech))[:4]]


def choose_recipe(rng: np.random.Generator) -> Recipe:
    """What kind of scene comes next in a training set."""
    kinds: tuple[tuple[float, Recipe], ...] = (
        (0.50, Recipe.training()),
        (0.42, Recipe.clean()),
        (0.02, replace(Recipe.long(), duration_s=(60.0, 400.0), events=(0, 2, 1, 1))),
        (0.02, Recipe.empty("room tone")),
        (0.02, Recipe.empty("white noise")),
        (0.02, Recipe.empty("silence")),
    )
    return kinds[rng.choice(len(kinds), p=[share for share, _ in kinds])][1]


def choose_pair(rng: np.random.Generator) -> Recipe:
    """Two sounds that differ in how loud, how long or how near they are."""
    near_far = float(rng.random() < 0.5)
    return Recipe(events=(0, 0, 1), repeat=0.0, speech=0.0, near_far=near_far, snr_db=(15.0, 40.0))


RECIPES: dict[str, Callable[[np.random.Generator], Recipe]] = {
    "mixed": choose_recipe,
    "clean": lambda rng: Recipe.clean(),
    "pairs": choose_pair,
    "distance": lambda rng: replace(choose_pair(rng), near_far=1.0),
}


def make_part(
    path: Path, clips: Sequence[Clip], recipe: str, seed: Sequence[int], bundle: str
) -> float:
    """Compose and hear the scenes of one part; returns how many seconds of sound they have."""
    rng = np.random.default_rng(seed)
    listener = Listener(load_bundle(bundle, language_model=False))
    try:
        recordings = []
        for _ in range(SCENES_PER_PART):
            scene = compose(rng, choose_clips(rng, clips), RECIPES[recipe](rng))
            items = listener.hear(scene.samples)
            recordings.append(Recording(items, scene.timeline, scene.duration_s))
    finally:
        listener.close()
    write_part(path, recordings)
    return sum(recording.duration_s for recording in recordings)


def main() -> None:
    """Make the parts that are not there yet."""
    parser = argparse.ArgumentParser(prog="python -m export.recordings")
    parser.add_argument("--corpus", type=Path, required=True, help="made by export.corpus")
    parser.add_argument("--esc10", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--split", choices=("train", "dev"), default="train")
    parser.add_argument("--only", metavar="CORPUS", help="clips of this corpus alone")
    parser.add_argument("--recipe", choices=sorted(RECIPES), default="mixed")
    parser.add_argument("--scenes", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--bundle", default="default")
    args = parser.parse_args()
    try:
        load_bundle(args.bundle, language_model=False)  # what is missing is told before the work
        clips = [
            clip
            for clip in read_corpus(args.corpus, args.esc10)
            if clip.split == args.split and args.only in (None, clip.corpus)
        ]
        args.out.mkdir(parents=True, exist_ok=True)
        parts = range(-(-args.scenes // SCENES_PER_PART))
        missing = [i for i in parts if not (args.out / f"{i:04}.jsonl").exists()]
        began_s = time.perf_counter()
        for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ.setdefault(variable, "1")  # threads of several processes spin for each other
        spawn = multiprocessing.get_context("spawn")  # native threads do not survive a fork
        with ProcessPoolExecutor(args.workers, mp_context=spawn) as pool:
            work = {
                pool.submit(
                    make_part,
                    args.out / f"{i:04}",
                    clips,
                    args.recipe,
                    (args.seed, i),
                    args.bundle,
                ): i
                for i in missing
            }
            for done, future in enumerate(as_completed(work), 1):
                heard_s, took_s = future.result(), time.perf_counter() - began_s
                print(
                    f"part {work[future]:04}: {heard_s:.0f} s of sound; "
                    f"{done} of {len(missing)} in {took_s:.0f} s",
                    flush=True,
                )
    except EdgeAlmError as error:
        raise SystemExit(f"recordings: {error}") from error


if __name__ == "__main__":
    main()
