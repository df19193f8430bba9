"""Whisper as CTranslate2 has it, back in the form of transformers.

The weights of a published model are at times at hand in CTranslate2's form only. Its layout is the
one of ``python/ctranslate2/specs/whisper_spec.py`` of https://github.com/OpenNMT/CTranslate2: one
matrix for queries, keys and values, 8-bit rows that were multiplied with a scale.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edge_alm.errors import ModelBrokenError
from edge_alm.models.ctranslate2_folder import check_ctranslate2

WEIGHTS = "model.bin"
_TOKENIZER = "tokenizer.json"
_FLOATS = {0: "<f4", 4: "<f2"}
_INT8 = 1
_SPECIAL = {
    "decoder_start_token_id": "<|startoftranscript|>",
    "eos_token_id": "<|endoftext|>",
    "no_timestamps_token_id": "<|notimestamps|>",
}
_NORMS = {"gamma": "weight", "beta": "bias"}
_RATE_HZ = 16_000


def is_ctranslate2(model: str) -> bool:
    """Whether ``model`` is a folder in CTranslate2's form."""
    return (Path(model) / WEIGHTS).is_file()


def write_for_transformers(folder: Path, out: Path) -> None:
    """Write an English Whisper into ``out`` as ``save_pretrained`` does, with its tokenizer.

    Raises:
        ModelMissingError, ModelBrokenError: damaged, or not a Whisper.
    """
    spec = check_ctranslate2(folder)
    if spec != "WhisperSpec":
        raise _broken(folder, f"a {spec}")
    import transformers as t

    found = _read_variables(folder / WEIGHTS)
    try:
        special = _special_tokens(folder)
        model: Any = t.WhisperForConditionalGeneration(_config(found, special)).eval()
        absent, unknown = model.load_state_dict(_named(found), strict=False)
        absent = [name for name in absent if name != "proj_out.weight"]
    except (KeyError, ValueError, RuntimeError) as error:
        raise _broken(folder, f"{type(error).__name__}: {error}") from error
    if absent or unknown:
        raise _broken(folder, f"without {absent[:3]}, with {unknown[:3]}")
    model.generation_config = t.GenerationConfig(**_generation(folder, special))
    model.save_pretrained(out)
    bands = model.config.num_mel_bins
    t.WhisperFeatureExtractor(feature_size=bands, sampling_rate=_RATE_HZ).save_pretrained(out)
    shutil.copyfile(folder / _TOKENIZER, out / _TOKENIZER)


def _read_variables(path: Path) -> dict[str, NDArray[np.float32]]:
    """All of :func:`check_ctranslate2`'s file, which has been checked, as floats."""
    data = path.read_bytes()
    at = 4

    def name() -> str:
        nonlocal at
        (length,) = struct.unpack_from("<H", data, at)
        at += 2 + length
        return data[at - length : at - 1].decode()

    name()
    _, count = struct.unpack_from("<II", data, at)
    at += 8
    found: dict[str, NDArray[Any]] = {}
    for _ in range(count):
        key, (rank,) = name(), struct.unpack_from("<B", data, at)
        shape = struct.unpack_from(f"<{rank}I", data, at + 1)
        kind, size_bytes = struct.unpack_from("<BI", data, at + 1 + 4 * rank)
        at += 6 + 4 * rank
        dtype = _FLOATS.get(kind, "<i1" if kind == _INT8 else "<i2")
        found[key] = np.frombuffer(data, dtype, size_bytes // np.dtype(dtype).itemsize, at).reshape(
            shape
        )
        at += size_bytes
    for key in [key for key in found if key.endswith("_scale")]:
        scale, weight = found.pop(key), key.removesuffix("_scale")
        found[weight] = found[weight] / scale.reshape(-1, *[1] * (found[weight].ndim - 1))
    return {key: np.asarray(value, np.float32) for key, value in found.items()}


