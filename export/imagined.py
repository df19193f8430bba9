"""Scenes of any class that the encoder scores, without a recording: made of embeddings.

There are clips of few of AudioSet's 521 classes, but the encoder's classifier knows them all. Its
scores are linear in the embedding e (logits W e + b), so a real hop can be moved to where it has
a wanted logit t of some classes, by the likeliest change of independent units of variance v:

    e + v W'(W v W')^-1 (t - l)        (the conditional mean of a Gaussian)

which takes along the scores of relatives, and real confusions. With the whole covariance in place
of v, half and half with its diagonal, it is far from t once what became negative is cut off: median
logit -2.9 for 4, against 1.1 with the diagonal alone, both at a SOFTNESS of 0.05. The hops go
through the real tracker and a recorder, in the runtime's order.

How like the real ones they are: a logistic regression that met imagined hops only, of a pool of
Debian's sounds without those that resemble ESC-10's, is right for 93 to 94 % of the clips of
ESC-10's folds 1 to 3 (the highest mean logit of the same classes: 93 %), on which the constants
here were chosen, and for 94 to 95 % of fold 4's 80 clips (89 %), on which they were not. Cosine of
a class's means, imagined and real: 0.80 and 0.76. Debian's sounds are harder: of 67 clips of 14
clear labels 60 to 63 % (69 %), from a pool of ESC-10, cosine 0.70; there the logits do better.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import ModelBrokenError, UsageError
from edge_alm.hearing.audioset import ontology, read_labels
from edge_alm.hearing.encoder import HOP_SAMPLES, PATCH_FRAMES, Hop
from edge_alm.hearing.gate import BLOCK_SAMPLES
from edge_alm.hearing.guesses import Guesser
from edge_alm.hearing.logmel import HOP_SAMPLES as FRAME_SAMPLES
from edge_alm.hearing.tracker import Tracker
from edge_alm.models.onnx_file import check_onnx
from edge_alm.models.projector_file import FULL_SCALE_DB
from edge_alm.types import SAMPLE_RATE_HZ, Event, Guess, Sound, Speech, to_seconds
from export.labels import similar
from export.recordings import Recorder, Recording
from export.scenes import SPEECH, Placed, Recipe, imagine
from export.thresholds import NOT_EVENTS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    Floats: TypeAlias = NDArray[np.float32]
else:
    Floats = Any

RECIPE = Recipe(
    events=(0.05, 0.25, 0.25, 0.2, 0.15, 0.1), speech=0.05, near_far=0.0, longest_event_s=5.0
)
"""No near and far: an imagined embedding has no room, only its level differs."""
POOL_HOPS = 8_192
"""Most hops of the pool that are used: each draw looks at all of them."""
CANDIDATES = 10
"""Classes from which a scene's sounds are chosen."""
LOGIT = (0.0, 5.0)
"""Of an event at its clearest. Real ESC-10 clips: 90 % quantiles of hops 0 to 4 (fire -1)."""
DOUBTFUL_LOGIT = -1.0
DOUBTFUL = 0.1
"""Share of events that hardly sound like what they are."""
TILT = (0.0, 1.0)
"""How much a hop is more likely to be moved the nearer it is, by exp(tilt * logit)."""
FREEDOM = 0.01
"""Added to every unit's variance, as a share of the mean: a pool has not seen everything."""
SOFTNESS = 0.02
"""Share of a logit's variance by which it may miss: shorter steps where classes disagree. For a
wanted logit of 4 the median is 1.1 with 0.05, 2.1 with 0.02 and 2.6 with 0.01; the cosine with the
real means falls from 0.82 to 0.79 and 0.77."""
STEPS = 4
"""Each step is exact but for the cut at 0, which then needs another."""
DAMPED = 6
"""Other classes that are held under the event's, more of them at each step. For a wanted logit
of 1 the class or its kin is the top score in 96 % of events, without it in 86 % (Debian's pool)."""
CLOSE_KIN = 24
"""Children of one class are not told apart in a scene unless they are more than that."""
ALIKE = 0.7
"""Nor are classes whose logits correlate so much."""
CONFUSED = 0.25
"""Share of events in which a related class may sound as clearly."""
HANGOVER_S = 1.0
"""How long the sound gate stays open after a sound."""
OPEN = 0.3
"""Share of scenes in whose background the gate never shuts."""
SECONDS_TO_TEXT = 0.6
"""From the end of what was said to its text: the segmenter waits so long for more."""
PATCH_SAMPLES = PATCH_FRAMES * FRAME_SAMPLES

