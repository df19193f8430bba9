"""A tiny seeded pair of Ultravox's shape, run for real by libmtmd; broken ones refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("llama_cpp")
pytest.importorskip("gguf")
from native_models import AUDIO_WIDTH, POSITIONS, WIDTH, write_language_model, write_mmproj

from edge_alm.errors import ModelBrokenError, ModelMissingError, UsageError
from edge_alm.models.gguf_file import check_gguf
from edge_alm.models.mmproj_file import check_mmproj
from edge_alm.reasoning.mtmd import probe_audio_tower
from edge_alm.reasoning.reasoner import LocalReasoner
from edge_alm.types import Samples, Sound
from export.__main__ import main
from export.native import make_native

WINDOW = 29 * 16_000


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("native")
    return write_language_model(folder / "model.gguf"), write_mmproj(folder / "mmproj.gguf")


def load(pair: tuple[Path, Path], **more: Any) -> LocalReasoner:
    model, mmproj = pair
    return LocalReasoner(
        model, audio_projector=mmproj, audio_window_samples=WINDOW, n_ctx=2048, n_threads=1, **more
    )


def tone(hz: float, seconds: float = 3.0) -> Samples:
    t = np.arange(round(seconds * 16_000)) / 16_000
    return (0.3 * np.sin(2 * np.pi * hz * t)).astype(np.float32)


def test_a_question_hears_the_audio_itself(pair: tuple[Path, Path], tmp_path: Path) -> None:
    reasoner = load(pair, cache=tmp_path)
    choices = ("a dog", "rain", "speech")
    try:
        reasoner.append_event(Sound("Dog", 1.0, 2.0, 0.9, "end"))

        def ask(audio: Samples | None) -> float:
            return reasoner.ask("What was heard?", choices=choices, audio=audio).confidence

        deaf, low, high = ask(None), ask(tone(200.0)), ask(tone(3000.0))
        assert len({deaf, low, high}) == 3
        assert ask(tone(200.0)) == low  # and the question before has left nothing behind
        assert ask(None) == deaf
        assert ask(np.zeros(0, np.float32)) == deaf
        # Of more than the window its end counts.
        long = np.concatenate((tone(5000.0, 30.0), tone(200.0, 29.0)))
        assert ask(long) == ask(tone(200.0, 29.0))
        written = reasoner.ask("What was heard?", audio=tone(200.0))
        assert written.text == reasoner.ask("What was heard?", audio=tone(200.0)).text
    finally:
        reasoner.close()
        reasoner.close()


def test_what_has_run_here_is_not_tried_again(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, mmproj = pair
    probe_audio_tower(mmproj, model, tmp_path)
    (stamp,) = tmp_path.iterdir()
    assert json.loads(stamp.read_text()) == {"tokens": 187}
    monkeypatch.setattr("edge_alm.reasoning.mtmd.run_probe", lambda *_: pytest.fail("tried"))
    probe_audio_tower(mmproj, model, tmp_path)


BROKEN: dict[str, Callable[[Path], object]] = {
    # A width that contradicts the tensors: libmtmd refuses.
    "tensor missing": lambda p: write_mmproj(p, change={"a.conv1d.1.weight": None}),
    "no projector type": lambda p: write_mmproj(p, change={"projector_type": None}),
    "unknown projector type": lambda p: write_mmproj(p, change={"projector_type": "theremin"}),
    "output of another width": lambda p: write_mmproj(
        p, change={"mm.a.mlp.2.weight": np.zeros((WIDTH + 8, 48), np.float32)}
    ),
    # These end the process that tries them.
    "stack factor 0": lambda p: write_mmproj(p, change={"audio.projector.stack_factor": 0}),
    "no heads": lambda p: write_mmproj(p, change={"audio.attention.head_count": 0}),
    "too few positions": lambda p: write_mmproj(
        p, change={"a.position_embd.weight": np.zeros((POSITIONS // 2, AUDIO_WIDTH), np.float32)}
    ),
    "attention of another width": lambda p: write_mmproj(
        p, change={"a.blk.0.attn_q.weight": np.zeros((8, 8), np.float32)}
    ),
    "not a number": lambda p: write_mmproj(
        p, change={"mm.a.mlp.2.weight": np.full((WIDTH, 48), np.nan, np.float32)}
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_projector_is_refused_in_a_line(
    name: str, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    BROKEN[name](tmp_path / "mmproj.gguf")
    with pytest.raises(ModelBrokenError) as caught:
        probe_audio_tower(tmp_path / "mmproj.gguf", pair[0], tmp_path / "stamps")
    assert "\n" not in str(caught.value)
    assert caught.value.got
    assert not (tmp_path / "stamps").exists()


def test_headers_are_read_before_native_code_is(pair: tuple[Path, Path], tmp_path: Path) -> None:
    model, mmproj = pair
    width = check_gguf(model).n_embd
    for other, word in (
        (model, "clip with an audio encoder, got one of llama"),
        (write_mmproj(tmp_path / "eye.gguf", change={"has_audio_encoder": False}), "without one"),
        (write_mmproj(tmp_path / "wide.gguf", width=96), "output of 64.*got 96"),
    ):
        with pytest.raises(ModelBrokenError, match=word):
            check_mmproj(other, check_gguf(other), width)
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(mmproj.read_bytes()[:5000])
    with pytest.raises(ModelBrokenError, match="cut"):
        load((model, cut))
    with pytest.raises(ModelMissingError):
        load((model, tmp_path / "none.gguf"))


def test_a_bundle_is_made_of_the_pair_or_nothing(
    pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, mmproj = pair
    out = tmp_path / "ears"
    wide = write_mmproj(tmp_path / "wide.gguf", width=96)
    command = ["native", "--model", str(model), "--out", str(out), "--mmproj"]
    assert main([*command, str(wide)]) == 2
    assert main([*command, str(tmp_path / "none.gguf")]) == 2
    assert capsys.readouterr().err.count("\n") == 2
    assert not out.exists()
    with pytest.raises(UsageError):
        make_native(model, mmproj, out, window_s=0.0)
