"""The event log: what was heard, in a file of bounded size and age; never audio, words if asked.

An SQLite database in WAL mode. One process writes, others may read meanwhile. What is written is on
the disk within :data:`FLUSH_S` and the time of a flush: a process that is killed, or a power cut,
takes no more than that with it, and leaves a file that is whole.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from edge_alm.errors import EdgeAlmError
from edge_alm.types import (
    Event,
    Lost,
    Sound,
    Speech,
    Watch,
    event_from_dict,
    event_to_dict,
    to_seconds,
    without_words,
)

MAX_BYTES = 64 << 20
"""Some 300,000 events: months of a home."""
MAX_AGE_S = 30 * 86_400.0
RESERVED_BYTES = 1 << 20
"""Of a log's bytes, for what SQLite keeps beside it: the WAL and its index."""
FLUSH_S = 0.5
"""How long an event may wait for others that go to the disk with it, once for all."""
BATCH = 1_000
"""Events that may wait; whoever brings the next one writes them all."""
TRIM_EVERY_S = 3_600.0
"""Old events go this often where nothing happens."""
LAST_UTTERANCES = 100
"""Whose words may come before the language model; those before are only counted."""
CHECKPOINT_PAGES = 64
"""Of 4 KB, in the WAL."""

SPEECH = "Speech"
"""AudioSet's name for what is said."""

_APPLICATION_ID = 0x45414C4D
"""'EALM', at a fixed place of the file's head: not just any database."""
_SCHEMA_VERSION = 1
_MAGIC, _HEADER = b"SQLite format 3\0", struct.Struct(">16s44xi4xi")
"""How a file of SQLite begins, then the version of its user's schema and its user."""
_SCHEMA = (
    # label: of what can be counted. is_over: 0 where a sound begins. at_s: on the stream's clock.
    "CREATE TABLE event (id INTEGER PRIMARY KEY, stream INTEGER NOT NULL, type TEXT NOT NULL, "
    "label TEXT, is_over INTEGER NOT NULL, start_unix REAL NOT NULL, end_unix REAL NOT NULL, "
    "at_s REAL NOT NULL, json TEXT NOT NULL)",
    "CREATE INDEX event_end_unix ON event (end_unix)",
)
_INSERT = "INSERT INTO event VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)"
_TRIM_ROWS = 256
_READ_ROWS = 1_000


class LogError(EdgeAlmError):
    """A log cannot be opened, read or written; is damaged, none at all, or another's to write."""

    code = "log"


@dataclass(frozen=True, slots=True)
class Logged:
    """An event as the log has it."""

    event: Event
    stream: int
    """Numbers the streams of a log from 1; each has its own clock."""
    at_s: float
    """Seconds on the stream's clock: when what the event tells of was over, or a sound began. Of an
    answer or a fault, which have no such time, the latest one before."""
    at_unix: float
    """The same by the wall clock, in Unix seconds; where the source has none, or the event, when it
    was logged."""


@dataclass(frozen=True, slots=True)
class Heard:
    """All sounds of one name, an utterance, or all utterances of which the log has no words."""

    label: str
    """:data:`SPEECH` for what was said."""
    text: str | None
    """What was said; empty where the log has no words. None for sounds."""
    count: int
    start_unix: float
    """Of the first."""
    end_unix: float
    """Of the last."""


