"""A process that hardly gets any time: it gives up what it must, says so, and recovers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from command import DATA, PATIENCE_S, ROOT, environment

from edge_alm.types import SAMPLE_RATE_HZ, Fault, Lost, Sound, Speech, event_from_dict

AUDIO_S = 60.0
"""Of speech and sounds without a pause."""
STARVED_S = 15.0
QUOTA = 0.02
"""Of one core. With a tenth it keeps up with all of this, questions included."""

SCRIPT = """
import sys, threading, time
import edge_alm
from edge_alm.errors import EdgeAlmError
from edge_alm.types import event_to_json
lock = threading.Lock()
def say(line):
    with lock:
        print(line, flush=True)
with edge_alm.load() as ears:
    ears.prepare()
    say("ready")
    done = threading.Event()
    def ask():
        while not done.wait(1.0):
            try:
                ears.ask("What was heard last?", choices=["a dog", "a bell"])
            except EdgeAlmError as error:
                say("refused " + error.code)
            else:
                say("answered")
    asking = threading.Thread(target=ask)
    asking.start()
    for event in ears.listen(sys.argv[1], realtime=True):
        say(event_to_json(event))
    done.set()
    asking.join()
"""


def cpu_s(pid: int) -> float:
    """What the threads of a process have used so far."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def starve(process: subprocess.Popen[str], seconds: float) -> None:
    """Let a process run until its quota is used up, as a scheduler does."""
    began_s, used_s = time.monotonic(), cpu_s(process.pid)
    while (passed_s := time.monotonic() - began_s) < seconds:
        runs = cpu_s(process.pid) - used_s < QUOTA * passed_s
        process.send_signal(signal.SIGCONT if runs else signal.SIGSTOP)
        time.sleep(0.002)
    process.send_signal(signal.SIGCONT)


def write_recording(path: Path) -> None:
    import soundfile

    parts, n = [], 0
    names = ["speech_service", "doorbell", "speech_weasels", "crow", "speech_invalid", "glass"]
    while n < AUDIO_S * SAMPLE_RATE_HZ:
        for name in names:
            samples, rate_hz = soundfile.read(DATA / f"{name}.flac", dtype="float32")
            assert rate_hz == SAMPLE_RATE_HZ
            parts.append(samples)
            n += len(samples)
    soundfile.write(path, np.concatenate(parts)[: round(AUDIO_S * SAMPLE_RATE_HZ)], SAMPLE_RATE_HZ)


def test_what_is_given_up_is_told_and_taken_up_again(models: Path, tmp_path: Path) -> None:
    recording = tmp_path / "busy.wav"
    write_recording(recording)
    lines: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(recording)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(OMP_NUM_THREADS="1"),
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            reader = threading.Thread(target=lines.extend, args=(map(str.strip, process.stdout),))
            reader.start()
            time.sleep(3.0)
            starve(process, STARVED_S)
            reader.join(AUDIO_S + PATIENCE_S)
            assert not reader.is_alive()
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()
    check(lines)


def check(lines: list[str]) -> None:
    events = [event_from_dict(json.loads(line)) if line[0] == "{" else line for line in lines]
    level, levels = 0, []
    for event in events:
        if isinstance(event, Fault):
            assert event.code in ("overload", "overload-eases", "speech-skipped")
            level += (event.code == "overload") - (event.code == "overload-eases")
        levels.append(level)
    assert max(levels) == 4
    assert levels[-1] == 0
    by_level = {k: [e for e, own in zip(events, levels, strict=True) if own == k] for k in range(5)}
    # A question that is asked when a change is told may be answered by what was before.
    assert by_level[0].count("answered") > 5
    assert "refused overloaded" in by_level[4]
    assert all("answered" not in by_level[k] for k in (3, 4))
    assert any(isinstance(event, Sound) for k in (2, 3, 4) for event in by_level[k])
    assert any(isinstance(event, Fault) and event.code == "speech-skipped" for event in by_level[4])
    assert any(isinstance(event, Speech) for event in by_level[0][-10:])
    assert not any(isinstance(event, Lost) for event in events)
    states = [event.state for event in events if isinstance(event, Sound)]
    assert states.count("start") == states.count("end")
