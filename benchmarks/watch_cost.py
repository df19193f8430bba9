"""What watching for phrases costs over listening alone: CPU seconds per second of audio.

    python -m benchmarks.watch_cost [--phrases 50] [--seconds 60] [--rounds 5]

One process hears the same recordings in turns, with and without the phrases, so that whatever else
the machine does meets both alike; the difference of the medians counts. The recordings follow each
other without a pause: every hop is encoded, and compared with all phrases.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from statistics import median

import numpy as np

from benchmarks.listen_cost import SOUNDS, read
from edge_alm.audio.memory import MemoryAudio
from edge_alm.runtime import Ears, load
from edge_alm.types import SAMPLE_RATE_HZ, Samples

WORDS = ("glass", "kettle", "dog", "drawer", "tractor", "owl", "printer", "ladder", "spoon", "gate")
DOINGS = ("falling", "rattling far away", "in the kitchen", "being opened", "behind the house")
MOST = len(WORDS) * len(DOINGS)


def spent_s(ears: Ears, samples: Samples, phrases: Sequence[str]) -> float:
    """CPU seconds of hearing all of it."""
    begun = time.process_time()
    for _ in ears.listen(MemoryAudio(samples), watch=phrases):
        pass
    return time.process_time() - begun


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.watch_cost")
    parser.add_argument("--phrases", type=int, default=50, help=f"up to {MOST}")
    parser.add_argument("--seconds", type=float, default=60.0, help="of audio each time")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    phrases = [f"{word} {doing}" for doing in DOINGS for word in WORDS][: args.phrases]
    samples = np.resize(read(SOUNDS), round(args.seconds * SAMPLE_RATE_HZ))
    cost: dict[str, list[float]] = {"alone": [], "watching": []}
    with load(llm=False, transcribe=False) as ears:
        spent_s(ears, samples[: 5 * SAMPLE_RATE_HZ], phrases)  # the phrase table is read
        for i in range(args.rounds):
            for kind in sorted(cost, reverse=bool(i % 2)):
                took_s = spent_s(ears, samples, phrases if kind == "watching" else ())
                cost[kind].append(100.0 * took_s / args.seconds)
    alone, watching = (median(cost[kind]) for kind in ("alone", "watching"))
    print(f"{'% of one core':24}{'median':>8}{'least':>8}{'most':>8}")
    for kind, values in cost.items():
        print(f"{kind:24}{median(values):8.2f}{min(values):8.2f}{max(values):8.2f}")
    print(f"{len(phrases)} phrases{'':14}{watching - alone:8.2f}")
    result = {"phrases": len(phrases), "seconds": args.seconds, "rounds": args.rounds}
    print(json.dumps({**result, "percent": cost, "added": round(watching - alone, 3)}))


if __name__ == "__main__":
    main()
