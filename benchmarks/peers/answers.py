"""The time to an answer's first token: the scene held while listening, or prefilled when asked."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.ask_latency import (
    QUESTIONS,
    ask_cold,
    ask_held,
    hear,
    last_items,
    make_items,
    make_stretches,
    read_audio,
)
from benchmarks.peers.plain_llama import PlainLlama
from benchmarks.peers.section import RUNTIME, Section, Taken, Work
from edge_alm.bench.table import duration_to_text
from edge_alm.models.bundle import Bundle
from edge_alm.reasoning.llama import LlamaContext
from edge_alm.reasoning.prompts import chat_format, end_line, pinned_prompt, question_prompt
from edge_alm.reasoning.scene import Item, SceneMemory
from edge_alm.reasoning.stretches import Stretches
from edge_alm.types import SAMPLE_RATE_HZ, Samples

SAME, TEXT = "llama.cpp, the same scene", "llama.cpp, the scene's text alone"
MORE = "llama.cpp, also what is forgotten"


@dataclass(frozen=True, slots=True)
class Scene:
    """A recording in the runtime's context, and what has to be read to get it into another."""

    seconds: int
    llama: LlamaContext
    memory: SceneMemory
    stretches: Stretches | None
    same: Sequence[Item]
    """The pinned prompt and all that the memory still holds."""
    text: Sequence[Item]
    """The same without soft tokens; as much as fits."""
    all: Sequence[Item]
    """The pinned prompt and all that was heard, also what is forgotten."""
    trained: bool

    @property
    def outgrew(self) -> bool:
        """Whether something is forgotten."""
        return len(self.all) > len(self.same)

    def question(self, number: int, *, compared: bool) -> list[int]:
        """Tokens from the scene to the answer.

        Args:
            number: of the round.
            compared: with what the question's phrases are like.
        """
        asked = QUESTIONS[number % len(QUESTIONS)]
        lines = [end_line(self.seconds)] if self.trained else []
        lines += self.stretches.lines(asked) if self.stretches and compared else []
        tokens = [token for line in lines for token in self.llama.tokenize(line)]
        chat = chat_format(self.llama.chat_template)
        return tokens + self.memory.tokenize(question_prompt(chat, asked))

    def ask_held(self, _number: int) -> list[Taken]:
        """As the runtime does: what a question is compared with is found when it comes.

        All questions each round: one with a line of what its phrases are like takes twice as long
        as one without. To the peers, who read the whole scene, the question hardly matters.
        """
        taken = []
        for i in range(len(QUESTIONS)):
            begun_s = time.perf_counter()
            ask_held(self.memory, self.question(i, compared=True))
            taken.append(self._taken(begun_s))
        return taken

    def ask_same(self, cold: LlamaContext, number: int) -> list[Taken]:
        """All that the runtime holds, read now."""
        return self._ask_cold(cold, self.same, self.question(number, compared=True))

    def ask_more(self, cold: LlamaContext, number: int) -> list[Taken]:
        """All that was heard, read now; the newest of it where ``cold`` is too small."""
        pinned, *heard = self.all
        room = cold.n_ctx - len(pinned) - self.memory.reserved_tokens
        read = [pinned, *last_items(heard, room)]
        return self._ask_cold(cold, read, self.question(number, compared=True))

    def ask_text(self, cold: LlamaContext, number: int) -> list[Taken]:
        """What one would write by hand: the events as lines, and the question."""
        return self._ask_cold(cold, self.text, self.question(number, compared=False))

    def _ask_cold(
        self, cold: LlamaContext, scene: Sequence[Item], question: list[int]
    ) -> list[Taken]:
        begun_s = time.perf_counter()
        ask_cold(cold, [*scene, question])
        return [self._taken(begun_s)]

    def _taken(self, begun_s: float) -> Taken:
        name = duration_to_text(self.seconds)
        return Taken(name, "ms", 1e3 * (time.perf_counter() - begun_s))


def open_answers(
    bundle: Bundle, folder: Path, lengths_s: Sequence[int], stack: ExitStack
) -> Section:
    """Scenes of several lengths, each in a context of its own.

    The peer has the same weights, adapter and threads, llama.cpp's own settings, and the tokens and
    soft tokens at hand: all that counts is what it computes.

    Args:
        bundle: with a language model.
        folder: of recordings.
        lengths_s: of the scenes, in seconds.
        stack: closes what is opened here.

    Raises:
        EdgeAlmError: the models cannot be loaded.
    """
    assert bundle.language_model is not None
    model, adapter, n_ctx = bundle.language_model, bundle.adapter, bundle.context_tokens
    cold = stack.enter_context(PlainLlama(model, n_ctx=n_ctx, adapter=adapter))
    audio = read_audio(folder, max(lengths_s))
    peers: list[tuple[str, Work]] = []
    notes: list[str] = []
    for seconds in lengths_s:
        llama = stack.enter_context(LlamaContext(model, n_ctx=n_ctx, adapter=adapter))
        scene = hold(bundle, llama, audio[: seconds * SAMPLE_RATE_HZ])
        held, text = (sum(map(len, items)) for items in (scene.same, scene.text))
        name = duration_to_text(seconds)
        note = f"answers after {name}: {held} tokens are held; the text alone is {text}"
        peers.append((RUNTIME, scene.ask_held))
        peers.append((SAME, partial(scene.ask_same, cold)))
        if scene.outgrew:
            heard = sum(map(len, scene.all))
            room = heard + scene.memory.reserved_tokens
            larger = stack.enter_context(PlainLlama(model, n_ctx=room, adapter=adapter))
            note += f"; {heard} were heard, and a peer has room for {larger.n_ctx}"
            peers.append((MORE, partial(scene.ask_more, larger)))
        if bundle.projector is not None:  # or it is the same
            peers.append((TEXT, partial(scene.ask_text, cold)))
        notes.append(note)
    return Section("answers", peers, notes)


def hold(bundle: Bundle, llama: LlamaContext, audio: Samples) -> Scene:
    """Hear a recording into an empty context."""
    trained = bundle.scene_format is not None
    prompt = pinned_prompt(chat_format(llama.chat_template), trained=trained)
    memory = SceneMemory(llama, prompt)
    pinned = memory.tokenize(prompt, begin=True)
    room = llama.n_ctx - memory.reserved_tokens - len(pinned)
    heard = hear(bundle, audio)
    items = make_items(bundle, llama, heard)
    text = make_items(bundle, llama, heard, soft=False)
    for item in items:
        memory.append(item)
    memory.flush()
    return Scene(
        seconds=len(audio) // SAMPLE_RATE_HZ,
        llama=llama,
        memory=memory,
        stretches=make_stretches(bundle, heard),
        same=[pinned, *last_items(items, memory.end - len(pinned))],
        text=[pinned, *last_items(text, room)],
        all=[pinned, *items],
        trained=trained,
    )
