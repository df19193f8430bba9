"""Audio networks of transformers as one kind of module: features in, named tensors out.

Each is what ``python -m export encoder`` traces: a free batch axis and a free time axis, the
outputs named as the runtime reads them. What the published code fixes to one length (AST's and
Whisper's position tables) is cut to the length that comes; at the published length the result is
the published one, which every export checks.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_alm.errors import ModelBrokenError, UsageError
from edge_alm.hearing.front_end import LogMelSettings
from edge_alm.models.yamnet import EMBEDDING, SCORES
from edge_alm.types import Samples

Outputs: TypeAlias = dict[str, Tensor]
Arrays: TypeAlias = dict[str, NDArray[Any]]

FRAMES = "frames"
"""Output [batch, time, width]: the last hidden state."""
FRONT_END_ARRAYS = "front_end.npz"

WAVEFORM_FAMILY = (
    "data2vec-audio",
    "hubert",
    "unispeech",
    "unispeech-sat",
    "wav2vec2",
    "wav2vec2-conformer",
    "wavlm",
)
"""Networks that take samples, all with the same outside."""
SUPPORTED = ("audio-spectrogram-transformer", "clap", *WAVEFORM_FAMILY, "whisper")
"""transformers' ``model_type`` of what can be exported."""
_AUDIOSET_CLASSES = 527


@dataclass(frozen=True, slots=True)
class FrontEndSpec:
    """How the runtime makes a tower's input: the manifest's ``front_end`` and its arrays."""

    settings: dict[str, Any]
    arrays: Arrays


class Tower(Protocol):
    """A network with what an export must know of it. Also an ``nn.Module``."""

    config: Any
    rate_hz: int
    """Of the samples."""
    input_name: str
    time_axis: str
    labels: tuple[str, ...]
    """Of the scores; empty for a network without."""
    activation: str
    """What makes probabilities of the scores; see the manifest."""
    native_s: float | None
    """The length it was made for; None: any."""

    def forward(self, features: Tensor) -> Outputs:
        """Outputs of features [batch, ...]."""
        ...

    def front_end(self, *, pad: bool) -> FrontEndSpec:
        """What makes the input; ``pad``: filled up to the native length, as published."""
        ...

    def features(self, samples: Samples, *, pad: bool) -> NDArray[np.float32]:
        """transformers' own features of ``samples``, batch 1; not ``pad``: of these alone."""
        ...

    def published(self, samples: Samples) -> Arrays:
        """What transformers' own code gives for ``samples``, without any of this module's."""
        ...


def make_tower(model: Any, extractor: Any, labels: Labels | None = None) -> Any:
    """The :class:`Tower` of a loaded model.

    Args:
        model: of transformers, in eval mode.
        extractor: its feature extractor.
        labels: for CLAP, texts to score audio against.

    Raises:
        UsageError: an architecture that is not in :data:`SUPPORTED`, or the feature extractor of
            another.
    """
    kind = model.config.model_type
    try:
        return _make_tower(kind, model, extractor, labels)
    except (AttributeError, KeyError, TypeError) as error:
        raise UsageError(
            f"{kind} and its feature extractor",
            expected="config.json and preprocessor_config.json of one model",
            got=f"{type(extractor).__name__}: {error}",
        ) from error


def _make_tower(kind: str, model: Any, extractor: Any, labels: Labels | None) -> Any:
    if kind == "audio-spectrogram-transformer":
        return AstTower(model, extractor)
    if kind == "whisper":
        return WhisperTower(model, extractor)
    if kind == "clap":
        return ClapTower(model, extractor, labels)
    if kind in WAVEFORM_FAMILY:
        return WaveformTower(model, extractor)
    raise unsupported(kind)


def unsupported(kind: str) -> UsageError:
    """The error for another architecture: the list of those that are known."""
    return UsageError(f"architecture {kind}", expected=f"one of {', '.join(SUPPORTED)}", got=kind)


@dataclass(frozen=True, slots=True)
class Labels:
    """Texts that CLAP scores audio against, and their embeddings [n, width], of length 1."""

    names: tuple[str, ...]
    embeddings: Tensor


def _labels_of(config: Any) -> tuple[str, ...]:
    return tuple(str(config.id2label[i]) for i in range(config.num_labels))


def _activation_of(config: Any) -> str:
    """Sigmoid where several classes may be true at once, else softmax."""
    if config.problem_type == "multi_label_classification":
        return "sigmoid"
    # The AudioSet checkpoints of AST do not say what they are.
    known = config.problem_type is not None or config.num_labels != _AUDIOSET_CLASSES
    return "softmax" if known else "sigmoid"


