"""A bundle's own files hold what was trained, and its definition their hashes."""

from __future__ import annotations

import json
import math
import shutil
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from toy import WIDTH, make_model

from edge_alm.errors import DownloadError, ModelBrokenError, UsageError
from edge_alm.models.bundle import load_bundle
from edge_alm.models.files import sha256_file
from edge_alm.models.projector_file import ProjectorInfo, check_projector
from edge_alm.reasoning.projector import Projector
from edge_alm.reasoning.prompts import SCENE_FORMAT
from export.bundle import ADAPTER, ENCODER, PROJECTOR, define, entry, training_of, write_definition
from export.converter import find_converter

RANK, ALPHA, HIDDEN = 4, 8, 16


@pytest.fixture(scope="module")
def hearing() -> Any:
    """As after training: no matrix is zero."""
    import torch

    from export.hearing_model import build, trainable
    from export.settings import ModelConfig

    model = build(make_model(), WIDTH, ModelConfig(RANK, ALPHA, HIDDEN), 0)
    with torch.no_grad():
        for value in trainable(model).values():
            value.normal_()
    return model


@pytest.fixture(scope="module")
def written(
    hearing: Any, require: Callable[[object, str], None], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder that write_parts made, of an encoder that is any file."""
    from export.bundle import write_parts

    try:
        find_converter()
    except DownloadError as error:
        require(False, f"the converter cannot be fetched: {error}")
    folder = tmp_path_factory.mktemp("bundle")
    make_model().save_pretrained(folder / "model")
    (folder / "any.onnx").write_bytes(b"an encoder")
    write_parts(hearing, folder / "model", folder / "any.onnx", folder / "made" / "tiny")
    return folder / "made" / "tiny"


def test_the_parts_and_nothing_else_are_written(written: Path) -> None:
    assert {path.name for path in written.iterdir()} == {ENCODER, PROJECTOR, ADAPTER}
    assert (written / ENCODER).read_bytes() == b"an encoder"


def test_what_was_written_is_read_back_to_go_on_from(hearing: Any, written: Path) -> None:
    import torch

    from export.hearing_model import build, load_weights, trainable
    from export.settings import ModelConfig
    from export.start import read_weights

    bundle = SimpleNamespace(projector=written / PROJECTOR, adapter=written / ADAPTER)
    model = make_model()
    other = build(model, WIDTH, ModelConfig(RANK, ALPHA, HIDDEN), 7)
    load_weights(other, read_weights(bundle, model.config))  # type: ignore[arg-type]
    for name, value in trainable(hearing).items():
        rounded = value.detach().to(torch.float16).float()
        assert torch.equal(trainable(other)[name].detach(), rounded), name
    with pytest.raises(UsageError, match="expected a bundle with projector and adapter"):
        read_weights(SimpleNamespace(projector=None, adapter=None), None)  # type: ignore[arg-type]


def test_the_projector_is_the_trained_one_in_float16(hearing: Any, written: Path) -> None:
    import torch

    assert check_projector(written / PROJECTOR) == ProjectorInfo(WIDTH, HIDDEN, 32)
    with zipfile.ZipFile(written / PROJECTOR) as archive:
        size = sum(info.file_size - 128 for info in archive.infolist())  # a header has 128 bytes
    assert size == 2 * (2 * WIDTH + (WIDTH + 1) * HIDDEN + (HIDDEN + 1) * 32)
    hops = np.random.default_rng(0).normal(0, 1, (5, WIDTH)).astype(np.float32)
    with torch.no_grad():
        soft = hearing.projector(torch.from_numpy(hops)).numpy()
    np.testing.assert_allclose(Projector(written / PROJECTOR)(hops), soft, atol=0.05)
    assert np.abs(soft).max() > 1


def test_the_adapter_holds_the_trained_matrices(hearing: Any, written: Path) -> None:
    import gguf

    from export.hearing_model import trainable

    reader = gguf.GGUFReader(written / ADAPTER)
    found = {tensor.name: np.array(tensor.data, np.float32) for tensor in reader.tensors}
    names = {"q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output"}
    names |= {part: f"ffn_{part}" for part in ("gate", "up", "down")}
    expected = {}
    for name, value in trainable(hearing).items():
        if "lora" not in name:
            continue
        *_, layer, _, module, lora, _, _ = name.split(".")
        matrix = value.detach().numpy()
        part = module.removesuffix("_proj")
        if part in "qk" and lora == "lora_B":  # llama.cpp rotates neighbours, not halves
            matrix = matrix.reshape(-1, 2, 8 // 2, RANK).swapaxes(1, 2).reshape(matrix.shape)
        expected[f"blk.{layer}.{names[part]}.weight.{lora.lower()}"] = matrix
    assert found.keys() == expected.keys()
    assert len(found) == 2 * 7 * 2
    for name, matrix in expected.items():
        np.testing.assert_allclose(found[name], matrix, rtol=1e-3, atol=1e-3, err_msg=name)
    (alpha,) = reader.fields["adapter.lora.alpha"].parts[-1]
    assert math.isclose(float(alpha), ALPHA)


def test_an_exported_encoder_is_named_by_its_manifest(tmp_path: Path) -> None:
    for name in ("encoder/manifest.json", PROJECTOR, ADAPTER):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"this is {name}")
    definition = define({}, tmp_path, {})
    digest = sha256(b"this is encoder/manifest.json").hexdigest()
    assert definition["encoder"] == {"file": "encoder/manifest.json", "sha256": digest}


def test_the_definition_names_every_file_with_its_hash(tmp_path: Path) -> None:
    for name in (ENCODER, PROJECTOR, ADAPTER):
        (tmp_path / name).write_text(f"this is {name}")
    base = {"name": "base", "vad": {"artefact": "silero-vad"}, "encoder": {"artefact": "yamnet"}}
    definition = define(base, tmp_path, {"name": "tiny", "prior_weight": 0.25})
    write_definition(tmp_path, definition)
    read = json.loads((tmp_path / "bundle.json").read_text())
    assert read == {
        "name": "tiny",
        "vad": {"artefact": "silero-vad"},
        "encoder": {"file": ENCODER, "sha256": sha256(b"this is encoder.onnx").hexdigest()},
        "projector": {"file": PROJECTOR, "sha256": sha256(b"this is projector.npz").hexdigest()},
        "adapter": {"file": ADAPTER, "sha256": sha256(b"this is adapter.gguf").hexdigest()},
        "scene_format": SCENE_FORMAT,
        "prior_weight": 0.25,
    }
    assert base["name"] == "base"
    assert entry(tmp_path / ADAPTER) == read["adapter"]


def test_the_training_is_told_without_the_makers_folders() -> None:
    config = {"data": {"train": ["/home/me/scenes/train", "pairs"], "imagined": 0.2}, "model": {}}
    told = training_of(config)
    assert told == {"data": {"train": ["train", "pairs"], "imagined": 0.2}, "model": {}}
    assert config["data"]["train"] == ["/home/me/scenes/train", "pairs"]
    towers = {"train": [], "towers": "/home/me/towers"}
    assert training_of({"data": towers})["data"] == {"train": [], "towers": "towers"}
    phased = training_of({**config, "phases": [[3, {"train": ["/home/me/first"]}]]})
    assert phased == {**told, "phases": [[3, {"train": ["first"]}]]}


def test_a_bundle_with_another_models_parts_is_refused(
    models: Path, written: Path, tmp_path: Path
) -> None:
    """All else is the default's; width 12 and 32 are not YAMNet's and SmolLM2's."""
    from edge_alm.models.catalog import BUNDLES

    folder = tmp_path / "misfit"
    shutil.copytree(BUNDLES / "tiny", folder)
    base = json.loads((folder / "bundle.json").read_text())
    shutil.copyfile(load_bundle().encoder, folder / ENCODER)
    for name in (PROJECTOR, ADAPTER):
        shutil.copyfile(written / name, folder / name)
    write_definition(folder, define(base, folder, {"name": "misfit"}))
    with pytest.raises(ModelBrokenError, match=r"projector\.npz: inputs .* got 12"):
        load_bundle(folder)
    (folder / PROJECTOR).write_bytes(b"changed")
    with pytest.raises(ModelBrokenError, match=sha256_file(written / PROJECTOR)):
        load_bundle(folder)
