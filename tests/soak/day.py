"""A day in minutes: a busy one of a home, two quiet ones, again and again; a question after each.

    python tests/soak/day.py MINUTES LOG

Prints a JSON object for every minute: what was heard in it, times from its own beginning, and what
the process has in use. What is heard also goes into an event log. Run by ``test_day.py`` in a
process of its own, whose memory is its own.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

import edge_alm
from edge_alm.hearing.encoder import HOP_SAMPLES
from edge_alm.log import EventLog
from edge_alm.reasoning.scene import QUESTION, SCRATCH
from edge_alm.runtime import Ears
from edge_alm.types import SAMPLE_RATE_HZ, Event, Frame, Packet, Samples, Sound, Speech

DATA = Path(__file__).resolve().parents[1] / "data"
MINUTE_SAMPLES = 60 * SAMPLE_RATE_HZ
assert MINUTE_SAMPLES % HOP_SAMPLES == 0, "or hops would fall differently into each minute"
FRAME_SAMPLES = 1_600
SCENE = {2.0: "doorbell", 8.0: "speech_service", 20.0: "crow", 33.0: "glass", 40.0: "alarm_clock"}
"""What is heard when in a busy minute; from 50 s on there is digital silence."""
EVERY_MINUTES = 3
"""One minute of so many is busy."""


class Day:
    """A busy minute and quiet ones in turn, ``minutes`` of them, as fast as they are taken."""

    name = "day"
    live = False
    started_unix = None

    def __init__(self, minutes: int) -> None:
        self._minutes = minutes
        self._turn = [make_minute(SCENE), *[make_minute({})] * (EVERY_MINUTES - 1)]
        self._closed = threading.Event()

    def packets(self) -> Iterator[Packet]:
        for at in range(0, self._minutes * MINUTE_SAMPLES, FRAME_SAMPLES):
            if self._closed.is_set():
                return
            minute, within = divmod(at, MINUTE_SAMPLES)
            samples = self._turn[minute % EVERY_MINUTES]
            yield Frame(at, samples[within : within + FRAME_SAMPLES])

    def close(self) -> None:
        self._closed.set()


def make_minute(scene: Mapping[float, str]) -> Samples:
    """What is heard when over the quiet noise of a room, then nothing."""
    minute = np.random.default_rng(0).normal(0.0, 3e-4, MINUTE_SAMPLES).astype(np.float32)
    for at_s, name in scene.items():
        samples, rate_hz = soundfile.read(DATA / f"{name}.flac", dtype="float32")
        assert rate_hz == SAMPLE_RATE_HZ
        start = round(at_s * SAMPLE_RATE_HZ)
        samples = samples[: 10 * SAMPLE_RATE_HZ]
        minute[start : start + len(samples)] += samples
    minute[50 * SAMPLE_RATE_HZ :] = 0.0
    return minute


def in_use(ears: Ears) -> dict[str, Any]:
    """Memory, threads, files, and cells of the KV cache that belong to no scene."""
    mind = ears._mind
    assert mind is not None
    spans = mind.call(
        lambda reasoner: [
            list(reasoner._llama.span(sequence))  # type: ignore[attr-defined]
            for sequence in range(QUESTION, SCRATCH + 4)
        ]
    ).result()
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "rss_bytes": pages * resource.getpagesize(),
        "threads": threading.active_count(),
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "stray_cells": sum(end - start for start, end in spans),
    }


def describe(event: Event) -> tuple[int, list[object]]:
    """The minute in which an event starts, and the event with its times from there."""
    if not isinstance(event, Sound | Speech):
        return 0, ["other", str(event)]
    minute = int(event.start // 60.0)
    end_s = None if event.end is None else round(event.end - 60.0 * minute, 3)
    what = event.text if isinstance(event, Speech) else f"{event.label} {event.state}"
    return minute, [what, round(event.start - 60.0 * minute, 3), end_s]


def main() -> None:
    minutes = int(sys.argv[1])
    heard: dict[int, list[object]] = {minute: [] for minute in range(minutes + 1)}
    told = 0

    def tell(ears: Ears) -> None:
        answer = ears.ask("What was heard last?", choices=["a bell", "a bird"])
        line = {"minute": told, "events": heard.pop(told), "ttft_ms": answer.ttft_ms}
        print(json.dumps({**line, **in_use(ears)}), flush=True)

    with EventLog(sys.argv[2], words=True) as log, edge_alm.load() as ears:
        for event in ears.listen(Day(minutes)):
            log.write(event)
            minute, described = describe(event)
            while minute > told:
                tell(ears)
                told += 1
            heard[minute].append(described)
        while told < minutes:
            tell(ears)
            told += 1


if __name__ == "__main__":
    main()
