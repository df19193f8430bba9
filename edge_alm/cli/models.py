"""``edge-alm models``: what there is, what is here, fetch it, check it."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from edge_alm.errors import ModelBrokenError, ModelMissingError
from edge_alm.models import store
from edge_alm.models.bundle import about_bundle, shipped_bundles
from edge_alm.models.catalog import Artefact, catalogue, default_artefacts, find_artefact

_BAR_CHARACTERS = 30
_REDRAW_S = 0.1


def add_parser(subparsers: Any) -> None:
    """Add the command to what ``ArgumentParser.add_subparsers`` returned."""
    models: argparse.ArgumentParser = subparsers.add_parser(
        "models", help="list, fetch and check models"
    )
    actions = models.add_subparsers(dest="action", required=True, metavar="ACTION")

    listing = actions.add_parser("list", help="what the catalogue has and what is here")
    listing.add_argument("--json", action="store_true", help="one JSON array")
    listing.set_defaults(run=run, act=_list)

    pull = actions.add_parser("pull", help="fetch models; without names, the default ones")
    pull.add_argument("names", nargs="*", metavar="NAME")
    pull.set_defaults(run=run, act=_pull)

    verify = actions.add_parser("verify", help="check the hash of every file that is here")
    verify.add_argument("names", nargs="*", metavar="NAME")
    verify.set_defaults(run=run, act=_verify)

    show = actions.add_parser(
        "show", help="licence, origin, files and sources of a model or a bundle"
    )
    show.add_argument("name", metavar="NAME")
    show.add_argument("--json", action="store_true", help="one JSON object")
    show.set_defaults(run=run, act=_show)


def run(args: argparse.Namespace) -> int:
    """Do what the command line says; 0, or an error that says what went wrong.

    Raises:
        UsageError: no such model.
        ModelMissingError, ModelBrokenError: from ``verify``.
        DownloadError: from ``pull``.
    """
    status: int = args.act(args)
    return status


def _state(name: str) -> str:
    try:
        store.locate(name)
    except ModelMissingError:
        return "missing"
    except ModelBrokenError:
        return "broken"
    return "here"


def _describe(artefact: Artefact) -> dict[str, Any]:
    return {
        "name": artefact.name,
        "what": artefact.what,
        "licence": artefact.licence,
        "origin": artefact.origin,
        "size_bytes": artefact.size_bytes,
        "state": _state(artefact.name),
        "default": artefact.name in default_artefacts(),
        "folder": str(store.home() / artefact.name),
        "sources": [str(source) for source in artefact.sources],
        "files": [
            {"name": file.name, "size_bytes": file.size_bytes, "sha256": file.sha256}
            for file in artefact.files
        ],
    }


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"


def _list(args: argparse.Namespace) -> int:
    rows = [_describe(artefact) for artefact in catalogue().values()]
    if args.json:
        print(json.dumps(rows, ensure_ascii=False))
        return 0
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        mark = "*" if row["default"] else " "
        size = _megabytes(row["size_bytes"])
        print(f"{mark} {row['name']:{width}}  {row['state']:7}  {size:>9}  {row['what']}")
    print(f"* in the default bundle; the store is {store.home()}")
    return 0


def _show(args: argparse.Namespace) -> int:
    if args.name in shipped_bundles():
        print(
            json.dumps(about_bundle(args.name), ensure_ascii=False, indent=None if args.json else 2)
        )
        return 0
    row = _describe(find_artefact(args.name))
    if args.json:
        print(json.dumps(row, ensure_ascii=False))
        return 0
    for key in ("name", "what", "licence", "origin", "state", "folder"):
        print(f"{key:8} {row[key]}")
    for source in row["sources"]:
        print(f"source   {source}")
    for file in row["files"]:
        print(f"file     {file['name']}  {file['size_bytes']} bytes  sha256 {file['sha256']}")
    return 0


def _pull(args: argparse.Namespace) -> int:
    names = args.names or default_artefacts()
    for name in names:
        find_artefact(name)  # a misspelt name is found before an hour of downloads
    for name in names:
        bar = _Bar(name)
        try:
            folder = store.pull(name, progress=bar)
        finally:
            bar.close()
        print(f"{name}: {folder}")
    return 0


def _verify(args: argparse.Namespace) -> int:
    names = args.names or store.installed()
    if not names:
        print("no models here")
    for name in names:
        store.verify(name)
        print(f"{name}: good")
    return 0


class _Bar:
    """Progress on stderr: a line that redraws itself on a terminal, a line a tenth elsewhere."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._terminal = sys.stderr.isatty()
        self._drawn_s = 0.0
        self._tenth = -1

    def __call__(self, done: int, total: int) -> None:
        share = done / total
        if not self._terminal:
            if int(share * 10) != self._tenth:
                self._tenth = int(share * 10)
                print(f"{self._name}: {self._tenth * 10} %", file=sys.stderr, flush=True)
            return
        now_s = time.monotonic()
        if now_s - self._drawn_s < _REDRAW_S and done < total:
            return
        self._drawn_s = now_s
        filled = int(share * _BAR_CHARACTERS)
        bar = "#" * filled + "." * (_BAR_CHARACTERS - filled)
        amount = f"{_megabytes(done)} of {_megabytes(total)}"
        print(f"\r{self._name:24} [{bar}] {amount}\x1b[K", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the line, so that what is printed next begins a new one."""
        if self._drawn_s:
            print(file=sys.stderr)
