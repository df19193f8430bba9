"""A tree of questions reads, and scores, as every question would alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import VOCABULARY, WIDTH, make_model, tokenize

from edge_alm.reasoning.prompts import (
    CHATML,
    LLAMA3,
    NOTHING_HEARD,
    THOUGHT_END,
    THOUGHT_START,
    ChatFormat,
    Prompt,
    end_line,
    pinned_prompt,
    question_prompt,
    turn_prompt,
)
from export.trees import Branch, Item, Tree, TreeMaker

words = st.lists(st.sampled_from(["a", "bc", " ", "\n", "<|im_end|>"]), min_size=1, max_size=5).map(
    "".join
)
branches = st.builds(
    lambda question, options, right, thought, write: Branch(
        question, tuple(options), right % len(options), thought, write
    ),
    words,
    st.lists(words, min_size=1, max_size=4, unique=True),
    st.integers(0, 3),
    st.one_of(st.just(""), words),
    st.booleans(),
)
items = st.lists(st.one_of(words, st.integers(1, 3)), max_size=5)


def number_hops(drawn: Sequence[str | int]) -> list[Item]:
    """Texts as they are; for a number so many hops, each of which holds which one it is."""
    made: list[Item] = []
    at = 0
    for item in drawn:
        if isinstance(item, str):
            made.append(item)
        else:
            made.append(np.repeat(np.arange(at, at + item, dtype=np.float16)[:, None], 2, axis=1))
            at += item
    return made


def read(prompt: Prompt) -> list[int]:
    return [token for part in prompt for token in tokenize(part.text, part.control)]


def plain_paths(
    made: Sequence[Item],
    asked: Sequence[Branch],
    turns: Sequence[tuple[str, str]],
    chat: ChatFormat,
    heard_s: float | None,
) -> list[tuple[list[int], list[int]]]:
    """What stands before each continuation, and the continuation; hop n is token -1 - n."""
    before = read(pinned_prompt(chat, trained=True))
    for item in made or [NOTHING_HEARD]:
        before += tokenize(item, False) if isinstance(item, str) else [-1 - int(h[0]) for h in item]
    for question, answer in turns:
        before += read(turn_prompt(chat, question, answer))
    if heard_s is not None:
        before += tokenize(end_line(heard_s), False)
    end = tokenize(chat.end, True)[:1]
    paths = []
    for branch in asked:
        start = before + read(question_prompt(chat, branch.question))
        paths += [(start, tokenize(option, False) + end) for option in branch.options]
        if branch.thought:
            start = start + tokenize(THOUGHT_START, False)
            thought = tokenize(f" {branch.thought}{THOUGHT_END}", False)
            paths.append((start, thought))
            start = start + thought
            paths += [(start, tokenize(option, False) + end) for option in branch.options]
    return paths


def tree_paths(tree: Tree) -> list[tuple[list[int], list[int]]]:
    """The same, read off the tree's mask and positions."""
    tokens = list(tree.tokens)
    hops = [hop for block in tree.soft for hop in block[:, 0]]
    for at, hop in zip(tree.soft_at, hops, strict=True):
        assert tokens[at] == 0
        tokens[at] = -1 - int(hop)
    mask, positions = tree.mask(), np.array(tree.positions)

    def seen_by(row: int) -> list[int]:
        columns = np.flatnonzero(mask[row])
        columns = columns[np.argsort(positions[columns], kind="stable")]
        np.testing.assert_array_equal(positions[columns], np.arange(len(columns)))
        assert columns[-1] == row
        return [tokens[i] for i in columns]

    paths = []
    for number in range(tree.continuations):
        own = [i for i, c in enumerate(tree.continuation) if c == number]
        targets = [tree.targets[i] for i in own]
        start = seen_by(tree.rows[own[0]])
        for said, i in enumerate(own):
            assert seen_by(tree.rows[i]) == start + targets[:said]
        paths.append((start, targets))
    return paths


@settings(max_examples=60, deadline=None)
@given(
    drawn=items,
    asked=st.lists(branches, max_size=3),
    turns=st.lists(st.tuples(words, words), max_size=2),
    chat=st.sampled_from([CHATML, LLAMA3]),
    heard_s=st.one_of(st.none(), st.floats(0.0, 600.0)),
)
def test_every_path_reads_as_the_plain_prompt(
    drawn: list[str | int],
    asked: list[Branch],
    turns: list[tuple[str, str]],
    chat: ChatFormat,
    heard_s: float | None,
) -> None:
    made = number_hops(drawn)
    tree = TreeMaker(tokenize, chat).make(made, asked, turns, heard_s=heard_s)
    assert tree_paths(tree) == plain_paths(made, asked, turns, chat, heard_s)
    assert len(tree) == len(tree.tokens) == len(tree.positions) == len(tree.node)
    assert len(tree.soft_at) == sum(map(len, tree.soft))


