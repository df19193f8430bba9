"""Train a text-audio space that knows which sound came first, and compare the losses for it.

    python -m export.contrast --words build/words.npz \
        --scenes build/scenes/clean build/scenes/debian build/scenes/train build/scenes/pairs \
        --dev build/scenes/dev-clean build/scenes/dev-debian \
        --pairs build/compa/esc10 build/compa/debian --out build/contrast

trains a space with each of the losses of :mod:`export.losses` on the same data in the same order
(or with one: ``--loss compa``), and prints for recordings that none has heard CompA's scores and
how often the right label is the first or among the first five. A loss whose file is in ``--out`` is
not trained again.

**The audio tower** reads the frozen encoder's hops with a causal transformer of two layers whose
attention falls off with distance (ALiBi, Press et al. 2022), so that a hop is one step and the ones
before it stay as they were; a weighted mean of what the hops say is the direction.

**The text tower** has to tell "dog, then rain" from "rain, then dog", which a sum of word vectors
cannot. MiniLM could, but with 23 million weights it does not fit into a bundle of 25 MB beside the
encoder, and rules that split a text know only the joints that they list. So the bundle's word
pieces stay what they are and only their *roles* are learnt: a small recurrent network reads the
text and gives each piece a weight in four sums, one of what is named at all and three of what it
is in the composition (roles bound to fillers, Smolensky 1990; here the binding is a weight). What
a word means is never learnt here, so a sound that no training named still has its place, and the
network is run once for each text.

After 400 steps of ``compa`` (50 CPU seconds) on the scenes of ESC-10 and of Debian alone, of 100
pairs of unseen Debian clips in both orders: text 74 %, audio 80 %, group 69 %. What ``edge-alm
find`` does, single stretches looked for one after the other, has 80, 79 and 79 without having
learnt an order; told in words that neither knows ("and later", "preceded by") it has a group score
of 1 % and this one of 24 %.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, replace
from itertools import cycle
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from edge_alm.errors import EdgeAlmError, UsageError
from edge_alm.finder import pick_chains
from edge_alm.hearing.audioset import read_labels
from edge_alm.models import store
from edge_alm.models.projector_file import HOP_LEVELS
from edge_alm.reasoning.asked import split_order
from edge_alm.reasoning.judges import Judges
from edge_alm.reasoning.phrases import TEMPERATURE, Floats, Phrases
from edge_alm.reasoning.stretches import Stretches
from edge_alm.reasoning.wordpiece import WordPiece
from export.captions import HELD_OUT, NEGATIVES, THEN, Captions
from export.compa import Compare, HeardPair, read_pairs, score_pairs
from export.excerpts import Excerpt, Excerpts, hops_of, singles
from export.imagined import Classifier, read_classifier
from export.losses import af_clap, compa, info_nce, modular
from export.recordings import Recording, read_recordings
from export.replay import replay
from export.words import padded

ROLES = 4
WIDTH, LAYERS, HEADS = 128, 2, 4
READER = 32
"""Units of the network that reads a text, in each direction."""
DROPOUT = 0.2
FIRST_SHARPNESS, MOST_SHARPNESS = 1 / 0.07, 100.0
"""As in CLIP and CLAP."""
BATCH = 64
STEPS = 600
LEARNING_RATE, WEIGHT_DECAY = 2e-3, 1e-2
_FLOOR = 1e-6


class Block(nn.Module):
    """One layer: attention to the hops before, then a network for each hop."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.norm, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.split, self.join = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.drop = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Hops [b, n, width] with what is added to the attention [heads, n, n]."""
        query, key, value = (
            part.unflatten(2, (self._heads, -1)).transpose(1, 2)
            for part in self.split(self.norm(x)).chunk(3, 2)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, bias)
        x = x + self.drop(self.join(mixed.transpose(1, 2).flatten(2)))
        out: Tensor = x + self.drop(self.down(functional.gelu(self.up(self.norm2(x)))))
        return out


