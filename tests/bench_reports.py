"""Reports for tests, as ``edge-alm bench`` writes them, and what their plots are held to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from edge_alm.bench.machine import read_machine, read_state, to_dict
from edge_alm.bench.plots import LETTER
from edge_alm.bench.report import Figure, Report, read_report

ROOT = Path(__file__).resolve().parent / "data" / "machines"


def make_report(board: str = "raspberry-pi-5", **samples: list[float]) -> Report:
    """A report of a recorded board.

    Args:
        board: a folder of ``tests/data/machines``.
        samples: of figures besides those that every report here has.
    """
    state = to_dict(read_state(ROOT / board, lambda: "throttled=0x50000"))
    stages = {"vad": [0.2, 0.3, 0.25], "encoder": [1.5, 1.4, 1.6], "tracker": [0.0, 0.0, 0.0]}
    figures = [
        Figure("start/fresh process, models from disk", "s", (2.5, 2.75, 2.25)),
        Figure("start/first answer to first token", "ms", (410.0, 430.0)),
        Figure("events/after a sound begins", "s of audio", (0.42, 0.9, 1.1)),
        *(
            Figure(f"listen/{kind}/{stage}", "% of a core", tuple(values))
            for kind in ("silence", "sounds", "voice")
            for stage, values in stages.items()
        ),
        *(
            Figure(f"ask/{length}/{part} token", "ms", (100.0 + i, 130.0, 105.5))
            for i, length in enumerate(("5 s", "30 s", "2 min"))
            for part in ("first", "last")
        ),
        Figure("decode/one token at a time", "tokens/s", (31.5, 32.0, 30.25)),
        Figure("memory/peak", "MB", (433.0,)),
        *(Figure(f"more/{name}", "ms", tuple(values)) for name, values in samples.items()),
    ]
    points = [
        {"at_s": 0.5 * i, "cores": 0.1 * (i % 7), "mhz": 2400, "celsius": 50.0 + i}
        for i in range(12)
    ]
    values: dict[str, Any] = {
        "version": "0.1.0",
        "began": "2026-01-02T03:04:05+00:00",
        "audio_s": 60.0,
        "events": 14,
        "cpu_share": 0.018,
        "times_real_time": 20.0,
        "median_ttft_ms": 105.5,
        "peak_rss_mb": 433.0,
        "bundle": {
            "name": "tiny",
            "sha256": "ab" * 32,
            "encoder": "encoder.onnx",
            "transcriber": "ctranslate2",
            "language_model": "model.gguf",
            "threads": 3,
        },
        "machine": to_dict(read_machine(ROOT / board)),
        "start": state,
        "end": state,
        "plan": {"rounds": 3, "listen_s": 30.0, "lengths_s": [5, 30, 120], "decode_tokens": 64},
        "meter": {"name": "PMIC", "scope": "what it puts out"},
        "notes": ["one & only <note>"],
        "trace": {
            "points": points,
            "phases": [{"name": "round 1, listens", "begin_s": 0.5, "end_s": 4.0}],
            "watts": [[0.5 * i, 3.0 + 0.1 * i] for i in range(12)],
        },
    }
    return Report(values, figures)


def through_json(report: Report, path: Path) -> Report:
    """Written and read back."""
    path.write_text(json.dumps(report.to_dict()), encoding="utf-8")
    return read_report(path)


def check_svg(text: str) -> ET.Element:
    """Well formed, with numbers for coordinates, and all texts within it and apart."""
    svg = ET.fromstring(text)
    assert "nan" not in text
    assert "inf" not in text
    _, _, width, height = map(float, svg.attrib["viewBox"].split())
    places = []
    for element in svg.iter("text"):
        x, y = float(element.attrib["x"]), float(element.attrib["y"])
        long = len("".join(element.itertext())) * LETTER
        left = x - {"start": 0.0, "middle": 0.5, "end": 1.0}[element.attrib["text-anchor"]] * long
        assert left >= -LETTER
        assert left + long <= width + LETTER
        assert 0.0 < y <= height
        places.append((left, left + long, y))
    for i, (left, right, y) in enumerate(places):
        for other_left, other_right, other_y in places[i + 1 :]:
            if abs(y - other_y) < 10.0:
                assert right <= other_left + LETTER or other_right <= left + LETTER
    for element in svg.iter("rect"):
        left, wide = float(element.attrib["x"]), float(element.attrib["width"])
        assert left >= 0.0
        assert left + wide <= width + 0.2
    return svg
