"""Scenes, questions and answers as the language model reads them, without any audio.

Made of class names and of chance, in the runtime's own words; what comes of one seed is never
among what comes of another.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edge_alm.reasoning.llama import LlamaContext
from edge_alm.reasoning.prompts import (
    chat_format,
    event_line,
    pinned_prompt,
    question_prompt,
)
from edge_alm.types import Sound
from export.questions import ask
from export.scenes import Recipe, imagine

LABELS = (
    *("dog", "cat", "baby cry", "church bell", "doorbell", "glass breaking", "siren", "car"),
    *("rain", "thunder", "clock", "sneeze", "cough", "rooster", "helicopter", "chainsaw"),
    *("knock", "telephone", "applause", "laughter", "water tap", "train horn", "piano"),
)
IMPORTANCE_SEED, HELD_OUT_SEED = 1, 2


def scene_texts(context: LlamaContext, n: int, seed: int) -> Iterator[tuple[list[int], int]]:
    """Tokens of ``n`` scenes with a question and its answer, and where the scene begins."""
    chat = chat_format(context.chat_template)
    pinned = [
        token
        for i, part in enumerate(pinned_prompt(chat, trained=True))
        for token in context.tokenize(part.text, special=part.control, begin=i == 0)
    ]
    for number in range(n):
        rng = np.random.default_rng((seed, number))
        timeline, duration_s = imagine(rng, LABELS, Recipe(speech=0.0))
        tokens = list(pinned)
        for placed in timeline:
            confidence = round(float(rng.uniform(0.3, 0.98)), 2)
            sound = Sound(placed.label, placed.start_s, placed.end_s, confidence, "end")
            tokens += context.tokenize(event_line(sound))
        asked = ask(rng, [timeline], [duration_s], LABELS)
        if asked is not None:
            for part in question_prompt(chat, asked.question):
                tokens += context.tokenize(part.text, special=part.control)
            tokens += context.tokenize(asked.answer)
            tokens += context.tokenize(chat.end, special=True)
        yield tokens, len(pinned)
