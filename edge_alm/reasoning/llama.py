"""The one place that calls llama.cpp's low-level API.

A :class:`LlamaContext` is a model with one KV cache in which several sequences share cells:
sequence 0 holds the scene, a question is a fork of it. It is not thread-safe; one owner calls it.
"""

from __future__ import annotations

import codecs
import contextlib
import ctypes
import os
from collections import deque
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import EdgeAlmError, ModelBrokenError, UsageError, missing_extra
from edge_alm.models.gguf_file import check_gguf
from edge_alm.reasoning.embedding_table import EmbeddingTable

Logits: TypeAlias = NDArray[np.float32]

DEFAULT_N_CTX = 4096
"""94 MB of cache for SmolLM2-135M, and room for half an hour of hops of 0.48 s."""
DEFAULT_N_BATCH = 64
"""Tokens per native call, the grain of a cancellation. 512 is no faster on an x86 core (140
tokens/s against 142) and takes 31 MB more."""
DEFAULT_N_SEQ_MAX = 16

_ERROR_LEVEL = 3  # GGML_LOG_LEVEL_ERROR
_log_errors: deque[str] = deque(maxlen=8)
_log_callback: Any = None  # kept alive here for as long as llama.cpp may call it


class ContextFullError(EdgeAlmError):
    """The KV cache has no room for a batch. The sequence is as it was before the call."""

    code = "context-full"


