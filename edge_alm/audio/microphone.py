"""A microphone as a source: it may overrun, vanish and come back; the clock stays right."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import chain, repeat

from edge_alm.audio.capture import Capture, CaptureBackend, InputDevice, choose_input
from edge_alm.audio.resample import Resampler, resampled_length
from edge_alm.audio.ring import Gap, Ring
from edge_alm.errors import DeviceError
from edge_alm.types import SAMPLE_RATE_HZ, Fault, Frame, Lost, Packet, Samples, to_seconds

RING_S = 10.0
STALL_S = 1.0
"""A device that delivers nothing for this long is gone."""
START_S = 5.0
"""A device may take this long for its first block: PulseAudio's monitors need 2.4 s."""
RETRY_S = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Waits between attempts to open a lost device; the last one repeats."""
_POLL_S = 0.1

OVERRUN = "driver overrun"
OVERRUN_BY_CLOCK = "driver overrun, counted by the clock"
UNDERRUN = "driver underrun"
SUSPENDED = "suspended"
DEVICE_LOST = "device-lost"


def clock_s() -> float:
    """Seconds that also pass while the machine sleeps, where the system counts them."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Tap:
    """What the capture callback does: copy, enqueue, count.

    When the driver says that it dropped samples it does not say how many. The distance of
    this block's start from the last one's on the driver's clock, less the last one's length,
    does; without a driver's clock the arrival times serve, off by at most the driver's buffer.
    """

    def __init__(self, rate_hz: int, ring: Ring) -> None:
        self._rate_hz = rate_hz
        self._ring = ring
        self._adc_s = 0.0
        self._samples = 0
        self.first_s: float | None = None
        """When the first sample was taken, on :func:`clock_s`, by its arrival."""
        self.last_s: float | None = None
        """When the last block arrived, on :func:`clock_s`."""

    def __call__(self, samples: Samples, adc_s: float, overrun: bool, underrun: bool) -> None:
        """See :class:`~edge_alm.audio.capture.Callback`."""
        self.take(samples, adc_s, overrun, underrun, clock_s())

    def take(
        self, samples: Samples, adc_s: float, overrun: bool, underrun: bool, now_s: float
    ) -> None:
        """:meth:`__call__` at the time ``now_s``."""
        if self.first_s is None or self.last_s is None:
            self.first_s = now_s - len(samples) / self._rate_hz
        else:
            silent_s = now_s - self.last_s
            by_driver = adc_s > 0 and self._adc_s > 0
            elapsed_s = adc_s - self._adc_s if by_driver else silent_s
            missing = round(elapsed_s * self._rate_hz) - self._samples
            if overrun:
                self._ring.lose(missing, OVERRUN if by_driver else OVERRUN_BY_CLOCK)
            elif by_driver and silent_s > STALL_S and missing > STALL_S * self._rate_hz:
                # No flag, but both clocks jumped: the machine slept. One clock alone may jump
                # (PulseAudio's by 0.7 s while it starts; arrival when the interpreter stalls).
                self._ring.lose(missing, SUSPENDED)
        if underrun:
            self._ring.lose(len(samples), UNDERRUN)
        else:
            self._ring.write(samples)
        self._adc_s, self._samples, self.last_s = adc_s, len(samples), now_s


