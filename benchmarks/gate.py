"""What wakes a gate in a quiet home, and how many sounds it then misses.

    python -m benchmarks.gate build/distill/gate/encoder.onnx build/distill/gate/*.tflite \
        --corpus build/corpus --esc10 ../shared/data/esc10

Every file is an encoder of patches, for ONNX Runtime or LiteRT, with ``labels.csv`` beside it; the
first row is YAMNet's, its classes made those of a gate (:mod:`export.gate_classes`), which is what
a distilled gate learns from. All hops are encoded, as if the runtime's own sound gate stood open. A
hop wakes where its speech, alarm or impact is above the threshold of that class. Not 1 - nothing -
other: the classes are told independently of each other, and a bark beside a voice would take from
its score. And not one threshold for all three: the encoder is surer of a voice than of any bang,
and noise that passes for a voice would set it for the bangs, too (YAMNet catches 56 % so, with one
34 %).

Home noise: stretches of :data:`STRETCH_S`, each in a room of its own, with room tone, hum or pink
noise of :data:`ROOM_DB` and a quiet sound of :data:`QUIET` a tenth of the time. No stretch is long
enough for its noise to repeat. After a wake there is no other for :data:`PAUSE_S`. The thresholds
are the lowest that leave at most :data:`ALLOWED` wakes an hour in one half of the noise, each with
as many hops above it as the others; the other half, which has other rooms and other recordings,
says what they leave elsewhere.

A sound is caught when a hop that has some of it in its patch wakes, whatever it is taken for. Of
each class the same number is placed, its recordings in turn, each at all of :data:`LEVELS_DB` above
the noise.
The intervals are Wilson's, of 95 %, for as many tries as there are different recordings: what one
recording does in several rooms is not several findings. All sounds are of the development split:
no student has heard them, and none is of what is kept for the final evaluation.
Two and a half minutes of a core.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.students import open_file
from edge_alm.bench.statistics import wilson
from edge_alm.bench.table import align
from edge_alm.errors import EdgeAlmError, UsageError
from edge_alm.hearing.audioset import read_labels
from edge_alm.hearing.encoder import HOP_SAMPLES, Encoder, cut_patches
from edge_alm.hearing.watch import Matcher, NameMatcher
from edge_alm.models import store
from edge_alm.types import SAMPLE_RATE_HZ, Samples
from export.corpus import Clip, read_corpus
from export.gate_classes import GATE, GateClasses
from export.home import QUIET, ROOM_DB, ROOMS, WAKING, kind_of, require
from export.scenes import Scene, compose

HOP_S = HOP_SAMPLES / SAMPLE_RATE_HZ
ALLOWED = 0.5
"""False wakes an hour."""
ASKED = 0.95
"""Share of the sounds that is to be caught."""
PAUSE_S = 5.0
"""What was woken listens so long, and is not woken again meanwhile."""
PAUSE_HOPS = round(PAUSE_S / HOP_S)
LEVELS_DB = (30, 20, 10)
"""RMS of a sound above that of the noise."""
LEAD_HOPS = 2
"""Until a patch has nothing of the silence before a stream; what they score does not count."""
STRETCH_HOPS, PLACED_HOPS = 42, 22
STRETCH_S = STRETCH_HOPS * HOP_S
LONGEST_S, LONGEST_QUIET_S = 6.0, 3.0
QUIET_STRETCH = replace(
    ROOMS,
    duration_s=(STRETCH_S, STRETCH_S),
    longest_event_s=LONGEST_QUIET_S,
    speech=0.0,
    loudest_db=(ROOM_DB[0] + 5.0, ROOM_DB[1] + 5.0),
    snr_db=(0.0, 10.0),
    audible_db=None,
)
_TRIES = 50
HEAD = ("", "caught", "95 %", *(f"{level} dB" for level in LEVELS_DB), "placed", "recordings")
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Try:
    """A sound that should wake, and how a gate took it."""

    kind: str
    """One of :data:`WAKING`."""
    level_db: int
    source: str
    """Its recording."""
    scores: tuple[float, ...]
    """The highest of each of :data:`WAKING` while it was heard."""

    def wakes(self, thresholds: Sequence[float]) -> bool:
        """Whether one of the scores is above its threshold."""
        return any(score > least for score, least in zip(self.scores, thresholds, strict=True))


@dataclass(frozen=True, slots=True)
class Caught:
    """What is caught of a class, or of all."""

    name: str
    share: float
    low: float
    high: float
    """Ends of the interval."""
    by_level: dict[int, float]
    """The share at each of :data:`LEVELS_DB`, dB."""
    placed: int
    recordings: int


@dataclass(frozen=True, slots=True)
class Result:
    """One encoder."""

    name: str
    bytes: int
    thresholds: dict[str, float]
    """Of each of :data:`WAKING`."""
    hours_set: float
    """Of the noise in which they were set."""
    wakes_set: int
    hours: float
    """Of the other noise."""
    wakes: int
    wakes_per_hour: float
    """In the other noise."""
    caught: tuple[Caught, ...]


def wake_scores(probabilities: Floats) -> Floats:
    """What may wake [n, 3], of the gate's probabilities [n, 5]."""
    return probabilities[..., [GATE.index(name) for name in WAKING]]


