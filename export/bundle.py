"""Make a bundle of a training run: what `edge-alm` loads, hears with and answers by.

    python -m export.bundle --run build/align --model MODEL.gguf --encoder yamnet_int8.onnx \
        --golden CLIP --out edge_alm/bundles/tiny

The folder gets the encoder, the projector (float16), the adapter as GGUF and ``bundle.json`` with
the hash of each, what they were made from, and a golden clip: a short recording with a question,
whose answer here is written down so that every other machine can check itself against it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import edge_alm
from edge_alm.errors import EdgeAlmError, UsageError
from edge_alm.models.bundle import DEFINITION, load_bundle
from edge_alm.models.files import sha256_file
from edge_alm.models.manifest import MANIFEST
from edge_alm.reasoning.prompts import SCENE_FORMAT
from export.adapter import to_gguf
from export.hearing_model import HearingModel
from export.runs import load_run

CHOICES = "encoder_choices"
ENCODER, PROJECTOR, ADAPTER = "encoder.onnx", "projector.npz", "adapter.gguf"
PHRASES, BACKGROUND = "phrases.npz", "background.npz"
SENTENCES = "sentences"
"""The folder of a sentence encoder."""
_OF_FOLDER = (CHOICES, "phrases", "sentences", "background")
EXPORTED = "encoder"
"""The folder of an exported encoder."""
QUESTION = "What do you hear?"
TOLERANCE = 0.05
"""Of a golden probability. llama.cpp's kernels differ from CPU to CPU in the last bits of the
activations that it rounds to 8 bits."""


def write_parts(model: HearingModel, base: Path, encoder: Path, out: Path) -> None:
    """Write encoder (a file or an exported folder), projector and adapter into ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    if encoder.is_dir():
        shutil.copytree(encoder, out / EXPORTED, dirs_exist_ok=True)
    else:
        shutil.copyfile(encoder, out / ENCODER)
    arrays: dict[str, Any] = {
        name: array.astype(np.float16) for name, array in model.projector.arrays().items()
    }
    np.savez(out / PROJECTOR, **arrays)
    with tempfile.TemporaryDirectory() as scratch:
        model.language_model.save_pretrained(scratch)
        to_gguf(Path(scratch), base, out / ADAPTER)


def training_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """A run's configuration as a bundle tells it: its data by the names of their folders."""

    def told(data: Mapping[str, Any]) -> dict[str, Any]:
        names: dict[str, Any] = {"train": [Path(folder).name for folder in data["train"]]}
        if "towers" in data:
            names["towers"] = Path(data["towers"]).name
        return {**data, **names}

    told_config = {**config, "data": told(config["data"])}
    if "phases" in config:
        told_config["phases"] = [[until, told(data)] for until, data in config["phases"]]
    return told_config


def define(base: Mapping[str, Any], out: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The definition of the bundle in ``out``: ``base`` with the files that lie there."""
    exported = f"{EXPORTED}/{MANIFEST}"
    encoder = exported if (out / exported).exists() else ENCODER
    own = {"encoder": encoder, "projector": PROJECTOR, "adapter": ADAPTER}
    sentences = f"{SENTENCES}/{MANIFEST}"
    optional = {"phrases": PHRASES, "sentences": sentences, "background": BACKGROUND}
    for role, name in optional.items():
        if (out / name).exists():
            own[role] = name
    entries = {role: {**entry(out / name), "file": name} for role, name in own.items()}
    # Files of the base's folder do not belong to this one.
    kept = {key: value for key, value in base.items() if key not in _OF_FOLDER}
    return {**kept, **entries, "scene_format": SCENE_FORMAT, **settings}


def entry(path: Path) -> dict[str, str]:
    """How a definition names a file of its own folder."""
    return {"file": path.name, "sha256": sha256_file(path)}


def hear_golden(bundle: Path, clip: Path, choices: tuple[str, str]) -> dict[str, Any]:
    """The golden entry of a bundle: what it answers about a clip that lies in its folder."""
    with edge_alm.load(bundle) as ears:
        for _ in ears.listen(clip):
            pass
        answer = ears.ask(QUESTION, choices=choices)
    (other,) = set(choices) - {answer.text}
    scores = {answer.text: answer.confidence, other: round(1.0 - answer.confidence, 4)}
    return {
        **entry(clip),
        "question": QUESTION,
        "answer": answer.text,
        "scores": scores,
        "tolerance": TOLERANCE,
    }


def write_definition(out: Path, definition: Mapping[str, Any]) -> None:
    """Write ``bundle.json``."""
    (out / DEFINITION).write_text(json.dumps(definition, indent=2, ensure_ascii=False) + "\n")


def main() -> None:
    """Write a bundle's folder."""
    parser = argparse.ArgumentParser(prog="python -m export.bundle")
    parser.add_argument("--run", type=Path, required=True, help="folder of export.align")
    parser.add_argument("--model", type=Path, required=True, help="the GGUF file it was run on")
    parser.add_argument("--encoder", type=Path, required=True, help="a file, or an exported folder")
    parser.add_argument(
        "--choice", type=Path, action="append", default=[], help="another form of the encoder"
    )
    parser.add_argument("--phrases", type=Path, help="all.npz of export.likeness")
    parser.add_argument("--sentences", type=Path, help="that it was made for, if for any")
    parser.add_argument("--background", type=Path, help="made by export.background")
    parser.add_argument("--base", type=Path, required=True, help="bundle.json for all else")
    parser.add_argument("--about", type=Path, required=True, help="JSON: sources, data, results")
    parser.add_argument("--prior-weight", type=float, default=0.0)
    parser.add_argument("--golden", type=Path, required=True, help="a short clip")
    parser.add_argument("--choices", nargs=2, required=True, metavar="TEXT")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    try:
        run = load_run(args.run, args.model)
        if run.slots:
            got = f"{run.slots} learned queries to a run of hops"
            raise UsageError(str(args.run), expected="one soft token for each hop", got=got)
        write_parts(run.model, args.model, args.encoder, args.out)
        clip = args.out / f"golden{args.golden.suffix}"
        shutil.copyfile(args.golden, clip)
        if args.phrases:
            shutil.copyfile(args.phrases, args.out / PHRASES)
        if args.sentences:
            shutil.copytree(args.sentences, args.out / SENTENCES, dirs_exist_ok=True)
        if args.background:
            shutil.copyfile(args.background, args.out / BACKGROUND)
        for choice in args.choice:
            shutil.copyfile(choice, args.out / choice.name)
        base = json.loads(args.base.read_text())
        choices = [entry(args.out / choice.name) for choice in args.choice]
        if args.encoder.is_file() and sha256_file(args.encoder) == base["encoder"].get("sha256"):
            # The catalogue's forms of the same network.
            choices += [choice for choice in base.get(CHOICES, []) if "artefact" in choice]
        settings = {
            "name": args.out.name,
            CHOICES: choices,
            "prior_weight": args.prior_weight,
            "about": {**json.loads(args.about.read_text()), "training": training_of(run.config)},
        }
        definition = define(base, args.out, settings)
        write_definition(args.out, definition)
        first, second = args.choices
        golden = hear_golden(args.out, clip, (first, second))
        write_definition(args.out, {**definition, "golden": golden})
        load_bundle(args.out)
    except (EdgeAlmError, OSError, ValueError) as error:
        raise SystemExit(f"bundle: {error}") from error


if __name__ == "__main__":
    main()