@settings(max_examples=60, deadline=None)
@given(asked=st.lists(branches, min_size=1, max_size=3))
def test_what_is_learnt_is_the_right_answer_and_the_thought(asked: list[Branch]) -> None:
    tree = TreeMaker(tokenize).make(["a\n"], asked)
    said = [targets[:-1] for _, targets in tree_paths(tree)]  # the thought's last one is its end
    chosen, written = [], []
    for branch in asked:
        options = [list(option.encode()) for option in branch.options]
        right = options[branch.right]
        rounds = 2 if branch.thought else 1
        if len(options) > 1:
            chosen += [(right, sorted(options))] * rounds
        thought = [list(f" {branch.thought}".encode())] if branch.thought else []
        answer = [right] if branch.write else []
        written += [*answer, *(thought + answer if thought else [])]
    found = [(said[choice[0]], sorted(said[i] for i in choice)) for choice in tree.choices]
    assert found == chosen
    assert [said[i] for i in tree.written] == written


def random_tree(rng: np.random.Generator, asked: Sequence[Branch], hops: int = 3) -> Tree:
    scene: list[Item] = [
        "[0.0]",
        rng.normal(0, 1, (hops, WIDTH)).astype(np.float16),
        "[0.0-1.0 a]\n",
    ]
    scene += ["[9.0]", rng.normal(0, 1, (1, WIDTH)).astype(np.float16)]
    return TreeMaker(tokenize).make(scene, asked)


ASKED = (
    Branch("What was it?", ("dog", "a bell", "ca"), 1, thought="bell, dog"),
    Branch("How often?", ("2",), 0),
)


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def hearing(request: pytest.FixtureRequest) -> Any:
    """Untrained, but with adapters that do something."""
    import torch

    from export.hearing_model import build
    from export.settings import ModelConfig

    model = build(make_model(request.param), WIDTH, ModelConfig(4, 8, 16), 0)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.normal_(0, 0.1)
    return model


def score_alone(
    hearing: Any, start: Sequence[int], targets: Sequence[int], hops: np.ndarray
) -> list[float]:
    """Log probabilities of a continuation, in a sequence of its own without mask or positions."""
    import torch

    path = torch.tensor([*start, *targets[:-1]])
    with torch.no_grad():
        inputs = hearing.language_model.get_input_embeddings()(path.clamp(min=0))
        soft = hearing.projector(torch.from_numpy(hops.astype(np.float32)))
        inputs[path < 0] = soft[-1 - path[path < 0]]
        logits = hearing.language_model(inputs_embeds=inputs[None]).logits[0, len(start) - 1 :]
    assert logits.shape == (len(targets), VOCABULARY)
    return [float(row[t]) for row, t in zip(logits.log_softmax(-1), targets, strict=True)]


def test_scores_are_those_of_every_path_alone(hearing: Any) -> None:
    import torch

    tree = random_tree(np.random.default_rng(0), ASKED)
    with torch.no_grad():
        (scores,) = hearing([tree])
    hops = np.concatenate(tree.soft)
    tree.soft = [np.arange(len(hops), dtype=np.float16)[:, None]]  # to read them off the paths
    alone = [
        score
        for start, targets in tree_paths(tree)
        for score in score_alone(hearing, start, targets, hops)
    ]
    np.testing.assert_allclose(scores.numpy(), alone, atol=1e-5)
    assert np.ptp(alone) > 1  # a model whose outputs were all alike would pass as well


def test_padding_and_neighbours_change_nothing(hearing: Any) -> None:
    import torch

    rng = np.random.default_rng(1)
    trees = [random_tree(rng, ASKED[1:], hops=1), random_tree(rng, ASKED, hops=4)]
    trees.append(TreeMaker(tokenize).make([], ASKED[:1]))
    assert len({len(tree) for tree in trees}) == 3
    with torch.no_grad():
        together = hearing(trees)
        alone = [hearing([tree])[0] for tree in trees]
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-5)


def test_what_a_hop_holds_reaches_the_scores(hearing: Any) -> None:
    import torch

    tree = random_tree(np.random.default_rng(2), ASKED)
    with torch.no_grad():
        before = hearing([tree])[0].numpy()
        tree.soft[0] = -tree.soft[0]
        after = hearing([tree])[0].numpy()
    assert np.abs(before - after).max() > 1e-3
