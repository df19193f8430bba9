"""The folder that holds the model files: one folder per artefact, whole or not there.

``HOME/NAME/`` has an artefact's files and, written last, ``.complete`` with the hash of its
definition. ``HOME/staging/NAME/`` has what is on its way. A process may be killed at any moment:
the next ``pull`` takes up what is good and fetches the rest.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from edge_alm.errors import ModelBrokenError, ModelMissingError
from edge_alm.models.catalog import catalogue, find_artefact
from edge_alm.models.files import COMPLETE, matches

if TYPE_CHECKING:
    from edge_alm.models.download import Progress


def home() -> Path:
    """The store's folder: EDGE_ALM_HOME, or ``edge-alm`` in the user's cache (XDG)."""
    if chosen := os.environ.get("EDGE_ALM_HOME"):
        return Path(chosen).expanduser().absolute()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "edge-alm"


def locate(name: str) -> Path:
    """The folder of an artefact. Quick: looks at sizes, not at contents.

    Raises:
        UsageError: the catalogue has no such artefact.
        ModelMissingError: not fetched, not whole, or another version.
        ModelBrokenError: a file has changed its size.
    """
    artefact = find_artefact(name)
    folder = home() / name
    hint = f"edge-alm models pull {name}"
    try:
        stamp = (folder / COMPLETE).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        stamp = ""
    if stamp != artefact.sha256:
        raise ModelMissingError(
            f"model {name}",
            expected=f"it at {folder}",
            got="another version of it" if stamp else "nothing whole there",
            hint=hint,
        )
    for file in artefact.files:
        try:
            size_bytes = (folder / file.name).stat().st_size
        except OSError:
            size_bytes = -1
        if size_bytes != file.size_bytes:
            raise ModelBrokenError(
                f"model {name}: {file.name}",
                expected=f"{file.size_bytes} bytes",
                got=f"{size_bytes} bytes" if size_bytes >= 0 else "no file",
                hint=hint,
            )
    return folder


def installed() -> list[str]:
    """The names of the artefacts that are here, in the catalogue's order."""
    found = []
    for name in catalogue():
        with suppress(ModelMissingError, ModelBrokenError):
            locate(name)
            found.append(name)
    return found


def verify(name: str) -> None:
    """Compare the full hash of every file; about 1 s per GB.

    After a failure the artefact counts as missing, so that ``pull`` mends it.

    Raises:
        UsageError, ModelMissingError: as :func:`locate`.
        ModelBrokenError: a file is not what the catalogue says.
    """
    folder = locate(name)
    for file in find_artefact(name).files:
        if not matches(folder / file.name, file.size_bytes, file.sha256):
            with suppress(OSError):  # a read-only store is mended by whoever made it
                (folder / COMPLETE).unlink()
            raise ModelBrokenError(
                f"model {name}: {file.name}",
                expected=f"SHA-256 {file.sha256}",
                got="another",
                hint=f"edge-alm models pull {name}",
            )


def pull(name: str, *, progress: Progress | None = None, offline: bool = False) -> Path:
    """Make sure that an artefact is here, and give its folder.

    Sources are tried in the catalogue's order. Another process that pulls the same artefact is
    waited for.

    Args:
        name: as in the catalogue.
        progress: called with (bytes done, bytes in all) of the transfer under way.
        offline: do not go to the network.

    Raises:
        UsageError: the catalogue has no such artefact.
        ModelMissingError, ModelBrokenError: it is not here (whole) and ``offline`` is set.
        DownloadError: every source failed; says why each did.
        DiskFullError: no room; what has arrived is kept.
    """
    artefact = find_artefact(name)
    try:
        return locate(name)
    except (ModelMissingError, ModelBrokenError):
        if offline:
            raise
    # Imported where something is missing: HTTP alone takes 25 ms of every start.
    from edge_alm.models.fetch import fetch_artefact

    fetch_artefact(artefact, home(), progress)
    return locate(name)
