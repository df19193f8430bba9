"""The shipped forms of the sound encoder: what they are made of, lose and gain; and who is used."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from command import DATA, edge_alm
from conftest import Require

from edge_alm.hearing.audioset import read_labels
from edge_alm.models.catalog import BUNDLES, default_artefacts
from edge_alm.models.onnx_session import open_session
from edge_alm.native import this_cpu
from quantize.agreement import compare, run
from quantize.encoder_bench import Recordings, ten_class_accuracy
from quantize.encoders import read_model, write_model
from quantize.linear import find_layers, rewrite
from quantize.recordings import Clip, read_all, read_clips
from quantize.timing import time_in_turn
from quantize.weights import store_in_8_bits

LEFT_IN_FLOAT = tuple(f"/model/layer{i}/pointwise_conv/conv/Conv_output_0" for i in (12, 13))
TINY = BUNDLES / "tiny"


@pytest.mark.parametrize("name", ["encoder.onnx", "encoder_int8.onnx"])
def test_the_shipped_forms_are_what_the_code_makes(name: str, models: Path, tmp_path: Path) -> None:
    model = read_model(models / "yamnet" / "yamnet.onnx")
    if name == "encoder_int8.onnx":
        layers = [layer.name for layer in find_layers(model)]
        rewrite(model, {layer: "int8" for layer in layers if layer not in LEFT_IN_FLOAT})
    store_in_8_bits(model)
    write_model(model, tmp_path / name)
    assert (tmp_path / name).read_bytes() == (TINY / name).read_bytes()


def test_int8_is_small_and_right(models: Path, esc10: Path) -> None:
    folder, int8 = models / "yamnet", TINY / "encoder_int8.onnx"
    assert int8.stat().st_size <= 4.2e6
    clips = read_clips(esc10)[::2]
    patches, owners = read_all(clips)
    inputs = [{"audio": patch[None]} for patch in patches]
    recordings = Recordings(inputs, owners, tuple(clip.label for clip in clips))
    labels = read_labels(folder / "yamnet_class_map.csv")
    before, after = (run(open_session(p), inputs) for p in (folder / "yamnet.onnx", int8))
    found = compare(before, after)
    assert found.cosine > 0.999
    assert found.cosine_low > 0.995
    scores = [outputs.scores for outputs in (before, after) if outputs.scores is not None]
    was, now = (ten_class_accuracy(own, recordings, labels) for own in scores)
    assert was is not None
    assert now is not None
    assert was > 0.92
    assert now >= was - 0.01


def test_int8_is_quick(models: Path) -> None:
    wanted = {"avx512_vnni", "avx_vnni"}
    if not wanted & this_cpu().flags:
        pytest.skip("8-bit products are only sure to pay on a CPU with VNNI")
    patches, _ = read_all(read_clips_of_data())
    paths = (models / "yamnet" / "yamnet.onnx", TINY / "encoder_int8.onnx")
    sessions = [open_session(path) for path in paths]
    jobs = [
        partial(lambda session, i: session.run(None, {"audio": patches[i % len(patches)][None]}), s)
        for s in sessions
    ]
    # On a busy machine the best of many is what says something; 0.65 on a quiet EPYC.
    was, now = time_in_turn(jobs, 300)
    assert now.best_ms <= 0.8 * was.best_ms


def read_clips_of_data() -> list[Clip]:
    return [Clip(DATA / f"{name}.flac", name) for name in ("glass", "crow", "doorbell")]


def test_a_tuned_form_answers_as_the_bundle_does(
    models: Path, tmp_path: Path, require: Require
) -> None:
    require("llama_cpp", "the extra llm")
    home = tmp_path / "home"
    home.mkdir()
    for name in default_artefacts():
        (home / name).symlink_to(models / name)
    tuned = json.loads(edge_alm("doctor", "--tune", "--json", EDGE_ALM_HOME=str(home)).out)
    assert [trial["file"] for trial in tuned["trials"]] == ["encoder_int8.onnx", "yamnet.onnx"]
    assert not any(trial["reason"] for trial in tuned["trials"])
    # Which form won is the machine's affair; int8 has to be able to.
    kept = home / "tuning.json"
    values = json.loads(kept.read_text())
    for entry in values["bundles"].values():
        entry["encoder"] = 1
    kept.write_text(json.dumps(values))
    words = ("What broke?", "--choice", "glass", "--choice", "a chair")
    assert (
        edge_alm("ask", DATA / "home.flac", *words, EDGE_ALM_HOME=str(home)).out.strip() == "glass"
    )
    checks = json.loads(edge_alm("doctor", "--json", EDGE_ALM_HOME=str(home)).out)["checks"]
    (encoder,) = (check for check in checks if check["name"] == "encoder")
    assert encoder["message"].startswith("encoder_int8.onnx, ")
