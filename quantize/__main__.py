"""``python -m quantize``: a model in fewer bits, with a verdict.

Exit status: 0 kept; 2 the user's mistake or something missing; 3 refused; 1 a bug; 130 and 143
when stopped by Ctrl-C and SIGTERM. Nothing half written stays, however it ends.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from edge_alm.errors import EdgeAlmError, RefusedError
from quantize import gguf_files, onnx_files, sweep, tflite_files

DEBUG = "EDGE_ALM_DEBUG"


class _TerminatedError(BaseException):
    """SIGTERM, unwinding like Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; its exit status."""
    parser = argparse.ArgumentParser(prog="python -m quantize", description=__doc__)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (onnx_files, gguf_files, tflite_files, sweep):
        command.add_parser(subparsers)
    words = sys.argv[1:] if arguments is None else arguments
    args = parser.parse_args(words)
    args.command_line = shlex.join(["python", "-m", "quantize", *words])
    signal.signal(signal.SIGTERM, _terminate)
    try:
        args.run(args)
    except RefusedError as error:
        return _tell(str(error), 3)
    except EdgeAlmError as error:
        return _tell(str(error), 2)
    except MemoryError:
        return _tell("memory: expected room for the model, got too little", 2)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except _TerminatedError:
        return 128 + signal.SIGTERM
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        return _tell(f"a bug: {type(error).__name__}: {error}; {DEBUG}=1 prints more", 1)
    return 0


def _tell(line: str, status: int) -> int:
    print(f"quantize: {line}", file=sys.stderr)
    return status


def _terminate(number: int, frame: FrameType | None) -> None:
    raise _TerminatedError


if __name__ == "__main__":
    sys.exit(main())
