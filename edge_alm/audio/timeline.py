"""A sender's samples and gaps, at its own rate, as packets on the stream's clock of 16 kHz."""

from __future__ import annotations

from edge_alm.audio.resample import Resampler, resampled_length
from edge_alm.types import SAMPLE_RATE_HZ, Frame, Lost, Packet, Samples, to_seconds


class Timeline:
    """State of one stream. Of ``n`` samples of a part, lost ones too, the clock shows
    ``resampled_length(n, rate_hz)`` as soon as all of them are given out.
    """

    def __init__(self) -> None:
        self.clock = 0
        """Samples at 16 kHz given out or lost so far."""
        self.rate_hz = SAMPLE_RATE_HZ
        self._resampler = Resampler(SAMPLE_RATE_HZ)
        self._begin = 0
        self._taken = 0

    def begin(self, rate_hz: int, lost: int = 0, reason: str = "") -> list[Packet]:
        """A part at another rate, or of another sender, follows.

        Args:
            rate_hz: of what follows.
            lost: samples at 16 kHz between the two parts.
            reason: why.
        """
        packets = self.finish() + self._lose(lost, reason, None)
        self.rate_hz = rate_hz
        self._resampler = Resampler(rate_hz)
        self._begin = self.clock
        self._taken = 0
        return packets

    def hear(self, samples: Samples) -> list[Packet]:
        """Samples [n] that came."""
        self._taken += len(samples)
        return self._frame(self._resampler.push(samples))

    def miss(self, samples: int, reason: str, fill: Samples | None = None) -> list[Packet]:
        """Samples that did not come, and what may stand in for all of them, shape [samples]."""
        packets = self.finish()
        self._taken += samples
        at = self._begin + resampled_length(self._taken, self.rate_hz)
        return packets + self._lose(at - self.clock, reason, fill)

    def finish(self) -> list[Packet]:
        """What the resampler still holds."""
        return self._frame(self._resampler.flush())

    def _frame(self, samples: Samples) -> list[Packet]:
        if not len(samples):
            return []
        frame = Frame(self.clock, samples)
        self.clock = frame.end
        return [frame]

    def _lose(self, samples: int, reason: str, fill: Samples | None) -> list[Packet]:
        if samples <= 0:  # a gap below one sample of 16 kHz is none
            return []
        at = self.clock
        self.clock += samples
        packets: list[Packet] = [Lost(samples, to_seconds(at), reason)]
        if fill is not None and len(fill):
            resampler = Resampler(self.rate_hz)
            made = [resampler.push(fill), resampler.flush()]
            for part in made:
                part = part[:samples]
                if len(part):
                    packets.append(Frame(at, part, made_up=True))
                    at, samples = at + len(part), samples - len(part)
        return packets
