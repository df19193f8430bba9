"""What an exported encoder does to samples before its network sees them.

The feature extractors of AST, Whisper and CLAP are one chain with different constants: frames,
window, power spectrum, mel bands, logarithm, scale. The constants stand in the manifest; window
and mel bands, which every library makes a little differently, lie beside it as arrays. The
wav2vec 2.0 family takes the samples themselves.

Held against transformers' own extractors on real recordings whenever an encoder is exported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import ModelBrokenError
from edge_alm.models.files import inside
from edge_alm.types import Samples

Features = NDArray[np.float32]

_MAX_FFT = 1 << 16
_MAX_SAMPLES = 1 << 24
_LOGARITHMS = {"ln": 1.0, "log10": 1.0 / np.log(10.0), "dB": 10.0 / np.log(10.0)}
"""To what the natural logarithm is multiplied."""
_FILLS = ("zeros", "repeat")


class FrontEnd(Protocol):
    """Samples to a network's input. Stateless: one serves any number of streams."""

    def __call__(self, samples: Samples) -> Features:
        """The input, with a batch axis of 1, of samples [n] at the manifest's rate."""
        ...


@dataclass(frozen=True, slots=True)
class Waveform:
    """Samples as they are, or with mean 0 and variance 1.

    Source: transformers' ``Wav2Vec2FeatureExtractor``.
    """

    normalise: bool
    """Whether to take off the mean and divide by the standard deviation of the window."""

    def __call__(self, samples: Samples) -> Features:
        """[1, n]."""
        if self.normalise:
            samples = (samples - samples.mean()) / np.sqrt(samples.var() + np.float32(1e-7))
        return np.asarray(samples[None], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class LogMelSettings:
    """The constants of a log-mel front end, as in a manifest."""

    arrays: str
    """An .npz with ``window`` [frame_samples] and ``mel`` [fft_size // 2 + 1, bands]."""
    frame_samples: int
    hop_samples: int
    fft_size: int
    centred: bool
    """Frames are centred on multiples of the hop, the samples mirrored at both ends; or else they
    begin there and lie within the samples."""
    drop_last: bool
    """Leave out the last frame, as Whisper does."""
    remove_mean: bool
    """Take off each frame's mean."""
    preemphasis: float
    floor: float
    """Of the power in a mel band."""
    logarithm: str
    """``ln``, ``log10`` or ``dB``."""
    fill_samples: int
    """Lengthen the samples to so many, or cut them; 0: take them as they are."""
    fill: str
    """``zeros``; or ``repeat``: as often as they fit whole, then zeros."""
    fill_frames: int
    """Lengthen the frames to so many with zeros, or cut them; 0: take them as they are."""
    peak_range: float
    """Nothing is further below the loudest value than this; 0: any distance."""
    shift: float
    scale: float
    """At last (value + shift) * scale."""


class LogMel:
    """Frames, window, power, mel bands, logarithm.

    Sources: transformers' ``ASTFeatureExtractor`` (Kaldi's fbank), ``WhisperFeatureExtractor``
    and ``ClapFeatureExtractor``.

    Args:
        settings: the constants.
        window: [frame_samples].
        mel: [fft_size // 2 + 1, bands].
    """

    def __init__(
        self, settings: LogMelSettings, window: NDArray[np.floating], mel: NDArray[np.floating]
    ) -> None:
        self.settings = settings
        # In double: a quiet band beside a loud one drowns in single precision's rounding, and the
        # logarithm shows it.
        self._window = np.asarray(window, dtype=np.float64)
        self._mel = np.ascontiguousarray(mel.T, dtype=np.float64)

    @property
    def bands(self) -> int:
        """Of one frame."""
        return len(self._mel)

    def __call__(self, samples: Samples) -> Features:
        """[1, frames, bands]; raises ValueError where there are too few samples for a frame."""
        return self.finish(self.frames(self._filled(samples)))

    def finish(self, mel: NDArray[np.float64]) -> Features:
        """What is left to do with all :meth:`frames` of a window."""
        s = self.settings
        if s.fill_frames:
            mel = mel[: s.fill_frames]
            mel = np.pad(mel, ((0, s.fill_frames - len(mel)), (0, 0)))
        if s.peak_range:
            mel = np.maximum(mel, mel.max() - s.peak_range)
        return np.asarray((mel + s.shift) * s.scale, dtype=np.float32)[None]

    def frames(self, samples: Samples) -> NDArray[np.float64]:
        """The logarithm of every band [frames, bands], before it is filled and scaled."""
        s = self.settings
        if s.centred:
            samples = np.pad(samples, s.frame_samples // 2, mode="reflect")
        if len(samples) < s.frame_samples:
            raise ValueError(f"{len(samples)} samples are less than one frame")
        windows = np.lib.stride_tricks.sliding_window_view(samples, s.frame_samples)
        frames = windows[:: s.hop_samples].astype(np.float64)
        if s.drop_last:
            frames = frames[:-1]
        if s.remove_mean:
            frames -= frames.mean(axis=1, keepdims=True)
        if s.preemphasis:
            frames[:, 1:] -= s.preemphasis * frames[:, :-1]
            frames[:, 0] *= 1.0 - s.preemphasis
        spectrum = np.fft.rfft(frames * self._window, s.fft_size, axis=1)
        power = spectrum.real**2 + spectrum.imag**2
        # Not @, whose threads in OpenBLAS would spin on every core after it.
        mel = np.einsum("nf,bf->nb", power, self._mel)
        return np.asarray(np.log(np.maximum(mel, s.floor)) * _LOGARITHMS[s.logarithm])

    def _filled(self, samples: Samples) -> Samples:
        n = self.settings.fill_samples
        if not n:
            return samples
        samples = samples[:n]
        if self.settings.fill == "repeat":
            samples = np.tile(samples, n // max(1, len(samples)))
        return np.pad(samples, (0, n - len(samples)))


class SlidingLogMel:
    """A :class:`LogMel` that remembers the window before: of one that has moved on by a hop only
    the new frames are computed. What comes out is the same.

    At 10.24 s, the window that AST was made for, a hop takes 0.8 ms of one x86 core instead of 34,
    at 2 s 0.3 instead of 0.8 (best of 30).

    Args:
        log_mel: one that :meth:`fits`.
        step_samples: by how much windows move on.
    """

    def __init__(self, log_mel: LogMel, step_samples: int) -> None:
        self._log_mel, self._step_samples = log_mel, step_samples
        self._samples: Samples = np.zeros(0, np.float32)
        self._frames = np.zeros((0, log_mel.bands))

    @staticmethod
    def fits(settings: LogMelSettings, step_samples: int) -> bool:
        """Whether a frame depends on its own samples alone, and windows move by whole frames."""
        at_rest = not (settings.centred or settings.fill_samples or settings.drop_last)
        return at_rest and step_samples % settings.hop_samples == 0

    def __call__(self, samples: Samples) -> Features:
        """See :class:`FrontEnd`."""
        step, hop = self._step_samples, self._log_mel.settings.hop_samples
        if len(samples) == len(self._samples) > step and np.array_equal(
            samples[:-step], self._samples[step:]
        ):
            kept = self._frames[step // hop :]
            new = self._log_mel.frames(samples[len(kept) * hop :])
            self._frames = np.concatenate((kept, new))
        else:
            self._frames = self._log_mel.frames(samples)
        self._samples = samples.copy()
        return self._log_mel.finish(self._frames)


def read_front_end(folder: Path, settings: Mapping[str, Any] | None) -> Waveform | LogMel:
    """The front end that a manifest describes.

    Args:
        folder: where the manifest lies, and the arrays beside it.
        settings: its ``front_end``.

    Raises:
        ModelBrokenError: an unknown kind, wrong constants, or arrays of other shapes.
    """
    try:
        match settings:
            case {"kind": "waveform", "normalise": bool(normalise), **rest} if not rest:
                return Waveform(normalise)
            case {"kind": "log_mel", **constants}:
                return _read_log_mel(folder, {str(k): v for k, v in constants.items()})
        raise ValueError(f"{settings!r}")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelBrokenError(
            f"{folder}: front_end", expected="one that this version knows", got=str(error)
        ) from error


def _read_log_mel(folder: Path, constants: dict[str, Any]) -> LogMel:
    settings = LogMelSettings(**constants)
    for field in fields(settings):
        value = getattr(settings, field.name)
        right = {"float": (int, float), "int": (int,), "bool": (bool,), "str": (str,)}[
            str(field.type)
        ]
        if not isinstance(value, right) or (isinstance(value, bool) and field.type != "bool"):
            raise ValueError(f"{field.name} is {value!r}")
    s = settings
    if not (
        0 < s.hop_samples <= _MAX_FFT
        and 1 < s.frame_samples <= s.fft_size <= _MAX_FFT
        and 0 <= s.fill_samples <= _MAX_SAMPLES
        and 0 <= s.fill_frames <= _MAX_SAMPLES
        and s.floor > 0.0
        and s.logarithm in _LOGARITHMS
        and s.fill in _FILLS
    ):
        raise ValueError(f"{settings}")
    with np.load(inside(folder, s.arrays), allow_pickle=False) as arrays:
        window, mel = arrays["window"], arrays["mel"]
    bins = s.fft_size // 2 + 1
    if window.shape != (s.frame_samples,) or mel.ndim != 2 or mel.shape[0] != bins:
        raise ValueError(f"a window {window.shape} and mel bands {mel.shape}")
    return LogMel(settings, window, mel)
