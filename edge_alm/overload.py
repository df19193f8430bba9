"""What a live stream gives up when the machine cannot keep up with it: in one order, and back.

Thinking first, then answers, then transcription, then every second hop of the encoder; what is
heard is never given up. Pure decisions on two clocks: no thread, no device.
"""

from __future__ import annotations

import math
from enum import IntEnum

from edge_alm.types import Fault

BEHIND_S = 1.0
"""Hearing that is so far behind gives something up. A microphone's ring holds ten times that."""
LEVEL_S = 0.5
"""Hearing that is no further behind than this keeps up; a driver's buffer is 0.2 s."""
STEP_S = 1.0
"""How long what was given up may take to help before the next is given up too."""
DRAIN = 0.25
"""It helps where the lag shrinks by at least this share of the time that passes."""
CALM_S, LONGEST_CALM_S = 5.0, 80.0
"""How long hearing has to keep up before something is taken up again; twice as long each time
that was too soon, or it would go back and forth."""


class Relief(IntEnum):
    """What has been given up, each with all before it."""

    NOTHING = 0
    THINKING = 1
    ANSWERS = 2
    TRANSCRIPTION = 3
    HOPS = 4


_GIVEN_UP = {
    Relief.THINKING: "questions are answered without thinking",
    Relief.ANSWERS: "questions are refused, the language model waits",
    Relief.TRANSCRIPTION: "speech has no text",
    Relief.HOPS: "every second hop is heard",
}
_TAKEN_UP = {
    Relief.THINKING: "questions are thought about again",
    Relief.ANSWERS: "questions are answered again",
    Relief.TRANSCRIPTION: "speech has text again",
    Relief.HOPS: "every hop is heard again",
}


class Lag:
    """How far behind a stream hearing is. State of one stream.

    It falls behind by what hearing takes beyond the length of what is heard. When a sample came
    does not count: a source may fall silent and go on where it was, or send at once what it has
    kept. While hearing waits for its source it makes up for as much, and no more than that: a
    process that is stopped while it asks for the next packet only seems to wait.
    """

    def __init__(self) -> None:
        self._behind_s = 0.0
        self._last: tuple[float, float] | None = None

    def push(self, now_s: float, end_s: float, waited_s: float) -> float:
        """Seconds behind, at least 0.

        Args:
            now_s: when a frame was heard, on a clock that never jumps.
            end_s: its end on the stream's clock, on which lost samples count as heard.
            waited_s: how long, since the frame before was heard, the source had nothing.
        """
        last_s, last_end_s = self._last or (now_s, end_s)
        self._last = now_s, end_s
        took_s = max(0.0, now_s - last_s - waited_s)
        left_s = max(0.0, self._behind_s - waited_s)
        self._behind_s = max(0.0, left_s + took_s - (end_s - last_end_s))
        return self._behind_s


class Overload:
    """Decides what is given up. State of one stream."""

    def __init__(self) -> None:
        self.relief = Relief.NOTHING
        self._looked: tuple[float, float] | None = None  # when, and how far behind it was then
        self._calm_since_s: float | None = None
        self._calm_s = CALM_S
        self._taken_up_s = -math.inf

    def push(self, now_s: float, behind_s: float) -> Fault | None:
        """The fault that tells of a change in :attr:`relief`, or None.

        Args:
            now_s: on a clock that never jumps; calls are in its order.
            behind_s: see :class:`Lag`.
        """
        if behind_s >= BEHIND_S:
            self._calm_since_s = None
            if not self._is_stuck(now_s, behind_s) or self.relief is max(Relief):
                return None
            if now_s - self._taken_up_s < 2.0 * self._calm_s:
                self._calm_s = min(2.0 * self._calm_s, LONGEST_CALM_S)
            self.relief = Relief(self.relief + 1)
            return Fault(
                "overload",
                f"{_GIVEN_UP[self.relief]}: hearing is {behind_s:.1f} s behind",
                "give it a faster machine or a smaller model, or leave out what is not needed",
            )
        self._looked = None
        if behind_s > LEVEL_S or self._calm_since_s is None:
            self._calm_since_s = None if behind_s > LEVEL_S else now_s
        elif self.relief and now_s - self._calm_since_s >= self._calm_s:
            again, self.relief = self.relief, Relief(self.relief - 1)
            self._calm_since_s = self._taken_up_s = now_s
            return Fault("overload-eases", f"{_TAKEN_UP[again]}: hearing keeps up", "")
        elif now_s - self._calm_since_s >= LONGEST_CALM_S:
            self._calm_s = CALM_S
        return None

    def _is_stuck(self, now_s: float, behind_s: float) -> bool:
        """Whether what was given up so far does not help; looked at once a :data:`STEP_S`."""
        if self._looked is None:
            self._looked = now_s, behind_s
            return True
        then_s, behind_then_s = self._looked
        if now_s - then_s < STEP_S:
            return False
        self._looked = now_s, behind_s
        return behind_then_s - behind_s < DRAIN * (now_s - then_s)