class EventLog:
    """Writes events to a file. Thread-safe; :meth:`write` waits for the disk only when a lot waits.

    Args:
        path: made where there is none, for its owner alone to read.
        words: keep what was said, asked and answered; without it these texts are empty.
        max_bytes: of the file and those beside it; the oldest events go first.
        max_age_s: older events go.
        clock: Unix seconds.

    Raises:
        LogError: the file is none of these, damaged, or another process writes to it; nothing has
            changed then.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        words: bool = False,
        max_bytes: int = MAX_BYTES,
        max_age_s: float = MAX_AGE_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if max_bytes < 2 * RESERVED_BYTES or not max_age_s > 0.0:
            raise LogError(
                "event log",
                expected=f"at least {2 * RESERVED_BYTES} bytes and some time",
                got=f"{max_bytes} bytes and {max_age_s:g} s",
            )
        # Of a link the file: a new one would take the link's place.
        self._path = Path(path).resolve()
        self._words, self._clock = words, clock
        self._max_bytes, self._max_age_s = max_bytes - RESERVED_BYTES, max_age_s
        self._lock = threading.RLock()
        self._pending: list[tuple[object, ...]] = []
        self._failure: LogError | None = None
        self._filled, self._closing = threading.Event(), threading.Event()
        if not _is_new(self._path):
            _check_kind(self._path)
        self._turn = _take_turn(self._path)
        try:
            # Another process may have made it since.
            if _is_new(self._path):
                _create(self._path)
            with _reading(self._path) as database:
                _check_whole(self._path, database)
                last = database.execute(
                    "SELECT stream FROM event ORDER BY id DESC LIMIT 1"
                ).fetchone()
            self._stream, self._at_s = int(last[0]) + 1 if last else 1, 0.0
            self._database = self._open()
        except BaseException:
            os.close(self._turn)
            raise
        self._filled.set()  # what has become too old since goes now
        self._thread = threading.Thread(target=self._keep_flushing, name="event-log", daemon=True)
        self._thread.start()

    def __enter__(self) -> EventLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def begin_stream(self) -> None:
        """What follows is on another clock."""
        with self._lock:
            self._stream, self._at_s = self._stream + 1, 0.0

    def write(self, event: Event) -> None:
        """Add an event; it is on the disk in half a second or so.

        Raises:
            LogError: this one or an earlier one could not be written, or the log is closed.
        """
        with self._lock:
            self._raise_failure()
            self._pending.append(self._to_row(event if self._words else without_words(event)))
            if len(self._pending) >= BATCH:
                self.flush()
        self._filled.set()

    def flush(self) -> None:
        """Bring all to the disk; what is too old or too much goes.

        Raises:
            LogError: the disk is full, or the like.
        """
        with self._lock:
            self._raise_failure()
            self._filled.clear()
            try:
                self._database.execute("BEGIN IMMEDIATE")
                self._database.executemany(_INSERT, self._pending)
                self._trim()
                self._database.execute("COMMIT")
                self._pending.clear()
                if self._count_pages() > self._max_bytes // self._page_bytes:
                    # As a script: of a statement without columns execute() takes the first step.
                    self._database.executescript("PRAGMA incremental_vacuum")
            except sqlite3.Error as error:
                self._failure = _unusable(self._path, "to write to it", error)
                raise self._failure from error
            finally:  # Ctrl-C, too
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")

    def close(self) -> None:
        """Write what waits and let go of the file. Idempotent.

        Raises:
            LogError: an event could not be written, now or earlier; the file is let go of.
        """
        with self._lock:
            if self._closing.is_set():
                return
            self._closing.set()
        self._filled.set()
        self._thread.join()
        try:
            self.flush()
        finally:
            with self._lock:
                self._failure = self._failure or _closed(self._path)
                self._database.close()
                os.close(self._turn)

    def _open(self) -> sqlite3.Connection:
        # One thread at a time: the lock sees to it.
        database = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            # A robot is switched off by a power cut, and what has gone is not to be found again.
            database.execute("PRAGMA synchronous=FULL")
            database.execute("PRAGMA secure_delete=ON").fetchall()
            database.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}").fetchall()
            database.execute("PRAGMA journal_size_limit=0").fetchall()
            (self._page_bytes,) = database.execute("PRAGMA page_size").fetchone()
        except sqlite3.Error as error:
            database.close()
            raise _unusable(self._path, "a file to write to", error) from error
        return database

    def _to_row(self, event: Event) -> tuple[object, ...]:
        start_s, end_s = _span(event) or (self._at_s, self._at_s)
        self._at_s = max(self._at_s, end_s)
        lasted_s = end_s - start_s
        start_unix = self._clock() - lasted_s if event.at_unix is None else event.at_unix
        return (
            self._stream,
            event.type,
            _label(event),
            not (isinstance(event, Sound) and event.state == "start"),
            start_unix,
            start_unix + lasted_s,
            end_s,
            # ASCII: what a file's name has of bytes that are no text would not go into SQLite.
            json.dumps(event_to_dict(event)),
        )

    def _trim(self) -> None:
        too_old = self._clock() - self._max_age_s
        self._database.execute("DELETE FROM event WHERE end_unix < ?", (too_old,))
        while self._count_used() > self._max_bytes // self._page_bytes:
            oldest = "DELETE FROM event WHERE id IN (SELECT id FROM event ORDER BY id LIMIT ?)"
            if not self._database.execute(oldest, (_TRIM_ROWS,)).rowcount:
                return

    def _count_pages(self) -> int:
        (pages,) = self._database.execute("PRAGMA page_count").fetchone()
        return int(pages)

    def _count_used(self) -> int:
        (free,) = self._database.execute("PRAGMA freelist_count").fetchone()
        return self._count_pages() - int(free)

    def _keep_flushing(self) -> None:
        while not self._closing.is_set():
            self._filled.wait(TRIM_EVERY_S)
            if self._closing.wait(FLUSH_S):
                return
            try:
                self.flush()
            except LogError:
                return  # the next call tells

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure


def check_log(path: str | Path) -> None:
    """Whether there is a log to read, in a millisecond.

    Raises:
        LogError: there is no such file, or it is no log.
    """
    with _reading(_find(path)):
        pass


def read_log(path: str | Path, since_unix: float = 0.0) -> Iterator[Logged]:
    """The events that were not over by ``since_unix``, in the order in which they were written.

    Raises:
        LogError: there is no such file, it is no log, or damaged.
    """
    found = _find(path)
    # +: by the rows, not by the index of times, which would be sorted anew for every thousand.
    query = "SELECT id, json, stream, at_s, end_unix FROM event WHERE id > ? AND +end_unix >= ? "
    last = 0
    # A few at a time: a reader that goes on for long would make the writer's WAL grow.
    while True:
        with _reading(found) as database:
            rows = database.execute(
                query + "ORDER BY id LIMIT ?", (last, since_unix, _READ_ROWS)
            ).fetchall()
        for _, text, stream, at_s, at_unix in rows:
            yield Logged(_event(found, text), stream, at_s, at_unix)
        if len(rows) < _READ_ROWS:
            return
        if rows[-1][0] <= last:
            raise _no_log(found, "events out of order")
        last = rows[-1][0]


def heard_since(path: str | Path, since_unix: float) -> list[Heard]:
    """What was not over by then: each sound once, and each of the last utterances with its words.

    Raises:
        LogError: there is no such file, it is no log, or damaged.
    """
    found = _find(path)
    with _reading(found) as database:
        # A sound has two events. One of them is missing where it began before, or still goes on.
        groups = database.execute(
            "SELECT type, label, max(sum(is_over), sum(NOT is_over)), min(start_unix), "
            "max(end_unix) FROM event WHERE end_unix >= ? AND label IS NOT NULL "
            "GROUP BY type, label",
            (since_unix,),
        ).fetchall()
        utterances = database.execute(
            "SELECT json, start_unix, end_unix FROM event "
            "WHERE end_unix >= ? AND type = ? AND label IS NULL ORDER BY id DESC",
            (since_unix, Speech.type),
        ).fetchall()
    last, rest = utterances[:LAST_UTTERANCES], utterances[LAST_UTTERANCES:]
    try:
        if rest:
            _, starts, ends = zip(*rest, strict=True)
            groups.append((Speech.type, SPEECH, len(rest), min(starts), max(ends)))
        return [
            Heard(str(label), None if kind == Sound.type else "", int(n), float(start), float(end))
            for kind, label, n, start, end in groups
        ] + [
            Heard(SPEECH, str(json.loads(text)["text"]), 1, float(start), float(end))
            for text, start, end in last
        ]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _no_log(found, str(error)) from error


def _span(event: Event) -> tuple[float, float] | None:
    """From when to when on the stream's clock; None for what has no such time."""
    if isinstance(event, Lost):
        return event.at, event.at + to_seconds(event.samples)
    if isinstance(event, Sound | Speech):
        return event.start, event.start if event.end is None else event.end
    return (event.start, event.start) if isinstance(event, Watch) else None


