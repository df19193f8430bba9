"""The state of listening as a DiagnosticStatus."""

from __future__ import annotations

from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from edge_alm.types import SAMPLE_RATE_HZ
from edge_alm_ros.meter import Meter
from edge_alm_ros.sensors import powers_w, temperatures_c

SLOW = 1.0
"""From this real-time factor on the ears fall behind."""


class Gauge:
    """Turns counts into rates, from one reading to the next."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._last: Meter | None = None
        self._samples = self._lost = self._told = 0
        self._busy_s = self._now_s = 0.0

    def read(
        self, *, meter: Meter | None, told: int, backlog: int, failure: str, now_s: float
    ) -> Any:
        """The state now.

        Args:
            meter: of the stream under way; None when there is none.
            told: events since the node began.
            backlog: entries of the scene that wait for the language model.
            failure: why the last stream ended, if that was not as it should.
            now_s: on a clock that does not jump.
        """
        if meter is not self._last:
            self._last, self._samples, self._lost, self._busy_s = meter, 0, 0, 0.0
        elapsed_s = max(1e-9, now_s - self._now_s) if self._now_s else 0.0
        events = told - self._told
        values = {
            "events": f"{told}",
            "events_per_s": f"{events / elapsed_s if elapsed_s else 0.0:.2f}",
            "scene_queue": f"{backlog}",
        }
        level, message = DiagnosticStatus.OK, "not listening"
        if meter is not None:
            heard_s = (meter.samples - self._samples) / SAMPLE_RATE_HZ
            busy_s = meter.busy_s - self._busy_s
            factor = busy_s / heard_s if heard_s > 0 else 0.0
            values |= {
                "source": meter.name,
                "position_s": f"{meter.position_s:.2f}",
                "audio_per_s": f"{heard_s / elapsed_s if elapsed_s else 0.0:.2f}",
                "real_time_factor": f"{factor:.3f}",
                "input_queue_s": f"{meter.waiting_s:.2f}",
                "lost_samples": f"{meter.lost_samples}",
                "faults": f"{meter.faults}",
            }
            message = "listening"
            if meter.lost_samples > self._lost:
                level, message = DiagnosticStatus.WARN, "samples are lost"
            elif factor > SLOW:
                level, message = DiagnosticStatus.WARN, "slower than the audio"
            self._samples, self._lost = meter.samples, meter.lost_samples
            self._busy_s = meter.busy_s
        if failure:
            level, message = DiagnosticStatus.ERROR, failure
        self._told, self._now_s = told, now_s
        values |= {f"temperature_c {k}": f"{v:.1f}" for k, v in temperatures_c().items()}
        values |= {f"power_w {k}": f"{v:.2f}" for k, v in powers_w().items()}
        return DiagnosticStatus(
            level=level,
            name=f"{self._name}: listening",
            message=message,
            hardware_id=meter.name if meter is not None else "",
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )
