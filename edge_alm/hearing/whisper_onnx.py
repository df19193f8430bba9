"""Whisper's networks in onnxruntime, as ``python -m export whisper`` makes them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import ModelBrokenError
from edge_alm.hearing.whisper import MEL_BANDS, Written
from edge_alm.models.manifest import Graph, read_manifest
from edge_alm.models.onnx_session import open_session

_CROSS, _OWN = ("cross_keys", "cross_values"), ("keys", "values")
_LOGITS = "logits"
_NO_SPEECH = ("<|nospeech|>", "<|nocaptions|>")
"""One of these, by the model's age."""


class OnnxWhisper:
    """A :class:`~edge_alm.hearing.whisper.WhisperNetwork` of two ONNX files, on one thread.

    The decoder looks at keys and values, which are linear in the encoder's output: they are what
    :meth:`encode` gives, [2 * layers * heads, positions, width of a head].

    Args:
        folder: with a manifest of the kind ``speech``, held to it already, and ``tokenizer.json``.

    Raises:
        ModelMissingError, ModelBrokenError: damaged, or not an English Whisper.
    """

    engine = "onnxruntime"

    def __init__(self, folder: Path) -> None:
        import onnxruntime

        manifest = read_manifest(folder)
        encoder, decoder = manifest.graphs["encoder"], manifest.graphs["decoder"]
        bands = next(iter(encoder.inputs.values())).shape[-1]
        self.folder = folder
        self._words = _read_words(folder)
        self._layers, self._heads, self._width = _cache_shape(folder, decoder)
        if bands != MEL_BANDS:
            raise _broken(folder, f"another with {bands} mel bands")
        self._encoder = open_session(folder / encoder.file)
        self._decoder = open_session(folder / decoder.file)
        (self._input,) = encoder.inputs
        hashes = (manifest.files[graph.file].sha256 for graph in (encoder, decoder))
        self.key = f"{' '.join(hashes)} {onnxruntime.__version__}"

    def encode(self, log_mel: NDArray[np.float32]) -> NDArray[np.float32]:
        """See :class:`~edge_alm.hearing.whisper.WhisperNetwork`."""
        features = np.ascontiguousarray(log_mel.T[None])
        found = self._run(self._encoder, list(_CROSS), {self._input: features})
        _, _, _, positions, width = found[0].shape
        flat = [one.reshape(-1, positions, width) for one in found]
        return np.asarray(np.concatenate(flat), np.float32)

    def write(
        self, features: NDArray[np.float32], max_tokens: int, *, asks_no_speech: bool
    ) -> Written:
        """See :class:`~edge_alm.hearing.whisper.WhisperNetwork`."""
        words, shape = self._words, (self._layers, 1, self._heads, -1, self._width)
        keys, values = (half.reshape(shape) for half in np.split(features, 2))
        heard = {_CROSS[0]: keys, _CROSS[1]: values}
        none = np.zeros((self._layers, 1, self._heads, 0, self._width), np.float32)
        past = dict.fromkeys(_OWN, none)
        fed, total, no_speech = list(words.prompt), 0.0, 0.0
        tokens: list[int] = []
        wanted = [_LOGITS, *(f"new_{name}" for name in _OWN)]
        while len(tokens) < max_tokens:
            given = {"tokens": np.array([fed], np.int64), **past, **heard}
            logits, *own = self._run(self._decoder, wanted, given)
            past = dict(zip(_OWN, own, strict=True))
            if asks_no_speech and not tokens:
                no_speech = float(_probabilities(logits[0, 0])[words.no_speech])
            last = logits[0, -1].copy()
            last[words.never if tokens else words.never_first] = -np.inf
            token = int(last.argmax())
            if token == words.end:
                break
            total += math.log(_probabilities(last)[token])
            tokens.append(token)
            fed = [token]
        confidence = math.exp(total / len(tokens)) if tokens else 0.0
        return Written([words.names[token] for token in tokens], confidence, no_speech)

    def _run(self, session: Any, outputs: list[str], inputs: dict[str, Any]) -> list[Any]:
        try:
            found: list[Any] = session.run(outputs, inputs)
        except Exception as error:  # onnxruntime's own exceptions share no public base
            raise _broken(self.folder, str(error).splitlines()[0]) from error
        return found


class _Words:
    """Which token is what."""

    def __init__(self, names: Sequence[str], special: dict[str, int], config: Any) -> None:
        self.names = names
        start, self.end = int(config["decoder_start_token_id"]), int(config["eos_token_id"])
        self.prompt = (start, int(config["no_timestamps_token_id"]))
        self.no_speech = next(special[name] for name in _NO_SPEECH if name in special)
        # No token after the text's own, timestamps among them, is a word.
        others = set(range(len(names), max(special.values()) + 1))
        never = others | set(config.get("suppress_tokens") or ()) | set(special.values())
        first = never | set(config.get("begin_suppress_tokens") or ())
        self.never = np.array(sorted(never - {self.end}), np.int64)
        self.never_first = np.array(sorted(first), np.int64)


def _read_words(folder: Path) -> _Words:
    files = [folder / name for name in ("tokenizer.json", "generation_config.json")]
    try:
        tokenizer, config = (json.loads(path.read_text(encoding="utf-8")) for path in files)
        if config.get("is_multilingual"):
            raise _broken(folder, "one of many languages")
        vocabulary: dict[str, int] = tokenizer["model"]["vocab"]
        special = {one["content"]: int(one["id"]) for one in tokenizer["added_tokens"]}
        names = [""] * len(vocabulary)
        for name, token in vocabulary.items():
            names[token] = name
        return _Words(names, special, config)
    except (OSError, ValueError, KeyError, IndexError, TypeError, StopIteration) as error:
        what = f"{type(error).__name__}: {error}"
        raise _broken(folder, f"tokenizer.json or generation_config.json: {what}") from error


def _cache_shape(folder: Path, decoder: Graph) -> tuple[int, int, int]:
    """Layers, heads and width of a head."""
    layers, _, heads, _, width = decoder.inputs[_OWN[0]].shape
    if not (isinstance(layers, int) and isinstance(heads, int) and isinstance(width, int)):
        raise _broken(folder, "a decoder with a cache of any shape")
    return layers, heads, width


def _probabilities(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum(), np.float32)


def _broken(folder: Path, got: str) -> ModelBrokenError:
    return ModelBrokenError(
        f"transcriber {folder}",
        expected="an English Whisper from python -m export whisper",
        got=got,
        hint="export it again",
    )
