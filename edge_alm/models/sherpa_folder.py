"""What kind of speech model lies in a folder of sherpa-onnx, checked before its C++ sees it.

sherpa-onnx ends the process when a file is not what it expects. So every graph is bounds-checked
here, the model's kind is read from its graphs' metadata and inputs, and the tokens are read. Names
of files are those that the project publishes its models with
(https://k2-fsa.github.io/sherpa/onnx/pretrained_models): ``encoder-epoch-99-avg-1.int8.onnx`` is
the encoder, a graph with no part in its name is the whole model. Where there are 8-bit and float
graphs of a part, the 8-bit one is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_alm.errors import ModelBrokenError, ModelMissingError
from edge_alm.models.files import broken
from edge_alm.models.onnx_file import OnnxInfo, check_onnx

_PARTS = ("uncached_decode", "cached_decode", "preprocess", "encode", "decode", "joiner")
"""In order: the first that a file's name has in it. ``encode`` is the encoder, too."""
_MAX_TOKENS_BYTES = 8 << 20
_MAX_TOKENS = 1_000_000
_WHOLE_MODELS = {
    "paraformer": ("paraformer", "paraformer"),
    "sense_voice_ctc": ("sense_voice", "model"),
    "EncDecCTCModelBPE": ("nemo_ctc", "model"),
    "EncDecCTCModel": ("nemo_ctc", "model"),
    "EncDecHybridRNNTCTCBPEModel": ("nemo_ctc", "model"),
    "zipformer2_ctc": ("zipformer_ctc", "model"),
    "wenet_ctc": ("wenet_ctc", "model"),
    "telespeech_ctc": ("telespeech_ctc", "model"),
}
"""``model_type`` of a graph to sherpa-onnx's name of the kind and of the file."""
_STREAMING_MODELS = {
    "zipformer2": "zipformer2_ctc",
    "zipformer2_ctc": "zipformer2_ctc",
    "wenet_ctc": "wenet_ctc",
    "EncDecCTCModelBPE": "nemo_ctc",
    "EncDecCTCModel": "nemo_ctc",
    "EncDecHybridRNNTCTCBPEModel": "nemo_ctc",
}


@dataclass(frozen=True, slots=True)
class SherpaModel:
    """A model that sherpa-onnx can be asked to open."""

    kind: str
    """As in sherpa-onnx's ``from_...``: transducer, whisper, nemo_ctc, ..."""
    streaming: bool
    """Whether it is one of its online recognizers."""
    arguments: Mapping[str, str]
    """Of that function: the files, and what tells kinds apart."""


def check_sherpa(folder: Path) -> SherpaModel:
    """Find out what is in the folder.

    Raises:
        ModelMissingError: no such folder, or no graph or tokens in it.
        ModelBrokenError: says what is wrong, or that the kind is not known.
    """
    parts = _find_parts(folder)
    graphs = {part: check_onnx(path) for part, path in parts.items()}
    tokens = _find_tokens(folder)
    kind, streaming, arguments = _find_kind(folder, parts, graphs)
    symbols = _read_tokens(tokens)
    if kind != "whisper":  # its tokens are in base64, and the prompt's are not among them
        wanted = max((_number(folder, info, "vocab_size") for info in graphs.values()), default=0)
        if symbols < wanted:
            raise broken(tokens, f"at least {wanted} tokens", str(symbols))
    return SherpaModel(kind, streaming, {"tokens": str(tokens), **arguments})


def _find_parts(folder: Path) -> dict[str, Path]:
    """The graph of each part; ``model`` is a graph that is no part of another."""
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix == ".onnx")
    except OSError as error:
        raise ModelMissingError(
            str(folder), expected="a folder of sherpa-onnx", got=error.strerror or "unreadable"
        ) from None
    if not files:
        raise ModelMissingError(str(folder), expected="a model of sherpa-onnx", got="no .onnx file")
    parts: dict[str, Path] = {}
    for part in ("model", *_PARTS):
        own = [path for path in files if _part_of(path) == part]
        quantised = [path for path in own if ".int8" in path.name]
        if len(chosen := quantised or own) > 1:
            raise broken(folder, f"one {part}", ", ".join(path.name for path in chosen))
        if chosen:
            parts[part] = chosen[0]
    return parts


