"""A process that hardly gets any time: it gives up what it must, says so, and recovers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from command import DATA, PATIENCE_S, ROOT, environment
from scales import IS_LONG

from edge_alm.overload import Relief
from edge_alm.types import SAMPLE_RATE_HZ, Event, Fault, Lost, Sound, Speech, event_from_dict

AUDIO_S = 600.0
"""Of speech and sounds without a pause: more than is heard of it."""
QUOTA, TRIED_S = 0.03, 10.0
"""Of one core at first, and how long it is tried before it is halved. With a tenth a fast machine
keeps up with all of this, questions included; with a fiftieth its hearing alone comes to nine
tenths of what is played, where a slow one's comes to nothing."""
LEAST_S = 0.03
"""Who has given something up and used less meanwhile does nothing at all: it gets twice as much."""
SLICE_S = 0.02
"""What a process that runs may use beyond its quota before it is stopped. Shorter ones go into
waking its threads and filling its caches: on a slow machine nothing is heard in them."""

SCRIPT = """
import sys, threading
import edge_alm
from edge_alm.audio.file import AudioFile
from edge_alm.errors import EdgeAlmError
from edge_alm.overload import Relief
from edge_alm.types import event_to_json
lock = threading.Lock()
def say(line):
    with lock:
        print(line, flush=True)
with edge_alm.load() as ears:
    ears.prepare()
    source = AudioFile(sys.argv[1], realtime=True)
    done = threading.Event()
    def ask():
        while not done.wait(1.0):
            say("asked")
            try:
                ears.ask("What was heard last?", choices=["a dog", "a bell"])
            except EdgeAlmError as error:
                say("refused " + error.code)
            else:
                say("answered")
    def stop():
        sys.stdin.read()
        source.close()
    threads = [threading.Thread(target=act) for act in (ask, stop)]
    for thread in threads:
        thread.start()
    for event in ears.listen(source, realtime=True):
        say(event_to_json(event))
    done.set()
    for thread in threads:
        thread.join()
"""


class Lines:
    """What the process has said, each with how much was given up by then."""

    def __init__(self) -> None:
        self.said: list[tuple[int, str | Event]] = []
        self.level = 0

    def read(self, lines: Iterable[str]) -> None:
        for line in map(str.strip, lines):
            event = event_from_dict(json.loads(line)) if line[0] == "{" else line
            if isinstance(event, Fault):
                self.level += (event.code == "overload") - (event.code == "overload-eases")
            self.said.append((self.level, event))

    def since(self, level: int) -> list[str | Event]:
        """What was said since so much was given up, if that is still so."""
        found: list[str | Event] = []
        for own, event in reversed(self.said):
            if own != level:
                break
            found.append(event)
        return found


def cpu_s(pid: int) -> float:
    """What the threads of a process have used so far."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def wait(
    lines: Lines,
    condition: Callable[[], object],
    step: Callable[[], None],
    patience_s: float = PATIENCE_S,
) -> None:
    """Take steps until the condition holds."""
    end_s = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end_s, lines.said
        step()


def starve(process: subprocess.Popen[str], lines: Lines) -> Callable[[], None]:
    """What lets a process run until its quota is used up, as a scheduler does; to be repeated."""
    quota, allowed_s, runs = QUOTA, cpu_s(process.pid), True
    last_s = tried_from_s = time.monotonic()
    used_before_s = allowed_s

    def step() -> None:
        nonlocal quota, allowed_s, runs, last_s, tried_from_s, used_before_s
        now_s, used_s = time.monotonic(), cpu_s(process.pid)
        allowed_s, last_s = allowed_s + quota * (now_s - last_s), now_s
        if now_s - tried_from_s > TRIED_S:
            stuck = lines.level > Relief.NOTHING and used_s - used_before_s < LEAST_S
            quota *= 2.0 if stuck else 0.5
            tried_from_s, used_before_s = now_s, used_s
        runs = used_s - allowed_s < (SLICE_S if runs else 0.0)
        process.send_signal(signal.SIGCONT if runs else signal.SIGSTOP)
        time.sleep(0.002)

    return step


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


@pytest.mark.skipif(not IS_LONG, reason="how long it takes is the machine's affair: make soak")
@pytest.mark.timeout(5 * PATIENCE_S)
def test_what_is_given_up_is_told_and_taken_up_again(models: Path, tmp_path: Path) -> None:
    recording = tmp_path / "busy.wav"
    write_recording(recording)
    lines = Lines()
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(recording)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(OMP_NUM_THREADS="1"),
    ) as process:
        try:
            reader = threading.Thread(target=lines.read, args=(process.stdout,), daemon=True)
            reader.start()
            wait(lines, lambda: lines.since(Relief.NOTHING).count("answered") > 1, pause)
            wait(lines, lambda: lines.since(max(Relief)), starve(process, lines), 2.5 * PATIENCE_S)
            process.send_signal(signal.SIGCONT)
            wait(lines, lambda: is_well(lines.since(Relief.NOTHING)), pause)
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(PATIENCE_S) == 0
            reader.join(PATIENCE_S)
        finally:
            process.kill()
    check(lines.said)


def pause() -> None:
    time.sleep(0.05)


def is_well(said: list[str | Event]) -> bool:
    """Whether questions are answered and speech has text."""
    return "answered" in said and any(isinstance(event, Speech) for event in said)


def check(said: list[tuple[int, str | Event]]) -> None:
    faults = {event.code for _, event in said if isinstance(event, Fault)}
    assert faults == {"overload", "overload-eases", "speech-skipped"}
    questions = [(level, line) for level, line in said if isinstance(line, str)]
    for (asked_level, asked), (level, outcome) in pairwise(questions):
        # One that is under way when a change is told may still be answered.
        if asked == "asked" and min(asked_level, level) > Relief.ANSWERS:
            assert outcome == "refused overloaded"
    assert (Relief.ANSWERS, "refused overloaded") in said
    without_text = [event for level, event in said if level >= Relief.TRANSCRIPTION]
    assert any(isinstance(event, Sound) for event in without_text)
    assert any(
        isinstance(event, Fault) and event.code == "speech-skipped" for event in without_text
    )
    assert not any(isinstance(event, Lost) for _, event in said)
    states = [event.state for _, event in said if isinstance(event, Sound)]
    assert states.count("start") == states.count("end")
