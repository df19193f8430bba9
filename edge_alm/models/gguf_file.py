"""Bounds-checks a GGUF file before llama.cpp sees it, and reads what it says of itself.

The header is walked in a mapping of the file; every count and length is compared with what is
left of the file before it is used, and no tensor data is read.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md and the block sizes in
``ggml-common.h``.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from edge_alm.models.files import broken, mapped

Scalar: TypeAlias = int | float | bool | str

_VERSIONS = (2, 3)
_MAX_KEYS = 4096
_MAX_TENSORS = 65_536
_MAX_STRINGS = 1 << 20
"""In one array: the largest vocabulary in use has 262,144 tokens, its merges 580,604."""
_MAX_NAME_BYTES = 63
"""ggml's limit for a tensor's name."""
_MAX_KEY_BYTES = 65_535
_MAX_TEXT_BYTES = 1 << 20
_MAX_ALIGNMENT = 1 << 16
_MAX_AXES = 4

_SCALARS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q",
    12: "<d",
}  # fmt: skip
_STRING, _ARRAY, _INT32, _FLOAT32 = 8, 9, 5, 6

BLOCKS: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 36),
    10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50), 20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2),
    26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8), 29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17),
}  # fmt: skip
"""ggml type number to name, elements a block, bytes a block."""

_LIMITS = {
    "block_count": 512,  # llama.cpp aborts above
    "context_length": 1 << 24,
    "embedding_length": 1 << 17,
    "feed_forward_length": 1 << 20,
    "attention.head_count": 1 << 12,
}


@dataclass(frozen=True, slots=True)
class GgufInfo:
    """What a checked file declares."""

    architecture: str
    n_embd: int | None
    """Width of a token's embedding; None for files that are no language model (a projector)."""
    context_length: int | None
    """Tokens that it was trained for; None as above."""
    shapes: dict[str, tuple[int, ...]]
    """Tensor's name to its axes, fastest first: (inputs, outputs) of a linear layer."""
    places: dict[str, tuple[str, int]]
    """Tensor's name to its block type's name and the file's byte at which it begins."""
    types: dict[str, int]
    """Block type's name to number of tensors."""
    metadata: dict[str, Scalar]
    """All values but arrays, such as ``tokenizer.chat_template``."""


def check_gguf(path: Path) -> GgufInfo:
    """Refuse a file that is not a well-formed GGUF with all its tensors in place.

    Raises:
        ModelMissingError: no such file.
        ModelBrokenError: says what is wrong.
    """
    with mapped(path) as buffer:
        try:
            return _Header(buffer).check()
        except (ValueError, struct.error) as error:
            raise broken(path, "a whole GGUF file", str(error)) from error


