"""Speech to text, one segment at a time."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import ModelBrokenError, missing_extra
from edge_alm.models import store
from edge_alm.models.ctranslate2_folder import check_ctranslate2
from edge_alm.models.files import sha256_file
from edge_alm.models.state_cache import StateCache
from edge_alm.native import return_freed_memory, run_probe
from edge_alm.types import SAMPLE_RATE_HZ, Samples

_MEL_BANDS = 80
_FRAME_SAMPLES = 400
_HOP_SAMPLES = 160
_POSITION_SAMPLES = 2 * _HOP_SAMPLES
"""What one position of the encoder's output stands for."""
_WINDOW_POSITIONS = 1500
_WINDOW_SAMPLES = _WINDOW_POSITIONS * _POSITION_SAMPLES
"""30 s: what Whisper was trained on, whatever was said."""
_SILENCE_POSITIONS = 1000
"""As far as silence is appended: the decoder's memory grows by 1.2 MB a 100. With 1500 one word
less in 330 was wrong; with 700 and less, things were put into endless words."""
_SHORT_SAMPLES = 10 * SAMPLE_RATE_HZ
"""Up to here the encoder reads what was said, and little more, at first."""
_PAUSE_SAMPLES = SAMPLE_RATE_HZ // 2
"""Silence that it reads then. 99 prompts had 5.2 % of their words wrong with 0.5 s and 5.4 % with
1 s; with 0.3 s and less silence appended one of them ran into a loop."""
_SURE = 0.6
"""Confidence of a short segment's text below which it is read again, with more silence: 4 of 99
prompts, and 78 of 79 clips of things, with all 30 s of silence."""
_LONG_SAMPLES, _LONG_PAUSE_SAMPLES = 12 * SAMPLE_RATE_HZ, 2 * SAMPLE_RATE_HZ
"""What it reads then, at least. All 30 s would take 110 MB beside the weights, 12 s take 50 MB."""
_TOKENS_PER_SECOND = 8
_SPARE_TOKENS = 16
"""The fastest prompt has 6 tokens a second; a loop would go on to 448."""
_MIN_CONFIDENCE = 0.08
"""Right prompts in noise at 10 dB: at least 0.10. Drones: up to 0.07."""
_MAX_NO_SPEECH_OF_DRAFT = 0.45
"""The beginnings of 33 prompts, 0.8 s with 0.25 s of silence before: at most 0.44, and words that
were right in all but a few. A draft cannot be as sure as the rule for whole segments wants it."""
_KEEP_SILENCE = """
import json
from pathlib import Path
from edge_alm.hearing.transcriber import keep_silence
folder, key = {}
keep_silence(Path(folder), key)
print(json.dumps({{}}))
"""
_KEEP_SILENCE_TIMEOUT_S = 120.0
_PROMPT = ["<|startoftranscript|>", "<|notimestamps|>"]


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said."""

    text: str
    """Empty: nothing was said."""
    confidence: float
    """0 to 1; geometric mean probability of the text's tokens."""
    no_speech: float
    """0 to 1; the model's probability that nobody speaks; 0 where it does not tell, or was not
    asked because the text is sure without it."""


class Transcriber(Protocol):
    """Anything that turns a segment of speech into text. Nothing is remembered between calls."""

    def transcribe(self, samples: Samples) -> Transcript:
        """The text of ``samples`` [n], n >= 1, 16 kHz."""
        ...

    def draft(self, samples: Samples) -> Transcript:
        """The same of speech that goes on: soon rather than right."""
        ...


