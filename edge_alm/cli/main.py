"""``edge-alm``: the commands, and what every one of them does with an error.

Exit status: 0 done; 2 the user's mistake or something missing on the machine (one line says
what, expected, got and the mend); 3 a refused result; 1 a bug; 130 and 143 when stopped by
Ctrl-C and SIGTERM. A reader of the output that has had enough (``| head``) is no error.
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from edge_alm import __version__
from edge_alm.cli import (
    ask,
    bench,
    bridge,
    chat,
    devices,
    doctor,
    evaluate,
    find,
    listen,
    models,
    teach,
)
from edge_alm.cli.output import print_notice
from edge_alm.errors import EdgeAlmError, RefusedError

COMMANDS = (listen, ask, chat, find, teach, evaluate, models, devices, bridge, doctor, bench)
BUG, MISTAKE, REFUSED = 1, 2, 3
INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
DEBUG = "EDGE_ALM_DEBUG"


class _TerminatedError(BaseException):
    """SIGTERM, unwinding like Ctrl-C."""


class _Parser(argparse.ArgumentParser):
    """Tells a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        command = self.prog.removeprefix("edge-alm").strip()
        where = f"{command}: " if command else ""
        print_notice(f"{where}{message}; see: {self.prog} --help")
        raise SystemExit(MISTAKE)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file's name may hold bytes that are no text; in JSON "\udcff" is even right.
        sys.stdout.reconfigure(errors="backslashreplace")
    _leave(run(make_parser().parse_args(arguments)))


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = _Parser(
        prog="edge-alm", description="Hear, and answer questions about it, on the device."
    )
    parser.add_argument("--version", action="version", version=f"edge-alm {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser


def run(args: argparse.Namespace) -> int:
    """Run a parsed command; its exit status."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    try:
        status: int = args.run(args)
        return status
    except BrokenPipeError:
        return 0
    except RefusedError as error:
        print_notice(str(error))
        return REFUSED
    except EdgeAlmError as error:
        print_notice(str(error))
        return MISTAKE
    except KeyboardInterrupt:
        return INTERRUPTED
    except _TerminatedError:
        return TERMINATED
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        print_notice(
            f"a bug: {type(error).__name__}: {error}; "
            f"run again with {DEBUG}=1 and report what it prints"
        )
        return BUG


def _leave(status: int) -> NoReturn:
    """Exit, whatever the other threads do and wherever the output has gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    try:
        sys.stdout.flush()
    except OSError as error:
        # What was printed are complete lines; the exit would try to write the rest again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if status == 0 and not isinstance(error, BrokenPipeError):
            print_notice(f"standard output: {os.strerror(error.errno or 0)}")
            status = MISTAKE
    sys.stderr.flush()
    if threading.active_count() > 1:
        # Native libraries may have threads in mid-work, which an ordinary exit would wait for.
        os._exit(status)
    sys.exit(status)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise _TerminatedError