def _label(event: Event) -> str | None:
    if isinstance(event, Speech):
        return None if event.text else SPEECH
    return event.label if isinstance(event, Sound) else None


def _is_new(path: Path) -> bool:
    """Whether there is no file yet, or an empty one."""
    try:
        found = path.stat()
        return stat.S_ISREG(found.st_mode) and found.st_size == 0
    except FileNotFoundError:
        return True
    except OSError as error:
        raise _unusable(path, "a file to write to", error) from error


def _create(path: Path) -> None:
    """Make a whole log, in one step: whoever is killed here leaves none."""
    made = path.with_name(f"{path.name}-new")
    try:
        made.unlink(missing_ok=True)
        os.close(os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        with closing(sqlite3.connect(made, isolation_level=None)) as database:
            for statement in (
                "PRAGMA journal_mode=OFF",  # it would stay behind, too
                "PRAGMA auto_vacuum=INCREMENTAL",
                "BEGIN",
                *_SCHEMA,
                f"PRAGMA application_id={_APPLICATION_ID}",
                f"PRAGMA user_version={_SCHEMA_VERSION}",
                "COMMIT",
                "PRAGMA journal_mode=WAL",
            ):
                database.execute(statement).fetchall()
        made.replace(path)
    except (OSError, sqlite3.Error) as error:
        raise _unusable(path, "a file to write to", error) from error


def _find(path: str | Path) -> Path:
    """A log that is there."""
    found = Path(path).resolve()
    if _is_new(found):
        raise LogError(
            str(path),
            expected="an event log",
            got="an empty file" if found.exists() else "no such file",
            hint="write one: edge-alm listen --log FILE",
        )
    _check_kind(found)
    return found


def _check_kind(path: Path) -> None:
    """Refuse what is no log, without a trace: no lock, nothing recovered, no file beside it.

    By its first bytes (https://www.sqlite.org/fileformat2.html, 1.3): SQLite takes a file without
    what lies beside it for damaged where its writer was killed between two pages.
    """
    if not path.is_file():
        raise _no_log(path, "something else than a file")
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER.size)
    except OSError as error:
        raise _no_log(path, str(error)) from error
    if len(header) < _HEADER.size:
        raise _no_log(path, f"{len(header)} bytes")
    magic, version, application = _HEADER.unpack(header)
    if magic != _MAGIC:
        raise _no_log(path, "file is not a database")
    if application != _APPLICATION_ID:
        raise _no_log(path, "something else")
    if version != _SCHEMA_VERSION:
        raise LogError(
            str(path),
            expected=f"an event log of version {_SCHEMA_VERSION}",
            got=f"version {version}",
            hint="name another file",
        )


