"""The segmenter on lists of numbers."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_alm.hearing.segmenter import (
    CHUNK_SAMPLES,
    SegmenterSettings,
    SpeechSegment,
    SpeechSegmenter,
)

SETTINGS = SegmenterSettings()
RATE = 16_000
PRE_ROLL = round(SETTINGS.pre_roll_s * RATE)
POST_ROLL = round(SETTINGS.post_roll_s * RATE)
MIN_SILENCE = round(SETTINGS.min_silence_s * RATE)
RUNS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.2, 0.4, 0.6, 1.0]), st.integers(1, 60)), max_size=20
)


def chunks(*runs: tuple[float, int]) -> list[float]:
    return [p for p, count in runs for _ in range(count)]


def segment_all(probabilities: Iterable[float], start: int = 0) -> list[SpeechSegment]:
    segmenter = SpeechSegmenter()
    segmenter.reset(start)
    return segmenter.push(probabilities) + segmenter.flush()


def test_speech_has_a_little_before_and_after_it() -> None:
    [segment] = segment_all(chunks((0.0, 100), (1.0, 30), (0.0, 100)))
    assert segment.start_sample == 100 * CHUNK_SAMPLES - PRE_ROLL
    assert segment.end_sample == 130 * CHUNK_SAMPLES + POST_ROLL


def test_segment_comes_out_as_soon_as_the_silence_is_long_enough() -> None:
    segmenter = SpeechSegmenter()
    segmenter.push(chunks((1.0, 30)))
    waited = 0
    while not segmenter.push([0.0]):
        waited += 1
    assert (waited + 1) * CHUNK_SAMPLES == pytest.approx(
        SETTINGS.min_silence_s * RATE, abs=CHUNK_SAMPLES
    )
    assert segmenter.flush() == []


def test_what_lies_between_the_thresholds_keeps_a_segment_but_does_not_begin_one() -> None:
    assert segment_all(chunks((0.4, 100))) == []
    assert len(segment_all(chunks((1.0, 20), (0.4, 40), (1.0, 20)))) == 1
    assert len(segment_all(chunks((1.0, 20), (0.3, 40), (1.0, 20)))) == 2


def test_short_pause_does_not_part_and_click_is_not_speech() -> None:
    assert len(segment_all(chunks((1.0, 20), (0.0, 9), (1.0, 20)))) == 1
    assert segment_all(chunks((0.0, 50), (1.0, 3), (0.0, 50))) == []


def test_long_speech_is_cut_at_its_quietest_chunk_and_nothing_is_left_out() -> None:
    segments = segment_all(chunks((1.0, 250), (0.5, 1), (1.0, 400)))
    assert segments[0].end_sample == 251 * CHUNK_SAMPLES
    assert segments[-1].end_sample == 651 * CHUNK_SAMPLES
    for left, right in pairwise(segments):
        assert left.end_sample == right.start_sample


def test_long_speech_is_not_cut_early_into_a_scrap() -> None:
    segments = segment_all(chunks((1.0, 10), (0.5, 1), (1.0, 400)))
    assert segments[0].end_sample >= SETTINGS.max_segment_s * RATE / 2 - CHUNK_SAMPLES


@given(RUNS)
def test_a_segment_that_silence_ends_was_likely_before(runs: list[tuple[float, int]]) -> None:
    """As soon as all of its samples were there, and until it came out, nothing else was."""
    segmenter, likely = SpeechSegmenter(), None
    for i, probability in enumerate([*chunks(*runs), *chunks((0.0, 20))]):
        ended = segmenter.push([probability])
        heard = (i + 1) * CHUNK_SAMPLES
        if ended and segmenter.open_start is None:
            assert ended == [likely]
            assert heard - ended[0].end_sample >= MIN_SILENCE - POST_ROLL - CHUNK_SAMPLES
        likely = segmenter.likely
        assert likely is None or likely.end_sample <= heard
        assert likely is None or likely.start_sample == segmenter.open_start
    assert likely is None


def test_a_segment_is_likely_as_soon_as_it_is_whole() -> None:
    segmenter = SpeechSegmenter()
    segmenter.push(chunks((1.0, 30)))
    whole = -(-POST_ROLL // CHUNK_SAMPLES)
    assert [bool(segmenter.push([0.0]) or segmenter.likely) for _ in range(whole)] == [
        *[False] * (whole - 1),
        True,
    ]
    segmenter.push([1.0])
    assert segmenter.likely is None


def test_segment_ends_where_samples_are_lost() -> None:
    segmenter = SpeechSegmenter()
    segmenter.push(chunks((1.0, 20)))
    end = 20 * CHUNK_SAMPLES - 100
    assert segmenter.flush(end) == [SpeechSegment(0, end)]
    segmenter.reset(end + 50_000)
    segmenter.push(chunks((1.0, 20)))
    [segment] = segmenter.flush()
    assert segment.start_sample == end + 50_000  # no pre-roll out of the gap


@given(RUNS, st.integers(0, 10**9))
def test_segments_are_ordered_disjoint_short_and_inside_the_stream(
    runs: list[tuple[float, int]], start: int
) -> None:
    probabilities = chunks(*runs)
    segments = segment_all(probabilities, start)
    edges = [e for s in segments for e in (s.start_sample, s.end_sample)]
    assert edges == sorted(edges)
    for segment in segments:
        length = segment.end_sample - segment.start_sample
        assert 0 < length <= SETTINGS.max_segment_s * RATE + CHUNK_SAMPLES
    if edges:
        assert start <= edges[0]
        assert edges[-1] <= start + len(probabilities) * CHUNK_SAMPLES


@given(RUNS)
def test_enough_speech_in_a_row_is_in_some_segment(runs: list[tuple[float, int]]) -> None:
    segments = segment_all(chunks(*runs))
    at = 0
    for probability, count in runs:
        first, at = at, at + count * CHUNK_SAMPLES
        if probability >= SETTINGS.onset and count * CHUNK_SAMPLES >= RATE:
            # A cut may leave a piece at either end that is too short to be speech.
            middle = (first + at) // 2
            assert any(s.start_sample <= middle < s.end_sample for s in segments)


@given(RUNS, st.lists(st.integers(0, 1200), max_size=5))
def test_segments_do_not_depend_on_how_the_chunks_are_cut(
    runs: list[tuple[float, int]], cuts: list[int]
) -> None:
    probabilities = chunks(*runs)
    segmenter = SpeechSegmenter()
    found = []
    at = 0
    for cut in [*sorted(cuts), len(probabilities)]:
        found += segmenter.push(probabilities[at:cut])
        at = max(at, cut)
    assert found + segmenter.flush() == segment_all(probabilities)
