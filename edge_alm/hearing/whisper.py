"""Whisper, one segment at a time, in the time that the segment takes.

Whisper was trained to read 30 s, whatever was said. Here its encoder reads what was said and half a
second more, and its decoder is given, after that, what the encoder makes of silence.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_alm.hearing.transcriber import Transcript
from edge_alm.models import store
from edge_alm.models.state_cache import StateCache
from edge_alm.native import return_freed_memory, run_probe
from edge_alm.types import SAMPLE_RATE_HZ, Samples

MEL_BANDS = 80
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
_UNTIDY_SAMPLES = 6 * SAMPLE_RATE_HZ
"""What a longer segment freed is returned at once: 4 MB less at the peak. It takes 3 ms, which is a
sixteenth of the time of a short one."""
_TOKENS_PER_SECOND = 8
_SPARE_TOKENS = 16
"""The fastest prompt has 6 tokens a second; a loop would go on to 448."""
_MIN_CONFIDENCE = 0.08
"""Right prompts in noise at 10 dB: at least 0.10. Drones: up to 0.07."""
_EARLY_NO_SPEECH = 0.55
"""How much likelier than the text it may seem, early on, that nobody speaks. 60 prompts had their
first text within 0.85 s (95 %), with 0.45 within 1.2 s; with either, 30 minutes of noise and 15 of
music had none."""
_KEEP_SILENCE = """
import json
from pathlib import Path
from edge_alm.hearing.engines import open_whisper
from edge_alm.hearing.whisper import keep_silence
engine, folder = {}
keep_silence(open_whisper(engine, Path(folder)))
print(json.dumps({{}}))
"""
_KEEP_SILENCE_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Written:
    """What a decoder wrote."""

    tokens: list[str]
    """As they stand in the vocabulary, up to the one that ends the text."""
    confidence: float
    """0 to 1; geometric mean probability of the tokens; 0 of none."""
    no_speech: float
    """0 to 1; 0 where it was not asked for."""


class WhisperNetwork(Protocol):
    """Encoder and decoder of an English Whisper. A text is written greedily, without timestamps."""

    engine: str
    """By which :func:`edge_alm.hearing.engines.open_whisper` opens it again."""
    folder: Path
    key: str
    """Of these weights, run by this version of the engine."""

    def encode(self, log_mel: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the decoder looks at, [m, n // 2, width], for log-mel [80, n]. Each position of it
        is the encoder's output there, or linear in that."""
        ...

    def write(
        self, features: NDArray[np.float32], max_tokens: int, *, asks_no_speech: bool
    ) -> Written:
        """At most ``max_tokens`` of text to ``features`` [m, positions, width].

        Whether nobody speaks takes CTranslate2 as long as one more token, a tenth of a short
        segment's time.
        """
        ...


