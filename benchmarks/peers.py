"""Beside others on the same machine: llama.cpp writing, LiteRT telling sounds, the memory's limit.

    python -m benchmarks.peers [--rounds 5] [--tokens 64] [--llama-bench FILE] [--tflite FILE ...]

*Writing*: the runtime, with the bundle's adapter and without, and plain llama.cpp on the same GGUF
file, as ``llama-bench -p 0 -n 64`` does it: a context with llama.cpp's own settings, random tokens
one at a time, nothing sampled, as many threads. It is the library that the runtime itself calls;
with ``--llama-bench`` a build of llama.cpp runs too, by its own clock. The ceiling is what memory
allows: every token reads the weights once, and a copy of a block far larger than the caches shows
at which rate the machine reads and writes. What fits into a cache may exceed it.

*Sounds*: a patch of sound, 0.48 s on from the one before, through every form of the bundle's
encoder in onnxruntime, and through LiteRT models of the same network, one thread each. No wheel
carries such a model: ``python -m quantize tflite`` writes one.

All in turn, in another order every round.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from edge_alm.bench.machine import find_faults, read_machine, read_state, to_dict
from edge_alm.bench.report import Figure, Samples
from edge_alm.bench.sounds import make_sounds
from edge_alm.bench.table import align, number_to_text
from edge_alm.errors import EdgeAlmError
from edge_alm.hearing.encoder import cut_patches
from edge_alm.hearing.exported import open_encoder
from edge_alm.models.bundle import Bundle, bundle_encoders, load_bundle
from edge_alm.models.gguf_file import BLOCKS, GgufInfo, check_gguf
from edge_alm.models.manifest import MANIFEST
from edge_alm.reasoning.llama import LlamaContext, default_threads, open_model

COPIED_BYTES = 128 << 20
"""Far larger than the last cache of a small machine."""
SOUNDS_S = 12.0
CONTEXT_TOKENS = 512
LLAMA_BENCH_S = 300.0
Job: TypeAlias = Callable[[], float]


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
def our_writer(bundle: Bundle, adapter: Path | None, tokens: int) -> Iterator[Job]:
    """The runtime's own context, the likeliest token after each."""
    assert bundle.language_model is not None
    with LlamaContext(bundle.language_model, n_ctx=CONTEXT_TOKENS, adapter=adapter) as context:

        def write() -> float:
            context.clear()
            token = context.tokenize("a", begin=True)[0]
            begun_s = time.perf_counter()
            for i in range(tokens):
                token = int(context.decode([token], [i], [0], [True])[0].argmax())
            return tokens / (time.perf_counter() - begun_s)

        yield write


@contextmanager
def plain_writer(model: Path, threads: int, tokens: int) -> Iterator[Job]:
    """llama.cpp with its own settings, as llama-bench calls it."""
    llama, opened, _ = open_model(model)
    params = llama.llama_context_default_params()
    params.n_ctx = CONTEXT_TOKENS
    params.n_threads = params.n_threads_batch = threads
    params.no_perf = True
    context = llama.llama_init_from_model(opened, params)
    vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(opened))
    rng = np.random.default_rng(0)

    def write() -> float:
        llama.llama_memory_clear(llama.llama_get_memory(context), False)
        chosen = [int(token) for token in rng.integers(vocabulary, size=tokens)]
        begun_s = time.perf_counter()
        for token in chosen:
            one = (llama.llama_token * 1)(token)
            if llama.llama_decode(context, llama.llama_batch_get_one(one, 1)) != 0:
                raise EdgeAlmError("llama.cpp", expected="to run", got="llama_decode failed")
            llama.llama_synchronize(context)
        return tokens / (time.perf_counter() - begun_s)

    try:
        yield write
    finally:
        llama.llama_free(context)
        llama.llama_model_free(opened)


def run_llama_bench(program: Path, model: Path, threads: int, tokens: int) -> float:
    """What llama.cpp's own program says."""
    words = [str(program), "-m", str(model), "-p", "0", "-n", str(tokens), "-t", str(threads)]
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


def time_patches(tag: Callable[[Any], object], patches: Any) -> float:
    """Milliseconds a patch."""
    begun_s = time.perf_counter()
    for patch in patches:
        tag(patch)
    return 1e3 * (time.perf_counter() - begun_s) / len(patches)


