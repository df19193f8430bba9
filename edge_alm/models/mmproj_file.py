"""Checks that an audio projector ("mmproj", GGUF) belongs to a language model.

libmtmd does the same check, but after it has loaded both, and ends the process for some others.
"""

from __future__ import annotations

from pathlib import Path

from edge_alm.errors import ModelBrokenError
from edge_alm.models.gguf_file import GgufInfo

_HEARS, _WIDTH = "clip.has_audio_encoder", "clip.audio.projection_dim"


def check_mmproj(path: Path, projector: GgufInfo, n_embd: int | None) -> None:
    """Refuse what its header says is no audio projector for a model of this width.

    Args:
        path: the projector's file, for the error.
        projector: what it declares.
        n_embd: the language model's width.

    Raises:
        ModelBrokenError: another kind of file, one for images alone, another width.
    """
    hears = projector.metadata.get(_HEARS) is True
    if projector.architecture != "clip" or not hears:
        raise ModelBrokenError(
            f"audio projector {path}",
            expected="a GGUF file of clip with an audio encoder",
            got=f"one of {projector.architecture}" + ("" if hears else " without one"),
        )
    if (width := projector.metadata.get(_WIDTH)) != n_embd:
        raise ModelBrokenError(
            f"audio projector {path}",
            expected=f"an output of {n_embd}, the language model's width",
            got=str(width),
            hint="use files that were made for each other",
        )