class Microphone:
    """An input device, captured as mono at 16 kHz or resampled from its own rate.

    The device is open from the start and delivers from the first :meth:`packets`. When it
    stops delivering there is a fault ``device-lost``, then an attempt to open it again after
    0.5, 1, 2, 4 and every 8 s; when it is back a ``Lost`` accounts for the time away.

    Args:
        backend: the capture library; closed with the microphone.
        name: an index, a name or a part of one; None for the default input.

    Raises:
        DeviceError: no such device, or it cannot be opened.
    """

    live = True

    def __init__(self, backend: CaptureBackend, name: str | None = None) -> None:
        self._backend = backend
        self._closed = threading.Event()
        self._device = threading.Lock()  # held for every call into the capture library
        self._started_unix: float | None = None
        self._clock = 0  # samples at 16 kHz given or lost so far
        self._away_since_s: float | None = None
        try:
            device = choose_input(backend.inputs(), name)
            # The index of a device changes when it comes back; its name does not.
            self._wanted = device.name if name and name.isdigit() else name
            self._open(device)
        except BaseException:
            backend.close()
            raise

    @property
    def started_unix(self) -> float | None:
        """Wall clock of sample 0, by the arrival of the first block: late by up to 0.1 s."""
        return self._started_unix

    def packets(self) -> Iterator[Packet]:
        """Frames, gaps and faults until :meth:`close`.

        Raises:
            DeviceError: the device cannot be started. Losing it later is a fault, not an error.
        """
        try:
            with self._device:
                if self._closed.is_set():
                    return
                self._capture.start()
            while not self._closed.is_set():
                yield from self._listen()
                if self._closed.is_set():
                    return
                yield Fault(
                    DEVICE_LOST,
                    f"microphone {self.name!r} has stopped delivering audio",
                    "plug it in again; listening goes on when it is back",
                    at_unix=time.time(),
                )
                # PortAudio can hang while a sound server does; close() must not wait for it.
                retry = threading.Thread(target=self._await_return, daemon=True)
                retry.start()
                while retry.is_alive() and not self._closed.is_set():
                    retry.join(_POLL_S)
        finally:
            self.close()

    def close(self) -> None:
        """Stop :meth:`packets` and release the device."""
        self._closed.set()
        self._ring.close()
        # When packets() is busy with the device, it sees the flag afterwards and comes here.
        if self._device.acquire(blocking=False):
            try:
                self._capture.close()
                self._backend.close()
            finally:
                self._device.release()

    def _open(self, device: InputDevice) -> None:
        self.name = device.name
        self._rate_hz = self._backend.rate_hz(device)
        self._ring = Ring(round(RING_S * self._rate_hz))
        self._tap = Tap(self._rate_hz, self._ring)
        self._capture: Capture = self._backend.open(device, self._rate_hz, self._tap)
        self._opened_s = clock_s()

    def _listen(self) -> Iterator[Packet]:
        """Frames and gaps until the device stops delivering or the microphone is closed."""
        resampler = Resampler(self._rate_hz)
        begin: int | None = None  # the clock at the capture's first sample
        taken = 0  # samples at the device's rate since then, lost ones too
        while not self._closed.is_set():
            try:
                item = self._ring.read(_POLL_S)
            except EOFError:
                return
            if item is None:
                if self._delivers():
                    continue
                break
            if begin is None:
                yield from self._account_for_absence()
                begin = self._clock
            if isinstance(item, Gap):
                yield from self._frame(resampler.flush())
                taken += item.samples
                clock = begin + resampled_length(taken, self._rate_hz)
                yield from self._lost(clock - self._clock, item.reason)
            else:
                taken += len(item)
                yield from self._frame(resampler.push(item))
        yield from self._frame(resampler.flush())
        if self._tap.last_s is not None:
            self._away_since_s = self._tap.last_s

    def _delivers(self) -> bool:
        """Whether blocks come, or the first may still come."""
        with self._device:
            if self._closed.is_set() or not self._capture.active:
                return False
        if self._tap.last_s is None:
            return clock_s() - self._opened_s < START_S
        return clock_s() - self._tap.last_s < STALL_S

    def _account_for_absence(self) -> Iterator[Packet]:
        first_s = self._tap.first_s
        if first_s is None:
            return
        if self._started_unix is None:
            self._started_unix = time.time() - (clock_s() - first_s)
        if self._away_since_s is not None:
            away_s = first_s - self._away_since_s
            yield from self._lost(round(away_s * SAMPLE_RATE_HZ), DEVICE_LOST)
            self._away_since_s = None

    def _frame(self, samples: Samples) -> Iterator[Packet]:
        if len(samples):
            frame = Frame(self._clock, samples)
            self._clock = frame.end
            yield frame

    def _lost(self, samples: int, reason: str) -> Iterator[Packet]:
        if samples > 0:  # a gap below one sample of 16 kHz is none
            at = self._clock
            self._clock += samples
            started = self._started_unix
            at_unix = None if started is None else started + at / SAMPLE_RATE_HZ
            yield Lost(samples, to_seconds(at), reason, at_unix=at_unix)

    def _await_return(self) -> None:
        """Open the device again and again until it delivers or the microphone is closed."""
        for wait_s in chain(RETRY_S, repeat(RETRY_S[-1])):
            with self._device:
                self._capture.close()
            if self._closed.wait(wait_s) or self._reopen():
                break
        if self._closed.is_set():
            self.close()

    def _reopen(self) -> bool:
        """Try once; whether a block has come, or waiting for it is no longer of use."""
        try:
            with self._device:
                self._backend.refresh()
                self._open(choose_input(self._backend.inputs(), self._wanted))
                self._capture.start()
        except DeviceError:
            return False
        while self._delivers():
            if self._tap.last_s is not None:
                return True
            self._closed.wait(_POLL_S)
        return self._closed.is_set()