def _numpy(outputs: Outputs) -> Arrays:
    return {name: value.detach().numpy() for name, value in outputs.items()}


class AstTower(nn.Module):
    """Audio Spectrogram Transformer: AudioSet's classes, or others after fine-tuning.

    The position table is cut to the patches that come, from its start.
    """

    input_name, time_axis = "features", "frames"

    def __init__(self, model: Any, extractor: Any) -> None:
        super().__init__()
        self.config = model.config
        self._model, self._extractor = model, extractor
        self.rate_hz = int(extractor.sampling_rate)
        self.trunk = getattr(model, "audio_spectrogram_transformer", model)
        self.head = getattr(model, "classifier", None)
        self.labels = _labels_of(model.config) if self.head is not None else ()
        self.activation = _activation_of(model.config) if self.labels else "none"
        self.native_s = extractor.max_length * 0.01
        self._grid = self.trunk.embeddings.get_shape(model.config)

    def forward(self, features: Tensor) -> Outputs:
        """Features [batch, frames, bands]."""
        first = self.trunk.embeddings
        patches = first.patch_embeddings.projection(features.unsqueeze(1).transpose(2, 3))
        table = first.position_embeddings
        rows, columns = self._grid
        grid = table[:, 2:].reshape(1, rows, columns, -1).permute(0, 3, 1, 2)
        patches = (patches + grid[..., : patches.shape[3]]).flatten(2).transpose(1, 2)
        special = torch.cat((first.cls_token, first.distillation_token), dim=1) + table[:, :2]
        hidden = torch.cat((special.expand(patches.shape[0], -1, -1), patches), dim=1)
        hidden = self.trunk.layernorm(self.trunk.encoder(hidden).last_hidden_state)
        pooled = (hidden[:, 0] + hidden[:, 1]) / 2
        scores = {} if self.head is None else {SCORES: self.head(pooled)}
        return {**scores, EMBEDDING: pooled, FRAMES: hidden[:, 2:]}

    def front_end(self, *, pad: bool) -> FrontEndSpec:
        """See :class:`Tower`."""
        from transformers.audio_utils import mel_filter_bank, window_function

        e = self._extractor
        with warnings.catch_warnings():
            # Some of AST's bands are narrower than a bin of the spectrum, and always empty.
            warnings.filterwarnings("ignore", message="At least one mel filter")
            mel = mel_filter_bank(
                num_frequency_bins=257,
                num_mel_filters=e.num_mel_bins,
                min_frequency=20,
                max_frequency=e.sampling_rate // 2,
                sampling_rate=e.sampling_rate,
                norm=None,
                mel_scale="kaldi",
                triangularize_in_mel_space=True,
            )
        mean, deviation = (e.mean, e.std) if e.do_normalize else (0.0, 0.5)
        settings = LogMelSettings(
            arrays=FRONT_END_ARRAYS,
            frame_samples=400,
            hop_samples=160,
            fft_size=512,
            centred=False,
            drop_last=False,
            remove_mean=True,
            preemphasis=0.97,
            floor=1.192092955078125e-07,
            logarithm="ln",
            fill_samples=0,
            fill="zeros",
            fill_frames=e.max_length if pad else 0,
            peak_range=0.0,
            shift=-mean,
            scale=0.5 / deviation,
        )
        window = window_function(400, "hann", periodic=False)
        return _log_mel(settings, window, mel)

    def features(self, samples: Samples, *, pad: bool) -> NDArray[np.float32]:
        """See :class:`Tower`."""
        e = self._extractor
        found = e(samples, sampling_rate=e.sampling_rate, return_tensors="np").input_values
        frames = found.shape[1] if pad else 1 + (len(samples) - 400) // 160
        return np.asarray(found[:, :frames], np.float32)

    def published(self, samples: Samples) -> Arrays:
        """See :class:`Tower`."""
        values = torch.from_numpy(self.features(samples, pad=True))
        trunk = self.trunk(values)
        found = {EMBEDDING: trunk.pooler_output, FRAMES: trunk.last_hidden_state[:, 2:]}
        if self.head is not None:
            found[SCORES] = self._model(values).logits
        return _numpy(found)


