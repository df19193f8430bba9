import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_alm.errors import ModelBrokenError, ModelMissingError, UsageError
from edge_alm.reasoning.projector import Projector

N_IN, N_HIDDEN, N_OUT = 5, 7, 3


def _weights(rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    shapes: dict[str, tuple[int, ...]] = {
        "ln_weight": (N_IN,),
        "ln_bias": (N_IN,),
        "w1": (N_HIDDEN, N_IN),
        "b1": (N_HIDDEN,),
        "w2": (N_OUT, N_HIDDEN),
        "b2": (N_OUT,),
    }
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def _one_by_one(w: dict[str, NDArray[np.float32]], x: NDArray[np.float32]) -> list[float]:
    mean = sum(map(float, x)) / N_IN
    variance = sum((float(v) - mean) ** 2 for v in x) / N_IN
    normal = [
        (float(v) - mean) / math.sqrt(variance + 1e-5) * float(g) + float(b)
        for v, g, b in zip(x, w["ln_weight"], w["ln_bias"], strict=True)
    ]
    hidden = []
    for row, bias in zip(w["w1"], w["b1"], strict=True):
        z = sum(float(a) * n for a, n in zip(row, normal, strict=True)) + float(bias)
        hidden.append(z * 0.5 * (1.0 + math.erf(z / math.sqrt(2.0))))
    return [
        sum(float(a) * h for a, h in zip(row, hidden, strict=True)) + float(bias)
        for row, bias in zip(w["w2"], w["b2"], strict=True)
    ]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_equals_a_plain_loop(tmp_path: Path, dtype: type) -> None:
    rng = np.random.default_rng(0)
    weights: dict[str, Any] = {name: w.astype(dtype) for name, w in _weights(rng).items()}
    np.savez(tmp_path / "p.npz", **weights)
    x = rng.normal(size=(4, N_IN), scale=3.0).astype(np.float32)
    projector = Projector(tmp_path / "p.npz")
    out = projector(x)
    assert out.dtype == np.float32
    expected = [_one_by_one({n: w.astype(np.float32) for n, w in weights.items()}, v) for v in x]
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


def test_refuses_what_does_not_fit(tmp_path: Path) -> None:
    weights: dict[str, Any] = dict(_weights(np.random.default_rng(0)))
    np.savez(tmp_path / "good.npz", **weights)
    with pytest.raises(UsageError, match="shape"):
        Projector(tmp_path / "good.npz")(np.zeros((1, N_IN + 1), np.float32))
    weights["w2"] = weights["w2"][:, 1:]
    np.savez(tmp_path / "bad.npz", **weights)
    with pytest.raises(ModelBrokenError):
        Projector(tmp_path / "bad.npz")
    with pytest.raises(ModelMissingError):
        Projector(tmp_path / "none.npz")


def test_no_thread_spins_after_it(tmp_path: Path) -> None:
    """OpenBLAS's threads would for 45 ms, beside a listener that takes 1 % of a core."""
    rng = np.random.default_rng(0)
    wide = {
        "ln_weight": np.ones(1028, np.float32),
        "ln_bias": np.zeros(1028, np.float32),
        "w1": rng.standard_normal((1024, 1028)).astype(np.float32),
        "b1": np.zeros(1024, np.float32),
        "w2": rng.standard_normal((576, 1024)).astype(np.float32),
        "b2": np.zeros(576, np.float32),
    }
    np.savez(tmp_path / "p.npz", **wide)  # type: ignore[arg-type]
    projector = Projector(tmp_path / "p.npz")
    hop = rng.standard_normal((1, 1028)).astype(np.float32)
    projector(hop)
    began_s = time.process_time()
    for _ in range(10):
        projector(hop)
        time.sleep(0.05)
    assert time.process_time() - began_s < 0.15
