"""What a token reads, and how peers are put beside each other."""

from __future__ import annotations

import pytest

from benchmarks.peers import Copier, tensor_bytes, to_rows, weight_bytes
from edge_alm.bench.report import Figure
from edge_alm.models.gguf_file import GgufInfo


def info(**shapes: tuple[int, ...]) -> GgufInfo:
    named = {name.replace("_weight", ".weight"): shape for name, shape in shapes.items()}
    return GgufInfo("llama", 64, 512, named, dict.fromkeys(named, ("F16", 0)), {}, {})


@pytest.mark.parametrize(
    ("kind", "shape", "size"),
    [
        ("F32", (4, 3), 48),
        ("F16", (4, 3), 24),
        ("Q8_0", (64, 2), 136),
        ("Q4_0", (64, 2), 72),
        ("Q4_1", (64, 2), 80),
    ],
)
def test_bytes_of_a_tensor(kind: str, shape: tuple[int, ...], size: int) -> None:
    assert tensor_bytes(kind, shape) == size


def test_a_table_of_which_a_row_is_read_does_not_count() -> None:
    tied = info(token_embd_weight=(64, 100), blk_weight=(64, 64))
    assert weight_bytes(tied) == 2 * 64 * (100 + 64)
    own = info(token_embd_weight=(64, 100), blk_weight=(64, 64), output_weight=(64, 100))
    assert weight_bytes(own) == weight_bytes(tied)


def test_shares_are_of_the_best_copy() -> None:
    figures = [
        Figure("memory/copied", "GB/s", (5.0, 10.0)),
        Figure("decode/a", "tokens/s", (40.0,)),
        Figure("decode/b", "tokens/s", (50.0,)),
        Figure("sounds/c", "ms a hop", (1.0,)),
    ]
    _, copied, a, b, c = to_rows({figure.name: figure for figure in figures}, 100_000_000)
    assert copied[-1] == "-"
    assert a[-2:] == ("1.00", "40%")
    assert b[-2:] == ("1.25", "50%")
    assert c[-2:] == ("1.00", "-")


@pytest.mark.parametrize("threads", [1, 3])
def test_copying_takes_time(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.peers.COPIED_BYTES", 3 << 20)
    assert 0.0 < Copier(threads)() < 10_000.0
