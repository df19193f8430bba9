"""The commands as a user meets them: real models, real recordings, processes of their own."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import soundfile
from command import DATA, PATIENCE_S, Done, Running, edge_alm, environment, labels

from edge_alm.bench.report import read_report
from edge_alm.cli.output import event_to_text
from edge_alm.types import Answer, Event, Sound, Speech, Watch

HOME, CROW, DOORBELL = DATA / "home.flac", DATA / "crow.flac", DATA / "doorbell.flac"
QUESTION = "Which sound came first?"

pytestmark = pytest.mark.usefixtures("models")


@pytest.fixture(scope="module")
def heard(models: Path) -> list[Event]:
    """What is heard in the scene, watching for glass."""
    done = edge_alm("listen", HOME, "--json", "--watch", "glass breaking")
    assert (done.status, done.err) == (0, "")
    return done.events


@pytest.fixture(scope="module")
def _llm(require: object) -> None:
    assert callable(require)
    require("llama_cpp", "the extra llm")


needs_llm = pytest.mark.usefixtures("_llm")


# listen


def test_what_is_being_said_is_shown_beside_the_events(heard: list[Event]) -> None:
    done = edge_alm("listen", HOME, "--json", "--watch", "glass breaking", "--partial")
    assert done.status == 0
    assert done.events == heard
    lines = done.err.splitlines()
    assert all(re.fullmatch(r' *[0-9.]+ \.\.\.       ".+', line) for line in lines), lines
    spoken = [e for e in heard if isinstance(e, Speech)]
    assert {float(line.split()[0]) for line in lines} == {round(e.start, 2) for e in spoken}
    assert len(lines) > 2 * len(spoken)


def test_all_that_happens_is_heard(heard: list[Event]) -> None:
    with (DATA / "home.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            start_s = float(row["start_s"])
            wanted = re.sub(r"\W", "", row["what"]).lower()
            found = [
                e
                for e in heard
                if (isinstance(e, Sound) and e.state == "start" and e.label == row["what"])
                or (isinstance(e, Speech) and re.sub(r"\W", "", e.text).lower() == wanted)
            ]
            assert [abs(e.start - start_s) <= 0.5 for e in found] == [True], row["what"]


def test_every_sound_that_starts_ends(heard: list[Event]) -> None:
    def states(state: str) -> list[tuple[str, float]]:
        return sorted(
            (e.label, e.start) for e in heard if isinstance(e, Sound) and e.state == state
        )

    assert states("start") == states("end")


def test_a_watched_sound_is_told_as_it_starts(heard: list[Event]) -> None:
    watches = [e for e in heard if isinstance(e, Watch)]
    assert watches
    for watch in watches:
        assert watch.query == "glass breaking"
        assert 10.0 <= watch.start <= 11.1
        before = heard[heard.index(watch) - 1]
        assert isinstance(before, Sound)
        assert (before.label, before.start, before.state) == (watch.label, watch.start, "start")


def test_people_read_the_same_events(heard: list[Event]) -> None:
    done = edge_alm("listen", HOME, "--no-llm")
    assert (done.status, done.err) == (0, "")
    assert done.lines == [event_to_text(e) for e in heard if not isinstance(e, Watch)]


def test_samples_on_standard_input_are_heard_as_the_file(heard: list[Event]) -> None:
    samples, rate_hz = soundfile.read(HOME, dtype="int16")
    assert rate_hz == 16_000
    done = edge_alm("listen", "-", "--json", stdin=samples.tobytes())
    assert (done.status, done.err) == (0, "")
    assert done.events == [e for e in heard if not isinstance(e, Watch)]


def test_a_phrase_that_names_no_sound_is_refused() -> None:
    line = edge_alm("listen", HOME, "--watch", "the").mistake()
    assert "watch 'the': expected the name of a sound" in line


def test_realtime_takes_its_time_and_tells_events_as_they_come() -> None:
    seconds = soundfile.info(DOORBELL).duration
    running = Running("listen", DOORBELL, "--json", "--no-speech", "--realtime")
    done = running.finish()
    took_s = time.monotonic() - running.began_s
    assert done.status == 0
    assert labels(done.events)[0] in ("Doorbell", "Ding-dong")
    assert took_s >= seconds
    # Less the second that a start takes: the first sound is told before the recording is over.
    assert running.lines[0][0] < took_s - 0.3


def test_a_reader_may_leave_after_the_first_line(heard: list[Event]) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "edge_alm", "listen", HOME, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert running.stdout is not None
    assert running.stderr is not None
    with running.stdout as out, running.stderr as err:
        first = json.loads(out.readline())
        out.close()
        assert (running.wait(PATIENCE_S), err.read()) == (0, b"")
    assert first["type"] == "sound"
    assert heard


@needs_llm
def test_listen_answers_at_the_end(heard: list[Event]) -> None:
    done = edge_alm("listen", CROW, "--json", "--ask", QUESTION, "--ask", "Was there a bird?")
    assert (done.status, done.err) == (0, "")
    *events, first, second = done.events
    assert labels(events) == ["Caw"]
    for answer, question in ((first, QUESTION), (second, "Was there a bird?")):
        assert isinstance(answer, Answer)
        assert answer.question == question
        assert answer.text
        assert answer.choice is None
        assert 0 < answer.confidence <= 1
        assert 0 < answer.ttft_ms <= answer.total_ms


def test_questions_without_a_model_are_a_mistake() -> None:
    line = edge_alm("listen", HOME, "--no-llm", "--ask", "What?").mistake()
    assert line == "edge-alm: --ask: expected a language model, got --no-llm; drop one\n"


# ask


@needs_llm
def test_several_recordings_choices_and_thinking() -> None:
    choices = ["a piano", "a crow", "a drum"]
    words = [word for choice in choices for word in ("--choice", choice)]
    done = edge_alm("ask", DOORBELL, CROW, "Which was heard?", "--think", "--json", *words)
    assert (done.status, done.err) == (0, "")
    (answer,) = done.events
    assert isinstance(answer, Answer)
    assert answer.choice in choices
    assert answer.text == answer.choice


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["What?"], "expected at least one SOURCE and a QUESTION, got only 'What?'"),
        ([HOME, " "], "question: expected some text, got none"),
        ([HOME, "What?", "--choice", "a"], "choices: expected two or more texts, got ['a']"),
        ([HOME, "What?", "--choice", "a", "--choice", "a"], "choices: expected two or more"),
        ([HOME, "no.wav", "What?"], "no.wav: expected audio"),
        ([HOME, "What?", "--llm", "localhost"], "expected http://host:port/v1, got 'localhost'"),
    ],
)
def test_a_wrong_question_is_told_before_anything_is_heard(
    words: list[object], told: str, request: pytest.FixtureRequest
) -> None:
    if "no.wav" in words:
        request.getfixturevalue("_llm")
    done = edge_alm("ask", *words)
    assert told in done.mistake()
    assert done.out == ""


def test_a_server_that_is_not_there() -> None:
    line = edge_alm("ask", CROW, "What?", "--llm", "http://127.0.0.1:9/v1").mistake()
    assert "server 127.0.0.1:9: expected a server" in line
    assert "start it, or correct the address" in line


# chat


@needs_llm
def test_questions_from_a_pipe_are_about_the_whole_recording() -> None:
    turns = b"What was heard?\n\nWas it a bird?\n/reset\nWhat was heard?\n/quit\nNever asked?\n"
    done = edge_alm("chat", CROW, "--json", stdin=turns)
    assert (done.status, done.err) == (0, "")
    answers = [e for e in done.events if isinstance(e, Answer)]
    assert labels(done.events) == ["Caw"]
    assert [a.question for a in answers] == ["What was heard?", "Was it a bird?", "What was heard?"]
    assert answers[0].text != answers[2].text, "the scene was not forgotten"
    assert done.events[-3:] == answers, "answered before the recording's end"


@needs_llm
def test_chat_prints_answers_and_beside_them_what_is_heard() -> None:
    done = edge_alm("chat", CROW, stdin=b"What was heard?\n")
    assert done.status == 0
    assert done.lines[0] == "Q: What was heard?"
    assert done.lines[1].startswith("A: ")
    assert "Caw (0." in done.err


def test_chat_needs_its_input_for_questions() -> None:
    line = edge_alm("chat", "-").mistake()
    assert "chat -: expected standard input for questions" in line


@needs_llm
def test_talking_at_a_terminal_while_it_listens() -> None:
    """Two questions in the middle of the scene, then Ctrl-D: it leaves at once."""
    forked_s = time.monotonic()
    child, terminal = pty.fork()
    if child == 0:
        words = [sys.executable, "-m", "edge_alm", "chat", str(HOME), "--realtime"]
        os.execve(sys.executable, words, environment())
    screen = ""

    def read_until(pattern: str) -> None:
        nonlocal screen
        end_s = time.monotonic() + PATIENCE_S
        while not re.search(pattern, screen, re.DOTALL):
            assert time.monotonic() < end_s, (pattern, screen)
            if select.select([terminal], [], [], 0.2)[0]:
                try:
                    screen += os.read(terminal, 4096).decode()
                except OSError:  # Linux: the other side has gone
                    break
        assert re.search(pattern, screen, re.DOTALL), (pattern, screen)

    answer = r"\r\x1b\[K[^\s\x1b][^\r]*\r\n> "  # what is heard is indented
    try:
        read_until("Doorbell")
        os.write(terminal, b"What was that?\n")
        read_until(rf"What was that\?\r\n.*{answer}")
        screen = ""
        read_until("Speech")
        # It begins 6.1 s into the scene, all of which is otherwise heard in less time.
        assert time.monotonic() - forked_s > 6.0
        os.write(terminal, b"And now?\n")
        read_until(rf"And now\?\r\n.*{answer}")
        os.write(terminal, b"\x04")
        began_s = time.monotonic()
        _, status = os.waitpid(child, 0)
        assert time.monotonic() - began_s < 2.0
        assert os.waitstatus_to_exitcode(status) == 0
        assert "Traceback" not in screen
    finally:
        os.close(terminal)


# eval


@needs_llm
def test_eval_sums_by_skill(tmp_path: Path) -> None:
    def entry(number: int, skill: str, **more: object) -> dict[str, object]:
        return {
            "id": number,
            "audio": str(CROW),
            "question": "What was heard?",
            "choices": ["caw", "piano"],
            "answer": "caw",
            "skill": skill,
            **more,
        }

    questions = [
        entry(1, "identify"),
        entry(2, "order", audio=[str(DOORBELL), str(CROW)], question="What was heard last?"),
        entry(3, "identify", choices=["caw", "piano"], answer="piano"),
        entry(4, "open", choices=None, answer="nobody would say this"),
    ]
    path = tmp_path / "q.jsonl"
    path.write_text("".join(json.dumps(q) + "\n" for q in questions), encoding="utf-8")
    done = edge_alm("eval", path, "--json")
    assert (done.status, done.err) == (0, "")
    *rows, summary = done.objects
    assert {row["id"] for row in rows} == {"1", "2", "3", "4"}
    right = {row["id"]: row["right"] for row in rows}
    assert right["1"] != right["3"], "the same question cannot have two answers"
    assert not right["4"]
    assert summary.keys() == {"n", "accuracy", "by_skill", "median_ttft_ms"}
    assert summary["n"] == 4
    assert summary["accuracy"] == sum(right.values()) / 4
    assert summary["by_skill"]["identify"] == {"n": 2, "accuracy": 0.5}
    assert summary["by_skill"]["open"] == {"n": 1, "accuracy": 0.0}
    assert summary["median_ttft_ms"] > 0


@needs_llm
def test_eval_reads_what_mmau_publishes(tmp_path: Path) -> None:
    (tmp_path / "audios").mkdir()
    (tmp_path / "audios" / "crow.flac").write_bytes(CROW.read_bytes())
    entry = {
        "id": "a1",
        "audio_id": "./audios/crow.flac",
        "question": "What was heard?",
        "choices": ["caw", "piano"],
        "answer": "caw",
        "task": "sound",
        "sub-category": "Acoustic Source Inference",
        "difficulty": "easy",
    }
    path = tmp_path / "mmau-test-mini.json"
    path.write_text(json.dumps([entry, {**entry, "id": "a2", "task": "music"}]), encoding="utf-8")
    done = edge_alm("eval", path)
    assert (done.status, done.err) == (0, "")
    assert [line.split()[:2] for line in done.lines[1:3]] == [["all", "2"], ["Acoustic", "Source"]]
    assert "median time to first token" in done.lines[-1]


# bench


@needs_llm
def test_bench(tmp_path: Path) -> None:
    out, html = tmp_path / "a.json", tmp_path / "a.html"
    done = edge_alm("bench", CROW, "--quick", "--json", "--out", out, "--html", html)
    assert (done.status, done.err) == (0, "")
    (report,) = done.objects
    assert report["audio_s"] == pytest.approx(soundfile.info(CROW).duration, abs=0.01)
    assert report["events"] == 2
    assert report["cpu_share"] > 0
    assert report["times_real_time"] > 0
    assert report["median_ttft_ms"] > 0
    assert 50 < report["peak_rss_mb"] < 1000
    figures = {figure["name"]: figure for figure in report["figures"]}
    for name in (
        "start/fresh process, models in memory",
        "start/again in a process",
        "start/first answer to first token",
        "events/after a sound begins",
        "listen/silence/vad",
        "listen/sounds/encoder",
        "listen/voice/transcriber",
        "listen/recording/language model",
        "speed/recording",
        "ask/5 s/first token",
        "ask/30 s/last token",
        "decode/one token at a time",
        "memory/peak",
    ):
        figure = figures[name]
        assert min(figure["samples"]) > 0, name
        low, middle, high = figure["q1"], figure["median"], figure["q3"]
        assert min(figure["samples"]) <= low <= middle <= high <= max(figure["samples"]), name
    assert len(figures["ask/30 s/first token"]["samples"]) == 4 * report["plan"]["rounds"]
    for length in ("5 s", "30 s"):
        first, last = (
            figures[f"ask/{length}/{part} token"]["median"] for part in ("first", "last")
        )
        assert first <= last
    assert max(figures["events/after a sound begins"]["samples"]) < 2.5
    assert read_report(out).to_dict() == json.loads(json.dumps(report))
    cells = ["".join(cell.itertext()) for cell in ET.parse(html).iter("td")]
    assert set(figures) <= set(cells)
    same = edge_alm("bench", "--compare", out, out)
    assert "0 better, 0 worse" in same.out


def test_bench_needs_no_file() -> None:
    (report,) = edge_alm("bench", "--quick", "--json", "--no-llm").objects
    assert report["audio_s"] == 60
    assert report["events"] > 0
    assert "median_ttft_ms" not in report
    groups = {figure["name"].partition("/")[0] for figure in report["figures"]}
    assert groups == {"start", "events", "listen", "speed", "memory"}


def test_bench_does_not_read_standard_input() -> None:
    assert "-: expected audio" in edge_alm("bench", "-").mistake()


# stopping


def stopped_well(done: Done, took_s: float, number: signal.Signals) -> None:
    assert done.status == 128 + number
    assert done.err == ""
    assert done.objects, "what was heard before is lost"  # each line whole
    # The promise is 1 s; this machine may be busy.
    assert took_s < 2.0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_while_it_listens(number: signal.Signals) -> None:
    running = Running("listen", HOME, "--json", "--realtime")
    running.wait_for("Doorbell")
    done, took_s = running.stop(number)
    stopped_well(done, took_s, number)
    assert labels(done.events)[0] == "Doorbell"
    assert "Toilet" not in done.out


@needs_llm
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_in_the_middle_of_an_answer(number: signal.Signals) -> None:
    questions = [word for _ in range(50) for word in ("--ask", "Tell a long story about it.")]
    running = Running("listen", CROW, "--json", *questions)
    running.wait_for('"answer"')
    done, took_s = running.stop(number)
    stopped_well(done, took_s, number)
    assert 1 <= sum(isinstance(e, Answer) for e in done.events) < 50


@needs_llm
def test_stopping_a_chat_that_waits_for_a_question() -> None:
    running = Running("chat", HOME, "--json", "--realtime", stdin=subprocess.PIPE)
    running.wait_for("Doorbell")
    done, took_s = running.stop(signal.SIGINT)
    stopped_well(done, took_s, signal.SIGINT)
    assert running.process.stdin is not None
    running.process.stdin.close()