class WaveformTower(nn.Module):
    """wav2vec 2.0, HuBERT, WavLM and their kin: samples in, a frame every 20 ms out."""

    input_name, time_axis = "samples", "samples"
    native_s = None

    def __init__(self, model: Any, extractor: Any) -> None:
        super().__init__()
        self.config = model.config
        self._model, self._extractor = model, extractor
        self.rate_hz = int(extractor.sampling_rate)
        self.trunk = getattr(model, model.base_model_prefix, model)
        is_classifier = hasattr(model, "projector") and hasattr(model, "classifier")
        self.labels = _labels_of(model.config) if is_classifier else ()
        self.activation = _activation_of(model.config) if is_classifier else "none"

    def forward(self, samples: Tensor) -> Outputs:
        """Samples [batch, time]."""
        weighted = bool(self.labels) and self.config.use_weighted_layer_sum
        outputs = self.trunk(samples, output_hidden_states=weighted, return_dict=True)
        frames = outputs.last_hidden_state
        found = {EMBEDDING: frames.mean(dim=1), FRAMES: frames}
        if self.labels:
            hidden = _layer_sum(self._model, outputs.hidden_states) if weighted else frames
            pooled = self._model.projector(hidden).mean(dim=1)
            found = {SCORES: self._model.classifier(pooled), **found}
        return found

    def front_end(self, *, pad: bool) -> FrontEndSpec:
        """See :class:`Tower`."""
        settings = {"kind": "waveform", "normalise": bool(self._extractor.do_normalize)}
        return FrontEndSpec(settings, {})

    def features(self, samples: Samples, *, pad: bool) -> NDArray[np.float32]:
        """See :class:`Tower`."""
        e = self._extractor
        found = e(samples, sampling_rate=e.sampling_rate, return_tensors="np").input_values
        return np.asarray(found, np.float32)

    def published(self, samples: Samples) -> Arrays:
        """See :class:`Tower`."""
        values = torch.from_numpy(self.features(samples, pad=True))
        frames = self.trunk(values).last_hidden_state
        found = {EMBEDDING: frames.mean(dim=1), FRAMES: frames}
        if self.labels:
            found[SCORES] = self._model(values).logits
        return _numpy(found)


class WhisperTower(nn.Module):
    """Whisper's encoder, or its audio classifier. The position table is cut as AST's is."""

    input_name, time_axis = "features", "frames"

    def __init__(self, model: Any, extractor: Any) -> None:
        super().__init__()
        self.config = model.config
        self._model, self._extractor = model, extractor
        self.rate_hz = int(extractor.sampling_rate)
        self.trunk = model.get_encoder() if hasattr(model, "get_encoder") else model.encoder
        is_classifier = hasattr(model, "projector") and hasattr(model, "classifier")
        self.labels = _labels_of(model.config) if is_classifier else ()
        self.activation = _activation_of(model.config) if is_classifier else "none"
        self.native_s = float(extractor.chunk_length)

    def forward(self, features: Tensor) -> Outputs:
        """Features [batch, frames, bands]."""
        trunk = self.trunk
        hidden = nn.functional.gelu(trunk.conv1(features.transpose(1, 2)))
        hidden = nn.functional.gelu(trunk.conv2(hidden)).permute(0, 2, 1)
        hidden = hidden + trunk.embed_positions.weight[: hidden.shape[1]]
        states = [hidden]
        for layer in trunk.layers:
            hidden = layer(hidden, None, layer_head_mask=None)[0]
            states.append(hidden)
        frames = trunk.layer_norm(hidden)
        found = {EMBEDDING: frames.mean(dim=1), FRAMES: frames}
        if self.labels:
            states[-1] = frames
            weighted = self.config.use_weighted_layer_sum
            pooled = _layer_sum(self._model, states) if weighted else frames
            pooled = self._model.projector(pooled).mean(dim=1)
            found = {SCORES: self._model.classifier(pooled), **found}
        return found

    def front_end(self, *, pad: bool) -> FrontEndSpec:
        """See :class:`Tower`."""
        from transformers.audio_utils import window_function

        e = self._extractor
        settings = LogMelSettings(
            arrays=FRONT_END_ARRAYS,
            frame_samples=e.n_fft,
            hop_samples=e.hop_length,
            fft_size=e.n_fft,
            centred=True,
            drop_last=True,
            remove_mean=False,
            preemphasis=0.0,
            floor=1e-10,
            logarithm="log10",
            fill_samples=e.n_samples if pad else 0,
            fill="zeros",
            fill_frames=0,
            peak_range=8.0,
            shift=4.0,
            scale=0.25,
        )
        return _log_mel(settings, window_function(e.n_fft, "hann"), e.mel_filters)

    def features(self, samples: Samples, *, pad: bool) -> NDArray[np.float32]:
        """See :class:`Tower`."""
        e = self._extractor
        found = e(
            samples,
            sampling_rate=e.sampling_rate,
            padding="max_length" if pad else "longest",
            return_tensors="np",
        ).input_features
        return np.asarray(found.transpose(0, 2, 1), np.float32)

    def published(self, samples: Samples) -> Arrays:
        """See :class:`Tower`."""
        values = torch.from_numpy(self.features(samples, pad=True).transpose(0, 2, 1).copy())
        frames = self.trunk(values).last_hidden_state
        found = {EMBEDDING: frames.mean(dim=1), FRAMES: frames}
        if self.labels:
            found[SCORES] = self._model(values).logits
        return _numpy(found)


