"""Begin a student with what of its teacher fits: some of the channels, the others made up for.

Layer by layer from the input, on patches that both have heard. Of each of the teacher's layers the
channels are kept that tell most of what the next makes of them all. A convolution over time and
frequency is copied; one over channels is the least-squares map from what the student has so far to
what the teacher has there, which makes up for what was left out before (as in arXiv:1707.06168).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_alm.errors import UsageError
from export.student import LAST, LAYERS, REPEATED, Layer, Student

PLACES = 40_000
"""Of patches, times and bands, at which two layers are compared at most."""
RIDGE = 1e-3
"""Of the mean square of what a map takes, added to it."""
_SOURCE_REPEATED = 5
STRIDES = [stride for stride, _ in (*LAYERS, *[REPEATED] * _SOURCE_REPEATED, *LAST)]


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A network of YAMNet's shape, its normalisations folded."""

    convolutions: tuple[tuple[Tensor, Tensor], ...]
    """Weight and bias of each in order: the first, then two a layer."""


def read_source(path: Path) -> Source:
    """The weights of YAMNet's ONNX file.

    Raises:
        UsageError: it has not YAMNet's layers.
    """
    from onnx import load, numpy_helper

    graph = load(path).graph
    values = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    found: list[tuple[Tensor, Tensor]] = []
    for node in graph.node:
        if node.op_type == "Conv":
            weight, bias = (torch.from_numpy(values[name].copy()) for name in node.input[1:])
            found.append((weight, bias))
    wanted = 1 + 2 * len(STRIDES)
    if len(found) != wanted:
        raise UsageError(
            str(path), expected=f"YAMNet's {wanted} convolutions", got="another network"
        )
    return Source(tuple(found))


def layers_of(depth: int) -> list[int]:
    """Which of the source's layers those of a student of this depth stand for.

    Raises:
        UsageError: it is deeper than the source.
    """
    if depth > _SOURCE_REPEATED:
        raise UsageError("depth", expected=f"{_SOURCE_REPEATED} at most", got=str(depth))
    before, last = len(LAYERS), len(LAYERS) + _SOURCE_REPEATED
    repeated = np.linspace(before, last, depth, endpoint=False).round().astype(int)
    return [*range(before), *map(int, repeated), last, last + 1]


def choose(values: Tensor, weight: Tensor, count: int) -> Tensor:
    """The columns from which ``values`` [n, width] times ``weight`` [outputs, width] is told best.

    One after the other that which tells most of what those before it leave (Farahat et al., *An
    efficient greedy method for unsupervised feature selection*, ICDM 2011).

    Raises:
        UsageError: there are not so many.
    """
    if count > values.shape[1]:
        raise UsageError("width", expected=f"{values.shape[1]} channels at most", got=str(count))
    centred = (values - values.mean(0)).double()
    left, outputs = centred.T @ centred, weight.double().T
    least = 1e-9 * left.diagonal().max()
    chosen: list[int] = []
    for _ in range(count):
        own = left.diagonal()
        told = (left @ outputs).square().sum(1) / own.clamp(min=least)
        told[chosen] = -1.0
        i = int(told.argmax())
        chosen.append(i)
        left = left - torch.outer(left[:, i], left[i]) / own[i].clamp(min=least)
    return torch.tensor(sorted(chosen))


