"""The transcriber with its model, on recordings of people and of things."""

from __future__ import annotations

import csv
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from edge_alm.errors import MissingExtraError, ModelBrokenError, ModelMissingError
from edge_alm.hearing.engines import open_transcriber
from edge_alm.hearing.segmenter import SpeechSegmenter
from edge_alm.hearing.transcriber import Transcriber
from edge_alm.hearing.vad import SileroVad
from edge_alm.hearing.whisper import WhisperTranscriber
from edge_alm.types import Samples
from quantize.speech_files import word_errors

DATA = Path(__file__).resolve().parent.parent / "data"
RATE = 16_000


def read(name: str) -> Samples:
    samples, rate = soundfile.read(DATA / name, dtype="float32", always_2d=True)
    mono: Samples = soxr.resample(samples.mean(axis=1), rate, RATE)
    return mono


def prompts() -> dict[str, str]:
    """What is said in each recording of speech."""
    with (DATA / "LICENCES.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {r["file"]: r["what"] for r in rows if r["file"].startswith("speech_")}


def words(text: str) -> list[str]:
    kept = "".join(c if c.isalnum() else " " for c in text.lower().replace("'", ""))
    return kept.split()


@pytest.fixture(scope="module")
def folder(models: Path) -> Path:
    return models / "whisper-tiny.en"


@pytest.fixture(scope="module")
def transcriber(folder: Path, require: Callable[[object, str], None]) -> Transcriber:
    require("ctranslate2", "the extra asr is not installed")
    return open_transcriber("ctranslate2", folder)


def test_few_words_are_wrong(transcriber: Transcriber) -> None:
    """99 prompts have 5.2 % of their words wrong; these six are easy ones."""
    wrong = total = 0
    for name, text in prompts().items():
        transcript = transcriber.transcribe(read(name))
        assert transcript.confidence > 0.3, name
        wrong += word_errors(words(text), words(transcript.text))
        total += len(words(text))
    assert total > 40
    assert wrong <= 0.15 * total


def test_text_stays_in_noise_and_in_pieces(transcriber: Transcriber, models: Path) -> None:
    """Through VAD and segmenter, with silence around and noise 20 dB below."""
    vad = SileroVad(models / "silero-vad" / "silero_vad.onnx")
    generator = np.random.default_rng(0)
    wrong = total = 0
    for name, text in prompts().items():
        speech = np.pad(read(name), RATE)
        level = 0.1 * np.sqrt(np.mean(speech**2))
        speech += level * generator.standard_normal(len(speech)).astype(np.float32)
        segmenter = SpeechSegmenter()
        probabilities = np.concatenate((vad.push(speech), vad.flush()))
        segments = segmenter.push(probabilities) + segmenter.flush(len(speech))
        said = [transcriber.transcribe(speech[s.start_sample : s.end_sample]) for s in segments]
        wrong += word_errors(words(text), words(" ".join(t.text for t in said)))
        total += len(words(text))
    assert wrong <= 0.2 * total


def test_short_speech_reads_the_same_beside_all_the_silence(transcriber: Transcriber) -> None:
    """What is encoded alone, and with all 30 s."""
    assert isinstance(transcriber, WhisperTranscriber)
    same = 0
    for name in prompts():
        samples = read(name)
        features = transcriber._encode(samples, 30 * RATE)
        whole = transcriber._decode(features, len(samples)).transcript()
        same += transcriber.transcribe(samples).text == whole.text
    assert same >= 0.8 * len(prompts())


@pytest.mark.parametrize("seconds", [1 / RATE, 0.3, 1.1, 9.9, 10.1])
def test_any_length_is_read(transcriber: Transcriber, seconds: float) -> None:
    """1.1 s and the pause are 80 positions; CTranslate2 would take those alone for a mel."""
    speech = np.resize(read("speech_service.flac"), round(seconds * RATE))
    for transcript in (transcriber.transcribe(speech), transcriber.draft(speech)):
        assert 0.0 <= transcript.no_speech <= 1.0
        assert 0.0 <= transcript.confidence <= 1.0


def test_what_has_been_said_so_far(transcriber: Transcriber) -> None:
    right = total = 0
    for name, text in prompts().items():
        samples = read(name)
        for share in (0.3, 0.5, 0.7):
            said = words(transcriber.draft(samples[: int(share * len(samples))]).text)
            right += len(set(said) & set(words(text)))
            total += len(said)
    assert total > 60
    assert right > 0.7 * total


@pytest.mark.parametrize("name", ["music", "piano", "glass", "stream", "toilet_flush"])
def test_nothing_is_being_said_by_music_and_things(transcriber: Transcriber, name: str) -> None:
    samples = read(f"{name}.flac")
    assert [transcriber.draft(samples[: int(s * RATE)]).text for s in (0.6, 1.2, 2.4)] == [""] * 3


def test_same_audio_gives_same_text_whatever_came_before(transcriber: Transcriber) -> None:
    first = transcriber.transcribe(read("speech_hold.flac"))
    transcriber.transcribe(read("speech_wrong.flac"))
    assert transcriber.transcribe(read("speech_hold.flac")) == first


@pytest.mark.parametrize("seconds", [1 / RATE, 0.3, 10, 29, 40])
def test_nothing_is_said_in_silence_of_any_length(transcriber: Transcriber, seconds: float) -> None:
    silence = np.zeros(round(seconds * RATE), dtype=np.float32)
    assert transcriber.transcribe(silence).text == ""


@pytest.mark.parametrize("level_db", [-60, -40, -20, -6])
@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0])
def test_nothing_is_said_in_noise(transcriber: Transcriber, level_db: float, slope: float) -> None:
    """White, pink and brown, past the VAD, which lets none of it through."""
    spectrum = np.fft.rfft(np.random.default_rng(1).standard_normal(4 * RATE))
    spectrum /= np.maximum(np.arange(len(spectrum)), 1) ** slope
    noise = np.fft.irfft(spectrum)
    noise *= 10 ** (level_db / 20) / np.sqrt(np.mean(noise**2))
    transcript = transcriber.transcribe(np.clip(noise, -1, 1).astype(np.float32))
    assert transcript.text == ""


