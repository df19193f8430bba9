import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_alm.hearing.audioset import Ontology
from edge_alm.hearing.encoder import HOP_SAMPLES, PATCH_FRAMES, Hop
from edge_alm.hearing.tracker import NOISE_HOPS, Tracker
from edge_alm.types import Sound, to_seconds

LABELS = ("Animal", "Dog", "Bark", "Yip", "Rain", "Waterfall", "White noise", "Static", "Horn")
TREE = Ontology(
    {
        "Dog": ("Animal",),
        "Bark": ("Dog",),
        "Yip": ("Dog",),
        "Rain": ("Water",),
        "Waterfall": ("Water",),
        "White noise": ("Noise",),
        "Static": ("Noise",),
    }
)
FLAT = np.zeros(PATCH_FRAMES, np.float32)
HOP_S = HOP_SAMPLES / 16_000


def make_tracker() -> Tracker:
    return Tracker(LABELS, dict.fromkeys(LABELS, 0.4), TREE)


def make_hop(
    number: int,
    scores: dict[str, float],
    levels_db: np.ndarray = FLAT,
    *,
    is_noise: bool = False,
) -> Hop:
    row = np.array([scores.get(label, 0.0) for label in LABELS], np.float32)
    start = number * HOP_SAMPLES
    return Hop(start, start + HOP_SAMPLES, row, np.zeros(4, np.float32), levels_db, is_noise)


def run(hops: list[dict[str, float]], *, is_noise: bool = False) -> list[Sound]:
    tracker, sounds = make_tracker(), []
    for number, scores in enumerate(hops):
        sounds += tracker.push(make_hop(number, scores, is_noise=is_noise))
    return sounds + tracker.finish(len(hops) * HOP_SAMPLES)


def names(sounds: list[Sound], state: str) -> list[str]:
    return [sound.label for sound in sounds if sound.state == state]


def test_a_clear_score_starts_at_once_and_ends_by_hysteresis() -> None:
    sounds = run([{}, {"Horn": 0.9}, {"Horn": 0.25}, {"Horn": 0.1}, {}])
    assert [(s.label, s.state) for s in sounds] == [("Horn", "start"), ("Horn", "end")]
    assert sounds[0].end is None
    assert sounds[1].confidence == pytest.approx(0.9)
    assert sounds[1].end == pytest.approx(2.5 * HOP_S)


def test_a_weak_score_has_to_come_twice() -> None:
    assert run([{"Horn": 0.5}, {}]) == []
    assert names(run([{"Horn": 0.5}, {"Horn": 0.5}]), "start") == ["Horn"]


def test_a_texture_has_to_come_twice_however_clear() -> None:
    assert run([{"Waterfall": 0.99}, {}]) == []
    assert names(run([{"Waterfall": 0.99}] * 2), "start") == ["Waterfall"]


def test_children_win_over_parents() -> None:
    sounds = run([{"Animal": 0.95, "Dog": 0.9, "Bark": 0.8}] * 2)
    assert names(sounds, "start") == ["Bark"]


def test_a_child_takes_over_with_its_parents_onset_and_the_parent_does_not_return() -> None:
    sounds = run([{"Dog": 0.9}, {"Dog": 0.9, "Bark": 0.8}, {"Dog": 0.9, "Bark": 0.8}, {"Dog": 0.9}])
    assert names(sounds, "start") == ["Dog", "Bark"]
    dog, bark = (next(s for s in sounds if s.label == label) for label in ("Dog", "Bark"))
    assert bark.start == dog.start
    assert names(sounds, "end") == ["Dog", "Bark"]


def test_one_name_at_a_time_among_close_siblings() -> None:
    assert names(run([{"Bark": 0.8, "Yip": 0.9}] * 3), "start") == ["Yip"]


def test_plain_noise_is_only_ever_noise() -> None:
    scores = {"Waterfall": 0.99, "Rain": 0.9, "White noise": 0.8, "Static": 0.7}
    assert names(run([scores] * 5, is_noise=True), "start") == ["White noise"]


def test_noise_that_goes_on_is_one_event_though_its_score_flickers() -> None:
    hops = [{"White noise": 0.9}] * 2 + [{}] * 10
    assert names(run(hops, is_noise=True), "end") == ["White noise"]
    assert len(run(hops, is_noise=True)) == 2


def test_a_long_run_of_plain_noise_ends_what_was_mistaken_for_something() -> None:
    tracker, sounds = make_tracker(), []
    for number in range(3):
        sounds += tracker.push(make_hop(number, {"Rain": 0.9}))
    assert names(sounds, "start") == ["Rain"]
    for number in range(3, 3 + NOISE_HOPS):
        sounds += tracker.push(make_hop(number, {"Rain": 0.9}, is_noise=True))
    assert names(sounds, "end") == ["Rain"]


@pytest.mark.parametrize("frame", [40, 55, 70, 85])
def test_the_onset_is_where_the_level_rises(frame: int) -> None:
    tracker = make_tracker()
    tracker.push(make_hop(4, {}))
    levels_db = np.where(np.arange(PATCH_FRAMES) < frame, -60.0, -20.0).astype(np.float32)
    (sound,) = tracker.push(make_hop(5, {"Horn": 0.9}, levels_db))
    assert sound.start == pytest.approx(4 * HOP_S + frame * 0.01, abs=0.02)


@pytest.mark.parametrize("frame", [10, 30, 50])
def test_the_offset_is_where_the_level_falls(frame: int) -> None:
    tracker = make_tracker()
    tracker.push(make_hop(5, {"Horn": 0.9}))
    levels_db = np.where(np.arange(PATCH_FRAMES) < frame, -20.0, -60.0).astype(np.float32)
    (sound,) = tracker.push(make_hop(6, {}, levels_db))
    assert sound.end == pytest.approx(5 * HOP_S + frame * 0.01, abs=0.02)


def test_a_label_without_threshold_is_never_reported() -> None:
    tracker = Tracker(LABELS, {"Dog": 0.4}, TREE)
    assert tracker.push(make_hop(0, {"Horn": 1.0})) == []


def test_ongoing_is_what_has_started_and_not_ended() -> None:
    tracker = make_tracker()
    tracker.push(make_hop(0, {"Horn": 0.9}))
    assert [s.label for s in tracker.ongoing()] == ["Horn"]
    tracker.push(make_hop(1, {}))
    assert tracker.ongoing() == ()


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from(LABELS), st.floats(0, 1, width=32)), st.booleans()
        ),
        max_size=25,
    )
)
def test_starts_and_ends_pair_up(hops: list[tuple[dict[str, float], bool]]) -> None:
    tracker, sounds = make_tracker(), []
    for number, (scores, is_noise) in enumerate(hops):
        sounds += tracker.push(make_hop(number, scores, is_noise=is_noise))
    end = len(hops) * HOP_SAMPLES
    sounds += tracker.finish(end)
    open_labels: dict[str, float] = {}
    for sound in sounds:
        if sound.state == "start":
            assert sound.label not in open_labels
            open_labels[sound.label] = sound.start
        else:
            assert open_labels.pop(sound.label) == sound.start
            assert sound.end is not None
            assert 0 <= sound.start <= sound.end <= to_seconds(end) + HOP_S
    assert not open_labels
    assert not tracker.is_active
