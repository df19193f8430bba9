"""What benchmarks.students counts and scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch

from benchmarks.students import count, pool, probe, same
from export.student import Student, StudentConfig, write_onnx


@settings(max_examples=5, deadline=None)
@given(width=st.sampled_from((0.0625, 0.125)), depth=st.integers(0, 2), classes=st.integers(2, 9))
def test_what_is_counted_is_what_torch_multiplies(
    tmp_path_factory: pytest.TempPathFactory, width: float, depth: int, classes: int
) -> None:
    student = Student(StudentConfig(width=width, depth=depth), classes).eval()
    path = tmp_path_factory.mktemp("count") / "encoder.onnx"
    write_onnx(student, path)
    products = 0

    def add(module: Any, inputs: Any, output: torch.Tensor) -> None:
        nonlocal products
        products += output.numel() * module.weight[0].numel()

    layers = [m for m in student.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    for layer in layers:
        layer.register_forward_hook(add)
    with torch.no_grad():
        student(torch.zeros(1, 96, 64))
    # A folded convolution has a bias in the place of its normalisation.
    weights = sum(layer.weight.numel() + layer.weight.shape[0] for layer in layers)
    assert count(path) == (weights, products)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), classes=st.integers(2, 5))
def test_a_probe_tells_what_lies_apart_and_nothing_else(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    labels = [f"label {i % classes}" for i in range(40 * classes)]
    folds = [i // (10 * classes) for i in range(len(labels))]
    noise = rng.standard_normal((len(labels), 12)).astype(np.float32)
    apart = noise.copy()
    for i, label in enumerate(labels):
        apart[i, int(label.split()[1])] += 20.0
    assert probe(apart, labels, folds) > 0.95
    assert probe(noise, labels, folds) < 1.0 / classes + 0.25


def test_rows_are_pooled_by_their_clip() -> None:
    values = np.array([[1.0, 5.0], [3.0, 1.0], [7.0, 7.0]], np.float32)
    owners = np.array([0, 0, 1])
    np.testing.assert_array_equal(pool(values, owners, "mean"), [[2.0, 3.0], [7.0, 7.0]])
    np.testing.assert_array_equal(pool(values, owners, "max"), [[3.0, 5.0], [7.0, 7.0]])


def test_what_is_the_same_is_the_highest_class() -> None:
    a = np.array([[0.9, 0.1], [0.2, 0.3], [0.6, 0.5]], np.float32)
    b = np.array([[0.3, 0.1], [0.9, 0.3], [0.7, 0.5]], np.float32)
    assert same(a, b) == pytest.approx(2 / 3)
