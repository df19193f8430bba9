"""AudioSet's classes as YAMNet names them, and which are kinds of which.

The hierarchy is AudioSet's published ontology (Gemmeke et al., ICASSP 2017), reduced to the
521 classes of YAMNet; a class may have several parents.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import resources
from pathlib import Path

from edge_alm.errors import ModelBrokenError


def read_labels(class_map: Path) -> tuple[str, ...]:
    """Class names in the order of the scores, from a file with ``index,mid,display_name``.

    Raises:
        ModelBrokenError: the file cannot be read or its indices are not 0, 1, 2, ...
    """
    try:
        with class_map.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        labels = tuple(row["display_name"] for row in rows)
        in_order = [int(row["index"]) for row in rows] == list(range(len(rows)))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ModelBrokenError(
            f"class map {class_map.name}",
            expected="columns index, mid, display_name",
            got=str(error) or type(error).__name__,
            hint="edge-alm models verify",
        ) from error
    if not labels or not in_order:
        raise ModelBrokenError(
            f"class map {class_map.name}",
            expected="indices from 0 upwards",
            got=f"{len(labels)} rows out of order",
            hint="edge-alm models verify",
        )
    return labels


class Ontology:
    """Ancestors and descendants of classes, by name."""

    def __init__(self, parents: dict[str, tuple[str, ...]]) -> None:
        self._parents = parents
        self._children: dict[str, list[str]] = {}
        for child, names in parents.items():
            for name in names:
                self._children.setdefault(name, []).append(child)

    def labels(self) -> frozenset[str]:
        """All classes that are a kind of another, or have kinds."""
        return frozenset(self._parents) | frozenset(self._children)

    def parents(self, label: str) -> tuple[str, ...]:
        """The direct parents; empty for a root or an unknown class."""
        return self._parents.get(label, ())

    def ancestors(self, label: str) -> frozenset[str]:
        """All classes that ``label`` is a kind of, without itself."""
        return self._reach(label, self._parents)

    def descendants(self, label: str) -> frozenset[str]:
        """All kinds of ``label``, without itself."""
        return self._reach(label, self._children)

    def most_specific(self, labels: Iterable[str]) -> set[str]:
        """``labels`` without those that are an ancestor of another one among them."""
        kept = set(labels)
        for label in tuple(kept):
            kept -= self.ancestors(label)
        return kept

    @staticmethod
    def _reach(
        label: str, edges: dict[str, tuple[str, ...]] | dict[str, list[str]]
    ) -> frozenset[str]:
        found: set[str] = set()
        todo: list[str] = [label]
        while todo:
            for name in edges.get(todo.pop(), ()):
                if name not in found:
                    found.add(name)
                    todo.append(name)
        return frozenset(found - {label})


VOICE_ROOTS = ("Speech", "Shout", "Screaming", "Whispering", "Singing")


def voice_labels() -> frozenset[str]:
    """The classes that people make with their voices, and in which words may be."""
    return frozenset(VOICE_ROOTS).union(*(ontology().descendants(root) for root in VOICE_ROOTS))


@cache
def ontology() -> Ontology:
    """AudioSet's hierarchy over YAMNet's classes."""
    text = (resources.files(__package__) / "audioset_parents.csv").read_text("utf-8")
    rows: Sequence[dict[str, str]] = list(csv.DictReader(text.splitlines()))
    return Ontology({row["label"]: tuple(row["parents"].split("|")) for row in rows})
