"""Small things that every file check needs."""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edge_alm.errors import ModelBrokenError, ModelMissingError, UsageError

COMPLETE = ".complete"
"""Written last into an artefact's folder: the hash of its definition."""
_CHUNK_BYTES = 1 << 20


def sha256_file(path: Path) -> str:
    """Lower-case hexadecimal SHA-256 of a file.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def matches(path: Path, size_bytes: int, sha256: str) -> bool:
    """Whether the file is there with that size and hash; the hash is taken last."""
    try:
        return path.stat().st_size == size_bytes and sha256_file(path) == sha256
    except OSError:
        return False


@contextmanager
def mapped(path: Path) -> Iterator[memoryview]:
    """The file's bytes, mapped read-only: reading a header costs no copy of the rest.

    Raises:
        ModelMissingError: no such file.
        ModelBrokenError: empty, not a plain file, or unreadable.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            buffer = memoryview(view)
            try:
                yield buffer
            finally:
                buffer.release()
    except FileNotFoundError:
        raise ModelMissingError(
            str(path), expected="a model file", got="no such file", hint="edge-alm models pull"
        ) from None
    except ValueError as error:
        # mmap's word for an empty file; the checks raise ModelBrokenError themselves.
        raise broken(path, "a model file", str(error)) from None
    except OSError as error:
        raise broken(path, "a readable file", os.strerror(error.errno or errno.EIO)) from None


def broken(path: Path, expected: str, got: str) -> ModelBrokenError:
    """The error for a file whose content is wrong."""
    return ModelBrokenError(
        str(path), expected=expected, got=got, hint="fetch it again: edge-alm models verify"
    )


def inside(folder: Path, name: str) -> Path:
    """The file ``name`` below ``folder``; links are followed before the check.

    Raises:
        ValueError: it is absolute or leads out of the folder.
    """
    path = folder / name
    if not name or "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"the path {name!r} leaves its folder")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"the path {name!r} leaves its folder")
    return path


def replace_durably(part: Path, target: Path) -> None:
    """Move ``part`` over ``target`` so that after a power cut one of the two is whole.

    Raises:
        OSError: the disk refused.
    """
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(target)
    # Some file systems cannot sync a folder; the rename is atomic there all the same.
    with suppress(OSError):
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def fresh_folder(target: Path) -> Iterator[Path]:
    """A scratch folder beside ``target`` that becomes it at the end, whole or not at all.

    Whatever leaves the block early, Ctrl-C too, takes the scratch folder with it.

    Args:
        target: a folder that is not there yet, or empty.

    Raises:
        UsageError: something is there already, or the disk refuses: read-only, full.
    """
    target = target.absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(
            str(target),
            expected="a new folder",
            got="one with files in it" if target.is_dir() else "a file",
            hint="remove it or name another",
        )
    scratch: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
        scratch.chmod(0o755)  # mkdtemp's 0700 would stay
        yield scratch
        for path in scratch.rglob("*"):
            if path.is_file():
                with path.open("rb+") as file:
                    os.fsync(file.fileno())
        scratch.replace(target)
    except OSError as error:
        raise UsageError(
            str(target), expected="a folder that can be written", got=error.strerror or str(error)
        ) from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
