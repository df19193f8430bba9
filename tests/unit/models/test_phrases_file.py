"""The file of a phrase table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from phrase_files import N_IN, WIDTH, arrays, sentence_arrays, write_phrases

from edge_alm.errors import ModelBrokenError, ModelMissingError
from edge_alm.models.phrases_file import TEXTS, PhrasesInfo, check_phrases


def test_the_widths_are_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", **sentence_arrays())
    assert check_phrases(tmp_path / "s.npz") == PhrasesInfo(N_IN, WIDTH, True)
    assert check_phrases(write_phrases(tmp_path / "p.npz")) == PhrasesInfo(N_IN, WIDTH, False)


@pytest.mark.parametrize(
    ("made", "name"),
    [(made, name) for made in (arrays(), sentence_arrays()) for name in made],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)} arrays",
)
def test_every_array_is_needed_and_has_its_shape(
    tmp_path: Path, made: dict[str, Any], name: str
) -> None:
    path = tmp_path / "p.npz"
    np.savez(path, **{key: value for key, value in made.items() if key != name})
    with pytest.raises(ModelBrokenError):
        check_phrases(path)
    if name not in (*TEXTS, "usual_directions"):
        np.savez(path, **{**made, name: np.concatenate((made[name], made[name]))})
        with pytest.raises(ModelBrokenError):
            check_phrases(path)


def test_objects_unknown_arrays_and_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.npz"
    with pytest.raises(ModelMissingError):
        check_phrases(path)
    for change in ({"w1": np.array([{}], object)}, {"more": np.zeros(1, np.float32)}):
        with pytest.raises(ModelBrokenError):
            check_phrases(write_phrases(path, **change))
    whole = write_phrases(path).read_bytes()
    for cut in range(0, len(whole), 97):
        path.write_bytes(whole[:cut])
        with pytest.raises(ModelBrokenError):
            check_phrases(path)
