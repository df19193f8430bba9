import time

import numpy as np
import pytest

from edge_alm.hearing.logmel import (
    FFT_SIZE,
    HOP_SAMPLES,
    MEL_BANDS,
    WINDOW_SAMPLES,
    LogMel,
    hz_to_mel,
    mel_matrix,
)


def plain_log_mel(samples: np.ndarray) -> np.ndarray:
    """The same transform by its definition, one bin at a time."""
    frames = (len(samples) - WINDOW_SAMPLES) // HOP_SAMPLES + 1
    n = np.arange(WINDOW_SAMPLES)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / WINDOW_SAMPLES)
    edges = np.linspace(hz_to_mel(125.0), hz_to_mel(7500.0), MEL_BANDS + 2)
    out = np.zeros((frames, MEL_BANDS))
    for t in range(frames):
        piece = samples[t * HOP_SAMPLES :][:WINDOW_SAMPLES] * window
        for k in range(1, FFT_SIZE // 2 + 1):
            magnitude = abs(np.sum(piece * np.exp(-2j * np.pi * k * n / FFT_SIZE)))
            mel = hz_to_mel(k * 16_000 / FFT_SIZE)
            for band in range(MEL_BANDS):
                low, centre, high = edges[band : band + 3]
                weight = min((mel - low) / (centre - low), (high - mel) / (high - centre))
                out[t, band] += max(0.0, weight) * magnitude
    return np.log(out + 1e-3)


def test_agrees_with_the_definition() -> None:
    samples = np.random.default_rng(0).standard_normal(WINDOW_SAMPLES + HOP_SAMPLES)
    np.testing.assert_allclose(
        LogMel()(samples.astype(np.float32)), plain_log_mel(samples), atol=2e-4
    )


def test_silence_is_the_floor() -> None:
    assert LogMel()(np.zeros(4000, np.float32)) == pytest.approx(np.log(1e-3))


@pytest.mark.parametrize("frequency_hz", [200, 1000, 4000, 7000])
def test_a_tone_lies_in_the_band_around_it(frequency_hz: int) -> None:
    tone = np.sin(2 * np.pi * frequency_hz * np.arange(4000) / 16_000).astype(np.float32)
    band = int(LogMel()(tone).mean(axis=0).argmax())
    centres = np.linspace(hz_to_mel(125.0), hz_to_mel(7500.0), MEL_BANDS + 2)[1:-1]
    assert abs(centres[band] - hz_to_mel(frequency_hz)) <= centres[1] - centres[0]


def test_frames_do_not_depend_on_where_the_call_begins() -> None:
    samples = np.random.default_rng(1).standard_normal(8000).astype(np.float32)
    whole = LogMel()(samples)
    np.testing.assert_allclose(LogMel()(samples[10 * HOP_SAMPLES :]), whole[10:], atol=1e-5)


def test_every_band_takes_something() -> None:
    assert (mel_matrix().sum(axis=0) > 0).all()


def test_no_thread_spins_after_it() -> None:
    """OpenBLAS's threads would for 11 ms a hop, beside a listener that takes 1 % of a core."""
    log_mel, samples = LogMel(), np.random.default_rng(0).standard_normal(7_920).astype(np.float32)
    log_mel(samples)
    began_s = time.process_time()
    for _ in range(20):
        log_mel(samples)
        time.sleep(0.03)
    assert time.process_time() - began_s < 0.1
