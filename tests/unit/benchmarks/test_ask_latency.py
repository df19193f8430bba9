"""What is prefilled is what is held."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import Require
from native_models import write_language_model

from benchmarks.ask_latency import ask_cold, ask_held, join, last_items
from benchmarks.peers.plain_llama import PlainLlama
from edge_alm.reasoning.llama import LlamaContext
from edge_alm.reasoning.prompts import Part
from edge_alm.reasoning.scene import Item, SceneMemory


def make_items(width: int) -> list[Item]:
    soft = np.random.default_rng(0).standard_normal((6, width)).astype(np.float32)
    return [[300, 301], soft[:1], soft[1:3], [302], soft[3:], [303, 304, 305]]


@pytest.mark.parametrize("soft", [True, False])
def test_the_first_token_is_the_same(tmp_path: Path, require: Require, soft: bool) -> None:
    require("llama_cpp", "the extra llm")
    model = write_language_model(tmp_path / "model.gguf")
    prompt = [Part("a sound")]
    with LlamaContext(model, n_ctx=512) as llama, PlainLlama(model, n_ctx=512) as cold:
        scene = SceneMemory(llama, prompt)
        items = [item for item in make_items(llama.n_embd) if soft or isinstance(item, list)]
        for item in items:
            scene.append(item)
        question = llama.tokenize("which")
        pinned = scene.tokenize(prompt, begin=True)
        assert ask_cold(cold, [pinned, *items, question]) == ask_held(scene, question)
        runs = join(cold, [pinned, *items, question])
        assert len(runs) == (2 if soft else 1)
        assert sum(map(len, runs)) == scene.end + len(question)


def test_only_the_last_items_are_left() -> None:
    items = make_items(4)
    assert last_items(items, 0) == []
    assert sum(map(len, last_items(items, 6))) == 6
    assert last_items(items, sum(map(len, items))) == items
    assert last_items(items, sum(map(len, items)) + 1) == items
    for tokens in range(sum(map(len, items))):  # whole ones, and the next would not fit
        left = len(last_items(items, tokens))
        assert sum(map(len, items[len(items) - left :])) <= tokens
        assert sum(map(len, items[len(items) - left - 1 :])) > tokens
