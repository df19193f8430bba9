"""Options that several commands share."""

from __future__ import annotations

import argparse
import re
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from edge_alm.errors import UsageError

if TYPE_CHECKING:
    from edge_alm.log import EventLog
    from edge_alm.runtime import Ears

SOURCE_HELP = (
    "a file, '-' (16 kHz mono s16le on standard input), 'mic:NAME', 'ros:TOPIC', 'serial:PATH', "
    "'udp:PORT', 'ble:ADDRESS'; nothing for the microphone"
)


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Which models to use."""
    parser.add_argument(
        "--bundle", default="default", metavar="NAME|DIR", help="the models (default: %(default)s)"
    )
    parser.add_argument(
        "--llm",
        metavar="URL",
        help="an OpenAI-compatible server (http://host:port/v1) in place of the bundle's model",
    )
    parser.add_argument(
        "--encoder",
        metavar="DIR|FILE",
        help="a sound encoder in place of the bundle's: from `python -m export encoder`, or an "
        "ONNX or LiteRT file that hears patches as YAMNet does",
    )
    parser.add_argument(
        "--transcriber",
        metavar="ENGINE[:DIR]",
        help="what turns speech into text: ctranslate2, faster-whisper or sherpa-onnx, and the "
        "folder of its model (default: the bundle's)",
    )
    parser.add_argument("--no-speech", action="store_true", help="do not turn speech into text")


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """How to read the source."""
    parser.add_argument("--realtime", action="store_true", help="pace a file as a microphone would")
    parser.add_argument(
        "--backend",
        choices=("auto", "sounddevice", "pyaudio"),
        default="auto",
        help="what opens a microphone (default: %(default)s)",
    )


def add_log_options(parser: argparse.ArgumentParser) -> None:
    """What is kept of what was heard: nothing, unless somebody asks."""
    parser.add_argument(
        "--log", metavar="FILE", help="keep the events in this file; without their words"
    )
    parser.add_argument(
        "--log-words",
        action="store_true",
        help="keep in it what was said, asked and answered, too",
    )
    parser.add_argument(
        "--log-mb",
        type=_megabytes,
        metavar="MB",
        default=64,
        help="its size (default: %(default)s)",
    )
    parser.add_argument(
        "--log-age",
        type=duration,
        metavar="TIME",
        default="30d",
        help="how long events stay in it (default: %(default)s)",
    )


def add_redaction(parser: argparse.ArgumentParser) -> None:
    """For those whose output goes where no words may."""
    parser.add_argument(
        "--redact-speech",
        action="store_true",
        help="leave the text of speech empty in all that is printed and kept",
    )


def open_log(args: argparse.Namespace) -> AbstractContextManager[EventLog | None]:
    """The log that the options describe; None where nothing is to be kept.

    Raises:
        UsageError: options that need or exclude each other.
        LogError: the file cannot be written to, or is no log.
    """
    if args.log_words and args.log is None:
        raise UsageError("--log-words", expected="--log FILE", got="no log")
    if args.log_words and getattr(args, "redact_speech", False):
        raise UsageError(
            "--log-words", expected="words to keep", got="--redact-speech", hint="drop one"
        )
    if args.log is None:
        return nullcontext()
    from edge_alm.log import EventLog

    return EventLog(
        args.log, words=args.log_words, max_bytes=args.log_mb << 20, max_age_s=args.log_age
    )


_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smhd])")
_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


def duration(text: str) -> float:
    """Seconds of ``90s``, ``15m``, ``2h`` or ``1d``.

    Raises:
        argparse.ArgumentTypeError: the text is none of these, or no time at all.
    """
    found = _DURATION.fullmatch(text)
    seconds = float(found[1]) * _UNITS_S[found[2]] if found else 0.0
    if seconds <= 0.0:
        raise argparse.ArgumentTypeError(f"expected a time like 90s, 15m, 2h or 1d, got {text!r}")
    return seconds


def _megabytes(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text) or int(text) < 2:
        raise argparse.ArgumentTypeError(f"expected a whole number from 2 on, got {text!r}")
    return int(text)


def load_options(args: argparse.Namespace, *, llm: bool, hears: bool = True) -> dict[str, Any]:
    """What the options say to :func:`edge_alm.load`; plain values.

    Args:
        args: the parsed command line.
        llm: whether a language model is needed at all.
        hears: whether there is anything to listen to.
    """
    model: bool | str = (args.llm or True) if llm else False
    transcribe = hears and not args.no_speech and (args.transcriber or True)
    return {"bundle": args.bundle, "llm": model, "transcribe": transcribe, "encoder": args.encoder}


def load_ears(args: argparse.Namespace, *, llm: bool, hears: bool = True) -> Ears:
    """The ears that the options describe; arguments as of :func:`load_options`."""
    from edge_alm.runtime import load

    return load(**load_options(args, llm=llm, hears=hears))