class WhisperTranscriber:
    """An English Whisper model in CTranslate2 form, in 8 bits, greedy, without timestamps.

    Args:
        folder: ``config.json``, ``model.bin``, ``vocabulary.txt``. With weights that are 8-bit
            already (see :mod:`edge_alm.models.whisper`) loading takes a third of the memory.
        threads: of the CPU.

    Raises:
        ModelMissingError: no such folder or file.
        ModelBrokenError: damaged, or not an English Whisper.
        MissingExtraError: the package ctranslate2 is not installed.
    """

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        self._model = _open_model(folder, threads)
        self._silence = _silent_window(folder, self._model)
        return_freed_memory()

    def transcribe(self, samples: Samples) -> Transcript:
        """See :class:`Transcriber`. Of more than 30 s the first 30 s."""
        samples = samples[:_WINDOW_SAMPLES]
        if len(samples) <= _SHORT_SAMPLES:
            features = self._encode(samples, len(samples) + _PAUSE_SAMPLES)
            short = self._decode(features, len(samples), asks_no_speech=False)
            if short.is_sure():
                return short.transcript()
        features = self._encode(samples, max(_LONG_SAMPLES, len(samples) + _LONG_PAUSE_SAMPLES))
        return self._decode(features, len(samples)).transcript()

    def draft(self, samples: Samples) -> Transcript:
        """See :class:`Transcriber`. Of more than 10 s the first 10 s, read once."""
        samples = samples[:_SHORT_SAMPLES]
        features = self._encode(samples, len(samples) + _PAUSE_SAMPLES)
        return self._decode(features, len(samples)).draft()

    def _encode(self, samples: Samples, until: int) -> NDArray[np.float32]:
        """The encoder's output [1, m, width], m >= 1000, for samples [n] and silence after them.

        It reads up to ``until`` only: its time grows with that, its memory with the square. But
        without the silence the decoder finds no end: with 200 positions of it in place of all,
        17 % of the words of 99 prompts were wrong, and noise was taken for speech. So what follows
        is the output for a silent window, which is always the same.
        """
        positions = -(-min(until, _WINDOW_SAMPLES) // _POSITION_SAMPLES)
        padded = np.zeros(positions * _POSITION_SAMPLES, np.float32)
        padded[: len(samples)] = samples
        read = _encode(self._model, padded)
        return_freed_memory()
        return np.concatenate([read, self._silence[:, positions:_SILENCE_POSITIONS]], axis=1)

    def _decode(
        self, features: NDArray[np.float32], n_samples: int, *, asks_no_speech: bool = True
    ) -> _Decoded:
        """The text of encoder output [1, m, width] with ``n_samples`` of speech in it.

        Whether nobody speaks takes as long as one more token, a tenth of a short segment's time.
        """
        max_tokens = min(
            _SPARE_TOKENS + math.ceil(_TOKENS_PER_SECOND * n_samples / SAMPLE_RATE_HZ), 224
        )
        result = self._model.generate(
            _view(features),
            [_PROMPT],
            beam_size=1,
            max_length=2 * max_tokens,  # CTranslate2 generates up to half of it
            return_scores=True,
            return_no_speech_prob=asks_no_speech,
        )[0]
        tokens = result.sequences[0]
        # CTranslate2's score is the mean over the tokens without the one that ends the text.
        confidence = math.exp(min(result.scores[0], 0.0)) if tokens else 0.0
        return _Decoded(tokens, confidence, float(result.no_speech_prob), len(tokens) < max_tokens)


def _open_model(folder: Path, threads: int) -> Any:
    spec = check_ctranslate2(folder)
    # On a CPU that is not Intel's, MKL took 431 MB and six times as long as oneDNN, which
    # CTranslate2 has too; so one and the same everywhere, unless the user says otherwise.
    os.environ.setdefault("CT2_USE_MKL", "0")
    try:
        import ctranslate2
    except ImportError as error:
        raise missing_extra("asr", "ctranslate2", str(error)) from error
    if spec != "WhisperSpec":
        raise _broken(folder, f"a {spec}")
    return_freed_memory()
    try:
        model = ctranslate2.models.Whisper(
            str(folder), device="cpu", compute_type="int8", intra_threads=threads
        )
    except (RuntimeError, ValueError) as error:
        raise _broken(folder, str(error)) from error
    if model.is_multilingual or model.n_mels != _MEL_BANDS:
        raise _broken(folder, f"another with {model.n_mels} mel bands")
    return model


def _encode(model: Any, samples: Samples) -> NDArray[np.float32]:
    """Encoder output [1, n // 320, width] of samples [n]."""
    return np.array(model.encode(_view(whisper_log_mel(samples)[None])))


def _view(array: NDArray[np.float32]) -> Any:
    import ctranslate2

    return ctranslate2.StorageView.from_array(array)


def keep_silence(folder: Path, key: str) -> None:
    """Encode a silent window and keep it; for a process of its own."""
    silence = _encode(_open_model(folder, 1), np.zeros(_WINDOW_SAMPLES, np.float32))
    _silences().save(key, silence.tobytes())


def _silent_window(folder: Path, model: Any) -> NDArray[np.float32]:
    """Encoder output [1, 1500, width] of 30 s of silence.

    Once a model it is computed in a process of its own, whose memory goes with it.
    """
    import ctranslate2

    key = f"{sha256_file(folder / 'model.bin')} {ctranslate2.__version__}"
    width = _encode(model, np.zeros(2 * _POSITION_SAMPLES, np.float32)).shape[-1]
    expected_bytes = 4 * _WINDOW_POSITIONS * width
    state = _silences().load(key)
    if state is None or len(state) != expected_bytes:
        code = _KEEP_SILENCE.format(json.dumps([str(folder.resolve()), key]))
        run_probe(code, _KEEP_SILENCE_TIMEOUT_S)
        state = _silences().load(key)
    if state is None or len(state) != expected_bytes:  # nothing can be kept here
        return _encode(model, np.zeros(_WINDOW_SAMPLES, np.float32))
    return np.frombuffer(state, np.float32).reshape(1, _WINDOW_POSITIONS, width)


def _silences() -> StateCache:
    return StateCache(store.home() / "silences")


@dataclass(frozen=True, slots=True)
class _Decoded:
    """What the decoder gave."""

    tokens: list[str]
    confidence: float
    no_speech: float
    has_end: bool
    """False where it went on for as long as it might."""

    def is_sure(self) -> bool:
        return self.has_end and self.confidence >= _SURE

    def transcript(self) -> Transcript:
        return self._transcript(is_speech(self._text(), self.confidence, self.no_speech))

    def draft(self) -> Transcript:
        is_likely = self.confidence >= _MIN_CONFIDENCE and self.no_speech < _MAX_NO_SPEECH_OF_DRAFT
        return self._transcript(is_likely and any(c.isalnum() for c in self._text()))

    def _transcript(self, is_told: bool) -> Transcript:
        return Transcript(self._text() if is_told else "", self.confidence, self.no_speech)

    def _text(self) -> str:
        return _text_of(self.tokens if self.has_end else _without_loop(self.tokens))


def is_speech(text: str, confidence: float, no_speech: float) -> bool:
    """Whether to believe the text: it must be likelier than that nobody speaks.

    140 prompts apart from those above: 0.1 % more words wrong, 1.1 % in noise at 20 dB, 0.4 %
    at 10 dB. 320 clips of sneezes, dogs, babies, rain and engines: 6 have text, 25 without
    this ("Thanks for watching!"); all six are sneezes with voice in them.
    """
    return any(c.isalnum() for c in text) and confidence >= max(_MIN_CONFIDENCE, no_speech)


def _without_loop(tokens: list[str]) -> list[str]:
    """The text up to the second round of the loop that it ends in; empty without a loop.

    Asked for, once the text is as long as it may be: rare, and nothing but a loop so far.
    """
    for period in range(1, len(tokens) // 2 + 1):
        start = len(tokens) - period
        while start > 0 and tokens[start - 1] == tokens[start - 1 + period]:
            start -= 1
        if len(tokens) - start >= 2 * period:
            return tokens[: start + period]
    return []


def whisper_log_mel(samples: Samples) -> NDArray[np.float32]:
    """Whisper's input: log-mel [80, n // 160] of samples [n], n >= 201.

    25 ms periodic Hann windows every 10 ms, centred, the ends mirrored; power; 80 Slaney mels
    up to 8 kHz; log10, at most 8 below the loudest; (x + 4) / 4. From ``whisper/audio.py`` of
    https://github.com/openai/whisper.
    """
    half = _FRAME_SAMPLES // 2
    frames = len(samples) // _HOP_SAMPLES
    padded = np.pad(samples, half, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, _FRAME_SAMPLES)
    hann = np.hanning(_FRAME_SAMPLES + 1)[:-1].astype(np.float32)
    spectrum = np.fft.rfft(windows[::_HOP_SAMPLES][:frames] * hann)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    log_mel = np.log10(np.maximum(_mel_filters() @ power.T, 1e-10))
    log_mel = np.maximum(log_mel, log_mel.max() - 8.0)
    scaled: NDArray[np.float32] = ((log_mel + 4.0) / 4.0).astype(np.float32)
    return np.ascontiguousarray(scaled)


@cache
def _mel_filters() -> NDArray[np.float32]:
    """Triangles [80, 201] on Slaney's scale: linear to 1 kHz, then 27 steps per factor 6.4.

    Each is divided by half its width in Hz. From M. Slaney, *Auditory Toolbox*, 1998.
    """
    step = math.log(6.4) / 27.0
    top = 15.0 + math.log(SAMPLE_RATE_HZ / 2 / 1000.0) / step
    mels = np.linspace(0.0, top, _MEL_BANDS + 2)
    edges = np.where(mels < 15.0, mels * 200.0 / 3.0, 1000.0 * np.exp((mels - 15.0) * step))
    bins = np.linspace(0.0, SAMPLE_RATE_HZ / 2, _FRAME_SAMPLES // 2 + 1)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (bins - low) / (middle - low)
    falling = (high - bins) / (high - middle)
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return np.asarray(triangles * 2.0 / (high - low), dtype=np.float32)


def _text_of(tokens: list[str]) -> str:
    """Text of GPT-2's tokens, in which each character stands for one byte."""
    table = _token_bytes()
    data = bytes(table[c] for token in tokens for c in token if c in table)
    return data.decode("utf-8", errors="replace").strip()


@cache
def _token_bytes() -> dict[str, int]:
    """Printable bytes stand for themselves, the others for U+0100 and up in order.

    From ``encoder.py`` of https://github.com/openai/gpt-2.
    """
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}


def _broken(folder: Path, got: str) -> ModelBrokenError:
    return ModelBrokenError(
        f"transcriber {folder}",
        expected="an English Whisper in CTranslate2 form",
        got=got,
        hint="edge-alm models verify",
    )