@pytest.mark.parametrize(
    "name", ["music", "piano", "glass", "doorbell", "stream", "alarm_clock", "toilet_flush"]
)
def test_nothing_is_said_by_music_and_things(transcriber: Transcriber, name: str) -> None:
    assert transcriber.transcribe(read(f"{name}.flac")[: 10 * RATE]).text == ""


def test_the_silence_is_kept_and_damage_to_it_mended(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_ALM_HOME", str(tmp_path / "home"))

    def silence_of() -> NDArray[np.float32]:
        transcriber = open_transcriber("ctranslate2", folder)
        assert isinstance(transcriber, WhisperTranscriber)
        return transcriber._silence

    silences = [silence_of()]
    (kept,) = (tmp_path / "home" / "silences").iterdir()
    written_ns = kept.stat().st_mtime_ns
    silences += [silence_of()]
    assert kept.stat().st_mtime_ns == written_ns
    kept.write_bytes(kept.read_bytes()[:-100])
    silences += [silence_of()]
    assert kept.stat().st_mtime_ns != written_ns
    monkeypatch.setenv("EDGE_ALM_HOME", str(kept))  # no folder
    silences += [silence_of()]
    assert silences[0].shape == (1, 1000, 384)
    for silence in silences:
        np.testing.assert_array_equal(silence, silences[0])


def test_missing_and_broken_models_say_so(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelMissingError):
        open_transcriber("ctranslate2", tmp_path / "none")
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    weights = broken / "model.bin"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(ModelBrokenError):
        open_transcriber("ctranslate2", broken)


def test_missing_package_names_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    with pytest.raises(MissingExtraError, match=r"edge-alm\[asr\]"):
        open_transcriber("ctranslate2", folder)
