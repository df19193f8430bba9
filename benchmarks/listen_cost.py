"""What listening costs, by stage: CPU seconds per second of audio, and peak memory.

    python benchmarks/listen_cost.py [--seconds 120] [--llm]

Each kind of audio is heard in a process of its own, so that the peak memory is its own. The
stages are timed on the one thread that runs them; the model's share of the scene, which runs
on another, is the difference in the process's CPU time with and without it (``--llm``). Real
audio: silence is digital silence and room tone, continuous sound is the repo's recordings one
after the other without a pause, speech is its spoken recordings.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from edge_alm.bench.stages import HEARING, StageClock
from edge_alm.runtime import load
from edge_alm.types import SAMPLE_RATE_HZ, Samples

DATA = Path(__file__).parent.parent / "tests" / "data"
SOUNDS = ("stream", "music", "toilet_flush", "doorbell", "alarm_clock", "piano")
SPEECH = ("speech_service", "speech_invalid", "speech_weasels", "speech_extension")
WARM_UP_S = 5.0
KINDS = ("silence", "room", "sound", "speech")


def read(names: tuple[str, ...]) -> Samples:
    clips = [soundfile.read(DATA / f"{name}.flac", dtype="float32")[0] for name in names]
    return np.concatenate(clips)


def make_audio(kind: str, seconds: float) -> Samples:
    count = int(seconds * SAMPLE_RATE_HZ)
    if kind == "silence":
        return np.zeros(count, np.float32)
    if kind == "room":
        spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(count))
        noise = np.fft.irfft(spectrum / np.maximum(np.arange(len(spectrum)), count // 800), count)
        return np.asarray(noise / np.sqrt(np.mean(noise**2)) * 1e-3, np.float32)
    return np.resize(read(SOUNDS if kind == "sound" else SPEECH), count)


def measure(recording: Path, warm_up: Path, *, llm: bool) -> dict[str, Any]:
    """Hear a recording in this process."""
    seconds = soundfile.info(recording).duration
    with StageClock(HEARING) as clock, load(llm=llm) as ears:
        if llm:
            ears.ask("What was heard?")  # the model is loaded and warm
        list(ears.listen(warm_up))
        clock.reset()
        begun = time.process_time()
        events = list(ears.listen(recording))
        if llm:
            ears.flush()
        total = time.process_time() - begun
    spent_s = clock.spent_s
    hearing = sum(s for name, s in spent_s.items() if name != "transcriber")
    return {
        "events": len(events),
        "stages": {name: s / seconds for name, s in spent_s.items()},
        "hearing": hearing / seconds,
        "process": total / seconds,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--llm", action="store_true", help="with the scene in the language model")
    parser.add_argument("--hear", nargs=2, type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.hear:
        print(json.dumps(measure(*args.hear, llm=args.llm)))
        return
    results = {}
    with tempfile.TemporaryDirectory() as name:
        for kind in KINDS:
            paths = [Path(name) / f"{kind}.wav", Path(name) / "warm_up.wav"]
            for path, seconds in zip(paths, (args.seconds, WARM_UP_S), strict=True):
                soundfile.write(path, make_audio(kind, seconds), SAMPLE_RATE_HZ)
            command = [sys.executable, __file__, "--hear", *map(str, paths)]
            done = subprocess.run(
                command + ["--llm"] * args.llm, check=True, stdout=subprocess.PIPE, text=True
            )
            results[kind] = json.loads(done.stdout.splitlines()[-1])
    names = list(dict.fromkeys(name for name, _, _ in HEARING))
    print("% of one core   " + "".join(f"{kind:>10}" for kind in KINDS))
    for name in names:
        row = "".join(f"{100 * results[kind]['stages'][name]:10.2f}" for kind in KINDS)
        print(f"{name:16}{row}")
    for name in ("hearing", "process"):
        print(f"{name:16}" + "".join(f"{100 * results[kind][name]:10.2f}" for kind in KINDS))
    print(f"{'peak RSS, MB':16}" + "".join(f"{results[k]['peak_rss_mb']:10.0f}" for k in KINDS))
    print(json.dumps({"seconds": args.seconds, "llm": args.llm, "kinds": results}))


if __name__ == "__main__":
    main()
