"""How well any phrase fits what was heard, in the scores of the sound encoder and beyond them.

Two judges are added up. The *table* asks which of the encoder's classes have a name like the
phrase: their probabilities, weighted by the softmax of the names' cosine to the phrase over
:data:`TEMPERATURE`. It needs no training and knows what the encoder knows. The *tower* was trained:
a small network points from the encoder's embeddings to where the right phrases lie (InfoNCE as in
CLAP, Elizalde et al. 2022, over labels instead of a batch).

Some phrases fit everything a little. So from what each judge gives a phrase is taken what it would
give it of any sound: the logarithm of its mean probability over sounds that the file keeps. What is
left tells how many times likelier than usual a phrase is (pointwise mutual information).

A phrase's direction is the sum of vectors of its word pieces, taken from a sentence encoder
(``export/words.py``): no network to run, and a table of 2 MB. Or the sentence encoder itself makes
it, where the table was made for one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_alm.models.files import broken
from edge_alm.models.phrases_file import CLASS_DIRECTIONS, CLASSES, PIECES, check_phrases
from edge_alm.reasoning.sentences import Sentences
from edge_alm.reasoning.wordpiece import WordPiece

Floats: TypeAlias = NDArray[np.float32]
TextSide: TypeAlias = Callable[[Sequence[str]], Floats]
"""From texts to unit vectors [n, d]."""

TEMPERATURE = 0.03
TOWER = ("w1", "b1", "w2", "b2")
_FLOOR = 1e-6
_STEEP = 30.0


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """A stretch of sound, as phrases are compared with it."""

    direction: Floats
    """Where the tower points, [d], of length 1."""
    classes: Floats
    """The encoder's probabilities [n classes], of each the highest of all hops."""


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Texts, ready to be compared with one stretch after the other."""

    directions: Floats
    """Of length 1 [n, d]; zeros for a text without a known word."""
    weights: Floats
    """Of the encoder's classes [n, n classes]."""
    usual: Floats
    """What table and tower together make of any sound [n], nats."""


def pool(hops: Floats) -> Floats:
    """Mean and maximum of the embeddings [n, n_in] of one sound: [2 n_in]."""
    pooled: Floats = np.concatenate((hops.mean(axis=0), hops.max(axis=0)), dtype=np.float32)
    return pooled


