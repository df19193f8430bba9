"""The speech detector with its network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from edge_alm.errors import ModelBrokenError, ModelMissingError
from edge_alm.hearing.segmenter import SpeechSegmenter
from edge_alm.hearing.vad import CHUNK_SAMPLES, SileroVad
from edge_alm.types import Samples

DATA = Path(__file__).resolve().parent.parent / "data"
RATE = 16_000


def read(name: str) -> Samples:
    samples, rate = soundfile.read(DATA / f"{name}.flac", dtype="float32", always_2d=True)
    mono: Samples = soxr.resample(samples.mean(axis=1), rate, RATE)
    return mono


@pytest.fixture(scope="module")
def vad(models: Path) -> SileroVad:
    return SileroVad(models / "silero-vad" / "silero_vad.onnx")


def run(vad: SileroVad, samples: Samples, cut: int | None = None) -> Samples:
    cut = cut or len(samples)
    parts = [vad.push(samples[i : i + cut]) for i in range(0, len(samples), cut)]
    return np.concatenate([*parts, vad.flush()])


def at_level(samples: Samples, level_db: float) -> Samples:
    gain = 10 ** (level_db / 20) / np.sqrt(np.mean(samples**2))
    return np.asarray(np.clip(samples * gain, -1, 1), dtype=np.float32)


@pytest.mark.parametrize("cut", [1, 137, 512, 7680, 16_000])
def test_the_same_bits_however_the_samples_are_cut(vad: SileroVad, cut: int) -> None:
    speech = read("speech_hold")[: RATE if cut == 1 else None]
    whole = run(vad, speech)
    assert len(whole) == -(-len(speech) // CHUNK_SAMPLES)
    np.testing.assert_array_equal(run(vad, speech, cut), whole)


@pytest.mark.parametrize("level_db", [-10, -25, -40, -55])
@pytest.mark.parametrize("name", ["speech_hold", "speech_wrong", "speech_service"])
def test_speech_is_found_where_it_is(vad: SileroVad, name: str, level_db: float) -> None:
    speech = at_level(read(name), level_db)
    silence = np.zeros(2 * RATE, dtype=np.float32)
    stream = np.concatenate((silence, speech, silence))
    segmenter = SpeechSegmenter()
    segments = segmenter.push(run(vad, stream)) + segmenter.flush(len(stream))
    assert segments
    assert segments[0].start_sample >= 1.5 * RATE
    assert segments[-1].end_sample <= len(stream) - 1.5 * RATE
    covered = sum(s.end_sample - s.start_sample for s in segments)
    assert covered >= 0.6 * len(speech)


@pytest.mark.parametrize("level_db", [-80, -60, -40, -20, -6])
@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0])
def test_noise_is_not_speech(vad: SileroVad, level_db: float, slope: float) -> None:
    """White, pink and brown; the loudest of 10 minutes is a matter of luck, so 20 s of each."""
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(20 * RATE))
    spectrum /= np.maximum(np.arange(len(spectrum)), 1) ** slope
    noise = at_level(np.fft.irfft(spectrum).astype(np.float32), level_db)
    assert run(vad, noise).max() < 0.35


@pytest.mark.parametrize("name", ["music", "piano", "glass", "doorbell", "stream", "alarm_clock"])
def test_music_and_things_are_not_speech(vad: SileroVad, name: str) -> None:
    sounds = read(name)
    segmenter = SpeechSegmenter()
    assert segmenter.push(run(vad, sounds)) + segmenter.flush(len(sounds)) == []


def test_digital_silence_has_probability_zero(vad: SileroVad) -> None:
    assert not run(vad, np.zeros(RATE, dtype=np.float32)).any()


def test_missing_and_broken_models_say_so(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelMissingError):
        SileroVad(tmp_path / "none.onnx")
    whole = (models / "silero-vad" / "silero_vad.onnx").read_bytes()
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelBrokenError):
        SileroVad(cut)
    with pytest.raises(ModelBrokenError, match="speech_probs"):
        SileroVad(models / "yamnet" / "yamnet.onnx")
