"""A scene and many questions about it as one sequence of tokens.

Questions about one scene share its tokens, and the options of a question share the question's:
the sequence is a tree, laid out node after node, in which a token sees its own node and the nodes
above it. Positions go on from the parent's, so every path from the root reads as on the device,
and the scene, which costs the most, is run once for all questions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_alm.reasoning.prompts import (
    CHATML,
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

Tokenize = Callable[[str, bool], list[int]]
"""Tokens of a text; the second argument says whether control tokens are read in it."""
Item = str | NDArray[np.float16]
ROOT = 0


@dataclass(frozen=True, slots=True)
class Branch:
    """One question about the scene and its possible answers."""

    question: str
    options: tuple[str, ...]
    """Lower case. One alone: a free answer."""
    right: int
    thought: str = ""
    """What was heard, in order; if given, the answer is learnt behind it too."""
    write: bool = True
    """Whether the right option is learnt as a free answer."""
    lines: tuple[str, ...] = ()
    """What is read before the question, after the scene."""


@dataclass(slots=True)
class Tree:
    """A tree's tokens in order, and what is to be learnt from it."""

    tokens: list[int] = field(default_factory=list)
    """0 where a soft token stands."""
    soft_at: list[int] = field(default_factory=list)
    """Indices of the soft tokens."""
    soft: list[NDArray[np.float16]] = field(default_factory=list)
    """The embeddings [n, n_in] of each run of hops that they are made of."""
    positions: list[int] = field(default_factory=list)
    node: list[int] = field(default_factory=list)
    """The node of every token."""
    above: list[set[int]] = field(default_factory=list)
    """For every node: itself and the nodes above it."""
    last: list[int] = field(default_factory=list)
    """For every node: index of the last token on the path to its end."""
    rows: list[int] = field(default_factory=list)
    """Indices of tokens whose output is scored ..."""
    targets: list[int] = field(default_factory=list)
    """... against these tokens ..."""
    continuation: list[int] = field(default_factory=list)
    """... each of which belongs to this continuation."""
    choices: list[tuple[int, ...]] = field(default_factory=list)
    """Continuations to choose from, the right one first."""
    written: list[int] = field(default_factory=list)
    """Continuations that are learnt word for word."""
    continuations: int = 0

    def __len__(self) -> int:
        return len(self.tokens)

    def add(self, parent: int | None, tokens: Sequence[int]) -> int:
        """A new node below ``parent`` (None: the root); returns its number."""
        node = len(self.above)
        if parent is None:
            self.above.append({node})
            self.last.append(-1)
        else:
            self.above.append(self.above[parent] | {node})
            self.last.append(self.last[parent])
        self.extend(node, tokens)
        return node

    def extend(self, node: int, tokens: Sequence[int]) -> None:
        """More tokens for the node added last."""
        for token in tokens:
            last = self.last[node]
            self.positions.append(self.positions[last] + 1 if last >= 0 else 0)
            self.last[node] = len(self.tokens)
            self.tokens.append(token)
            self.node.append(node)

    def extend_soft(self, node: int, embeddings: NDArray[np.float16], slots: int) -> None:
        """``slots`` soft tokens of embeddings [n, n_in] for the node added last."""
        self.soft_at += range(len(self.tokens), len(self.tokens) + slots)
        self.soft.append(embeddings)
        self.extend(node, [0] * slots)

    def score(self, parent: int, tokens: Sequence[int], *, ends: bool = True) -> tuple[int, int]:
        """A continuation below ``parent`` whose tokens are scored; returns (it, its node).

        When the path ``ends`` with it, its last token is not run: nothing comes after.
        """
        continuation = self.continuations
        self.continuations += 1
        node = self.add(parent, ())
        for i, token in enumerate(tokens):
            self.rows.append(self.last[node])
            self.targets.append(token)
            self.continuation.append(continuation)
            if not ends or i + 1 < len(tokens):
                self.extend(node, [token])
        return continuation, node

    def mask(self) -> NDArray[np.bool_]:
        """Which token (row) sees which (column), [len, len]."""
        nodes = np.array(self.node)
        related = np.zeros((len(self.above),) * 2, bool)
        for node, above in enumerate(self.above):
            related[node, list(above)] = True
        return np.asarray(np.tril(related[nodes[:, None], nodes[None, :]]))


class TreeMaker:
    """Lays scenes and questions out exactly as the runtime's prompts do.

    Args:
        tokenize: the language model's.
        chat: its chat format.
        slots: soft tokens of each run of hops; 0, as on the device, one for each hop.
    """

    def __init__(self, tokenize: Tokenize, chat: ChatFormat = CHATML, slots: int = 0) -> None:
        self._tokenize, self._chat, self._slots = tokenize, chat, slots
        self._pinned = self._read(pinned_prompt(chat, trained=True))
        self._end = tokenize(chat.end, True)[:1]

    def make(
        self,
        items: Sequence[Item],
        branches: Sequence[Branch],
        turns: Sequence[tuple[str, str]] = (),
        *,
        heard_s: float | None = None,
    ) -> Tree:
        """One tree.

        Args:
            items: of the scene.
            branches: what is asked about it.
            turns: questions and answers that went before.
            heard_s: how long the last recording is; None: not told.
        """
        tree = Tree()
        tree.add(None, self._pinned)
        for item in items or (NOTHING_HEARD,):
            if isinstance(item, str):
                tree.extend(ROOT, self._tokenize(item, False))
            else:
                tree.extend_soft(ROOT, item, self._slots or len(item))
        for question, answer in turns:
            tree.extend(ROOT, self._read(turn_prompt(self._chat, question, answer)))
        if heard_s is not None:
            tree.extend(ROOT, self._tokenize(end_line(heard_s), False))
        for branch in branches:
            self._grow(tree, branch)
        return tree

    def _grow(self, tree: Tree, branch: Branch) -> None:
        before = [token for line in branch.lines for token in self._tokenize(line, False)]
        asked = self._read(question_prompt(self._chat, branch.question))
        question = tree.add(ROOT, [*before, *asked])
        self._options(tree, question, branch)
        if branch.thought:
            start = tree.add(question, self._tokenize(THOUGHT_START, False))
            thought = [
                *self._tokenize(f" {branch.thought}", False),
                *self._tokenize(THOUGHT_END, False),
            ]
            continuation, node = tree.score(start, thought, ends=False)
            tree.written.append(continuation)
            self._options(tree, node, branch)

    def _options(self, tree: Tree, node: int, branch: Branch) -> None:
        numbers = [
            tree.score(node, [*self._tokenize(option, False), *self._end])[0]
            for option in branch.options
        ]
        right = numbers[branch.right]
        if len(numbers) > 1:
            tree.choices.append((right, *(n for n in numbers if n != right)))
        if branch.write:
            tree.written.append(right)

    def _read(self, prompt: Prompt) -> list[int]:
        return [token for part in prompt for token in self._tokenize(part.text, part.control)]