class PieceSums:
    """Directions of texts by the vectors of their word pieces.

    Args:
        arrays: of the file.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._split = WordPiece(read_lines(arrays[PIECES]))
        self._rows, self._scales = arrays["piece_rows"], arrays["piece_scales"]

    def __call__(self, texts: Sequence[str]) -> Floats:
        """See :attr:`Phrases.directions`."""
        sums = np.zeros((len(texts), self._rows.shape[1]), np.float32)
        for row, text in zip(sums, texts, strict=True):
            pieces = self._split(text)
            scales = self._scales[pieces].astype(np.float32)
            row += (self._rows[pieces] * scales[:, None]).sum(axis=0)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        out: Floats = sums / np.maximum(lengths, _FLOOR)
        return out


def read_lines(array: NDArray[np.uint8]) -> list[str]:
    """Texts, one a line."""
    return array.tobytes().decode().split("\n")


class Phrases:
    """Judges phrases by a file of :mod:`edge_alm.models.phrases_file`.

    Args:
        path: of the file.
        sentences: folder of the sentence encoder that it was made for; None: of none.

    Raises:
        ModelMissingError: no such file.
        ModelBrokenError: an array is missing or does not fit, or the sentence encoder does not.
    """

    def __init__(self, path: Path, sentences: Path | None = None) -> None:
        info = check_phrases(path)
        self.n_in = info.inputs
        if info.of_sentences != (sentences is not None):
            with_one, without = "a table for a sentence encoder", "one for word pieces"
            got = (with_one, without) if info.of_sentences else (without, with_one)
            raise broken(path, got[1], got[0])
        with np.load(path, allow_pickle=False) as arrays:
            self.directions: TextSide = (
                PieceSums(arrays) if sentences is None else Sentences(sentences)
            )
            """Unit vectors [n, d] of texts; zeros for a text without a known word."""
            scales = arrays["class_scales"].astype(np.float32)
            self._class_rows = arrays["class_rows"].astype(np.float32) * scales[:, None]
            self._classes = (
                self.directions(read_lines(arrays[CLASSES]))
                if sentences is None
                else arrays[CLASS_DIRECTIONS].astype(np.float32)
            )
            self._class_bias, self._w1, self._b1, self._w2, self._b2 = (
                arrays[name].astype(np.float32) for name in ("class_bias", "w1", "b1", "w2", "b2")
            )
            self._sharpness = float(arrays["sharpness"][0])
            self._least, self._most = map(float, arrays["score_range"])
            self._usual_classes = arrays["usual_classes"].astype(np.float32)
            pointed = arrays["usual_directions"].astype(np.float32)
            self._usual = pointed / np.maximum(_lengths(pointed), _FLOOR)
            self._usual_sums = np.array([self._any_class(each) for each in self._usual], np.float32)
            self.tower_sha256 = sha256(b"".join(arrays[name].tobytes() for name in TOWER)).digest()
            """What was made with one tower is of no use to another."""

    def prepare(self, texts: Sequence[str]) -> Prepared:
        """What :meth:`judge` needs to know of texts, worked out once."""
        directions = self.directions(texts)
        weights = self._weigh(directions)
        tower = self._sharpness * np.einsum("nd,kd->nk", directions, self._usual)
        usual = _log_mean(tower - self._usual_sums) + self._table(weights, self._usual_classes)
        return Prepared(directions, weights, usual.astype(np.float32))

    def judge(self, heard: Heard, prepared: Prepared) -> Floats:
        """How well each text fits one stretch [n texts], as :meth:`shares`."""
        return self.shares(self._score(heard, prepared))

    def hear(self, embeddings: Floats) -> Heard:
        """What consecutive hops [n, n_in] of one sound are compared by; n at least 1."""
        hops = embeddings.astype(np.float32)
        # Not @: OpenBLAS wakes a thread for each core, and they spin.
        logits = np.einsum("ni,ci->nc", hops, self._class_rows) + self._class_bias
        highest = np.clip(logits.max(axis=0), -_STEEP, _STEEP)
        classes: Floats = (1.0 / (1.0 + np.exp(-highest))).astype(np.float32)
        return Heard(self.point(pool(hops)), classes)

    def point(self, pooled: Floats) -> Floats:
        """Where the tower points for what :func:`pool` made: [..., 2 n_in] to [..., d], of length
        1."""
        hidden = np.maximum(np.einsum("...i,hi->...h", pooled, self._w1) + self._b1, 0.0)
        out = np.einsum("...h,dh->...d", hidden, self._w2) + self._b2
        directions: Floats = (out / np.maximum(_lengths(out), _FLOOR)).astype(np.float32)
        return directions

    def scores(self, stretches: Sequence[Heard], texts: Sequence[str]) -> Floats:
        """How well each text fits each stretch [n stretches, n texts], in nats: 0 is as well as any
        sound does, and 1 e times better."""
        prepared = self.prepare(texts)
        out = np.empty((len(stretches), len(texts)), np.float32)
        for row, heard in zip(out, stretches, strict=True):
            row[:] = self._score(heard, prepared)
        return out

    def shares(self, scores: Floats) -> Floats:
        """Scores from 0 (what fits scores more) to 1 (hardly anything scores more)."""
        out: Floats = np.clip(self.scaled(scores), 0.0, 1.0)
        return out

    def scaled(self, scores: Floats) -> Floats:
        """As :meth:`shares`, and beyond both ends."""
        out: Floats = (scores - self._least) / (self._most - self._least)
        return out

    def _weigh(self, directions: Floats) -> Floats:
        """Weights of the classes [n, n classes] for each direction; each row's sum is 1."""
        near = np.einsum("nd,cd->nc", directions, self._classes) / np.float32(TEMPERATURE)
        shares = np.exp(near - near.max(axis=1, keepdims=True))
        out: Floats = shares / shares.sum(axis=1, keepdims=True)
        return out

    def _score(self, heard: Heard, prepared: Prepared) -> Floats:
        pointed = self._sharpness * np.einsum("nd,d->n", prepared.directions, heard.direction)
        tower = pointed - self._any_class(heard.direction)
        table = self._table(prepared.weights, heard.classes)
        out: Floats = (tower + table - prepared.usual).astype(np.float32)
        return out

    def _any_class(self, direction: Floats) -> float:
        """What a tower's direction [d] gives all class names together, nats."""
        others = self._sharpness * np.einsum("cd,d->c", self._classes, direction)
        most = others.max()
        return float(most + np.log(np.exp(others - most).sum()))

    @staticmethod
    def _table(weights: Floats, classes: Floats) -> Floats:
        """What probabilities [n classes] give phrases of these weights [n, n classes], nats."""
        out: Floats = np.log(np.einsum("nc,c->n", weights, classes) + _FLOOR)
        return out


def _lengths(rows: Floats) -> Floats:
    """Of vectors [..., d]: [..., 1]."""
    lengths: Floats = np.linalg.norm(rows, axis=-1, keepdims=True)
    return lengths


def _log_mean(values: Floats) -> Floats:
    """Logarithm of the mean of exponentials along the last axis."""
    most = values.max(axis=-1)
    out: Floats = most + np.log(np.exp(values - most[..., None]).mean(axis=-1))
    return out
