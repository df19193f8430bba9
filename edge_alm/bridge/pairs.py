"""The devices that are paired: their names, ids and keys, in a file that only its owner reads."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from edge_alm.bridge.numbers import KEY_BYTES
from edge_alm.errors import SourceError, UsageError
from edge_alm.models.store import home


@dataclass(frozen=True, slots=True)
class Pair:
    """One device."""

    name: str
    device: str
    """Its id: 8 hexadecimal digits."""
    key: str
    """64 hexadecimal digits."""


def pairs_file() -> Path:
    """Where they are kept."""
    return home() / "bridge" / "devices.json"


def read_pairs() -> list[Pair]:
    """Those that are paired; none where there is no file.

    Raises:
        SourceError: the file is damaged or cannot be read.
    """
    path = pairs_file()
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        pairs = [Pair(**{k: str(v) for k, v in row.items()}) for row in rows]
        if not all(len(bytes.fromhex(p.key)) == KEY_BYTES and int(p.device, 16) for p in pairs):
            raise ValueError("a key or an id of another length")
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise SourceError(
            str(path),
            expected="paired devices",
            got=str(error),
            hint="delete it and pair your devices again",
        ) from error
    return pairs


def keys() -> dict[int, bytes]:
    """Key by device id.

    Raises:
        SourceError: the file is damaged.
    """
    return {int(pair.device, 16): bytes.fromhex(pair.key) for pair in read_pairs()}


def pair(name: str) -> Pair:
    """Make a key for a device.

    Raises:
        UsageError: no name, or one that is taken.
        SourceError: the file is damaged or cannot be written.
    """
    known = read_pairs()
    if not name.strip() or name in {other.name for other in known}:
        raise UsageError(
            "device",
            expected="a name that no paired device has",
            got=repr(name),
            hint=f"edge-alm bridge forget {name}" if name.strip() else "",
        )
    made = Pair(name, f"{1 + secrets.randbelow(2**32 - 1):08x}", secrets.token_hex(KEY_BYTES))
    _write([*known, made])
    return made


def forget(name: str) -> None:
    """Unpair a device.

    Raises:
        UsageError: no device has that name.
        SourceError: the file is damaged or cannot be written.
    """
    known = read_pairs()
    left = [other for other in known if other.name != name]
    if len(left) == len(known):
        names = ", ".join(other.name for other in known) or "none is paired"
        raise UsageError("device", expected=f"one of: {names}", got=repr(name))
    _write(left)


def _write(pairs: list[Pair]) -> None:
    path = pairs_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.unlink(missing_ok=True)
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            json.dump([asdict(one) for one in pairs], file, indent=1)
        part.replace(path)
    except OSError as error:
        raise SourceError(str(path), expected="to write it", got=str(error)) from error