def find_taggers(bundle_name: str, tflite: list[Path], notes: list[str]) -> dict[str, Job]:
    """Whatever can tell sounds here."""
    labels = load_bundle(bundle_name, language_model=False, transcriber=False).labels
    patches = cut_patches(make_sounds(SOUNDS_S))
    taggers: dict[str, Callable[[Any], object]] = {}
    for path in bundle_encoders(bundle_name):
        if path.name == MANIFEST:
            notes.append(f"{path.parent.name} left out: it does not hear patches")
            continue
        taggers[f"onnxruntime, {path.name}"] = open_encoder(path, labels).encode
    if not tflite:
        notes.append(
            "LiteRT left out: no wheel carries this network for it; python -m quantize tflite "
            "yamnet --out FILE writes one, --tflite FILE runs it"
        )
    for path in tflite:
        try:
            taggers[f"LiteRT, {path.name}"] = open_encoder(path, labels).encode
        except EdgeAlmError as error:
            notes.append(f"{path} left out: {error}")
    return {name: partial(time_patches, tag, patches) for name, tag in taggers.items()}


def ratio_to(figure: Figure, other: Figure | None) -> str:
    return f"{figure.summary.median / other.summary.median:.2f}" if other else "-"


def to_rows(figures: Mapping[str, Figure], bytes_read: int) -> list[tuple[str, ...]]:
    """A line for each figure; of writing with its share of the ceiling."""
    rows: list[tuple[str, ...]] = [("", "median", "q1", "q3", "n", "", "to the first", "of memory")]
    firsts: dict[str, Figure] = {}
    copied = figures.get("memory/copied")
    for name, figure in figures.items():
        found = figure.summary
        first = firsts.setdefault(figure.group, figure)
        share = "-"
        if figure.group == "decode" and copied:
            # The best that was seen: other work only makes it less.
            share = f"{1e-9 * bytes_read * found.median / max(copied.samples):.0%}"
        numbers = map(number_to_text, (found.median, found.q1, found.q3))
        own = (str(len(figure.samples)), figure.unit, ratio_to(figure, first), share)
        rows.append((name, *numbers, *own))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=default_threads(), help="of writing")
    parser.add_argument("--llama-bench", type=Path, help="the program of a build of llama.cpp")
    parser.add_argument("--tflite", type=Path, nargs="*", default=[], help="the encoder for LiteRT")
    parser.add_argument("--out", type=Path, help="the samples as JSON")
    args = parser.parse_args()
    try:
        measure(args)
    except EdgeAlmError as error:
        parser.error(str(error))


def measure(args: argparse.Namespace) -> None:
    """Measure and print."""
    board, before = read_machine(), read_state()
    notes: list[str] = []
    bundle = load_bundle(args.bundle, transcriber=False)
    model = bundle.language_model
    assert model is not None
    bytes_read = weight_bytes(check_gguf(model))
    samples = Samples()
    with ExitStack() as stack:
        write = {"the runtime": stack.enter_context(our_writer(bundle, None, args.tokens))}
        write["llama.cpp"] = stack.enter_context(plain_writer(model, args.threads, args.tokens))
        if bundle.adapter is not None:
            own = our_writer(bundle, bundle.adapter, args.tokens)
            write["the runtime, with its adapter"] = stack.enter_context(own)
        if args.llama_bench:
            own_clock = partial(run_llama_bench, args.llama_bench, model, args.threads, args.tokens)
            write["llama-bench"] = own_clock
        jobs: dict[str, tuple[str, Job]] = {
            "memory/copied": ("GB/s", Copier(args.threads)),
            **{f"decode/{name}": ("tokens/s", job) for name, job in write.items()},
        }
        for name, job in find_taggers(args.bundle, args.tflite, notes).items():
            jobs[f"sounds/{name}"] = ("ms a hop", job)
        for _, job in jobs.values():
            job()  # what happens at the first call only is no speed
        rng = np.random.default_rng(0)
        taken: dict[str, list[float]] = {name: [] for name in jobs}
        for _ in range(args.rounds):
            for i in rng.permutation(len(jobs)):
                name = list(jobs)[i]
                taken[name].append(jobs[name][1]())
    for name, (unit, _) in jobs.items():
        for value in taken[name]:
            samples.add(name, unit, value)
    notes += find_faults(board, before, read_state())
    figures = {figure.name: figure for figure in samples.figures()}
    print(f"{board.cpu}, {board.cores} cores; {args.threads} thread(s) to write, 1 for sounds")
    print(f"{model.name}: {bytes_read / 1e6:.1f} MB of weights a token")
    print("\n".join(align(to_rows(figures, bytes_read), left=(0, 5))))
    for note in notes:
        print(f"note: {note}")
    report = {
        "machine": to_dict(board),
        "threads": args.threads,
        "tokens": args.tokens,
        "weight_bytes": bytes_read,
        "notes": notes,
        "figures": [figure.to_dict() for figure in figures.values()],
    }
    if args.out:
        args.out.write_text(json.dumps(report) + os.linesep, encoding="utf-8")


if __name__ == "__main__":
    main()
