"""When a taught sound starts and ends, decided on shares."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_alm.hearing.encoder import HOP_SAMPLES, PATCH_FRAMES, Hop
from edge_alm.hearing.phrase_watch import HEARD_SHARE, KEPT_SHARE, Floats
from edge_alm.hearing.taught_ear import TaughtEar
from edge_alm.types import Sound

NAMES = ("bell", "kettle")


def last(embeddings: Floats) -> Floats:
    share: Floats = embeddings[-1]
    return share


def hop(number: int, *shares: float, noise: bool = False) -> Hop:
    levels_db = np.repeat(np.array([-60.0, -20.0], np.float32), PATCH_FRAMES // 2)
    start, row = number * HOP_SAMPLES, np.array(shares, np.float32)
    return Hop(start, start + HOP_SAMPLES, np.empty(0, np.float32), row, levels_db, noise)


def told(sounds: list[Sound]) -> list[tuple[str, str]]:
    return [(sound.label, sound.state) for sound in sounds]


steps = st.lists(
    st.none() | st.tuples(*[st.sampled_from([0.0, 0.5, 0.7, 0.85, 1.0])] * 2, st.booleans()),
    max_size=20,
)


@given(steps)
def test_every_start_has_one_end_and_the_starts_are_clear(
    given_: list[tuple[float, float, bool] | None],
) -> None:
    ear = TaughtEar(NAMES, last)
    events: list[Sound] = []
    for i, step in enumerate(given_):
        heard = ear.push(None if step is None else hop(i, *step[:2], noise=step[2]))
        events += heard
        for sound in heard:
            if sound.state == "start":
                assert step is not None
                assert not step[2]
                assert step[NAMES.index(sound.label)] >= HEARD_SHARE
        ongoing = {s.label for s in ear.ongoing()}
        if step is None:
            assert not ongoing
        elif not step[2]:
            fits = {n: step[NAMES.index(n)] for n in NAMES}
            assert all(fits[n] >= KEPT_SHARE for n in ongoing)
            assert ongoing >= {n for n, share in fits.items() if share >= HEARD_SHARE}
    events += ear.finish(len(given_) * HOP_SAMPLES)
    for name in NAMES:
        states = [s.state for s in events if s.label == name]
        assert states == ["start", "end"] * (len(states) // 2)
    for sound in events:
        if sound.end is not None:
            assert sound.end >= sound.start
            assert any(
                s.state == "start" and (s.label, s.start) == (sound.label, sound.start)
                for s in events
            )
    assert ear.ongoing() == ()


def test_a_pause_ends_it_where_it_was_last_heard() -> None:
    ear = TaughtEar(NAMES, last)
    assert told(ear.push(hop(0, 0.9, 0.0))) == [("bell", "start")]
    events = ear.push(hop(8, 0.9, 0.0))
    assert told(events) == [("bell", "end"), ("bell", "start")]
    assert events[0].end == 1 * HOP_SAMPLES / 16_000
    assert events[0].confidence == 0.9


def test_confidence_is_the_best_so_far() -> None:
    ear = TaughtEar(NAMES, last)
    ear.push(hop(0, 0.85, 0.0))
    ear.push(hop(1, 0.95, 0.0))
    (end,) = ear.push(hop(2, 0.0, 0.0))
    assert end.confidence == 0.95