class TextDecoder:
    """Joins token pieces into text; a character split over pieces appears once it is whole."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, piece: bytes) -> str:
        """The characters that ``piece`` completes; may be empty."""
        return self._decoder.decode(piece)

    def finish(self) -> str:
        """What is left; an incomplete character becomes U+FFFD."""
        return self._decoder.decode(b"", final=True)


class LlamaContext:
    """A GGUF model and its KV cache.

    Args:
        model: a GGUF file; its header is bounds-checked before native code sees it.
        n_ctx: tokens in the KV cache, shared by all sequences; at most what the model was
            trained with (more is cut to that).
        n_batch: tokens per native call.
        n_seq_max: sequences that may exist at once.
        n_threads: default: :func:`default_threads`.
        adapter: a LoRA GGUF file to apply, if any.

    Raises:
        MissingExtraError: llama-cpp-python is not installed.
        ModelBrokenError: the model or the adapter cannot be loaded.
    """

    def __init__(
        self,
        model: Path,
        *,
        n_ctx: int = DEFAULT_N_CTX,
        n_batch: int = DEFAULT_N_BATCH,
        n_seq_max: int = DEFAULT_N_SEQ_MAX,
        n_threads: int | None = None,
        adapter: Path | None = None,
    ) -> None:
        self._resources = contextlib.ExitStack()
        check_gguf(model)
        if adapter is not None:
            check_gguf(adapter)
        self._llama = llama = import_llama()
        with contextlib.ExitStack() as building:
            self.model = _load_model(llama, model)
            """llama.cpp's handle, for libmtmd."""
            building.callback(llama.llama_model_free, self.model)
            self._vocab = llama.llama_model_get_vocab(self.model)
            self.n_embd = int(llama.llama_model_n_embd(self.model))
            self.n_vocab = int(llama.llama_vocab_n_tokens(self._vocab))
            self.n_batch = max(n_batch, n_seq_max)  # llama.cpp aborts the process on less
            self.n_seq_max = n_seq_max
            self.n_threads = n_threads or default_threads()
            trained = int(llama.llama_model_n_ctx_train(self.model))
            self._ctx = self._new_context(model, min(n_ctx, trained))
            building.callback(llama.llama_free, self._ctx)
            self.n_ctx = int(llama.llama_n_ctx(self._ctx))
            self._memory = llama.llama_get_memory(self._ctx)
            if not llama.llama_memory_can_shift(self._memory):
                raise ModelBrokenError(
                    f"model {model.name}",
                    expected="a KV cache whose positions can be shifted",
                    got="one that cannot (recurrent or multi-axis positions)",
                    hint="choose another language model",
                )
            if adapter is not None:
                self._apply_adapter(adapter)
            self.embeddings = EmbeddingTable(model)
            """Of the model's tokens."""
            self._tokens = llama.llama_batch_init(self.n_batch, 0, 1)
            building.callback(llama.llama_batch_free, self._tokens)
            self._soft = llama.llama_batch_init(self.n_batch, self.n_embd, 1)
            building.callback(llama.llama_batch_free, self._soft)
            self.identity = _identity(llama, (model, adapter), self.n_ctx, n_seq_max)
            """What a saved state depends on, besides the tokens."""
            self._resources = building.pop_all()

    def _context_params(self, n_ctx: int) -> Any:
        llama = self._llama
        params = llama.llama_context_default_params()
        params.n_ctx = n_ctx
        params.n_batch = params.n_ubatch = self.n_batch
        params.n_seq_max = self.n_seq_max
        params.n_threads = params.n_threads_batch = self.n_threads
        params.kv_unified = True
        params.offload_kqv = False
        params.no_perf = True
        # With flash attention a 24-token question over 4096 held tokens took 2.5 times as long
        # on one x86 core (0.82 s against 0.33 s), with a q8_0 cache three times.
        params.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_DISABLED
        return params

    def _new_context(self, model: Path, n_ctx: int) -> Any:
        params = self._context_params(n_ctx)
        context = self._llama.llama_init_from_model(self.model, params)
        if not context:
            raise ModelBrokenError(
                f"model {model.name}", expected=f"a context of {n_ctx} tokens", got=last_error()
            )
        return context

    def _apply_adapter(self, adapter: Path) -> None:
        llama = self._llama
        # The model owns the adapter and frees it.
        lora = llama.llama_adapter_lora_init(self.model, os.fsencode(adapter))
        if lora:
            adapters = (type(lora) * 1)(lora)
            scales = (ctypes.c_float * 1)(1.0)
            if llama.llama_set_adapters_lora(self._ctx, adapters, 1, scales) == 0:
                return
        raise ModelBrokenError(
            f"adapter {adapter.name}", expected="one made for this model", got=last_error()
        )

    # Text and tokens

    @property
    def chat_template(self) -> str:
        """The Jinja template the model file carries; empty when it carries none."""
        template = self._llama.llama_model_chat_template(self.model, None)
        return template.decode("utf-8", "replace") if template else ""

    def tokenize(self, text: str, *, special: bool = False, begin: bool = False) -> list[int]:
        """Token ids of ``text``.

        Args:
            text: any text.
            special: read ``<|im_end|>`` and the like as control tokens; never for text that
                comes from outside.
            begin: add the tokens that the model wants at the very beginning.
        """
        raw = text.encode("utf-8", "replace")
        room = len(raw) + 8
        tokens = (self._llama.llama_token * room)()
        n = self._llama.llama_tokenize(self._vocab, raw, len(raw), tokens, room, begin, special)
        if n < 0:
            raise UsageError("text", expected=f"at most {room} tokens", got=str(-n))
        return list(tokens[:n])

    def piece(self, token: int) -> bytes:
        """The bytes that ``token`` stands for; empty for a control token."""
        buffer = ctypes.create_string_buffer(256)
        n = self._llama.llama_token_to_piece(self._vocab, token, buffer, 256, 0, False)
        return buffer.raw[:n] if n > 0 else b""

    def is_end(self, token: int) -> bool:
        """Whether ``token`` ends a turn."""
        return bool(self._llama.llama_vocab_is_eog(self._vocab, token))

    # Sequences

    def decode(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        sequences: Sequence[int],
        wanted: Sequence[bool],
    ) -> Logits:
        """Run at most ``n_batch`` tokens, each at its position of its sequence.

        Returns:
            Logits after the wanted tokens, in order: shape [wanted, n_vocab].

        Raises:
            ContextFullError: no room; nothing has changed.
            ModelBrokenError: native failure; the sequences concerned hold nothing new.
        """
        n = len(tokens)
        self._fill(self._tokens, n, positions, sequences, wanted)
        for i in range(n):
            self._tokens.token[i] = tokens[i]
        self._run(self._tokens, positions, sequences)
        rows = [i for i in range(n) if wanted[i]]
        out = np.empty((len(rows), self.n_vocab), np.float32)
        for row, i in enumerate(rows):
            pointer = self._llama.llama_get_logits_ith(self._ctx, i)
            out[row] = np.ctypeslib.as_array(pointer, (self.n_vocab,))
        return out

    def decode_embeddings(
        self, embeddings: NDArray[np.float32], positions: Sequence[int], sequence: int
    ) -> None:
        """Run at most ``n_batch`` soft tokens, shape [n, n_embd]; no logits.

        Raises: as :meth:`decode`.
        """
        n = len(embeddings)
        if embeddings.shape != (n, self.n_embd):
            raise UsageError(
                "soft tokens", expected=f"shape [n, {self.n_embd}]", got=str(embeddings.shape)
            )
        sequences = [sequence] * n
        self._fill(self._soft, n, positions, sequences, [False] * n)
        view = np.ctypeslib.as_array(self._soft.embd, (self.n_batch, self.n_embd))
        view[:n] = embeddings
        self._run(self._soft, positions, sequences)

    def _fill(
        self,
        batch: Any,
        n: int,
        positions: Sequence[int],
        sequences: Sequence[int],
        wanted: Sequence[bool],
    ) -> None:
        if not n <= self.n_batch:
            raise UsageError("batch", expected=f"at most {self.n_batch} tokens", got=str(n))
        batch.n_tokens = n
        for i in range(n):
            batch.pos[i] = positions[i]
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = sequences[i]
            batch.logits[i] = wanted[i]

    def _run(self, batch: Any, positions: Sequence[int], sequences: Sequence[int]) -> None:
        if batch.n_tokens == 0:
            return
        status = self._llama.llama_decode(self._ctx, batch)
        if status == 0:
            return
        # After a fatal error the parts already run stay in the cache: take them out again.
        for sequence in set(sequences):
            first = min(p for p, s in zip(positions, sequences, strict=True) if s == sequence)
            self.remove(sequence, first)
        if status == 1:
            raise ContextFullError(
                "KV cache", expected=f"room for {batch.n_tokens} tokens", got="none"
            )
        raise ModelBrokenError(
            "language model", expected="to run", got=f"llama_decode {status}: {last_error()}"
        )

    def fork(self, source: int, target: int, end: int = -1) -> None:
        """Let ``target`` share the cells of ``source`` before position ``end`` (-1: all)."""
        self._llama.llama_memory_seq_cp(self._memory, source, target, 0, end)

    def remove(self, sequence: int, start: int = 0, end: int = -1) -> None:
        """Take positions [start, end) out of a sequence; cells nobody holds become free."""
        self._llama.llama_memory_seq_rm(self._memory, sequence, start, end)

    def shift(self, sequence: int, start: int, delta: int) -> None:
        """Move positions from ``start`` on by ``delta``. No other sequence may share them."""
        self._llama.llama_memory_seq_add(self._memory, sequence, start, -1, delta)

    def span(self, sequence: int) -> tuple[int, int]:
        """First position and the one after the last; (0, 0) for an empty sequence."""
        first = self._llama.llama_memory_seq_pos_min(self._memory, sequence)
        last = self._llama.llama_memory_seq_pos_max(self._memory, sequence)
        return (int(first), int(last) + 1) if first >= 0 else (0, 0)

    def state(self, sequence: int) -> bytes:
        """What the cache holds of a sequence, for :meth:`restore` in a context like this one."""
        size = int(self._llama.llama_state_seq_get_size(self._ctx, sequence))
        data = (ctypes.c_uint8 * size)()
        written = int(self._llama.llama_state_seq_get_data(self._ctx, data, size, sequence))
        return bytes(memoryview(data)[:written])

    def restore(self, sequence: int, state: bytes) -> bool:
        """Fill an empty sequence from :meth:`state`; False, and it stays empty, if that fails.

        Only for bytes that :meth:`state` gave, of a context with the same :attr:`identity`:
        the native code does not survive others.
        """
        data = (ctypes.c_uint8 * len(state)).from_buffer_copy(state)
        if self._llama.llama_state_seq_set_data(self._ctx, data, len(state), sequence) > 0:
            return True
        self.remove(sequence)
        return False

    def clear(self) -> None:
        """Empty the cache."""
        self._llama.llama_memory_clear(self._memory, False)

    def close(self) -> None:
        """Free model and cache. Idempotent; nothing else may be called afterwards."""
        self._resources.close()

    def __enter__(self) -> LlamaContext:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _identity(llama: Any, files: Sequence[Path | None], n_ctx: int, n_seq_max: int) -> str:
    stats = [(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in files if f]
    system = llama.llama_print_system_info().decode("utf-8", "replace")
    return repr((version("llama-cpp-python"), system, stats, n_ctx, n_seq_max))


def default_threads() -> int:
    """Physical cores that this process may use but one, at most 4.

    llama.cpp's threads spin at each other's pace: with one core taken by other work, two threads
    on two cores wrote a token in 960 ms, one thread in 22 ms. Past four a model of 0.1 to 2 GB
    is bound by memory.
    """
    if hasattr(os, "sched_getaffinity"):
        topology = Path("/sys/devices/system/cpu")
        n = len({_siblings(topology / f"cpu{cpu}", cpu) for cpu in os.sched_getaffinity(0)})
    else:
        n = (os.cpu_count() or 2) // 2
    return min(4, max(1, n - 1))


def _siblings(folder: Path, cpu: int) -> str:
    try:
        return (folder / "topology" / "thread_siblings_list").read_text()
    except OSError:
        return str(cpu)


def import_llama() -> Any:
    """llama.cpp's functions, its backends started and its log kept for :func:`last_error`.

    Raises:
        MissingExtraError: llama-cpp-python is not installed, or does not load.
    """
    try:
        from llama_cpp import llama_cpp as llama
    except (ImportError, OSError, RuntimeError) as error:
        raise missing_extra("llm", "llama-cpp-python", str(error)) from error
    global _log_callback
    if _log_callback is None:
        _log_callback = llama.llama_log_callback(_keep_errors)
        llama.llama_log_set(_log_callback, ctypes.c_void_p(0))
        llama.llama_backend_init()
    return llama


def log_callback() -> Any:
    """Takes what a native library has to say; for libmtmd, which has a log of its own."""
    import_llama()
    return _log_callback


def open_model(path: Path) -> tuple[Any, Any, int]:
    """llama.cpp's module, a model's handle without a context, and its width.

    The weights are mapped, and read only when something is computed: it is quick.

    Raises:
        MissingExtraError, ModelBrokenError: as :class:`LlamaContext`.
    """
    check_gguf(path)
    llama = import_llama()
    model = _load_model(llama, path)
    return llama, model, int(llama.llama_model_n_embd(model))


def _keep_errors(level: int, text: bytes, _user: Any) -> None:
    if level == _ERROR_LEVEL:
        _log_errors.append(text.decode("utf-8", "replace").strip())


def last_error() -> str:
    """What llama.cpp and libmtmd said last."""
    return " ".join(_log_errors) or "no reason given"


def _load_model(llama: Any, path: Path) -> Any:
    _log_errors.clear()
    params = llama.llama_model_default_params()
    params.n_gpu_layers = 0
    model = llama.llama_model_load_from_file(os.fsencode(path), params)
    if not model:
        raise ModelBrokenError(
            f"model {path.name}",
            expected="a GGUF file that llama.cpp can load",
            got=last_error(),
            hint="fetch it again with edge-alm models pull, or choose another",
        )
    return model
