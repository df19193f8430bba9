"""Checks that a LoRA adapter (GGUF) belongs to a language model.

For a matrix ``NAME`` of the model with axes (inputs, outputs) the adapter has ``NAME.lora_a``
(inputs, rank) and ``NAME.lora_b`` (rank, outputs). llama.cpp does the same check, but after it
has loaded the model and without saying which tensor it was.
"""

from __future__ import annotations

from pathlib import Path

from edge_alm.errors import ModelBrokenError
from edge_alm.models.gguf_file import GgufInfo

_A, _B = ".lora_a", ".lora_b"


def check_adapter(path: Path, adapter: GgufInfo, model: GgufInfo) -> None:
    """Refuse an adapter that was not made for ``model``.

    Args:
        path: the adapter's file, for the error.
        adapter: what it declares.
        model: what the language model's file declares.

    Raises:
        ModelBrokenError: another architecture, no LoRA, or tensors that do not fit.
    """

    def refuse(what: str, expected: object, got: object) -> ModelBrokenError:
        return ModelBrokenError(
            f"{path}: {what}",
            expected=str(expected),
            got=str(got),
            hint="use the adapter that was trained for this language model",
        )

    if adapter.architecture != model.architecture:
        raise refuse("architecture", model.architecture, adapter.architecture)
    kind = adapter.metadata.get("adapter.type")
    if kind != "lora":
        raise refuse("adapter.type", "lora", kind)
    targets = {name.removesuffix(_A).removesuffix(_B) for name in adapter.shapes}
    for target in sorted(targets):
        matrix = model.shapes.get(target, ())
        a, b = adapter.shapes.get(target + _A, ()), adapter.shapes.get(target + _B, ())
        if len(matrix) != 2 or len(a) != 2 or len(b) != 2:
            raise refuse(target, f"matrices {_A} and {_B} of a matrix {matrix}", f"{a} and {b}")
        if (*a, *b) != (matrix[0], a[1], a[1], matrix[1]):
            raise refuse(target, f"{_A} ({matrix[0]}, r), {_B} (r, {matrix[1]})", f"{a} and {b}")
