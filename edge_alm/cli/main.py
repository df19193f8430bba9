"""``edge-alm``: the commands, and what every one of them does with an error.

Exit status: 0 done; 2 the user's mistake or something missing on the machine (one line says
what, expected, got and the mend); 3 a refused result; 1 a bug; 130 and 143 when stopped by
Ctrl-C and SIGTERM.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

from edge_alm import __version__
from edge_alm.cli import ask, bench, chat, devices, doctor, evaluate, listen, models
from edge_alm.errors import EdgeAlmError, RefusedError

COMMANDS = (listen, ask, chat, evaluate, models, devices, doctor, bench)
BUG, MISTAKE, REFUSED = 1, 2, 3
INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
DEBUG = "EDGE_ALM_DEBUG"


class _TerminatedError(BaseException):
    """SIGTERM, unwinding like Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    args = make_parser().parse_args(arguments)
    try:
        status = run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has gone (`| head`); what was printed is complete lines.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    # Native libraries may have threads in mid-work, which an ordinary exit would wait for.
    sys.stdout.flush()
    sys.stderr.flush()
    if any(thread is not threading.main_thread() for thread in threading.enumerate()):
        os._exit(status)
    sys.exit(status)


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
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
        raise
    except RefusedError as error:
        print(f"edge-alm: {error}", file=sys.stderr)
        return REFUSED
    except EdgeAlmError as error:
        print(f"edge-alm: {error}", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        return INTERRUPTED
    except _TerminatedError:
        return TERMINATED
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        print(
            f"edge-alm: a bug: {type(error).__name__}: {error}; "
            f"run again with {DEBUG}=1 and report what it prints",
            file=sys.stderr,
        )
        return BUG


def _terminate(number: int, frame: FrameType | None) -> None:
    raise _TerminatedError
