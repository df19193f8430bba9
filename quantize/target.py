"""A file that is written whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
    scratch: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # A folder of its own: some writers put more than one file down.
        scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
        part = scratch / target.name
        yield part
        part.chmod(0o644)
        replace_durably(part, target)
    except OSError as error:
        raise UsageError(
            str(target), expected="a file that can be written", got=error.strerror or str(error)
        ) from error
    finally:
        if scratch is not None:
            with suppress(OSError):
                for left in scratch.iterdir():
                    left.unlink()
                scratch.rmdir()
