"""Whether a machine keeps its pace when it has grown warm: half an hour of work without a pause.

    python -m benchmarks.heat [--minutes 30] [--jobs N] [--no-llm]

On every core a process of its own hears made sounds and a made voice as fast as it goes and
answers a question after each, as ``edge-alm bench`` makes them. The throughput of a minute is the
audio heard in it by all of them, seconds a second. Told are that of the first minute and of the
last, the least of all, and what the machine says of clock, temperature and throttling by the
minute. Loading and one pass come before the first minute and do not count.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing.synchronize import Barrier
from typing import Any

from edge_alm.audio.memory import MemoryAudio
from edge_alm.bench import machine
from edge_alm.bench.measure import QUESTIONS
from edge_alm.bench.sounds import make_sounds, make_voice
from edge_alm.bench.table import align
from edge_alm.errors import EdgeAlmError
from edge_alm.runtime import Ears, load
from edge_alm.types import SAMPLE_RATE_HZ, Samples

MINUTE_S = 60.0
VOICE_S = 10.0
_START_TIMEOUT_S = 600.0
_barrier: Barrier | None = None


@dataclass(frozen=True, slots=True)
class Pass:
    """Audio that was heard, and a question about it; on the clock that all processes share."""

    begun_s: float
    ended_s: float
    audio_s: float


@dataclass(frozen=True, slots=True)
class Minute:
    """What was done in a minute, and the machine's state at its end."""

    throughput: float
    """Seconds of audio a second, of all processes together."""
    temperature_c: float | None
    mhz: float | None
    throttles: int | None


def share_out(passes: Sequence[Pass], begun_s: float, minutes: int) -> list[float]:
    """Seconds of audio a second in each minute [minutes]; a pass is spread evenly over its time."""
    found = []
    for i in range(minutes):
        start_s = begun_s + i * MINUTE_S
        heard_s = 0.0
        for each in passes:
            both_s = min(each.ended_s, start_s + MINUTE_S) - max(each.begun_s, start_s)
            heard_s += max(both_s, 0.0) / (each.ended_s - each.begun_s) * each.audio_s
        found.append(heard_s / MINUTE_S)
    return found


def _remember(barrier: Barrier) -> None:
    global _barrier  # a pool's processes take it at their start and no later
    _barrier = barrier


def _work(minutes: int, llm: bool) -> list[Pass]:
    """Passes of one process, from when all are ready to after the last minute."""
    kinds = make_sounds(), make_voice(VOICE_S)
    with load(llm=llm) as ears:
        ears.prepare()
        _hear(ears, kinds[0], 0 if llm else None)
        if _barrier is not None:
            _barrier.wait(_START_TIMEOUT_S)
        passes: list[Pass] = []
        until_s = time.monotonic() + minutes * MINUTE_S
        while (begun_s := time.monotonic()) < until_s:
            samples = kinds[len(passes) % len(kinds)]
            _hear(ears, samples, len(passes) if llm else None)
            audio_s = len(samples) / SAMPLE_RATE_HZ
            passes.append(Pass(begun_s, time.monotonic(), audio_s))
    return passes


def _hear(ears: Ears, samples: Samples, question: int | None) -> None:
    ears.reset()
    for _ in ears.listen(MemoryAudio(samples)):
        pass
    ears.flush()
    if question is not None:
        ears.ask(QUESTIONS[question % len(QUESTIONS)])


def measure(minutes: int, jobs: int, *, llm: bool) -> list[Minute]:
    """What each minute was like.

    Args:
        minutes: how many, 1 or more.
        jobs: processes.
        llm: with the scene in the language model, and questions.

    Raises:
        EdgeAlmError: the models cannot be loaded.
    """
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(jobs + 1)
    with ProcessPoolExecutor(jobs, context, _remember, (barrier,)) as pool:
        tasks = [pool.submit(_work, minutes, llm) for _ in range(jobs)]

        def give_up(task: Future[list[Pass]]) -> None:
            if task.exception() is not None:
                barrier.abort()

        for task in tasks:
            task.add_done_callback(give_up)
        try:
            barrier.wait(_START_TIMEOUT_S)
        except threading.BrokenBarrierError:
            errors = [error for task in tasks if (error := task.exception()) is not None]
            own = [error for error in errors if isinstance(error, EdgeAlmError)]
            raise (own or errors)[0] from None
        begun_s = time.monotonic()
        states = []
        for i in range(1, minutes + 1):
            time.sleep(max(0.0, begun_s + i * MINUTE_S - time.monotonic()))
            states.append((machine.hottest_c(), machine.mean_mhz(), machine.read_state().throttles))
        passes = [each for task in tasks for each in task.result()]
    throughputs = share_out(passes, begun_s, minutes)
    return [Minute(each, *state) for each, state in zip(throughputs, states, strict=True)]


def to_lines(minutes: Sequence[Minute]) -> list[str]:
    """For people."""

    def tell(value: float | None, unit: str) -> str:
        return "not known" if value is None else f"{value:.0f} {unit}"

    head = ("minute", "x real time", "hottest", "clock", "throttled so far")
    rows = [
        (
            str(i + 1),
            f"{each.throughput:.2f}",
            tell(each.temperature_c, "C"),
            tell(each.mhz, "MHz"),
            tell(each.throttles, "times"),
        )
        for i, each in enumerate(minutes)
    ]
    first, last = minutes[0].throughput, minutes[-1].throughput
    least = min(minutes, key=lambda each: each.throughput).throughput
    return [
        *align([head, *rows], left=()),
        f"first minute {first:.2f}, last {last:.2f} x real time: {last / first:.1%} of it; "
        f"the least {least / first:.1%}",
    ]


def to_dict(minutes: Sequence[Minute], jobs: int) -> dict[str, Any]:
    """As JSON has it."""
    return {
        "machine": machine.to_dict(machine.read_machine()),
        "jobs": jobs,
        "last_to_first": minutes[-1].throughput / minutes[0].throughput,
        "minutes": [asdict(each) for each in minutes],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.heat")
    parser.add_argument("--minutes", type=int, default=30)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--no-llm", action="store_true", help="listen only")
    args = parser.parse_args()
    if args.minutes < 1 or args.jobs < 1:
        parser.error("--minutes and --jobs: 1 or more")
    try:
        minutes = measure(args.minutes, args.jobs, llm=not args.no_llm)
    except EdgeAlmError as error:
        parser.error(str(error))
    print("\n".join(to_lines(minutes)))
    print(json.dumps(to_dict(minutes, args.jobs)))


if __name__ == "__main__":
    main()
