import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_alm.hearing.blocks import BlockCutter, History, RecentAudio
from edge_alm.types import Frame


def ramp(start: int, count: int) -> Frame:
    return Frame(start, np.arange(start, start + count, dtype=np.float32))


@given(st.lists(st.integers(1, 60), min_size=1, max_size=30), st.integers(1, 32))
def test_blocks_do_not_depend_on_the_frames(sizes: list[int], block: int) -> None:
    cutter, blocks, at = BlockCutter(block, 0), [], 0
    for size in sizes:
        blocks += cutter.push(ramp(at, size))
        at += size
    assert cutter.end == at
    assert all(len(b) == block for b in blocks)
    heard = np.concatenate([*blocks, *cutter.flush()])
    np.testing.assert_array_equal(heard[:at], np.arange(at))
    assert not heard[at:].any()
    assert len(heard) - at < block


def test_a_short_gap_is_silence_and_a_long_one_breaks() -> None:
    cutter = BlockCutter(4, longest_gap_samples=3)
    cutter.push(ramp(0, 2))
    assert not cutter.breaks(ramp(5, 1))
    assert cutter.breaks(ramp(6, 1))
    assert cutter.push(ramp(5, 3))[0].tolist() == [0, 1, 0, 0]
    assert cutter.end == 8


def test_what_is_missing_is_remembered() -> None:
    cutter = BlockCutter(4, 100)
    cutter.push(ramp(0, 10))
    cutter.push(Frame(10, np.ones(5, np.float32), made_up=True))
    cutter.push(ramp(15, 5))
    assert cutter.push(ramp(30, 10))[-1].tolist() == [36, 37, 38, 39]
    assert cutter.missing_share(0, 10) == 0.0
    assert cutter.missing_share(10, 15) == 1.0
    assert cutter.missing_share(0, 40) == 15 / 40
    cutter.reset(100)
    assert cutter.missing_share(0, 100) == 0.0


def test_a_frame_from_the_past_is_refused() -> None:
    cutter = BlockCutter(4, 3)
    cutter.push(ramp(0, 4))
    with pytest.raises(ValueError, match="begins before"):
        cutter.push(ramp(2, 4))


@given(st.integers(0, 40), st.integers(0, 40))
def test_history_reads_what_it_remembers(start: int, length: int) -> None:
    history = History(blocks=3)
    history.reset(8)
    for at in range(8, 32, 4):
        history.push(ramp(at, 4).samples)
    wanted = [s for s in range(start, start + length) if 20 <= s < 32]
    assert history.read(start, start + length).tolist() == wanted


@given(
    lengths=st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50)), min_size=1, max_size=20),
    kept=st.integers(1, 100),
    since=st.integers(0, 500),
)
def test_recent_audio_is_the_end_of_the_stream(
    lengths: list[tuple[int, int]], kept: int, since: int
) -> None:
    recent = RecentAudio(kept)
    stream = np.zeros(0, dtype=np.float32)
    for gap, length in lengths:
        samples = np.arange(1, length + 1, dtype=np.float32)
        stream = np.concatenate((stream, np.zeros(gap, np.float32)))
        recent.push(Frame(len(stream), samples))
        stream = np.concatenate((stream, samples))
    start = max(since, lengths[0][0], len(stream) - kept)
    np.testing.assert_array_equal(recent.read(since), stream[start:])
    recent.reset()
    assert len(recent.read()) == 0
