"""A tiny seeded model and an adapter of it, through llama.cpp's own converter and llama.cpp."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from language_models import save_llama

from edge_alm.errors import (
    DownloadError,
    ModelBrokenError,
    ModelMissingError,
    RefusedError,
    UsageError,
)
from edge_alm.models.gguf_file import check_gguf
from edge_alm.models.manifest import load_manifest
from export.__main__ import main
from export.converter import find_converter
from export.language_model import export_adapter, export_llm, prompts

ROWS = 8


@pytest.fixture(scope="module")
def converter(require: Callable[[object, str], None]) -> Path:
    require("llama_cpp", "the extra llm")
    require("sentencepiece", "the extra export")
    try:
        return find_converter()
    except DownloadError as error:
        require(False, f"the converter cannot be fetched: {error}")
        raise


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llama(tmp_path_factory.mktemp("llama") / "tiny-llama")


@pytest.fixture(scope="module")
def made(model: Path, converter: Path) -> Path:
    out = model.parent / "made"
    export_llm(str(model), out, outtype="f32")
    return out


def test_a_model_thinks_as_its_original(made: Path) -> None:
    manifest = load_manifest(made)
    parity = manifest.parity
    assert (parity["prompts"], manifest.kind, manifest.ids) == (
        100,
        "language_model",
        ("tiny-llama",),
    )
    assert parity["top1"] >= 0.97
    assert parity["max_difference"] < 0.05 < 1.0 < parity["spread"]
    info = check_gguf(made / "model.gguf")
    assert (info.architecture, info.n_embd) == ("llama", 64)
    golden = np.load(made / parity["golden"])
    assert golden["logits"].shape == (len(check_tokens(made)),)
    assert str(made.parent).encode() not in (made / "model.gguf").read_bytes()
    assert str(made.parent) not in (made / "manifest.json").read_text()


def check_tokens(made: Path) -> range:
    return range(check_gguf(made / "model.gguf").shapes["token_embd.weight"][1])


def test_an_adapter_changes_both_alike(
    made: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(model)
    adapted = get_peft_model(base, LoraConfig(r=ROWS, lora_alpha=16, target_modules="all-linear"))
    torch.manual_seed(0)
    for name, value in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(value, std=0.2)
    adapted.save_pretrained(tmp_path / "lora")
    command = ["adapter", "--model", str(tmp_path / "lora"), "--base", str(made / "model.gguf")]
    assert main([*command, "--out", str(tmp_path / "out"), "--licence", "MIT"]) == 0
    assert "the same likeliest token after" in capsys.readouterr().out
    manifest = load_manifest(tmp_path / "out")
    assert (manifest.kind, manifest.licence) == ("adapter", "MIT")
    assert manifest.parity["top1"] >= 0.9
    assert manifest.parity["max_difference"] < 0.3


def test_another_model_under_its_name_is_refused(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the converter had mixed up the weights: nothing of it stays."""
    other = save_llama(tmp_path / "other", seed=7)

    def convert(script: str, source: Path, arguments: object, target: Path) -> None:
        shutil.copy(made / "model.gguf", target)

    monkeypatch.setattr("export.language_model.convert", convert)
    with pytest.raises(RefusedError, match="the same likeliest token"):
        export_llm(str(other), tmp_path / "out", n_prompts=20)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_what_cannot_be_converted_leaves_nothing(
    model: Path, converter: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(model, broken)
    config = json.loads((broken / "config.json").read_text())
    config["architectures"] = ["NoSuchModel"]
    (broken / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelBrokenError, match="NoSuchModel"):
        export_llm(str(broken), tmp_path / "out")
    with pytest.raises(UsageError, match="outtype"):
        export_llm(str(model), tmp_path / "out", outtype="q4_0")
    with pytest.raises(ModelMissingError):
        export_adapter(str(broken), tmp_path / "none.gguf", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]


def test_a_missing_converter_is_told_in_a_line(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("EDGE_ALM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("export.converter.PACKAGE", "no-such-package-of-ours")
    assert main(["llm", "--model", str(model), "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert "no-such-package-of-ours" in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_prompts_are_short_and_all_different() -> None:
    assert len(set(prompts())) == 100
    assert max(map(len, prompts())) < 120
