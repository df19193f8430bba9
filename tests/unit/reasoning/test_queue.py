import itertools
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_alm.errors import UsageError
from edge_alm.reasoning.queue import (
    MAX_TEXT_CHARS,
    MIN_CAPACITY,
    Entry,
    Hops,
    Line,
    NewStream,
    SceneQueue,
    merge_one,
    spoken,
)
from edge_alm.types import SAMPLE_RATE_HZ, Answer, Guess, Lost, Sound, Speech, Watch

KINDS = st.lists(st.sampled_from("hhhhdcslg"), max_size=120)


def _start(entry: Entry) -> float:
    if isinstance(entry, Hops | Guess):
        return entry.start
    assert isinstance(entry, Line)
    return entry.event.at if isinstance(entry.event, Lost) else entry.event.start


def _put(queue: SceneQueue, kind: str, at: float) -> None:
    if kind == "h":
        queue.put_embeddings(np.full((1, 4), at, np.float32), at, at + 1.0)
    elif kind == "g":
        queue.put_guess(Guess((f"a{at:.0f}", f"b{at:.0f}"), at, at + 1.0))
    elif kind == "s":
        queue.put_event(Speech(f"w{at:.0f}", at, at + 1.0, 0.5))
    elif kind == "l":
        queue.put_event(Lost(SAMPLE_RATE_HZ, at, "overrun"))
    else:
        label = {"d": "Dog", "c": "Cat"}[kind]
        queue.put_event(Sound(label, at, at + 1.0, 0.5, "end"))


@given(KINDS, st.integers(MIN_CAPACITY, 20))
def test_full_queue_merges_and_loses_no_time(kinds: list[str], capacity: int) -> None:
    queue = SceneQueue(capacity)
    for second, kind in enumerate(kinds):
        _put(queue, kind, float(second))
        assert len(queue) <= capacity
    entries = queue.take()
    assert len(entries) == min(capacity, len(kinds))
    starts = [_start(entry) for entry in entries]
    assert starts == sorted(starts)

    hops = [entry for entry in entries if isinstance(entry, Hops)]
    times = [float(second) for second, kind in enumerate(kinds) if kind == "h"]
    assert sum(hop.count for hop in hops) == len(times)
    total = sum((hop.embedding * hop.count).sum() / 4 for hop in hops)
    assert total == pytest.approx(sum(times), rel=1e-4, abs=1e-3)
    if times:
        assert (hops[0].start, hops[-1].end) == (times[0], times[-1] + 1.0)
        assert all(a.end <= b.start for a, b in itertools.pairwise(hops))
    # Lines are merged only when there are no two hops left.
    lines = [entry for entry in entries if isinstance(entry, Line)]
    guesses = [entry for entry in entries if isinstance(entry, Guess)]
    if len(hops) > 1:
        assert len(lines) + len(guesses) == len(kinds) - len(times)
    if len(guesses) > 1:
        assert len(lines) == len(kinds) - len(times) - kinds.count("g")
    if guesses:
        seconds = [float(s) for s, kind in enumerate(kinds) if kind == "g"]
        assert (guesses[0].start, guesses[-1].end) == (seconds[0], seconds[-1] + 1.0)
    lost = [line.event.samples for line in lines if isinstance(line.event, Lost)]
    assert sum(lost) == SAMPLE_RATE_HZ * kinds.count("l")
    heard = [line.event for line in lines if isinstance(line.event, Sound)]
    if heard:
        seconds = [s for s, kind in enumerate(kinds) if kind in "dc"]
        assert heard[0].start == seconds[0]
        assert max(e.end or 0.0 for e in heard) == seconds[-1] + 1.0


def test_guesses_that_are_merged_keep_the_likeliest_of_each() -> None:
    entries: list[Entry] = [
        Guess(("a", "b", "c"), 0.0, 1.0),
        Line(Sound("Dog", 1.0, 2.0, 0.5, "end")),
        Guess(("d", "e", "f"), 2.0, 3.0),
    ]
    merge_one(entries)
    assert entries[0] == Guess(("a", "b", "d"), 0.0, 3.0)
    assert len(entries) == 2