class _Header:
    """A position in the file. All methods raise ValueError with the reason."""

    def __init__(self, buffer: memoryview) -> None:
        self.buffer = buffer
        self.at = 0
        self.arrays: dict[str, tuple[int, int]] = {}
        """Key to element type and count."""

    def check(self) -> GgufInfo:
        if bytes(self.buffer[:4]) != b"GGUF":
            raise ValueError(f"it begins with {bytes(self.buffer[:4])!r}")
        self.at = 4
        version = self._unpack("<I")
        if version not in _VERSIONS:
            raise ValueError(f"version {version}")
        tensors, keys = self._unpack("<Q"), self._unpack("<Q")
        if not 0 < tensors <= _MAX_TENSORS or keys > _MAX_KEYS:
            raise ValueError(f"{tensors} tensors and {keys} keys")
        metadata = self._metadata(keys)
        alignment = metadata.get("general.alignment", 32)
        if (
            not isinstance(alignment, int)
            or not 8 <= alignment <= _MAX_ALIGNMENT
            or alignment & (alignment - 1)
        ):
            raise ValueError(f"alignment {alignment!r}")
        shapes, places = self._tensors(tensors, alignment)
        return self._info(metadata, shapes, places)

    def _unpack(self, form: str) -> int:
        size = struct.calcsize(form)
        if self.at + size > len(self.buffer):
            raise ValueError(f"the file ends inside its header, at byte {self.at}")
        (value,) = struct.unpack_from(form, self.buffer, self.at)
        self.at += size
        return value  # type: ignore[no-any-return]

    def _text(self, max_bytes: int) -> str:
        length = self._unpack("<Q")
        if length > max_bytes or self.at + length > len(self.buffer):
            raise ValueError(f"a text of {length} bytes at byte {self.at}")
        text = bytes(self.buffer[self.at : self.at + length])
        self.at += length
        try:
            return text.decode()
        except UnicodeDecodeError:
            raise ValueError(f"a text at byte {self.at - length} is not UTF-8") from None

    def _metadata(self, count: int) -> dict[str, Scalar]:
        found: dict[str, Scalar] = {}
        for _ in range(count):
            key = self._text(_MAX_KEY_BYTES)
            if not key or key in found or key in self.arrays:
                raise ValueError(f"the key {key!r} is empty or there twice")
            kind = self._unpack("<I")
            if kind in _SCALARS:
                found[key] = self._unpack(_SCALARS[kind])
            elif kind == _STRING:
                found[key] = self._text(_MAX_TEXT_BYTES)
            elif kind == _ARRAY:
                self.arrays[key] = self._skip_array(key)
            else:
                raise ValueError(f"the key {key!r} has a value of type {kind}")
        return found

    def _skip_array(self, key: str) -> tuple[int, int]:
        kind, count = self._unpack("<I"), self._unpack("<Q")
        if kind in _SCALARS:
            size = count * struct.calcsize(_SCALARS[kind])
            if size > len(self.buffer) - self.at:
                raise ValueError(f"the array {key!r} of {count} runs past the file")
            self.at += size
        elif kind == _STRING and count <= _MAX_STRINGS:
            self.at = self._skip_strings(key, count)
        else:
            raise ValueError(f"the array {key!r} has {count} values of type {kind}")
        return kind, count

    def _skip_strings(self, key: str, count: int) -> int:
        # A vocabulary is most of the work: 98,000 strings take 12 ms this way.
        buffer, at, end = self.buffer, self.at, len(self.buffer)
        length_at = struct.Struct("<Q").unpack_from
        try:
            for _ in range(count):
                at += 8 + length_at(buffer, at)[0]
        except (struct.error, OverflowError, IndexError):
            at = end + 1
        if at > end:
            raise ValueError(f"the array {key!r} of {count} texts runs past the file")
        return at

    def _tensors(
        self, count: int, alignment: int
    ) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[str, int]]]:
        shapes: dict[str, tuple[int, ...]] = {}
        places: dict[str, tuple[str, int]] = {}
        spans = []
        for _ in range(count):
            name = self._text(_MAX_NAME_BYTES)
            if name in shapes:
                raise ValueError(f"two tensors {name!r}")
            axes = self._unpack("<I")
            if not 1 <= axes <= _MAX_AXES:
                raise ValueError(f"tensor {name!r} has {axes} axes")
            shape = tuple(self._unpack("<Q") for _ in range(axes))
            kind = self._unpack("<I")
            if kind not in BLOCKS:
                raise ValueError(f"tensor {name!r} is of type {kind}")
            type_name, block, block_bytes = BLOCKS[kind]
            elements = 1
            for size in shape:
                elements *= size
            if not 0 < elements < 1 << 48 or shape[0] % block:
                raise ValueError(f"tensor {name!r} of type {type_name} has the shape {shape}")
            offset = self._unpack("<Q")
            if offset % alignment:
                raise ValueError(f"tensor {name!r} at {offset} is not aligned to {alignment}")
            shapes[name] = shape
            places[name] = type_name, offset
            spans.append((offset, offset + elements // block * block_bytes, name))
        data = -(-self.at // alignment) * alignment
        end = 0
        for start, stop, name in sorted(spans):
            if start < end:
                raise ValueError(f"tensor {name!r} overlaps the one before")
            end = stop
            if data + stop > len(self.buffer):
                raise ValueError(
                    f"tensor {name!r} ends at byte {data + stop} of {len(self.buffer)}"
                )
        return shapes, {name: (kind, data + at) for name, (kind, at) in places.items()}

    def _info(
        self,
        metadata: dict[str, Scalar],
        shapes: dict[str, tuple[int, ...]],
        places: dict[str, tuple[str, int]],
    ) -> GgufInfo:
        architecture = metadata.get("general.architecture")
        if not isinstance(architecture, str) or not architecture:
            raise ValueError("no general.architecture")
        for key, limit in _LIMITS.items():
            value = metadata.get(f"{architecture}.{key}", 1)
            if type(value) is not int or not 0 < value <= limit:
                raise ValueError(f"{key} is {value!r}")
        n_embd = metadata.get(f"{architecture}.embedding_length")
        context = metadata.get(f"{architecture}.context_length")
        embedding = shapes.get("token_embd.weight")
        if embedding is not None:
            if embedding[0] != n_embd or len(embedding) != 2:
                raise ValueError(f"embedding_length is {n_embd}, token_embd.weight {embedding}")
            self._check_vocabulary(embedding[1])
        return GgufInfo(
            architecture,
            n_embd if isinstance(n_embd, int) else None,
            context if isinstance(context, int) else None,
            shapes,
            places,
            dict(Counter(kind for kind, _ in places.values())),
            metadata,
        )

    def _check_vocabulary(self, tokens: int) -> None:
        """llama.cpp reads the arrays below by the number of tokens."""
        for key, kind in (("tokens", _STRING), ("scores", _FLOAT32), ("token_type", _INT32)):
            got = self.arrays.get(f"tokenizer.ggml.{key}")
            if got is None and key != "tokens":
                continue
            if got is None or got[0] != kind or not 0 < got[1] <= tokens:
                raise ValueError(f"tokenizer.ggml.{key} does not fit {tokens} tokens")
        counts = {
            self.arrays[key][1]
            for key in (
                "tokenizer.ggml.tokens",
                "tokenizer.ggml.scores",
                "tokenizer.ggml.token_type",
            )
            if key in self.arrays
        }
        merges = self.arrays.get("tokenizer.ggml.merges", (_STRING, 0))
        if len(counts) != 1 or merges[0] != _STRING:
            raise ValueError("the tokenizer's arrays disagree")
