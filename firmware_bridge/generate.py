"""Write what Python and C share: the protocol's numbers, and the tables of codec and gate.

    python -m firmware_bridge.generate

From ``protocol.toml`` come ``edge_alm/bridge/numbers.py`` and ``c/ealm_numbers.h``; from the
Python codec and gate comes ``c/ealm_tables.h``. A test holds that nothing changes when it is
run again.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from edge_alm.bridge import adpcm
from edge_alm.hearing import gate
from edge_alm.types import SAMPLE_RATE_HZ

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).parent
NUMBERS_PY = HERE.parent / "edge_alm" / "bridge" / "numbers.py"
NUMBERS_H = HERE / "c" / "ealm_numbers.h"
TABLES_H = HERE / "c" / "ealm_tables.h"
BY = "Written by firmware_bridge/generate.py; do not edit by hand."

Table: TypeAlias = dict[str, tuple[int, str]]
Uuids: TypeAlias = dict[str, tuple[str, str]]
ENUMS = {
    "types": ("FrameType", "EALM_TYPE_", "What a frame carries; below 16: audio."),
    "datagrams": ("Datagram", "EALM_DATAGRAM_", "What a sealed datagram is."),
    "flags": ("Flag", "EALM_FLAG_", "Bits of a frame's flags."),
    "capabilities": ("Capability", "EALM_CAN_", "Bits of what a device can do."),
    "wishes": ("Wish", "EALM_WISH_", "Bits of what a host asks for."),
    "events": ("EventCode", "EALM_EVENT_", "What an EVENT tells of."),
    "errors": ("Status", "EALM_", "Errors of the parser, the same as in C."),
}
GATE_FRACTION_BITS = 24
"""The gate reckons dB in steps of 2**-24, so that no sum of roundings comes near its margins."""
ROTATION_BITS = 30
OCTAVE_BITS = 28
GATE_CLASSES = 48
GATE_SAMPLE_BITS = 4
"""With four bits a full-scale tone's bin just fits 32 bits: 1536 * 32768 * 16 < 2**30.6."""


def read_protocol() -> tuple[dict[str, Table], Uuids]:
    """Tables of name to number and meaning, and those of the UUIDs."""
    tables = tomllib.loads((HERE / "protocol.toml").read_text(encoding="utf-8"))
    uuids = {
        name: (str(uuid), str(meaning)) for name, (uuid, meaning) in tables.pop("uuids").items()
    }
    numbers = {
        table: {name: (int(number), str(meaning)) for name, (number, meaning) in rows.items()}
        for table, rows in tables.items()
    }
    return numbers, uuids


def _sentence(meaning: str) -> str:
    return f"{meaning[0].upper()}{meaning[1:]}."


def numbers_py(protocol: dict[str, Table], uuids: Uuids) -> str:
    """The module of the numbers."""
    lines = [
        f'"""The numbers of the protocol. {BY}"""',
        "",
        "from enum import IntEnum, IntFlag",
        "",
    ]
    for name, (number, meaning) in protocol["constants"].items():
        lines += [f"{name} = {number}", f'"""{_sentence(meaning)}"""']
    for name, (uuid, meaning) in uuids.items():
        lines += [f'{name}_UUID = "{uuid}"', f'"""{_sentence(meaning)}"""']
    for table, (enum, _, summary) in ENUMS.items():
        base = "IntFlag" if table in ("flags", "capabilities", "wishes") else "IntEnum"
        lines += ["", "", f"class {enum}({base}):", f'    """{summary}"""', ""]
        for name, (number, meaning) in protocol[table].items():
            lines += [f"    {name} = {number}", f'    """{_sentence(meaning)}"""']
    lines += ["", "", "MEANINGS: dict[Status, str] = {"]
    lines += [f'    Status.{name}: "{why}",' for name, (_, why) in protocol["errors"].items()]
    return "\n".join([*lines, "}", ""])


def numbers_h(protocol: dict[str, Table], uuids: Uuids) -> str:
    """The header of the numbers."""
    lines = [f"/* The numbers of the protocol. {BY} */", "#ifndef EALM_NUMBERS_H"]
    lines += ["#define EALM_NUMBERS_H", ""]
    for name, (number, meaning) in protocol["constants"].items():
        lines.append(f"#define EALM_{name} {number} /* {meaning} */")
    for name, (uuid, meaning) in uuids.items():
        words = ", ".join(f"0x{word}" for word in uuid.split("-"))
        lines.append(f"#define EALM_UUID_{name} {words} /* {meaning} */")
    for table, (_, prefix, summary) in ENUMS.items():
        lines += ["", f"/* {summary} */", f"enum ealm_{table} {{"]
        if table == "errors":
            lines.append("    EALM_OK = 0,")
        lines += [
            f"    {prefix}{name} = {number}, /* {meaning} */"
            for name, (number, meaning) in protocol[table].items()
        ]
        lines.append("};")
    return "\n".join([*lines, "", "#endif", ""])


