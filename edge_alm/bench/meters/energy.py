"""From readings to joules: what is covered by readings, and what is not."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from types import TracebackType

from edge_alm.bench.meters.meter import Meter, MeterError, Quantity, Reading

LEAST_COVERED = 0.9
"""Of a window's time: with less the rest would be guessed."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """The time between two readings."""

    begin_s: float
    end_s: float
    joules: float


@dataclass(frozen=True, slots=True)
class Energy:
    """What was measured of a window of time."""

    joules: float
    """In the seconds that are covered, and no others."""
    covered_s: float
    window_s: float
    faults: int
    """How often the meter failed meanwhile."""
    fault: str
    """The first of them, or empty."""

    @property
    def gap_s(self) -> float:
        """Seconds of which nothing is known."""
        return max(0.0, self.window_s - self.covered_s)

    @property
    def watts(self) -> float | None:
        """The mean power; None where too little is covered to say."""
        if self.covered_s <= 0.0 or self.covered_s < LEAST_COVERED * self.window_s:
            return None
        return self.joules / self.covered_s


class Tally:
    """Adds readings up: power by the trapezoid, counters by their differences.

    No clock and no thread. Readings come in order of time; two that are too far apart, or with
    a failure between them, leave a gap.
    """

    def __init__(self, quantity: Quantity, longest_s: float) -> None:
        self._quantity = quantity
        self._longest_s = longest_s
        self._last: Reading | None = None
        self._stretches: list[Stretch] = []
        self._faults: list[tuple[float, str]] = []

    def push(self, reading: Reading) -> None:
        """The next reading."""
        last, self._last = self._last, reading
        if last is None:
            return
        seconds = reading.at_s - last.at_s
        if seconds <= 0.0:
            self.fail(reading.at_s, "a reading from the past")
            self._last = reading
            return
        if seconds > self._longest_s:
            return
        joules = reading.value - last.value
        if self._quantity == "watts":
            joules = seconds * (last.value + reading.value) / 2.0
        self._stretches.append(Stretch(last.at_s, reading.at_s, joules))

    def fail(self, at_s: float, fault: str) -> None:
        """The meter failed: what comes next does not join on to what was before."""
        self._last = None
        self._faults.append((at_s, fault))

    def stretches(self, begin_s: float, end_s: float) -> list[Stretch]:
        """Those that lie within a window."""
        return [s for s in self._stretches if begin_s <= s.begin_s and s.end_s <= end_s]

    def energy(self, begin_s: float, end_s: float) -> Energy:
        """Of a window; a stretch that reaches beyond it counts by its share."""
        joules = covered_s = 0.0
        for stretch in self._stretches:
            seconds = min(stretch.end_s, end_s) - max(stretch.begin_s, begin_s)
            if seconds > 0.0:
                covered_s += seconds
                joules += stretch.joules * seconds / (stretch.end_s - stretch.begin_s)
        faults = [fault for at_s, fault in self._faults if begin_s <= at_s <= end_s]
        return Energy(joules, covered_s, end_s - begin_s, len(faults), faults[0] if faults else "")


class Sampler:
    """Reads a meter on a thread from entering to leaving, and closes it."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self._tally = Tally(meter.quantity, meter.longest_s)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="power meter", daemon=True)

    def __enter__(self) -> Sampler:
        self._sample()
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
        self.meter.close()

    def energy(self, begin_s: float, end_s: float) -> Energy:
        """Of a window on the clock of ``time.monotonic`` that ends now or earlier."""
        self._sample()  # the last stretch has to reach the window's end
        with self._lock:
            return self._tally.energy(begin_s, end_s)

    def stretches(self, begin_s: float, end_s: float) -> list[Stretch]:
        """Those between readings of a window, on the same clock."""
        with self._lock:
            return self._tally.stretches(begin_s, end_s)

    def _run(self) -> None:
        while not self._stop.wait(self.meter.interval_s):
            self._sample()

    def _sample(self) -> None:
        with self._lock:
            try:
                readings = self.meter.read()
            except MeterError as error:
                self._tally.fail(time.monotonic(), str(error))
                return
            for reading in readings:
                self._tally.push(reading)
