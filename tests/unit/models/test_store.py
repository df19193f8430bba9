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

from edge_alm.errors import DownloadError, ModelBrokenError, ModelMissingError, UsageError
from edge_alm.models import store
from edge_alm.models.catalog import Artefact, ModelFile, WebSource
from edge_alm.models.fetch import fetch_artefact

CONTENT = os.urandom(400_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FILE = ModelFile("file", len(CONTENT), SHA256)


def artefact(*urls: str) -> Artefact:
    sources = tuple(WebSource(url, url) for url in urls)
    return Artefact("tiny", "a model", "MIT", "here", (FILE,), (), sources)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serve(CONTENT) as running:
        yield running


@pytest.fixture
def tiny(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store and a catalogue with one small artefact; the artefact's folder."""
    monkeypatch.setenv("EDGE_ALM_HOME", str(tmp_path))
    catalogue = {"tiny": artefact(server.url)}
    monkeypatch.setattr(store, "catalogue", lambda: catalogue)
    monkeypatch.setattr(store, "find_artefact", catalogue.__getitem__)
    return tmp_path / "tiny"


def test_pull_locate_verify_and_a_second_pull_without_network(
    tiny: Path, server: FileServer
) -> None:
    with pytest.raises(ModelMissingError, match="edge-alm models pull tiny"):
        store.locate("tiny")
    assert store.installed() == []
    assert store.pull("tiny") == tiny
    assert (tiny / "file").read_bytes() == CONTENT
    assert store.locate("tiny") == tiny
    assert store.installed() == ["tiny"]
    store.verify("tiny")
    assert store.pull("tiny", offline=True) == tiny
    assert len(server.requests) == 1
    assert [path.name for path in (tiny.parent / "staging").iterdir()] == ["tiny.lock"]


def test_offline_is_offline(tiny: Path, server: FileServer) -> None:
    with pytest.raises(ModelMissingError):
        store.pull("tiny", offline=True)
    assert server.requests == []


def test_a_changed_size_is_broken_and_mended_by_pull(tiny: Path) -> None:
    store.pull("tiny")
    (tiny / "file").write_bytes(CONTENT[:-1])
    with pytest.raises(ModelBrokenError, match="399999 bytes"):
        store.locate("tiny")
    assert store.installed() == []
    store.pull("tiny")
    store.verify("tiny")


def test_a_changed_byte_is_found_by_verify_and_mended_by_pull(tiny: Path) -> None:
    store.pull("tiny")
    (tiny / "file").write_bytes(bytes([CONTENT[0] ^ 1]) + CONTENT[1:])
    store.locate("tiny")
    with pytest.raises(ModelBrokenError, match=SHA256):
        store.verify("tiny")
    store.pull("tiny")
    store.verify("tiny")


def test_another_version_of_the_same_size_is_missing(tiny: Path) -> None:
    store.pull("tiny")
    (tiny / ".complete").write_text("0" * 64)
    with pytest.raises(ModelMissingError, match="another version"):
        store.locate("tiny")


def test_a_right_file_that_lies_there_already_is_not_fetched(
    tiny: Path, server: FileServer
) -> None:
    tiny.mkdir()
    (tiny / "file").write_bytes(CONTENT)
    store.pull("tiny")
    assert server.requests == []


def test_sources_are_tried_in_order_and_all_reasons_are_told(
    server: FileServer, tmp_path: Path
) -> None:
    fetch_artefact(artefact(f"{server.url}/missing", server.url), tmp_path)
    assert [path for path, _ in server.requests] == ["/missing/file", "/file"]
    with pytest.raises(DownloadError, match=r"missing/file: HTTP 404 .* \| .*other/file"):
        fetch_artefact(
            artefact(f"{server.url}/missing", f"{server.url}/missing/other"), tmp_path / "b"
        )


def test_an_unwritable_home_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("not a folder")
    with pytest.raises(DownloadError, match="EDGE_ALM_HOME"):
        fetch_artefact(artefact("http://127.0.0.1:1"), tmp_path / "home")


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="yamnet"):
        store.locate("../../etc")


def test_home_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGE_ALM_HOME", str(tmp_path / "a"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    monkeypatch.setenv("HOME", str(tmp_path / "c"))
    assert store.home() == tmp_path / "a"
    monkeypatch.delenv("EDGE_ALM_HOME")
    assert store.home() == tmp_path / "b" / "edge-alm"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert store.home() == tmp_path / "c" / ".cache" / "edge-alm"


def start(server: FileServer, home: Path) -> subprocess.Popen[str]:
    code = (
        "from pathlib import Path\n"
        "from edge_alm.models.catalog import Artefact, ModelFile, WebSource\n"
        "from edge_alm.models.fetch import fetch_artefact\n"
        f"files = (ModelFile('file', {len(CONTENT)}, {SHA256!r}),)\n"
        f"sources = (WebSource('here', {server.url!r}),)\n"
        f"tiny = Artefact('tiny', 'a model', 'MIT', 'here', files, (), sources)\n"
        f"fetch_artefact(tiny, Path({str(home)!r}))"
    )
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)


def test_two_processes_fetch_it_once(server: FileServer, tmp_path: Path) -> None:
    server.bytes_per_s = 400_000
    both = [start(server, tmp_path), start(server, tmp_path)]
    for child in both:
        _, stderr = child.communicate(timeout=60)
        assert (child.returncode, stderr) == (0, "")
    assert len(server.requests) == 1
    assert (tmp_path / "tiny" / "file").read_bytes() == CONTENT


def test_killed_at_any_moment_the_next_pull_completes_it(
    server: FileServer, tmp_path: Path
) -> None:
    server.bytes_per_s = 800_000
    for wait_s in (0.2, 0.4, 0.6, 0.8):
        child = start(server, tmp_path)
        time.sleep(wait_s)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        target = tmp_path / "tiny" / "file"
        assert not target.exists() or target.read_bytes() == CONTENT
    server.bytes_per_s = 0
    fetch_artefact(artefact(server.url), tmp_path)
    assert (tmp_path / "tiny" / "file").read_bytes() == CONTENT
