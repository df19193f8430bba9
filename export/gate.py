"""Teach a gate for microcontrollers what is in scenes of a quiet home, which are known.

    python -m export.gate export/gate.toml --corpus build/corpus --esc10 ../shared/data/esc10 \
        --out build/gate

A larger encoder teaches its own mistakes along with what it knows: of the bangs that should wake,
YAMNet misses four of five. Here the scene's timeline tells what can be heard in every patch, so the
scenes, the training and its files are those of :mod:`export.distill`, with a teacher that is never
unsure and has no embedding: at a temperature of 1 the loss is the cross-entropy of five classes
that are told independently of each other. In ``OUT/scenes`` are the scenes, in ``OUT/made`` alarms
and bangs, crickets and clocks that were made for them, in ``OUT/gate`` the gate.

A scene is a room of :data:`export.home.ROOMS` with a sound, sometimes two, of kinds that are drawn
by :data:`SHARES`, so that what is rare in the corpus is not rare here. Half of what is learnt is
noise and quiet sounds, as that is what a gate hears all day. All recordings are of the train split.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import EdgeAlmError
from edge_alm.hearing.audioset import read_labels
from edge_alm.hearing.encoder import HOP_FRAMES, HOP_SAMPLES, PATCH_FRAMES
from edge_alm.hearing.logmel import HOP_SAMPLES as FRAME_SAMPLES
from edge_alm.hearing.logmel import MEL_MIN_HZ
from edge_alm.hearing.watch import Matcher, NameMatcher
from edge_alm.models import store
from edge_alm.types import SAMPLE_RATE_HZ
from export.acoustics import rms
from export.corpus import Clip, read_corpus
from export.distill import make_parser, read_run, train
from export.gate_classes import GATE, GateClasses
from export.heard import (
    SCENES_PER_PART,
    HeardScene,
    make_parts,
    read_heard,
    to_frames,
    to_logits,
    write_part,
)
from export.home import QUIET, ROOM_DB, ROOMS, WAKING, kind_of, require
from export.made import ALARM, BANG, CLOCK, CRICKET, make_clips
from export.scenes import Stems, render

Pools: TypeAlias = Mapping[str, Sequence[Clip]]

SCENES, MADE = "scenes", "made"
MADE_EACH = 200
SHARES = {"": 0.06, "quiet": 0.34, "other": 0.12, "speech": 0.1, "alarm": 0.16, "impact": 0.22}
"""Of the scenes by their first sound; "": none."""
SECOND = 0.15
"""Share of the scenes with a sound that have a second one, of any kind."""
LEVELS_DB = {"quiet": (-2.0, 12.0), "other": (0.0, 35.0)}
WAKING_DB = (4.0, 35.0)
"""RMS of the sounds above that of the noise."""
HOME = replace(
    ROOMS, duration_s=(4.8, 8.0), longest_event_s=6.0, speech=1.0, spread_db=10.0, audible_db=None
)
AUDIBLE_DB = 0.0
"""A frame is heard where it has so much more power than the noise."""
LEAST_FRAMES = 10
"""Of 10 ms, that must be heard in a patch (or all there are): less of a sound is a sliver of it."""
ALSO_QUIET = QUIET | frozenset(
    (
        *("bird singing", "forest birds", "birds in a park", "water and birds in a park"),
        *("frog croaking", "frogs croaking", "mosquito buzzing", "hornet buzzing"),
        *("desert wind", "wind noise of a glider", "bush rustling", "sea waves", "ocean waves"),
        *("flowing water", "faucet running", "shower running", "boiling water", "water filling"),
        *("fire", "furnace fire", "campfire crackling", "bubble", "lava bubbling", "gas hiss"),
        *("footsteps on snow", "footsteps in water", "marching boots", "digging in soil"),
        *("paper ripping", "shuffling cards", "card flip", "chalk on a board", "scissors snipping"),
        *("ticking", "wall clock", "kitchen timer ticking", "typewriter", "camera shutter click"),
        *("key press on a mechanical keyboard", "key release on a mechanical keyboard"),
        *("washing machine running", "vacuum cleaner", "electrical hum", "weaving loom"),
        *("model aircraft electric motor", "ducted fan", "light factory machinery"),
        *("vehicle engine", "motor engine", "car", "horse-drawn cart on a dirt road"),
        *("drinking", "eating", "biting into an apple", "heartbeat", "glass and water"),
        *("sawing wood", "sharpening a blade", "grinding with a mortar", "coins jingling"),
        *(CRICKET, CLOCK),
    )
)
"""With what else of the train split nobody wants to be woken by while it is quiet."""
TAUGHT: Mapping[str, str | None] = {
    label: kind
    for kind, labels in (
        ("alarm", ("siren", "air raid siren", "stall warning horn", ALARM)),
        (
            "impact",
            (
                *("cannon fire", "machine gun fire", "aircraft crash", "punch", "metal hit"),
                *("blunt weapon hit", "hitting an object", "pickaxe hitting stone"),
                *("wood breaking", "tool breaking", "tools falling", "door closing"),
                *("metal door closing", "wooden door closing", "aircraft door closing"),
                *("wooden gate closing", "wooden chest closing", BANG),
            ),
        ),
        ("speech", ("man crying out in pain", "woman crying out in pain")),
        ("other", ("canary singing", "blackbird singing", "whale singing", "bull bellowing")),
        (
            # Of several kinds: a voice or not, a bang or not, a signal or not.
            None,
            (
                *("choir", "wailing", "crying", "laughing", "evil laugh", "cheering"),
                *("market crowd chatter", "children playing at school"),
                *("crowd cheering", "stadium crowd"),
                *("thunder", "rumble", "earthquake rumble", "knocking", "knocking on a door"),
                *("hammering", "blacksmith hammering metal", "whip crack", "toaster popping"),
                *("circuit breaker switching", "car horn", "bell ringing", "iron bell"),
                *("sonar ping", "submarine sonar", "typewriter bell", "cuckoo clock"),
            ),
        ),
    )
    for label in labels
}
"""What words do not tell, or tell wrongly, of the train split; None: nothing is learnt from it."""
NOT_TAUGHT = "instrument"
"""A family: a drum is a bang, a long note an alarm, and no patch has what would tell them apart."""


def sort_clips(clips: Iterable[Clip], matcher: Matcher, gate: GateClasses) -> Pools:
    """The clips of the train split by their kinds: quiet, other, and those that wake.

    Raises:
        UsageError: of one of them there is none.
    """
    found: dict[str, list[Clip]] = {kind: [] for kind in SHARES if kind}
    for clip in clips:
        if clip.split != "train" or clip.family == NOT_TAUGHT:
            continue
        if clip.label in ALSO_QUIET:
            kind: str | None = "quiet"
        elif clip.label in TAUGHT:
            kind = TAUGHT[clip.label]
        else:
            kind = kind_of(clip.label, matcher, gate)
        if kind:
            found[kind].append(clip)
    for kind, own in found.items():
        require(own, f"{kind} in the train split")
    return found


def draw(rng: np.random.Generator, clips: Sequence[Clip]) -> Clip:
    """One of some clips; a label's share is as the root of the number of its clips.

    As many clips of one thing teach less than as many of several, but more than one.
    """
    often = Counter(clip.label for clip in clips)
    weights = np.array([often[clip.label] ** -0.5 for clip in clips])
    return clips[int(rng.choice(len(clips), p=weights / weights.sum()))]


def compose_scene(rng: np.random.Generator, pools: Pools) -> tuple[Stems, dict[str, str]]:
    """A scene of a quiet home, and the kind of every label that may be in it.

    Args:
        rng: of all that is drawn.
        pools: clips, as :func:`sort_clips` makes them.
    """
    first = str(rng.choice([*SHARES], p=[*SHARES.values()]))
    kinds = [first] if first else []
    if first and rng.random() < SECOND:
        kinds.append(str(rng.choice([*pools])))
    chosen = [draw(rng, pools[kind]) for kind in kinds]
    low_db, high_db = ROOM_DB
    level_db = rng.uniform(*LEVELS_DB.get(first, WAKING_DB))
    recipe = replace(
        HOME,
        events=tuple(float(i == len(kinds)) for i in range(3)),
        snr_db=(level_db, level_db),
        loudest_db=(low_db + level_db, high_db + level_db),
    )
    kind_by_label = {clip.label: kind for clip, kind in zip(chosen, kinds, strict=True)}
    return render(rng, chosen, recipe), kind_by_label


def truth(stems: Stems, kinds: Mapping[str, str]) -> NDArray[np.float32]:
    """Which of the gate's classes are in the patch of every hop [n, 5], 0 or 1.

    A sound is in it where :data:`LEAST_FRAMES` of it are above the noise: much of a bang's
    recording is its end, which nobody hears, and a patch of noise that is called a bang costs more
    than any other mistake.

    Args:
        stems: a scene before it is summed.
        kinds: of the labels of its timeline.
    """
    hops = -(-len(stems.noise) // HOP_SAMPLES)
    found = np.zeros((hops, len(GATE)), np.float32)
    least = rms(_above_lowest(stems.noise)) ** 2 * 10 ** (AUDIBLE_DB / 10)
    for placed, (start, part) in zip(stems.timeline, stems.parts, strict=True):
        alone = np.zeros(hops * HOP_SAMPLES, np.float32)
        end = min(start + len(part), len(stems.noise))
        alone[start:end] = part[: end - start]
        heard = np.square(_above_lowest(alone)).reshape(-1, FRAME_SAMPLES).mean(axis=1) > least
        # A patch is a hop and the one before it; before the first there is silence.
        before = np.concatenate((np.zeros(HOP_FRAMES, np.bool_), heard))
        in_patch = np.lib.stride_tricks.sliding_window_view(before, PATCH_FRAMES)[::HOP_FRAMES]
        counts = in_patch.sum(axis=1)
        kind = kinds[placed.label]
        column = GATE.index(kind if kind in WAKING else "other")
        found[(counts > 0) & (counts >= min(LEAST_FRAMES, heard.sum())), column] = 1.0
    found[:, GATE.index("nothing")] = ~found.any(axis=1)
    return found


def _above_lowest(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """What log-mel has bands for: the hum of the mains, which is most of some noise, is below."""
    spectrum = np.fft.rfft(samples)
    spectrum[np.fft.rfftfreq(len(samples), 1.0 / SAMPLE_RATE_HZ) < MEL_MIN_HZ] = 0.0
    return np.fft.irfft(spectrum, len(samples)).astype(np.float32)


def make_scene(rng: np.random.Generator, pools: Pools) -> HeardScene:
    """A scene as a gate learns from it."""
    stems, kinds = compose_scene(rng, pools)
    told = to_logits(truth(stems, kinds)).astype(np.float16)
    samples = np.clip(stems.mix(), -1.0, 1.0)
    return HeardScene(to_frames(samples), told, np.zeros((len(told), 0), np.float16))


def make_part(part: Path, seed: Sequence[int], pools: Pools) -> int:
    """Compose the scenes of one part; returns its hops.

    Args:
        part: path of the part, without its endings.
        seed: of this part.
        pools: clips, as :func:`sort_clips` makes them.
    """
    rng = np.random.default_rng(seed)
    scenes = [make_scene(rng, pools) for _ in range(SCENES_PER_PART)]
    write_part(part, scenes)
    return sum(scene.hops for scene in scenes)


def main() -> None:
    """Compose the scenes that are missing, then train the gate."""
    args = make_parser("python -m export.gate").parse_args()
    try:
        run, students = read_run(args.config, args.set)
        labels = read_labels(store.locate("yamnet") / "yamnet_class_map.csv")
        made = make_clips(args.out / MADE, MADE_EACH, run.data.seed)
        clips = [*read_corpus(args.corpus, args.esc10), *made]
        pools = sort_clips(clips, NameMatcher(labels), GateClasses(labels))
        make = partial(make_part, pools=pools)
        make_parts(args.out / SCENES, make, run.data.scenes, run.data.seed, args.workers)
        for path in train(run, students, read_heard(args.out / SCENES), GATE, args.out):
            print(f"{path}: {path.stat().st_size / 1e3:.0f} kB", flush=True)
    except EdgeAlmError as error:
        raise SystemExit(f"gate: {error}") from error


if __name__ == "__main__":
    main()
