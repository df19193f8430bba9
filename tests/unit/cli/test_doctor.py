"""Doctor on this machine, on one without models, and with libraries that crash or hang."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from edge_alm.cli import doctor
from edge_alm.native import Cpu, Outcome, llama_reinstall_command, this_cpu

AMX_CPU = Cpu("Linux", "x86_64", "", frozenset({"sse4_2", "avx", "avx2", "amx_tile"}))


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    doctor.add_parser(parser.add_subparsers())
    args = parser.parse_args(["doctor", *arguments])
    status: int = args.run(args)
    return status


def run_json(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    status = run("--json")
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 1
    return status, json.loads(out)


def plant(folder: Path, monkeypatch: pytest.MonkeyPatch, module: str, code: str) -> None:
    """Let a probe import this in place of the real library."""
    (folder / f"{module}.py").write_text(code, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.fixture
def no_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_ALM_HOME", str(tmp_path / "none"))


@pytest.mark.usefixtures("no_models")
def test_without_models_the_base_works_and_each_model_has_its_mend(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, report = run_json(capsys)
    checks = {check["name"]: check for check in report["checks"]}
    for name in ("audio files", "onnxruntime"):
        assert checks[name]["state"] == "ok", checks[name]
        assert checks[name]["version"]
        assert checks[name]["ms"] > 0
    assert checks["llama.cpp"]["state"] == checks["transcriber"]["state"] == "note"
    assert checks["model yamnet"]["state"] == "broken"
    assert checks["model yamnet"]["mend"] == "edge-alm models pull yamnet"
    assert (status, report["ok"]) == (2, False)


@pytest.mark.usefixtures("no_models")
def test_a_crashing_library_is_told_with_its_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(tmp_path, monkeypatch, "llama_cpp", "import ctypes; ctypes.string_at(0)")
    assert run() == 2
    out = capsys.readouterr().out
    assert "crashed with SIGSEGV" in out
    assert f"mend: {llama_reinstall_command(this_cpu())}" in out
    assert out.splitlines()[-1].startswith("broken: llama.cpp")


@pytest.mark.usefixtures("no_models")
def test_other_libraries_are_checked_after_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGILL)"
    plant(tmp_path, monkeypatch, "soundfile", code)
    _, report = run_json(capsys)
    checks = {check["name"]: check for check in report["checks"]}
    assert checks["audio files"]["message"] == "crashed with SIGILL"
    assert checks["audio files"]["mend"].endswith("pip install --force-reinstall soundfile")
    assert checks["onnxruntime"]["state"] == "ok"


@pytest.mark.usefixtures("no_models")
def test_a_hanging_library_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(tmp_path, monkeypatch, "soundfile", "import time; time.sleep(60)")
    monkeypatch.setattr(doctor, "TIMEOUT_S", 2.0)
    monkeypatch.setattr(doctor, "PROBES", {"audio files": doctor.PROBES["audio files"]})
    _, report = run_json(capsys)
    assert report["checks"][0]["message"] == "hangs: no end within 2 s"


@pytest.mark.parametrize(
    ("cpu", "because"),
    [
        (AMX_CPU, "it was built for another CPU, or for this one's AMX"),
        (Cpu("Linux", "aarch64", "", frozenset()), "it was built for another CPU"),
    ],
)
def test_llama_cpps_crash_is_explained(cpu: Cpu, because: str) -> None:
    check = doctor.judge("llama.cpp", Outcome("crashed", {}, "SIGSEGV", 1.0), cpu)
    assert check.message == f"crashed with SIGSEGV: {because}"
    assert check.mend == llama_reinstall_command(cpu)


def test_a_library_that_raises_is_broken_with_its_own_words() -> None:
    reason = "ImportError: libgomp.so.1: cannot open shared object file"
    check = doctor.judge("onnxruntime", Outcome("failed", {}, reason, 1.0), AMX_CPU)
    assert (check.state, check.message) == ("broken", reason)
    assert check.mend == f"{sys.executable} -m pip install --force-reinstall onnxruntime"


def test_a_missing_extra_is_a_note(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr(doctor, "this_cpu", lambda: AMX_CPU)
    doctor.report_probe("llama.cpp")
    report = json.loads(capsys.readouterr().out)
    assert report["state"] == "note"
    assert report["mend"].startswith("CMAKE_ARGS='-DGGML_NATIVE=OFF ")
    assert report["mend"].endswith(" pip install 'edge-alm[llm]'")
