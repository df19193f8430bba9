"""Whatever a user gives it: heard as far as it goes, or one clear line; never a traceback."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from command import DATA, Done, edge_alm, labels
from numpy.typing import NDArray

import edge_alm as package
from edge_alm.models.bundle import load_bundle
from edge_alm.runtime import Ears
from edge_alm.types import Event, Fault, Sound, Speech

HOME, CROW = DATA / "home.flac", DATA / "crow.flac"
BLOCKER = """
import os, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in os.environ["BLOCKED"].split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
"""

pytestmark = pytest.mark.usefixtures("models")


@pytest.fixture(scope="module")
def ears(models: Path) -> Iterator[Ears]:
    with package.load(llm=False) as ears:
        yield ears


@pytest.fixture(scope="module")
def scene() -> NDArray[np.float32]:
    """The scene's samples, 16 kHz."""
    samples, rate_hz = soundfile.read(HOME, dtype="float32")
    assert rate_hz == 16_000
    return np.asarray(samples, np.float32)


@pytest.fixture(scope="module")
def heard(ears: Ears) -> list[Event]:
    return list(ears.listen(HOME))


def words(events: list[Event]) -> list[str]:
    return [e.text for e in events if isinstance(e, Speech)]


def starts(events: list[Event]) -> dict[str, float]:
    """When each sound began for the first time."""
    found: dict[str, float] = {}
    for event in events:
        if isinstance(event, Sound) and event.state == "start":
            found.setdefault(event.label, event.start)
    return found


# audio in other forms


@pytest.mark.parametrize(
    ("rate_hz", "channels", "subtype"),
    [
        (16_000, 1, "PCM_24"),
        (16_000, 8, "PCM_16"),
        (44_100, 1, "PCM_16"),
        (96_000, 2, "PCM_24"),
        (48_000, 1, "FLOAT"),
    ],
)
def test_the_same_scene_in_another_form(
    rate_hz: int,
    channels: int,
    subtype: str,
    ears: Ears,
    scene: NDArray[np.float32],
    heard: list[Event],
    tmp_path: Path,
) -> None:
    samples = scene if rate_hz == 16_000 else soxr.resample(scene, 16_000, rate_hz, "VHQ")
    path = tmp_path / "scene.wav"
    soundfile.write(path, np.repeat(samples[:, None], channels, axis=1), rate_hz, subtype)
    events = list(ears.listen(path))
    assert words(events) == words(heard)
    wanted, found = starts(heard), starts(events)
    # A resampler may move a score across its threshold: of a faint companion, not of a sound.
    sure = {e.label for e in heard if isinstance(e, Sound) and e.confidence > 0.8}
    assert sure <= found.keys()
    for label in wanted.keys() & found.keys():
        assert found[label] == pytest.approx(wanted[label], abs=0.25), label


def test_telephone_quality(
    ears: Ears, scene: NDArray[np.float32], heard: list[Event], tmp_path: Path
) -> None:
    """Half of the spectrum is gone, and with it what tells some sounds apart; not the speech."""
    path = tmp_path / "scene.wav"
    soundfile.write(path, soxr.resample(scene, 16_000, 8_000), 8_000)
    events = list(ears.listen(path))
    assert words(events) == words(heard)
    assert {"Speech", "Toilet flush"} <= set(labels(events))


def test_broken_samples_are_silence_and_told(
    ears: Ears, scene: NDArray[np.float32], heard: list[Event], tmp_path: Path
) -> None:
    samples = scene.copy()
    samples[1000:1010] = np.nan
    samples[2000] = np.inf
    samples[3000] = -np.inf
    soundfile.write(tmp_path / "scene.wav", samples, 16_000, "FLOAT")
    *events, fault = ears.listen(tmp_path / "scene.wav")
    assert isinstance(fault, Fault)
    assert fault.code == "bad-samples"
    assert "12 samples" in fault.message
    assert words(events) == words(heard)
    assert labels(events) == labels(heard)


@pytest.mark.parametrize("suffix", ["wav", "ogg", "flac"])
def test_a_recording_that_is_cut_off_is_heard_as_far_as_it_goes(
    suffix: str, scene: NDArray[np.float32], tmp_path: Path
) -> None:
    path = tmp_path / f"scene.{suffix}"
    soundfile.write(path, scene, 16_000)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    done = edge_alm("listen", path, "--json", "--no-speech")
    assert (done.status, done.err) == (0, "")
    faults = [e for e in done.events if isinstance(e, Fault)]
    assert [fault.code for fault in faults] == ["truncated"]
    assert path.name in faults[0].message
    assert "Shatter" in labels(done.events)
    assert "Caw" not in labels(done.events)


