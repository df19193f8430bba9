import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_alm.audio.ring import Gap, Ring

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 20)),
        st.tuples(st.just("lose"), st.integers(0, 5)),
        st.tuples(st.just("read"), st.just(0)),
    ),
    max_size=60,
)


def drain(ring: Ring) -> list[np.ndarray | Gap]:
    items: list[np.ndarray | Gap] = []
    while (item := ring.read(0)) is not None:
        items.append(item)
    return items


@given(capacity=st.integers(1, 16), steps=STEPS)
def test_what_is_written_is_read_or_lost_in_its_place(
    capacity: int, steps: list[tuple[str, int]]
) -> None:
    ring = Ring(capacity)
    expected: list[int] = []  # the number of a stored sample, -1 for a lost one
    items: list[np.ndarray | Gap] = []
    number = held = 0
    for step, n in steps:
        if step == "write":
            fits = min(n, capacity - held)
            ring.write(np.arange(number, number + n, dtype=np.float32))
            expected += [*range(number, number + fits), *[-1] * (n - fits)]
            number, held = number + n, held + fits
        elif step == "lose":
            ring.lose(n, "test")
            expected += [-1] * n
        elif (item := ring.read(0)) is not None:
            items.append(item)
            held -= 0 if isinstance(item, Gap) else len(item)
    items += drain(ring)
    found: list[int] = []
    for item in items:
        found += [-1] * item.samples if isinstance(item, Gap) else [int(x) for x in item]
    assert found == expected
    assert all(item.samples if isinstance(item, Gap) else len(item) for item in items)


def test_drops_in_a_row_are_one_gap_and_reasons_stay_apart() -> None:
    ring = Ring(4)
    for _ in range(3):
        ring.write(np.ones(3, np.float32))
    ring.lose(7, "test")
    first, *gaps = drain(ring)
    assert isinstance(first, np.ndarray)
    assert len(first) == 4
    assert gaps == [Gap(5, Ring.FULL), Gap(7, "test")]


def test_read_returns_a_copy() -> None:
    ring = Ring(4)
    block = np.ones(4, np.float32)
    ring.write(block)
    block[:] = 5
    samples = ring.read(0)
    ring.write(np.zeros(4, np.float32))
    np.testing.assert_array_equal(samples, np.ones(4))


def test_a_closed_ring_is_drained_and_then_ends() -> None:
    ring = Ring(4)
    ring.write(np.ones(2, np.float32))
    ring.close()
    ring.write(np.ones(2, np.float32))
    ring.lose(1, "test")
    np.testing.assert_array_equal(ring.read(0), np.ones(2))
    with pytest.raises(EOFError):
        ring.read(0)


def test_close_wakes_a_waiting_reader() -> None:
    ring = Ring(4)
    timer = threading.Timer(0.05, ring.close)
    timer.start()
    with pytest.raises(EOFError):
        ring.read(30)
    timer.join()


def test_nothing_in_time_is_none() -> None:
    assert Ring(4).read(0.01) is None


def test_capacity_must_be_positive() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Ring(0)


@pytest.mark.parametrize("reader_waits_s", [0, 0.002])
def test_nothing_vanishes_between_two_threads(reader_waits_s: float) -> None:
    total = 200_000
    ring = Ring(1_000)

    def write() -> None:
        at = 0
        sizes = np.random.default_rng(0)
        while at < total:
            n = min(int(sizes.integers(1, 700)), total - at)
            # 2^24 is where float32 stops counting; 200,000 is far below.
            ring.write(np.arange(at, at + n, dtype=np.float32))
            at += n
        ring.close()

    writer = threading.Thread(target=write)
    writer.start()
    clock = 0
    pause = threading.Event()
    while clock < total:
        item = ring.read(10)
        assert item is not None
        if isinstance(item, Gap):
            clock += item.samples
        else:
            np.testing.assert_array_equal(item, np.arange(clock, clock + len(item)))
            clock += len(item)
        pause.wait(reader_waits_s)
    with pytest.raises(EOFError):
        ring.read(10)
    writer.join()
    assert clock == total
