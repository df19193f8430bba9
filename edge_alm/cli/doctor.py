"""``edge-alm doctor``: does everything run here, and if not, what mends it.

A native library that was built for another CPU does not raise, it kills the process. So each
one does a tiny real job in a process of its own, and this process tells how that ended.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, TypeAlias

from edge_alm.cli.tune import tune
from edge_alm.errors import EdgeAlmError, ModelBrokenError, ModelMissingError, missing_extra
from edge_alm.native import (
    Cpu,
    Outcome,
    llama_cmake_args,
    llama_reinstall_command,
    run_probe,
    this_cpu,
)

TIMEOUT_S = 60.0
"""For one probe. The slowest takes 3 s on two x86 cores, and a cold SD card is ten times slower."""

# An ONNX model of one node, y = x + x, for a machine that has no models yet. Written with
# onnx.helper (opset 13, IR 8): float input x [n], float output y [n].
_TINY_ONNX = bytes.fromhex(
    "080812003a370a0e0a01780a017812017922034164641201675a100a0178120b0a09080112050a0312016e"
    "62100a0179120b0a09080112050a0312016e42040a00100d"
)

Report: TypeAlias = dict[str, Any]
"""What a probe found: ``message`` and, where it makes sense, ``version``, ``ms``, ``mend``."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report."""

    name: str
    state: Literal["ok", "note", "broken"]
    """A note is something optional that is not there; broken is what stops a user."""
    message: str
    version: str = ""
    ms: float | None = None
    """Of the tiny job alone, without the process's start and imports."""
    mend: str = ""
    """A command or an order to the reader; empty when ok."""


def add_parser(subparsers: Any) -> None:
    """Add the command to what ``ArgumentParser.add_subparsers`` returned."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "doctor",
        help="check that everything runs on this machine",
        description="Run every native library once and say what is broken or missing, each "
        "with the mend. Exit status 2 when a library or a default model does not work or a "
        "default model is not here; a missing extra or microphone is only noted.",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument(
        "--tune",
        action="store_true",
        help="time the forms of the sound encoder here, and use the fastest from now on",
    )
    parser.add_argument(
        "--bundle", default="default", metavar="NAME|DIR", help="with --tune (default: %(default)s)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the report; 0 when nothing is broken, else 2."""
    if args.tune:
        tune(args.bundle, json_lines=args.json)
        return 0
    cpu = this_cpu()
    checks = []
    if not args.json:
        print(_headline(cpu))
    for check in all_checks(cpu):
        checks.append(check)
        if not args.json:
            print(_to_text(check), flush=True)
    broken = [check.name for check in checks if check.state == "broken"]
    if args.json:
        print(
            json.dumps(
                {
                    "ok": not broken,
                    "edge_alm": _version("edge-alm"),
                    "python": platform.python_version(),
                    "cpu": {
                        "system": cpu.system,
                        "machine": cpu.machine,
                        "name": cpu.name,
                        "amx": cpu.has_amx,
                        "cmake_args": " ".join(llama_cmake_args(cpu)),
                    },
                    "checks": [asdict(check) for check in checks],
                },
                ensure_ascii=False,
            )
        )
    else:
        print(f"broken: {', '.join(broken)}" if broken else "all that is here works")
    return 2 if broken else 0


def all_checks(cpu: Cpu) -> Iterator[Check]:
    """Every check, as soon as it is done."""
    for name in PROBES:
        code = f"from edge_alm.cli.doctor import report_probe; report_probe({name!r})"
        yield judge(name, run_probe(code, TIMEOUT_S), cpu)
    yield from _check_models()
    yield from _check_encoder()


def judge(name: str, outcome: Outcome, cpu: Cpu) -> Check:
    """What a probe's end means for the user."""
    if outcome.status == "ok":
        return Check(name, **outcome.report)
    words = {
        "crashed": f"crashed with {outcome.reason}",
        "timeout": f"hangs: {outcome.reason}",
        "failed": outcome.reason,
    }
    message, package = words[outcome.status], PACKAGES[name]
    if name != "llama.cpp":
        mend = f"{shlex.quote(sys.executable)} -m pip install --force-reinstall {package}"
        return Check(name, "broken", message, _version(package), mend=mend)
    if outcome.status == "crashed":
        message += ": it was built for another CPU"
        message += ", or for this one's AMX" if cpu.has_amx else ""
    return Check(name, "broken", message, _version(package), mend=llama_reinstall_command(cpu))


def report_probe(name: str) -> None:
    """In the probe's own process: do the job and print the report as one JSON line."""
    report: Report
    try:
        report = {"state": "ok", **PROBES[name]()}
    except EdgeAlmError as error:  # it knows its mend; anything else is told by its last line
        optional = error.code in ("missing-extra", "model-missing")
        mend, error.hint = error.hint, ""
        if error.code == "missing-extra" and name == "llama.cpp":
            switches = " ".join(llama_cmake_args(this_cpu()))
            mend = f"CMAKE_ARGS={shlex.quote(switches)} {mend}" if switches else mend
        report = {"state": "note" if optional else "broken", "message": str(error), "mend": mend}
    report.setdefault("version", _version(PACKAGES[name]))
    print(json.dumps(report))


# The jobs. Each runs in its own process and imports its library itself.


def _read_audio() -> Report:
    import io

    import numpy as np
    import soundfile
    import soxr

    def job() -> None:
        encoded = io.BytesIO()
        soundfile.write(encoded, np.zeros(44_100, np.float32), 44_100, format="OGG")
        encoded.seek(0)
        samples, rate_hz = soundfile.read(encoded, dtype="float32")
        soxr.resample(samples, rate_hz, 16_000)

    return {"message": "1 s of Ogg written, read and resampled", "ms": _best_ms(job)}


