"""Whisper, whole, as two ONNX files: what it hears, and what it writes.

The encoder takes as many frames as there are (its position table is cut, as for a sound encoder)
and gives, beside its frames, the keys and values of all the decoder's looks at them: these are
linear in the frames, so stretches may be encoded apart and joined. The decoder takes tokens, these
keys and values and its own of the tokens before, and gives logits and its own, longer by the new.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_alm.errors import UsageError
from edge_alm.hearing.front_end import read_front_end
from edge_alm.models.files import fresh_folder
from edge_alm.models.manifest import Arrays, Graph, Manifest, write_manifest
from edge_alm.types import Samples
from export.graph import OPSET, runner, trace, write_golden
from export.parity import LIMIT, Parity, read_clips, windows
from export.source import Source, cached_file, find_source, load_extractor, load_model
from export.towers import FRAMES, FRONT_END_ARRAYS, Outputs, WhisperTower
from export.whisper_ctranslate2 import is_ctranslate2, write_for_transformers

ENCODER, DECODER = "encoder.onnx", "decoder.onnx"
ENCODER_GOLDEN, DECODER_GOLDEN = "encoder.golden.npz", "decoder.golden.npz"
LOGITS = "logits"
TOKENIZER = "tokenizer.json"
CACHE, NEW_CACHE = ("keys", "values"), ("new_keys", "new_values")
CROSS = ("cross_keys", "cross_values")
"""[layers, batch, heads, time, width of a head]."""
_COMMAND = "python -m export whisper"
_SHORT_S = 3.0
"""Of the stretch that is encoded by itself."""
_TOKENS = 6


class Hearing(nn.Module):
    """Whisper's encoder with what its decoder will look at."""

    def __init__(self, model: Any, extractor: Any) -> None:
        super().__init__()
        self.config = model.config
        self.tower = WhisperTower(model, extractor)
        self.layers = model.model.decoder.layers

    def forward(self, features: Tensor) -> Outputs:
        """Features [batch, frames, bands]."""
        frames = self.tower(features)[FRAMES]
        looks = [layer.encoder_attn for layer in self.layers]
        keys = [_heads(look, look.k_proj(frames)) for look in looks]
        values = [_heads(look, look.v_proj(frames)) for look in looks]
        return {FRAMES: frames, CROSS[0]: torch.stack(keys), CROSS[1]: torch.stack(values)}


