"""What goes on over time while something is measured: CPU, clock, temperature, power."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any

from edge_alm.bench.machine import hottest_c, mean_mhz
from edge_alm.bench.meters.energy import Sampler
from edge_alm.bench.statistics import rounded

INTERVAL_S = 0.5
MOST_POINTS = 2000
"""Of a run of hours only every second, fourth, ... is kept."""


@dataclass(frozen=True, slots=True)
class Point:
    """The time since the point before."""

    at_s: float
    """Since the trace began."""
    cores: float
    """How many cores this process kept busy."""
    mhz: float | None
    celsius: float | None


@dataclass(frozen=True, slots=True)
class Phase:
    """What was measured when."""

    name: str
    begin_s: float
    end_s: float


class Trace:
    """Looks every :data:`INTERVAL_S` from entering to leaving; 0.1 ms each time.

    Args:
        sampler: reads a power meter; None where there is none.
    """

    def __init__(self, sampler: Sampler | None = None) -> None:
        self._sampler = sampler
        self._points: list[Point] = []
        self._phases: list[Phase] = []
        self._interval_s = INTERVAL_S
        self._begun_s = self._ended_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bench trace", daemon=True)

    def __enter__(self) -> Trace:
        self._begun_s = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._ended_s = time.monotonic()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """What goes on within belongs to this."""
        begun_s = time.monotonic()
        yield
        end_s = time.monotonic() - self._begun_s
        self._phases.append(Phase(name, rounded(begun_s - self._begun_s), rounded(end_s)))

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it; ``watts`` are pairs of seconds and watts, None without a meter."""
        return {
            "points": [asdict(point) for point in self._points],
            "phases": [asdict(phase) for phase in self._phases],
            "watts": self._watts(),
        }

    def _watts(self) -> list[tuple[float, float]] | None:
        if self._sampler is None:
            return None
        stretches = self._sampler.stretches(self._begun_s, self._ended_s)
        every = 1 + len(stretches) // MOST_POINTS
        found = []
        for i in range(0, len(stretches), every):
            part = stretches[i : i + every]
            seconds = sum(s.end_s - s.begin_s for s in part)
            middle_s = (part[0].begin_s + part[-1].end_s) / 2 - self._begun_s
            found.append((rounded(middle_s), rounded(sum(s.joules for s in part) / seconds)))
        return found

    def _run(self) -> None:
        at_s, cpu_s = time.monotonic(), time.process_time()
        while not self._stop.wait(self._interval_s):
            before_s, cpu_before_s = at_s, cpu_s
            at_s, cpu_s = time.monotonic(), time.process_time()
            cores = (cpu_s - cpu_before_s) / (at_s - before_s)
            mhz, celsius = mean_mhz(), hottest_c()
            self._points.append(
                Point(
                    rounded(at_s - self._begun_s),
                    rounded(cores),
                    None if mhz is None else round(mhz),
                    celsius,
                )
            )
            if len(self._points) > MOST_POINTS:
                self._points = self._points[1::2]
                self._interval_s *= 2
