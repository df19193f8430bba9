"""A model as transformers has it: a folder or a name on the hub, loaded whole or refused."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edge_alm.errors import ModelBrokenError, UsageError
from edge_alm.models.files import sha256_file

UNKNOWN = "unknown"
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_PACKAGES = ("edge-alm", "numpy", "onnx", "optimum-onnx", "torch", "transformers")
_LICENCE = re.compile(r"^license:\s*[\"']?([\w.+-]+)", re.MULTILINE)
_NOT_TRAINED = ("masked_spec_embed", "position_ids", "embed_positions.weights")
"""Ends of names of parameters that inference does without."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model comes from."""

    model: str
    """A folder, or a name on the hub."""
    kind: str
    """transformers' ``model_type``."""
    architectures: tuple[str, ...]
    """Names of transformers' classes that its makers used."""
    revision: str | None = None
    """Of the hub's repository; None for a folder."""

    @property
    def name(self) -> str:
        """As a manifest calls it: a folder without its place."""
        return Path(self.model).name if Path(self.model).is_dir() else self.model

    def licence(self) -> str:
        """What the model's card says, or :data:`UNKNOWN`."""
        card = cached_file(self.model, "README.md")
        try:
            text = card.read_text(encoding="utf-8") if card else ""
        except (OSError, ValueError):
            return UNKNOWN
        head = text.split("---")[1] if text.startswith("---") else ""
        found = _LICENCE.search(head)
        return found[1] if found else UNKNOWN

    def step(self, command: str, **more: Any) -> dict[str, Any]:
        """The entry of a manifest's ``produced_by``: what was made of what, by what."""
        config = cached_file(self.model, "config.json")
        folder = config.parent if config else Path(self.model)
        weights = [path for pattern in _WEIGHTS for path in sorted(folder.glob(pattern))]
        return {
            "command": command,
            "packages": packages(_PACKAGES),
            "revision": self.revision,
            "weights": {path.name: sha256_file(path) for path in weights},
            **more,
        }


def cached_file(model: str, name: str) -> Path | None:
    """A file of a model, fetched where it comes from the hub; None where it has none."""
    from transformers.utils import cached_file as find

    try:
        found = find(model, name, _raise_exceptions_for_missing_entries=False)
    except (OSError, ValueError):
        return None
    return Path(found) if found else None


def packages(names: Sequence[str]) -> dict[str, str]:
    """Versions of those that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def find_source(model: str, supported: Collection[str] = ()) -> Source:
    """Read a model's configuration.

    Args:
        model: a folder or a name on the hub.
        supported: the ``model_type`` must be one of these; empty: any.

    Raises:
        UsageError: nothing there that transformers can read, or another architecture.
    """
    from transformers import PretrainedConfig

    with _told(model, "a model of transformers"):
        config, _ = PretrainedConfig.get_config_dict(model)
    kind = str(config.get("model_type", ""))
    if not kind or (supported and kind not in supported):
        raise UsageError(
            f"{model}: architecture",
            expected=f"one of {', '.join(sorted(supported))}" if supported else "a model_type",
            got=kind or "none",
        )
    architectures = config.get("architectures") or ()
    revision = config.get("_commit_hash")
    return Source(model, kind, tuple(map(str, architectures)), revision)


def load_model(source: Source, classes: Sequence[str]) -> Any:
    """The model with all its weights, in float32 on the CPU, ready to run.

    Args:
        source: of :func:`find_source`.
        classes: names of transformers' classes, the last one where the source names none of them.

    Raises:
        UsageError: it cannot be read.
        ModelBrokenError: weights are missing.
    """
    import torch
    import transformers

    name = next((c for c in source.architectures if c in classes), classes[-1])
    with _told(source.model, f"weights of {name}"):
        model, info = getattr(transformers, name).from_pretrained(
            source.model, dtype=torch.float32, output_loading_info=True
        )
    absent = [key for key in info["missing_keys"] if not key.endswith(_NOT_TRAINED)]
    if absent or info["mismatched_keys"]:
        raise ModelBrokenError(
            source.model,
            expected=f"all weights of {name}",
            got=f"{len(absent)} missing: {', '.join(sorted(absent)[:3])}"
            if absent
            else f"another shape of {info['mismatched_keys'][0][0]}",
        )
    return model.eval()


def load_extractor(source: Source) -> Any:
    """The model's feature extractor.

    Raises:
        UsageError: it has none.
    """
    from transformers import AutoFeatureExtractor

    with _told(source.model, "preprocessor_config.json"):
        return AutoFeatureExtractor.from_pretrained(source.model)


def load_tokenizer(source: Source) -> Any:
    """The model's tokenizer.

    Raises:
        UsageError: it has none.
    """
    from transformers import AutoTokenizer

    with _told(source.model, "a tokenizer"):
        return AutoTokenizer.from_pretrained(source.model)


@contextmanager
def _told(model: str, expected: str) -> Iterator[None]:
    """Turn what transformers raises, pages long at times, into one line; its warnings stay."""
    try:
        with warnings.catch_warnings():
            # A mel band narrower than a bin of the spectrum is how some were trained.
            warnings.filterwarnings("ignore", message="At least one mel filter")
            yield
    except MemoryError:
        raise
    except Exception as error:  # transformers raises whatever its parts do
        logging.getLogger(__name__).debug("", exc_info=True)
        words = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(
            model,
            expected=expected,
            got=words if len(words) <= 200 else f"{words[:200]} ...",
            hint="name a folder that save_pretrained wrote, or a model of the hub",
        ) from error