class AudioTower(nn.Module):
    """From hops to directions.

    Args:
        mean: of the features [n_in], of the training's hops.
        deviation: theirs [n_in].
        width: of the directions.
    """

    def __init__(self, mean: Tensor, deviation: Tensor, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)
        self.first, self.last = nn.Linear(len(mean), WIDTH), nn.Linear(WIDTH, width)
        self.blocks = nn.ModuleList(Block(WIDTH, HEADS) for _ in range(LAYERS))
        self.norm, self.weight = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 1)
        self.drop = nn.Dropout(DROPOUT)

    def states(self, hops: Tensor) -> Tensor:
        """What each hop [b, n, n_in] is with those before it [b, n, :data:`WIDTH`]."""
        x = self.first(self.drop((hops - self.mean) / self.deviation))
        bias = alibi(hops.shape[1])
        for block in self.blocks:
            x = block(x, bias)
        out: Tensor = self.norm(x)
        return out

    def forward(self, hops: Tensor, lengths: Tensor) -> Tensor:
        """Unit vectors [b, width] of recordings [b, n, n_in] that have so many hops [b], 1 to n."""
        states = self.states(hops)
        beyond = torch.arange(hops.shape[1]) >= lengths[:, None]
        shares = self.weight(states)[..., 0].masked_fill(beyond, -math.inf).softmax(1)
        said = torch.einsum("bn,bnd->bd", shares, self.last(states))
        return functional.normalize(said, dim=1)


def alibi(n: int, heads: int = HEADS) -> Tensor:
    """What is added to the attention of each hop to each [heads, n, n]: minus their distance times
    2^(-8 (h + 1) / heads) for those before, minus infinity for those after (Press et al. 2022)."""
    at = torch.arange(n)
    distance = at[:, None] - at
    slopes = 2.0 ** (-8.0 * torch.arange(1, heads + 1) / heads)
    return torch.where(distance >= 0, -slopes[:, None, None] * distance, -math.inf)


def ramp(lengths: Tensor) -> Tensor:
    """From -1 at the first to 1 at the last of each row's places [n, longest]; 0 for one alone and
    beyond the last."""
    at = torch.arange(int(lengths.max()))
    out = 2.0 * at / (lengths[:, None] - 1).clamp(min=1) - 1.0
    return out.masked_fill((at >= lengths[:, None]) | (lengths[:, None] == 1), 0.0)


class TextTower(nn.Module):
    """From texts to directions: word pieces summed in the roles that they have in the text.

    Args:
        pieces: of words.
        rows: their vectors [n pieces, d], which stay as they are.
    """

    def __init__(self, pieces: Sequence[str], rows: Tensor) -> None:
        super().__init__()
        self._split = WordPiece(pieces)
        self.register_buffer("rows", torch.cat((torch.zeros(1, rows.shape[1]), rows)), False)
        self.reader = nn.GRU(rows.shape[1], READER, batch_first=True, bidirectional=True)
        self.roles = nn.Linear(2 * READER, ROLES)

    @property
    def width(self) -> int:
        """Of the directions."""
        return ROLES * int(self.rows.shape[1])

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors [n, :attr:`width`]; zeros for a text without a known word."""
        ids = self._ids(texts)
        vectors = self.rows[ids]
        lengths = (ids > 0).sum(1).clamp(min=1)
        packed = pack_padded_sequence(vectors, lengths, batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.reader(packed)[0], batch_first=True)
        raw = self.roles(states)
        # At the start what is named counts, and what is named first came first; all else is learnt.
        named, order = raw[..., :1] + 2.0, raw[..., 1:2] + ramp(lengths)[..., None]
        weights = torch.cat((named.sigmoid(), order.tanh(), raw[..., 2:].tanh()), 2)
        bound = torch.einsum("npr,npd->nrd", weights, vectors).flatten(1)
        return functional.normalize(bound, dim=1)

    def bags(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors of the plain sums [n, d], as :meth:`Phrases.directions` has them."""
        return functional.normalize(self.rows[self._ids(texts)].sum(1), dim=1)

    def _ids(self, texts: Sequence[str]) -> Tensor:
        return padded([[piece + 1 for piece in self._split(text)] or [0] for text in texts])


