import csv
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_alm.errors import UsageError
from edge_alm.hearing.audioset import ontology
from edge_alm.hearing.tracker import read_thresholds
from edge_alm.hearing.watch import (
    WITHIN_S,
    NameMatcher,
    NameWatcher,
    Query,
    Sighting,
    Sightings,
    synonyms,
    words,
)
from edge_alm.types import Sound

PARENTS = Path(__file__).parents[3] / "edge_alm/hearing/audioset_parents.csv"
with PARENTS.open(encoding="utf-8") as file:
    LABELS = sorted(
        {
            name
            for row in csv.DictReader(file)
            for name in [row["label"], *row["parents"].split("|")]
        }
        | read_thresholds().keys()
    )
MATCHER = NameMatcher(LABELS)


@pytest.mark.parametrize(
    ("phrase", "label"),
    [
        ("glass breaking", "Shatter"),
        ("Breaking glass!", "Shatter"),
        ("dogs", "Bark"),
        ("a dog barking", "Bark"),
        ("smoke alarm", "Smoke detector, smoke alarm"),
        ("Smoke detectors", "Smoke detector, smoke alarm"),
        ("doorbell", "Ding-dong"),
        ("someone sneezing", "Sneeze"),
        ("zither", "Zither"),
        ("siren", "Ambulance (siren)"),
        ("heavy traffic", "Traffic noise, roadway noise"),
        ("vehicle", "Motorcycle"),
    ],
)
def test_phrases_mean_labels(phrase: str, label: str) -> None:
    assert label in MATCHER.labels(phrase)


@pytest.mark.parametrize(("phrase", "label"), [("glass breaking", "Chink, clink"), ("car", "Cat")])
def test_and_not_others(phrase: str, label: str) -> None:
    assert label not in MATCHER.labels(phrase)


@pytest.mark.parametrize("label", LABELS)
def test_every_label_means_itself(label: str) -> None:
    meant = MATCHER.labels(label)
    assert label in meant or words(label) in synonyms()


def test_nonsense_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(UsageError, match=r"nearest names: .*Zither"):
        MATCHER.labels("ziter")
    with pytest.raises(UsageError):
        MATCHER.labels("the")


def test_synonyms_name_real_labels() -> None:
    assert {label for labels in synonyms().values() for label in labels} <= set(LABELS)


def heard(watcher: NameWatcher, *sounds: Sound) -> list[tuple[str, str, float]]:
    return [(w.query, w.label, w.start) for w in watcher.hear(None, sounds)]


def start(label: str, at_s: float) -> Sound:
    return Sound(label, at_s, None, 0.8, "start")


def test_watch_fires_once_at_the_start() -> None:
    watcher = NameWatcher([Query("dog", ("dog",)), Query("cat", ("cat",))], MATCHER)
    assert heard(watcher, start("Bark", 1.0)) == [("dog", "Bark", 1.0)]
    assert heard(watcher, Sound("Bark", 1.0, 2.0, 0.9, "end")) == []


def test_names_in_order_are_told_with_the_last() -> None:
    watcher = NameWatcher([Query("dog, then cat", ("dog", "cat"))], MATCHER)
    assert heard(watcher, start("Meow", 1.0), start("Bark", 2.0)) == []
    assert heard(watcher, start("Meow", 3.0)) == [("dog, then cat", "Meow", 3.0)]
    watcher.reset()
    assert heard(watcher, start("Meow", 4.0)) == []


def test_what_is_called_so_is_not_what_shares_a_word() -> None:
    assert "Bark" in MATCHER.called("a dog barking")
    assert MATCHER.called("a dog in the rain") == frozenset()
    assert {"Bark", "Rain"} <= MATCHER.labels("a dog in the rain")


seen = st.builds(
    Sighting,
    part=st.integers(0, 4),
    label=st.just("x"),
    start=st.floats(0.0, 100.0),
    confidence=st.floats(0.0, 1.0),
)
QUERIES = [Query("one", ("a",)), Query("two", ("b", "a")), Query("again", ("c", "c"))]


@given(st.lists(seen, max_size=20).map(lambda all_: sorted(all_, key=lambda s: s.start)))
def test_a_query_is_complete_when_all_its_parts_came_in_order(sightings: list[Sighting]) -> None:
    chains = Sightings(QUERIES)
    for i, sighting in enumerate(sightings):
        watches = chains.take([sighting])
        query, part = [("one", 0), ("two", 1), ("two", 2), ("again", 3), ("again", 4)][
            sighting.part
        ]
        earlier = [
            s
            for s in sightings[:i]
            if s.part == part - 1 and 0.0 < sighting.start - s.start <= WITHIN_S
        ]
        complete = query == "one" or (part in (2, 4) and _last_fits(sightings[:i], sighting))
        assert complete <= (query == "one" or bool(earlier))
        assert [(w.query, w.start) for w in watches] == [(query, sighting.start)] * complete
        assert all(w.confidence <= sighting.confidence for w in watches)


def _last_fits(before: list[Sighting], sighting: Sighting) -> bool:
    """The latest sighting of the part before counts: an older one can only be further away."""
    last = [s for s in before if s.part == sighting.part - 1][-1:]
    return any(0.0 < sighting.start - s.start <= WITHIN_S for s in last)


def test_what_is_seen_at_once_is_not_in_order() -> None:
    chains = Sightings([Query("a bark, then a bark", ("bark", "bark"))])
    both = [Sighting(0, "bark", 1.0, 0.9), Sighting(1, "bark", 1.0, 0.9)]
    assert chains.take(both) == []
    later = [replace(each, start=2.0, confidence=0.8) for each in both]
    assert [(w.start, w.confidence) for w in chains.take(later)] == [(2.0, 0.8)]


def test_children_know_their_ancestors() -> None:
    tree = ontology()
    assert tree.ancestors("Bark") == {"Dog", "Domestic animals, pets", "Animal"}
    assert "Bark" in tree.descendants("Animal")
    assert tree.most_specific(["Animal", "Dog", "Bark", "Rain"]) == {"Bark", "Rain"}
    assert tree.ancestors("no such label") == frozenset()


def test_the_tree_has_no_cycle() -> None:
    tree = ontology()
    for label in LABELS:
        assert label not in tree.ancestors(label)
        assert all(label in tree.descendants(a) for a in tree.ancestors(label))
