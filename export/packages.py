"""Debian packages: fetched, unpacked without being installed, and checked.

Needs ``apt-get`` and ``dpkg-deb``; no rights, but ``apt-get update`` must have been run.
"""

from __future__ import annotations

import hashlib
import shutil
import struct
import subprocess
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from edge_alm.errors import DownloadError, MissingExtraError

_QT_FOLDER = "unpacked/gcompris"
"""Where the table places the files that lie inside gcompris's Qt resource files."""


def unpack_packages(root: Path, names: Iterable[str], versions: Mapping[str, str]) -> None:
    """Unpack each package under ``root/<name>``; what is there already is left as it is.

    Args:
        root: the archives go to ``root/packages``.
        names: of Debian packages.
        versions: the version to fetch; of others, and where apt no longer offers that one, the
            version that it does offer.

    Raises:
        MissingExtraError: no apt-get or dpkg-deb.
        DownloadError: a package cannot be fetched or unpacked.
    """
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise MissingExtraError(
                tool, expected="Debian or Ubuntu", got="no such program", hint="use a container"
            )
    archives = root / "packages"
    archives.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (root / name).is_dir():
            continue
        archive = _fetch(name, versions.get(name), archives)
        part = root / f"{name}.part"  # so that a kill leaves no half of a package
        shutil.rmtree(part, ignore_errors=True)
        _run(["dpkg-deb", "-x", str(archive), str(part)], name)
        for resource in sorted(part.rglob("*.rcc")):
            unpack_resource(resource, part / _QT_FOLDER)
        part.rename(root / name)


def check_clips(root: Path, rows: Iterable[Mapping[str, str]]) -> list[str]:
    """Paths under ``root`` of the rows whose file has another SHA-1 than the table, or is missing.

    A file with another SHA-1 is removed: its label need not hold.
    """
    wrong = []
    for row in rows:
        path = f"{row['package']}/{row['path']}"
        file = root / path
        # SHA-1 because the table has it; it guards against mistakes, not against malice.
        if not file.is_file():
            wrong.append(path)
        elif hashlib.sha1(file.read_bytes(), usedforsecurity=False).hexdigest() != row["sha1"]:
            file.unlink()
            wrong.append(path)
    return wrong


def unpack_resource(file: Path, folder: Path) -> None:
    """Write the sounds of a Qt resource file (``.rcc``) under ``folder``; zstd ones are left out.

    The format is Qt's, https://doc.qt.io/qt-5/rcc.html, as ``QResource`` reads it: big-endian; a
    header with the places of tree, data and names; nodes of 14 bytes (22 from version 2), which
    are folders (flag 2) or files (flag 1: zlib, 4: zstd).
    """
    data = file.read_bytes()
    for name, flags, place in _resource_files(data):
        if not name.endswith((".ogg", ".wav", ".mp3", ".oga")) or flags & 4:
            continue
        (size,) = struct.unpack_from(">I", data, place)
        content = data[place + 4 : place + 4 + size]
        target = folder / name
        if ".." in target.parts:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        # The compressed form begins with its full length.
        target.write_bytes(zlib.decompress(content[4:]) if flags & 1 else content)


def _resource_files(data: bytes) -> Iterator[tuple[str, int, int]]:
    """Path, flags and place of the content of every file in a Qt resource file."""
    magic, version, tree, contents, names = struct.unpack_from(">4sIIII", data)
    if magic != b"qres":
        return
    node_bytes = 14 if version < 2 else 22
    todo = [(0, "")]
    while todo:
        node, above = todo.pop()
        at = tree + node * node_bytes
        name_at, flags, first, second = struct.unpack_from(">IHII", data, at)
        (length,) = struct.unpack_from(">H", data, names + name_at)
        start = names + name_at + 6  # after the length and a hash
        name = data[start : start + 2 * length].decode("utf-16-be") if node else ""
        path = f"{above}/{name}".strip("/")
        if flags & 2:
            todo += [(child, path) for child in range(second, second + first)]
        else:
            yield path, flags, contents + second


def _fetch(name: str, version: str | None, folder: Path) -> Path:
    """The archive of a package, downloaded unless it is there."""

    def there() -> list[Path]:
        return sorted(folder.glob(f"{name}_*.deb"))

    if not there():
        exact = [f"{name}={version}"] if version else []
        for wanted in [*exact, name]:
            if _apt_download(wanted, folder):
                break
            if wanted != name:
                print(f"{wanted} is not offered any more: taking the version that is")
    found = there()
    if not found:
        raise DownloadError(
            f"package {name}",
            expected="apt-get download to fetch it",
            got="nothing",
            hint="run apt-get update",
        )
    return found[-1]


def _apt_download(wanted: str, folder: Path) -> bool:
    command = ["apt-get", "-q", "download", wanted]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0


def _run(command: Sequence[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DownloadError(
            f"package {what}",
            expected=f"{command[0]} to unpack it",
            got=done.stderr.strip() or f"status {done.returncode}",
            hint="remove the archive and try again",
        )