def count_wakes(scores: Floats, thresholds: Sequence[float], pause_hops: int = PAUSE_HOPS) -> int:
    """How often hops wake: one that is above a threshold, then none for so many hops.

    Args:
        scores: of every hop [n, 3].
        thresholds: of the classes [3].
        pause_hops: from a wake to the next one at least.
    """
    wakes, free_from = 0, 0
    for i in np.flatnonzero((scores > np.asarray(thresholds, np.float32)).any(axis=1)).tolist():
        if i >= free_from:
            wakes, free_from = wakes + 1, i + pause_hops
    return wakes


def set_thresholds(scores: Floats, allowed: int, pause_hops: int = PAUSE_HOPS) -> tuple[float, ...]:
    """The lowest thresholds [3] that leave at most ``allowed`` wakes in hops [n, 3], n > 0.

    Each is the highest score but k of its class. Lower ones never wake less often: of the hops
    above them as many as possible are counted that are ``pause_hops`` apart. So k is found by
    halving.
    """
    falling = np.sort(scores, axis=0)[::-1].tolist()
    low, high = 0, len(falling) - 1  # nothing is above the highest
    while low < high:
        middle = (low + high + 1) // 2
        if count_wakes(scores, falling[middle], pause_hops) <= allowed:
            low = middle
        else:
            high = middle - 1
    return tuple(falling[low])


def hops_with(start_s: float, end_s: float) -> slice:
    """The hops whose patch has some of a sound from ``start_s`` to ``end_s`` of a stream."""
    return slice(int(start_s / HOP_S), math.ceil(end_s / HOP_S) + 1)


def caught_of(name: str, tries: Sequence[Try], thresholds: Sequence[float]) -> Caught:
    """What is caught of some tries, one at each of :data:`LEVELS_DB` at least."""

    def share(some: Iterable[Try]) -> float:
        return float(np.mean([each.wakes(thresholds) for each in some]))

    recordings = len({each.source for each in tries})
    found = share(tries)
    levels = {level: share(t for t in tries if t.level_db == level) for level in LEVELS_DB}
    return Caught(name, found, *wilson(found, recordings), levels, len(tries), recordings)


def judge(name: str, size: int, quiet: Floats, other: Floats, tries: Sequence[Try]) -> Result:
    """What an encoder reaches.

    Args:
        name: of the encoder.
        size: of its file, bytes.
        quiet: scores of the hops of noise in which the thresholds are set [n, 3].
        other: of those in which they are judged [m, 3].
        tries: the sounds.
    """
    hours_set, hours = (len(scores) * HOP_S / 3600 for scores in (quiet, other))
    thresholds = set_thresholds(quiet, int(ALLOWED * hours_set))
    wakes = count_wakes(other, thresholds)
    groups = {kind: [each for each in tries if each.kind == kind] for kind in WAKING}
    groups["all"] = [*tries]
    return Result(
        name=name,
        bytes=size,
        thresholds=dict(zip(WAKING, thresholds, strict=True)),
        hours_set=hours_set,
        wakes_set=count_wakes(quiet, thresholds),
        hours=hours,
        wakes=wakes,
        wakes_per_hour=wakes / hours,
        caught=tuple(caught_of(kind, own, thresholds) for kind, own in groups.items()),
    )


