"""Fragments: every frame comes back whole, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_alm.bridge.fragments import LEAST_VALUE_BYTES, Joiner, Splitter
from edge_alm.bridge.frame import MAX_FRAME_BYTES
from edge_alm.bridge.numbers import FRAGMENT_COUNT, FRAGMENT_FIRST, FRAGMENT_LAST

frames = st.lists(st.binary(min_size=1, max_size=MAX_FRAME_BYTES), max_size=5)
values = st.integers(2, 512)


@given(frames, values)
def test_frames_come_back(sent: list[bytes], value_bytes: int) -> None:
    splitter, joiner = Splitter(), Joiner()
    came = []
    for frame in sent:
        fragments = splitter.split(frame, value_bytes)
        assert max(map(len, fragments)) <= value_bytes
        came += [joiner.push(fragment) for fragment in fragments]
    assert [frame for frame in came if frame is not None] == sent
    assert joiner.bad == 0


@given(frames, st.sets(st.integers(0, 300), min_size=1), st.data())
def test_what_is_cut_out_is_never_made_up_for(
    sent: list[bytes], cut: set[int], data: st.DataObject
) -> None:
    """Fewer than 64 in a row: then what comes out is of what went in, in order."""
    splitter, joiner = Splitter(), Joiner()
    fragments = [f for frame in sent for f in splitter.split(frame, LEAST_VALUE_BYTES)]
    gone = {n for n in cut if n < len(fragments)}
    left = [f for n, f in enumerate(fragments) if n not in gone]
    came = [frame for frame in map(joiner.push, left) if frame is not None]
    rest = iter(sent)
    if len(gone) < FRAGMENT_COUNT:
        assert all(frame in rest for frame in came)
    whole = bool(sent) and len(came) == len(sent)
    assert whole != bool(gone) or not sent


@given(st.lists(st.binary(max_size=40), max_size=60))
def test_noise_is_counted_and_holds_one_frame_at_most(noise: list[bytes]) -> None:
    joiner = Joiner()
    for value in noise:
        frame = joiner.push(value)
        assert frame is None or len(frame) <= MAX_FRAME_BYTES
        assert len(joiner._held) <= MAX_FRAME_BYTES


@pytest.mark.parametrize(
    ("noise", "bad"),
    [
        ([b""], 1),
        ([bytes([FRAGMENT_FIRST | FRAGMENT_LAST])], 1),
        ([b"\x05abc"], 1),
        ([b"\x80ab", b"\x02cd"], 1),
        ([b"\x80ab", b"\x81cd", b"\x42ef"], 1),
        ([b"\x80ab", b"\x01cd", b"\x42ef"], 0),
        ([bytes([FRAGMENT_FIRST]) + bytes(1000), b"\x01" + bytes(1000)], 1),
    ],
)
def test_what_is_out_of_turn_is_counted(noise: list[bytes], bad: int) -> None:
    joiner = Joiner()
    for value in noise:
        joiner.push(value)
    assert joiner.bad == bad
    assert joiner.push(b"\xc9good") == b"good"
