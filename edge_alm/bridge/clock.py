"""How a device's sample clock runs against the host's clock."""

from __future__ import annotations

from collections import deque

import numpy as np

WINDOW = 64
"""Exchanges that are remembered: at one in 2 s the last two minutes."""
MAX_DRIFT = 0.02
"""A crystal is off by 1e-4; a clock off by more than 2 % is no clock, and its fit is not used."""
MIN_SPAN_S = 2.0
"""Over less than this the drift is not told from the jitter of the link."""


class DeviceClock:
    """Offset and drift from exchanges of SYNC and SYNC_REPLY, as NTP does it (RFC 5905).

    An exchange tells the host's time at a sample's position to half of its round trip. The line
    through them is fitted by least squares, each weighted by the inverse square of that bound:
    what was held up on the way counts for little.
    """

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._exchanges: deque[tuple[float, float, float]] = deque(maxlen=WINDOW)
        self._offset_s: float | None = None
        self._drift = 0.0
        self.round_trip_s: float | None = None
        """Of the quickest exchange that is remembered."""

    @property
    def is_known(self) -> bool:
        """Whether there was an exchange."""
        return self._offset_s is not None

    @property
    def drift_ppm(self) -> float:
        """Parts per million by which the device is fast."""
        return -1e6 * self._drift

    def add(self, asked_s: float, position: int, held_s: float, answered_s: float) -> None:
        """One exchange: the host's clock at both ends, and what the device said between."""
        round_trip_s = max(0.0, answered_s - asked_s - held_s)
        middle_s = asked_s + round_trip_s / 2
        self._exchanges.append((position / self._rate_hz, middle_s, round_trip_s))
        self.round_trip_s = min(trip for _, _, trip in self._exchanges)
        self._fit()

    def host_s(self, position: int) -> float | None:
        """The host's clock when the sample at ``position`` was taken; None: not known yet."""
        if self._offset_s is None:
            return None
        device_s = position / self._rate_hz
        return self._offset_s + device_s * (1.0 + self._drift)

    def _fit(self) -> None:
        device_s, host_s, trips_s = np.array(self._exchanges).T
        weights = 1.0 / (trips_s / 2 + 1e-4) ** 2
        mean_device_s = float(np.average(device_s, weights=weights))
        mean_host_s = float(np.average(host_s, weights=weights))
        apart_s = device_s - mean_device_s
        drift = 0.0
        if device_s.max() - device_s.min() >= MIN_SPAN_S:
            behind_s = (host_s - mean_host_s) - apart_s
            slope = np.sum(weights * apart_s * behind_s) / np.sum(weights * apart_s**2)
            drift = float(np.clip(slope, -MAX_DRIFT, MAX_DRIFT))
        self._drift = drift
        self._offset_s = mean_host_s - mean_device_s * (1.0 + drift)