_VERBS = ("open", "close", "find", "bring", "move", "check", "start", "stop", "watch", "clean")
_NOUNS = ("door", "window", "kitchen", "garden", "car", "lamp", "book", "bag", "phone", "table")
_WHEN = ("now", "today", "tomorrow", "later", "again", "please", "tonight", "soon")


@dataclass(frozen=True, slots=True)
class Classifier:
    """The encoder's last layer: logits = weight @ embedding + bias."""

    weight: Floats
    """Shape [n classes, width]."""
    bias: Floats
    """Shape [n classes]."""

    def __call__(self, embeddings: Floats) -> Floats:
        """Logits [n, n classes] of embeddings [n, width]."""
        # In this order twice as fast for the few hops of an event.
        logits: Floats = (self.weight @ embeddings.T).T + self.bias
        return logits


def read_classifier(path: Path) -> Classifier:
    """The layer before the output ``class_scores`` of a float encoder.

    Raises:
        ModelMissingError: no such file.
        ModelBrokenError: it is damaged or its scores are no linear layer of constants.
    """
    import onnx
    from onnx import numpy_helper

    check_onnx(path)
    graph = onnx.load(str(path)).graph
    makers = {output: node for node in graph.node for output in node.output}
    constants = {item.name: item for item in graph.initializer}
    node = makers.get("class_scores")
    names = list(node.input) if node is not None else []
    if node is None or node.op_type != "Gemm" or not set(names[1:3]) <= constants.keys():
        raise ModelBrokenError(
            f"encoder {path.name}",
            expected="class_scores from a Gemm of constants",
            got=node.op_type if node is not None else "no such output",
            hint="give the float encoder",
        )
    weight, bias = (np.asarray(numpy_helper.to_array(constants[n]), np.float32) for n in names[1:3])
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return Classifier(weight if transposed else weight.T, bias)


@cache
def everyday() -> dict[str, tuple[str, ...]]:
    """Phrases by class name, where the name itself will not do; none for the unimaginable."""
    text = (resources.files(__package__) / "data" / "everyday.toml").read_text("utf-8")
    return {name: tuple(phrases) for name, phrases in tomllib.loads(text).items()}


def phrases(name: str) -> tuple[str, ...]:
    """What people call the sound of a class; empty for one that is no event or too vague."""
    if name in NOT_EVENTS:
        return ()
    return everyday().get(name, (name.partition(",")[0].partition(" (")[0].lower(),))


