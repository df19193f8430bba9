"""A language model small enough to train in a test, its tokenizer, and scenes for it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_alm.models.projector_file import HOP_LEVELS
from edge_alm.reasoning.marks import HopMarks
from edge_alm.reasoning.prompts import event_line
from edge_alm.types import Sound
from export.compa import PAIRS_FILE
from export.recordings import Recording, write_part
from export.scenes import Placed, Recipe, imagine
from export.trees import Item

CONTROL = ("<|im_start|>", "<|im_end|>")
VOCABULARY = 300
WIDTH = 8 + HOP_LEVELS
HOP_S = 0.48
LABELS = ("dog", "bell", "rain", "horn", "cat", "saw")
_CONTROL = re.compile("(" + "|".join(map(re.escape, CONTROL)) + ")")


def tokenize(text: str, control: bool) -> list[int]:
    """A token a byte, and one for each control word where they are read."""
    parts = _CONTROL.split(text) if control else [text]
    return [
        token
        for part in parts
        for token in ([256 + CONTROL.index(part)] if control and part in CONTROL else part.encode())
    ]


def make_model(kind: str = "llama", seed: int = 0) -> Any:
    """A frozen random causal model of transformers, [300, 32], two layers."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    shape: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "initializer_range": 0.2,  # at 0.02 all outputs would be alike
        "tie_word_embeddings": True,
        "attn_implementation": "sdpa",
    }
    torch.manual_seed(seed)
    model: Any = (
        LlamaForCausalLM(LlamaConfig(**shape))
        if kind == "llama"
        else Qwen2ForCausalLM(Qwen2Config(**shape))
    )
    return model.requires_grad_(False).eval()


def make_recording(rng: np.random.Generator, timeline: Sequence[Placed] | None = None) -> Recording:
    """A scene whose hops tell what sounds: each label has its own unit."""
    if timeline is None:
        recipe = Recipe(events=(0, 1, 1, 1), duration_s=(4.0, 8.0), speech=0.0, near_far=0.0)
        timeline, duration_s = imagine(rng, LABELS, recipe)
    else:
        duration_s = max([1.0, *(placed.end_s for placed in timeline)])
    marks = HopMarks()
    items: list[Item] = []
    for placed in timeline:
        hops = rng.normal(0, 0.3, (max(1, round((placed.end_s - placed.start_s) / HOP_S)), WIDTH))
        hops[:, LABELS.index(placed.label)] += 3.0
        sound = Sound(placed.label, placed.start_s, placed.end_s, 0.9, "end")
        if mark := marks.before(placed.start_s, placed.end_s):
            items.append(mark)
        items += [hops.astype(np.float16), event_line(sound)]
    return Recording(tuple(items), tuple(timeline), duration_s)


def write_scenes(folder: Path, n: int = 12, seed: int = 0) -> Path:
    """A folder of recorded scenes."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    write_part(folder / "0000", [make_recording(rng) for _ in range(n)])
    return folder


def write_pairs(folder: Path, pairs: int = 3, seed: int = 0) -> Path:
    """Pairs of recordings that have the same two sounds in either order."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    recordings, told = [], []
    for _ in range(pairs):
        a, b = rng.choice(LABELS, 2, replace=False).tolist()
        told.append({"kind": "order", "captions": [f"{a}, then {b}", f"{b}, then {a}"]})
        for first, second in ((a, b), (b, a)):
            timeline = [Placed(first, 0.5, 2.5, -20.0), Placed(second, 3.2, 5.2, -20.0)]
            recordings.append(make_recording(rng, timeline))
    (folder / PAIRS_FILE).write_text(json.dumps(told))
    write_part(folder / "0000", recordings)
    return folder
