"""``python -m quantize gguf`` on a random Llama of one layer, by llama.cpp itself."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray
from small_models import write_llama

from edge_alm.errors import ModelBrokenError, UsageError
from edge_alm.models.gguf_file import check_gguf
from edge_alm.reasoning.llama import LlamaContext
from quantize.__main__ import main
from quantize.importance import measure_importance
from quantize.language_bench import LanguageBench, read
from quantize.llama_quantiser import quantise_gguf
from quantize.scene_texts import HELD_OUT_SEED, IMPORTANCE_SEED, scene_texts
from quantize.verdict import Bounds

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def llama(require: Callable[[object, str], None]) -> None:
    require("llama_cpp", "the extra llm")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("models") / "small.gguf")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few texts and calls; a random model has nothing to lose, and no time to gain."""
    monkeypatch.setattr("quantize.gguf_files.LanguageBench", partial(LanguageBench, texts=6))
    monkeypatch.setattr(
        "quantize.gguf_files.measure_importance", partial(measure_importance, texts=2)
    )
    monkeypatch.setattr("quantize.verdict.SLOWER", 100.0)


def quantise(model: Path, out: Path, to: str, *more: object) -> int:
    words = ["gguf", model, "--to", to, "--out", out, "--scenes", 0, "--bundle", "none", *more]
    return main([str(word) for word in words])


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("without a bundle: ")
    assert lines[-1].startswith("quantize: ")
    return lines[-1]


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("to", "types"), [("Q8_0", {"Q8_0"}), ("Q4_0", {"Q4_0", "Q6_K"}), ("Q4_K_M", {"Q4_K", "Q6_K"})]
)
def test_a_model_in_fewer_bits(to: str, types: set[str], model: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.gguf"
    assert quantise(model, out, to) == 0
    info = check_gguf(out)
    assert info.types.keys() <= types | {"F32"}
    assert info.shapes == check_gguf(model).shapes
    assert left(tmp_path)[:2] == ["small.gguf", "small.gguf.report.json"]
    was, now = json.loads((tmp_path / "small.gguf.report.json").read_text())["models"]
    assert now["bytes"] == out.stat().st_size < 0.5 * was["bytes"]
    assert now["importance_matrix"] is (to != "Q8_0")
    assert now["tensor_types"] == info.types
    assert was["top1"] == 1.0
    assert now["top1"] > {"Q8_0": 0.9, "Q4_K_M": 0.5, "Q4_0": 0.4}[to]
    assert now["perplexity"] == pytest.approx(was["perplexity"], rel=0.03)


def test_rows_that_a_type_does_not_fit_are_told(tmp_path: Path) -> None:
    out = tmp_path / "small.gguf"
    assert quantise(write_llama(tmp_path / "narrow.gguf", width=96), out, "Q4_K_M") == 0
    report = json.loads((tmp_path / "small.gguf.report.json").read_text())
    assert not report["models"][1]["tensor_types"].keys() & {"Q4_K", "Q6_K"}


def test_float_has_no_verdict_of_its_own(model: Path, tmp_path: Path) -> None:
    assert quantise(model, tmp_path / "small.gguf", "Q4_0") == 0
    assert quantise(tmp_path / "small.gguf", tmp_path / "f32.gguf", "F32") == 0
    assert (tmp_path / "f32.gguf").stat().st_size > (tmp_path / "small.gguf").stat().st_size


def test_one_that_loses_too_much_is_refused(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("quantize.gguf_files.Bounds", lambda: Bounds(perplexity=-0.5))
    assert quantise(model, tmp_path / "small.gguf", "Q4_0") == 3
    assert "perplexity" in last_line(capsys)
    assert "small.gguf" not in left(tmp_path)


def test_importance_is_the_mean_square_of_what_goes_in(model: Path) -> None:
    found = measure_importance(model, texts=2)
    matrices = {name for name, shape in check_gguf(model).shapes.items() if len(shape) == 2}
    assert found.keys() == matrices
    embedding = read_tensor(model, "token_embd.weight")
    with LlamaContext(model, n_ctx=1024) as context:
        texts = [tokens for tokens, _ in scene_texts(context, 2, IMPORTANCE_SEED)]
    rows = embedding[[token for tokens in texts for token in tokens]].astype(np.float64)
    rows /= np.sqrt((rows**2).mean(axis=1, keepdims=True) + 1e-5)
    # What the first matrices read: the tokens' embeddings, each divided by its size.
    for name in ("attn_q", "attn_k", "attn_v"):
        np.testing.assert_allclose(found[f"blk.0.{name}.weight"], (rows**2).mean(axis=0), rtol=1e-3)


def test_errors_move_to_where_they_matter_least(model: Path, tmp_path: Path) -> None:
    name = "blk.0.ffn_up.weight"
    importance = {key: np.ones(256, np.float32) for key in measure_importance(model, texts=1)}
    importance[name][:8] = 1000.0
    exact = read_tensor(model, name)
    wrong = []
    for i, table in enumerate((None, importance)):
        quantise_gguf(model, tmp_path / f"{i}.gguf", "Q4_0", table)
        error = read_tensor(tmp_path / f"{i}.gguf", name) - exact
        wrong.append(float((error[:, :8] ** 2).mean()))
    assert wrong[1] < 0.7 * wrong[0]
    assert left(tmp_path) == ["0.gguf", "1.gguf"]


def read_tensor(path: Path, name: str) -> NDArray[np.float32]:
    (tensor,) = (t for t in gguf.GGUFReader(path).tensors if t.name == name)
    found: NDArray[np.float32] = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    return found


def test_texts_to_judge_by_are_not_those_learnt_from(model: Path) -> None:
    with LlamaContext(model, n_ctx=1024) as context:
        seen = [tokens for tokens, _ in scene_texts(context, 20, IMPORTANCE_SEED)]
        held_out = [*scene_texts(context, 20, HELD_OUT_SEED)]
        reading = read(context, held_out[:2])
    assert not [tokens for tokens, _ in held_out if tokens in seen]
    assert len(reading.best) == sum(len(tokens) - start for tokens, start in held_out[:2])
    assert np.all(reading.log_likelihoods < 0.0)
    # A random model knows nothing: about as many choices as there are tokens.
    assert 100 < reading.perplexity < 2000


def test_files_that_are_no_models(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half = tmp_path / "half.gguf"
    half.write_bytes(model.read_bytes()[:-1000])
    assert quantise(half, tmp_path / "x.gguf", "Q4_0") == 2
    assert "a whole GGUF file" in capsys.readouterr().err
    with pytest.raises(UsageError, match="Q4_0"):
        quantise_gguf(model, tmp_path / "x.gguf", "Q5")
    with pytest.raises(ModelBrokenError):
        quantise_gguf(half, tmp_path / "x.gguf", "Q4_0")
    assert left(tmp_path) == ["half.gguf"]


def test_places_that_cannot_be_written(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert quantise(model, Path("/proc/nobody/x.gguf"), "Q4_0") == 2
    assert "can be written" in last_line(capsys)
    # llama.cpp's own refusal, where it is asked directly.
    with pytest.raises(UsageError, match="to write it"):
        quantise_gguf(model, tmp_path / "absent" / "x.gguf", "Q8_0")


def start(model: Path, out: Path, memory_bytes: int = 0) -> subprocess.Popen[str]:
    def limit() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if memory_bytes:
            resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))

    words = ["gguf", model, "--to", "Q8_0", "--out", out, "--scenes", 0, "--bundle", "none"]
    return subprocess.Popen(
        [sys.executable, "-m", "quantize", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        preexec_fn=limit,
    )


def test_a_stop_in_mid_write_leaves_nothing(model: Path, tmp_path: Path) -> None:
    process = start(model, tmp_path / "out" / "x.gguf")
    end_s = time.monotonic() + 120
    while not (tmp_path / "out").is_dir() and time.monotonic() < end_s:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert left(tmp_path / "out") == []


def test_too_little_memory_is_told(tmp_path: Path) -> None:
    model = write_llama(tmp_path / "wide.gguf", width=3072)  # 230 MB of it
    process = start(model, tmp_path / "out" / "x.gguf", memory_bytes=500 << 20)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2, err
    assert "Traceback" not in err
    assert "memory" in err.splitlines()[-1]
    assert left(tmp_path / "out") == []
