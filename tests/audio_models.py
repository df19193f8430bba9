"""Tiny audio networks of transformers with seeded weights, saved as a user's would be."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

WORDS = ("This", "is", "a", "sound", "of", "dog", "rain", "falling", "on", "roof", "speech", ".")
CLASSES = {0: "Dog", 1: "Rain", 2: "Speech"}


def save_ast(folder: Path, **change: Any) -> Path:
    import transformers as t

    config = t.ASTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        initializer_range=0.2, id2label=CLASSES, **change,
    )  # fmt: skip
    return _save(folder, t.ASTForAudioClassification, config, t.ASTFeatureExtractor)


def save_whisper(folder: Path, kind: str = "WhisperModel", **change: Any) -> Path:
    import transformers as t

    config = t.WhisperConfig(
        d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, num_mel_bins=80,
        init_std=0.2, vocab_size=100, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1, suppress_tokens=None, begin_suppress_tokens=None,
        id2label=CLASSES, classifier_proj_size=16, **change,
    )  # fmt: skip
    return _save(folder, getattr(t, kind), config, t.WhisperFeatureExtractor)


def save_waveform(folder: Path, stem: str, kind: str = "Model", **change: Any) -> Path:
    """wav2vec 2.0 and its kin; ``stem`` as their classes begin."""
    import transformers as t

    config = getattr(t, f"{stem}Config")(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        conv_dim=(16,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
        initializer_range=0.2, classifier_proj_size=16, id2label=CLASSES, **change,
    )  # fmt: skip
    return _save(folder, getattr(t, f"{stem}{kind}"), config, t.Wav2Vec2FeatureExtractor)


def save_clap(folder: Path, *, fused: bool = False) -> Path:
    """With a tokenizer of :data:`WORDS`."""
    import transformers as t

    audio = {
        "spec_size": 256, "num_mel_bins": 64, "patch_embeds_hidden_size": 8, "window_size": 8,
        "depths": [1, 1, 1, 1], "num_attention_heads": [2, 2, 2, 2], "hidden_size": 64,
        "projection_dim": 16, "enable_fusion": fused, "initializer_range": 0.2,
    }  # fmt: skip
    text = {
        "vocab_size": 32, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 64, "projection_dim": 16, "max_position_embeddings": 64,
        "initializer_range": 0.2,
    }  # fmt: skip
    config = t.ClapConfig(text_config=text, audio_config=audio, projection_dim=16)
    truncation = "fusion" if fused else "rand_trunc"
    _save(folder, t.ClapModel, config, lambda: t.ClapFeatureExtractor(truncation=truncation))
    _make_tokenizer().save_pretrained(folder)
    return folder


def _make_tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(("<s>", "<pad>", "</s>", "<unk>", *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        model_input_names=["input_ids", "attention_mask"],
    )


def _save(folder: Path, model_class: Any, config: Any, extractor: Callable[[], Any]) -> Path:
    import torch

    torch.manual_seed(0)
    model = model_class(config)
    if hasattr(model, "layer_weights"):
        torch.nn.init.normal_(model.layer_weights)
    model.save_pretrained(folder)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="At least one mel filter")
        extractor().save_pretrained(folder)
    return folder


MAKERS: dict[str, Callable[[Path], Path]] = {
    "audio-spectrogram-transformer": save_ast,
    "clap": save_clap,
    "clap-fused": lambda folder: save_clap(folder, fused=True),
    "data2vec-audio": lambda folder: save_waveform(folder, "Data2VecAudio"),
    "hubert": lambda folder: save_waveform(
        folder, "Hubert", "ForSequenceClassification", use_weighted_layer_sum=True
    ),
    "unispeech": lambda folder: save_waveform(folder, "UniSpeech"),
    "unispeech-sat": lambda folder: save_waveform(folder, "UniSpeechSat"),
    "wav2vec2": lambda folder: save_waveform(folder, "Wav2Vec2", "ForSequenceClassification"),
    "wav2vec2-stable": lambda folder: save_waveform(
        folder, "Wav2Vec2", "ForCTC", do_stable_layer_norm=True, feat_extract_norm="layer"
    ),
    "wav2vec2-conformer": lambda folder: save_waveform(folder, "Wav2Vec2Conformer"),
    "wav2vec2-conformer-rotary": lambda folder: save_waveform(
        folder, "Wav2Vec2Conformer", position_embeddings_type="rotary"
    ),
    "wavlm": lambda folder: save_waveform(folder, "WavLM"),
    "whisper": save_whisper,
    "whisper-classifier": lambda folder: save_whisper(
        folder, "WhisperForAudioClassification", use_weighted_layer_sum=True
    ),
}
"""By architecture, or with more behind it for another form of one."""
