"""A bundle with a smaller encoder in its own's place.

    python -m export.stand_in --encoder build/distill/small/stand_in.onnx --out build/bundles/small

The encoder is one of :mod:`export.distill`, whose embedding is like that of the bundle's own; all
that reads embeddings stays as it is. The golden clip is heard and answered anew.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from edge_alm.errors import EdgeAlmError
from edge_alm.models.bundle import DEFINITION, load_bundle
from export.bundle import CHOICES, entry, hear_golden, write_definition


def stand_in(bundle: Path, encoder: Path, out: Path) -> None:
    """Write ``bundle`` with another encoder as a bundle of the folder's name.

    Args:
        bundle: a folder with one.
        encoder: an ONNX or LiteRT file with the bundle's classes.
        out: a folder, new or of before.

    Raises:
        EdgeAlmError: the bundle or the encoder is damaged, or they do not fit each other.
        OSError: the disk refused.
    """
    shutil.copytree(
        bundle, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns("encoder*", "README.md")
    )
    own = out / f"encoder{encoder.suffix}"
    shutil.copyfile(encoder, own)
    definition = json.loads((out / DEFINITION).read_text())
    golden = definition.pop("golden")
    definition |= {"name": out.name, "encoder": entry(own), CHOICES: []}
    definition["about"].pop("results", None)
    write_definition(out, definition)
    first, second = golden["scores"]
    heard = hear_golden(out, out / golden["file"], (first, second))
    write_definition(out, {**definition, "golden": heard})
    load_bundle(out)


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(prog="python -m export.stand_in")
    parser.add_argument("--bundle", type=Path, default=Path("edge_alm/bundles/tiny"))
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    try:
        stand_in(args.bundle, args.encoder, args.out)
    except (EdgeAlmError, OSError, ValueError) as error:
        raise SystemExit(f"stand_in: {error}") from error


if __name__ == "__main__":
    main()
