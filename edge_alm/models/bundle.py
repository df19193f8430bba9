"""A bundle: which models listen and answer together, found and checked.

A bundle is a folder with a ``bundle.json``: a name, and for each role either an artefact of the
catalogue (``{"artefact": "yamnet", "file": "yamnet.onnx"}``) or a file of its own
(``{"file": "projector.npz", "sha256": "..."}``). The one called "default" ships with the
package.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_alm.errors import ModelBrokenError, ModelMissingError, UsageError
from edge_alm.models import store
from edge_alm.models.catalog import BUNDLES, default_artefacts
from edge_alm.models.ctranslate2_folder import check_ctranslate2
from edge_alm.models.files import broken, inside, sha256_file
from edge_alm.models.gguf_file import check_gguf
from edge_alm.models.onnx_file import check_onnx
from edge_alm.models.projector_file import check_projector

DEFINITION = "bundle.json"
_MAX_DEFINITION_BYTES = 1 << 16
_EMBEDDING = "embedding"
_REQUIRED = frozenset({"name", "vad", "encoder", "labels", "transcriber", "language_model"})
_OPTIONAL = frozenset({"projector", "adapter", "context_tokens"})
_MIN_CONTEXT_TOKENS, _CONTEXT_TOKENS = 256, 4096


@dataclass(frozen=True, slots=True)
class Bundle:
    """Checked paths of the models that work together."""

    name: str
    vad: Path
    """Silero VAD, an ONNX file."""
    encoder: Path
    """An ONNX file with the outputs ``class_scores`` and ``embedding``."""
    labels: Path
    """CSV with the columns index, mid, display_name: a row for each class score."""
    transcriber: Path | None
    """A folder in CTranslate2 form; None where it was not asked for."""
    language_model: Path | None
    """A GGUF file; None where it was not asked for."""
    projector: Path | None
    """An .npz from the encoder's embedding to the language model's width; None: text only."""
    adapter: Path | None
    """A LoRA adapter (GGUF) of the language model; None: without."""
    sha256: str
    """Of the definition; it changes when the bundle does."""
    context_tokens: int
    """How much of the scene the language model holds."""


def load_bundle(
    name_or_dir: str | Path = "default", *, language_model: bool = True, transcriber: bool = True
) -> Bundle:
    """Find a bundle's files and check that they are whole and fit each other.

    About 25 ms for the default bundle, most of it the language model's vocabulary. A file of the
    bundle's own is hashed (1 GB takes about a second).

    Args:
        name_or_dir: "default", or a folder with a ``bundle.json``.
        language_model: False leaves out the language model, its adapter and the projector.
        transcriber: False leaves out the transcriber.

    Raises:
        UsageError: no such bundle, or its definition is wrong.
        ModelMissingError: an artefact is not here yet.
        ModelBrokenError: a file's hash, header or widths disagree.
    """
    folder = _find_folder(name_or_dir)
    definition, sha256 = _read_definition(folder / DEFINITION)

    def find(role: str, check: Callable[[Path], Any], wanted: bool = True) -> tuple[Any, Any]:
        if not wanted or definition.get(role) is None:
            return None, None
        path = _find_file(folder, role, definition[role])
        return path, check(path)

    vad, _ = find("vad", check_onnx)
    encoder, encoder_info = find("encoder", check_onnx)
    labels, _ = find("labels", lambda path: None)
    speech, _ = find("transcriber", check_ctranslate2, transcriber)
    model, model_info = find("language_model", check_gguf, language_model)
    adapter, adapter_info = find("adapter", check_gguf, language_model)
    projector, projector_info = find("projector", check_projector, language_model)

    width = (encoder_info.outputs.get(_EMBEDDING) or (None,))[-1]
    if width is None:
        raise broken(encoder, f"an output {_EMBEDDING!r}", ", ".join(encoder_info.outputs))
    context_tokens = definition.get("context_tokens", _CONTEXT_TOKENS)
    if model_info:
        if model_info.n_embd is None:
            raise broken(model, "a language model", f"a GGUF file of {model_info.architecture}")
        if context_tokens > (model_info.context_length or context_tokens):
            raise _misfit(folder, "context_tokens", model_info.context_length, context_tokens)
    if projector_info and projector_info.inputs != width:
        raise _misfit(projector, "inputs (the encoder's embedding)", width, projector_info.inputs)
    if projector_info and model_info and projector_info.outputs != model_info.n_embd:
        raise _misfit(
            projector,
            "outputs (the language model's embedding)",
            model_info.n_embd,
            projector_info.outputs,
        )
    if adapter_info and model_info and adapter_info.architecture != model_info.architecture:
        raise _misfit(adapter, "architecture", model_info.architecture, adapter_info.architecture)
    return Bundle(
        definition["name"],
        vad,
        encoder,
        labels,
        speech,
        model,
        projector,
        adapter,
        sha256,
        context_tokens,
    )


def _misfit(path: Path, what: str, expected: object, got: object) -> ModelBrokenError:
    return ModelBrokenError(
        f"{path}: {what}",
        expected=str(expected),
        got=str(got),
        hint="use files that were made for each other",
    )


def _find_folder(name_or_dir: str | Path) -> Path:
    for folder in (BUNDLES / str(name_or_dir), Path(name_or_dir)):
        if (folder / DEFINITION).is_file():
            return folder
    raise UsageError(
        f"bundle {name_or_dir}", expected=f'"default" or a folder with {DEFINITION}', got="neither"
    )


def _read_definition(path: Path) -> tuple[dict[str, Any], str]:
    """The definition and its SHA-256.

    Raises:
        UsageError: not JSON, unknown or missing keys, a wrong context.
    """
    try:
        raw = path.read_bytes()[: _MAX_DEFINITION_BYTES + 1]
        definition = json.loads(raw.decode())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(str(path), expected="JSON", got=str(error)) from error
    if not isinstance(definition, dict):
        raise UsageError(str(path), expected="a JSON object", got=type(definition).__name__)
    keys = definition.keys()
    if not keys >= _REQUIRED or keys - _REQUIRED - _OPTIONAL:
        raise UsageError(
            str(path),
            expected=f"keys {sorted(_REQUIRED)}, perhaps {sorted(_OPTIONAL)}",
            got=f"{sorted(keys)}",
        )
    context = definition.get("context_tokens", _CONTEXT_TOKENS)
    if type(context) is not int or context < _MIN_CONTEXT_TOKENS:
        raise UsageError(
            f"{path}: context_tokens", expected=f"{_MIN_CONTEXT_TOKENS} or more", got=repr(context)
        )
    if not isinstance(definition["name"], str):
        raise UsageError(f"{path}: name", expected="a text", got=repr(definition["name"]))
    return definition, hashlib.sha256(raw).hexdigest()


def _find_file(folder: Path, role: str, entry: object) -> Path:
    """The path that an entry stands for; a file of the bundle's own has been hashed.

    Raises:
        UsageError, ModelMissingError, ModelBrokenError: as :func:`load_bundle`.
    """
    what = f"{folder / DEFINITION}: {role}"
    if not isinstance(entry, dict) or not all(isinstance(v, str) for v in entry.values()):
        raise UsageError(what, expected="an object of texts", got=repr(entry))
    keys = frozenset(entry)
    if keys == {"artefact"}:
        return _locate(entry["artefact"])
    if keys not in ({"artefact", "file"}, {"file", "sha256"}):
        raise UsageError(
            what, expected="artefact and file, or file and sha256", got=f"{sorted(keys)}"
        )
    try:
        path = inside(_locate(entry["artefact"]) if "artefact" in keys else folder, entry["file"])
    except ValueError as error:
        raise UsageError(what, expected="a file in the bundle's folder", got=str(error)) from None
    if not path.is_file():
        raise ModelMissingError(str(path), expected=f"the {role}", got="no such file")
    if "sha256" in keys and (got := sha256_file(path)) != entry["sha256"].lower():
        raise ModelBrokenError(str(path), expected=f"SHA-256 {entry['sha256']}", got=got)
    return path


def _locate(name: str) -> Path:
    """As :func:`store.locate`; where one of the default models is missing, so may be the others."""
    try:
        return store.locate(name)
    except ModelMissingError as error:
        if name not in default_artefacts():
            raise
        raise ModelMissingError(
            error.what, expected=error.expected, got=error.got, hint="edge-alm models pull"
        ) from None
