"""What is heard in ESC-10's recordings, at the thresholds in use.

    python -m benchmarks.esc10 [../shared/data/esc10]

Folds 1 to 4. Ten classes: the class whose AudioSet labels have the highest score in any hop.
Events: how many clips have a sound event that the clip's label means (or a kind of it, or what
it is a kind of), and how many events of a clip lie outside its family (siblings count as in it).
The thresholds were set on these clips too, so this says what to expect, not how well it carries
over.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_alm.hearing.audioset import ontology
from edge_alm.hearing.encoder import HopEncoder, Yamnet
from edge_alm.hearing.logmel import LogMel
from edge_alm.hearing.watch import NameMatcher
from edge_alm.models.bundle import load_bundle
from edge_alm.runtime import load
from edge_alm.types import Sound
from export.thresholds import allowed_labels, highest_scores, read_clips, read_samples


def best_class(
    scores: NDArray[np.float32], classes: list[str], matcher: NameMatcher, labels: tuple[str, ...]
) -> str:
    columns = {name: [labels.index(m) for m in matcher.labels(name)] for name in classes}
    return max(classes, key=lambda name: float(scores[columns[name]].max()))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("esc10", type=Path, nargs="?", default=Path("../shared/data/esc10"))
    args = parser.parse_args()
    if not (args.esc10 / "clips.csv").is_file():
        raise SystemExit(f"{args.esc10}: expected ESC-10's clips and clips.csv, got none")
    bundle = load_bundle(language_model=False, transcriber=False)
    network = Yamnet(bundle.encoder, bundle.labels)
    encoder, matcher, tree = HopEncoder(network, LogMel()), NameMatcher(network.labels), ontology()
    clips = list(read_clips(args.esc10, None, None))
    classes = sorted({label for label, _ in clips})
    right = found = wrong = 0
    with load(llm=False, transcribe=False) as ears:
        for label, path in clips:
            scores = highest_scores(encoder, read_samples(path))
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
    n = len(clips)
    print(f"clips                     {n}")
    print(f"ten classes               {right / n:.1%}")
    print(f"clips with a right event  {found / n:.1%}")
    print(f"wrong events per clip     {wrong / n:.2f}")
    print(json.dumps({"n": n, "ten_class": right / n, "found": found / n, "wrong": wrong / n}))


if __name__ == "__main__":
    main()
