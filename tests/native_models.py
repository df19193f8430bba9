"""A tiny seeded language model and an audio projector for it, as GGUF: the shapes of Ultravox."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

LETTERS = "▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;?!'\"()-[]"
CONTROL = ("<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>")
WIDTH, LAYERS, HEADS, FFN, CONTEXT = 64, 2, 4, 96, 2048
AUDIO_WIDTH, AUDIO_LAYERS, AUDIO_HEADS, AUDIO_FFN, BANDS, STACK, HIDDEN = 40, 2, 2, 64, 80, 8, 48
"""Eight frames make a soft token, as in Ultravox. Not every width does: llama-cpp-python 0.3.36
counts 187 of them in 30 s, and where eight times the width is a power of two it computes 188, and
aborts. At Ultravox's 1,280 it is 187, and so it is at 40."""
POSITIONS = 1500
"""Of 30 s, as Whisper's encoder has them."""


def write_language_model(path: Path, width: int = WIDTH, seed: int = 0) -> Path:
    """A Llama with a token for each character."""
    rng = np.random.default_rng(seed)
    tokens = [*CONTROL, *(f"<0x{i:02X}>" for i in range(256)), *LETTERS]
    kinds = [gguf.TokenType.CONTROL] * len(CONTROL) + [gguf.TokenType.BYTE] * 256
    kinds += [gguf.TokenType.NORMAL] * len(LETTERS)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(width)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS // 2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-1000.0] * len(tokens))
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(4)
    half = width // 2
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (len(tokens), width)}
    for i in range(LAYERS):
        shapes |= {
            f"blk.{i}.attn_q.weight": (width, width),
            f"blk.{i}.attn_k.weight": (half, width),
            f"blk.{i}.attn_v.weight": (half, width),
            f"blk.{i}.attn_output.weight": (width, width),
            f"blk.{i}.ffn_gate.weight": (FFN, width),
            f"blk.{i}.ffn_up.weight": (FFN, width),
            f"blk.{i}.ffn_down.weight": (width, FFN),
        }
    for name, shape in shapes.items():
        writer.add_tensor(name, _random(rng, shape, 0.2))
    for name in ("output_norm", *(f"blk.{i}.{n}_norm" for i in range(LAYERS) for n in _NORMS)):
        writer.add_tensor(f"{name}.weight", np.ones(width, np.float32))
    return _write(writer, path)


def write_mmproj(
    path: Path, width: int = WIDTH, seed: int = 1, change: Mapping[str, Any] | None = None
) -> Path:
    """An audio encoder and projector of Ultravox's kind.

    ``change``: other values for keys (without ``clip.``) and tensors; None leaves one out.
    """
    rng = np.random.default_rng(seed)
    d = AUDIO_WIDTH
    keys: dict[str, Any] = {
        "has_audio_encoder": True,
        "projector_type": "ultravox",
        "use_gelu": True,
        "audio.embedding_length": d,
        "audio.attention.head_count": AUDIO_HEADS,
        "audio.feed_forward_length": AUDIO_FFN,
        "audio.block_count": AUDIO_LAYERS,
        "audio.projection_dim": width,
        "audio.attention.layer_norm_epsilon": 1e-5,
        "audio.num_mel_bins": BANDS,
        "audio.projector.stack_factor": STACK,
    }
    tensors: dict[str, Any] = {
        "a.position_embd.weight": _random(rng, (POSITIONS, d), 0.1),
        "a.conv1d.1.weight": _random(rng, (d, BANDS, 3), 0.1).astype(np.float16),
        "a.conv1d.1.bias": _random(rng, (d, 1), 0.1),
        "a.conv1d.2.weight": _random(rng, (d, d, 3), 0.1).astype(np.float16),
        "a.conv1d.2.bias": _random(rng, (d, 1), 0.1),
        "a.post_ln.weight": np.ones(d, np.float32),
        "a.post_ln.bias": np.zeros(d, np.float32),
        "mm.a.norm_pre.weight": np.ones(d * STACK, np.float32),
        "mm.a.norm_mid.weight": np.ones(HIDDEN, np.float32),
        "mm.a.mlp.1.weight": _random(rng, (2 * HIDDEN, d * STACK), 0.1),
        "mm.a.mlp.2.weight": _random(rng, (width, HIDDEN), 0.1),
    }
    for i in range(AUDIO_LAYERS):
        block = f"a.blk.{i}"
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            tensors[f"{block}.{name}.weight"] = _random(rng, (d, d), 0.2)
            if name != "attn_k":
                tensors[f"{block}.{name}.bias"] = np.zeros(d, np.float32)
        for name in ("ln1", "ln2"):
            tensors[f"{block}.{name}.weight"] = np.ones(d, np.float32)
            tensors[f"{block}.{name}.bias"] = np.zeros(d, np.float32)
        tensors[f"{block}.ffn_up.weight"] = _random(rng, (AUDIO_FFN, d), 0.2)
        tensors[f"{block}.ffn_up.bias"] = np.zeros(AUDIO_FFN, np.float32)
        tensors[f"{block}.ffn_down.weight"] = _random(rng, (d, AUDIO_FFN), 0.2)
        tensors[f"{block}.ffn_down.bias"] = np.zeros(d, np.float32)
    for name, value in (change or {}).items():
        (tensors if name in tensors else keys)[name] = value
    writer = gguf.GGUFWriter(path, "clip")
    for key, value in keys.items():
        add = {bool: writer.add_bool, str: writer.add_string, float: writer.add_float32}
        if value is not None:
            add.get(type(value), writer.add_uint32)(f"clip.{key}", value)
    for name, value in tensors.items():
        if value is not None:
            writer.add_tensor(name, value)
    return _write(writer, path)


_NORMS = ("attn", "ffn")


def _random(
    rng: np.random.Generator, shape: tuple[int, ...], deviation: float
) -> NDArray[np.float32]:
    return (rng.standard_normal(shape) * deviation).astype(np.float32)


def _write(writer: gguf.GGUFWriter, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
