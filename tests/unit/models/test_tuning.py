"""Which encoder is remembered for a machine, and what the runtime makes of it."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_builders import gguf_file, small_onnx
from onnx import TensorProto, helper, numpy_helper

from edge_alm.cli.tune import tune
from edge_alm.errors import UsageError
from edge_alm.models import tuning
from edge_alm.models.bundle import bundle_encoders, load_bundle
from edge_alm.models.tuning import Trial, choose

DATA = Path(__file__).resolve().parents[2] / "data"
GOOD = Trial("fast.onnx", ms=1.0, own_ms=2.0, cosine_low=0.99)
TRIALS = st.builds(
    Trial,
    file=st.just("x.onnx"),
    ms=st.floats(0.1, 10.0),
    own_ms=st.floats(0.1, 10.0),
    cosine_low=st.floats(-1.0, 1.0),
    reason=st.sampled_from(["", "crashed with SIGILL"]),
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGE_ALM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@given(st.lists(TRIALS, max_size=5))
def test_what_is_chosen_agrees_and_nothing_good_is_faster(trials: list[Trial]) -> None:
    choice = choose(trials)
    good = [trial for trial in trials if trial.is_good]
    assert (choice > 0) == bool(good)
    if choice:
        best = trials[choice - 1]
        assert best.is_good
        assert best.ms / best.own_ms == min(trial.ms / trial.own_ms for trial in good)


@pytest.mark.parametrize(
    "change", [{"ms": 1.99}, {"cosine_low": 0.9}, {"reason": "crashed with SIGILL"}]
)
def test_what_is_no_better_or_wrong_is_not_chosen(change: dict[str, Any]) -> None:
    assert choose([GOOD]) == 1
    assert choose([replace(GOOD, **change)]) == 0


def test_a_choice_is_remembered_by_bundle() -> None:
    assert tuning.chosen("a" * 64, 3) == 0
    tuning.remember("a" * 64, 2, [GOOD, GOOD])
    tuning.remember("b" * 64, 1, [GOOD])
    assert [tuning.chosen(name * 64, 3) for name in "abc"] == [2, 1, 0]
    assert tuning.chosen("a" * 64, 1) == 0, "the bundle has fewer encoders than that"


def test_another_machine_knows_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    tuning.remember("a" * 64, 1, [GOOD])
    assert tuning.chosen("a" * 64, 1) == 1
    monkeypatch.setattr(tuning, "machine", lambda: "another")
    assert tuning.chosen("a" * 64, 1) == 0


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"format": 1}', b"\xff", b"[" * 100_000, b"null"]
)
def test_a_file_that_makes_no_sense_is_no_choice(content: bytes) -> None:
    tuning.remember("a" * 64, 1, [GOOD])
    tuning.path().write_bytes(content)
    assert tuning.chosen("a" * 64, 1) == 0


@pytest.mark.parametrize("choice", ["1", 1.5, True, None, -1, 4])
def test_a_choice_that_makes_no_sense_is_none(choice: object) -> None:
    tuning.remember("a" * 64, 1, [GOOD])
    values = json.loads(tuning.path().read_text())
    values["bundles"]["a" * 64]["encoder"] = choice
    tuning.path().write_text(json.dumps(values))
    assert tuning.chosen("a" * 64, 3) == 0


def write_network(path: Path, *, work: int = 1, gain: float = 1.0) -> Path:
    """Means of 8 by 8 as the embedding; ``work`` products whose result counts for nothing."""
    rng = np.random.default_rng(0)
    arrays = {
        "square": rng.standard_normal((64, 64)).astype(np.float32) / 8.0,
        "nothing": np.zeros((1, 96), np.float32),
        "classes": rng.standard_normal((96, 3)).astype(np.float32),
        "gain": np.geomspace(1.0, gain, 96, dtype=np.float32)[None],
    }
    nodes = [helper.make_node("Identity", ["audio"], ["product_0"])]
    nodes += [
        helper.make_node("MatMul", [f"product_{i}", "square"], [f"product_{i + 1}"])
        for i in range(work)
    ]
    pool = {"kernel_shape": [8, 8], "strides": [8, 8]}
    nodes += [
        helper.make_node("AveragePool", [f"product_{work}"], ["useless"], **pool),  # type: ignore[arg-type]
        helper.make_node("Flatten", ["useless"], ["useless_row"]),
        helper.make_node("Mul", ["useless_row", "nothing"], ["zero"]),
        helper.make_node("AveragePool", ["audio"], ["means"], **pool),  # type: ignore[arg-type]
        helper.make_node("Flatten", ["means"], ["row"]),
        helper.make_node("Mul", ["row", "gain"], ["scaled"]),
        helper.make_node("Add", ["scaled", "zero"], ["embedding"]),
        helper.make_node("MatMul", ["embedding", "classes"], ["class_scores"]),
    ]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape])
        for name, shape in (("audio", (1, 96, 64)), ("class_scores", (3,)), ("embedding", (96,)))
    ]
    tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], tensors)
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def write_bundle(folder: Path, *choices: str) -> Path:
    """A bundle that hears, with other forms of its encoder."""
    folder.mkdir(exist_ok=True)
    (folder / "vad.onnx").write_bytes(small_onnx())
    (folder / "lm.gguf").write_bytes(gguf_file())
    (folder / "labels.csv").write_text("index,mid,display_name\n0,a,A\n1,b,B\n2,c,C\n")
    shutil.copy(DATA / "doorbell.flac", folder / "clip.flac")

    def own(name: str) -> dict[str, str]:
        return {"file": name, "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest()}

    golden = {"question": "what?", "scores": {"a": 1.0, "b": 0.0}, "answer": "a", "tolerance": 0.1}
    definition = {
        "name": "test",
        "vad": own("vad.onnx"),
        "encoder": own("own.onnx"),
        "encoder_choices": [own(name) for name in choices],
        "labels": own("labels.csv"),
        "transcriber": {"artefact": "whisper-tiny.en"},
        "language_model": own("lm.gguf"),
        "golden": {**own("clip.flac"), **golden},
    }
    (folder / "bundle.json").write_text(json.dumps(definition))
    return folder


def hears_with(folder: Path) -> str:
    return load_bundle(folder, language_model=False, transcriber=False).encoder.name


def test_the_fastest_that_agrees_is_used_until_it_is_forgotten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    write_network(folder / "own.onnx", work=30)
    write_network(folder / "slow.onnx", work=60)
    write_network(folder / "wrong.onnx", gain=1e4)
    write_network(folder / "fast.onnx")
    write_bundle(folder, "slow.onnx", "wrong.onnx", "fast.onnx")
    names = ["own.onnx", "slow.onnx", "wrong.onnx", "fast.onnx"]
    assert [path.name for path in bundle_encoders(folder)] == names
    assert hears_with(folder) == "own.onnx"
    assert tune(folder, json_lines=True) == 3
    found = json.loads(capsys.readouterr().out)
    assert found["encoder"] == "fast.onnx"
    assert [trial["good"] for trial in found["trials"]] == [False, False, True]
    assert found["trials"][1]["cosine_low"] < 0.95
    assert hears_with(folder) == "fast.onnx"
    assert tune(folder) == 3
    out = capsys.readouterr().out
    assert f"remove {tuning.path()}" in out
    tuning.path().unlink()
    assert hears_with(folder) == "own.onnx"


def test_one_that_does_not_run_is_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    write_network(folder / "own.onnx")
    model = onnx.load(folder / "own.onnx")
    model.graph.node[-1].op_type = "NoSuchOperator"
    onnx.save(model, folder / "broken.onnx")
    write_bundle(folder, "broken.onnx")
    assert tune(folder) == 0
    assert "NoSuchOperator" in capsys.readouterr().out
    assert hears_with(folder) == "own.onnx"


def test_another_definition_is_another_bundle(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    write_network(folder / "own.onnx", work=30)
    write_network(folder / "fast.onnx")
    write_bundle(folder, "fast.onnx")
    assert tune(folder) == 1
    assert hears_with(folder) == "fast.onnx"
    definition = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**definition, "name": "changed"}))
    assert hears_with(folder) == "own.onnx"


def test_a_home_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    write_network(folder / "own.onnx")
    write_bundle(folder)
    monkeypatch.setenv("EDGE_ALM_HOME", "/proc/nobody")
    with pytest.raises(UsageError, match="EDGE_ALM_HOME"):
        tune(folder)
    assert hears_with(folder) == "own.onnx"