def _array(kind: str, name: str, values: Iterable[int]) -> str:
    words = [str(value) for value in values]
    lines, line = list[str](), "   "
    for word in words:
        if len(line) + len(word) > 96:
            lines.append(line)
            line = "   "
        line += f" {word},"
    body = "\n".join([*lines, line])
    return f"static const {kind} {name}[{len(words)}] = {{\n{body}\n}};\n"


def _fixed(value_db: float) -> int:
    return round(value_db * (1 << GATE_FRACTION_BITS))


def _cosine(k: int, of: int) -> int:
    return round(math.cos(2 * math.pi * k / of) * (1 << ROTATION_BITS))


def tables_h() -> str:
    """The header of the tables."""
    n = gate.BLOCK_SAMPLES
    bin_hz = SAMPLE_RATE_HZ / n
    edges = [round(edge / bin_hz) for edge in gate.BAND_EDGES_HZ]
    quarter = [_cosine(k, n) for k in range(n // 4 + 1)]
    turns = [_cosine(k, GATE_CLASSES) for k in range(GATE_CLASSES)]
    # level = 10 log10(2 P / (n 32768)^2 + 1e-12), P a sum of squares of bins of 16-bit samples
    full_scale = (n * 32768.0) ** 2 / 2 * 4**GATE_SAMPLE_BITS
    constants = {
        "BLOCK_SAMPLES": (n, "a block of the gate"),
        "CLASSES": (GATE_CLASSES, "small transforms that make the spectrum"),
        "BANDS": (len(edges) - 1, "bands of its spectrum"),
        "ROTATION_BITS": (ROTATION_BITS, "fraction bits of the cosines"),
        "DB_BITS": (GATE_FRACTION_BITS, "fraction bits of a level in dB"),
        "FULL_SCALE_DB": (_fixed(-10 * math.log10(full_scale)), "of a sum of squares of 1"),
        "LEAST_POWER": (round(1e-12 * full_scale), "added to every sum: -120 dBFS"),
        "SAMPLE_BITS": (GATE_SAMPLE_BITS, "fraction bits of the spectrum"),
        "OCTAVE_DB": (round(10 * math.log10(2) * 2**OCTAVE_BITS), "dB of a factor of two"),
        "OCTAVE_BITS": (OCTAVE_BITS, "its fraction bits"),
        "QUIETEST_DB": (_fixed(gate.QUIETEST_DB), "below it the gate stays shut"),
        "MARGIN_DB": (_fixed(gate.MARGIN_DB), "level over its floor that opens the gate"),
        "BAND_MARGIN_DB": (_fixed(gate.BAND_MARGIN_DB), "the same for one band"),
        "FLOOR_AT_START_DB": (_fixed(gate.FLOOR_AT_START_DB), "highest floor at first"),
        "FALL": (_fixed(gate.FALL), "share of the way that a floor falls in a block"),
        "RISE_DB": (_fixed(gate.RISE_DB), "that a floor rises in a block"),
        "HANGOVER_BLOCKS": (gate.HANGOVER_BLOCKS, "that the gate stays open"),
    }
    lines = [f"/* Tables of the codec and the gate. {BY} */", "#ifndef EALM_TABLES_H"]
    lines += ["#define EALM_TABLES_H", "", "#include <stdint.h>", ""]
    lines += [
        f"#define EALM_GATE_{k} {v if v >= 0 else f'({v})'} /* {why} */"
        for k, (v, why) in constants.items()
    ]
    lines += ["", "#ifdef EALM_ADPCM_TABLES"]
    lines += [_array("int16_t", "ealm_adpcm_steps", adpcm.STEPS)]
    lines += [_array("int8_t", "ealm_adpcm_moves", adpcm.MOVES), "#endif", ""]
    lines += ["#ifdef EALM_GATE_TABLES", _array("uint16_t", "ealm_gate_edges", edges)]
    lines += ["/* cos(2 pi k / EALM_GATE_BLOCK_SAMPLES) of the first quarter */"]
    lines += [_array("int32_t", "ealm_gate_cosines", quarter)]
    lines += ["/* cos(2 pi k / EALM_GATE_CLASSES) */"]
    lines += [_array("int32_t", "ealm_gate_turns", turns), "#endif", "", "#endif", ""]
    return "\n".join(lines)


def generated() -> dict[Path, str]:
    """Every generated file and its text."""
    protocol, uuids = read_protocol()
    return {
        NUMBERS_PY: numbers_py(protocol, uuids),
        NUMBERS_H: numbers_h(protocol, uuids),
        TABLES_H: tables_h(),
    }


if __name__ == "__main__":
    for file, content in generated().items():
        file.write_text(content, encoding="utf-8")
        print(file)
