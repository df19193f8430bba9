"""An English Whisper as sherpa-onnx reads it, so that both can be compared at equal weights.

    python -m export sherpa --model ~/.cache/edge-alm/whisper-tiny.en --out build/sherpa-tiny.en

Two graphs, whose inputs and outputs sherpa-onnx takes by their order; what it has to know of them
in the encoder's metadata; and the tokens in base64. Its decoder keeps keys and values of the whole
context and is told how many of them count. The graphs in 8 bits are made as the project makes those
that it publishes: matrix products by onnxruntime's dynamic quantisation. Source of the form:
``scripts/whisper`` and ``offline-whisper-model.cc`` of https://github.com/k2-fsa/sherpa-onnx.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edge_alm.errors import ModelBrokenError, UsageError
from edge_alm.hearing.whisper import token_bytes
from edge_alm.models.files import fresh_folder
from export.graph import OPSET, quiet, runner, trace
from export.parity import Parity, read_clips
from export.source import cached_file, load_extractor, load_model
from export.towers import Outputs, WhisperTower
from export.whisper import CROSS, LOGITS, NEW_CACHE, TOKENIZER, Hearing, Writing, find_whisper

ENCODER, DECODER, TOKENS = "encoder.onnx", "decoder.onnx", "tokens.txt"
SPECIAL = {
    "sot": "<|startoftranscript|>",
    "eot": "<|endoftext|>",
    "no_timestamps": "<|notimestamps|>",
    "no_speech": "<|nocaptions|>",
    "transcribe": "<|transcribe|>",
    "translate": "<|translate|>",
}
"""What sherpa-onnx calls Whisper's special tokens."""
_KEYS, _VALUES = "n_layer_cross_k", "n_layer_cross_v"
_OWN = ("n_layer_self_k_cache", "n_layer_self_v_cache")
_SHORT_FRAMES = 300


class SherpaHearing(nn.Module):
    """The encoder, with what the decoder will look at, of all heads in one row."""

    def __init__(self, model: Any, extractor: Any) -> None:
        super().__init__()
        self.config = model.config
        self.hearing = Hearing(model, extractor)

    def forward(self, mel: Tensor) -> Outputs:
        """Log-mel [batch, bands, frames] to keys and values [layers, batch, time, width]."""
        found = self.hearing(mel.transpose(1, 2))
        return {
            name: _join(found[cross]) for name, cross in zip((_KEYS, _VALUES), CROSS, strict=True)
        }


