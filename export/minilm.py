"""all-MiniLM-L6-v2, or another BERT of its kind, as one ONNX file from word pieces to a direction.

    python -m export text --out build/minilm
    python -m quantize onnx build/minilm --to int8-dynamic --out build/minilm-int8

The mean of the tokens and the length of 1 are in the graph. Nothing is cut from it, so that a
quantised file is one of the whole network, vocabulary of 30,522 word pieces and all.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_alm.errors import UsageError
from edge_alm.models.files import fresh_folder
from edge_alm.models.manifest import Manifest, write_manifest
from edge_alm.models.sentences_folder import EMBEDDING, IDS, KIND, MASK, TEXT_GRAPH, VOCABULARY
from edge_alm.reasoning.sentences import BEGIN, END, UNKNOWN
from edge_alm.reasoning.wordpiece import WordPiece
from export.graph import OPSET, runner, trace, write_golden
from export.parity import LIMIT, Parity
from export.source import find_source, load_model
from export.words import padded

NETWORK, GOLDEN = "minilm.onnx", "minilm.golden.npz"
TEXTS = ("a dog", "rain falling on a roof", "somebody sneezes twice, then a door slams", "bell")
"""What parity is checked on, of different lengths."""
_COMMAND = "python -m export text"


class SentenceNetwork(nn.Module):
    """A BERT of transformers, the mean of its tokens, at length 1."""

    def __init__(self, bert: Any) -> None:
        super().__init__()
        self.config = bert.config
        self._bert = bert

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """Token ids and mask, int64 [batch, tokens]; the directions are [batch, width]."""
        hidden = self._bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask[..., None].to(hidden.dtype)
        return {EMBEDDING: functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)}


def export_minilm(
    model: Path, out: Path, *, licence: str | None = None, opset: int = OPSET, limit: float = LIMIT
) -> Manifest:
    """Write network, vocabulary and manifest into ``out``, or nothing.

    Args:
        model: a folder of transformers with ``vocab.txt``.
        out: the folder to make.
        licence: of the weights; None: what the model's card says.
        opset: of ONNX.
        limit: of the difference from transformers.

    Raises:
        UsageError: the model cannot be read, or the folder not be written.
        ModelBrokenError: weights are missing.
        RefusedError: the result differs from the original.
    """
    source = find_source(str(model), ("bert",))
    network: Any = SentenceNetwork(load_model(source, ("BertModel",))).eval()
    try:
        words = (model / VOCABULARY).read_text("utf-8").splitlines()
        split, begin, end = WordPiece(words, UNKNOWN), words.index(BEGIN), words.index(END)
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(str(model), expected=f"BERT's {VOCABULARY}", got=str(error)) from error
    numbers = [[begin, *split(text), end] for text in TEXTS]
    with fresh_folder(out) as folder, torch.no_grad():
        inputs = _inputs(numbers)
        free = {0: "batch", 1: "tokens"}
        axes = {IDS: free, MASK: free, EMBEDDING: {0: "batch"}}
        graph = trace(network, inputs, axes, folder / NETWORK, opset=opset)
        parity, run = Parity(limit), runner(folder / NETWORK)
        for chosen in (numbers, *([one] for one in numbers)):
            given = _inputs(chosen)
            expected = {name: value.numpy() for name, value in network(**given).items()}
            parity.compare(expected, run({name: value.numpy() for name, value in given.items()}))
        arrays = {name: value.numpy() for name, value in inputs.items()}
        graph = write_golden(folder, GOLDEN, graph, network, arrays)
        shutil.copyfile(model / VOCABULARY, folder / VOCABULARY)
        manifest = Manifest(
            kind=KIND,
            name=out.name,
            architecture=source.kind,
            ids=(source.name,),
            licence=licence or source.licence(),
            graphs={TEXT_GRAPH: graph},
            produced_by=(source.step(_COMMAND, options={"opset": opset}),),
            parity=parity.to_dict(),
        )
        return write_manifest(folder, manifest)


def _inputs(numbers: list[list[int]]) -> dict[str, Tensor]:
    """Ids and mask; shorter texts are filled up, with a piece that the mask takes out."""
    ids = padded(numbers)
    lengths = torch.tensor([len(each) for each in numbers])
    return {IDS: ids, MASK: (torch.arange(ids.shape[1]) < lengths[:, None]).long()}
