"""Losses of a text-audio space, each with its formula.

Unit vectors come in and a mean over the batch goes out. ``s(a, t)`` is the cosine of recording and
text times ``sharpness`` (1 over the temperature). :func:`info_nce` is what the others add to:
captions of the same sounds in another composition (:func:`compa`, :func:`af_clap`), captions of a
scene's parts (:func:`modular`) and several wordings of one caption (:func:`af_clap`). Negatives
that are made for one recording are compared with it alone: for another they may be true.
"""

from __future__ import annotations

import torch
from torch import Tensor


def info_nce(audio: Tensor, text: Tensor, sharpness: Tensor) -> Tensor:
    """CLAP's symmetric cross entropy (Elizalde et al. 2022, arXiv 2206.04769, section 2).

    ``-1/2b sum_i [log e^s(a_i,t_i) / sum_j e^s(a_i,t_j) + log e^s(a_i,t_i) / sum_j e^s(a_j,t_i)]``

    Args:
        audio: recordings [b, d].
        text: the caption of each [b, d].
        sharpness: scalar.
    """
    fits = sharpness * audio @ text.T
    return -(fits.log_softmax(1).diagonal() + fits.log_softmax(0).diagonal()).mean() / 2


def compa(audio: Tensor, text: Tensor, wrong: Tensor, sharpness: Tensor) -> Tensor:
    """InfoNCE with composition-aware hard negatives (Ghosh et al. 2024, arXiv 2310.08753, CompA).

    From text to audio as :func:`info_nce`; from audio to text
    ``-log e^s(a_i,t_i) / (sum_j e^s(a_i,t_j) + sum_k e^s(a_i,n_ik))``.

    Args:
        audio: recordings [b, d].
        text: the caption of each [b, d].
        wrong: captions of another composition of its sounds, ``n`` [b, k, d].
        sharpness: scalar.
    """
    fits = sharpness * audio @ text.T
    own = _own(audio, wrong, sharpness)
    to_text = fits.diagonal() - torch.cat((fits, own), 1).logsumexp(1)
    return -(to_text + fits.log_softmax(0).diagonal()).mean() / 2


def modular(audio: Tensor, right: Tensor, wrong: Tensor, sharpness: Tensor) -> Tensor:
    """Captions of several grades, from the whole scene to a part of it, each among wrong ones of
    its grade (after the modular contrastive loss of CompA, Ghosh et al. 2024).

    From audio to text ``-1/g sum_g log e^s(a_i,p_ig) / (e^s(a_i,p_ig) + sum_k e^s(a_i,n_igk))``;
    from text to audio as :func:`info_nce` for the whole scene alone (grade 0): a part of one scene
    is often a part of another too.

    Args:
        audio: recordings [b, d].
        right: captions ``p`` of each grade [b, g, d].
        wrong: ``n`` [b, g, k, d].
        sharpness: scalar.
    """
    own = sharpness * torch.einsum("bd,bgd->bg", audio, right)
    others = sharpness * torch.einsum("bd,bgkd->bgk", audio, wrong)
    to_text = (own - torch.cat((own[..., None], others), 2).logsumexp(2)).mean(1)
    fits = sharpness * audio @ right[:, 0].T
    return -(to_text + fits.log_softmax(0).diagonal()).mean() / 2


def af_clap(audio: Tensor, right: Tensor, wrong: Tensor, sharpness: Tensor) -> Tensor:
    """Several wordings of a caption, all of them right, and captions composed otherwise (after
    AF-CLAP, the encoder of Audio Flamingo 2, Ghosh et al. 2025, arXiv 2503.03983).

    With ``S(a, i) = sum_m e^s(a,t_im)``: from audio to text ``-log S(a_i, i) / (sum_j S(a_i, j) +
    sum_n e^s(a_i,n_in))``, from text to audio ``-log S(a_i, i) / sum_j S(a_j, i)``.

    Args:
        audio: recordings [b, d].
        right: wordings ``t`` [b, m, d].
        wrong: captions of another composition, ``n`` [b, n, d].
        sharpness: scalar.
    """
    fits = (sharpness * torch.einsum("bd,jmd->bjm", audio, right)).logsumexp(2)
    own = _own(audio, wrong, sharpness)
    to_text = fits.diagonal() - torch.cat((fits, own), 1).logsumexp(1)
    return -(to_text + fits.log_softmax(0).diagonal()).mean() / 2


def _own(audio: Tensor, wrong: Tensor, sharpness: Tensor) -> Tensor:
    """Each recording [b, d] with the negatives made for it [b, k, d]: [b, k]."""
    return sharpness * torch.einsum("bd,bkd->bk", audio, wrong)
