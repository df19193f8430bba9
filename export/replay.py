"""A recorded scene given to what compares it with phrases, as the runtime gives it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from edge_alm.hearing.encoder import HOP_SAMPLES
from edge_alm.reasoning.stretches import Stretches
from edge_alm.types import SAMPLE_RATE_HZ
from export.scenes import Placed
from export.trees import Item

HOP_S = HOP_SAMPLES / SAMPLE_RATE_HZ
_MARK = re.compile(r"\[(\d+\.\d)\]")
_SOUND = re.compile(r'\[(\d+\.\d)-(\d+\.\d) (?!lost\])[^"]')


def replay(items: Iterable[Item], stretches: Stretches) -> None:
    """Give it the hops and the sounds of one recording.

    A hop's time is that of the mark before it, which is told to 0.1 s.
    """
    stretches.begin_stream()
    at_s = 0.0
    for item in items:
        if not isinstance(item, str):
            end_s = at_s + HOP_S * len(item)
            stretches.put(item.astype(np.float32), at_s, end_s)
            at_s = end_s
        elif mark := _MARK.fullmatch(item):
            at_s = float(mark[1])
        elif sound := _SOUND.match(item):
            stretches.tell(float(sound[1]), float(sound[2]))


def heard_in(start_s: float, end_s: float, timeline: Sequence[Placed]) -> Placed | None:
    """The sound that fills most of a span, if any fills half of it."""

    def common_s(placed: Placed) -> float:
        return min(end_s, placed.end_s) - max(start_s, placed.start_s)

    best = max(timeline, key=common_s, default=None)
    return best if best and common_s(best) >= 0.5 * (end_s - start_s) else None
