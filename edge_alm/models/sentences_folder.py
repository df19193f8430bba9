"""Reads what a sentence encoder's folder holds: network, vocabulary, width of the directions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_alm.models.files import broken
from edge_alm.models.manifest import MANIFEST, load_manifest

KIND = TEXT_GRAPH = "text"
IDS, MASK = "input_ids", "attention_mask"
EMBEDDING = "embedding"
VOCABULARY = "vocab.txt"


@dataclass(frozen=True, slots=True)
class SentencesInfo:
    """A checked folder."""

    network: Path
    vocabulary: Path
    """Word pieces, one a line."""
    width: int
    """Of the directions."""


def check_sentences(folder: Path) -> SentencesInfo:
    """Hold the files to the manifest, and the manifest to what a sentence encoder is.

    Raises:
        ModelMissingError, ModelBrokenError: as :func:`load_manifest`, or it is something else.
    """
    manifest = load_manifest(folder)
    graph = manifest.graphs.get(TEXT_GRAPH)
    output = graph.outputs.get(EMBEDDING) if graph else None
    width = output.shape[-1] if output else None
    whole = (
        manifest.kind == KIND
        and graph is not None
        and graph.inputs.keys() == {IDS, MASK}
        and VOCABULARY in manifest.files
    )
    if not whole or graph is None or not isinstance(width, int):
        got = f"kind {manifest.kind}, graphs {sorted(manifest.graphs)}"
        raise broken(folder / MANIFEST, "what python -m export text makes", got)
    return SentencesInfo(folder / graph.file, folder / VOCABULARY, width)
