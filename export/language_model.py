"""A language model of transformers, or a LoRA adapter of one, as GGUF, held to its original.

The conversion is llama.cpp's own (:mod:`export.converter`). What it gave is run by llama.cpp
beside torch on the same prompts: the same tokens, the same likeliest next token, and how far the
logits are apart. llama.cpp keeps its cache in 16 bits and computes in its own order, so they
never agree to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edge_alm.errors import RefusedError, UsageError
from edge_alm.hearing.tracker import read_thresholds
from edge_alm.models.files import fresh_folder
from edge_alm.models.gguf_file import check_gguf
from edge_alm.models.manifest import Manifest, write_manifest
from edge_alm.reasoning.llama import LlamaContext
from export.adapter import to_gguf
from export.converter import MODEL, TYPES, convert
from export.source import Source, find_source, load_model, load_tokenizer

MODEL_FILE, ADAPTER_FILE, GOLDEN = "model.gguf", "adapter.gguf", "golden.npz"
PROMPTS = 100
TOP1 = {"f32": 0.97, "bf16": 0.95, "f16": 0.95, "q8_0": 0.9}
"""Least share of the prompts with the same likeliest token. A wrong conversion has none, a right
one loses near ties: SmolLM2-135M in f16 has 100 of 100."""
ADAPTER_TOP1 = 0.9
"""The same where the base may be quantised: llama.cpp rounds its activations too."""
_N_CTX = 256


@dataclass(frozen=True, slots=True)
class LogitParity:
    """How llama.cpp's logits after the prompts differ from torch's."""

    prompts: int
    top1: float
    """Share of the prompts with the same likeliest token."""
    max_difference: float
    """Of any logit after any prompt."""
    mean_difference: float
    spread: float
    """Standard deviation of torch's logits, to judge the differences by."""

    def to_dict(self) -> dict[str, Any]:
        """As a manifest tells it."""
        return {name: getattr(self, name) for name in self.__slots__}


def prompts(n: int = PROMPTS) -> list[str]:
    """Short scenes with a question, of the sounds that the runtime knows."""
    labels = sorted(read_thresholds())[:: max(1, len(read_thresholds()) // n)]
    return [
        f"[{i / 2:.1f}-{i / 2 + 1:.1f} {label.lower()}]\nQuestion: What was heard?"
        for i, label in enumerate(labels[:n])
    ]


def export_llm(
    model: str,
    out: Path,
    *,
    outtype: str = "f16",
    licence: str | None = None,
    n_prompts: int = PROMPTS,
) -> Manifest:
    """Write ``model.gguf`` and its manifest into the new folder ``out``, or nothing.

    Args:
        model: a folder of transformers, or a name on the hub.
        out: the folder to make.
        outtype: how matrices are stored, one of :data:`export.converter.TYPES`.
        licence: of the weights; None: what the model's card says.
        n_prompts: to check parity on.

    Raises:
        UsageError: the model cannot be read, no memory, a folder that cannot be written.
        MissingExtraError, DownloadError: no converter.
        ModelBrokenError: the converter does not take the model, or weights are missing.
        RefusedError: other tokens or another likeliest token than the original.
    """
    if outtype not in TYPES:
        raise UsageError("--outtype", expected=f"one of {', '.join(TYPES)}", got=outtype)
    source = find_source(model)
    folder = fetch_folder(model)
    with fresh_folder(out) as scratch:
        path = scratch / MODEL_FILE
        # The name of the folder, or of the model, and no more of where it lay.
        arguments = [str(folder), "--outtype", outtype, "--model-name", source.name]
        convert(MODEL, folder, arguments, path)
        network, tokenizer = load_model(source, ("AutoModelForCausalLM",)), load_tokenizer(source)
        parity = _compare(network, tokenizer, path, None, n_prompts, scratch / GOLDEN)
        _judge(model, parity, TOP1[outtype])
        step = source.step("python -m export llm", options={"outtype": outtype})
        return _write(scratch, "language_model", out.name, source, licence, step, parity)


def export_adapter(
    adapter: str,
    base: Path,
    out: Path,
    *,
    outtype: str = "f16",
    licence: str | None = None,
    n_prompts: int = PROMPTS,
) -> Manifest:
    """Write ``adapter.gguf`` and its manifest into the new folder ``out``, or nothing.

    Args:
        adapter: PEFT's folder.
        base: the GGUF file that it will run on. Its weights, in float, are the base that torch
            computes with too.
        out: the folder to make.
        outtype: how matrices are stored, one of :data:`export.adapter.TYPES`.
        licence: of the adapter; None: unknown.
        n_prompts: to check parity on.

    Raises:
        As :func:`export_llm`.
    """
    source = Source(adapter, check_gguf(base).architecture, ())
    with fresh_folder(out) as scratch:
        path = scratch / ADAPTER_FILE
        to_gguf(Path(adapter), base, path, outtype=outtype)
        network, tokenizer = _load_adapted(Path(adapter), base)
        parity = _compare(network, tokenizer, base, path, n_prompts, scratch / GOLDEN)
        _judge(adapter, parity, ADAPTER_TOP1)
        options = {"outtype": outtype, "base": base.name}
        step = source.step("python -m export adapter", options=options)
        return _write(scratch, "adapter", out.name, source, licence, step, parity)


def fetch_folder(model: str) -> Path:
    """The model's files on this machine; a hub's are fetched.

    Raises:
        UsageError: no such model, or the hub is out of reach.
    """
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, ignore_patterns=["*.bin", "*.gguf", "*.onnx", "*.pt"]))
    except Exception as error:  # the hub's client raises what its transport does
        words = " ".join(str(error).split())[:200]
        raise UsageError(model, expected="a folder or a model of the hub", got=words) from error


