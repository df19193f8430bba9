"""All peers, once: a small run with the models."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from conftest import ROOT, Require
from sherpa_builders import write_tones

from benchmarks.ask_latency import ask_cold, read_audio
from benchmarks.peers.__main__ import main
from benchmarks.peers.answers import hold
from benchmarks.peers.cascade import listen_and_ask
from benchmarks.peers.plain_llama import PlainLlama
from benchmarks.peers.speech import open_speech
from benchmarks.peers.table import TITLES
from edge_alm import runtime
from edge_alm.bench.compare import compare
from edge_alm.bench.report import read_report
from edge_alm.errors import SourceError
from edge_alm.models.bundle import load_bundle
from edge_alm.reasoning.llama import LlamaContext
from edge_alm.types import SAMPLE_RATE_HZ

pytestmark = pytest.mark.usefixtures("models")
SMALL = ("--rounds", "1", "--lengths", "3", "6", "--prompts", "2", "--tokens", "2")


def test_all_comparisons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # no corpus: the recordings of the tests are read
    monkeypatch.setattr("benchmarks.peers.cascade.LENGTH_S", 2.0)
    monkeypatch.setattr("benchmarks.peers.writing.HELD_TOKENS", (0, 40))
    out, html = tmp_path / "a.json", tmp_path / "a.html"
    audio = str(ROOT / "tests" / "data")
    main([*SMALL, "--audio", audio, "--out", str(out), "--html", str(html), "--json"])
    report = read_report(out)
    assert json.loads(capsys.readouterr().out) == json.loads(out.read_text())
    assert {figure.group for figure in report.figures} == set(TITLES)
    for figure in report.figures:
        assert min(figure.samples) >= 0.0
    for name in ("3 s/the runtime", "6 s/llama.cpp, the same scene"):
        assert report.find(f"answers/{name}") is not None
    for part in ("first token", "last token", "CPU after the question"):
        assert report.find(f"cascade/{part}/the runtime") is not None
        assert report.find(f"cascade/{part}/naive, the runtime's own reading") is not None
    for name in ("the runtime", "after 40 tokens/the runtime", "after 40 tokens/llama.cpp"):
        assert report.find(f"decode/{name}") is not None
    notes = "\n".join(report.values["notes"])
    assert "LiteRT left out" in notes
    assert "sherpa-onnx left out" in notes
    wrong = report.find("speech/words wrong/the runtime")
    assert wrong is not None
    assert wrong.samples[0] < 50.0
    assert not compare(report, report).differs
    ET.fromstring(html.read_text())


def test_a_scene_that_outgrew_the_context_is_prefilled_as_it_is_held(require: Require) -> None:
    require("llama_cpp", "the extra llm")
    bundle = replace(load_bundle(), context_tokens=300)
    assert bundle.language_model is not None
    model, adapter = bundle.language_model, bundle.adapter
    audio = read_audio(ROOT / "tests" / "data", 90)
    with LlamaContext(model, n_ctx=300, adapter=adapter) as llama:
        scene = hold(bundle, llama, audio)
        pinned, *held = scene.same
        assert sum(map(len, held)) == scene.memory.end - len(pinned)
        assert sum(map(len, scene.text)) <= llama.n_ctx - scene.memory.reserved_tokens
        question = scene.question(0, compared=True)
        with PlainLlama(model, n_ctx=300, adapter=adapter) as cold:
            ask_cold(cold, [*scene.same, question])
            ask_cold(cold, [*scene.text, question])
        assert scene.outgrew
        for tokens in (1024, 600):  # room for all, and not
            with PlainLlama(model, n_ctx=tokens, adapter=adapter) as larger:
                scene.ask_more(larger, 0)
                read = larger.span(0)[1] - len(scene.question(0, compared=True))
                fits = larger.n_ctx - scene.memory.reserved_tokens
                heard = sum(map(len, scene.all))
                assert read == pytest.approx(min(heard, fits), abs=24)  # of whole items


def test_sherpa_reads_too(tmp_path: Path, require: Require) -> None:
    require("onnx", "the extra export")
    require("sherpa_onnx", "the extra sherpa")
    folders = [write_tones(tmp_path / "tones", streaming=False), tmp_path / "missing"]
    section = open_speech(load_bundle(), tmp_path / "none", 1, folders)
    names = [name for name, _ in section.peers]
    assert "sherpa-onnx, tones" in names
    assert "sherpa-onnx, missing" not in names
    assert any(note.startswith("sherpa-onnx, missing left out: ") for note in section.notes)


def test_without_a_package_its_peer_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    section = open_speech(load_bundle(), tmp_path / "none", 1, [])
    assert [name for name, _ in section.peers] == ["the runtime"]
    (told,) = [note for note in section.notes if note.startswith("faster-whisper left out: ")]
    assert "edge-alm[faster-whisper]" in told
    assert "\n" not in told


def test_a_stream_that_fails_is_no_endless_wait(
    monkeypatch: pytest.MonkeyPatch, require: Require
) -> None:
    require("llama_cpp", "the extra llm")

    def fail(self: object) -> None:
        raise SourceError("stream", expected="samples", got="none")

    with runtime.load(transcribe=False) as ears:
        monkeypatch.setattr("benchmarks.peers.cascade.Stream.packets", fail)
        with pytest.raises(SourceError):
            listen_and_ask(ears, np.zeros(SAMPLE_RATE_HZ, np.float32), 0.5, "What was it?")


def test_a_mistake_is_told_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--out", str(tmp_path / "none" / "a.json")])
    assert stop.value.code == 2
    assert "expected a file that can be written" in capsys.readouterr().err
