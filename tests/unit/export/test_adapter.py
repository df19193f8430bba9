from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from edge_alm.errors import DownloadError, ModelBrokenError, UsageError
from edge_alm.models.gguf_file import check_gguf
from export.adapter import to_gguf
from export.converter import find_converter

HEADS, KV_HEADS, HEAD_SIZE, WIDTH, RANK = 4, 2, 8, 32, 2
BASE = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "num_hidden_layers": 1,
    "vocab_size": 16,
}
OUTPUTS = {"q_proj": HEADS * HEAD_SIZE, "k_proj": KV_HEADS * HEAD_SIZE, "v_proj": 16, "o_proj": 32}
NAMES = {"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output"}


def write_adapter(folder: Path, **settings: object) -> dict[str, NDArray[np.float32]]:
    """PEFT's files of a random adapter of one layer's attention; its matrices."""
    rng = np.random.default_rng(0)
    shapes = {f"{name}.lora_A": (RANK, WIDTH) for name in OUTPUTS}
    shapes |= {f"{name}.lora_B": (size, RANK) for name, size in OUTPUTS.items()}
    matrices = {k: rng.standard_normal(shape).astype(np.float32) for k, shape in shapes.items()}
    prefix = "base_model.model.model.layers.0.self_attn."
    folder.mkdir(exist_ok=True)
    save_file(
        {f"{prefix}{name}.weight": matrix for name, matrix in matrices.items()},
        folder / "adapter_model.safetensors",
    )
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 6, **settings}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return matrices


@pytest.fixture(scope="module")
def converter(require: Callable[[object, str], None]) -> Path:
    try:
        return find_converter()
    except DownloadError as error:
        require(False, f"the converter cannot be fetched: {error}")
        raise


def interleave_halves(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """transformers rotates a head's first half against its second, llama.cpp neighbours."""
    heads = rows.reshape(-1, 2, HEAD_SIZE // 2, RANK)
    return np.reshape(heads.swapaxes(1, 2), rows.shape)


def test_matrices_arrive_in_llama_cpps_order(converter: Path, tmp_path: Path) -> None:
    matrices = write_adapter(tmp_path / "lora")
    out = tmp_path / "adapter.gguf"
    to_gguf(tmp_path / "lora", BASE, out, outtype="f32")

    info = check_gguf(out)
    assert (info.architecture, info.metadata["adapter.type"]) == ("llama", "lora")
    assert info.metadata["adapter.lora.alpha"] == 6.0
    assert info.shapes["blk.0.attn_k.weight.lora_b"] == (RANK, OUTPUTS["k_proj"])
    tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(out).tensors}
    assert len(tensors) == len(matrices)
    for ours, theirs in NAMES.items():
        a, b = (tensors[f"blk.0.{theirs}.weight.lora_{part}"] for part in "ab")
        expected = matrices[f"{ours}.lora_B"]
        if ours in ("q_proj", "k_proj"):
            expected = interleave_halves(expected)
            assert not np.array_equal(expected, matrices[f"{ours}.lora_B"])
        np.testing.assert_array_equal(a, matrices[f"{ours}.lora_A"])
        np.testing.assert_array_equal(b, expected)


def test_the_file_tells_nothing_of_where_it_was_made(converter: Path, tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        folder, out = tmp_path / name, tmp_path / f"{name}.gguf"
        write_adapter(folder, base_model_name_or_path=str(folder))
        card = f"---\nbase_model: {folder}\ntags: ['base_model:{folder}']\n---\n"
        (folder / "README.md").write_text(card, encoding="utf-8")
        to_gguf(folder, BASE, out)
        made.append(out.read_bytes())
    assert made[0] == made[1]
    assert str(tmp_path).encode() not in made[0]


def test_what_the_converter_refuses_leaves_nothing(converter: Path, tmp_path: Path) -> None:
    write_adapter(tmp_path / "lora")
    config = {**BASE, "architectures": ["NoSuchModel"]}
    with pytest.raises(ModelBrokenError, match="NoSuchModel"):
        to_gguf(tmp_path / "lora", config, tmp_path / "adapter.gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["lora"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"peft_type": "LOHA"}, "LOHA"),
        ({"use_rslora": True}, "use_rslora"),
        ({"use_dora": True}, "use_dora"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"alpha_pattern": {"q_proj": 3}}, "alpha_pattern"),
    ],
)
def test_another_kind_of_adapter_is_refused(
    tmp_path: Path, settings: dict[str, object], words: str
) -> None:
    write_adapter(tmp_path, **settings)
    with pytest.raises(UsageError, match=words):
        to_gguf(tmp_path, BASE, tmp_path / "adapter.gguf")


def test_a_folder_without_an_adapter_and_an_unknown_type_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="PEFT"):
        to_gguf(tmp_path, BASE, tmp_path / "adapter.gguf")
    write_adapter(tmp_path)
    with pytest.raises(UsageError, match="q8_0"):
        to_gguf(tmp_path, BASE, tmp_path / "adapter.gguf", outtype="q4_0")
