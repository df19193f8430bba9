"""What is heard compared with words and with what the user taught, hop after hop.

What words mean is worked out once. A text that is the name of a taught sound means that sound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from edge_alm.errors import UsageError
from edge_alm.models.bundle import Bundle
from edge_alm.models.taught import TaughtSound, taught
from edge_alm.reasoning.asked import split_order
from edge_alm.reasoning.phrases import Floats, Heard, Phrases, pool
from edge_alm.reasoning.taught import TaughtJudge, judge_taught, read_background

StretchJudge: TypeAlias = Callable[[Heard], Floats]
"""0 to 1 for each text [n texts], of a stretch."""
HopJudge: TypeAlias = Callable[[Floats], Floats]
"""The same of the embeddings of consecutive hops [n hops, n_in]."""


class Judges:
    """Makes judges.

    Args:
        phrases: what words are compared by.
        sounds: what was taught.
        background: what they are told apart from [n, d]; None where nothing was taught.
    """

    def __init__(
        self,
        phrases: Phrases,
        sounds: Sequence[TaughtSound] = (),
        background: Floats | None = None,
    ) -> None:
        self._phrases = phrases
        self.names = tuple(sound.name for sound in sounds)
        """Of the taught sounds."""
        self._places = {_key(name): i for i, name in enumerate(self.names)}
        self._taught: TaughtJudge | None = None
        if sounds and background is not None:
            self._taught = judge_taught(sounds, phrases, background)

    def taught_name(self, text: str) -> str | None:
        """The name of the taught sound that a text means; None for none."""
        place = self._places.get(_key(text))
        return None if place is None else self.names[place]

    def parts(self, text: str) -> list[str]:
        """The sounds that a text names, in order: one that was taught, or what commas and "then"
        part."""
        return [text] if _key(text) in self._places else split_order(text)

    def of(self, texts: Sequence[str]) -> StretchJudge:
        """A judge of these texts.

        Raises:
            UsageError: a text in which no word is known.
        """
        prepared = self._phrases.prepare(texts)
        own = [
            (i, place)
            for i, text in enumerate(texts)
            if (place := self._places.get(_key(text))) is not None
        ]
        known = {i for i, _ in own}
        for i, text in enumerate(texts):
            if i not in known and not prepared.directions[i].any():
                raise UsageError(
                    f"sound {text!r}", expected="words that name it", got="none that is known"
                )

        def judge(heard: Heard) -> Floats:
            shares = self._phrases.judge(heard, prepared)
            if own and self._taught is not None:
                fits = self._taught.shares(heard.direction)
                for i, place in own:
                    shares[i] = fits[place]
            return shares

        return judge

    def of_hops(self, texts: Sequence[str]) -> HopJudge:
        """As :meth:`of`."""
        judge = self.of(texts)
        return lambda embeddings: judge(self._phrases.hear(embeddings))

    def of_taught(self) -> HopJudge | None:
        """A judge of all taught sounds, in the order of their names; None where there are none."""
        judge = self._taught
        if judge is None:
            return None
        return lambda embeddings: judge.shares(self._phrases.point(pool(embeddings)))


def own_sounds(bundle: Bundle) -> list[TaughtSound]:
    """What was taught to a bundle's encoder, if the bundle can make use of it.

    Raises:
        ModelBrokenError: a file of a taught sound is damaged.
    """
    if bundle.phrases is None or bundle.background is None:
        return []
    return [sound for sound in taught() if sound.encoder_id == bundle.encoder_id]


def open_judges(bundle: Bundle, phrases: Phrases, sounds: Sequence[TaughtSound]) -> Judges:
    """The judges of a bundle.

    Args:
        bundle: with a background where there are sounds.
        phrases: the bundle's.
        sounds: of :func:`own_sounds`.

    Raises:
        ModelMissingError, ModelBrokenError: of the background.
    """
    if not sounds or bundle.background is None:
        return Judges(phrases)
    return Judges(phrases, sounds, read_background(bundle.background, phrases))


def _key(text: str) -> str:
    """The same for what differs in an article, in case or in spaces."""
    return ", ".join(split_order(text)) or " ".join(text.lower().split())
