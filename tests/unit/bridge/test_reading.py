"""One thread for all links: nobody's trouble is another's, and nothing runs when nobody listens."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from edge_alm.bridge.links import Link, LinkLostError
from edge_alm.bridge.reading import Bell, Reading


class PipeLink:
    """What is written into a pipe, as it was read."""

    name = "pipe"
    delay_s = 0.0
    is_behind = False

    def __init__(self, gather_s: float = 0.0) -> None:
        self.gather_s = gather_s
        self._out, self.far = os.pipe()
        os.set_blocking(self._out, False)

    def open(self) -> None:
        """It is."""

    def fileno(self) -> int:
        return self._out

    def read(self) -> list[bytes]:
        try:
            data = os.read(self._out, 4096)
        except BlockingIOError:
            return []
        if not data:
            raise LinkLostError(self.name, expected="a far end", got="none")
        return [data]

    def write(self, frame: bytes) -> None:
        """Nowhere."""

    def counts(self) -> dict[str, int]:
        return {}

    def close(self) -> None:
        for fd in (self._out, self.far):
            if fd >= 0:
                os.close(fd)
        self._out = self.far = -1


class Ear:
    def __init__(
        self,
        link: PipeLink,
        poll_s: float = 60.0,
        then: Callable[[list[bytes]], None] = lambda _: None,
    ) -> None:
        self.link: Link = link
        self.far, self._poll_s, self._then = link.far, poll_s, then
        self.heard: list[bytes] = []
        self.calls = self.passed_on = 0
        self.error: Exception | None = None

    def take(self, frames: list[bytes]) -> float | None:
        self.calls += 1
        self.heard += frames
        self._then(frames)
        return None if b"bye" in frames else time.monotonic() + self._poll_s

    def pass_on(self) -> None:
        self.passed_on = len(self.heard)

    def lose(self, error: Exception) -> None:
        self.error = error


def wait_until(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.002)


def threads() -> int:
    return sum(thread.name == "links" for thread in threading.enumerate())


@pytest.fixture
def links() -> Iterator[list[PipeLink]]:
    made = [PipeLink() for _ in range(3)]
    yield made
    for link in made:
        link.close()


def test_a_bell_rings_until_it_is_silenced() -> None:
    bell, poll = Bell(), select.poll()
    poll.register(bell.fileno(), select.POLLIN)
    bell.silence()
    assert poll.poll(0) == []
    for _ in range(100_000):  # more than a pipe holds
        bell.ring()
    while poll.poll(0):
        bell.silence()
    bell.ring()
    bell.wait()
    assert poll.poll(0) == []


def test_all_are_heard_by_one_thread_that_ends_with_the_last(links: list[PipeLink]) -> None:
    reading, ears, before = Reading(), [Ear(link) for link in links], threads()
    for ear in ears:
        reading.add(ear)
    for number in range(20):
        for ear in ears:
            os.write(ear.far, b"%d" % number)
        wait_until(lambda: all(ear.passed_on for ear in ears))
    expected = b"".join(b"%d" % number for number in range(20))
    wait_until(lambda: all(b"".join(ear.heard) == expected for ear in ears))
    assert threads() == before + 1
    for ear in ears:
        reading.remove(ear)
    wait_until(lambda: threads() == before)
    reading.add(ears[0])  # and begins again
    os.write(ears[0].far, b"more")
    wait_until(lambda: ears[0].heard[-1] == b"more")
    reading.remove(ears[0])


def test_the_trouble_of_one_is_not_that_of_others(links: list[PipeLink]) -> None:
    def fail(frames: list[bytes]) -> None:
        if frames:
            raise ValueError("a bug")

    reading = Reading()
    broken, cut, well = Ear(links[0], then=fail), Ear(links[1]), Ear(links[2])
    for ear in (broken, cut, well):
        reading.add(ear)
    os.write(links[0].far, b"x")
    os.close(links[1].far)
    links[1].far = -1
    wait_until(lambda: broken.error is not None and cut.error is not None)
    assert isinstance(broken.error, ValueError)
    assert isinstance(cut.error, LinkLostError)
    os.write(links[0].far, b"y")
    os.write(links[2].far, b"z")
    wait_until(lambda: well.heard == [b"z"])
    assert broken.heard == [b"x"]
    reading.remove(well)


def test_who_says_so_is_called_no_more(links: list[PipeLink]) -> None:
    reading, ear = Reading(), Ear(links[0])
    reading.add(ear)
    os.write(links[0].far, b"bye")
    wait_until(lambda: ear.heard == [b"bye"])
    before = threads()
    os.write(links[0].far, b"again")
    time.sleep(0.05)
    assert ear.heard == [b"bye"]
    assert threads() <= before
    assert ear.error is None


def test_after_removing_nothing_is_called(links: list[PipeLink]) -> None:
    reading = Reading()
    for _ in range(50):
        ear = Ear(links[0], poll_s=0.0)  # again and again
        reading.add(ear)
        os.write(links[0].far, b"x")
        wait_until(partial(bool, ear.heard))
        reading.remove(ear)
        calls = ear.calls
        time.sleep(0.001)
        assert ear.calls == calls


def test_it_comes_when_it_is_due_though_nothing_came(links: list[PipeLink]) -> None:
    reading, ear = Reading(), Ear(links[0], poll_s=0.02)
    reading.add(ear)
    wait_until(lambda: ear.calls >= 5)
    reading.remove(ear)
    assert ear.heard == []


def test_what_comes_bit_by_bit_is_read_together() -> None:
    link = PipeLink(gather_s=0.2)
    reading, ear = Reading(), Ear(link)
    reading.add(ear)
    wait_until(lambda: ear.calls == 1)
    for _ in range(10):
        os.write(link.far, b"x")
        time.sleep(0.001)
    wait_until(lambda: b"".join(ear.heard) == b"x" * 10)
    assert ear.calls <= 3
    reading.remove(ear)
    link.close()


def test_a_listener_may_remove_itself_while_it_is_called(links: list[PipeLink]) -> None:
    reading = Reading()
    ear = Ear(links[0], then=lambda frames: reading.remove(ear) if frames else None)
    reading.add(ear)
    os.write(links[0].far, b"x")
    wait_until(lambda: ear.heard == [b"x"])
    os.write(links[0].far, b"y")
    time.sleep(0.05)
    assert ear.heard == [b"x"]
