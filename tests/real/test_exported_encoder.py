"""The runtime with another encoder: ``--encoder DIR``, and in a bundle."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from audio_models import save_ast, save_waveform

import edge_alm
from edge_alm.errors import ModelBrokenError, UsageError
from edge_alm.models.bundle import load_bundle
from edge_alm.models.catalog import BUNDLES
from edge_alm.models.files import sha256_file
from edge_alm.models.gguf_file import check_gguf
from edge_alm.models.manifest import MANIFEST
from edge_alm.models.projector_file import HOP_LEVELS
from edge_alm.types import Sound

DATA = Path(__file__).resolve().parents[1] / "data"


@pytest.fixture(scope="module")
def dog(tmp_path_factory: pytest.TempPathFactory, require: object) -> Path:
    """An encoder that calls everything a dog."""
    pytest.importorskip("transformers")
    from transformers import ASTForAudioClassification

    from export.encoder import EncoderOptions, export_encoder

    folder = tmp_path_factory.mktemp("encoder")
    source = save_ast(folder / "ast")
    model = ASTForAudioClassification.from_pretrained(source)
    model.classifier.dense.bias.data[0] = 40.0
    model.save_pretrained(source)
    export_encoder(str(source), folder / "dog", EncoderOptions())
    return folder / "dog"


def test_the_command_hears_with_another_encoder(models: Path, dog: Path) -> None:
    command = [sys.executable, "-m", "edge_alm", "listen", str(DATA / "glass.flac"), "--json"]
    done = subprocess.run(
        [*command, "--encoder", str(dog)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(e["type"], e["label"]) for e in events] == [("sound", "Dog")] * 2


def test_events_are_the_same_however_often_it_hears(models: Path, dog: Path) -> None:
    with edge_alm.load(encoder=dog, llm=False, transcribe=False) as ears:
        first, second = (list(ears.listen(DATA / "home.flac")) for _ in range(2))
    assert first == second
    assert {e.label for e in first if isinstance(e, Sound)} == {"Dog"}


def test_its_embeddings_reach_the_language_model_by_a_projector_of_its_width(
    models: Path, dog: Path, tmp_path: Path
) -> None:
    definition = json.loads((BUNDLES / "tiny" / "bundle.json").read_text())
    shutil.copytree(dog, tmp_path / "encoder")
    manifest = tmp_path / "encoder" / MANIFEST
    definition["encoder"] = {"file": f"encoder/{MANIFEST}", "sha256": sha256_file(manifest)}
    for name in ("adapter", "phrases", "background", "golden"):
        del definition[name]
    model = load_bundle(transcriber=False).language_model
    assert model is not None
    width = check_gguf(model).n_embd
    assert width is not None
    rng = np.random.default_rng(0)
    n_in, hidden = 32 + HOP_LEVELS, 8
    np.savez(
        tmp_path / "projector.npz",
        ln_weight=np.ones(n_in, np.float32),
        ln_bias=np.zeros(n_in, np.float32),
        w1=rng.standard_normal((hidden, n_in)).astype(np.float32),
        b1=np.zeros(hidden, np.float32),
        w2=rng.standard_normal((width, hidden)).astype(np.float32) * 0.01,
        b2=np.zeros(width, np.float32),
    )
    projector = tmp_path / "projector.npz"
    definition["projector"] = {"file": projector.name, "sha256": sha256_file(projector)}
    (tmp_path / "bundle.json").write_text(json.dumps(definition))
    with edge_alm.load(tmp_path, transcribe=False) as ears:
        assert ears.takes_embeddings
        for _ in ears.listen(DATA / "glass.flac"):
            pass
        answer = ears.ask("What is heard?", choices=("dog", "rain"))
    assert answer.choice in ("dog", "rain")
    (tmp_path / "encoder" / "encoder.onnx").write_bytes(b"another")
    with pytest.raises(ModelBrokenError, match="expected"):
        edge_alm.load(tmp_path)


def test_an_encoder_of_another_width_or_of_no_use_is_refused(
    models: Path, dog: Path, tmp_path: Path
) -> None:
    from export.encoder import EncoderOptions, export_encoder

    with pytest.raises(ModelBrokenError, match=r"projector\.npz.*expected 36, got 1028"):
        edge_alm.load(encoder=dog)
    source = save_waveform(tmp_path / "hubert", "Hubert")
    export_encoder(str(source), tmp_path / "made", EncoderOptions())
    with pytest.raises(UsageError, match="expected scores, or a bundle whose projector"):
        edge_alm.load(encoder=tmp_path / "made", llm=False)
