"""Fetches one file over HTTP so that nothing that goes wrong leaves a wrong file behind.

What has arrived lies in ``NAME.part`` and is continued by the next attempt, in this process or
a later one; only a file whose SHA-256 is right gets its name. Proxies and certificates are
those of the environment (``https_proxy``, ``SSL_CERT_FILE``).
"""

from __future__ import annotations

import errno
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from edge_alm.errors import DownloadError
from edge_alm.models.files import replace_durably, sha256_file

Progress: TypeAlias = Callable[[int, int], None]
"""Called with (bytes done, bytes in all); "done" may start again from 0."""

_CHUNK_BYTES = 1 << 18
_TIMEOUT_S = 30.0
_ATTEMPTS = 4
_BACKOFF_S = 0.5
_LASTING = frozenset({400, 401, 403, 404, 405, 410, 451})
"""Statuses that asking again does not change."""
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class DiskFullError(DownloadError):
    """No room for the file. What has arrived is kept; another source would not help."""

    code = "disk-full"


class _DroppedError(Exception):
    """The connection ended early or was not made; worth another attempt."""


def download(
    url: str,
    target: Path,
    *,
    size_bytes: int,
    sha256: str,
    progress: Progress | None = None,
    timeout_s: float = _TIMEOUT_S,
    backoff_s: float = _BACKOFF_S,
) -> None:
    """Fetch ``url`` into ``target``.

    Attempts follow each other as long as they bring bytes; after four that bring none (with
    pauses of ``backoff_s``, twice and four times that) it gives up.

    Args:
        url: http or https.
        target: appears only when it is whole; its folder must exist.
        size_bytes: what the file must have.
        sha256: what its hash must be, lower-case hexadecimal.
        progress: called about every 256 KiB.
        timeout_s: for the connection and for each read.
        backoff_s: the first pause.

    Raises:
        DiskFullError: no room; ``target.part`` is kept.
        DownloadError: refused, gone, a wrong size or a wrong hash (which deletes the part), or
            unreachable.
    """
    if not url.startswith(("https://", "http://")):
        raise DownloadError(url, expected="an http or https URL")
    part = target.with_name(target.name + ".part")
    report = progress or (lambda done, total: None)
    fruitless = 0
    fresh = not part.exists()
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            if before != size_bytes:
                _transfer(url, part, size_bytes, report, timeout_s)
        except _DroppedError as error:
            after = part.stat().st_size if part.exists() else 0
            fruitless = 0 if after > before else fruitless + 1
            if fruitless == _ATTEMPTS:
                raise DownloadError(
                    url,
                    expected=f"{size_bytes} bytes",
                    got=f"{error} after {after} bytes",
                    hint="check the network and run it again, it continues there",
                ) from None
            time.sleep(backoff_s * 2 ** max(fruitless - 1, 0))
            continue
        except OSError as error:
            raise disk_error(error, part) from error
        got = sha256_file(part)
        if got == sha256:
            break
        part.unlink()
        if fresh:
            raise DownloadError(url, expected=f"SHA-256 {sha256}", got=got, hint="it was deleted")
        # What lay there from before may be at fault, not the server.
        fresh = True
    try:
        replace_durably(part, target)
    except OSError as error:
        raise disk_error(error, target) from error


def disk_error(error: OSError, path: Path) -> DownloadError:
    """What an error while writing ``path`` means to the user."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskFullError(
            str(path.parent),
            expected="room for the model",
            got=os.strerror(error.errno),
            hint="free some or set EDGE_ALM_HOME to another disk; what has arrived is kept",
        )
    return DownloadError(
        str(path),
        expected="a file that can be written",
        got=error.strerror or str(error),
        hint="set EDGE_ALM_HOME to a folder of yours",
    )


def _transfer(url: str, part: Path, size_bytes: int, report: Progress, timeout_s: float) -> None:
    """One request that continues ``part``.

    Raises:
        _DroppedError: worth another attempt.
        DownloadError: not worth one.
        OSError: the disk.
    """
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "edge-alm"})
    request.add_header("Accept-Encoding", "identity")
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            part.unlink(missing_ok=True)
        if error.code in _LASTING:
            raise DownloadError(url, got=f"HTTP {error.code} {error.reason}") from None
        raise _DroppedError(f"HTTP {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _DroppedError(_reason(error)) from None
    with response:
        start, total = _span(response)
        if start != have:
            have = 0  # The server ignored the range and sends all of it.
        if start not in (0, have) or total not in (None, size_bytes):
            raise DownloadError(url, expected=f"{size_bytes} bytes", got=f"{total} from {start}")
        with part.open("ab") as file:
            file.truncate(have)
            while have < size_bytes:
                try:
                    chunk = response.read(min(_CHUNK_BYTES, size_bytes - have))
                except (OSError, http.client.HTTPException) as error:
                    raise _DroppedError(_reason(error)) from None
                if not chunk:
                    raise _DroppedError("the connection ended")
                file.write(chunk)
                have += len(chunk)
                report(have, size_bytes)


def _span(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """Where the body starts in the file, and the file's size if the server says it."""
    if response.status == 206:
        match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        if not match:
            raise _DroppedError("a partial answer without Content-Range")
        return int(match[1]), None if match[2] == "*" else int(match[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(cause) or type(cause).__name__