class Space(nn.Module):
    """Both towers and how sharply they are compared."""

    def __init__(self, audio: AudioTower, text: TextTower) -> None:
        super().__init__()
        self.audio, self.text = audio, text
        self._log_sharpness = nn.Parameter(torch.tensor(math.log(FIRST_SHARPNESS)))

    @property
    def sharpness(self) -> Tensor:
        """Of the cosines."""
        return self._log_sharpness.exp().clamp(max=MOST_SHARPNESS)

    def hear(self, hops: Sequence[Floats]) -> Tensor:
        """Unit vectors [n, d] of recordings' hops, each [n_i, n_in], n_i >= 1."""
        lengths = torch.tensor([len(each) for each in hops])
        rows = [torch.from_numpy(np.asarray(each, np.float32)) for each in hops]
        out: Tensor = self.audio(nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths)
        return out

    def read(self, texts: Sequence[Sequence[str]]) -> Tensor:
        """Unit vectors [n, m, d] of n times m texts."""
        flat: Tensor = self.text([text for each in texts for text in each])
        return flat.unflatten(0, (len(texts), -1))


def _info_nce(space: Space, audio: Tensor, told: Sequence[Captions]) -> Tensor:
    return info_nce(audio, space.text([each.right[0] for each in told]), space.sharpness)


def _compa(space: Space, audio: Tensor, told: Sequence[Captions]) -> Tensor:
    texts = space.read([(each.right[0], *each.wrong) for each in told])
    return compa(audio, texts[:, 0], texts[:, 1:], space.sharpness)


def _modular(space: Space, audio: Tensor, told: Sequence[Captions]) -> Tensor:
    right = space.read([(each.right[0], each.part) for each in told])
    wrong = space.read([(*each.wrong, *each.absent) for each in told])
    return modular(audio, right, wrong.unflatten(1, (2, NEGATIVES)), space.sharpness)


def _af_clap(space: Space, audio: Tensor, told: Sequence[Captions]) -> Tensor:
    right = space.read([each.right for each in told])
    wrong = space.read([each.wrong for each in told])
    return af_clap(audio, right, wrong, space.sharpness)


LOSSES: dict[str, Callable[[Space, Tensor, Sequence[Captions]], Tensor]] = {
    "infonce": _info_nce,
    "compa": _compa,
    "modular": _modular,
    "afclap": _af_clap,
}


def read_words(path: Path) -> tuple[list[str], Tensor]:
    """Word pieces and their vectors [n pieces, d], as :mod:`export.words` writes them.

    Raises:
        UsageError: no such file, or it has something else in it.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            pieces = arrays["pieces"].tobytes().decode().split("\n")
            rows = arrays["piece_rows"] * arrays["piece_scales"].astype(np.float32)[:, None]
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise UsageError(
            str(path),
            expected="vectors of word pieces",
            got=str(error),
            hint="make them with python -m export.words",
        ) from error
    return pieces, torch.from_numpy(rows)


def make_space(excerpts: Sequence[Excerpt], pieces: Sequence[str], rows: Tensor) -> Space:
    """An untrained space, standardised for the excerpts' hops."""
    hops = torch.from_numpy(np.concatenate([each.hops for each in excerpts[::4]]))
    text = TextTower(pieces, rows)
    return Space(AudioTower(hops.mean(0), hops.std(0) + 1e-3, text.width), text)


