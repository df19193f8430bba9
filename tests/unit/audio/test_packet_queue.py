"""Nothing waits for the reader, and nothing is lost without a word."""

from __future__ import annotations

import threading
from itertools import islice

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_alm.audio.packet_queue import TOO_SLOW, PacketQueue
from edge_alm.types import Fault, Frame, Lost, Packet

CAPACITY = 1000


def length(packet: Packet) -> int:
    if isinstance(packet, Lost):
        return packet.samples
    return len(packet.samples) if isinstance(packet, Frame) and not packet.made_up else 0


@given(st.lists(st.tuples(st.integers(1, 400), st.integers(0, 3), st.booleans()), max_size=60))
def test_samples_conserve_however_slow_the_reader(steps: list[tuple[int, int, bool]]) -> None:
    queue, at, put = PacketQueue(CAPACITY), 0, 0
    reader = iter(queue)
    taken: list[Packet] = []
    for samples, reads, made_up in steps:
        if made_up:  # what stands in for samples that are told as lost before it
            queue.put(Lost(samples, at / 16_000, "x"))
        queue.put(Frame(at, np.zeros(samples, np.float32), made_up=made_up))
        at, put = at + samples, put + samples
        queue.pass_on()
        assert queue.waiting_s * 16_000 <= max(CAPACITY, samples)
        waiting = len(queue._packets)
        taken += islice(reader, min(reads, waiting))
    queue.put(Fault("x", "x", "x"))
    queue.end()
    queue.put(Fault("late", "x", "x"))
    taken += reader
    assert sum(length(packet) for packet in taken) == put
    assert [packet.code for packet in taken if isinstance(packet, Fault)] == ["x"]
    clock = 0
    for packet in taken:
        if isinstance(packet, Lost):
            assert abs(packet.at * 16_000 - clock) <= 8  # told in milliseconds
        elif isinstance(packet, Frame) and not packet.made_up:
            assert packet.start == clock
        clock += length(packet)


def test_a_reader_that_waits_is_woken_by_what_is_passed_on_and_by_the_end() -> None:
    queue, got = PacketQueue(CAPACITY), list[Packet]()
    some, all_ = threading.Event(), threading.Event()

    def read() -> None:
        for packet in queue:
            got.append(packet)
            some.set()
        all_.set()

    threading.Thread(target=read, daemon=True).start()
    queue.put(Lost(5, 0.0, TOO_SLOW))
    assert not some.wait(0.05)
    queue.pass_on()
    assert some.wait(10)
    assert not all_.wait(0.05)
    queue.put(Lost(5, 1.0, "x"))
    queue.end()
    assert all_.wait(10)
    assert len(got) == 2


def test_what_is_dropped_at_the_end_does_not_come() -> None:
    queue = PacketQueue(CAPACITY)
    queue.put(Lost(5, 0.0, "x"))
    queue.end(drop=True)
    assert list(queue) == []
