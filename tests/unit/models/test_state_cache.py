import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_alm.models.state_cache import KEPT_FILES, StateCache


def test_what_was_saved_is_loaded_under_its_key_only(tmp_path: Path) -> None:
    cache = StateCache(tmp_path / "new" / "folder")
    assert cache.load("a") is None
    cache.save("a", b"state of a")
    assert cache.load("a") == b"state of a"
    assert cache.load("b") is None


@given(st.integers(0, 300), st.integers(1, 255))
def test_a_damaged_file_is_never_loaded(position: int, flip: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cache = StateCache(Path(folder))
        cache.save("a", bytes(200))
        (file,) = Path(folder).iterdir()
        content = bytearray(file.read_bytes())
        if position < len(content):
            content[position] ^= flip
        else:
            del content[flip % len(content) :]
        file.write_bytes(content)
        assert cache.load("a") is None


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    cache = StateCache(tmp_path)
    for number in range(KEPT_FILES + 2):
        cache.save(str(number), b"x")
        newest = max(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, ns=(number * 10**9, number * 10**9))
    assert len(list(tmp_path.iterdir())) == KEPT_FILES
    assert cache.load(str(KEPT_FILES + 1)) == b"x"
    assert cache.load("0") is None


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = StateCache(tmp_path / "file" / "folder")
    cache.save("a", b"x")
    assert cache.load("a") is None


def test_nothing_half_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    StateCache(tmp_path).save("a", b"x")
    assert list(tmp_path.iterdir()) == []
