"""``python -m export``: models to the form that runs on the device.

Exit status as the command ``edge-alm``: 0 done; 2 the user's mistake or something missing; 3 a
refused result; 130 and 143 when stopped. Errors are one line, and leave no half file behind.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from edge_alm.errors import EdgeAlmError, RefusedError, missing_extra

MISTAKE, REFUSED = 2, 3
INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
_MEMORY = ("not enough memory", "out of memory", "allocate memory", "bad_alloc", "bad allocation")


class _TerminatedError(BaseException):
    """SIGTERM, unwinding like Ctrl-C."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"export: {message}; see: {self.prog} --help", file=sys.stderr)
        raise SystemExit(MISTAKE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit status."""
    args = make_parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], None] = args.run
    before = signal.signal(signal.SIGTERM, _terminate)
    # What is exported is on this machine, or is fetched from the hub by transformers itself.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        run(args)
        return 0
    except RefusedError as error:
        return _told(str(error), REFUSED)
    except EdgeAlmError as error:
        return _told(str(error), MISTAKE)
    except ImportError as error:
        return _told(str(missing_extra("export", str(error.name or error), str(error))), MISTAKE)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(w in str(error) for w in _MEMORY):
            raise
        return _told("memory: the model does not fit; use a machine with more", MISTAKE)
    except OSError as error:
        return _told(f"{error.filename or 'disk'}: {error.strerror or error}", MISTAKE)
    except KeyboardInterrupt:
        return _told("stopped; nothing was written", INTERRUPTED)
    except _TerminatedError:
        return _told("stopped; nothing was written", TERMINATED)
    finally:
        signal.signal(signal.SIGTERM, before)


def make_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands."""
    parser = _Parser(prog="python -m export", description="Bring a model to the device.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_encoder(commands)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", required=True, metavar="ID|DIR", help="a folder of transformers, or a hub's name"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="a new folder")
    parser.add_argument("--licence", help="of the weights (default: what the card says)")


def _add_encoder(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser(
        "encoder",
        help="a sound encoder for `edge-alm --encoder DIR`",
        description="AST, CLAP, Whisper's encoder, wav2vec 2.0, HuBERT, WavLM and their kin to "
        "ONNX, with their front end; refused where they differ from the original.",
    )
    _add_common(parser)
    parser.add_argument(
        "--window-s", type=float, default=2.0, metavar="S", help="heard at once (default: 2)"
    )
    parser.add_argument(
        "--as-published",
        action="store_true",
        help="fill the window up to the network's own length, at its full cost",
    )
    parser.add_argument("--labels", type=Path, metavar="FILE", help="for CLAP: a sound a line")
    parser.add_argument(
        "--prompt",
        default="This is a sound of {}.",
        metavar="TEXT",
        help="for CLAP: around a label (default: %(default)s)",
    )
    parser.add_argument(
        "--threshold", type=float, default=0.5, metavar="P", help="of every label (default: 0.5)"
    )
    parser.add_argument("--activation", choices=("sigmoid", "softmax"), help="of the scores")
    parser.add_argument(
        "--audio", type=Path, nargs="+", default=(), metavar="FILE", help="to check parity on"
    )
    parser.add_argument("--opset", type=int, default=17, help="of ONNX (default: 17)")
    parser.set_defaults(run=_run_encoder)


def _run_encoder(args: argparse.Namespace) -> None:
    from export.encoder import EncoderOptions, export_encoder

    options = EncoderOptions(
        window_s=args.window_s,
        as_published=args.as_published,
        labels=args.labels,
        prompt=args.prompt,
        threshold=args.threshold,
        activation=args.activation,
        licence=args.licence,
        audio=tuple(args.audio),
        opset=args.opset,
    )
    made = export_encoder(args.model, args.out, options)
    graph = made.manifest.graphs["audio"]
    size_mb = sum(file.bytes for file in made.manifest.files.values()) / 1e6
    parity = made.manifest.parity
    print(f"{args.out}: {made.manifest.architecture}, opset {graph.opset}, {size_mb:.1f} MB")
    print(f"outputs: {', '.join(f'{k} {list(v.shape)}' for k, v in graph.outputs.items())}")
    print(f"parity: {parity['max_difference']:.2g} at most over {parity['checks']} checks")
    print(f"a window takes {made.window_ms:.0f} ms here; a live ear has 480 ms for each")


def _told(line: str, status: int) -> int:
    print(f"export: {line}", file=sys.stderr)
    return status


def _terminate(number: int, frame: FrameType | None) -> None:
    raise _TerminatedError


if __name__ == "__main__":
    sys.exit(main())