def test_a_fault_of_a_recording_is_told_beside_the_answer(
    scene: NDArray[np.float32], tmp_path: Path, require: Callable[[object, str], None]
) -> None:
    require("llama_cpp", "the extra llm")
    path = tmp_path / "cut.wav"
    soundfile.write(path, scene[: 4 * 16_000], 16_000)
    path.write_bytes(path.read_bytes()[:100_000])
    done = edge_alm("ask", path, "What was heard?")
    assert done.status == 0
    assert done.err.startswith("edge-alm: fault: cut.wav: ends after 3.1")
    assert done.err.count("\n") == 1
    assert done.out.strip()
    assert "{" not in done.out, "the answer alone is printed"


# no audio at all


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("missing.wav", None, "got no such file; check the path"),
        ("folder", "", "got a directory; name one file in it"),
        ("empty.wav", b"", "got an empty file"),
        ("text.wav", b"This is no audio at all, but words.\n" * 100, "convert it with: ffmpeg"),
        ("header.wav", b"RIFF\x24\0\0\0WAVEfmt ", "expected audio that libsndfile reads"),
        ("two\nlines.wav", None, "two lines.wav: expected"),
    ],
)
def test_what_is_no_recording(
    name: str, content: bytes | str | None, told: str, tmp_path: Path
) -> None:
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    elif content is not None:
        (tmp_path / name).mkdir()
    done = edge_alm("listen", name, "--no-speech", cwd=tmp_path)
    assert told in done.mistake()
    assert done.out == ""


def test_a_header_without_samples(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 16_000)
    assert "a header without samples" in edge_alm("listen", tmp_path / "none.wav").mistake()


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    name = b"caw\xff.wav".decode(errors="surrogateescape")
    samples, _ = soundfile.read(CROW)
    soundfile.write(tmp_path / "plain.wav", np.tile(samples, 4), 16_000)
    (tmp_path / name).write_bytes((tmp_path / "plain.wav").read_bytes()[:-1000])
    done = edge_alm("listen", name, "--json", "--no-speech", cwd=tmp_path)
    assert (done.status, done.err) == (0, "")
    assert labels(done.events)[0] == "Caw"
    (fault,) = [e for e in done.events if isinstance(e, Fault)]
    assert name in fault.message, "JSON has a way to write such a name"


@pytest.mark.parametrize(
    ("stdin", "told"),
    [
        (b"", "stdin: expected 16 kHz mono s16le samples without a header, got the end"),
        (b"RIFF" + bytes(1000), "what looks like a WAV file; give the file's name instead of '-'"),
    ],
)
def test_standard_input_that_is_no_audio(stdin: bytes, told: str) -> None:
    assert told in edge_alm("listen", "-", "--no-speech", stdin=stdin).mistake()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["listen", "mic:no such thing"], "microphone 'no such thing'"),
        (["listen", "serial:"], "expected serial:PATH or serial:PATH@BAUD"),
        (["listen", "ble:AA"], "expected ble:ADDRESS"),
        (["listen", HOME, "--bundle", "none"], 'bundle none: expected "default" or a folder'),
        (["chat", "no.wav"], "no.wav: expected audio"),
    ],
)
def test_a_source_or_bundle_that_is_not_there(
    words: list[object], told: str, require: Callable[[object, str], None]
) -> None:
    if words[0] == "chat":
        require("llama_cpp", "the extra llm")
    if "mic:" in str(words[1]):
        require("sounddevice", "the extra mic")
    assert told in edge_alm(*words).mistake()


# models


def test_without_models_the_mend_is_told(tmp_path: Path) -> None:
    for command in (("listen", HOME), ("ask", HOME, "What?"), ("bench", HOME)):
        line = edge_alm(*command, EDGE_ALM_HOME=str(tmp_path / "none")).mistake()
        assert line.endswith("; edge-alm models pull\n")
    assert not (tmp_path / "none").exists(), "nothing is made by asking"


