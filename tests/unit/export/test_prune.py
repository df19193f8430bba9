"""A student that begins with its teacher's weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from test_student import make_student

from edge_alm.errors import UsageError
from export.prune import Source, begin, choose, fit, layers_of, read_source
from export.student import Student, StudentConfig, write_onnx

CLASSES = 7
TEACHER = StudentConfig(width=0.0625, depth=5)


def make_source(teacher: Student) -> Source:
    folded = (layer.folded() for layer in teacher.layers)
    return Source(tuple((torch.from_numpy(w), torch.from_numpy(b)) for w, b in folded))


def begin_with(teacher: Student, config: StudentConfig, patches: torch.Tensor) -> Student:
    torch.manual_seed(1)
    student = Student(config, CLASSES)
    with torch.no_grad():
        begin(student, make_source(teacher), patches, {student.classifier: teacher(patches)[0]})
    return student


def make_patches(count: int = 64) -> torch.Tensor:
    """Of a band each that comes and goes, in noise."""
    rng = np.random.default_rng(0)
    patches = rng.normal(-4.0, 1.0, (count, 96, 64))
    for patch in patches:
        band, start = rng.integers(56), rng.integers(60)
        patch[start : start + 30, band : band + 8] += rng.uniform(1.0, 6.0)
    return torch.from_numpy(patches.astype(np.float32))


def test_one_as_large_as_its_teacher_is_its_teacher() -> None:
    teacher, patches = make_student(TEACHER, CLASSES), make_patches()
    student = begin_with(teacher, TEACHER, patches).eval()
    with torch.no_grad():
        wanted, found = teacher(patches)[0], student(patches)[0]
    assert float((found - wanted).abs().mean()) < 0.05 * float(wanted.std())


def test_a_smaller_one_is_nearer_than_chance() -> None:
    teacher, patches = make_student(StudentConfig(width=0.125, depth=5), CLASSES), make_patches()
    config = StudentConfig(width=0.0625, depth=2, last=0.03125)
    begun = begin_with(teacher, config, patches).eval()
    torch.manual_seed(1)
    chance = Student(config, CLASSES).eval()
    other = make_patches(80)[64:]
    with torch.no_grad():
        wanted = teacher(other)[0]
        begun_error, chance_error = (
            float((student(other)[0] - wanted).square().mean()) for student in (begun, chance)
        )
    assert begun_error < 0.5 * chance_error


def test_training_begins_where_it_stands() -> None:
    teacher, patches = make_student(TEACHER, CLASSES), make_patches()
    student = begin_with(teacher, StudentConfig(width=0.03125, depth=3), patches)
    with torch.no_grad():
        trained, used = student.train()(patches)[0], student.eval()(patches)[0]
    torch.testing.assert_close(trained, used, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (0, [0, 1, 2, 3, 4, 5, 11, 12]),
        (3, [0, 1, 2, 3, 4, 5, 6, 8, 9, 11, 12]),
        (5, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
    ],
)
def test_its_layers_stand_for_some_of_the_teachers(depth: int, expected: list[int]) -> None:
    assert layers_of(depth) == expected


def test_one_deeper_than_the_teacher_is_refused() -> None:
    with pytest.raises(UsageError, match="5 at most"):
        layers_of(6)


def test_one_wider_than_the_teacher_is_refused() -> None:
    teacher = make_student(TEACHER, CLASSES)
    with pytest.raises(UsageError, match="channels at most"):
        begin_with(teacher, StudentConfig(width=0.25, depth=5), make_patches(4))


def test_columns_are_chosen_that_tell_the_others() -> None:
    rng = np.random.default_rng(0)
    told = torch.from_numpy(rng.normal(size=(500, 3)).astype(np.float32))
    values = torch.cat((told, told @ torch.ones(3, 2), 1e-3 * torch.ones(500, 2)), dim=1)
    chosen = choose(values, torch.eye(7), 3)
    weight, bias = fit(values[:, chosen], values)
    assert float((values[:, chosen] @ weight.T + bias - values).abs().max()) < 0.05


def test_columns_that_nothing_takes_are_left_out() -> None:
    values = torch.from_numpy(np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32))
    weight = torch.zeros(2, 4)
    weight[0, 1], weight[1, 3] = 1.0, 0.1
    assert choose(values, weight, 2).tolist() == [1, 3]


def test_a_fit_is_by_least_squares() -> None:
    rng = np.random.default_rng(0)
    known = torch.from_numpy(rng.normal(size=(200, 3)).astype(np.float32))
    weight, bias = fit(known, known @ torch.tensor([[2.0], [-1.0], [0.5]]) + 4.0)
    torch.testing.assert_close(weight, torch.tensor([[2.0, -1.0, 0.5]]), rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(bias, torch.tensor([4.0]), rtol=1e-2, atol=1e-2)


def test_another_network_is_refused(tmp_path: Path) -> None:
    write_onnx(make_student(StudentConfig(width=0.0625, depth=3)), tmp_path / "encoder.onnx")
    with pytest.raises(UsageError, match="YAMNet's 27 convolutions"):
        read_source(tmp_path / "encoder.onnx")


def test_the_source_is_what_its_file_holds(tmp_path: Path) -> None:
    teacher = make_student(TEACHER)
    write_onnx(teacher, tmp_path / "encoder.onnx")
    found, wanted = read_source(tmp_path / "encoder.onnx"), make_source(teacher)
    pairs = zip(found.convolutions, wanted.convolutions, strict=True)
    for own, expected in pairs:
        assert torch.equal(own[0], expected[0])
        assert torch.equal(own[1], expected[1])
