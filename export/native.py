"""An audio-native language model as a bundle: it hears the last seconds itself.

The model (GGUF) and its audio projector ("mmproj", GGUF) are tried once in a process of their own
and put beside each other with their hashes. Everything else is the base bundle's: VAD, encoder
and events go on as ever, and stand in the scene as timed text.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from edge_alm.errors import UsageError
from edge_alm.models.bundle import (
    AUDIO_WINDOW_S,
    DEFINITION,
    MAX_AUDIO_WINDOW_S,
    load_bundle,
)
from edge_alm.models.catalog import BUNDLES, DEFAULT_BUNDLE
from edge_alm.models.files import fresh_folder, sha256_file
from edge_alm.models.gguf_file import check_gguf
from edge_alm.models.mmproj_file import check_mmproj
from edge_alm.reasoning.mtmd import probe_audio_tower

MODEL_FILE, PROJECTOR_FILE = "model.gguf", "mmproj.gguf"
_TRAINED = frozenset(
    (
        "projector",
        "adapter",
        "phrases",
        "background",
        "scene_format",
        "prior_weight",
        "golden",
        "about",
    )
)
"""What belongs to the base bundle's own language model."""
_CONTEXT_TOKENS = 4096


def make_native(
    model: Path,
    mmproj: Path,
    out: Path,
    *,
    window_s: float = AUDIO_WINDOW_S,
    licence: str | None = None,
) -> dict[str, Any]:
    """Write the bundle's folder, whole or not at all; returns its definition.

    The two files are linked where the disk can, else copied.

    Args:
        model: the language model.
        mmproj: its audio projector.
        out: the folder to make.
        window_s: how much audio a question hands over.
        licence: of the two files.

    Raises:
        UsageError: a wrong window, or a folder that cannot be written.
        ModelMissingError: a file is not there.
        ModelBrokenError: the files are damaged, not made for each other, or do not run.
        MissingExtraError: llama-cpp-python is not installed.
    """
    if not 0.1 <= window_s <= MAX_AUDIO_WINDOW_S:
        expected = f"0.1 to {MAX_AUDIO_WINDOW_S:g}"
        raise UsageError("--window-s", expected=expected, got=f"{window_s:g}")
    info = check_gguf(model)
    check_mmproj(mmproj, check_gguf(mmproj), info.n_embd)
    probe_audio_tower(mmproj, model)
    base = json.loads((BUNDLES / DEFAULT_BUNDLE / DEFINITION).read_text(encoding="utf-8"))
    with fresh_folder(out) as folder:
        for source, name in ((model, MODEL_FILE), (mmproj, PROJECTOR_FILE)):
            _put(source, folder / name)
        encoder = BUNDLES / DEFAULT_BUNDLE / base["encoder"]["file"]
        shutil.copyfile(encoder, folder / encoder.name)
        definition = {key: value for key, value in base.items() if key not in _TRAINED}
        definition |= {
            "name": out.name,
            "language_model": _entry(folder / MODEL_FILE),
            "audio_projector": _entry(folder / PROJECTOR_FILE),
            "audio_window_s": window_s,
            "context_tokens": min(_CONTEXT_TOKENS, info.context_length or _CONTEXT_TOKENS),
            "about": {
                "description": "an audio-native language model that hears the last seconds itself",
                "licence": licence or "unknown",
                "sources": {"language model": model.name, "audio projector": mmproj.name},
                "produced_by": "python -m export native",
            },
        }
        text = json.dumps(definition, indent=2, ensure_ascii=False)
        (folder / DEFINITION).write_text(f"{text}\n", encoding="utf-8")
        load_bundle(folder)
    return definition


def _entry(path: Path) -> dict[str, str]:
    return {"file": path.name, "sha256": sha256_file(path)}


def _put(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)
