"""Files that are written whole or not at all, and scratch that never stays."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_alm.errors import UsageError
from edge_alm.models.files import replace_durably


@contextmanager
def fresh_file(target: Path) -> Iterator[Path]:
    """A scratch file beside ``target`` that becomes it at the end.

    Whatever leaves the block early, Ctrl-C too, takes the scratch file with it; what was at
    ``target`` stays.

    Raises:
        UsageError: ``target`` is a folder, or the disk refuses: read-only, full.
    """
    if target.is_dir():
        raise UsageError(str(target), expected="a file to write", got="a folder")
    # A folder of its own: some writers put more than one file down.
    with scratch_folder(target.parent, target.name) as folder:
        part = folder / target.name
        yield part
        part.chmod(0o644)
        replace_durably(part, target)


@contextmanager
def scratch_folder(parent: Path, name: str) -> Iterator[Path]:
    """A folder in ``parent`` that is gone at the end, however that comes.

    Raises:
        UsageError: the disk refuses, here or within the block.
    """
    # Not mkdtemp: a signal between its return and the assignment would leave what it made.
    folder = parent / f".{name}-{secrets.token_hex(4)}"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
        yield folder
    except OSError as error:
        raise UsageError(
            str(parent / name), expected="what can be written", got=error.strerror or str(error)
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
