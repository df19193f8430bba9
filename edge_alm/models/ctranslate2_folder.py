"""Bounds-checks a model folder in CTranslate2 form before CTranslate2 sees it.

Source of the layout of ``model.bin``: ``python/ctranslate2/specs/model_spec.py`` of
https://github.com/OpenNMT/CTranslate2 (binary version 6).
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

from edge_alm.errors import ModelMissingError
from edge_alm.models.files import broken, mapped

_VERSION = 6
_MAX_CONFIG_BYTES = 1 << 20
_MAX_VARIABLES = 65_536
_MAX_NAME_BYTES = 1024
_MAX_RANK = 8
_ITEM_BYTES = {0: 4, 1: 1, 2: 2, 3: 4, 4: 2, 5: 2}
"""DataType: float32, int8, int16, int32, float16, bfloat16."""


def check_ctranslate2(folder: Path) -> str:
    """Refuse a folder whose config or weights are malformed.

    Returns:
        The name of the model's specification, such as ``WhisperSpec``.

    Raises:
        ModelMissingError: no such folder or a file in it is missing.
        ModelBrokenError: says what is wrong.
    """
    config = folder / "config.json"
    try:
        if config.stat().st_size > _MAX_CONFIG_BYTES:
            raise broken(config, f"at most {_MAX_CONFIG_BYTES} bytes", "more")
        parsed = json.loads(config.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelMissingError(str(config), got=error.strerror or "unreadable") from None
    except (ValueError, RecursionError) as error:
        raise broken(config, "JSON", str(error)) from error
    if not isinstance(parsed, dict):
        raise broken(config, "a JSON object", type(parsed).__name__)
    path = folder / "model.bin"
    with mapped(path) as buffer:
        try:
            return _check_weights(buffer)
        except (ValueError, struct.error) as error:
            raise broken(path, "whole CTranslate2 weights", str(error)) from error


def _check_weights(buffer: memoryview) -> str:
    (version,) = struct.unpack_from("<I", buffer)
    if version != _VERSION:
        raise ValueError(f"binary version {version}")
    spec, at = _read_name(buffer, 4)
    _revision, count = struct.unpack_from("<II", buffer, at)
    at += 8
    if not 0 < count <= _MAX_VARIABLES:
        raise ValueError(f"{count} variables")
    names = set()
    for _ in range(count):
        name, at = _read_name(buffer, at)
        names.add(name)
        (rank,) = struct.unpack_from("<B", buffer, at)
        if rank > _MAX_RANK:
            raise ValueError(f"{name} has {rank} axes")
        shape = struct.unpack_from(f"<{rank}I", buffer, at + 1)
        kind, size_bytes = struct.unpack_from("<BI", buffer, at + 1 + 4 * rank)
        at += 6 + 4 * rank + size_bytes
        if kind not in _ITEM_BYTES or size_bytes != math.prod(shape) * _ITEM_BYTES[kind]:
            raise ValueError(f"{name} of shape {shape} and type {kind} has {size_bytes} bytes")
        if at > len(buffer):
            raise ValueError(f"{name} ends at byte {at} of {len(buffer)}")
    (aliases,) = struct.unpack_from("<I", buffer, at)
    at += 4
    if len(names) != count or aliases > _MAX_VARIABLES:
        raise ValueError(f"{len(names)} names for {count} variables, {aliases} aliases")
    for _ in range(aliases):
        alias, at = _read_name(buffer, at)
        name, at = _read_name(buffer, at)
        if name not in names:
            raise ValueError(f"{alias} stands for {name}, which is not there")
    if at != len(buffer):
        raise ValueError(f"{len(buffer) - at} bytes after the end")
    return spec


def _read_name(buffer: memoryview, at: int) -> tuple[str, int]:
    """A length of 16 bits, then the text with a zero at its end."""
    (length,) = struct.unpack_from("<H", buffer, at)
    end = at + 2 + length
    if not 1 < length <= _MAX_NAME_BYTES or end > len(buffer) or buffer[end - 1] != 0:
        raise ValueError(f"no name at byte {at}")
    return bytes(buffer[at + 2 : end - 1]).decode(), end
