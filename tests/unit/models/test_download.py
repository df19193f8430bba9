from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from file_server import FileServer, serve

from edge_alm.errors import DownloadError
from edge_alm.models.download import download

CONTENT = os.urandom(700_001)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serve(CONTENT) as running:
        yield running


def fetch(server: FileServer, target: Path, path: str = "/file", **change: object) -> None:
    wanted: dict[str, object] = {"size_bytes": len(CONTENT), "sha256": SHA256, **change}
    download(server.url + path, target, backoff_s=0.01, timeout_s=5, **wanted)  # type: ignore[arg-type]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_file_arrives_and_progress_ends_at_its_size(server: FileServer, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    fetch(server, tmp_path / "m", progress=lambda done, total: seen.append((done, total)))
    assert (tmp_path / "m").read_bytes() == CONTENT
    assert names(tmp_path) == ["m"]
    assert seen == sorted(seen)
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_redirect_is_followed(server: FileServer, tmp_path: Path) -> None:
    fetch(server, tmp_path / "m", "/moved")
    assert (tmp_path / "m").read_bytes() == CONTENT


def test_dropped_connections_are_continued_where_they_broke(
    server: FileServer, tmp_path: Path
) -> None:
    server.drops = [300_000, 0, 0, 100_000, 0]
    fetch(server, tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == CONTENT
    asked = [header for _, header in server.requests]
    assert asked == ["", *["bytes=300000-"] * 3, *["bytes=400000-"] * 2]


def test_a_server_that_only_drops_is_given_up_and_what_came_is_kept(
    server: FileServer, tmp_path: Path
) -> None:
    server.drops = [1000] + [0] * 9
    with pytest.raises(DownloadError, match="after 1000 bytes"):
        fetch(server, tmp_path / "m")
    assert (tmp_path / "m.part").read_bytes() == CONTENT[:1000]
    server.drops = []
    fetch(server, tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == CONTENT


def test_a_server_without_ranges_sends_all_of_it_again(server: FileServer, tmp_path: Path) -> None:
    server.ranges = False
    server.drops = [300_000]
    fetch(server, tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == CONTENT
    assert server.requests[-1][1] == "bytes=300000-"


@pytest.mark.parametrize("have", [0, 1, 300_000, len(CONTENT), len(CONTENT) + 1])
@pytest.mark.parametrize("right", [True, False])
def test_whatever_an_earlier_run_left_the_file_becomes_right(
    server: FileServer, tmp_path: Path, have: int, right: bool
) -> None:
    left = (CONTENT + b"x")[:have] if right else bytes(have)
    (tmp_path / "m.part").write_bytes(left)
    fetch(server, tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == CONTENT
    assert names(tmp_path) == ["m"]


def test_a_wrong_hash_is_deleted_and_named(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=SHA256):
        fetch(server, tmp_path / "m", sha256="0" * 64)
    assert names(tmp_path) == []


def test_a_wrong_size_is_refused_before_the_body(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="expected 5 bytes, got 700001"):
        fetch(server, tmp_path / "m", size_bytes=5)
    assert names(tmp_path) == []


def test_404_is_not_asked_again_but_503_is(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="HTTP 404"):
        fetch(server, tmp_path / "m", "/missing")
    assert len(server.requests) == 1
    server.statuses = [503, 429]
    fetch(server, tmp_path / "m")
    assert len(server.requests) == 4


def test_nobody_there_is_one_clear_line(tmp_path: Path) -> None:
    with serve(CONTENT) as gone:
        pass
    with pytest.raises(DownloadError, match="Connection refused after 0 bytes"):
        fetch(gone, tmp_path / "m")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "/etc/passwd"])
def test_only_the_web_is_fetched_from(tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadError, match="http"):
        download(url, tmp_path / "m", size_bytes=1, sha256="0" * 64)


def start(server: FileServer, target: Path, before: str = "") -> subprocess.Popen[str]:
    code = (
        f"{before}\nfrom pathlib import Path\nfrom edge_alm.models.download import download\n"
        f"download({server.url + '/file'!r}, Path({str(target)!r}),"
        f" size_bytes={len(CONTENT)}, sha256={SHA256!r})"
    )
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)


def test_a_kill_in_mid_download_loses_nothing_that_arrived(
    server: FileServer, tmp_path: Path
) -> None:
    server.bytes_per_s = 400_000
    child = start(server, tmp_path / "m")
    part = tmp_path / "m.part"
    deadline_s = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size >= 200_000):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert names(tmp_path) == ["m.part"]
    have = part.stat().st_size
    assert 200_000 <= have < len(CONTENT)
    server.bytes_per_s = 0
    fetch(server, tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == CONTENT
    assert server.requests[-1][1] == f"bytes={have}-"


def test_a_full_disk_is_named_and_what_arrived_is_kept(server: FileServer, tmp_path: Path) -> None:
    # A limit on file size fails a write as a full disk does, without a disk to fill.
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))"
    child = start(server, tmp_path / "m", limit)
    _, stderr = child.communicate(timeout=60)
    assert child.returncode == 1
    last = stderr.strip().splitlines()[-1]
    assert "DiskFullError" in last
    assert "free some" in last
    assert names(tmp_path) == ["m.part"]
    fetch(server, tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == CONTENT
    assert server.requests[-1][1] == "bytes=300000-"
