"""When things are told, with every stage at work at once, at the pace of a microphone.

    python -m benchmarks.latency [--minutes 10] [--every 15] [--corpus build/corpus]

Recorded sounds and spoken prompts follow each other at random in the noise of a quiet room. All of
it is heard, read and put into the language model's scene as it comes, and every ``--every`` seconds
a question is asked from another thread, so that each stage meets the load of the others. Measured
on the clock of the stream, from what was really there: a sound's first and last audible moment, the
last of an utterance, the call of a question. What was never told is counted, not timed.

Sounds are ESC-10's of fold 4 and the prompts those of the corpus (``python -m export.corpus``);
without these the recordings of ``tests/data`` are played. ``scripts/with_ros python -m
benchmarks.ros_latency`` has what ROS 2 adds.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.speech import DATA, ROOM_DB, TimedAudio, find_onset, find_prompts, make_noise, read
from edge_alm.bench.statistics import quantile
from edge_alm.bench.table import align
from edge_alm.errors import EdgeAlmError
from edge_alm.runtime import Ears, load
from edge_alm.types import SAMPLE_RATE_HZ, Answer, Event, Samples, Sound, Speech
from export.corpus import read_corpus, read_samples

GAP_S = (1.5, 4.0)
"""Between what is played: the tracker and the VAD must see an end."""
LONGEST_SOUND_S = 4.0
PROMPTS = 150
EARLY_S = 0.5
"""By so much an event may put its sound's beginning too early: a hop is 0.48 s."""
LATE_S = 1.5
"""And by so much it may begin later than the sound does."""
QUESTIONS = (
    "What was heard last?",
    "Was there a dog?",
    "What was said?",
    "How many times was a rooster heard?",
    "What came right after the rain?",
)
SHARES = (0.5, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class Played:
    """Something in the stream, from its first to its last audible moment, in seconds."""

    spoken: bool
    start_s: float
    end_s: float


def read_sounds(esc10: Path) -> list[Samples]:
    """Recordings without speech."""
    if (esc10 / "clips.csv").is_file():
        clips = [clip for clip in read_corpus(Path("none"), esc10) if clip.split == "dev"]
        return [read_samples(clip, LONGEST_SOUND_S) for clip in clips]
    with (DATA / "LICENCES.csv").open(encoding="utf-8", newline="") as file:
        names = [row["file"] for row in csv.DictReader(file)]
    quiet = [name for name in names if not name.startswith(("speech", "home"))]
    return [read(DATA / name)[: int(LONGEST_SOUND_S * SAMPLE_RATE_HZ)] for name in quiet]


def audible(samples: Samples) -> tuple[int, int]:
    """First and one past the last sample that is not far below the loudest."""
    return find_onset(samples), len(samples) - find_onset(samples[::-1])


def lay_out(
    sounds: Sequence[Samples], prompts: Sequence[Samples], seconds: float
) -> tuple[Samples, list[Played]]:
    """A stream of about so many seconds, and what is where in it."""
    rng = np.random.default_rng(0)
    parts: list[Samples] = []
    played: list[Played] = []
    at = 0
    while at < seconds * SAMPLE_RATE_HZ:
        gap = int(rng.uniform(*GAP_S) * SAMPLE_RATE_HZ)
        spoken = bool(rng.random() < 0.5)
        pool = prompts if spoken else sounds
        samples = pool[int(rng.integers(len(pool)))]
        peak = max(float(np.abs(samples).max()), 1e-6)
        parts += [np.zeros(gap, np.float32), (0.3 / peak) * samples]
        start, end = audible(samples)
        at += gap
        spans_s = (at + start) / SAMPLE_RATE_HZ, (at + end) / SAMPLE_RATE_HZ
        played.append(Played(spoken, *spans_s))
        at += len(samples)
    parts.append(np.zeros(3 * SAMPLE_RATE_HZ, np.float32))
    stream = np.concatenate(parts)
    return stream + make_noise(0.5, ROOM_DB, len(stream) / SAMPLE_RATE_HZ, 0)[: len(stream)], played


class Asker(threading.Thread):
    """Asks again and again until it is told to stop."""

    def __init__(self, ears: Ears, every_s: float) -> None:
        super().__init__()
        self.answers: list[Answer] = []
        self.refused = 0
        self._ears, self._every_s, self._over = ears, every_s, threading.Event()

    def run(self) -> None:
        while not self._over.wait(self._every_s):
            question = QUESTIONS[(len(self.answers) + self.refused) % len(QUESTIONS)]
            try:
                self.answers.append(self._ears.ask(question))
            except EdgeAlmError:
                self.refused += 1

    def stop(self) -> None:
        self._over.set()
        self.join()


def hear(ears: Ears, stream: Samples) -> list[tuple[float, Event]]:
    """The events, each with the second of the stream's clock at which it was told."""
    source = TimedAudio(stream, live=True)
    told: list[tuple[float, Event]] = []
    for event in ears.listen(source):
        told.append((time.monotonic() - source.began_s, event))
    return told


def delays_s(
    told: Sequence[tuple[float, Event]], played: Sequence[Played]
) -> dict[str, list[float]]:
    """By what is measured, one delay for each of those that were told at all."""
    beginnings: list[float] = []
    ends: list[float] = []
    texts: list[float] = []
    for each in played:
        low_s, high_s = each.start_s - EARLY_S, each.start_s + LATE_S
        if each.spoken:
            said = [
                at_s for at_s, e in told if isinstance(e, Speech) and low_s <= e.start <= each.end_s
            ]
            texts += [at_s - each.end_s for at_s in said[-1:]]
            continue
        own = [(at_s, e) for at_s, e in told if isinstance(e, Sound) and low_s <= e.start <= high_s]
        beginnings += [at_s - each.start_s for at_s, e in own if e.state == "start"][:1]
        ends += [at_s - each.end_s for at_s, e in own if e.state == "end"][-1:]
    return {
        "sound's beginning to its event": beginnings,
        "sound's end to its event": ends,
        "utterance's end to its text": texts,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--every", type=float, default=15.0, help="seconds between questions")
    parser.add_argument("--corpus", type=Path, default=Path("build/corpus"))
    parser.add_argument("--esc10", type=Path, default=Path("../shared/data/esc10"))
    args = parser.parse_args()
    prompts = [prompt.samples for prompt in find_prompts(args.corpus, PROMPTS)]
    stream, played = lay_out(read_sounds(args.esc10), prompts, 60 * args.minutes)
    with load() as ears:
        ears.prepare()
        asker = Asker(ears, args.every)
        asker.start()
        told = hear(ears, stream)
        asker.stop()
    delays = delays_s(told, played)
    delays["question to its first token"] = [a.ttft_ms / 1000 for a in asker.answers]
    delays["question to its last token"] = [a.total_ms / 1000 for a in asker.answers]
    spoken = sum(each.spoken for each in played)
    of = (len(played) - spoken, len(played) - spoken, spoken, *2 * (len(asker.answers),))
    rows: list[tuple[str, ...]] = [("seconds", "p50", "p95", "p99", "told")]
    summary = {}
    for (name, values), count in zip(delays.items(), of, strict=True):
        figures = [round(quantile(values, share), 3) if values else math.nan for share in SHARES]
        summary[name] = {"n": len(values), "of": count, "p50_p95_p99_s": figures}
        rows.append((name, *(f"{f:.2f}" for f in figures), f"{len(values)} of {count}"))
    print("\n".join(align(rows)))
    faults = [event for _, event in told if event.type in ("fault", "lost")]
    minutes = len(stream) / SAMPLE_RATE_HZ / 60
    refused = asker.refused
    print(f"{minutes:.1f} minutes, faults and gaps: {len(faults)}, questions refused: {refused}")
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
