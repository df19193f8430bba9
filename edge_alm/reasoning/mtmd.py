"""The one place that calls libmtmd: audio as soft tokens of an audio-native language model.

A projector file ("mmproj", GGUF) holds an audio encoder and what brings its output to the width
of a language model: Ultravox, Qwen2-Audio, Voxtral and the like. libmtmd runs it; the soft tokens
go where all others go, into the language model's context.

Native code does not raise: on a file that contradicts itself it ends the process. So a file that
is new here runs once in a process of its own first (:func:`probe_audio_tower`).
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import EdgeAlmError, ModelBrokenError, missing_extra
from edge_alm.models.gguf_file import check_gguf
from edge_alm.models.mmproj_file import check_mmproj
from edge_alm.native import run_probe
from edge_alm.reasoning.llama import last_error, log_callback
from edge_alm.types import SAMPLE_RATE_HZ, Samples

Piece = list[int] | NDArray[np.float32]
"""Tokens, or soft tokens [n, n_embd]."""

PROBE_TIMEOUT_S = 300.0
"""A large encoder takes 30 s of audio in half a minute on a small board."""


class AudioTower:
    """A projector file, loaded for one language model. Not thread-safe.

    Args:
        mmproj: the GGUF file; :func:`probe_audio_tower` has said that it runs.
        model: llama.cpp's handle of the language model; must outlive this.
        n_embd: its width.
        n_threads: for the encoder.

    Raises:
        MissingExtraError: llama-cpp-python has no libmtmd.
        ModelBrokenError: the file cannot be loaded, hears nothing, or is of another model.
    """

    def __init__(self, mmproj: Path, model: Any, n_embd: int, n_threads: int) -> None:
        check_mmproj(mmproj, check_gguf(mmproj), n_embd)
        self._mtmd = mtmd = _import_mtmd()
        self._name, self._n_embd = mmproj.name, n_embd
        params = mtmd.mtmd_context_params_default()
        params.use_gpu = False
        params.print_timings = False
        params.warmup = False
        params.n_threads = n_threads
        self._context = mtmd.mtmd_init_from_file(os.fsencode(mmproj), model, params)
        if not self._context:
            raise ModelBrokenError(
                f"audio projector {self._name}",
                expected="one that libmtmd can load for this language model",
                got=last_error(),
            )
        self._marker = mtmd.mtmd_get_marker(self._context) or mtmd.mtmd_default_marker()
        reason = self._unsuitable()
        if reason:
            self.close()
            raise ModelBrokenError(
                f"audio projector {self._name}", expected=reason[0], got=reason[1]
            )

    def _unsuitable(self) -> tuple[str, str] | None:
        """What it should be and is not."""
        rate_hz = self._mtmd.mtmd_get_audio_sample_rate(self._context)
        if not self._mtmd.mtmd_support_audio(self._context):
            return "one that hears", "one for images alone"
        if rate_hz != SAMPLE_RATE_HZ:
            return f"audio at {SAMPLE_RATE_HZ} Hz", f"{rate_hz} Hz"
        if self._mtmd.mtmd_decode_use_mrope(self._context):
            return "tokens with one position each", "several (M-RoPE)"
        return None

    def __call__(self, samples: Samples) -> list[Piece]:
        """What the language model reads of audio [n], in order: tokens, soft tokens, tokens.

        Raises:
            ModelBrokenError: native failure.
        """
        return self._read(samples, encode=True)

    def count(self, samples: int) -> int:
        """Tokens that so much audio takes."""
        return sum(map(len, self._read(np.zeros(samples, np.float32), encode=False)))

    def _read(self, samples: Samples, *, encode: bool) -> list[Piece]:
        mtmd = self._mtmd
        heard = np.ascontiguousarray(samples, dtype=np.float32)
        if not len(heard):
            return []
        with contextlib.ExitStack() as made:
            pointer = heard.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
            bitmap = mtmd.mtmd_bitmap_init_from_audio(len(heard), pointer)
            made.callback(mtmd.mtmd_bitmap_free, bitmap)
            chunks = mtmd.mtmd_input_chunks_init()
            made.callback(mtmd.mtmd_input_chunks_free, chunks)
            text = mtmd.mtmd_input_text(self._marker, len(self._marker), False, True)
            bitmaps = (mtmd.mtmd_bitmap_p_ctypes * 1)(bitmap)
            status = mtmd.mtmd_tokenize(self._context, chunks, ctypes.byref(text), bitmaps, 1)
            if status != 0:
                raise self._failed(f"mtmd_tokenize {status}")
            n = mtmd.mtmd_input_chunks_size(chunks)
            return [
                self._piece(mtmd.mtmd_input_chunks_get(chunks, i), encode=encode) for i in range(n)
            ]

    def _piece(self, chunk: Any, *, encode: bool) -> Piece:
        mtmd = self._mtmd
        n = int(mtmd.mtmd_input_chunk_get_n_tokens(chunk))
        if mtmd.mtmd_input_chunk_get_type(chunk) == mtmd.MTMD_INPUT_CHUNK_TYPE_TEXT:
            size = ctypes.c_size_t()
            tokens = mtmd.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(size))
            return [int(tokens[i]) for i in range(size.value)]
        if mtmd.mtmd_input_chunk_get_n_pos(chunk) != n or mtmd.mtmd_decode_use_non_causal(
            self._context, chunk
        ):
            raise self._failed("soft tokens that are not read one after the other")
        soft = np.zeros((n, self._n_embd), np.float32)
        if encode:
            if (status := mtmd.mtmd_encode_chunk(self._context, chunk)) != 0:
                raise self._failed(f"mtmd_encode_chunk {status}")
            found = mtmd.mtmd_get_output_embd(self._context)
            soft[:] = np.ctypeslib.as_array(found, (n, self._n_embd))
            if not np.isfinite(soft).all():
                raise self._failed("soft tokens that are not numbers")
        return soft

    def _failed(self, what: str) -> ModelBrokenError:
        return ModelBrokenError(
            f"audio projector {self._name}", expected="to run", got=f"{what}: {last_error()}"
        )

    def close(self) -> None:
        """Free it. Idempotent."""
        context, self._context = self._context, None
        if context:
            self._mtmd.mtmd_free(context)


def probe_audio_tower(mmproj: Path, model: Path, remembered: Path | None = None) -> None:
    """Run the projector once, on a second of silence, in a process of its own.

    Args:
        mmproj: the projector's GGUF file.
        model: the language model's; no more than its sizes and vocabulary are read.
        remembered: a folder that keeps which files have run on this machine; None: none.

    Raises:
        ModelBrokenError: it was refused, crashed or hung; says which.
    """
    check_mmproj(mmproj, check_gguf(mmproj), check_gguf(model).n_embd)
    _import_mtmd()
    stamp = remembered / f"{_identity(mmproj, model)}.json" if remembered else None
    if stamp and stamp.is_file():
        return
    code = (
        "from edge_alm.reasoning.mtmd import report_probe; "
        f"report_probe({str(mmproj.resolve())!r}, {str(model.resolve())!r})"
    )
    outcome = run_probe(code, PROBE_TIMEOUT_S)
    if outcome.status != "ok":
        how = {"crashed": "a crash, ", "timeout": "a hang, "}.get(outcome.status, "")
        reason = outcome.reason.rpartition("Error: ")[2]
        raise ModelBrokenError(
            f"audio projector {mmproj.name}", expected="to run", got=f"{how}{reason}"
        )
    if stamp:
        with contextlib.suppress(OSError):
            stamp.parent.mkdir(parents=True, exist_ok=True)
            stamp.write_text(json.dumps(dict(outcome.report)))


def report_probe(mmproj: str, model: str) -> None:
    """In the process of its own: load, hear a second of silence, print what came out as JSON."""
    from edge_alm.reasoning.llama import open_model

    llama, handle, n_embd = open_model(Path(model))
    try:
        tower = AudioTower(Path(mmproj), handle, n_embd, 1)
        tokens = sum(map(len, tower(np.zeros(SAMPLE_RATE_HZ, np.float32))))
        tower.close()
    except EdgeAlmError as error:
        raise SystemExit(f"Error: {error.got}") from None
    llama.llama_model_free(handle)
    print(json.dumps({"tokens": tokens}))


def _identity(*files: Path) -> str:
    """Of the files as they lie there, and of the library."""
    stats = [(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    return hashlib.sha256(repr((version("llama-cpp-python"), stats)).encode()).hexdigest()[:32]


def _import_mtmd() -> Any:
    try:
        from llama_cpp import mtmd_cpp as mtmd
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        raise missing_extra("llm", "llama-cpp-python with libmtmd", str(error)) from error
    mtmd.mtmd_log_set(log_callback(), ctypes.c_void_p(0))
    return mtmd