def _check_whole(path: Path, database: sqlite3.Connection) -> None:
    (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise _no_log(path, f"a damaged one: {found}")


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that changes nothing; SQLite's errors as ours."""
    try:
        with closing(
            sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)
        ) as database:
            # A trigger or a view in a file from elsewhere would be code.
            schema = database.execute("SELECT sql FROM sqlite_master").fetchall()
            if [sql for (sql,) in schema] != list(_SCHEMA):
                raise _no_log(path, "other tables")
            yield database
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise _no_log(path, str(error)) from error


def _take_turn(path: Path) -> int:
    """Be the one who writes; ends with the process, or when what is returned is closed."""
    # Not a lock on the log itself: closing any descriptor of that would drop SQLite's own.
    lock = Path(f"{path}-lock")
    try:
        turn = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise _unusable(path, "a folder to write to", error) from error
    try:
        fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(turn)
        if not isinstance(error, BlockingIOError):
            raise _unusable(path, "a lock beside it", error) from error
        raise LogError(
            str(path),
            expected="no other process that writes to it",
            got="one that does",
            hint="end that one, or name another file",
        ) from None
    return turn


def _event(path: Path, text: str) -> Event:
    try:
        return event_from_dict(json.loads(text))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _no_log(path, f"an event that is none: {error}") from error


def _no_log(path: Path, got: str) -> LogError:
    return LogError(str(path), expected="an event log", got=got, hint="name another file")


def _unusable(path: Path, expected: str, error: Exception) -> LogError:
    reason = os.strerror(error.errno or 0) if isinstance(error, OSError) else str(error)
    return LogError(str(path), expected=expected, got=reason)


def _closed(path: Path) -> LogError:
    return LogError(str(path), expected="an open log", got="a closed one")
