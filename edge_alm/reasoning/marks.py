"""When soft tokens were heard: a mark in the text before them, where nothing else tells it."""

from __future__ import annotations

MARK_EVERY_S = 10.0
"""Hops that follow each other are counted by the model, but not for ever. A mark takes six of
SmolLM2's tokens."""
_SAME_S = 0.05


class HopMarks:
    """Decides which hops get a mark. State of one scene."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """The next hop gets one."""
        self._end_s: float | None = None
        self._marked_s = 0.0

    def before(self, start_s: float, end_s: float) -> str:
        """The mark before the hop that spans these seconds: ``[12.5]``; empty for none.

        A hop gets one when it does not follow the one before, and every :data:`MARK_EVERY_S`.
        """
        follows = self._end_s is not None and abs(start_s - self._end_s) < _SAME_S
        self._end_s = end_s
        if follows and start_s - self._marked_s < MARK_EVERY_S - _SAME_S:
            return ""
        self._marked_s = start_s
        return f"[{start_s:.1f}]"
