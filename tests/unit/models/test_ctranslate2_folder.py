from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_builders import ctranslate2_weights, write_ctranslate2

from edge_alm.errors import ModelBrokenError, ModelMissingError
from edge_alm.models.ctranslate2_folder import check_ctranslate2


def test_a_good_folder_tells_its_kind(tmp_path: Path) -> None:
    assert check_ctranslate2(write_ctranslate2(tmp_path)) == "WhisperSpec"


@pytest.mark.parametrize(
    "weights",
    [
        b"",
        ctranslate2_weights()[:-1],
        ctranslate2_weights() + b"\0",
        ctranslate2_weights(size_bytes=20),
        ctranslate2_weights(size_bytes=2**31, shape=(2**29,)),
        ctranslate2_weights(shape=(1,) * 9),
        b"\x07" + ctranslate2_weights()[1:],
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, weights: bytes) -> None:
    with pytest.raises(ModelBrokenError):
        check_ctranslate2(write_ctranslate2(tmp_path, weights))


def test_the_variable_that_runs_past_the_file_is_named(tmp_path: Path) -> None:
    weights = ctranslate2_weights(size_bytes=4 * 600, shape=(600,))
    with pytest.raises(ModelBrokenError, match="w ends at byte"):
        check_ctranslate2(write_ctranslate2(tmp_path, weights))


def test_config_must_be_there_and_an_object(tmp_path: Path) -> None:
    with pytest.raises(ModelMissingError):
        check_ctranslate2(tmp_path)
    with pytest.raises(ModelBrokenError):
        check_ctranslate2(write_ctranslate2(tmp_path, config=[1]))
    (tmp_path / "config.json").write_text("{" * 5000)
    with pytest.raises(ModelBrokenError):
        check_ctranslate2(tmp_path)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=4))
def test_damage_is_refused_or_harmless(tmp_path: Path, edits: list[tuple[int, int]]) -> None:
    content = bytearray(ctranslate2_weights())
    for at, value in edits:
        content[at % len(content)] = value
    with suppress(ModelBrokenError):
        check_ctranslate2(write_ctranslate2(tmp_path, bytes(content)))