def _part_of(path: Path) -> str:
    return next((part for part in _PARTS if part in path.stem), "model")


def _find_kind(
    folder: Path, parts: Mapping[str, Path], graphs: Mapping[str, OnnxInfo]
) -> tuple[str, bool, dict[str, str]]:
    """Kind, whether it streams, and the arguments without the tokens."""
    names = {part: str(path) for part, path in parts.items()}
    first = graphs.get("model") or graphs.get("encode") or next(iter(graphs.values()))
    model_type = first.metadata.get("model_type", "")
    match sorted(parts):
        case ["decode", "encode", "joiner"]:
            files = {"encoder": names["encode"], "decoder": names["decode"]}
            files["joiner"] = names["joiner"]
            if len(first.inputs) > 2:  # what it remembers of the audio before
                return "transducer", True, files
            kind = "nemo_transducer" if model_type.startswith("EncDec") else "transducer"
            return "transducer", False, {**files, "model_type": kind}
        case ["decode", "encode"] if model_type.startswith("whisper"):
            return "whisper", False, {"encoder": names["encode"], "decoder": names["decode"]}
        case ["decode", "encode"] if model_type == "EncDecMultiTaskModel":
            return "nemo_canary", False, {"encoder": names["encode"], "decoder": names["decode"]}
        case ["decode", "encode"] if model_type == "paraformer":
            return "paraformer", True, {"encoder": names["encode"], "decoder": names["decode"]}
        case ["cached_decode", "encode", "preprocess", "uncached_decode"]:
            return (
                "moonshine",
                False,
                {
                    "preprocessor": names["preprocess"],
                    "encoder": names["encode"],
                    "uncached_decoder": names["uncached_decode"],
                    "cached_decoder": names["cached_decode"],
                },
            )
        case ["model"] if _remembers(first) and model_type in _STREAMING_MODELS:
            return _STREAMING_MODELS[model_type], True, {"model": names["model"]}
        case ["model"] if not _remembers(first) and model_type in _WHOLE_MODELS:
            kind, argument = _WHOLE_MODELS[model_type]
            return kind, False, {argument: names["model"]}
    raise ModelBrokenError(
        str(folder),
        expected="a transducer, Whisper, Moonshine, Paraformer, SenseVoice, Canary or CTC model",
        got=f"{', '.join(path.name for path in parts.values())} of model_type {model_type!r}",
    )


def _remembers(graph: OnnxInfo) -> bool:
    return any("cache" in name or "state" in name for name in graph.inputs)


def _number(folder: Path, graph: OnnxInfo, key: str) -> int:
    text = graph.metadata.get(key, "0")
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise broken(folder, f"a number for {key}", repr(text))
    return int(text)


def _find_tokens(folder: Path) -> Path:
    found = sorted(folder.glob("*tokens.txt"))
    if len(found) != 1:
        raise ModelMissingError(
            str(folder), expected="one file called tokens.txt", got=str(len(found))
        )
    return found[0]


def _read_tokens(path: Path) -> int:
    """How many there are: a symbol and its number a line, each number once."""
    try:
        if path.stat().st_size > _MAX_TOKENS_BYTES:
            raise broken(path, f"at most {_MAX_TOKENS_BYTES} bytes", "more")
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise broken(path, "a text in UTF-8", str(error)) from error
    numbers = set()
    for at, line in enumerate(lines, 1):
        if not line.strip():
            continue
        number = line.split()[-1]
        if not (number.isascii() and number.isdecimal() and len(number) < 8):
            raise broken(path, "a symbol and its number in every line", f"line {at}: {line[:40]!r}")
        numbers.add(int(number))
    if not numbers or max(numbers) >= _MAX_TOKENS or len(numbers) <= max(numbers):
        raise broken(path, "numbers from 0 on without a gap", f"{len(numbers)} of them")
    return len(numbers)
