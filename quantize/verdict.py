"""Keep or refuse: a decision on numbers.

A model is refused when it loses more than a bound, or when it is slower and neither smaller nor
better. A figure that was not measured decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

SLOWER = 1.05
"""Ratio of the best times; less is noise. The best, since the median on a machine that does other
things too says more of them: of one encoder in four runs 0.30 to 0.72 of float's, its best 0.65 to
0.69."""
SMALLER = 0.9
"""Ratio of the bytes that counts as smaller."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured of a model. Shares and accuracies are from 0 to 1; None: not measured."""

    bytes: int
    median_ms: float
    """Of an encoder's patch or a language model's token."""
    p95_ms: float
    best_ms: float
    peak_bytes: int | None = None
    cosine: float | None = None
    """Median, with the float model's embeddings."""
    cosine_low: float | None = None
    """Its 5 % quantile."""
    top1: float | None = None
    """Share of inputs with the float model's highest class, or next token."""
    esc10: float | None = None
    """Share of ESC-10's clips whose class is the highest of ten."""
    esc10_n: int = 0
    answers: float | None = None
    """Share of right answers of a bundle."""
    answers_n: int = 0
    words: float | None = None
    """Share of the float model's words that a model of speech writes too."""
    words_n: int = 0
    perplexity: float | None = None
    """Of scenes, questions and answers as text."""
    invented: float | None = None
    """Sounds or words a minute, or answers that name a sound, in noise and silence."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may be lost."""

    esc10: float = 0.01
    answers: float = 0.01
    cosine: float = 0.98
    """Least median."""
    cosine_low: float = 0.95
    """Least 5 % quantile. At 0.86 (all of YAMNet's layers in dynamic int8) one patch in ten had
    another highest class."""
    words: float = 0.97
    """Least share. Whisper tiny.en in dynamic int8 keeps all 65 words of the recordings here."""
    perplexity: float = 0.03
    """As a share of the float model's."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came out."""

    keep: bool
    reasons: tuple[str, ...]
    """Why it is refused, or what was gained."""

    @property
    def word(self) -> str:
        """``keep`` or ``refuse``."""
        return "keep" if self.keep else "refuse"


def judge(before: Figures, after: Figures, bounds: Bounds) -> Verdict:
    """Compare a smaller model with the one it was made of."""
    losses = [*_losses(before, after, bounds)]
    times = after.best_ms / before.best_ms
    slower = times > SLOWER
    smaller = after.bytes < SMALLER * before.bytes
    better = any(
        was is not None and now is not None and now > was
        for was, now in ((before.esc10, after.esc10), (before.answers, after.answers))
    )
    if slower and not smaller and not better:
        losses.append(f"slower ({times:.2f}x) and neither smaller nor better")
    if losses:
        return Verdict(False, tuple(losses))
    return Verdict(True, (f"{after.bytes / before.bytes:.2f}x the size, {times:.2f}x the time",))


def _losses(before: Figures, after: Figures, bounds: Bounds) -> list[str]:
    found = []
    for name, was, now, most in (
        ("ESC-10", before.esc10, after.esc10, bounds.esc10),
        ("answers", before.answers, after.answers, bounds.answers),
    ):
        # 0.95 - 0.94 is a little more than 0.01 in binary.
        if was is not None and now is not None and was - now > most + 1e-9:
            points = f"{100 * (was - now):.1f} points lower, at most {100 * most:g} allowed"
            found.append(f"{name} {points}")
    for name, now, least in (
        ("median cosine", after.cosine, bounds.cosine),
        ("5 % quantile of the cosine", after.cosine_low, bounds.cosine_low),
        ("share of the same words", after.words, bounds.words),
    ):
        if now is not None and now < least:
            found.append(f"{name} {now:.4f}, at least {least:g} needed")
    if before.perplexity is not None and after.perplexity is not None:
        share = after.perplexity / before.perplexity - 1.0
        if not share <= bounds.perplexity:  # NaN too
            found.append(f"perplexity {share:+.1%}, at most {bounds.perplexity:+.0%} allowed")
    if (
        before.invented is not None
        and after.invented is not None
        and after.invented > before.invented
    ):
        found.append(f"invents {after.invented:.2f} in noise instead of {before.invented:.2f}")
    return found
