"""Variants of the training: each is given what its name says, and all are asked the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from toy import WIDTH, make_model, tokenize, write_scenes

from export.ablations import CAPTION, VARIANTS, Variant, answer, table
from export.hearing_model import Queries, build
from export.lessons import Lessons, LessonsConfig, is_soft, is_sound_line, only
from export.recordings import read_recordings
from export.runs import Run
from export.settings import Config, ModelConfig, TrainingConfig
from export.trees import TreeMaker

SCENES = 12


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("ablations") / "dev", SCENES)


def run(queries: int = 0) -> Run:
    config = ModelConfig(4, 8, 16, queries)
    model = build(make_model(), WIDTH, config, 0).eval()
    return Run(model, tokenize, 0, {"model": {"queries": queries}})


def test_every_variant_is_asked_the_same(scenes: Path) -> None:
    found = {
        variant.name: list(answer(run(variant.queries), scenes, variant.inputs, SCENES))
        for variant in VARIANTS
        if not variant.layered
    }
    asked = [[skill for skill, _ in rows] for rows in found.values()]
    assert len(asked[0]) > 5 * SCENES
    assert CAPTION in asked[0]
    assert all(skills == asked[0] for skills in asked)
    assert len({tuple(rows) for rows in found.values()}) > 1  # but they hear differently
    lines = table(found).splitlines()
    assert len(lines) == 2 + len(set(asked[0]))
    assert lines[1].count(f"({len(asked[0])})") == len(found)


@pytest.mark.parametrize("inputs", ["soft", "text"])
def test_a_kind_of_input_has_nothing_of_the_other(scenes: Path, inputs: str) -> None:
    for recording in read_recordings(scenes):
        items = only(recording, inputs)
        assert items
        assert any(map(is_soft, items)) == (inputs == "soft")
        assert any(map(is_sound_line, items)) == (inputs == "text")


def test_a_variant_changes_all_phases() -> None:
    config = Config(
        LessonsConfig(train=("a", "b")),
        ModelConfig(),
        TrainingConfig(),
        ((5, LessonsConfig(train=("c",))),),
    )
    changed = Variant("x", "soft", 3, True).config(config)
    assert changed.data == LessonsConfig(train=("a-layers", "b-layers"), inputs="soft")
    assert changed.phases == ((5, LessonsConfig(train=("c-layers",), inputs="soft")),)
    assert changed.model == ModelConfig(queries=3)
    assert Variant("x", "both").config(config) == config


def test_queries_find_the_same_in_a_batch_as_alone() -> None:
    torch.manual_seed(0)
    queries = Queries(WIDTH, 3)
    runs = [torch.randn(n, WIDTH) for n in (1, 7, 3)]
    with torch.no_grad():
        together = queries(runs)
        alone = torch.cat([queries([hops]) for hops in runs])
        turned = queries([runs[1].flip(0)])
    assert together.shape == (9, WIDTH)
    torch.testing.assert_close(together, alone)
    assert not torch.allclose(turned, together[3:6])  # the order of the hops is heard


def test_a_run_of_hops_has_as_many_soft_tokens_as_queries(scenes: Path) -> None:
    data = LessonsConfig(train=(str(scenes),), questions=2)
    tree = Lessons(data, TreeMaker(tokenize, slots=3), tokenize, 0).tree(0, 0)
    assert len(tree.soft_at) == 3 * len(tree.soft)
    model = run(3).model
    (scores,) = model([tree])
    assert len(scores) == len(tree.rows)
    scores.sum().backward()
    assert model.queries is not None
    assert model.queries.queries.grad is not None
    assert model.queries.queries.grad.abs().sum() > 0
