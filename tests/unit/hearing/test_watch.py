import csv
from pathlib import Path

import pytest

from edge_alm.errors import UsageError
from edge_alm.hearing.audioset import ontology
from edge_alm.hearing.tracker import read_thresholds
from edge_alm.hearing.watch import NameMatcher, Watcher, synonyms, words
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


def test_watch_fires_once_at_the_start() -> None:
    watcher = Watcher(["dog", "cat"], MATCHER)
    start = Sound("Bark", 1.0, None, 0.8, "start")
    end = Sound("Bark", 1.0, 2.0, 0.9, "end")
    assert [(w.query, w.label, w.start) for w in watcher.observe([start])] == [("dog", "Bark", 1.0)]
    assert watcher.observe([end]) == []


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
