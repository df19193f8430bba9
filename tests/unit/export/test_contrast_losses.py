"""The losses of the text-audio space, against plain loops over their formulas."""

from __future__ import annotations

from math import exp, log

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from export.losses import af_clap, compa, info_nce, modular

SIZES = st.integers(1, 5)
SEEDS = st.integers(0, 2**31)
SHARPNESS = st.floats(0.5, 30.0)


def units(*shape: int) -> Tensor:
    return functional.normalize(torch.randn(*shape, dtype=torch.float64), dim=-1)


def fit(a: Tensor, t: Tensor, sharpness: float) -> float:
    cosine = sum(x * y for x, y in zip(a.tolist(), t.tolist(), strict=True))
    return exp(sharpness * float(cosine))


@settings(deadline=None)
@given(SIZES, SEEDS, SHARPNESS)
def test_info_nce(b: int, seed: int, sharpness: float) -> None:
    torch.manual_seed(seed)
    audio, text = units(b, 4), units(b, 4)
    total = 0.0
    for i in range(b):
        own = fit(audio[i], text[i], sharpness)
        total -= log(own / sum(fit(audio[i], text[j], sharpness) for j in range(b)))
        total -= log(own / sum(fit(audio[j], text[i], sharpness) for j in range(b)))
    got = info_nce(audio, text, torch.tensor(sharpness))
    assert float(got) == pytest.approx(total / (2 * b), rel=1e-6, abs=1e-6)


@settings(deadline=None)
@given(SIZES, SIZES, SEEDS, SHARPNESS)
def test_compa(b: int, k: int, seed: int, sharpness: float) -> None:
    torch.manual_seed(seed)
    audio, text, wrong = units(b, 4), units(b, 4), units(b, k, 4)
    total = 0.0
    for i in range(b):
        own = fit(audio[i], text[i], sharpness)
        batch = sum(fit(audio[i], text[j], sharpness) for j in range(b))
        hard = sum(fit(audio[i], wrong[i, n], sharpness) for n in range(k))
        total -= log(own / (batch + hard))
        total -= log(own / sum(fit(audio[j], text[i], sharpness) for j in range(b)))
    got = compa(audio, text, wrong, torch.tensor(sharpness))
    assert float(got) == pytest.approx(total / (2 * b), rel=1e-6, abs=1e-6)


@settings(deadline=None)
@given(SIZES, SIZES, SIZES, SEEDS, SHARPNESS)
def test_modular(b: int, g: int, k: int, seed: int, sharpness: float) -> None:
    torch.manual_seed(seed)
    audio, right, wrong = units(b, 4), units(b, g, 4), units(b, g, k, 4)
    total = 0.0
    for i in range(b):
        for grade in range(g):
            own = fit(audio[i], right[i, grade], sharpness)
            others = sum(fit(audio[i], wrong[i, grade, n], sharpness) for n in range(k))
            total -= log(own / (own + others)) / g
        whole = fit(audio[i], right[i, 0], sharpness)
        total -= log(whole / sum(fit(audio[j], right[i, 0], sharpness) for j in range(b)))
    got = modular(audio, right, wrong, torch.tensor(sharpness))
    assert float(got) == pytest.approx(total / (2 * b), rel=1e-6, abs=1e-6)


@settings(deadline=None)
@given(SIZES, SIZES, SIZES, SEEDS, SHARPNESS)
def test_af_clap(b: int, m: int, n: int, seed: int, sharpness: float) -> None:
    torch.manual_seed(seed)
    audio, right, wrong = units(b, 4), units(b, m, 4), units(b, n, 4)

    def said(a: int, i: int) -> float:
        return sum(fit(audio[a], right[i, w], sharpness) for w in range(m))

    total = 0.0
    for i in range(b):
        hard = sum(fit(audio[i], wrong[i, w], sharpness) for w in range(n))
        total -= log(said(i, i) / (sum(said(i, j) for j in range(b)) + hard))
        total -= log(said(i, i) / sum(said(j, i) for j in range(b)))
    got = af_clap(audio, right, wrong, torch.tensor(sharpness))
    assert float(got) == pytest.approx(total / (2 * b), rel=1e-6, abs=1e-6)


@settings(deadline=None)
@given(st.integers(2, 5), SEEDS)
def test_negatives_made_for_one_recording_do_not_meet_another(b: int, seed: int) -> None:
    """Only what is compared with a recording moves it: the gradient of another's negatives is 0."""
    torch.manual_seed(seed)
    text, wrong, sharpness = units(b, 4), units(b, 2, 4), torch.tensor(5.0)
    others = torch.cat((wrong[:1], units(b - 1, 2, 4)))
    audio = units(b, 4).requires_grad_()
    for loss, right in ((compa, text), (af_clap, text[:, None])):
        one, other = (
            torch.autograd.grad(loss(audio, right, own, sharpness), audio)[0][0]
            for own in (wrong, others)
        )
        torch.testing.assert_close(one, other)


@settings(deadline=None)
@given(SIZES, SEEDS, SHARPNESS)
def test_with_nothing_added_all_are_info_nce(b: int, seed: int, sharpness: float) -> None:
    torch.manual_seed(seed)
    audio, text, sharp = units(b, 4), units(b, 4), torch.tensor(sharpness)
    nothing = torch.empty(b, 0, 4, dtype=torch.float64)
    plain = info_nce(audio, text, sharp)
    torch.testing.assert_close(compa(audio, text, nothing, sharp), plain)
    torch.testing.assert_close(af_clap(audio, text[:, None], nothing, sharp), plain)