def damaged_store(models: Path, folder: Path, damage: Callable[[bytes], bytes], part: Path) -> Path:
    """A copy of the store in which one file is damaged."""
    store = folder / "store"
    for path in models.glob("*/*"):
        if path.parent.name in ("staging", "wheels") or not path.is_file():
            continue
        copy = store / path.relative_to(models)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path == part:
            copy.write_bytes(damage(path.read_bytes()))
        else:
            try:
                copy.hardlink_to(path)
            except OSError:  # another file system
                shutil.copy(path, copy)
    return store


def flip(position: int) -> Callable[[bytes], bytes]:
    def damage(data: bytes) -> bytes:
        return data[:position] + bytes([data[position] ^ 0x55]) + data[position + 1 :]

    return damage


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


PARTS = {
    "vad": lambda bundle: bundle.vad,
    "transcriber": lambda bundle: bundle.transcriber / "model.bin",
    "language_model": lambda bundle: bundle.language_model,
}


@pytest.mark.parametrize(
    ("role", "damage"),
    [
        *((role, damage) for role in PARTS for damage in (flip(0), cut)),
        ("language_model", flip(9)),  # the number of tensors
    ],
)
def test_a_broken_model_is_one_line_and_no_crash(
    role: str,
    damage: Callable[[bytes], bytes],
    models: Path,
    tmp_path: Path,
) -> None:
    part = PARTS[role](load_bundle())
    store = damaged_store(models, tmp_path, damage, part)
    line = edge_alm("ask", CROW, "What?", EDGE_ALM_HOME=str(store)).mistake()
    assert part.name in line
    assert "edge-alm models" in line


@pytest.mark.parametrize("damage", [flip(0), cut])
@pytest.mark.parametrize("role", ["encoder", "projector", "adapter"])
def test_a_broken_part_of_a_bundle_is_one_line_and_no_crash(
    role: str, damage: Callable[[bytes], bytes], models: Path, tmp_path: Path
) -> None:
    part: Path = getattr(load_bundle(), role)
    folder = tmp_path / "bundle"
    shutil.copytree(part.parent, folder)
    (folder / part.name).write_bytes(damage(part.read_bytes()))
    assert part.name in edge_alm("ask", CROW, "What?", "--bundle", folder).mistake()


# extras


@pytest.fixture
def blocked(tmp_path: Path) -> Callable[..., Done]:
    """Runs the command as if some packages were not installed."""
    (tmp_path / "sitecustomize.py").write_text(BLOCKER, encoding="utf-8")

    def run(packages: str, *words: object) -> Done:
        return edge_alm(*words, PYTHONPATH=str(tmp_path), BLOCKED=packages)

    return run


@pytest.mark.parametrize(
    ("packages", "command", "mend"),
    [
        ("llama_cpp", ("ask", HOME, "What?"), "pip install 'edge-alm[llm]'"),
        ("llama_cpp", ("listen", HOME, "--ask", "What?"), "pip install 'edge-alm[llm]'"),
        ("llama_cpp", ("chat", HOME), "pip install 'edge-alm[llm]'"),
        ("sounddevice,pyaudio", ("listen",), "pip install 'edge-alm[mic]'"),
        ("pyaudio", ("listen", "--backend", "pyaudio"), "pip install 'edge-alm[pyaudio]'"),
        ("onnxruntime", ("listen", HOME), "pip install edge-alm"),
    ],
)
def test_a_missing_package_is_told_with_its_command(
    packages: str, command: tuple[object, ...], mend: str, blocked: Callable[..., Done]
) -> None:
    done = blocked(packages, *command)
    assert done.mistake().endswith(f"; {mend}\n")
    assert done.out == "", "it is told before anything is heard"


def test_without_the_transcriber_sounds_are_heard(
    heard: list[Event], blocked: Callable[..., Done]
) -> None:
    done = blocked("ctranslate2,llama_cpp", "listen", HOME, "--json")
    assert (done.status, done.err) == (0, "")
    assert labels(done.events) == labels(heard)
    (fault,) = [e for e in done.events if isinstance(e, Fault)]  # once, for two sentences
    assert fault.code == "missing-extra"
    assert fault.message.startswith("speech has no text")
    assert fault.hint == "pip install 'edge-alm[asr]'"
    assert blocked("ctranslate2", "listen", HOME, "--json", "--no-speech").events == [
        e for e in done.events if e != fault
    ]
