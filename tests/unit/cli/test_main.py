"""What every command does with an error, a signal and a reader that goes away."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_alm.cli.main import COMMANDS, make_parser, run
from edge_alm.cli.output import OutputError
from edge_alm.errors import EdgeAlmError, RefusedError, SourceError, UsageError

ROOT = Path(__file__).resolve().parents[3]


def status_of(act: Callable[[], int]) -> int:
    before = signal.getsignal(signal.SIGTERM)
    try:
        return run(argparse.Namespace(run=lambda args: act()))
    finally:
        signal.signal(signal.SIGTERM, before)


def throw(error: BaseException) -> Callable[[], int]:
    def act() -> int:
        raise error

    return act


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UsageError("x"), 2),
        (SourceError("x", hint="mend"), 2),
        (OutputError("x"), 2),
        (RefusedError("x"), 3),
        (ValueError("x"), 1),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(), 0),
    ],
)
def test_the_status_of_an_error(
    error: BaseException, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(throw(error)) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    if isinstance(error, EdgeAlmError):
        assert printed.err == f"edge-alm: {error}\n"


def test_a_bug_says_how_to_report_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(throw(ZeroDivisionError("by zero"))) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "a bug: ZeroDivisionError: by zero; run again with EDGE_ALM_DEBUG=1" in line


def test_a_bug_can_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_ALM_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        status_of(throw(ZeroDivisionError()))


def test_sigterm() -> None:
    def act() -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return 0

    assert status_of(act) == 143


def test_the_status_of_a_command() -> None:
    assert status_of(lambda: 0) == 0
    assert status_of(lambda: 3) == 3


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "edge-alm: the following arguments are required: COMMAND; see: edge-alm --help\n"),
        (["ask"], "edge-alm: ask: the following arguments are required"),
        (["listen", "--backend", "alsa"], "edge-alm: listen: argument --backend: invalid choice"),
        (["listen", "--loud"], "unrecognized arguments: --loud"),
        (["models"], "edge-alm: models: the following arguments are required: ACTION"),
    ],
)
def test_a_wrong_command_line_is_one_line(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        make_parser().parse_args(words)
    assert left.value.code == 2
    line = capsys.readouterr().err
    assert told in line
    assert line.count("\n") == 1


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        make_parser().parse_args(["--help"])
    assert left.value.code == 0
    overview = capsys.readouterr().out
    for command in COMMANDS:
        name = command.__name__.rpartition(".")[2].replace("evaluate", "eval")
        assert f"\n    {name} " in overview
        with pytest.raises(SystemExit):
            make_parser().parse_args([name, "--help"])
        assert "usage: edge-alm" in capsys.readouterr().out


def python(code: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-c", code],
        cwd=ROOT,
        text=True,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
        **more,
    )


PRINTING = """
import sys
from edge_alm.cli import listen, main
from edge_alm.cli.output import print_line
def run(args):
    for i in range(100_000):
        print_line("line " + str(i))
    return 0
listen.run = run
main.main(["listen"])
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_a_full_disk_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = python(PRINTING, stdout=full)
    assert done.returncode == 2
    assert done.stderr == (
        "edge-alm: standard output: expected to write to it, got No space left on device\n"
    )


def test_a_reader_that_has_had_enough_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        done = python(PRINTING, stdout=pipe)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_exit_waits_for_no_thread() -> None:
    code = """
import threading, time
from edge_alm.cli import listen, main
def run(args):
    threading.Thread(target=time.sleep, args=(500,)).start()
    return 0
listen.run = run
main.main(["listen"])
"""
    assert python(code).returncode == 0
