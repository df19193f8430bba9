from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sherpa_builders import TOKENS, write_graph, write_tones

from edge_alm.errors import EdgeAlmError, ModelBrokenError, ModelMissingError
from edge_alm.models.sherpa_folder import check_sherpa

CACHES = ("audio_signal", "length", "cache_last_channel")
ZIPFORMER = {"encoder-epoch-99.onnx": "zipformer2", "decoder-epoch-99.onnx": "", "joiner.onnx": ""}


@pytest.fixture(autouse=True)
def _onnx(require: object) -> None:
    assert callable(require)
    require("onnx", "the extra export")


def write_folder(
    folder: Path, files: dict[str, str], inputs: tuple[str, ...] = (), tokens: str = TOKENS
) -> Path:
    for name, model_type in files.items():
        metadata = {"model_type": model_type} if model_type else {}
        write_graph(folder / name, *inputs, **metadata)
    (folder / "tokens.txt").write_text(tokens, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("files", "inputs", "kind", "streaming", "names"),
    [
        (ZIPFORMER, (), "transducer", False, {"encoder", "decoder", "joiner", "model_type"}),
        (
            ZIPFORMER,
            ("x", "cached_key_0", "l"),
            "transducer",
            True,
            {"encoder", "decoder", "joiner"},
        ),
        (
            {"encoder.onnx": "EncDecRNNTBPEModel", "decoder.onnx": "", "joiner.onnx": ""},
            (),
            "transducer",
            False,
            {"encoder", "decoder", "joiner", "model_type"},
        ),
        (
            {"tiny.en-encoder.onnx": "whisper-tiny.en", "tiny.en-decoder.onnx": ""},
            (),
            "whisper",
            False,
            {"encoder", "decoder"},
        ),
        (
            {"encoder.int8.onnx": "paraformer", "decoder.int8.onnx": ""},
            (),
            "paraformer",
            True,
            {"encoder", "decoder"},
        ),
        (
            {f"{n}.onnx": "" for n in ("preprocess", "encode", "cached_decode", "uncached_decode")},
            (),
            "moonshine",
            False,
            {"preprocessor", "encoder", "cached_decoder", "uncached_decoder"},
        ),
        ({"model.onnx": "paraformer"}, (), "paraformer", False, {"paraformer"}),
        ({"model.int8.onnx": "sense_voice_ctc"}, (), "sense_voice", False, {"model"}),
        ({"model.onnx": "EncDecCTCModel"}, (), "nemo_ctc", False, {"model"}),
        ({"model.onnx": "EncDecCTCModelBPE"}, CACHES, "nemo_ctc", True, {"model"}),
        ({"ctc-epoch-20.onnx": "zipformer2"}, CACHES, "zipformer2_ctc", True, {"model"}),
        ({"model.onnx": "zipformer2_ctc"}, (), "zipformer_ctc", False, {"model"}),
        ({"model-streaming.onnx": "wenet_ctc"}, CACHES, "wenet_ctc", True, {"model"}),
    ],
)
def test_what_lies_in_a_folder(
    tmp_path: Path,
    files: dict[str, str],
    inputs: tuple[str, ...],
    kind: str,
    streaming: bool,
    names: set[str],
) -> None:
    model = check_sherpa(write_folder(tmp_path, files, inputs))
    assert (model.kind, model.streaming) == (kind, streaming)
    assert set(model.arguments) == names | {"tokens"}
    used = {Path(value).name for name, value in model.arguments.items() if name != "model_type"}
    assert used == {*files, "tokens.txt"}


