"""llama.cpp as it comes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge_alm.reasoning.llama import LlamaContext

BATCH_TOKENS = 512
"""What llama.cpp runs at once by default (``n_ubatch``)."""


class PlainLlama(LlamaContext):
    """A model and its cache with llama.cpp's own settings, as many threads as the runtime takes.

    Args:
        model: a GGUF file.
        n_ctx: tokens in the cache.
        adapter: a LoRA GGUF file to apply, if any.
    """

    def __init__(self, model: Path, *, n_ctx: int, adapter: Path | None = None) -> None:
        n_batch = min(BATCH_TOKENS, n_ctx)  # llama.cpp aborts the process on more
        super().__init__(model, n_ctx=n_ctx, n_batch=n_batch, n_seq_max=1, adapter=adapter)

    def _context_params(self, n_ctx: int) -> Any:
        params = self._llama.llama_context_default_params()
        params.n_ctx = n_ctx
        params.n_threads = params.n_threads_batch = self.n_threads
        params.no_perf = True
        return params
