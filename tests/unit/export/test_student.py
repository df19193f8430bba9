"""Students: their sizes, and that the file is the network that was trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_alm.hearing.encoder import Yamnet
from export.distill import read_run, write_labels
from export.gate_classes import GATE
from export.student import Student, StudentConfig, write_onnx

CONFIG = Path(__file__).resolve().parents[3] / "export" / "distill.toml"


def make_student(config: StudentConfig, classes: int = 5, seed: int = 0) -> Student:
    """One whose normalisations have seen something."""
    torch.manual_seed(seed)
    student = Student(config, classes)
    for module in student.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0.0, 0.5)
            module.running_var.uniform_(0.5, 2.0)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0.0, 0.2)
    student.eval()
    return student


@settings(max_examples=8, deadline=None)
@given(
    width=st.sampled_from((0.0625, 0.125, 0.25)),
    depth=st.integers(0, 3),
    classes=st.integers(2, 9),
    seed=st.integers(0, 99),
)
def test_the_file_is_the_network(
    tmp_path_factory: pytest.TempPathFactory, width: float, depth: int, classes: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("student")
    student = make_student(StudentConfig(width=width, depth=depth), classes, seed)
    write_onnx(student, folder / "encoder.onnx")
    write_labels(folder / "labels.csv", [f"class {i}" for i in range(classes)])
    encoder = Yamnet(folder / "encoder.onnx", folder / "labels.csv")
    assert encoder.embedding_size == student.embedding_size
    patch = np.random.default_rng(seed).standard_normal((96, 64)).astype(np.float32)
    with torch.no_grad():
        logits, embedding = (x[0] for x in student(torch.from_numpy(patch)[None]))
    found = encoder.encode(patch)
    np.testing.assert_allclose(found[0], torch.sigmoid(logits).numpy(), atol=1e-4)
    np.testing.assert_allclose(found[1], embedding.numpy(), rtol=1e-3, atol=1e-4)


def test_a_stand_in_puts_out_its_teachers_embedding(tmp_path: Path) -> None:
    student = make_student(StudentConfig(width=0.0625, depth=1))
    rng = np.random.default_rng(0)
    weight, bias = (
        rng.normal(size=shape).astype(np.float32) for shape in ((11, student.embedding_size), 11)
    )
    for name, adapter in (("own", None), ("as_teacher", (weight, bias))):
        write_onnx(student, tmp_path / f"{name}.onnx", adapter)
    write_labels(tmp_path / "labels.csv", [f"class {i}" for i in range(5)])
    patch = rng.normal(size=(96, 64)).astype(np.float32)
    own, as_teacher = (
        Yamnet(tmp_path / f"{name}.onnx", tmp_path / "labels.csv").encode(patch)
        for name in ("own", "as_teacher")
    )
    np.testing.assert_allclose(as_teacher[0], own[0], rtol=1e-5)
    np.testing.assert_allclose(as_teacher[1], weight @ own[1] + bias, rtol=1e-3, atol=1e-4)


def test_the_same_weights_are_the_same_bytes(tmp_path: Path) -> None:
    student = make_student(StudentConfig(width=0.125, depth=1))
    for name in ("a", "b"):
        write_onnx(student, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_students_of_the_configuration_are_small() -> None:
    sizes = {}
    for config in read_run(CONFIG)[1]:
        student = Student(config, len(GATE) if config.classes == "gate" else 521)
        sizes[config.name] = sum(each.numel() for each in student.parameters())
    assert sizes["small"] <= 500_000
    assert sizes["gate"] <= 90_000  # a byte each, and what describes them


@pytest.mark.parametrize(
    "change", [{"width": 0.0}, {"depth": -1}, {"classes": "none"}, {"name": "a/b"}]
)
def test_a_student_that_cannot_be_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"got"):
        StudentConfig(**change)  # type: ignore[arg-type]