class WhisperTranscriber:
    """An English Whisper as a :class:`~edge_alm.hearing.transcriber.Transcriber`.

    Args:
        network: encoder and decoder.

    Raises:
        ModelBrokenError: the network fails on silence.
    """

    def __init__(self, network: WhisperNetwork) -> None:
        self._network = network
        self._silence = _silence(network)
        return_freed_memory()

    def transcribe(self, samples: Samples) -> Transcript:
        """See :class:`~edge_alm.hearing.transcriber.Transcriber`. At most the first 30 s."""
        samples = samples[:_WINDOW_SAMPLES]
        if len(samples) <= _SHORT_SAMPLES:
            features = self._encode(samples, len(samples) + _PAUSE_SAMPLES)
            short = self._decode(features, len(samples), asks_no_speech=False)
            if short.is_sure():
                return short.transcript()
        features = self._encode(samples, max(_LONG_SAMPLES, len(samples) + _LONG_PAUSE_SAMPLES))
        return self._decode(features, len(samples)).transcript()

    def draft(self, samples: Samples) -> Transcript:
        """See :class:`~edge_alm.hearing.transcriber.Transcriber`. At most the first 10 s."""
        samples = samples[:_SHORT_SAMPLES]
        features = self._encode(samples, len(samples) + _PAUSE_SAMPLES)
        return self._decode(features, len(samples)).draft()

    def _encode(self, samples: Samples, until: int) -> NDArray[np.float32]:
        """What the decoder looks at, [m, n, width], n >= 1000, for samples [n] and silence after.

        The encoder reads up to ``until`` only: its time grows with that, its memory with the
        square. But without the silence the decoder finds no end: with 200 positions of it in place
        of all, 17 % of the words of 99 prompts were wrong, and noise was taken for speech. So what
        follows is the output for a silent window, which is always the same.
        """
        positions = -(-min(until, _WINDOW_SAMPLES) // _POSITION_SAMPLES)
        padded = np.zeros(positions * _POSITION_SAMPLES, np.float32)
        padded[: len(samples)] = samples
        read = self._network.encode(whisper_log_mel(padded))
        _tidy(len(padded))
        return np.concatenate([read, self._silence[:, positions:]], axis=1)

    def _decode(
        self, features: NDArray[np.float32], n_samples: int, *, asks_no_speech: bool = True
    ) -> _Decoded:
        """The text of ``features`` with ``n_samples`` of speech in them."""
        max_tokens = min(
            _SPARE_TOKENS + math.ceil(_TOKENS_PER_SECOND * n_samples / SAMPLE_RATE_HZ), 224
        )
        written = self._network.write(features, max_tokens, asks_no_speech=asks_no_speech)
        _tidy(n_samples)
        return _Decoded(written, has_end=len(written.tokens) < max_tokens)


def _tidy(n_samples: int) -> None:
    if n_samples > _UNTIDY_SAMPLES:
        return_freed_memory()


def keep_silence(network: WhisperNetwork) -> None:
    """Encode a silent window and keep it; for a process of its own, whose memory goes with it."""
    _silences().save(network.key, _encode_silence(network).tobytes())


def _silence(network: WhisperNetwork) -> NDArray[np.float32]:
    """The first positions [m, 1000, width] of 30 s of silence, computed once a model."""
    m, _, width = network.encode(np.zeros((MEL_BANDS, 4), np.float32)).shape
    shape = (m, _SILENCE_POSITIONS, width)
    expected_bytes = 4 * math.prod(shape)
    state = _silences().load(network.key)
    if state is None or len(state) != expected_bytes:
        what = json.dumps([network.engine, str(network.folder.resolve())])
        run_probe(_KEEP_SILENCE.format(what), _KEEP_SILENCE_TIMEOUT_S)
        state = _silences().load(network.key)
    if state is None or len(state) != expected_bytes:  # nothing can be kept here
        return _encode_silence(network)
    return np.frombuffer(state, np.float32).reshape(shape)


def _encode_silence(network: WhisperNetwork) -> NDArray[np.float32]:
    """What follows a pause is heard as it is in a window that is silent all through."""
    whole = network.encode(whisper_log_mel(np.zeros(_WINDOW_SAMPLES, np.float32)))
    return np.ascontiguousarray(whole[:, :_SILENCE_POSITIONS])


def _silences() -> StateCache:
    return StateCache(store.home() / "silences")


@dataclass(frozen=True, slots=True)
class _Decoded:
    """What the decoder wrote, and what to make of it."""

    written: Written
    has_end: bool
    """False where it went on for as long as it might."""

    def is_sure(self) -> bool:
        return self.has_end and self.written.confidence >= _SURE

    def transcript(self) -> Transcript:
        written = self.written
        return self._transcript(is_speech(self._text(), written.confidence, written.no_speech))

    def draft(self) -> Transcript:
        written = self.written
        least = max(_MIN_CONFIDENCE, written.no_speech - _EARLY_NO_SPEECH)
        is_likely = written.confidence >= least
        return self._transcript(is_likely and any(c.isalnum() for c in self._text()))

    def _transcript(self, is_told: bool) -> Transcript:
        written = self.written
        return Transcript(self._text() if is_told else "", written.confidence, written.no_speech)

    def _text(self) -> str:
        tokens = self.written.tokens
        return _text_of(tokens if self.has_end else _without_loop(tokens))


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
    # Not @: OpenBLAS wakes a thread for each core, and they spin for 35 ms. This takes 1 to 4.
    mel = np.einsum("bf,nf->bn", _mel_filters(), power)
    log_mel = np.log10(np.maximum(mel, 1e-10))
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
    mels = np.linspace(0.0, top, MEL_BANDS + 2)
    edges = np.where(mels < 15.0, mels * 200.0 / 3.0, 1000.0 * np.exp((mels - 15.0) * step))
    bins = np.linspace(0.0, SAMPLE_RATE_HZ / 2, _FRAME_SAMPLES // 2 + 1)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (bins - low) / (middle - low)
    falling = (high - bins) / (high - middle)
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return np.asarray(triangles * 2.0 / (high - low), dtype=np.float32)


def _text_of(tokens: list[str]) -> str:
    """Text of GPT-2's tokens, in which each character stands for one byte."""
    table = token_bytes()
    data = bytes(table[c] for token in tokens for c in token if c in table)
    return data.decode("utf-8", errors="replace").strip()


@cache
def token_bytes() -> dict[str, int]:
    """The byte that each character of GPT-2's tokens stands for: printable bytes for themselves,
    the others U+0100 and up in order.

    From ``encoder.py`` of https://github.com/openai/gpt-2.
    """
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}
