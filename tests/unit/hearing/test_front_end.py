"""That it is transformers' feature extraction is checked at every export; here is the rest."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_alm.errors import ModelBrokenError
from edge_alm.hearing.front_end import LogMelSettings, SlidingLogMel, Waveform, read_front_end

SETTINGS = LogMelSettings(
    arrays="arrays.npz", frame_samples=400, hop_samples=160, fft_size=512, centred=False,
    drop_last=False, remove_mean=True, preemphasis=0.97, floor=1e-10, logarithm="ln",
    fill_samples=0, fill="zeros", fill_frames=0, peak_range=0.0, shift=0.0, scale=1.0,
)  # fmt: skip


def make(folder: Path, bands: int = 8, **change: Any) -> Any:
    mel = np.abs(np.random.default_rng(0).standard_normal((257, bands)))
    np.savez(folder / "arrays.npz", window=np.hanning(400), mel=mel)
    return read_front_end(folder, {"kind": "log_mel", **asdict(SETTINGS), **change})


def noise(samples: int, seed: int = 1) -> Any:
    return np.random.default_rng(seed).standard_normal(samples).astype(np.float32)


@given(samples=st.integers(400, 5000), hop=st.integers(50, 500))
def test_frames_lie_within_the_samples(
    samples: int, hop: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    front_end = make(tmp_path_factory.getbasetemp(), hop_samples=hop)
    assert front_end(noise(samples)).shape == (1, 1 + (samples - 400) // hop, 8)


def test_logarithms_are_of_the_same_power(tmp_path: Path) -> None:
    samples = noise(4000)
    found = {name: make(tmp_path, logarithm=name)(samples) for name in ("ln", "log10", "dB")}
    np.testing.assert_allclose(found["dB"], 10.0 * found["log10"], rtol=1e-6)
    np.testing.assert_allclose(found["ln"], np.log(10.0) * found["log10"], rtol=1e-6)


def test_short_audio_is_filled_and_long_audio_cut(tmp_path: Path) -> None:
    repeat = make(tmp_path, fill_samples=4000, fill="repeat")
    samples = noise(1700)
    np.testing.assert_array_equal(
        repeat(samples), make(tmp_path)(np.concatenate((samples, samples, np.zeros(600))))
    )
    for front_end in (repeat, make(tmp_path, fill_samples=4000)):
        np.testing.assert_array_equal(front_end(noise(9000)), front_end(noise(9000)[:4000]))
    frames = make(tmp_path, fill_frames=30)(noise(720))
    assert frames.shape == (1, 30, 8)
    assert not frames[0, 3:].any()


@given(hops=st.lists(st.booleans(), min_size=1, max_size=6), extra=st.integers(0, 500))
def test_a_window_that_moves_on_gives_the_same_frames(
    hops: list[bool], extra: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    log_mel = make(tmp_path_factory.getbasetemp(), peak_range=8.0, fill_frames=12)
    step, n = 320, 1000 + extra
    sliding = SlidingLogMel(log_mel, step)
    assert SlidingLogMel.fits(SETTINGS, step)
    assert not SlidingLogMel.fits(SETTINGS, 100)
    assert not SlidingLogMel.fits(replace(SETTINGS, centred=True), step)
    stream, at = noise(n + 6 * 2 * step), 0
    for skips in hops:
        window = stream[at : at + n]
        np.testing.assert_allclose(sliding(window), log_mel(window), rtol=1e-6)
        at += 2 * step if skips else step


def test_nothing_is_further_below_the_peak_than_its_range(tmp_path: Path) -> None:
    loud_then_silent = np.concatenate((noise(2000), np.zeros(2000, np.float32)))
    frames = make(tmp_path, peak_range=8.0)(loud_then_silent)
    assert frames.max() - frames.min() == pytest.approx(8.0, abs=1e-4)


def test_a_waveform_is_brought_to_mean_0_and_variance_1() -> None:
    found = Waveform(True)(noise(1000) * 0.1 + 3.0)
    assert found.shape == (1, 1000)
    assert (found.mean(), found.var()) == pytest.approx((0.0, 1.0), abs=1e-4)
    np.testing.assert_array_equal(Waveform(False)(noise(10))[0], noise(10))


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "spell"},
        {"more": 1},
        {"hop_samples": 0},
        {"hop_samples": True},
        {"frame_samples": 1000},
        {"fft_size": 1 << 30},
        {"fill_samples": 1 << 40},
        {"floor": 0.0},
        {"logarithm": "ld"},
        {"fill": "love"},
        {"centred": 1},
        {"arrays": "../arrays.npz"},
        {"arrays": "none.npz"},
        {"fft_size": 1024},
    ],
)
def test_another_front_end_is_refused_in_one_line(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(ModelBrokenError, match="front_end") as caught:
        make(tmp_path, **change)
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelBrokenError):
        read_front_end(tmp_path, None)
    with pytest.raises(ModelBrokenError):
        read_front_end(tmp_path, {"kind": "waveform", "normalise": 1})
