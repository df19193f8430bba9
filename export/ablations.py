"""What each part of the recipe is worth: the same short training without it or with another.

    python -m export.ablations export/ablations.toml --model GGUF --out build/ablations

trains a variant after the other (a killed run goes on where it stopped), asks each the same
questions about scenes of recordings that it did not hear, and prints the shares of right choices.
Wants scenes heard with the bundle's encoder, and beside them, in folders of the same names with
``-layers``, the same scenes heard with what export.layers makes of it; README.md has the commands.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from edge_alm.errors import EdgeAlmError
from export.align import Trainer
from export.contrasts import contrast
from export.hearing_model import build, freeze_in_bf16, load_language_model
from export.lessons import Curriculum, LessonsConfig, only
from export.questions import SKILLS, ask
from export.recordings import read_recordings
from export.runs import Run, load_run
from export.settings import Config, read_config
from export.trees import Branch, TreeMaker

QUERIES = 4
LAYERED = "-layers"
CAPTION = "contrast"
"""Captions of the same sounds in other orders, or with other attributes."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to make the scene known to the language model."""

    name: str
    inputs: str
    queries: int = 0
    layered: bool = False

    def config(self, config: Config) -> Config:
        """The run ``config`` in this way."""
        return Config(
            self._data(config.data),
            replace(config.model, queries=self.queries),
            config.training,
            tuple((until, self._data(data)) for until, data in config.phases),
        )

    def folder(self, scenes: str) -> str:
        """Where ``scenes`` are as this variant hears them."""
        return scenes + LAYERED if self.layered else scenes

    def _data(self, data: LessonsConfig) -> LessonsConfig:
        train = tuple(map(self.folder, data.train))
        return replace(data, train=train, inputs=self.inputs)


VARIANTS = (
    Variant("soft tokens, one a hop", "soft"),
    Variant("soft tokens of four layers", "soft", layered=True),
    Variant(f"soft tokens of {QUERIES} learned queries", "soft", queries=QUERIES),
    Variant("timed text", "text"),
    Variant("soft tokens and timed text", "both"),
)


def train(config: Config, model: Path, out: Path) -> Run:
    """Train, or go on, to the end."""
    language_model, tokenize = load_language_model(model)
    maker = TreeMaker(tokenize, slots=config.model.queries)
    lessons = Curriculum(config.curriculum(), maker, tokenize, config.training.seed)
    hearing = build(language_model, lessons.n_in, config.model, config.training.seed)
    Trainer(hearing, lessons, config, out).run()
    return load_run(out, model)


def answer(
    run: Run, dev: Path, inputs: str, scenes: int, seed: int = 0
) -> Iterator[tuple[str, bool]]:
    """Skill, and whether the right choice was the likeliest, of every question.

    A question depends on the scene and the seed alone, so all variants are asked the same.
    """
    maker = TreeMaker(run.tokenize, slots=run.slots)
    recordings = read_recordings(dev)
    labels = [placed.label for recording in recordings for placed in recording.timeline]
    for number, recording in enumerate(recordings[:scenes]):
        rng = np.random.default_rng((seed, number))
        timeline, duration_s = recording.timeline, recording.duration_s
        asked = [ask(rng, [timeline], [duration_s], labels, skill=each) for each in SKILLS]
        branches = [
            Branch(one.question, one.choices, one.choices.index(one.answer), write=False)
            for one in asked
            if one and one.choices
        ]
        skills = [one.skill for one in asked if one and one.choices]
        if captions := contrast(rng, timeline):
            branches.append(Branch("Describe the recording.", captions, 0, write=False))
            skills.append(CAPTION)
        items = only(recording, inputs) if inputs != "both" else recording.items
        if items is None or not branches:
            continue
        tree = maker.make(items, branches, heard_s=duration_s)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            (scores,) = run.model([tree])
        sums = torch.zeros(tree.continuations)
        sums.index_add_(0, torch.tensor(tree.continuation), scores.float())
        for skill, choice in zip(skills, tree.choices, strict=True):
            yield skill, int(sums[list(choice)].argmax()) == 0


def table(found: dict[str, list[tuple[str, bool]]]) -> str:
    """Skills down, variants across, in percent."""
    skills = sorted({skill for rows in found.values() for skill, _ in rows})

    def share(rows: Sequence[tuple[str, bool]], skill: str | None) -> str:
        rights = [right for own, right in rows if skill in (None, own)]
        return f"{100 * float(np.mean(rights)):5.1f} ({len(rights)})" if rights else "-"

    lines = [f"{'':10}" + "".join(f"{name:>36}" for name in found)]
    for skill in (None, *skills):
        row = "".join(f"{share(rows, skill):>36}" for rows in found.values())
        lines.append(f"{skill or 'all':10}{row}")
    return "\n".join(lines)


def main() -> None:
    """Train, ask, print."""
    parser = argparse.ArgumentParser(prog="python -m export.ablations")
    parser.add_argument("config", type=Path)
    parser.add_argument("--model", type=Path, required=True, help="GGUF file or folder")
    parser.add_argument("--dev", default="build/ablations/dev-esc10")
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    args = parser.parse_args()
    found: dict[str, list[tuple[str, bool]]] = {}
    try:
        config = read_config(args.config, args.set)
        for variant in VARIANTS:
            print(variant.name, flush=True)
            out = args.out / variant.name.replace(",", "").replace(" ", "-")
            run = train(variant.config(config), args.model, out)
            freeze_in_bf16(run.model.eval())
            dev = Path(variant.folder(args.dev))
            found[variant.name] = list(answer(run, dev, variant.inputs, args.scenes))
    except EdgeAlmError as error:
        raise SystemExit(f"ablations: {error}") from error
    print(table(found))
    print(json.dumps({name: float(np.mean([r for _, r in rows])) for name, rows in found.items()}))


if __name__ == "__main__":
    main()