def sort_clips(
    clips: Iterable[Clip], matcher: Matcher, gate: GateClasses
) -> dict[str, tuple[Clip, ...]]:
    """The clips of each of :data:`WAKING`; what may be of several classes is left out.

    Raises:
        UsageError: of one of them there is none.
    """
    found: dict[str, list[Clip]] = {kind: [] for kind in WAKING}
    for clip in clips:
        kind = kind_of(clip.label, matcher, gate)
        if kind in found:
            found[kind].append(clip)
    for kind, own in found.items():
        require(own, f"{kind} in the development split")
    return {kind: tuple(own) for kind, own in found.items()}


def halve(clips: Iterable[Clip]) -> tuple[list[Clip], list[Clip]]:
    """The quiet sounds in two parts that share no recording.

    Raises:
        UsageError: a part has none.
    """
    quiet = [clip for clip in clips if clip.label in QUIET]
    sources = sorted({(clip.label, clip.source) for clip in quiet})
    first = {source for _, source in sources[::2]}
    halves = [c for c in quiet if c.source in first], [c for c in quiet if c.source not in first]
    for half in halves:
        require(half, "quiet sounds in the development split")
    return halves


def make_noise(clips: Sequence[Clip], hours: float, seed: Sequence[int]) -> Iterator[Samples]:
    """Stretches of home noise, of so many hours without their first :data:`LEAD_HOPS`.

    Args:
        clips: the quiet sounds.
        hours: how much, in whole stretches.
        seed: of these stretches; more hours begin with the same ones.
    """
    stretches = math.ceil(hours * 3600 / ((STRETCH_HOPS - LEAD_HOPS) * HOP_S))
    for number in range(stretches):
        yield compose(np.random.default_rng((*seed, number)), clips, QUIET_STRETCH).samples


def place(rng: np.random.Generator, clip: Clip, level_db: int) -> Scene:
    """A clip once in a room of its own, ``level_db`` above its noise and after the lead.

    Raises:
        UsageError: the clip does not fit.
    """
    low_db, high_db = ROOM_DB
    recipe = replace(
        ROOMS,
        duration_s=(PLACED_HOPS * HOP_S, PLACED_HOPS * HOP_S),
        longest_event_s=LONGEST_S,
        speech=1.0,
        loudest_db=(low_db + level_db, high_db + level_db),
        snr_db=(level_db, level_db),
        audible_db=None,
    )
    for _ in range(_TRIES):
        scene = compose(rng, [clip], recipe)
        if scene.timeline and scene.timeline[0].start_s >= LEAD_HOPS * HOP_S:
            return scene
    raise UsageError(str(clip.path), expected=f"a sound of up to {LONGEST_S:g} s", got="longer")