def fit(known: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Weight [outputs, inputs] and bias by which ``known`` tells ``wanted``, by least squares."""
    x, y = known.double(), wanted.double()
    x_mean, y_mean = x.mean(0), y.mean(0)
    x = x - x_mean
    gram = x.T @ x
    gram.diagonal().add_(RIDGE * gram.diagonal().mean() + 1e-9)
    weight = torch.linalg.solve(gram, x.T @ (y - y_mean)).T
    return weight.float(), (y_mean - weight @ x_mean).float()


def settle(layer: Layer, weight: Tensor, bias: Tensor, values: Tensor) -> Tensor:
    """Make a layer compute weight and bias, in training too; what it makes of ``values``.

    Its normalisation gets the mean and the spread of these values and takes them back.
    """
    norm = layer.norm
    with torch.no_grad():
        layer.conv.weight.copy_(weight)
        out = layer.conv(layer.pad(values))
        mean, var = out.mean((0, 2, 3)), out.var((0, 2, 3), unbiased=False)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(var)
        norm.weight.copy_(torch.sqrt(var + norm.eps))
        norm.bias.copy_(bias + mean)
        return torch.relu(out + bias[:, None, None])


class Walk:
    """A source's layers after each other on some patches.

    Args:
        source: the network.
        values: what its first convolution makes of them [n, channels, times, bands].
    """

    def __init__(self, source: Source, values: Tensor) -> None:
        self._source, self.values, self._layer = source, values, 0

    def to(self, layer: int) -> Tensor:
        """What comes out of a layer before it is rectified; ``values`` are what then goes on."""
        while self._layer <= layer:
            (weight, bias) = self._source.convolutions[2 + 2 * self._layer]
            before = functional.conv2d(self.between(self._layer), weight, bias)
            self.values, self._layer = torch.relu(before), self._layer + 1
        return before

    def between(self, layer: int) -> Tensor:
        """What the next layer's convolution over time and frequency makes of the values."""
        weight, bias = self._source.convolutions[1 + 2 * layer]
        stride = STRIDES[layer]
        before = 0 if stride == 2 else 1
        padded = functional.pad(self.values, (before, 1, before, 1))
        return torch.relu(functional.conv2d(padded, weight, bias, stride, groups=len(weight)))


def begin(
    student: Student, source: Source, patches: Tensor, heads: Mapping[nn.Linear, Tensor]
) -> None:
    """Give a student the weights that its teacher leaves it.

    Args:
        student: as it is made; no wider or deeper than the source.
        source: the teacher.
        patches: [n, 96, 64], some thousand.
        heads: maps from the student's embedding, each with what it is to tell of the patches
            [..., outputs].

    Raises:
        UsageError: it is deeper or wider than the source.
    """
    stands_for = layers_of(student.depth)
    convolutions, layers = source.convolutions, iter(student.layers)
    rng = np.random.default_rng(0)
    inputs = patches[:, None]
    weight, bias = convolutions[0]
    first = next(layers)
    with torch.no_grad():
        walk = Walk(source, torch.relu(functional.conv2d(first.pad(inputs), weight, bias, 2)))
        kept = _keep(walk, source, 0, first.conv.out_channels, rng)
        values = settle(first, weight[kept], bias[kept], inputs)
        for own, following in zip(stands_for, [*stands_for[1:], stands_for[-1] + 1], strict=True):
            over_time, over_channels = next(layers), next(layers)
            weight, bias = convolutions[1 + 2 * own]
            values = settle(over_time, weight[kept], bias[kept], values)
            wanted = walk.to(following - 1)
            kept = _keep(walk, source, following, over_channels.conv.out_channels, rng)
            at = _places(values, rng)
            weight, bias = fit(_rows(values, at), _rows(wanted, at)[:, kept])
            values = settle(over_channels, weight[:, :, None, None], bias, values)
        for head, told in heads.items():
            weight, bias = fit(values.mean((2, 3)), told.flatten(0, -2))
            head.weight.copy_(weight)
            head.bias.copy_(bias)


def _keep(walk: Walk, source: Source, layer: int, count: int, rng: np.random.Generator) -> Tensor:
    """The channels of what goes into a layer that it tells most by; after the last, the pooled."""
    if layer == len(STRIDES):
        pooled = walk.values.mean((2, 3))
        return choose(pooled / (pooled.std(0) + 1e-6), torch.eye(pooled.shape[1]), count)
    values = walk.between(layer)
    weight = source.convolutions[2 + 2 * layer][0].flatten(1)
    return choose(_rows(values, _places(values, rng)), weight, count)


def _places(values: Tensor, rng: np.random.Generator) -> Tensor:
    """Of all patches, times and bands some."""
    n = values.shape[0] * values.shape[2] * values.shape[3]
    return torch.from_numpy(rng.choice(n, min(n, PLACES), replace=False))


def _rows(values: Tensor, places: Tensor) -> Tensor:
    """Of values [n, channels, times, bands] those at some places [places, channels]."""
    _, _, times, bands = values.shape
    patch, rest = places // (times * bands), places % (times * bands)
    return values[patch, :, rest // bands, rest % bands]
