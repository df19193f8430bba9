from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from model_builders import write_projector

from edge_alm.errors import ModelBrokenError, ModelMissingError
from edge_alm.models.projector_file import ProjectorInfo, check_projector


def test_the_widths_are_read(tmp_path: Path) -> None:
    path = write_projector(tmp_path / "p.npz", inputs=16, hidden=8, outputs=4)
    assert check_projector(path) == ProjectorInfo(16, 8, 4)


@pytest.mark.parametrize(
    "change",
    [
        {"b1": None},
        {"extra": np.zeros(1, np.float32)},
        {"b1": np.zeros(5, np.float32)},
        {"w2": np.zeros((32, 5), np.float32)},
        {"w1": np.zeros(4, np.float32)},
        {"ln_bias": np.zeros(1028, np.float64)},
        {"b2": np.zeros(32, np.int32)},
    ],
)
def test_arrays_that_do_not_fit_each_other_are_refused(
    tmp_path: Path, change: dict[str, object]
) -> None:
    with pytest.raises(ModelBrokenError):
        check_projector(write_projector(tmp_path / "p.npz", **change))  # type: ignore[arg-type]


def test_an_array_cannot_claim_more_than_it_has(tmp_path: Path) -> None:
    path = write_projector(tmp_path / "p.npz")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    claim = members["w1.npy"].replace(b"(4, 1028), }", b"(4, 9999), }")
    assert claim != members["w1.npy"]
    members["w1.npy"] = claim
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(ModelBrokenError, match=r"w1\.npy has"):
        check_projector(path)


def test_objects_and_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.npz"
    with pytest.raises(ModelMissingError):
        check_projector(path)
    np.savez(path, w1=np.array([{}], dtype=object))
    with pytest.raises(ModelBrokenError):
        check_projector(path)
    whole = write_projector(path).read_bytes()
    for cut in range(0, len(whole), 997):
        path.write_bytes(whole[:cut])
        with pytest.raises(ModelBrokenError):
            check_projector(path)