class SherpaWriting(nn.Module):
    """The decoder, with a cache of the whole context, of which the first ``offset`` count."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.config = model.config
        self.writing = Writing(model)

    def forward(
        self,
        tokens: Tensor,
        in_n_layer_self_k_cache: Tensor,
        in_n_layer_self_v_cache: Tensor,
        n_layer_cross_k: Tensor,
        n_layer_cross_v: Tensor,
        offset: Tensor,
    ) -> Outputs:
        """Tokens int64 [batch, n]; caches [layers, batch, context, width]; offset int64 [1]."""
        past = offset[0]
        end = past + tokens.shape[1]
        caches = in_n_layer_self_k_cache, in_n_layer_self_v_cache
        own = [self._split(cache[:, :, :past]) for cache in caches]
        looks = self._split(n_layer_cross_k), self._split(n_layer_cross_v)
        found = self.writing(tokens, *own, *looks)
        outputs = {LOGITS: found[LOGITS]}
        for name, new, cache in zip(_OWN, NEW_CACHE, caches, strict=True):
            outputs[f"out_{name}"] = torch.cat((_join(found[new]), cache[:, :, end:]), dim=2)
        return outputs

    def _split(self, states: Tensor) -> Tensor:
        """[layers, batch, time, width] as [layers, batch, heads, time, width of a head]."""
        heads, width = self.config.decoder_attention_heads, self.config.d_model
        # No -1: of no time at all it could be anything.
        return states.view(*states.shape[:3], heads, width // heads).transpose(2, 3)


def _join(states: Tensor) -> Tensor:
    """[layers, batch, heads, time, width of a head] as [layers, batch, time, width]."""
    return states.transpose(2, 3).flatten(3)


def export_sherpa(model: str, out: Path) -> int:
    """Write the folder, or nothing.

    Args:
        model: a folder of transformers, or of CTranslate2, or a name on the hub.
        out: the folder to make.

    Returns:
        Its size in bytes.

    Raises:
        UsageError: no English Whisper that writes, or it has no ``tokenizer.json``.
        ModelBrokenError: damaged.
        RefusedError: a graph gives something else than transformers does.
    """
    with find_whisper(model, out.name) as source, fresh_folder(out) as folder:
        network = load_model(source, ("WhisperForConditionalGeneration",))
        tokens, special = _read_tokens(model, cached_file(source.model, TOKENIZER))
        hearing: Any = SherpaHearing(network, load_extractor(source)).eval()
        with torch.no_grad():
            _trace(hearing, SherpaWriting(network).eval(), special["sot"], folder)
            _check(folder, network, hearing.hearing.tower)
        _describe(folder / ENCODER, network.config, special)
        (folder / TOKENS).write_text("".join(f"{text} {i}\n" for i, text in tokens.items()))
        for name in (ENCODER, DECODER):
            _quantise(folder / name)
        return sum(path.stat().st_size for path in folder.iterdir())


def _trace(hearing: Any, writing: Any, start: int, folder: Path) -> None:
    config = hearing.config
    batch, layers = {1: "n_audio"}, config.decoder_layers
    example = {"mel": torch.zeros(2, config.num_mel_bins, _SHORT_FRAMES)}
    heard = hearing(**example)
    cross = {1: "n_audio", 2: "time"}
    axes = {"mel": {0: "n_audio", 2: "frames"}, _KEYS: cross, _VALUES: cross}
    trace(hearing, example, axes, folder / ENCODER, opset=OPSET)
    shape = layers, 2, config.max_target_positions, config.d_model
    inputs = {
        "tokens": torch.full((2, 3), start),
        **{f"in_{name}": torch.zeros(shape) for name in _OWN},
        **heard,
        "offset": torch.tensor([4]),
    }
    axes = {
        "tokens": {0: "n_audio", 1: "n_tokens"},
        LOGITS: {0: "n_audio", 1: "n_tokens"},
        **{f"{side}_{name}": batch for name in _OWN for side in ("in", "out")},
        _KEYS: cross,
        _VALUES: cross,
    }
    trace(writing, inputs, axes, folder / DECODER, opset=OPSET)


def _check(folder: Path, network: Any, tower: WhisperTower) -> None:
    """A whole window, and tokens of which the first are read at once."""
    (clip, *_) = read_clips((), tower.rate_hz)
    mel = tower.features(clip[: round(tower.native_s * tower.rate_hz)], pad=True)
    mel = np.ascontiguousarray(mel.transpose(0, 2, 1))
    config = network.config
    tokens = (config.decoder_start_token_id + 7 * np.arange(6)[None]) % config.vocab_size
    expected = network(torch.from_numpy(mel), decoder_input_ids=torch.from_numpy(tokens))
    heard, decode = runner(folder / ENCODER)({"mel": mel}), runner(folder / DECODER)
    shape = config.decoder_layers, 1, config.max_target_positions, config.d_model
    caches = {f"in_{name}": np.zeros(shape, np.float32) for name in _OWN}
    found, at = [], 0
    for n in (2, 1, 1, 2):
        offset = np.array([at])
        got = decode({"tokens": tokens[:, at : at + n], **caches, **heard, "offset": offset})
        caches = {f"in_{name}": got[f"out_{name}"] for name in _OWN}
        found.append(got[LOGITS])
        at += n
    Parity().compare({LOGITS: expected.logits.numpy()}, {LOGITS: np.concatenate(found, axis=1)})


def _read_tokens(model: str, path: Path | None) -> tuple[dict[int, str], dict[str, int]]:
    """The text of each plain token in base64, by its number, and the numbers of special ones."""
    if path is None:
        raise UsageError(model, expected=TOKENIZER, got="none")
    try:
        tokenizer = json.loads(path.read_text(encoding="utf-8"))
        numbers = {token["content"]: int(token["id"]) for token in tokenizer["added_tokens"]}
        bytes_of = token_bytes()
        tokens = {
            int(i): base64.b64encode(bytes(bytes_of[c] for c in text)).decode()
            for text, i in tokenizer["model"]["vocab"].items()
            if text not in numbers
        }
        special = {name: numbers[text] for name, text in SPECIAL.items()}
        special["blank_id"] = tokenizer["model"]["vocab"]["Ġ"]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelBrokenError(str(path), expected="Whisper's tokens", got=repr(error)) from error
    if special["sot"] > special["eot"] + 1:
        raise UsageError(model, expected="an English Whisper", got="one of many languages")
    return dict(sorted(tokens.items())), special


def _describe(encoder: Path, config: Any, special: Mapping[str, int]) -> None:
    import onnx

    model = onnx.load(encoder)
    known = {
        "model_type": "whisper-en",
        "n_mels": config.num_mel_bins,
        "n_vocab": config.vocab_size,
        "n_text_ctx": config.max_target_positions,
        "n_text_state": config.d_model,
        "n_text_layer": config.decoder_layers,
        "n_audio_ctx": config.max_source_positions,
        "is_multilingual": 0,
        "sot_sequence": special["sot"],
        **special,
    }
    onnx.helper.set_model_props(model, {name: str(value) for name, value in known.items()})
    onnx.save(model, encoder)


def _quantise(graph: Path) -> None:
    """A second graph in 8 bits, beside it."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with quiet():
        quantize_dynamic(
            graph,
            graph.with_suffix(".int8.onnx"),
            op_types_to_quantize=["MatMul"],
            weight_type=QuantType.QInt8,
        )