class Imagination:
    """Makes scenes of any of the encoder's classes.

    Args:
        classifier: the float encoder, an ONNX file.
        labels: its class map.
        thresholds: the tracker's, by class.
        pool: embeddings [n, width] of real hops, float32.

    Raises:
        ModelMissingError, ModelBrokenError: classifier or labels.
        UsageError: the pool has another width or too few hops.
    """

    def __init__(
        self, classifier: Path, labels: Path, thresholds: dict[str, float], pool: Floats
    ) -> None:
        self._classifier = read_classifier(classifier)
        names = read_labels(labels)
        classes, width = self._classifier.weight.shape
        if len(names) != classes:
            raise ModelBrokenError(
                f"class map {labels.name}", expected=f"{classes} classes", got=str(len(names))
            )
        if pool.ndim != 2 or pool.shape[1] != width or len(pool) < 2:
            raise UsageError("pool", expected=f"hops of shape [n, {width}]", got=str(pool.shape))
        self.names = names
        self.imaginable = tuple(
            i for i, name in enumerate(names) if phrases(name) and phrases(name) != (SPEECH,)
        )
        """Indices of the classes that may come, speech aside."""
        self._index = {name: i for i, name in enumerate(names)}
        self._tracker = Tracker(names, thresholds, ontology())
        self._guesser = Guesser(names, thresholds, ontology())
        tree = ontology()
        self._spoken = tree.descendants("Speech") | {"Speech"}
        self._music = tree.descendants("Music") | {"Music"}
        self._genres = self._music - tree.descendants("Musical instrument")
        self._families = [
            frozenset({name}) | tree.ancestors(name) | tree.descendants(name) for name in names
        ]
        self._siblings = [
            frozenset(kind for parent in tree.parents(name) for kind in tree.descendants(parent))
            for name in names
        ]
        step = max(1, len(pool) // POOL_HOPS)
        self._pool: Floats = np.ascontiguousarray(pool[::step][:POOL_HOPS], np.float32)
        self._logits = np.ascontiguousarray(self._classifier(self._pool).T)
        norms = np.linalg.norm(self._pool, axis=1)
        self._norms = np.quantile(norms, (0.01, 0.99)).astype(np.float32)
        variance = self._pool.var(axis=0)
        # Row c: how an embedding changes along with logit c; and how the other logits do.
        self._ways: Floats = self._classifier.weight * (variance + FREEDOM * variance.mean())
        self._gains: Floats = self._ways @ self._classifier.weight.T
        deviations = np.sqrt(np.diag(self._gains))
        self._correlations: Floats = self._gains / np.outer(deviations, deviations)

    def scene(self, rng: np.random.Generator, recipe: Recipe = RECIPE) -> Recording:
        """A scene as the language model will meet it; the same generator state, the same scene."""
        classes = self._choose(rng)
        timeline, duration_s = imagine(rng, [*classes, SPEECH], recipe)
        timeline = tuple(
            replace(placed, text=make_sentence(rng)) if placed.label == SPEECH else placed
            for placed in timeline
        )
        hops = self._hops(rng, timeline, {**classes, SPEECH: self._index["Speech"]}, duration_s)
        return Recording(self._record(rng, timeline, hops, duration_s), timeline, duration_s)

    def event(
        self, rng: np.random.Generator, name: str, logits: Sequence[float] | NDArray[np.float64]
    ) -> Floats:
        """Embeddings [n, width] of consecutive hops of one sound that reach these logits."""
        return self._event(rng, self._index[name], np.asarray(logits, np.float32))

    def _choose(self, rng: np.random.Generator) -> dict[str, int]:
        """Classes by the phrase that they get here, no two of them alike."""
        chosen: dict[str, int] = {}
        for _ in range(4 * CANDIDATES):
            index = self.imaginable[rng.integers(len(self.imaginable))]
            own = phrases(self.names[index])
            phrase = own[rng.integers(len(own))]
            if not any(
                self._related(index, other) or similar(phrase, label)
                for label, other in chosen.items()
            ):
                chosen[phrase] = index
            if len(chosen) == CANDIDATES:
                break
        return chosen

    def _related(self, a: int, b: int) -> bool:
        return (
            self._is_music(a, b)
            or self._is_music(b, a)
            or self.names[a] in self._families[b]
            or (self.names[a] in self._siblings[b] and len(self._siblings[b]) <= CLOSE_KIN)
            or float(self._correlations[a, b]) > ALIKE
        )

    def _is_music(self, a: int, b: int) -> bool:
        """Whether ``a`` is a kind of music, which ``b`` may be a part of."""
        return self.names[a] in self._genres and self.names[b] in self._music

    def _draw(self, rng: np.random.Generator, index: int, tilt: float, n: int) -> Floats:
        """Real hops [n, width], those nearer to a class more often."""
        weights = np.exp(tilt * (self._logits[index] - self._logits[index].max()))
        edges = np.cumsum(weights)
        drawn: Floats = self._pool[
            np.searchsorted(edges, rng.random(n) * edges[-1]).clip(max=len(edges) - 1)
        ]
        return drawn

    def _event(self, rng: np.random.Generator, index: int, targets: Floats) -> Floats:
        n = len(targets)
        tilt = rng.uniform(*TILT)
        base = self._draw(rng, index, tilt, 1)
        share = rng.uniform(0.0, 0.5, (n, 1)).astype(np.float32)
        hops = (1 - share) * base + share * self._draw(rng, index, tilt, n)
        spared = [self._index[name] for name in self._families[index] if name in self._index]
        if rng.random() < CONFUSED:
            near = np.argsort(-self._correlations[index])[:12]
            spared.append(int(near[rng.integers(len(near))]))
        margin = np.float32(rng.uniform(0.5, 3.0))
        damped: list[int] = []
        for _ in range(STEPS):
            logits = self._classifier(hops)
            excess = (logits - (targets - margin)[:, None]).max(axis=0)
            excess[spared] = -np.inf
            worst = np.argsort(-excess)[:DAMPED]
            damped += [int(i) for i in worst if excess[i] > 0 and i not in damped]
            held = [index, *damped]
            missing = np.minimum(0.0, (targets - margin)[:, None] - logits[:, held])
            missing[:, 0] = targets - logits[:, index]
            # A unit that is cut off at 0 does not answer.
            answering = (hops > 0)[:, None] * self._classifier.weight[held]
            gains = answering @ self._ways[held].T
            gains = gains + np.diag(SOFTNESS * self._gains[held, held])
            hops = hops + np.linalg.solve(gains, missing[..., None])[..., 0] @ self._ways[held]
            hops = self._possible(hops)
        return hops

    def _possible(self, hops: Floats) -> Floats:
        """Means over rectified units are not negative; and not longer or shorter than real ones."""
        hops = np.maximum(hops, 0.0)
        norms = np.maximum(np.linalg.norm(hops, axis=1, keepdims=True), 1e-6)
        scaled: Floats = hops * (np.clip(norms, *self._norms) / norms)
        return scaled.astype(np.float32, copy=False)

    def _hops(
        self,
        rng: np.random.Generator,
        timeline: Sequence[Placed],
        classes: dict[str, int],
        duration_s: float,
    ) -> list[Hop | None]:
        """A hop, or None where the gate is shut, for every hop of the duration."""
        n = -(-round(duration_s * SAMPLE_RATE_HZ) // HOP_SAMPLES)
        ends = (np.arange(n) + 1) * HOP_SAMPLES
        wanted = np.full(n, rng.random() < OPEN)
        quiet = self._draw(rng, self._index["Silence"], 0.7, 1)
        others = self._draw(rng, self._index["Silence"], 0.7, n)
        share = rng.uniform(0.0, 0.3, (n, 1)).astype(np.float32)
        background = (1 - share) * quiet + share * others
        embeddings = background
        for placed in timeline:
            start, end = (round(at * SAMPLE_RATE_HZ) for at in (placed.start_s, placed.end_s))
            wanted |= (ends > start) & (ends - HOP_SAMPLES < end + HANGOVER_S * SAMPLE_RATE_HZ)
            covered = np.minimum(ends, end) - np.maximum(ends - PATCH_SAMPLES, start)
            heard = np.flatnonzero(covered > 0)
            if not len(heard):
                continue
            # The patch that has most of the sound tells it clearly, even where it is short.
            cover = (covered[heard] / covered[heard].max()).astype(np.float32)
            top = DOUBTFUL_LOGIT if rng.random() < DOUBTFUL else rng.uniform(*LOGIT)
            targets = top - (1 - cover) * rng.uniform(1.0, 5.0) - rng.exponential(0.4, len(heard))
            own = self._event(rng, classes[placed.label], targets.astype(np.float32))
            mixed = cover[:, None] * own + (1 - cover[:, None]) * background[heard]
            taken = (embeddings[heard] != background[heard]).any(axis=1, keepdims=True)
            embeddings = embeddings.copy()
            # What is strong in either sound of an overlap is strong in both together.
            embeddings[heard] = np.where(taken, np.maximum(mixed, embeddings[heard]), mixed)
        scores = 1 / (1 + np.exp(-np.clip(self._classifier(embeddings), -60, 60)))
        levels_db = _levels_db(rng, timeline, n)
        return [
            Hop(
                start=i * HOP_SAMPLES,
                end=(i + 1) * HOP_SAMPLES,
                scores=scores[i],
                embedding=embeddings[i],
                levels_db=levels_db[i * PATCH_FRAMES // 2 : (i + 2) * PATCH_FRAMES // 2],
                is_noise=False,
            )
            if wanted[i]
            else None
            for i in range(n)
        ]

    def _record(
        self,
        rng: np.random.Generator,
        timeline: Sequence[Placed],
        hops: Sequence[Hop | None],
        duration_s: float,
    ) -> tuple[str | NDArray[np.float16], ...]:
        """What the runtime would give to the language model."""
        tracker, guesser, recorder = self._tracker, self._guesser, Recorder()
        tracker.reset()
        guesser.reset(0)
        blocks = _blocks(timeline)
        said = [
            Speech(placed.text, round(placed.start_s, 3), round(placed.end_s, 3), 0.9)
            for placed in timeline
            if placed.text
        ]

        def tell(events: Sequence[Event]) -> None:
            for event in events:
                if not (isinstance(event, Sound) and event.label in self._spoken):
                    recorder.append_event(event)

        def guess(guesses: Sequence[Guess]) -> None:
            for each in guesses:
                if each.labels[0] not in self._spoken:
                    recorder.append_guess(each)

        for i, hop in enumerate(hops):
            now_s = to_seconds((i + 1) * HOP_SAMPLES)
            for at in range(i * HOP_SAMPLES, (i + 1) * HOP_SAMPLES, BLOCK_SAMPLES):
                level_db = blocks.get(at // BLOCK_SAMPLES)
                guesser.push(level_db or 0.0, stands_out=level_db is not None)
            tell([speech for speech in said if speech.end + SECONDS_TO_TEXT < now_s])
            said = [speech for speech in said if speech.end + SECONDS_TO_TEXT >= now_s]
            if hop is None:
                tracker.skip()
                guess(guesser.hear(None, ()))
                continue
            recorder.append_embeddings(
                hop.features[None], to_seconds(hop.start), to_seconds(hop.end)
            )
            sounds = tracker.push(hop)
            guess(guesser.hear(hop, sounds))
            tell(sounds)
        end = round(duration_s * SAMPLE_RATE_HZ)
        sounds = tracker.finish(end)
        guess(guesser.finish(end, sounds))
        tell(sounds)
        tell(said)
        return recorder.items()


def _blocks(timeline: Sequence[Placed]) -> dict[int, float]:
    """Level of the loudest sound, dBFS, in every block that has one in its middle."""
    levels_db: dict[int, float] = {}
    for placed in timeline:
        first, last = (
            round(at * SAMPLE_RATE_HZ / BLOCK_SAMPLES) for at in (placed.start_s, placed.end_s)
        )
        for block in range(first, max(last, first + 1)):
            levels_db[block] = max(placed.level_db, levels_db.get(block, placed.level_db))
    return levels_db


def _levels_db(rng: np.random.Generator, timeline: Sequence[Placed], hops: int) -> Floats:
    """Level of every frame from one hop before the scene on, flat within a sound."""
    before = PATCH_FRAMES // 2
    loudest_db = FULL_SCALE_DB + max((placed.level_db for placed in timeline), default=-20.0)
    levels_db = np.full((hops + 1) * before, loudest_db - rng.uniform(20, 50), np.float32)
    for placed in timeline:
        first, last = (
            before + round(at * SAMPLE_RATE_HZ / FRAME_SAMPLES)
            for at in (placed.start_s, placed.end_s)
        )
        level_db = FULL_SCALE_DB + placed.level_db
        np.maximum(levels_db[first:last], level_db, out=levels_db[first:last])
    return levels_db + rng.normal(0, 1.5, len(levels_db)).astype(np.float32)


def make_sentence(rng: np.random.Generator) -> str:
    """A few plain words that someone might say, lower case."""
    verb, noun, when = (words[rng.integers(len(words))] for words in (_VERBS, _NOUNS, _WHEN))
    other = _NOUNS[rng.integers(len(_NOUNS))]
    shapes = (f"{verb} the {noun} {when}", f"{verb} the {noun}", f"the {noun} is by the {other}")
    return shapes[rng.integers(len(shapes))]
