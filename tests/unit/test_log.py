"""The event log: what goes in comes out, in its bounds; what is no log is left alone."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_types import EVENTS

from edge_alm.log import (
    RESERVED_BYTES,
    EventLog,
    Heard,
    LogError,
    check_log,
    heard_since,
    read_log,
)
from edge_alm.types import Answer, Event, Fault, Lost, Sound, Speech, Watch, without_words

NOW = float(round(time.time()))
SMALLEST = 2 * RESERVED_BYTES


def bark(start: float = 1.0, state: str = "end", at_unix: float | None = None) -> Sound:
    end = start + 0.5 if state == "end" else None
    return Sound("Bark", start, end, 0.9, "end" if end else "start", at_unix)


def write(path: Path, *events: Event, words: bool = True, now: float = NOW) -> None:
    with EventLog(path, words=words, clock=lambda: now) as log:
        for event in events:
            log.write(event)


def size(path: Path) -> int:
    """Of the log and all that lies beside it."""
    return sum(p.stat().st_size for p in path.parent.glob(f"{path.name}*"))


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.lists(EVENTS, max_size=5), min_size=1, max_size=3), st.booleans())
def test_what_is_written_is_read_back_in_order(
    tmp_path: Path, streams: list[list[Event]], words: bool
) -> None:
    path = tmp_path / "log"
    path.unlink(missing_ok=True)
    for events in streams:
        # at_unix of an example may be 1970, which is too old to be kept.
        with EventLog(path, words=words, max_age_s=1e12, clock=lambda: NOW) as log:
            for event in events:
                log.write(event)
    logged = list(read_log(path, -1e12))
    kept = [event if words else without_words(event) for events in streams for event in events]
    assert [one.event for one in logged] == kept
    numbers = [one.stream for one in logged]
    assert numbers == sorted(numbers)


def test_times_are_on_both_clocks(tmp_path: Path) -> None:
    path = tmp_path / "log"
    answer = Answer("?", "a dog", None, 1.0, 1.0, 1.0)
    fault = Fault("x", "y", "z")
    events: list[Event] = [
        fault,
        bark(2.0, "start", NOW - 10.0),
        bark(2.0, "end", NOW - 10.0),
        Speech("hello", 1.0, 2.0, 0.9),
        answer,
        Lost(16_000, 4.0, "overrun", NOW - 8.0),
        Watch("dog", "Bark", 6.0, 0.9, NOW - 6.0),
        answer,
    ]
    write(path, *events)
    assert [(one.at_s, one.at_unix) for one in read_log(path)] == [
        (0.0, NOW),
        (2.0, NOW - 10.0),
        (2.5, NOW - 9.5),
        (2.0, NOW),  # a source without a wall clock: when it was logged
        (2.5, NOW),
        (5.0, NOW - 7.0),
        (6.0, NOW - 6.0),
        (6.0, NOW),
    ]
    assert [one.event for one in read_log(path, NOW - 9.5)] == [events[0], *events[2:]]


def test_streams_are_numbered(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with EventLog(path) as log:
        log.write(bark(9.0))
        log.begin_stream()
        log.write(Fault("x", "y", "z"))
    write(path, bark())
    assert [(one.stream, one.at_s) for one in read_log(path)] == [(1, 9.5), (2, 0.0), (3, 1.5)]


SECRET = "rosebud"
SPEECH = Speech(f"the word is {SECRET}", 1.0, 2.0, 0.9)
SPOKEN: tuple[Event, ...] = (
    SPEECH,
    Answer(f"Did anyone say {SECRET}?", f"yes, {SECRET}", None, 0.9, 1.0, 2.0),
    Answer("Which one?", SECRET, SECRET, 0.9, 1.0, 2.0),
)


def test_without_words_no_byte_of_them_is_in_any_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with EventLog(path, words=False) as log:
        for event in SPOKEN:
            log.write(event)
        log.flush()
        found = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert "log-wal" in found
    assert not [name for name, content in found.items() if SECRET.encode() in content]
    speech, *answers = [one.event for one in read_log(path)]
    assert speech == replace(SPEECH, text="")
    assert [(a.question, a.text, a.choice) for a in answers if isinstance(a, Answer)] == [
        ("", "", None),
        ("", "", ""),
    ]


def test_what_has_gone_cannot_be_found_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, *SPOKEN)
    assert SECRET.encode() in path.read_bytes()
    with EventLog(path, max_age_s=60.0, clock=lambda: NOW + 61.0) as log:
        log.flush()
    assert not list(read_log(path))
    assert SECRET.encode() not in path.read_bytes()


def test_the_oldest_go_by_age(tmp_path: Path) -> None:
    path = tmp_path / "log"
    now = NOW
    with EventLog(path, max_age_s=100.0, clock=lambda: now) as log:
        for i in range(30):
            now = NOW + 10.0 * i
            log.write(bark(float(i)))
            log.flush()
    starts = [one.event.start for one in read_log(path) if isinstance(one.event, Sound)]
    assert starts == [float(i) for i in range(19, 30)]


def test_the_oldest_go_by_size_and_all_files_stay_within_it(tmp_path: Path) -> None:
    path = tmp_path / "log"
    count, largest = 20_000, 0
    with EventLog(path, max_bytes=SMALLEST) as log:
        for i in range(count):
            log.write(bark(float(i)))
            if i % 500 == 499:
                log.flush()
                largest = max(largest, size(path))
    starts = [one.event.start for one in read_log(path) if isinstance(one.event, Sound)]
    assert starts == [float(i) for i in range(count - len(starts), count)]
    assert 2_000 < len(starts) < count
    assert largest <= SMALLEST


def test_a_smaller_limit_makes_the_file_smaller(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, *(bark(float(i)) for i in range(20_000)))
    assert size(path) > SMALLEST
    with EventLog(path, max_bytes=SMALLEST, clock=lambda: NOW):
        pass
    assert size(path) <= SMALLEST
    assert list(read_log(path))[-1].at_s == 19_999.5


@pytest.mark.parametrize(("max_bytes", "max_age_s"), [(SMALLEST - 1, 1.0), (SMALLEST, 0.0)])
def test_limits_that_leave_nothing_are_refused(
    tmp_path: Path, max_bytes: int, max_age_s: float
) -> None:
    with pytest.raises(LogError):
        EventLog(tmp_path / "log", max_bytes=max_bytes, max_age_s=max_age_s)
    assert not list(tmp_path.iterdir())


def test_an_event_is_on_the_disk_within_a_second(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with EventLog(path) as log:
        log.write(bark())
        deadline_s = time.monotonic() + 60.0  # of a machine that is busy; half a second elsewhere
        while not list(read_log(path)):
            assert time.monotonic() < deadline_s
            time.sleep(0.02)


def test_only_one_process_writes(tmp_path: Path) -> None:
    path = tmp_path / "log"
    code = "import sys; from edge_alm.log import EventLog; EventLog(sys.argv[1])"
    with EventLog(path) as log:
        log.write(bark())
        log.flush()
        with pytest.raises(LogError, match="expected no other process that writes to it"):
            EventLog(path)
        done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, check=False)
        assert b"LogError" in done.stderr
        log.write(bark())
    assert len(list(read_log(path))) == 2
    write(path, bark())
    assert len(list(read_log(path))) == 3


def test_a_closed_log_says_so(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "log")
    log.close()
    log.close()
    with pytest.raises(LogError, match="got a closed one"):
        log.write(bark())


def test_a_full_disk_is_told_once_it_is_met(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "log")
    log._database.execute("PRAGMA max_page_count=1").fetchall()  # the least that SQLite allows
    log.write(replace(bark(), label="Bark" * 2_000))
    for use in (log.flush, lambda: log.write(bark()), log.close):
        with pytest.raises(LogError, match="database or disk is full"):
            use()
    check_log(tmp_path / "log")


def other_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE event (json)")


def newer_version(path: Path) -> None:
    write(path, bark())
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version=2")


def with_trigger(path: Path) -> None:
    write(path, bark())
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TRIGGER x AFTER INSERT ON event BEGIN DELETE FROM event; END")


def cut(path: Path) -> None:
    write(path, *(bark(float(i)) for i in range(200)))
    path.write_bytes(path.read_bytes()[:-9_000])


def scribbled(path: Path) -> None:
    write(path, *(bark(float(i)) for i in range(200)))
    content = bytearray(path.read_bytes())
    content[8_192:] = bytes([0xA5]) * (len(content) - 8_192)
    path.write_bytes(content)


def no_text(path: Path) -> None:
    write(path, bark())
    path.write_bytes(path.read_bytes().replace(b"stream INTEGER", b"str\xc6am INTEGER"))


FOREIGN: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (lambda path: path.write_text("my diary\n" * 1_000), "file is not a database"),
    "short text": (lambda path: path.write_text("x"), "expected an event log, got"),
    "another database": (other_database, "got something else"),
    "a newer version": (newer_version, "expected an event log of version 1, got version 2"),
    "a trigger": (with_trigger, "got other tables"),
    "a schema that is no text": (no_text, "expected an event log, got"),
    "cut": (cut, "expected an event log, got"),
    "scribbled": (scribbled, "expected an event log, got"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_no_log_is_refused_in_a_line_and_left_as_it_is(kind: str, tmp_path: Path) -> None:
    make, told = FOREIGN[kind]
    path = tmp_path / "log"
    make(path)
    before = path.read_bytes()
    for use in (EventLog, lambda path: list(read_log(path)), lambda path: heard_since(path, 0.0)):
        with pytest.raises(LogError) as refused:
            use(path)
        assert told in str(refused.value)
        assert str(refused.value).isprintable()
    assert path.read_bytes() == before


def test_a_foreign_file_gets_no_company(tmp_path: Path) -> None:
    path = tmp_path / "log"
    other_database(path)
    with pytest.raises(LogError):
        EventLog(path)
    with pytest.raises(LogError):
        check_log(path)
    assert [p.name for p in tmp_path.iterdir()] == ["log"]


def test_a_writer_killed_between_two_pages_leaves_a_log(tmp_path: Path) -> None:
    """A checkpoint brings the first page, which says how many there are, before the others."""
    path, left = tmp_path / "log", tmp_path / "left" / "log"
    left.parent.mkdir()
    with EventLog(path, clock=lambda: NOW) as log:
        for i in range(300):
            log.write(bark(float(i)))
        log.flush()
        wal = Path(f"{path}-wal").read_bytes()
        page_bytes = int.from_bytes(wal[8:12], "big")
        frames = [wal[at : at + 24 + page_bytes] for at in range(32, len(wal), 24 + page_bytes)]
        first = [frame[24:] for frame in frames if int.from_bytes(frame[:4], "big") == 1]
        left.write_bytes(first[-1] + path.read_bytes()[page_bytes:])
        Path(f"{left}-wal").write_bytes(wal)
    alone = sqlite3.connect(f"{left.as_uri()}?immutable=1", uri=True)
    with closing(alone), pytest.raises(sqlite3.DatabaseError, match="malformed"):
        alone.execute("PRAGMA quick_check").fetchall()
    write(left, bark(300.0))
    starts = [one.event.start for one in read_log(left) if isinstance(one.event, Sound)]
    assert starts == [float(i) for i in range(301)]


def test_what_is_not_there_cannot_be_read_or_made(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="expected an event log, got no such file; write one"):
        check_log(tmp_path / "log")
    with pytest.raises(LogError, match="expected a folder to write to, got No such file"):
        EventLog(tmp_path / "none" / "log")
    with pytest.raises(LogError, match="expected an event log, got something else than a file"):
        EventLog(tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_empty_file_becomes_a_log_and_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    write(tmp_path / "link", bark())
    assert (tmp_path / "link").is_symlink()
    assert len(list(read_log(tmp_path / "file"))) == 1


def test_what_was_heard_is_counted_by_name(tmp_path: Path) -> None:
    path = tmp_path / "log"

    def at(start: float, state: str) -> Sound:
        return bark(start, state, NOW + start)

    write(
        path,
        *(at(float(start), state) for start in (1, 5, 9) for state in ("start", "end")),
        at(12.0, "start"),  # goes on
        Sound("Rain", 0.0, 8.0, 0.9, "end", NOW),
        Speech("hello", 2.0, 3.0, 0.9, NOW + 2.0),
        Speech("", 3.0, 4.0, 0.9, NOW + 3.0),
        Lost(16_000, 5.0, "overrun", NOW + 5.0),
    )

    def key(one: Heard) -> tuple[str, str]:
        return one.label, one.text or ""

    assert sorted(heard_since(path, NOW), key=key) == [
        Heard("Bark", None, 4, NOW + 1.0, NOW + 12.0),
        Heard("Rain", None, 1, NOW, NOW + 8.0),
        Heard("Speech", "", 1, NOW + 3.0, NOW + 4.0),
        Heard("Speech", "hello", 1, NOW + 2.0, NOW + 3.0),
    ]
    assert [(one.label, one.count) for one in heard_since(path, NOW + 7.0)] == [
        ("Bark", 2),
        ("Rain", 1),
    ]
