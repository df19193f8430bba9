"""What was heard, kept where the language model can see it at once: in its KV cache.

Sequence 0 holds ``pinned prompt | item | item | ...``. Items are appended while listening, so
that a question finds them there: it is a fork of sequence 0, which costs nothing, plus its own
tokens. When the cache is full the oldest items go, a quarter at a time, and the rest move up.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import EdgeAlmError, UsageError
from edge_alm.models.state_cache import StateCache
from edge_alm.reasoning.llama import LlamaContext, Logits
from edge_alm.reasoning.prompts import Prompt

SCENE = 0
QUESTION = 1
SCRATCH = 2
"""This sequence and those after it are free for whoever asks."""

FLUSH_TOKENS = 16
"""Pending tokens that start a batch. Twice as cheap for each token as one by one, and what is
pending when a question comes is soon appended."""
MAX_RESERVED_TOKENS = 512
"""Kept free for a question and its answer."""

Item = list[int] | NDArray[np.float32]
"""Tokens, or soft tokens of shape [n, n_embd]."""

ALWAYS = math.inf
"""The time of an item that belongs to no time."""


@dataclass(slots=True)
class Held:
    """An item in the cache."""

    tokens: int
    until_s: float
    """When what it tells of was over, on the stream's clock; before all time for a stream that is
    over itself."""


def never() -> bool:
    """Nothing is cancelled."""
    return False


class SceneMemory:
    """The held scene of one stream. Not thread-safe.

    Args:
        llama: an empty context; the memory is its only user from now on.
        pinned: what stays for ever at the front: system prompt and opening of the user's turn.
        cache: where the pinned prompt's state is kept from one start to the next, if anywhere.
        spare_tokens: kept free for whatever else stands in a question.

    Raises:
        UsageError: the context is too small for the pinned prompt.
    """

    def __init__(
        self,
        llama: LlamaContext,
        pinned: Prompt,
        cache: StateCache | None = None,
        spare_tokens: int = 0,
    ) -> None:
        self._llama = llama
        tokens = self.tokenize(pinned, begin=True)
        self.pinned_tokens = len(tokens)
        free = llama.n_ctx - spare_tokens
        self.reserved_tokens = min(MAX_RESERVED_TOKENS, free // 4)
        self._capacity = free - self.reserved_tokens - self.pinned_tokens
        least = 2 * llama.n_batch
        if self._capacity < least:
            needed = self.pinned_tokens + least
            needed = min(needed + MAX_RESERVED_TOKENS, -(-4 * needed // 3)) + spare_tokens
            raise UsageError("context", expected=f"at least {needed} tokens", got=str(llama.n_ctx))
        self._items: deque[Held] = deque()
        self._held_tokens = 0
        self._pending: deque[tuple[Item, Held]] = deque()
        llama.clear()
        self._pin(tokens, cache)

    def _pin(self, tokens: list[int], cache: StateCache | None) -> None:
        key = f"{self._llama.identity} {tokens}"
        state = cache.load(key) if cache else None
        if state and self._llama.restore(SCENE, state):
            if self._llama.span(SCENE) == (0, len(tokens)):
                return
            self._llama.clear()
        self.run(tokens, SCENE, 0)
        if cache:
            cache.save(key, self._llama.state(SCENE))

    @property
    def end(self) -> int:
        """Positions of sequence 0 in use; pending items are not counted."""
        return self.pinned_tokens + self._held_tokens

    @property
    def pending_tokens(self) -> int:
        """Tokens queued for the next batch."""
        return sum(held.tokens for _, held in self._pending)

    @property
    def is_empty(self) -> bool:
        """Whether nothing follows the pinned prompt."""
        return not self._items and not self._pending

    def tokenize(self, prompt: Prompt, *, begin: bool = False) -> list[int]:
        """Tokens of a prompt; only its control parts can become control tokens."""
        tokens: list[int] = []
        for part in prompt:
            first = begin and not tokens
            tokens += self._llama.tokenize(part.text, special=part.control, begin=first)
        return tokens

    def append(self, item: Item, until_s: float = ALWAYS) -> None:
        """Add an item at the end; it is run now or with those that follow.

        Args:
            item: what to add.
            until_s: when what it tells of was over, on the stream's clock.
        """
        step = self._capacity // 4
        for i in range(0, len(item), step):
            part = item[i : i + step]
            self._pending.append((part, Held(len(part), until_s)))
        if self.pending_tokens >= FLUSH_TOKENS:
            self.flush()

    def append_text(self, text: str, until_s: float = ALWAYS) -> None:
        """Add a line of scene text; nothing in it can become a control token."""
        self.append(self._llama.tokenize(text), until_s)

    def begin_stream(self) -> None:
        """Another clock begins: what is there already is before all of its times."""
        for held in (*self._items, *(held for _, held in self._pending)):
            if held.until_s != ALWAYS:
                held.until_s = -math.inf

    def flush(self, cancelled: Callable[[], bool] = never) -> None:
        """Run what is pending, in batches; what is left when cancelled stays pending."""
        while self._pending and not cancelled():
            batch, held = self._next_batch()
            size = sum(map(len, batch))
            self._make_room(size)
            try:
                if all(isinstance(item, list) for item in batch):
                    self.run([token for item in batch for token in item], SCENE, self.end)
                else:
                    soft = np.concatenate([self._embed(item) for item in batch])
                    self.run_soft(soft, SCENE, self.end)
            except EdgeAlmError:
                self._llama.remove(SCENE, self.end)
                raise
            for one in held:
                self._items.append(one)
                self._pending.popleft()
            self._held_tokens += size

    def _next_batch(self) -> tuple[list[Item], list[Held]]:
        """Pending items from the first on, at most a native batch (or one item).

        Text and soft tokens together, where the embeddings of text are known.
        """
        together = self._llama.embeddings.is_known
        batch: list[Item] = []
        kept: list[Held] = []
        size = 0
        for item, held in self._pending:
            size += held.tokens
            alike = together or not batch or type(item) is type(batch[0])
            if batch and (size > self._llama.n_batch or not alike):
                break
            batch.append(item)
            kept.append(held)
        return batch, kept

    def _make_room(self, size: int) -> None:
        excess = self._held_tokens + size - self._capacity
        if excess <= 0:
            return
        # In bulk: each shift rotates every key in the cache once more.
        wanted = max(excess, self._capacity // 4)
        freed = 0
        while self._items and freed < wanted:
            freed += self._items.popleft().tokens
        self._held_tokens -= freed
        self._llama.remove(SCENE, self.pinned_tokens, self.pinned_tokens + freed)
        self._llama.shift(SCENE, self.pinned_tokens + freed, -freed)

    def run(
        self,
        tokens: Sequence[int],
        sequence: int,
        start: int,
        *,
        wanted: bool = False,
        cancelled: Callable[[], bool] = never,
    ) -> Logits | None:
        """Run tokens at consecutive positions, a native batch at a time.

        Returns:
            Logits after the last token, shape [n_vocab], if wanted; None when it was not, or
            when cancelled before the end.
        """
        logits = None
        for i in range(0, len(tokens), self._llama.n_batch):
            if cancelled():
                return None
            part = tokens[i : i + self._llama.n_batch]
            n = len(part)
            last = wanted and i + n == len(tokens)
            rows = self._llama.decode(
                part, range(start + i, start + i + n), [sequence] * n, [False] * (n - 1) + [last]
            )
            logits = rows[0] if last else None
        return logits

    def run_soft(self, soft: NDArray[np.float32], sequence: int, start: int) -> None:
        """Run soft tokens [n, n_embd] at consecutive positions, a native batch at a time."""
        for i in range(0, len(soft), self._llama.n_batch):
            part = soft[i : i + self._llama.n_batch]
            at = start + i
            self._llama.decode_embeddings(part, range(at, at + len(part)), sequence)

    def _embed(self, item: Item) -> NDArray[np.float32]:
        return self._llama.embeddings[item] if isinstance(item, list) else item

    @contextmanager
    def fork(
        self, *, sequence: int = QUESTION, blank: bool = False, since_s: float = -math.inf
    ) -> Iterator[int]:
        """Share the scene (blank: the pinned prompt alone) with another sequence.

        Of a fork ``since_s`` the items that were over by then are missing, and their positions
        with them: costs nothing, as the rest stays where it is.

        Yields the position after the last; the sequence is dropped in the end.
        """
        self._llama.fork(SCENE, sequence, self.pinned_tokens if blank else self.end)
        try:
            if since_s > -math.inf and not blank:
                self._drop_before(since_s, sequence)
            yield self._llama.span(sequence)[1]
        finally:
            self._llama.remove(sequence)

    def _drop_before(self, since_s: float, sequence: int) -> None:
        start = self.pinned_tokens
        for held in self._items:
            if held.until_s <= since_s:
                self._llama.remove(sequence, start, start + held.tokens)
            start += held.tokens

    def reset(self) -> None:
        """Forget the scene; the pinned prompt stays."""
        self._pending.clear()
        self._items.clear()
        self._held_tokens = 0
        self._llama.remove(SCENE, self.pinned_tokens)