def _run_onnx() -> Report:
    import numpy as np
    import onnxruntime

    from edge_alm.models import store

    try:
        folder = store.locate("yamnet")
    except ModelMissingError:
        session = onnxruntime.InferenceSession(_TINY_ONNX, providers=["CPUExecutionProvider"])
        ms = _best_ms(lambda: session.run(None, {"x": np.ones(3, np.float32)}))
        return {"message": "a graph of one node (the sound encoder is not here)", "ms": ms}

    from edge_alm.hearing.encoder import Yamnet

    encoder = Yamnet(folder / "yamnet.onnx", folder / "yamnet_class_map.csv")
    patch = np.zeros((96, 64), np.float32)
    return {"message": "one patch of sound encoded", "ms": _best_ms(lambda: encoder.encode(patch))}


def _run_llama() -> Report:
    _import_extra("llm", "llama_cpp")

    from edge_alm.models import store
    from edge_alm.reasoning.llama import LlamaContext

    (model,) = store.locate("smollm2-135m-instruct").glob("*.gguf")
    n = 32
    with LlamaContext(model, n_ctx=256) as context:

        def job() -> None:
            context.clear()
            tokens = [*context.tokenize("a dog barks " * n)][:n]
            context.decode(tokens, range(n), [0] * n, [False] * (n - 1) + [True])

        ms = _best_ms(job)
    return {"message": f"{n} tokens read, {n / ms * 1000:.0f} a second", "ms": ms}


def _run_transcriber() -> Report:
    import numpy as np

    _import_extra("asr", "ctranslate2")

    from edge_alm.hearing.engines import open_transcriber
    from edge_alm.models import store

    transcriber = open_transcriber("ctranslate2", store.locate("whisper-tiny.en"))
    second = np.random.default_rng(0).normal(0.0, 0.01, 16_000).astype(np.float32)
    ms = _best_ms(lambda: transcriber.transcribe(second), times=2)
    return {"message": "1 s of audio transcribed", "ms": ms}


def _import_extra(extra: str, module: str) -> None:
    """Import a library, so that a crash in that shows even on a machine without the models."""
    if importlib.util.find_spec(module) is None:
        raise missing_extra(extra, module.replace("_", "-"))
    importlib.import_module(module)  # there but broken: its own error is the reason


def _find_microphones() -> Report:
    from edge_alm.cli.devices import find_inputs

    inputs, unavailable = find_inputs()
    names = list(dict.fromkeys(device.name for device in inputs))
    if names:
        return {"message": f"{len(names)}: {', '.join(names)}"}
    if "sounddevice" in unavailable:
        raise unavailable["sounddevice"]
    return {
        "state": "note",
        "message": "none found",
        "mend": "plug one in or start PulseAudio or PipeWire; files and stdin work without",
    }


PROBES: dict[str, Callable[[], Report]] = {
    "audio files": _read_audio,
    "onnxruntime": _run_onnx,
    "llama.cpp": _run_llama,
    "transcriber": _run_transcriber,
    "microphones": _find_microphones,
}
"""Name to job, in the report's order."""

PACKAGES = {
    "audio files": "soundfile",
    "onnxruntime": "onnxruntime",
    "llama.cpp": "llama-cpp-python",
    "transcriber": "ctranslate2",
    "microphones": "sounddevice",
}
"""The package whose version is shown and whose reinstallation is the mend."""


def _check_models() -> Iterator[Check]:
    from edge_alm.models import store
    from edge_alm.models.catalog import default_artefacts

    for name in default_artefacts():
        try:
            folder = store.locate(name)
        except (ModelMissingError, ModelBrokenError) as error:
            mend, error.hint = error.hint, ""
            yield Check(f"model {name}", "broken", str(error), mend=mend)
        else:
            yield Check(f"model {name}", "ok", str(folder))


def _check_encoder() -> Iterator[Check]:
    """Which form of the default bundle's encoder is in use, where it has more than one."""
    from edge_alm.models.bundle import bundle_encoders, load_bundle

    try:
        own, *others = bundle_encoders()
        used = load_bundle(language_model=False, transcriber=False).encoder
    except EdgeAlmError:  # a missing model has been told above
        return
    if used != own:
        yield Check("encoder", "ok", f"{used.name}, the fastest here")
    elif others:
        yield Check("encoder", "ok", f"{own.name}; edge-alm doctor --tune may find a faster form")


def _best_ms(job: Callable[[], object], times: int = 5) -> float:
    """The shortest of some runs, in ms: what the library can do, whatever else goes on."""
    took_s = []
    for _ in range(times):
        began_s = time.perf_counter()
        job()
        took_s.append(time.perf_counter() - began_s)
    return round(min(took_s) * 1000, 3)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _headline(cpu: Cpu) -> str:
    parts = [f"edge-alm {_version('edge-alm')}".strip(), f"Python {platform.python_version()}"]
    parts += [f"{cpu.system} {cpu.machine}", cpu.name, "AMX" if cpu.has_amx else ""]
    return ", ".join(filter(None, parts))


def _to_text(check: Check) -> str:
    speed = "" if check.ms is None else f" ({check.ms:.{0 if check.ms >= 100 else 1}f} ms)"
    name = f"{check.name} {check.version}".strip()
    line = f"{check.state:6}  {name:28}  {check.message}{speed}"
    return f"{line}\n{'':8}mend: {check.mend}" if check.mend else line
