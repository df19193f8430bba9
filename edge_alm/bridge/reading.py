"""The thread that reads links: one for all of a process.

A thread for each would wake another 50 times a second for each link, and all of them would fight
for the interpreter: with 16 links that cost more than what they read.
"""

from __future__ import annotations

import os
import select
import threading
import time
import weakref
from contextlib import suppress
from typing import Protocol

from edge_alm.bridge.links import Link

_LONGEST_WAIT_S = 1.0


class Bell:
    """Wakes a thread of this process.

    A pipe: ringing gives the interpreter away, so that who wakes has it. The waiter of a lock
    wakes to find it taken, sleeps and wakes again.
    """

    def __init__(self) -> None:
        self._out, self._in = os.pipe()
        os.set_blocking(self._in, False)
        for fd in (self._out, self._in):
            weakref.finalize(self, os.close, fd)

    def fileno(self) -> int:
        """To be polled."""
        return self._out

    def ring(self) -> None:
        """Never waits."""
        with suppress(BlockingIOError):  # it has rung so often that it will be heard
            os.write(self._in, b"\0")

    def wait(self) -> None:
        """Until it has rung since the last time."""
        os.read(self._out, 4096)

    def silence(self) -> None:
        """Forget that it has rung, if it has."""
        poll = select.poll()
        poll.register(self._out, select.POLLIN)
        if poll.poll(0):
            self.wait()


class Listener(Protocol):
    """Who wants what a link brings. Called by the reading thread only."""

    link: Link

    def take(self, frames: list[bytes]) -> float | None:
        """Take in what came, if anything; when to be called again at the latest, as
        ``time.monotonic`` counts. None: no more.
        """
        ...

    def pass_on(self) -> None:
        """Wake who waits for what was taken in. All that came is taken in before."""
        ...

    def lose(self, error: Exception) -> None:
        """Reading or taking in has failed; there will be no more."""
        ...


class Reading:
    """Reads the links of those who listen, from :meth:`add` to :meth:`remove`."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # held by the thread but while it waits
        self._due_s: dict[Listener, float] = {}
        self._gathering: set[Listener] = set()
        self._bell: Bell | None = None

    def add(self, listener: Listener) -> None:
        """Begin, with an open link."""
        with self._lock:
            self._due_s[listener] = 0.0
            if self._bell is not None:
                self._bell.ring()
                return
            self._bell = bell = Bell()
            threading.Thread(target=self._run, args=(bell,), name="links", daemon=True).start()

    def remove(self, listener: Listener) -> None:
        """End. When this returns the link is not being read, nor the listener called."""
        with self._lock:
            self._due_s.pop(listener, None)
            self._gathering.discard(listener)
            if self._bell is not None:
                self._bell.ring()

    def _run(self, bell: Bell) -> None:
        while True:
            with self._lock:
                self._read()
                if not self._due_s:
                    self._bell = None
                    return
                poll, by_fd, wait_s = self._prepare()
            poll.register(bell.fileno(), select.POLLIN)
            ready = [fd for fd, _ in poll.poll(1000 * wait_s)]
            if bell.fileno() in ready:
                bell.wait()
            with self._lock:
                self._note([by_fd[fd] for fd in ready if fd in by_fd])

    def _prepare(self) -> tuple[select.poll, dict[int, Listener], float]:
        """What to wait for, and how long."""
        poll, by_fd = select.poll(), dict[int, Listener]()
        for listener in self._due_s:
            fd = listener.link.fileno()
            if fd >= 0 and listener not in self._gathering:
                is_behind = listener.link.is_behind
                poll.register(fd, select.POLLIN | (select.POLLOUT if is_behind else 0))
                by_fd[fd] = listener
        wait_s = min(self._due_s.values()) - time.monotonic()
        return poll, by_fd, min(max(wait_s, 0.0), _LONGEST_WAIT_S)

    def _note(self, ready: list[Listener]) -> None:
        """Who has something to read is due, as soon as more of it may have come."""
        now_s = time.monotonic()
        for listener in ready:
            if listener in self._due_s:
                due_s = now_s + listener.link.gather_s
                self._due_s[listener] = min(self._due_s[listener], due_s)
                self._gathering.add(listener)

    def _read(self) -> None:
        """Read those who are due."""
        now_s = time.monotonic()
        due = [listener for listener, due_s in self._due_s.items() if due_s <= now_s]
        # One after the other: all system calls, all work, all waking. A system call gives the
        # interpreter away, which is dear where somebody waits for it.
        came = [(listener, self._read_link(listener)) for listener in due]
        for listener, frames in came:
            if frames is not None and listener in self._due_s:
                self._take(listener, frames)
        for listener in due:
            listener.pass_on()

    def _read_link(self, listener: Listener) -> list[bytes] | None:
        self._gathering.discard(listener)
        try:
            return listener.link.read()
        except Exception as error:
            self._lose(listener, error)
            return None

    def _take(self, listener: Listener, frames: list[bytes]) -> None:
        try:
            next_s = listener.take(frames)
        except Exception as error:
            self._lose(listener, error)
            return
        if next_s is None:
            self.remove(listener)
        elif listener in self._due_s:
            self._due_s[listener] = next_s

    def _lose(self, listener: Listener, error: Exception) -> None:
        """One device's trouble is not the others'."""
        self.remove(listener)
        listener.lose(error)


READING = Reading()
