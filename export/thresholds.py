"""Set the tracker's thresholds on real recordings.

    python -m export.thresholds --esc10 ../shared/data/esc10 \\
        --sounds ../shared/data/debian_sounds.csv --root UNPACKED

``UNPACKED/<package>/<path>`` holds the clips of the Debian packages (``apt-get download``,
``dpkg -x``); rows whose file is missing are left out. Only ESC-10's folds 1 to 4 are read.

A class is *allowed* in a clip when it lies in the family of what the clip's label means
(itself, its ancestors, descendants and siblings). Its threshold is the 99 % quantile of its
highest score over all clips in which it is not allowed, within [0.25, 0.85]: one clip in a
hundred may raise it wrongly. Classes that describe a place or a recording, not an event,
are left out and so never reported.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_alm.audio.source import open_source
from edge_alm.errors import EdgeAlmError, UsageError
from edge_alm.hearing.audioset import Ontology, ontology
from edge_alm.hearing.encoder import HOP_SAMPLES, HopEncoder
from edge_alm.hearing.exported import make_encoder
from edge_alm.hearing.logmel import LogMel
from edge_alm.hearing.watch import NameMatcher
from edge_alm.models.bundle import load_bundle
from edge_alm.types import Frame, Samples

QUANTILE = 0.99
LOWEST, HIGHEST = 0.25, 0.85
NOT_EVENTS = frozenset(
    (
        "Silence",
        "Inside, small room",
        "Inside, large room or hall",
        "Inside, public space",
        "Outside, urban or manmade",
        "Outside, rural or natural",
        "Reverberation",
        "Echo",
        "Sidetone",
        "Field recording",
        "Sound effect",
        "Distortion",
        "Environmental noise",
        "Effects unit",
        "Chorus effect",
        "Electronic tuner",
    )
)


def read_clips(esc10: Path, sounds: Path | None, root: Path | None) -> Iterator[tuple[str, Path]]:
    """(label, file) of every clip at hand."""
    with (esc10 / "clips.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if int(row["fold"]) <= 4:
                yield row["label"], esc10 / row["path"]
    if sounds and root:
        with sounds.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                path = root / row["package"] / row["path"]
                if path.exists():
                    yield row["label"], path


def read_samples(path: Path, longest_s: float = 20.0) -> Samples:
    """The file's first seconds, with half a second of silence around."""
    source = open_source(str(path))
    frames = [packet.samples for packet in source.packets() if isinstance(packet, Frame)]
    samples = np.concatenate(frames)[: int(longest_s * 16_000)]
    return np.pad(samples, 8_000)


def highest_scores(encoder: HopEncoder, samples: Samples) -> NDArray[np.float32]:
    """The highest probability of every class over all hops."""
    encoder.reset()
    padded = np.pad(samples, (0, -len(samples) % HOP_SAMPLES))
    hops = [encoder.push(hop, wanted=True) for hop in padded.reshape(-1, HOP_SAMPLES)]
    scores = np.stack([hop.scores for hop in hops if hop is not None])
    return np.asarray(scores.max(axis=0), dtype=np.float32)


def allowed_labels(label: str, matcher: NameMatcher, tree: Ontology) -> frozenset[str] | None:
    """The family of what ``label`` means; None when no class is meant."""
    try:
        meant = matcher.labels(label)
    except UsageError:
        return None
    family = set(meant)
    for name in meant:
        family |= tree.ancestors(name) | tree.descendants(name)
        for parent in tree.parents(name):
            family |= tree.descendants(parent)
    return frozenset(family)


def main() -> None:
    """Write the table to standard output."""
    parser = argparse.ArgumentParser(prog="python -m export.thresholds")
    parser.add_argument("--esc10", type=Path, required=True)
    parser.add_argument("--sounds", type=Path)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--encoder", type=Path, metavar="DIR", help="an exported one")
    args = parser.parse_args()
    bundle = load_bundle(language_model=False, transcriber=False, encoder=args.encoder)
    network = make_encoder(bundle)
    encoder, matcher = HopEncoder(network, LogMel()), NameMatcher(network.labels)
    scores, allowed = [], []
    for label, path in read_clips(args.esc10, args.sounds, args.root):
        family = allowed_labels(label, matcher, ontology())
        if family is None:
            continue
        try:
            scores.append(highest_scores(encoder, read_samples(path)))
        except EdgeAlmError:
            continue
        allowed.append([name in family for name in network.labels])
    table, right = np.array(scores), np.array(allowed)
    print("label,threshold")
    writer = csv.writer(sys.stdout, lineterminator="\n")
    for i, name in enumerate(network.labels):
        if name not in NOT_EVENTS:
            quantile = float(np.quantile(table[~right[:, i], i], QUANTILE))
            writer.writerow([name, f"{min(max(quantile, LOWEST), HIGHEST):.2f}"])


if __name__ == "__main__":
    main()
