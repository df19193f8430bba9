"""A sentence encoder small enough to export in a test."""

from __future__ import annotations

from pathlib import Path

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz")
PIECES = (*WORDS, *(f"##{letter}" for letter in WORDS[4:]), "dog", "rain", "bark", ",")


WIDTH = 120


def save_bert(folder: Path, seed: int = 0) -> Path:
    """A seeded BERT of two layers [60, WIDTH] with its vocabulary."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(PIECES),
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=12,
        intermediate_size=128,
        max_position_embeddings=64,
        initializer_range=0.1,  # at 0.02 all directions would be alike
    )
    BertModel(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    return folder
