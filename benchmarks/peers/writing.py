"""Writing: tokens a second, beside plain llama.cpp and what the machine's memory allows.

The runtime, with the bundle's adapter and without, and plain llama.cpp on the same GGUF file, as
``llama-bench -p 0 -n 64`` does it: a context with llama.cpp's own settings, random tokens one at a
time, nothing sampled, as many threads; in an empty context, and in one that holds a scene of half a
minute or of some minutes (``-d 2048``). Without flash attention llama.cpp computes attention over
at least 256 places, also where most are empty. It is the library that the runtime itself calls; a
build of llama.cpp may run too, by its own clock. The ceiling is what memory allows: every token
reads the weights once, and a copy of a block far larger than the caches shows at which rate the
machine reads and writes. What fits into a cache may exceed it.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np

from benchmarks.peers.section import RUNTIME, Section, Taken
from edge_alm.errors import EdgeAlmError
from edge_alm.models.bundle import Bundle
from edge_alm.models.gguf_file import BLOCKS, GgufInfo
from edge_alm.reasoning.llama import LlamaContext, default_threads, open_model

COPIED_BYTES = 128 << 20
"""Far larger than the last cache of a small machine."""
LEAST_CONTEXT_TOKENS = 512
"""In a context of a few tokens llama.cpp ended the process."""
HELD_TOKENS = (0, 256, 2_048)
"""Before what is written: nothing, half a minute of sounds with a question, some minutes. The
runtime's context holds up to 4,096."""
LLAMA_BENCH_S = 300.0
Speed: TypeAlias = Callable[[], float]
"""Does something and tells how quickly."""


def weight_bytes(info: GgufInfo) -> int:
    """Of a GGUF file, what one token reads: all tensors but the table of which it takes a row.

    Where input and output share that table, the output reads all of it.
    """
    total = 0
    for name, shape in info.shapes.items():
        if name == "token_embd.weight" and "output.weight" in info.shapes:
            continue
        total += tensor_bytes(info.places[name][0], shape)
    return total


def tensor_bytes(kind: str, shape: tuple[int, ...]) -> int:
    block, block_bytes = next(rest for name, *rest in BLOCKS.values() if name == kind)
    return int(np.prod(shape, dtype=np.int64)) // block * block_bytes


class Copier:
    """Copies between blocks of memory from several threads at once."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads)
        # Ones, not zeros: these would be no memory until something is written there.
        self._parts = [
            (np.ones(COPIED_BYTES // threads, np.uint8), np.ones(COPIED_BYTES // threads, np.uint8))
            for _ in range(threads)
        ]

    def __call__(self) -> float:
        """GB a second that are read and written."""
        begun_s = time.perf_counter()
        for done in [self._pool.submit(np.copyto, *part) for part in self._parts]:
            done.result()
        copied = sum(len(target) for target, _ in self._parts)
        return 2e-9 * copied / (time.perf_counter() - begun_s)


@contextmanager
def our_writer(bundle: Bundle, adapter: Path | None, tokens: int, held: int) -> Iterator[Speed]:
    """The runtime's own context, the likeliest token after each."""
    assert bundle.language_model is not None
    n_ctx = max(held + tokens, LEAST_CONTEXT_TOKENS)
    with LlamaContext(bundle.language_model, n_ctx=n_ctx, adapter=adapter) as context:
        begin = context.tokenize("a", begin=True)[0]
        for at in range(0, held, context.n_batch):
            n = min(context.n_batch, held - at)
            context.decode([begin] * n, range(at, at + n), [0] * n, [False] * n)

        def write() -> float:
            context.remove(0, held)
            token = begin
            begun_s = time.perf_counter()
            for i in range(held, held + tokens):
                token = int(context.decode([token], [i], [0], [True])[0].argmax())
            return tokens / (time.perf_counter() - begun_s)

        yield write


@contextmanager
def plain_writer(model: Path, threads: int, tokens: int, held: int) -> Iterator[Speed]:
    """llama.cpp with its own settings, as llama-bench calls it."""
    llama, opened, _ = open_model(model)
    params = llama.llama_context_default_params()
    params.n_ctx = max(held + tokens, LEAST_CONTEXT_TOKENS)
    params.n_threads = params.n_threads_batch = threads
    params.no_perf = True
    context = llama.llama_init_from_model(opened, params)
    vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(opened))
    rng = np.random.default_rng(0)

    def run(chosen: Sequence[int]) -> None:
        row = (llama.llama_token * len(chosen))(*chosen)
        if llama.llama_decode(context, llama.llama_batch_get_one(row, len(chosen))) != 0:
            raise EdgeAlmError("llama.cpp", expected="to run", got="llama_decode failed")
        llama.llama_synchronize(context)

    def draw(n: int) -> list[int]:
        return [int(token) for token in rng.integers(vocabulary, size=n)]

    def write() -> float:
        llama.llama_memory_seq_rm(llama.llama_get_memory(context), 0, held, -1)
        chosen = draw(tokens)
        begun_s = time.perf_counter()
        for token in chosen:
            run([token])
        return tokens / (time.perf_counter() - begun_s)

    try:
        for at in range(0, held, params.n_batch):
            run(draw(min(params.n_batch, held - at)))
        yield write
    finally:
        llama.llama_free(context)
        llama.llama_model_free(opened)


def run_llama_bench(program: Path, model: Path, threads: int, tokens: int, held: int) -> float:
    """What llama.cpp's own program says."""
    sizes = ["-p", "0", "-n", str(tokens), "-d", str(held)]
    words = [str(program), "-m", str(model), *sizes, "-t", str(threads)]
    try:
        done = subprocess.run(
            [*words, "-r", "1", "-o", "json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=LLAMA_BENCH_S,
            check=True,
        )
        return float(json.loads(done.stdout)[0]["avg_ts"])
    except (OSError, subprocess.SubprocessError, ValueError, LookupError, TypeError) as error:
        raise EdgeAlmError(str(program), expected="llama-bench", got=str(error)) from error


def open_writing(
    bundle: Bundle, tokens: int, llama_bench: Path | None, stack: ExitStack
) -> list[Section]:
    """Memory's limit, and whatever can write here.

    Args:
        bundle: with a language model.
        tokens: to write in a round.
        llama_bench: the program of a build of llama.cpp.
        stack: closes what is opened here.

    Raises:
        EdgeAlmError: the model cannot be loaded.
    """
    model = bundle.language_model
    assert model is not None
    threads = default_threads()
    decode = []
    for held in HELD_TOKENS:
        sizes = tokens, held
        writers = {
            RUNTIME: stack.enter_context(our_writer(bundle, None, *sizes)),
            "llama.cpp": stack.enter_context(plain_writer(model, threads, *sizes)),
        }
        if bundle.adapter is not None:
            own = stack.enter_context(our_writer(bundle, bundle.adapter, *sizes))
            writers[f"{RUNTIME}, with its adapter"] = own
        if llama_bench is not None:
            writers["llama-bench"] = partial(run_llama_bench, llama_bench, model, threads, *sizes)
        what = f"after {held} tokens" if held else ""
        decode += [
            (name, partial(take, what, "tokens/s", write)) for name, write in writers.items()
        ]
    copied = [("copied", partial(take, "", "GB/s", Copier(threads)))]
    return [Section("memory", copied), Section("decode", decode)]


def take(what: str, unit: str, measure: Speed, number: int) -> list[Taken]:
    """The only figure of some work."""
    return [Taken(what, unit, measure())]
