"""Sounds that the user taught: a file each, whole or not there.

``HOME/taught/`` has a file for every sound: its name, and what the encoder made of each example. A
process may be killed at any moment; what was taught before stays.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import ModelBrokenError, UsageError
from edge_alm.models import store
from edge_alm.models.files import replace_durably
from edge_alm.models.npz_file import read_shapes

Floats: TypeAlias = NDArray[np.float32]
FOLDER = "taught"
LONGEST_NAME_CHARS = 60
_DTYPES: frozenset[np.dtype[Any]] = frozenset(map(np.dtype, (np.float16, np.uint8)))


@dataclass(frozen=True, slots=True, eq=False)
class TaughtSound:
    """A sound of the user's own."""

    name: str
    examples: Floats
    """Mean and maximum of the embeddings of each example [n, 2 n_in]."""
    encoder_id: str
    """Of the bundle whose encoder made them."""


def folder() -> Path:
    """Where they are kept."""
    return store.home() / FOLDER


def check_name(name: str) -> str:
    """The name without the space around it.

    Raises:
        UsageError: nothing, too long, or no name that could be told in a line or asked for in a
            query of several sounds.
    """
    name = " ".join(name.split())
    if not name.isprintable() or "," in name or not 0 < len(name) <= LONGEST_NAME_CHARS:
        raise UsageError(
            f"name {name!r}",
            expected=f"up to {LONGEST_NAME_CHARS} characters without a comma",
            got=f"{len(name)}",
        )
    return name


def remember(sound: TaughtSound) -> Path:
    """Keep a sound; one of the same name is replaced.

    Raises:
        UsageError: the disk refuses: read-only, full.
    """
    target = _path(sound.name)
    part = target.with_suffix(".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            np.savez(
                file,
                name=_bytes(sound.name),
                encoder_id=_bytes(sound.encoder_id),
                examples=sound.examples.astype(np.float16),
            )
        replace_durably(part, target)
    except OSError as error:
        raise UsageError(
            str(target.parent),
            expected="a folder that can be written",
            got=error.strerror or str(error),
            hint="set EDGE_ALM_HOME",
        ) from error
    return target


def forget(name: str) -> None:
    """Drop a sound.

    Raises:
        UsageError: none has this name, or the disk refuses.
    """
    try:
        _path(name).unlink()
    except FileNotFoundError:
        names = [sound.name for sound in taught()]
        raise UsageError(
            f"sound {name!r}", expected=_one_of(names), got="none of this name"
        ) from None
    except OSError as error:
        raise UsageError(
            str(_path(name)), expected="a file that can be removed", got=error.strerror or ""
        ) from error


def taught() -> list[TaughtSound]:
    """All sounds, by name.

    Raises:
        ModelBrokenError: a file is none that :func:`remember` wrote.
    """
    return sorted(map(_read, folder().glob("*.npz")), key=lambda sound: sound.name.lower())


def is_taught(name: str) -> bool:
    """Whether there is a sound of this name."""
    return _path(name).is_file()


def _path(name: str) -> Path:
    """A file's name may hold less than a sound's."""
    key = sha256(" ".join(name.lower().split()).encode()).hexdigest()[:20]
    return folder() / f"{key}.npz"


def _read(path: Path) -> TaughtSound:
    try:
        shapes = read_shapes(path, "a taught sound", _DTYPES)
        if shapes.keys() != {"name", "encoder_id", "examples"} or len(shapes["examples"]) != 2:
            raise ValueError(f"arrays {sorted(shapes)}")
        with np.load(path, allow_pickle=False) as arrays:
            return TaughtSound(
                check_name(arrays["name"].tobytes().decode()),
                arrays["examples"].astype(np.float32),
                arrays["encoder_id"].tobytes().decode(),
            )
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, UsageError, ModelBrokenError) as e:
        raise ModelBrokenError(
            str(path), expected="a taught sound", got=str(e), hint="remove it and teach it again"
        ) from e


def _bytes(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode(), np.uint8)


def _one_of(names: Sequence[str]) -> str:
    return f"one of: {', '.join(names)}" if names else "a sound that was taught"