def _load_adapted(adapter: Path, base: Path) -> tuple[Any, Any]:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        network = AutoModelForCausalLM.from_pretrained(
            base.parent, gguf_file=base.name, dtype=torch.float32
        )
        tokenizer = AutoTokenizer.from_pretrained(base.parent, gguf_file=base.name)
        return PeftModel.from_pretrained(network, adapter).eval(), tokenizer
    except (OSError, ValueError, KeyError) as error:
        words = " ".join(str(error).split())[:200]
        raise UsageError(str(base), expected="a base that transformers reads", got=words) from error


def _compare(
    network: Any, tokenizer: Any, model: Path, adapter: Path | None, n: int, golden: Path
) -> LogitParity:
    """Run both on the prompts; the first one's tokens and torch's logits go into ``golden``.

    Raises:
        RefusedError: the two make other tokens of a prompt.
    """
    same, largest, total, spread = 0, 0.0, 0.0, 0.0
    texts = prompts(n)
    with LlamaContext(model, n_ctx=_N_CTX, n_batch=_N_CTX, n_seq_max=1, adapter=adapter) as llama:
        for i, text in enumerate(texts):
            tokens = tokenizer(text, add_special_tokens=False).input_ids
            if (got := llama.tokenize(text)) != tokens:
                raise RefusedError(f"tokens of {text!r}", expected=str(tokens), got=str(got))
            with torch.no_grad():
                expected = network(torch.tensor([tokens])).logits[0, -1].numpy()
            logits = _next_logits(llama, tokens)[: len(expected)]
            expected = expected[: len(logits)]
            same += int(expected.argmax()) == int(logits.argmax())
            difference = np.abs(expected - logits)
            largest = max(largest, float(difference.max()))
            total += float(difference.mean())
            spread += float(expected.std())
            if i == 0:
                np.savez(golden, tokens=np.array(tokens, np.int64), logits=expected)
    count = len(texts)
    return LogitParity(count, same / count, largest, total / count, spread / count)


def _next_logits(llama: LlamaContext, tokens: list[int]) -> NDArray[np.float32]:
    llama.clear()
    n = len(tokens)
    wanted = [False] * (n - 1) + [True]
    found: NDArray[np.float32] = llama.decode(tokens, range(n), [0] * n, wanted)[0]
    return found


def _judge(what: str, parity: LogitParity, least: float) -> None:
    if not parity.top1 >= least:
        raise RefusedError(
            f"parity of {what}",
            expected=f"the same likeliest token after {least:.0%} of the prompts",
            got=f"{parity.top1:.0%}, logits {parity.max_difference:.2g} apart",
        )


def _write(
    folder: Path,
    kind: str,
    name: str,
    source: Source,
    licence: str | None,
    step: dict[str, Any],
    parity: LogitParity,
) -> Manifest:
    manifest = Manifest(
        kind=kind,
        name=name,
        architecture=source.kind,
        ids=(source.name,),
        licence=licence or source.licence(),
        produced_by=(step,),
        parity={**parity.to_dict(), "golden": GOLDEN},
    )
    return write_manifest(folder, manifest)