def test_every_kind_is_one_of_sherpa_onnx(tmp_path: Path, require: object) -> None:
    """Names of its functions and their arguments, which this module only spells."""
    assert callable(require)
    require("sherpa_onnx", "the extra sherpa")
    import inspect

    import sherpa_onnx

    for at, (files, inputs) in enumerate(
        [
            (ZIPFORMER, ()),
            (ZIPFORMER, ("x", "a", "b")),
            ({"a-encoder.onnx": "whisper-tiny", "a-decoder.onnx": ""}, ()),
            ({"encoder.onnx": "EncDecMultiTaskModel", "decoder.onnx": ""}, ()),
            ({"encoder.onnx": "paraformer", "decoder.onnx": ""}, ()),
            (
                {
                    f"{n}.onnx": ""
                    for n in ("preprocess", "encode", "cached_decode", "uncached_decode")
                },
                (),
            ),
            *(
                ({"model.onnx": name}, ())
                for name in (
                    "paraformer",
                    "sense_voice_ctc",
                    "EncDecCTCModelBPE",
                    "zipformer2_ctc",
                    "wenet_ctc",
                    "telespeech_ctc",
                )
            ),
            *(
                ({"model.onnx": name}, CACHES)
                for name in ("zipformer2", "wenet_ctc", "EncDecCTCModel")
            ),
        ]
    ):
        folder = tmp_path / str(at)
        folder.mkdir()
        model = check_sherpa(write_folder(folder, dict(files), inputs))
        family = sherpa_onnx.OnlineRecognizer if model.streaming else sherpa_onnx.OfflineRecognizer
        inspect.signature(getattr(family, f"from_{model.kind}")).bind(
            num_threads=1, **model.arguments
        )


def test_of_two_forms_the_one_in_8_bits_is_taken(tmp_path: Path) -> None:
    model = check_sherpa(
        write_folder(tmp_path, ZIPFORMER | {"encoder-epoch-99.int8.onnx": "zipformer2"})
    )
    assert model.arguments["encoder"].endswith(".int8.onnx")
    assert model.arguments["decoder"].endswith("decoder-epoch-99.onnx")
    write_graph(tmp_path / "encoder-epoch-30.int8.onnx", model_type="zipformer2")
    with pytest.raises(ModelBrokenError, match=r"encoder-epoch-30\.int8\.onnx, encoder-epoch-99"):
        check_sherpa(tmp_path)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"model.onnx": "tacotron"}, "tacotron"),
        ({"model.onnx": ""}, "model_type"),
        ({"encoder.onnx": "zipformer2", "joiner.onnx": ""}, "transducer"),
        ({"encoder.onnx": "unheard", "decoder.onnx": ""}, "unheard"),
    ],
)
def test_another_kind_is_refused(tmp_path: Path, files: dict[str, str], words: str) -> None:
    with pytest.raises(ModelBrokenError, match=words):
        check_sherpa(write_folder(tmp_path, files))


@pytest.mark.parametrize(
    "tokens",
    ["", "a 0\nb 2\n", "a 0\nb\n", "a 0\na 1\nb -1\n", "a 0\nb 99999999\n", "a 0\nb ²\n", "a 0\n"],
)
def test_tokens_that_are_none_are_refused(tmp_path: Path, tokens: str) -> None:
    with pytest.raises(ModelBrokenError, match=r"tokens\.txt"):
        check_sherpa(write_tones(tmp_path, streaming=False, tokens=tokens))


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelMissingError, match="none"):
        check_sherpa(tmp_path / "none")
    with pytest.raises(ModelMissingError, match=r"\.onnx"):
        check_sherpa(tmp_path)
    write_tones(tmp_path, streaming=False)
    (tmp_path / "tokens.txt").unlink()
    with pytest.raises(ModelMissingError, match=r"tokens\.txt"):
        check_sherpa(tmp_path)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None
)
@given(st.data())
def test_a_damaged_graph_is_refused_or_whole(tmp_path: Path, data: st.DataObject) -> None:
    model = write_tones(tmp_path, streaming=True) / "model.onnx"
    raw = bytearray(model.read_bytes())
    at = data.draw(st.integers(0, len(raw) - 1))
    if data.draw(st.booleans()):
        del raw[at:]
    else:
        raw[at] ^= data.draw(st.integers(1, 255))
    model.write_bytes(raw)
    with contextlib.suppress(EdgeAlmError):
        assert check_sherpa(tmp_path).kind == "nemo_ctc"