def train(space: Space, excerpts: Excerpts, loss: str, steps: int, seed: int) -> Iterator[float]:
    """Train with one of :data:`LOSSES`; yields the loss of every step.

    What is learnt at a step depends on the seed and the step alone, whatever the loss.
    """
    optimizer = torch.optim.AdamW(space.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    space.train()
    for step in range(steps):
        drawn = excerpts.draw(np.random.default_rng((seed, step)), BATCH)
        audio = space.hear([excerpt.hops for excerpt, _ in drawn])
        value = LOSSES[loss](space, audio, [told for _, told in drawn])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()
        yield float(value.detach())
    space.eval()


def save(path: Path, space: Space, steps: int, seed: int) -> None:
    """Write what was learnt: an .npz of the weights, without the word pieces."""
    arrays: dict[str, Any] = {name: value.numpy() for name, value in space.state_dict().items()}
    partial = path.with_suffix(".partial.npz")
    np.savez_compressed(partial, run=np.array((steps, seed)), **arrays)
    partial.replace(path)


def restore(path: Path, space: Space, steps: int, seed: int) -> bool:
    """Take weights back; false where there is no file.

    Raises:
        UsageError: they are of another run or another space.
    """
    if not path.exists():
        return False
    expected, hint = f"a run of {steps} steps and seed {seed}", "give a new --out, or delete it"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        own_steps, own_seed = found.pop("run").tolist()
        if (own_steps, own_seed) != (steps, seed):
            raise ValueError(f"{own_steps} steps and seed {own_seed}")
        space.load_state_dict(found)
    except (OSError, ValueError, KeyError, RuntimeError, BadZipFile) as error:
        raise UsageError(str(path), expected=expected, got=str(error), hint=hint) from error
    space.eval()
    return True


class Compared:
    """How well a space says that recordings and captions fit."""

    def __init__(self, space: Space) -> None:
        self._space = space

    def __call__(self, recordings: Sequence[Recording], captions: Sequence[str]) -> Floats:
        """Cosines [n recordings, n captions]; a recording in which nothing was heard is quiet."""
        width = len(self._space.audio.mean)
        hops = [hops_of(each)[0] for each in recordings]
        quiet = np.zeros((1, width), np.float32)
        with torch.no_grad():
            heard = self._space.hear([each if len(each) else quiet for each in hops])
            out: Floats = (heard @ self._space.text(captions).T).numpy()
        return out


class Chained:
    """The same for what ``edge-alm find`` does: single stretches, looked for in order."""

    def __init__(self, phrases: Phrases) -> None:
        self._phrases, self._judges = phrases, Judges(phrases)

    def __call__(self, recordings: Sequence[Recording], captions: Sequence[str]) -> Floats:
        """The best chain's score [n recordings, n captions], 0 to 1."""
        out = np.zeros((len(recordings), len(captions)), np.float32)
        for row, recording in zip(out, recordings, strict=True):
            stretches = Stretches(self._phrases)
            replay(recording.items, stretches)
            for i, caption in enumerate(captions):
                wanted = split_order(caption)
                shares = stretches.judged(self._judges.of(wanted)) if wanted else []
                chains = pick_chains(shares, len(wanted), 0.0)
                row[i] = max((chain.score for chain in chains), default=0.0)
        return out


class Table:
    """The untrained judge: which of the encoder's classes have a name like the label."""

    def __init__(self, text: TextTower, names: Sequence[str], classifier: Classifier) -> None:
        self._text, self._classifier = text, classifier
        self._names = text.bags([name.lower() for name in names])

    def __call__(self, excerpts: Sequence[Excerpt], labels: Sequence[str]) -> Tensor:
        """Scores in nats [n excerpts, n labels]."""
        highest = [self._classifier(each.hops[:, :-HOP_LEVELS]).max(axis=0) for each in excerpts]
        weights = torch.softmax(self._text.bags(labels) @ self._names.T / TEMPERATURE, dim=1)
        return torch.log(torch.sigmoid(torch.from_numpy(np.stack(highest))) @ weights.T + _FLOOR)


def pointed(space: Space, excerpts: Sequence[Excerpt], labels: Sequence[str]) -> Tensor:
    """A space's scores in nats [n excerpts, n labels]."""
    with torch.no_grad():
        heard = [
            space.hear([each.hops for each in excerpts[at : at + BATCH]])
            for at in range(0, len(excerpts), BATCH)
        ]
        out: Tensor = space.sharpness * torch.cat(heard) @ space.text(labels).T
    return out


def judged(phrases: Phrases, excerpts: Sequence[Excerpt], labels: Sequence[str]) -> Tensor:
    """A phrase table's scores in nats [n excerpts, n labels]."""
    heard = [phrases.hear(each.hops[:, :-HOP_LEVELS]) for each in excerpts]
    return torch.from_numpy(phrases.scores(heard, labels))


def found_first(scores: Tensor, own: Sequence[int], places: int) -> float:
    """How often the right label is among the first so many.

    Args:
        scores: [n, n labels].
        own: number of each right label [n].
        places: as many as count.
    """
    right = scores.gather(1, torch.tensor(own)[:, None])
    ahead = (scores > right).sum(1) + ((scores == right).sum(1) - 1)
    return float((ahead < places).float().mean())


def held_out(pairs: Sequence[HeardPair]) -> list[HeardPair]:
    """The pairs with their captions in words that no training had."""
    reworded = []
    for pair, wording in zip(pairs, cycle(HELD_OUT), strict=False):
        first, second = (wording(caption.split(THEN)) for caption in pair.captions)
        reworded.append(replace(pair, captions=(first, second)))
    return reworded


def figures_of(pairs: dict[str, list[HeardPair]], compare: Compare) -> dict[str, list[float]]:
    """Text, audio and group of every folder and kind, in the captions' words and in others."""
    figures = {}
    for folder, own in pairs.items():
        for words, told in (("", own), (", other words", held_out(own))):
            for kind, scores in score_pairs(told, compare).items():
                figures[f"{folder} {kind}{words}"] = list(astuple(scores))
    return figures


def report(found: dict[str, dict[str, list[float]]]) -> str:
    """Figures down and systems across, in percent."""
    names = list(dict.fromkeys(name for figures in found.values() for name in figures))
    lines = [f"{'':44}" + "".join(f"{system:>22}" for system in found)]
    for name in names:
        cells = (
            " / ".join(f"{100 * share:.1f}" for share in figures[name]) if name in figures else "-"
            for figures in found.values()
        )
        lines.append(f"{name:44}" + "".join(f"{cell:>22}" for cell in cells))
    return "\n".join(lines)


def main() -> None:
    """Train, ask, print."""
    parser = argparse.ArgumentParser(prog="python -m export.contrast")
    parser.add_argument("--words", type=Path, required=True, help="made by export.words")
    parser.add_argument("--scenes", type=Path, nargs="+", required=True)
    parser.add_argument("--dev", type=Path, nargs="*", default=[], help="scenes to name sounds of")
    parser.add_argument("--pairs", type=Path, nargs="*", default=[], help="made by export.compa")
    parser.add_argument("--phrases", type=Path, help="a phrase table, to compare with")
    parser.add_argument("--loss", choices=LOSSES, help="this one alone")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    try:
        found = run(args)
    except EdgeAlmError as error:
        raise SystemExit(f"contrast: {error}") from error
    print(report(found))
    print(json.dumps(found))


def run(args: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """Figures of every system by name: CompA's text, audio and group, and top 1 and top 5."""
    if args.steps < 1:
        raise UsageError("--steps", expected="at least 1", got=str(args.steps))
    pieces, vectors = read_words(args.words)
    pairs = {folder.name: read_pairs(folder) for folder in args.pairs}
    dev = {folder.name: singles(read_recordings(folder)) for folder in args.dev}
    yamnet = store.locate("yamnet")
    names = read_labels(yamnet / "yamnet_class_map.csv")
    table = Table(TextTower(pieces, vectors), names, read_classifier(yamnet / "yamnet.onnx"))
    labels = {name: sorted({each.timeline[0].label for each in own}) for name, own in dev.items()}
    untrained = {name: table(own, labels[name]) for name, own in dev.items()}

    def named(scores: dict[str, Tensor], how: str) -> dict[str, list[float]]:
        return {
            f"{name} top 1 / 5{how}": [
                found_first(each, [labels[name].index(e.timeline[0].label) for e in dev[name]], n)
                for n in (1, 5)
            ]
            for name, each in scores.items()
        }

    found = {"table": named(untrained, "")}
    if args.phrases is not None:
        phrases = Phrases(args.phrases)
        found["find"] = figures_of(pairs, Chained(phrases))
        found["find"] |= named({name: judged(phrases, dev[name], labels[name]) for name in dev}, "")
    excerpts = Excerpts([r for folder in args.scenes for r in read_recordings(folder)])
    print(f"{len(excerpts.singles)} sounds, {len(excerpts.wholes)} scenes, ", end="")
    print(f"{len(excerpts.labels)} labels", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    for loss in [args.loss] if args.loss else LOSSES:
        torch.manual_seed(args.seed)
        space = make_space(excerpts.singles, pieces, vectors)
        path = args.out / f"{loss}.npz"
        if not restore(path, space, args.steps, args.seed):
            for step, value in enumerate(train(space, excerpts, loss, args.steps, args.seed), 1):
                if step % 50 == 0 or step == args.steps:
                    print(f"{loss}: step {step} of {args.steps}: {value:.3f}", flush=True)
            save(path, space, args.steps, args.seed)
        found[loss] = figures_of(pairs, Compared(space))
        alone = {name: pointed(space, own, labels[name]) for name, own in dev.items()}
        together = {name: alone[name] + untrained[name] for name in dev}
        found[loss] |= named(alone, "") | named(together, ", with the table")
    return found


if __name__ == "__main__":
    main()
