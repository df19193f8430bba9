"""When a phrase is heard, decided on shares. Real sounds: tests/real/test_listening.py."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_alm.hearing.encoder import HOP_SAMPLES, PATCH_FRAMES, Hop
from edge_alm.hearing.phrase_watch import (
    APART_SAMPLES,
    HEARD_SHARE,
    KEPT_SHARE,
    NAMED_SHARE,
    POOLED_HOPS,
    Floats,
    PhraseWatcher,
    onset,
)
from edge_alm.hearing.watch import Query
from edge_alm.types import SAMPLE_RATE_HZ, Sound

HOP_S = HOP_SAMPLES / SAMPLE_RATE_HZ
QUERIES = [Query("a dog", ("dog",)), Query("a bell", ("bell",))]
NAMED = [frozenset({"Bark", "Bow-wow"}), frozenset[str]()]


def last(embeddings: Floats) -> Floats:
    """The shares are the last hop's embedding."""
    share: Floats = embeddings[-1]
    return share


def hop(number: int, dog: float, bell: float = 0.0, *, noise: bool = False) -> Hop:
    """Levels rise in the middle of the patch."""
    levels_db = np.repeat(np.array([-60.0, -20.0], np.float32), PATCH_FRAMES // 2)
    start, shares = number * HOP_SAMPLES, np.array([dog, bell], np.float32)
    return Hop(start, start + HOP_SAMPLES, np.empty(0, np.float32), shares, levels_db, noise)


def make() -> PhraseWatcher:
    return PhraseWatcher(QUERIES, last, NAMED)


def heard(watcher: PhraseWatcher, hops: list[Hop]) -> list[tuple[int, str]]:
    return [(each.start // HOP_SAMPLES, w.query) for each in hops for w in watcher.hear(each, ())]


shares = st.lists(st.sampled_from([0.0, 0.5, 0.7, 0.85, 0.95]), min_size=1, max_size=12)


@given(dogs=shares, bells=shares)
def test_a_phrase_is_heard_once_until_it_has_not_fitted(
    dogs: list[float], bells: list[float]
) -> None:
    hops = [hop(i, d, b) for i, (d, b) in enumerate(zip(dogs, bells, strict=False))]
    expected = []
    for query, given_, least in (("a dog", dogs, NAMED_SHARE), ("a bell", bells, HEARD_SHARE)):
        told = False
        for i, share in enumerate(given_[: len(hops)]):
            told &= share >= KEPT_SHARE
            if share >= least and not told:
                told = True
                expected.append((i, query))
    assert sorted(heard(make(), hops)) == sorted(expected)


def test_the_start_is_where_it_first_fitted() -> None:
    watcher = make()
    (watch,) = [w for h in (hop(4, 0.7), hop(5, 0.95)) for w in watcher.hear(h, ())]
    assert (watch.query, watch.label, watch.confidence) == ("a dog", "dog", 0.95)
    assert watch.start == onset(hop(4, 0.7)) / SAMPLE_RATE_HZ == 4 * HOP_S


def test_after_a_pause_it_is_another_sound() -> None:
    apart = APART_SAMPLES // HOP_SAMPLES
    for pause, times in ((apart - 1, 1), (apart, 2)):
        hops = [hop(0, 0.95), hop(1 + pause, 0.95)]
        assert len(heard(make(), hops)) == times
    watcher = make()
    assert len(heard(watcher, [hop(0, 0.95)])) == 1
    watcher.reset()
    assert len(heard(watcher, [hop(1, 0.95)])) == 1


def test_plain_noise_and_what_was_not_heard_are_passed_over() -> None:
    watcher = make()
    assert heard(watcher, [hop(0, 0.95, noise=True)]) == []
    assert watcher.hear(None, ()) == []
    assert len(heard(watcher, [hop(1, 0.95), hop(2, 0.0, noise=True), hop(3, 0.95)])) == 1


def test_hops_without_a_pause_are_compared_together() -> None:
    counts: list[int] = []

    def judge(embeddings: Floats) -> Floats:
        counts.append(len(embeddings))
        return last(embeddings)

    watcher = PhraseWatcher(QUERIES, judge, NAMED)
    heard(watcher, [hop(i, 0.0) for i in (0, 1, 2, 4, 5)])
    assert counts == [1, POOLED_HOPS, POOLED_HOPS, 1, POOLED_HOPS]


def test_the_trackers_name_is_told_and_only_once() -> None:
    watcher = make()
    start = Sound("Bark", 1.25, None, 0.7, "start")
    (watch,) = watcher.hear(hop(3, 0.65), [start])
    assert (watch.query, watch.label, watch.start, watch.confidence) == ("a dog", "Bark", 1.25, 0.7)
    assert heard(watcher, [hop(4, 0.95)]) == []  # the same sound, better understood
    second = Sound("Bow-wow", 2.5, None, 0.7, "start")
    assert watcher.hear(hop(5, 0.0), [second]) == []
    assert watcher.hear(hop(6, 0.0), [Sound("Ding-dong", 4.0, None, 0.7, "start")]) == []
    ends = [replace(s, end=3.0, state="end") for s in (start, second)]
    assert watcher.hear(hop(7, 0.0), ends) == []
    assert len(watcher.hear(hop(8, 0.0), [start])) == 1


def test_what_fitted_before_it_had_a_name_is_one_sound() -> None:
    watcher = make()
    assert len(heard(watcher, [hop(8, 0.95)])) == 1
    assert watcher.hear(hop(9, 0.95), [Sound("Bark", 4.0, None, 0.7, "start")]) == []
