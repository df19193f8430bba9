"""``edge-alm bench``: what listening and answering cost on this machine."""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from typing import Any

from edge_alm.cli.options import add_model_options, load_ears
from edge_alm.cli.output import print_line
from edge_alm.types import SAMPLE_RATE_HZ, Samples

QUESTIONS = ("What was heard first?", "What was heard last?", "Was there any speech?")


def add_parser(subparsers: Any) -> None:
    """Add the command to what ``ArgumentParser.add_subparsers`` returned."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "bench",
        help="measure what listening and answering cost here",
        description="Listen to a recording as fast as it goes, ask three questions, and print "
        "CPU time, speed, memory and time to first token.",
    )
    parser.add_argument(
        "source", nargs="?", metavar="FILE", help="a recording; nothing for a made minute of sounds"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--no-llm", action="store_true", help="listen only")
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    from edge_alm.audio.file import AudioFile
    from edge_alm.audio.memory import MemoryAudio

    with load_ears(args, llm=not args.no_llm) as ears:
        recording: AudioFile | MemoryAudio
        recording = AudioFile(args.source) if args.source else MemoryAudio(make_sounds())
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        events = sum(1 for _ in ears.listen(recording))
        cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
        audio_s = recording.total_samples / SAMPLE_RATE_HZ
        report: dict[str, Any] = {
            "audio_s": round(audio_s, 2),
            "events": events,
            "cpu_share": round(cpu_s / audio_s, 4),
            "times_real_time": round(audio_s / wall_s, 1),
        }
        if not args.no_llm:
            ears.flush()
            ttfts_ms = [ears.ask(question).ttft_ms for question in QUESTIONS]
            report["median_ttft_ms"] = round(statistics.median(ttfts_ms), 1)
        report["peak_rss_mb"] = round(_peak_rss_bytes() / 1e6, 1)
    if args.json:
        print_line(json.dumps(report))
    else:
        print_line("\n".join(f"{name:16} {value}" for name, value in report.items()))
    return 0


def make_sounds() -> Samples:
    """A minute of beeps, clicks and noise in turn, the same at every call; no speech."""
    import numpy as np

    rng = np.random.default_rng(0)
    seconds = np.arange(60 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    beeps = np.sin(2 * np.pi * 880 * seconds) * (seconds % 0.5 < 0.2)
    clicks = (seconds % 0.25 < 0.002) * 1.0
    noise = rng.standard_normal(len(seconds))
    silence = np.zeros(len(seconds))
    kinds = np.stack([beeps, silence, clicks, silence, 0.2 * noise, silence])
    turn = (seconds // 2.5).astype(int) % len(kinds)
    samples = 0.3 * kinds[turn, np.arange(len(seconds))] + 1e-4 * noise
    return np.asarray(samples, dtype=np.float32)


def _peak_rss_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
