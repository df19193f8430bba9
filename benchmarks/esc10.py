"""What is heard in ESC-10's recordings, at the thresholds in use.

    python -m benchmarks.esc10 [../shared/data/esc10]

Folds 1 to 4. Ten classes: the class whose AudioSet labels have the highest score in any hop.
Events: how many clips have a sound event that the clip's label means (or a kind of it, or what
it is a kind of), and how many events of a clip lie outside its family (siblings count as in it).
The thresholds were set on these clips too, so this says what to expect, not how well it carries
over.

How soon: the same clips, each after two seconds or so of a quiet room; from the first audible
moment to the first right event, on the clock of the samples, of the clips that have one.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Container
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.speech import ROOM_DB, find_onset, make_noise
from edge_alm.bench.statistics import quantile
from edge_alm.hearing.audioset import ontology
from edge_alm.hearing.encoder import HopEncoder, Yamnet
from edge_alm.hearing.gate import BLOCK_SAMPLES, SoundGate
from edge_alm.hearing.guesses import Guesser
from edge_alm.hearing.logmel import LogMel
from edge_alm.hearing.sound_ear import SoundEar
from edge_alm.hearing.tracker import Tracker, read_thresholds
from edge_alm.hearing.watch import NameMatcher
from edge_alm.models.bundle import load_bundle
from edge_alm.runtime import load
from edge_alm.types import SAMPLE_RATE_HZ, Samples, Sound
from export.thresholds import allowed_labels, highest_scores, read_clips, read_samples

LEAD_S = (1.5, 2.5)
TAIL_SAMPLES = SAMPLE_RATE_HZ
PEAK = 0.3
SHARES = (0.25, 0.5, 0.75)


def best_class(
    scores: NDArray[np.float32], classes: list[str], matcher: NameMatcher, labels: tuple[str, ...]
) -> str:
    columns = {name: [labels.index(m) for m in matcher.labels(name)] for name in classes}
    return max(classes, key=lambda name: float(scores[columns[name]].max()))


def after_a_room(samples: Samples, rng: np.random.Generator) -> tuple[Samples, float]:
    """The clip after a quiet room and before one, and the second in which it is first audible."""
    lead = int(rng.uniform(*LEAD_S) * SAMPLE_RATE_HZ)
    stream = np.pad(PEAK / max(float(np.abs(samples).max()), 1e-6) * samples, (lead, TAIL_SAMPLES))
    stream += make_noise(0.5, ROOM_DB, len(stream) / SAMPLE_RATE_HZ, 0)
    return stream, (lead + find_onset(samples)) / SAMPLE_RATE_HZ


def named_s(ear: SoundEar, stream: Samples, right: Container[str]) -> float:
    """When on the clock of the samples the first start of one of these labels is told; infinite
    where none is."""
    ear.reset(0)
    for end in range(BLOCK_SAMPLES, len(stream) + 1, BLOCK_SAMPLES):
        for event in ear.push(stream[end - BLOCK_SAMPLES : end], speech=False):
            if isinstance(event, Sound) and event.state == "start" and event.label in right:
                return end / SAMPLE_RATE_HZ
    return math.inf


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("esc10", type=Path, nargs="?", default=Path("../shared/data/esc10"))
    args = parser.parse_args()
    if not (args.esc10 / "clips.csv").is_file():
        raise SystemExit(f"{args.esc10}: expected ESC-10's clips and clips.csv, got none")
    bundle = load_bundle(language_model=False, transcriber=False)
    network = Yamnet(bundle.encoder, bundle.labels)
    encoder, matcher, tree = HopEncoder(network, LogMel()), NameMatcher(network.labels), ontology()
    rules = network.labels, read_thresholds(bundle.thresholds), tree
    parts = SoundGate(), HopEncoder(network, LogMel()), Tracker(*rules)
    ear = SoundEar(*parts, None, lambda hop: None, Guesser(*rules), lambda guess: None)
    clips = list(read_clips(args.esc10, None, None))
    classes = sorted({label for label, _ in clips})
    rng = np.random.default_rng(0)
    right = found = wrong = 0
    delays_s: list[float] = []
    with load(llm=False, transcribe=False) as ears:
        for label, path in clips:
            samples = read_samples(path)
            scores = highest_scores(encoder, samples)
            right += best_class(scores, classes, matcher, network.labels) == label
            meant = matcher.labels(label)
            line = meant.union(*(tree.ancestors(m) for m in meant))
            family = allowed_labels(label, matcher, tree) or line
            started = [
                event.label
                for event in ears.listen(path)
                if isinstance(event, Sound) and event.state == "start"
            ]
            found += any(name in line for name in started)
            wrong += sum(name not in family for name in started)
            stream, audible_s = after_a_room(samples, rng)
            delays_s.append(named_s(ear, stream, line) - audible_s)
    n = len(clips)
    told_s = [delay_s for delay_s in delays_s if delay_s < math.inf]
    soon_s = [round(quantile(told_s, share), 2) for share in SHARES]
    print(f"clips                     {n}")
    print(f"ten classes               {right / n:.1%}")
    print(f"clips with a right event  {found / n:.1%}")
    print(f"wrong events per clip     {wrong / n:.2f}")
    print(f"a right event after       {' / '.join(map(str, soon_s))} s (p25 / p50 / p75)")
    shares = {"ten_class": right / n, "found": found / n, "wrong": wrong / n}
    print(json.dumps({"n": n, **shares, "told": len(told_s), "soon_s": soon_s}))


if __name__ == "__main__":
    main()