class ClapTower(nn.Module):
    """CLAP's audio tower (HTS-AT) with its projection: an embedding of length 1.

    With ``labels`` it also scores the audio against these texts. A fused model gets four copies
    of what it hears, as its extractor gives it for anything that is no longer than its window.
    """

    input_name, time_axis = "features", "frames"

    def __init__(self, model: Any, extractor: Any, labels: Labels | None) -> None:
        super().__init__()
        self.config = model.config
        self._model, self._extractor = model, extractor
        self.rate_hz = int(extractor.sampling_rate)
        self._channels = 4 if model.config.audio_config.enable_fusion else 1
        self.labels = labels.names if labels else ()
        self.activation = "softmax" if labels else "none"
        self.native_s = float(extractor.max_length_s)
        self.texts = labels.embeddings if labels else None

    def forward(self, features: Tensor) -> Outputs:
        """Features [batch, frames, bands]."""
        channels = features.unsqueeze(1).expand(-1, self._channels, -1, -1)
        is_longer = torch.ones_like(features[:, 0, :1], dtype=torch.bool)
        heard = self._model.audio_model(input_features=channels, is_longer=is_longer)
        embedding = self._model.audio_projection(heard.pooler_output)
        embedding = embedding / embedding.norm(p=2, dim=-1, keepdim=True)
        if self.texts is None:
            return {EMBEDDING: embedding}
        scale = self._model.logit_scale_a.exp()
        return {SCORES: embedding @ self.texts.t() * scale, EMBEDDING: embedding}

    def front_end(self, *, pad: bool) -> FrontEndSpec:
        """See :class:`Tower`; always as published."""
        from transformers.audio_utils import window_function

        e = self._extractor
        if e.padding not in ("repeatpad", "pad"):
            raise UsageError("padding of CLAP", expected="repeatpad or pad", got=e.padding)
        settings = LogMelSettings(
            arrays=FRONT_END_ARRAYS,
            frame_samples=e.fft_window_size,
            hop_samples=e.hop_length,
            fft_size=e.fft_window_size,
            centred=True,
            drop_last=False,
            remove_mean=False,
            preemphasis=0.0,
            floor=1e-10,
            logarithm="dB",
            fill_samples=e.nb_max_samples,
            fill="repeat" if e.padding == "repeatpad" else "zeros",
            fill_frames=0,
            peak_range=0.0,
            shift=0.0,
            scale=1.0,
        )
        mel = e.mel_filters if e.truncation == "fusion" else e.mel_filters_slaney
        return _log_mel(settings, window_function(e.fft_window_size, "hann"), mel)

    def _extract(self, samples: Samples) -> Any:
        e = self._extractor
        return e(samples, sampling_rate=e.sampling_rate, return_tensors="pt")

    def features(self, samples: Samples, *, pad: bool) -> NDArray[np.float32]:
        """See :class:`Tower`."""
        return np.asarray(self._extract(samples).input_features[:, 0], np.float32)

    def published(self, samples: Samples) -> Arrays:
        """See :class:`Tower`."""
        embedding = self._model.get_audio_features(**self._extract(samples))
        found = {EMBEDDING: embedding}
        if self.texts is not None:
            found[SCORES] = embedding @ self.texts.t() * self._model.logit_scale_a.exp()
        return _numpy(found)


class ClapTextTower(nn.Module):
    """CLAP's text tower with its projection: an embedding of length 1 for each text."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.config = model.config
        self._model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Outputs:
        """Token ids and mask, int64 [batch, tokens]."""
        return {EMBEDDING: self._model.get_text_features(input_ids, attention_mask)}


def _layer_sum(model: Any, states: Sequence[Tensor]) -> Tensor:
    """All layers' states, weighted as the classifier has learnt."""
    weights = nn.functional.softmax(model.layer_weights, dim=-1)
    return (torch.stack(tuple(states), dim=1) * weights.view(-1, 1, 1)).sum(dim=1)


def _log_mel(
    settings: LogMelSettings, window: NDArray[np.floating], mel: NDArray[np.floating]
) -> FrontEndSpec:
    if not np.isfinite(mel).all():
        raise ModelBrokenError("the feature extractor", expected="mel bands", got="not a number")
    arrays: Arrays = {"window": np.asarray(window, np.float64), "mel": np.asarray(mel, np.float64)}
    return FrontEndSpec({"kind": "log_mel", **asdict(settings)}, arrays)