def test_repeats_of_a_sound_become_one_line_with_their_number() -> None:
    queue = SceneQueue(MIN_CAPACITY)
    for second in range(20):
        _put(queue, "d", float(second))
    told = [spoken(entry) for entry in queue.take() if isinstance(entry, Line)]
    first = told[0]
    assert isinstance(first, Sound)
    assert first.label == "Dog, 13 times"
    assert (first.start, first.end) == (0.0, 13.0)


def test_hops_are_thinned_evenly() -> None:
    queue = SceneQueue(10)
    for second in range(40):
        _put(queue, "h", float(second))
    counts = [entry.count for entry in queue.take() if isinstance(entry, Hops)]
    assert max(counts) <= 2 * 40 // 10


def test_merged_text_is_bounded() -> None:
    queue = SceneQueue(MIN_CAPACITY)
    for second in range(1000):
        queue.put_event(Speech("word " * 20, second, second + 1.0, 0.5))
    for entry in queue.take():
        assert isinstance(entry, Line)
        assert isinstance(entry.event, Speech)
        assert len(entry.event.text) <= MAX_TEXT_CHARS


def test_what_is_not_part_of_the_scene_is_not_queued() -> None:
    queue = SceneQueue()
    queue.put_event(Sound("Dog", 0.0, None, 0.5, "start"))
    queue.put_event(Watch("dog", "Dog", 0.0, 0.5))
    queue.put_event(Answer("?", "!", None, 0.5, 1.0, 2.0))
    assert queue.take() == []


def test_several_hops_share_their_span() -> None:
    queue = SceneQueue()
    queue.put_embeddings(np.zeros((2, 4), np.float32), 1.0, 2.0)
    assert [(hop.start, hop.end) for hop in queue.take() if isinstance(hop, Hops)] == [
        (1.0, 1.5),
        (1.5, 2.0),
    ]


def test_taking_waits_for_what_is_put_and_no_longer() -> None:
    queue = SceneQueue()
    began_s = time.monotonic()
    assert queue.take(timeout_s=0.05) == []
    assert 0.04 < time.monotonic() - began_s < 1.0
    timer = threading.Timer(0.05, _put, (queue, "d", 0.0))
    timer.start()
    assert len(queue.take(timeout_s=10.0)) == 1
    timer.join()


def test_producers_from_many_threads() -> None:
    queue = SceneQueue(16)
    threads = [
        threading.Thread(
            target=queue.put_embeddings, args=(np.zeros((200, 4), np.float32), 0.0, 200.0)
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    taken: list[Entry] = []
    while any(thread.is_alive() for thread in threads):
        taken += queue.take(timeout_s=0.001)
    taken += queue.take()
    assert sum(entry.count for entry in taken if isinstance(entry, Hops)) == 800


def test_refuses_too_small_a_capacity() -> None:
    with pytest.raises(UsageError):
        SceneQueue(MIN_CAPACITY - 1)


def test_only_the_last_new_stream_is_kept_and_in_its_place() -> None:
    queue = SceneQueue(MIN_CAPACITY)
    for second, kind in enumerate("d|c|||d" * 20):
        if kind == "|":
            queue.begin_stream()
        else:
            _put(queue, kind, float(second))
        assert len(queue) <= MIN_CAPACITY + 1
    _put(queue, "s", 140.0)
    entries = queue.take()
    assert [isinstance(entry, NewStream) for entry in entries].count(True) == 1
    assert isinstance(entries[-3], NewStream)
    assert [_start(entry) for entry in entries[-2:]] == [139.0, 140.0]


def test_a_held_queue_gives_only_to_those_who_do_not_wait() -> None:
    queue = SceneQueue()
    queue.hold(True)
    _put(queue, "d", 0.0)
    assert queue.take(0.01) == []
    taken: list[list[Entry]] = []
    reader = threading.Thread(target=lambda: taken.append(queue.take(None)))
    reader.start()
    time.sleep(0.05)
    queue.hold(False)
    reader.join(10)
    assert not reader.is_alive()
    # Being let go wakes the reader; what waited is there then or at its next look.
    assert sum(map(len, taken)) + len(queue.take()) == 1
    queue.hold(True)
    _put(queue, "d", 1.0)
    assert len(queue.take()) == 1