def plan(clips: Sequence[Clip], count: int, rng: np.random.Generator) -> list[tuple[Clip, int]]:
    """Which clips are placed at which level: all of them in turn, each at every level."""
    order = [clips[i] for i in rng.permutation(len(clips))]
    levels = len(LEVELS_DB)
    return [(order[i // levels % len(order)], LEVELS_DB[i % levels]) for i in range(count)]


class Gate:
    """An encoder that wakes.

    Args:
        encoder: with a gate's classes, or AudioSet's.

    Raises:
        UsageError: it has no classes of which a gate's could be made.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._classes = None if encoder.labels == GATE else GateClasses(encoder.labels)

    def __call__(self, patches: Floats) -> Floats:
        """The scores of every patch [n, 3], of log-mel [n, 96, 64]."""
        found = np.stack([self._encoder.encode(patch)[0] for patch in patches])
        return wake_scores(self._classes(found) if self._classes else found)


def hear_noise(gates: Sequence[Gate], stretches: Iterable[Samples]) -> list[Floats]:
    """Each gate's scores of all hops [n, 3], without those of each stretch's lead."""
    heard: list[list[Floats]] = [[] for _ in gates]
    for samples in stretches:
        patches = cut_patches(samples)[LEAD_HOPS:]
        for gate, found in zip(gates, heard, strict=True):
            found.append(gate(patches))
    return [np.concatenate(found) for found in heard]


def try_sounds(
    gates: Sequence[Gate], clips: Mapping[str, Sequence[Clip]], count: int, seed: int
) -> list[list[Try]]:
    """Each gate's tries: ``count`` sounds of every class."""
    tries: list[list[Try]] = [[] for _ in gates]
    for k, (kind, own) in enumerate(clips.items()):
        order = np.random.default_rng((seed, 2, k))
        for number, (clip, level_db) in enumerate(plan(own, count, order)):
            scene = place(np.random.default_rng((seed, 3, k, number)), clip, level_db)
            (placed,) = scene.timeline
            patches = cut_patches(scene.samples)[hops_with(placed.start_s, placed.end_s)]
            for gate, found in zip(gates, tries, strict=True):
                highest = tuple(gate(patches).max(axis=0).tolist())
                found.append(Try(kind, level_db, clip.source, highest))
    return tries


def measure(
    files: Sequence[Path], esc10: Path, corpus: Path, hours: float, count: int, seed: int
) -> list[Result]:
    """The teacher's result, then one for every file.

    Args:
        files: the encoders.
        esc10: ESC-10's folder.
        corpus: made by :mod:`export.corpus`.
        hours: of noise in each of the two parts.
        count: sounds placed of each class.
        seed: of all that is drawn.

    Raises:
        EdgeAlmError: a file or the recordings are missing or wrong.
    """
    folder = store.locate("yamnet")
    class_map = folder / "yamnet_class_map.csv"
    labels = read_labels(class_map)
    paths = [folder / "yamnet.onnx", *files]
    gates = [Gate(open_file(path, class_map)) for path in paths]
    clips = [clip for clip in read_corpus(corpus, esc10) if clip.split == "dev"]
    sounds = sort_clips(clips, NameMatcher(labels), GateClasses(labels))
    noises = [
        hear_noise(gates, make_noise(half, hours, (seed, part)))
        for part, half in enumerate(halve(clips))
    ]
    tries = try_sounds(gates, sounds, count, seed)
    return [
        judge("/".join(path.parts[-2:]), path.stat().st_size, quiet, other, own)
        for path, quiet, other, own in zip(paths, *noises, tries, strict=True)
    ]


def to_lines(result: Result) -> list[str]:
    """For people."""
    rows = [
        (
            f"  {each.name}",
            f"{each.share:.1%}",
            f"{each.low:.0%} to {each.high:.0%}",
            *(f"{each.by_level[level]:.0%}" for level in LEVELS_DB),
            str(each.placed),
            str(each.recordings),
        )
        for each in result.caught
    ]
    thresholds = ", ".join(f"{name} {value:.4f}" for name, value in result.thresholds.items())
    return [
        f"{result.name}, {result.bytes / 1e3:.0f} kB; above {thresholds}",
        f"  false wakes: {result.wakes_set} in {result.hours_set:.1f} h of noise that set this; in "
        f"{result.hours:.1f} h of other noise {result.wakes}, {result.wakes_per_hour:.2f} an hour",
        *align([HEAD, *rows], left=(0,)),
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("files", type=Path, nargs="*")
    parser.add_argument("--esc10", type=Path, default=Path("../shared/data/esc10"))
    parser.add_argument("--corpus", type=Path, default=Path("build/corpus"))
    parser.add_argument("--hours", type=float, default=4.0, help="of noise, twice")
    parser.add_argument("--placed", type=int, default=180, help="sounds of each class")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if not args.hours > 0 or args.placed < len(LEVELS_DB):
        parser.error(f"--hours: positive, and --placed: at least {len(LEVELS_DB)}")
    try:
        results = measure(args.files, args.esc10, args.corpus, args.hours, args.placed, args.seed)
    except EdgeAlmError as error:
        parser.error(str(error))
    print(f"asked for: {ASKED:.0%} caught at {ALLOWED:g} false wakes an hour")
    for result in results:
        print("\n".join(to_lines(result)))
    print(json.dumps([asdict(result) for result in results]))


if __name__ == "__main__":
    main()
