"""Options that several commands share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
        metavar="DIR",
        help="a sound encoder from `python -m export encoder` in place of the bundle's",
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


def load_ears(args: argparse.Namespace, *, llm: bool) -> Ears:
    """The ears that the options describe.

    Args:
        args: the parsed command line.
        llm: whether a language model is needed at all.
    """
    from edge_alm.runtime import load

    model: bool | str = (args.llm or True) if llm else False
    transcribe = not args.no_speech and (args.transcriber or True)
    return load(args.bundle, llm=model, transcribe=transcribe, encoder=args.encoder)
