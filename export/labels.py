"""Which labels a listener could use for the same sound."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from edge_alm.errors import UsageError
from edge_alm.hearing.audioset import ontology
from edge_alm.hearing.tracker import read_thresholds
from edge_alm.hearing.watch import NameMatcher

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

WIDEST_PARENT = 10
"""Siblings count as alike under a parent with at most so many descendants: under Explosion,
Bird or Engine (10), not under Domestic animals (12) or Percussion (22)."""


def similar(a: str, b: str) -> bool:
    """Whether ``a`` and ``b`` could name the same sound, so that they must not be told apart.

    True when they share a word that carries meaning, a kind of ``data/alike.toml``, a class of
    AudioSet (or one means an ancestor of what the other means), or a parent there that is not
    too general. Symmetric and reflexive; case does not matter.
    """
    return a.lower() == b.lower() or not kinds(a.lower()).isdisjoint(kinds(b.lower()))


def meaning(label: str) -> str:
    """The same for labels that differ only in the form of their words, or are listed as the same.

    "dog bark" and "dogs barking"; "sea waves" and "ocean waves".
    """
    key = _key(label)
    return _same().get(key, key)


@cache
def kinds(label: str) -> frozenset[str]:
    """What ``label`` has in common with others: its words, kinds, classes and their parents."""
    stems = _stems(label)
    found = {f"word {stem}" for stem in stems - _plain()}
    found |= {f"kind {name}" for name, members in _alike().items() if stems & members}
    try:
        classes = _matcher().labels(label)
    except UsageError:  # no class has such words
        return frozenset(found)
    found |= {f"class {name}" for name in classes}
    tree = ontology()
    for name in classes:
        if classes.isdisjoint(tree.ancestors(name)):
            found |= {
                f"under {parent}"
                for parent in tree.parents(name)
                if len(tree.descendants(parent)) <= WIDEST_PARENT
            }
    return frozenset(found)


def _stems(text: str) -> frozenset[str]:
    return frozenset(_stem(word) for word in re.findall(r"[a-z0-9]+", text.lower()))


def _stem(word: str) -> str:
    """Without plural, -ing and -ed; "chirping", "chirps" and "chirp" give the same."""
    for ending in ("ing", "ed", "es", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word


@cache
def _table() -> Mapping[str, Any]:
    table: dict[str, Any] = tomllib.loads(
        (resources.files(__package__) / "data/alike.toml").read_text("utf-8")
    )
    return table


@cache
def _same() -> dict[str, str]:
    """The first label of each group, by every other one; both without the forms of words."""
    return {_key(label): _key(group[0]) for group in _table()["same"] for label in group}


def _key(label: str) -> str:
    return " ".join(sorted(_stems(label) - _plain())) or label.lower()


@cache
def _plain() -> frozenset[str]:
    return _stems(_table()["plain"])


@cache
def _alike() -> dict[str, frozenset[str]]:
    return {name: _stems(members) for name, members in _table()["kinds"].items()}


@cache
def _matcher() -> NameMatcher:
    tree = ontology()
    names = dict.fromkeys(read_thresholds())
    for name in tuple(names):
        names.update(dict.fromkeys(tree.ancestors(name)))
    return NameMatcher(tuple(names))