class Writing(nn.Module):
    """Whisper's decoder, some tokens at a time."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.config = model.config
        self.trunk, self.head = model.model.decoder, model.proj_out
        self.no_bias = torch.zeros(model.config.vocab_size)

    def forward(
        self, tokens: Tensor, keys: Tensor, values: Tensor, cross_keys: Tensor, cross_values: Tensor
    ) -> Outputs:
        """Tokens int64 [batch, n]; of those before, keys and values of ``past`` positions."""
        trunk, past, n = self.trunk, keys.shape[3], tokens.shape[1]
        at = torch.arange(n, device=tokens.device) + past
        hidden = trunk.embed_tokens(tokens) + trunk.embed_positions.weight[at]
        seen = torch.arange(past + n, device=tokens.device)[None, :] <= at[:, None]
        mask = torch.where(seen, 0.0, torch.finfo(torch.float32).min)
        new_keys, new_values = [], []
        for i, layer in enumerate(trunk.layers):
            own, look = layer.self_attn, layer.encoder_attn
            normed = layer.self_attn_layer_norm(hidden)
            k = torch.cat((keys[i], _heads(own, own.k_proj(normed))), dim=2)
            v = torch.cat((values[i], _heads(own, own.v_proj(normed))), dim=2)
            hidden = hidden + _attend(own, normed, k, v, mask)
            normed = layer.encoder_attn_layer_norm(hidden)
            hidden = hidden + _attend(look, normed, cross_keys[i], cross_values[i], None)
            normed = layer.final_layer_norm(hidden)
            hidden = hidden + layer.fc2(layer.activation_fn(layer.fc1(normed)))
            new_keys.append(k)
            new_values.append(v)
        # As one matrix product that transposes by itself: the embedding is stored once.
        rows = trunk.layer_norm(hidden).flatten(0, 1)
        logits = torch.addmm(self.no_bias, rows, self.head.weight.t()).view(*hidden.shape[:2], -1)
        return {
            LOGITS: logits,
            NEW_CACHE[0]: torch.stack(new_keys),
            NEW_CACHE[1]: torch.stack(new_values),
        }


def _heads(attention: Any, states: Tensor) -> Tensor:
    """[batch, time, width] as [batch, heads, time, width of a head]."""
    batch, time, _ = states.shape
    return states.view(batch, time, attention.num_heads, attention.head_dim).transpose(1, 2)


def _attend(attention: Any, states: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    q = _heads(attention, attention.q_proj(states) * attention.scaling)
    weights = q @ k.transpose(2, 3)
    if mask is not None:
        weights = weights + mask
    found = (torch.softmax(weights, dim=-1) @ v).transpose(1, 2)
    found = found.reshape(states.shape[0], states.shape[1], -1)
    projected: Tensor = attention.out_proj(found)
    return projected


def export_whisper(
    model: str,
    out: Path,
    *,
    licence: str | None = None,
    audio: tuple[Path, ...] = (),
    opset: int = OPSET,
    limit: float = LIMIT,
) -> Manifest:
    """Write encoder, decoder, front end, tokenizer and manifest into ``out``, or nothing.

    Args:
        model: a folder of transformers, or of CTranslate2, or a name on the hub.
        out: the folder to make.
        licence: of the weights; None: what the model's card says.
        audio: recordings to check parity on; none: one of this package's.
        opset: of ONNX.
        limit: of the difference from transformers.

    Raises:
        UsageError, ModelBrokenError, RefusedError: as :func:`export.encoder.export_encoder`.
    """
    with find_whisper(model, out.name) as source:
        return _export(source, model, out, licence, audio, opset, limit)


@contextmanager
def find_whisper(model: str, name: str) -> Iterator[Source]:
    """A Whisper in transformers' form; one of CTranslate2's is written so, under this name, first.

    Raises:
        UsageError: it is no Whisper that writes.
        ModelBrokenError: damaged.
    """
    with ExitStack() as stack:
        found = model
        if is_ctranslate2(model):
            found = str(Path(stack.enter_context(tempfile.TemporaryDirectory())) / name)
            write_for_transformers(Path(model), Path(found))
        source = find_source(found, ("whisper",))
        if "WhisperForAudioClassification" in source.architectures:
            raise UsageError(model, expected="a Whisper that writes", got="one that classifies")
        yield source


def _export(
    source: Source,
    original: str,
    out: Path,
    licence: str | None,
    audio: tuple[Path, ...],
    opset: int,
    limit: float,
) -> Manifest:
    network = load_model(source, ("WhisperForConditionalGeneration",))
    hearing: Any = Hearing(network, load_extractor(source)).eval()
    writing: Any = Writing(network).eval()
    tower = hearing.tower
    clips = read_clips(audio, tower.rate_hz)
    with fresh_folder(out) as folder, torch.no_grad():
        spec = tower.front_end(pad=False)
        np.savez(folder / FRONT_END_ARRAYS, **spec.arrays)
        front_end = read_front_end(folder, spec.settings)
        short = front_end(windows(clips, round(_SHORT_S * tower.rate_hz))[0])
        graphs = {
            "encoder": _trace_encoder(hearing, short, folder, opset),
            "decoder": _trace_decoder(writing, hearing, short, folder, opset),
        }
        parity = Parity(limit)
        _check(parity, folder, network, hearing, clips)
        _save_words(source.model, network, folder)
        manifest = Manifest(
            kind="speech",
            name=out.name,
            architecture=source.kind,
            ids=(Path(original).name if Path(original).is_dir() else source.name,),
            licence=licence or source.licence(),
            graphs=graphs,
            produced_by=(source.step(_COMMAND, options={"opset": opset}),),
            sample_rate_hz=tower.rate_hz,
            window_samples=round(tower.native_s * tower.rate_hz),
            front_end=spec.settings,
            parity=parity.to_dict(),
        )
        return write_manifest(folder, manifest)


def _trace_encoder(hearing: Any, short: NDArray[np.float32], folder: Path, opset: int) -> Graph:
    cross = {1: "batch", 3: "time"}
    axes = {
        "features": {0: "batch", 1: "frames"},
        FRAMES: {0: "batch", 1: "time"},
        **dict.fromkeys(CROSS, cross),
    }
    example = {"features": _torch(np.concatenate((short, short)))}
    graph = trace(hearing, example, axes, folder / ENCODER, opset=opset)
    return write_golden(folder, ENCODER_GOLDEN, graph, hearing, {"features": short})


def _trace_decoder(
    writing: Any, hearing: Any, short: NDArray[np.float32], folder: Path, opset: int
) -> Graph:
    own, whole = {1: "batch", 3: "past"}, {1: "batch", 3: "past_and_tokens"}
    cross = {1: "batch", 3: "time"}
    axes = {
        "tokens": {0: "batch", 1: "tokens"},
        LOGITS: {0: "batch", 1: "tokens"},
        **dict.fromkeys(CACHE, own),
        **dict.fromkeys(NEW_CACHE, whole),
        **dict.fromkeys(CROSS, cross),
    }
    heard = _numpy(hearing(_torch(np.concatenate((short, short)))))
    inputs = {"tokens": np.arange(6).reshape(2, 3) + 1, **{n: heard[n] for n in CROSS}}
    empty = np.zeros((*heard[CROSS[0]].shape[:3], 0, heard[CROSS[0]].shape[4]), np.float32)
    # With a past: a length of none would be traced as never any.
    first = _numpy(writing(**_torches({**inputs, **dict.fromkeys(CACHE, empty)})))
    past = {old: first[new] for old, new in zip(CACHE, NEW_CACHE, strict=True)}
    inputs = {"tokens": inputs["tokens"], **past, **{n: heard[n] for n in CROSS}}
    graph = trace(writing, _torches(inputs), axes, folder / DECODER, opset=opset)
    return write_golden(folder, DECODER_GOLDEN, graph, writing, inputs)


def _check(
    parity: Parity, folder: Path, network: Any, hearing: Any, clips: Sequence[Samples]
) -> None:
    """Stretches of their own length, and whole windows with tokens at once and one by one."""
    tower = hearing.tower
    encode, decode = runner(folder / ENCODER), runner(folder / DECODER)
    settings = (tower.front_end(pad=pad).settings for pad in (False, True))
    alone, padded = (read_front_end(folder, one) for one in settings)
    start = network.config.decoder_start_token_id or 0
    tokens = (start + 7 * np.arange(_TOKENS)[None]) % network.config.vocab_size
    for clip in clips:
        for window in windows([clip], round(_SHORT_S * tower.rate_hz)):
            features = tower.features(window, pad=False)
            parity.compare(_numpy(hearing(_torch(features))), encode({"features": alone(window)}))
        samples = clip[: round(tower.native_s * tower.rate_hz)]
        published = tower.features(samples, pad=True).transpose(0, 2, 1)
        expected = network(_torch(published), decoder_input_ids=torch.from_numpy(tokens))
        heard = encode({"features": padded(samples)})
        for steps in ((_TOKENS,), (2, *[1] * (_TOKENS - 2))):
            got = _write(decode, heard, tokens, steps)
            parity.compare({LOGITS: expected.logits.numpy()}, {LOGITS: got})


def _write(
    decode: Callable[[Arrays], Arrays], heard: Arrays, tokens: NDArray[Any], steps: Sequence[int]
) -> NDArray[Any]:
    """Logits [1, n, vocabulary] after each of ``tokens`` [1, n], so many at a time."""
    cross = {name: heard[name] for name in CROSS}
    shape = cross[CROSS[0]].shape
    cache = dict.fromkeys(CACHE, np.zeros((*shape[:3], 0, shape[4]), np.float32))
    found, at = [], 0
    for n in steps:
        got = decode({"tokens": tokens[:, at : at + n], **cache, **cross})
        cache = {old: got[new] for old, new in zip(CACHE, NEW_CACHE, strict=True)}
        found.append(got[LOGITS])
        at += n
    return np.concatenate(found, axis=1)


def _save_words(model: str, network: Any, folder: Path) -> None:
    """What turns tokens into text, where the source has it, and which tokens begin and end."""
    network.generation_config.save_pretrained(folder)
    tokenizer = cached_file(model, TOKENIZER)
    if tokenizer is not None:
        shutil.copyfile(tokenizer, folder / TOKENIZER)


def _torch(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def _torches(arrays: Arrays) -> dict[str, Tensor]:
    return {name: _torch(array) for name, array in arrays.items()}


def _numpy(outputs: Outputs) -> Arrays:
    return {name: value.numpy() for name, value in outputs.items()}