def _config(found: Mapping[str, NDArray[np.float32]], special: Mapping[str, int]) -> Any:
    import transformers as t

    vocabulary, width = found["decoder/embeddings/weight"].shape
    end = special["eos_token_id"]
    sizes = {}
    for side in ("encoder", "decoder"):
        sizes[f"{side}_layers"] = len(
            {k.split("/")[1] for k in found if f"{side}/layer_" in k} - {"layer_norm"}
        )
        sizes[f"{side}_attention_heads"] = int(found[f"{side}/num_heads"])
        sizes[f"{side}_ffn_dim"] = len(found[f"{side}/layer_0/ffn/linear_0/weight"])
    return t.WhisperConfig(
        vocab_size=vocabulary,
        d_model=width,
        num_mel_bins=found["encoder/conv1/weight"].shape[1],
        max_source_positions=len(found["encoder/position_encodings/encodings"]),
        max_target_positions=len(found["decoder/position_encodings/encodings"]),
        decoder_start_token_id=special["decoder_start_token_id"],
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        suppress_tokens=None,
        begin_suppress_tokens=None,
        **sizes,
    )


def _named(found: Mapping[str, NDArray[np.float32]]) -> dict[str, torch.Tensor]:
    """By the names of transformers."""
    named: dict[str, NDArray[np.float32]] = {}
    for side in ("encoder", "decoder"):
        named[f"{side}.embed_positions.weight"] = found[f"{side}/position_encodings/encodings"]
        layers = sorted({k.split("/")[1] for k in found if k.startswith(f"{side}/layer_")})
        for layer in layers:
            old = f"{side}/{layer}"
            if layer == "layer_norm":
                _norm(named, f"{side}.layer_norm", found, old)
                continue
            new = f"{side}.layers.{layer.removeprefix('layer_')}"
            _attention(named, f"{new}.self_attn", found, f"{old}/self_attention")
            if f"{old}/attention/linear_0/weight" in found:
                _attention(named, f"{new}.encoder_attn", found, f"{old}/attention")
            _norm(named, f"{new}.final_layer_norm", found, f"{old}/ffn/layer_norm")
            for i in (0, 1):
                _linear(named, f"{new}.fc{i + 1}", found, f"{old}/ffn/linear_{i}")
    for conv in ("conv1", "conv2"):
        _linear(named, f"encoder.{conv}", found, f"encoder/{conv}")
    named["decoder.embed_tokens.weight"] = found["decoder/embeddings/weight"]
    return {f"model.{key}": torch.from_numpy(value.copy()) for key, value in named.items()}


def _attention(
    named: dict[str, NDArray[np.float32]], new: str, found: Mapping[str, Any], old: str
) -> None:
    """Queries, keys and values lie in one matrix, or, of a look at the encoder, in two."""
    _norm(named, f"{new}_layer_norm", found, f"{old}/layer_norm")
    matrices = len({k for k in found if k.startswith(f"{old}/linear_") and k.endswith("weight")})
    inputs = [f"{old}/linear_{i}" for i in range(matrices - 1)]
    for part in ("weight", "bias"):
        rows = np.split(np.concatenate([found[f"{one}/{part}"] for one in inputs]), 3)
        for name, some in zip(("q_proj", "k_proj", "v_proj"), rows, strict=True):
            if (name, part) != ("k_proj", "bias"):  # which are zero: Whisper has none
                named[f"{new}.{name}.{part}"] = some
    _linear(named, f"{new}.out_proj", found, f"{old}/linear_{matrices - 1}")


def _linear(
    named: dict[str, NDArray[np.float32]], new: str, found: Mapping[str, Any], old: str
) -> None:
    for part in ("weight", "bias"):
        named[f"{new}.{part}"] = found[f"{old}/{part}"]


def _norm(
    named: dict[str, NDArray[np.float32]], new: str, found: Mapping[str, Any], old: str
) -> None:
    for old_part, part in _NORMS.items():
        named[f"{new}.{part}"] = found[f"{old}/{old_part}"]


def _special_tokens(folder: Path) -> dict[str, int]:
    tokens = json.loads((folder / _TOKENIZER).read_text(encoding="utf-8"))["added_tokens"]
    by_text = {token["content"]: int(token["id"]) for token in tokens}
    return {key: by_text[text] for key, text in _SPECIAL.items()}


def _generation(folder: Path, special: Mapping[str, int]) -> dict[str, Any]:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return {
        **special,
        "pad_token_id": special["eos_token_id"],
        "bos_token_id": special["eos_token_id"],
        "suppress_tokens": config.get("suppress_ids"),
        "begin_suppress_tokens": config.get("suppress_ids_begin"),
        "is_multilingual": False,
    }


def _broken(folder: Path, got: str) -> ModelBrokenError:
    return ModelBrokenError(str(folder), expected="an English Whisper in CTranslate2 form", got=got)
