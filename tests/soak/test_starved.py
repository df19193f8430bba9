"""A process that hardly gets any time: it gives up what it must, says so, and recovers."""

from __future__ import annotations

import json
import math
import os
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

from edge_alm.overload import Relief
from edge_alm.types import SAMPLE_RATE_HZ, Event, Fault, Lost, Sound, Speech, event_from_dict

AUDIO_S = 600.0
"""Of speech and sounds without a pause: more than is heard of it."""
RIVALS, TRIED_S = 32, 10.0
"""Processes that want the same core at first, and after how long without a change there are twice
as many. With a tenth of a core a fast machine keeps up with all of this, questions included; with a
fiftieth its hearing alone comes to nine tenths of what is played, where a slow one's comes to
nothing. Stopped and continued instead, it only wakes its threads and fills its caches."""

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


def wait(condition: Callable[[], object], lines: Lines, patience_s: float = PATIENCE_S) -> None:
    """Wait until the condition holds."""
    end_s = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end_s, lines.said
        time.sleep(0.05)


def starve(lines: Lines, core: int, rivals: list[subprocess.Popen[bytes]]) -> None:
    """Have more and more rivals for a core until a process on it has given everything up."""
    level, tried_from_s, end_s = lines.level, -math.inf, time.monotonic() + 2.0 * PATIENCE_S
    while not lines.since(max(Relief)):
        now_s = time.monotonic()
        assert now_s < end_s, (len(rivals), lines.said)
        if lines.level > level:
            level, tried_from_s = lines.level, now_s
        elif now_s - tried_from_s > TRIED_S:
            tried_from_s = now_s
            for _ in range(len(rivals) or RIVALS):
                rivals.append(subprocess.Popen(["sh", "-c", "while :; do :; done"]))
                os.sched_setaffinity(rivals[-1].pid, {core})
        time.sleep(0.05)


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


@pytest.mark.timeout(5 * PATIENCE_S)
def test_what_is_given_up_is_told_and_taken_up_again(models: Path, tmp_path: Path) -> None:
    recording = tmp_path / "busy.wav"
    write_recording(recording)
    lines = Lines()
    core = min(os.sched_getaffinity(0))
    rivals: list[subprocess.Popen[bytes]] = []
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(recording)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(OMP_NUM_THREADS="1"),
    ) as process:
        try:
            os.sched_setaffinity(process.pid, {core})  # its threads, which are still to come, too
            reader = threading.Thread(target=lines.read, args=(process.stdout,), daemon=True)
            reader.start()
            wait(lambda: lines.since(Relief.NOTHING).count("answered") > 1, lines)
            starve(lines, core, rivals)
            end(rivals)
            wait(lambda: is_well(lines.since(Relief.NOTHING)), lines)
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(PATIENCE_S) == 0
            reader.join(PATIENCE_S)
        finally:
            end(rivals)
            process.kill()
    check(lines.said)


def end(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.kill()
    while processes:
        processes.pop().wait()


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
