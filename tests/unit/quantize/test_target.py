from __future__ import annotations

from pathlib import Path

import pytest

from edge_alm.errors import UsageError
from quantize.target import fresh_file


def test_a_file_is_there_whole(tmp_path: Path) -> None:
    with fresh_file(tmp_path / "new" / "x.onnx") as part:
        part.write_bytes(b"whole")
        part.with_name("beside").write_bytes(b"scratch")
        assert not (tmp_path / "new" / "x.onnx").exists()
    assert (tmp_path / "new" / "x.onnx").read_bytes() == b"whole"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x.onnx"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, MemoryError])
def test_whatever_ends_it_early_leaves_what_was_there(
    tmp_path: Path, error: type[BaseException]
) -> None:
    target = tmp_path / "x.onnx"
    target.write_bytes(b"old")

    def write() -> None:
        with fresh_file(target) as part:
            part.write_bytes(b"ha")
            raise error

    with pytest.raises(error):
        write()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("place", ["/proc/nobody/x.onnx", "/sys/x.onnx"])
def test_where_nothing_can_be_written(place: str) -> None:
    with pytest.raises(UsageError, match="can be written"), fresh_file(Path(place)):
        pass


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a folder"), fresh_file(tmp_path):
        pass
