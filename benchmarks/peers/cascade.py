"""From ten seconds of sound to an answer: listening along, or all of it when the question comes.

The naive way keeps the recording, and when it is asked transcribes, tags, puts words and sounds
into a prompt, has it read and writes the answer. It has the same files of weights (not the adapter,
which has learnt to read another form), loaded already, one thread for each network, for the
language model as many as the runtime takes and llama.cpp's own settings. The runtime hears the same
ten seconds at the pace of a microphone, is asked as they end, and goes on hearing: what it has not
worked off by then is in its time.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.peers.plain_llama import PlainLlama
from benchmarks.peers.section import RUNTIME, WARM_UP, Section, Taken, Work
from benchmarks.speech import DATA, TimedAudio, read
from edge_alm.errors import EdgeAlmError
from edge_alm.hearing.encoder import Encoder, cut_patches
from edge_alm.hearing.engines import open_transcriber
from edge_alm.hearing.exported import open_encoder
from edge_alm.hearing.transcriber import Transcriber
from edge_alm.models.bundle import Bundle
from edge_alm.reasoning.llama import LlamaContext, TextDecoder
from edge_alm.reasoning.prompts import Part, chat_format, one_line, question_prompt
from edge_alm.reasoning.reasoner import MAX_ANSWER_TOKENS
from edge_alm.runtime import Ears
from edge_alm.types import SAMPLE_RATE_HZ, Frame, Packet, Samples

BEGIN_S, LENGTH_S = 1.5, 10.0
"""Of ``tests/data/home.flac``: a doorbell, an announcement, breaking glass."""
QUESTIONS = ("What was said?", "Was something broken?", "What was heard?")
SYSTEM = "You hear a recording. Answer in a few words."
SOUNDS = 5
"""The likeliest that stand in the prompt."""
CONTEXT_TOKENS = 1024
READERS = {
    "faster-whisper": "naive, faster-whisper",
    "ctranslate2": "naive, the runtime's own reading",
}
"""Engines with the same weights, and what the naive way is called with each."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What an answer took."""

    text: str
    tokens: int
    """Of the text."""
    first_ms: float
    """From the question to its first token."""
    last_ms: float
    cpu_s: float
    """From the question on."""
    all_cpu_s: float
    """That of listening, too."""

    def taken(self) -> list[Taken]:
        """As a section has it."""
        return [
            Taken("first token", "ms", self.first_ms),
            Taken("last token", "ms", self.last_ms),
            Taken("written", "tokens", self.tokens),
            Taken("CPU after the question", "s of CPU", self.cpu_s),
            Taken("CPU, listening too", "s of CPU", self.all_cpu_s),
        ]


@dataclass(frozen=True, slots=True)
class Cascade:
    """Everything at question time."""

    transcriber: Transcriber
    encoder: Encoder
    llama: LlamaContext
    """With settings of llama.cpp's own."""

    def ask(self, samples: Samples, question: str) -> Cost:
        """The answer to a question about a recording at 16 kHz."""
        begun_s, cpu_s = time.perf_counter(), time.process_time()
        words = self.transcriber.transcribe(samples).text
        tokens = self.tokenize(words, self.tag(samples), question)
        self.llama.clear()
        token = self._run(tokens, 0)  # what is said in ten seconds fits into one batch
        first_s = time.perf_counter()
        decoder = TextDecoder()
        text, written = "", 0
        while written < MAX_ANSWER_TOKENS and not self.llama.is_end(token):
            text += decoder.feed(self.llama.piece(token))
            token = self._run([token], len(tokens) + written)
            written += 1
        spent_s = time.process_time() - cpu_s
        last_ms = 1e3 * (time.perf_counter() - begun_s)
        text += decoder.finish()
        first_ms = 1e3 * (first_s - begun_s)
        return Cost(text.strip(), written, first_ms, last_ms, spent_s, spent_s)

    def tag(self, samples: Samples) -> list[str]:
        """The sounds with the highest peaks."""
        peaks = np.max([self.encoder.encode(patch)[0] for patch in cut_patches(samples)], axis=0)
        return [self.encoder.labels[i] for i in np.argsort(-peaks)[:SOUNDS]]

    def tokenize(self, words: str, sounds: list[str], question: str) -> list[int]:
        """The whole prompt."""
        chat = chat_format(self.llama.chat_template)
        prompt = [
            *(Part(chat.system, True), Part(SYSTEM), Part(chat.end + chat.user, True)),
            Part(f'Speech: "{words}"\nSounds: {", ".join(sounds).lower()}\n'),
            *question_prompt(chat, question),
        ]
        tokens: list[int] = []
        for part in prompt:
            begin = not tokens
            tokens += self.llama.tokenize(part.text, special=part.control, begin=begin)
        return tokens

    def _run(self, tokens: list[int], at: int) -> int:
        n = len(tokens)
        wanted = [False] * (n - 1) + [True]
        return int(self.llama.decode(tokens, range(at, at + n), [0] * n, wanted)[0].argmax())


class Stream(TimedAudio):
    """A recording at the pace of a microphone, which tells when so much of it was heard.

    Args:
        samples: all of it; it goes on while the question is answered.
        until: how many samples come before the question.
    """

    def __init__(self, samples: Samples, until: int) -> None:
        super().__init__(samples, live=True)
        self.heard = threading.Event()
        self._until = until

    def packets(self) -> Iterator[Packet]:
        for packet in super().packets():
            yield packet  # whoever asks for the next has heard it
            if isinstance(packet, Frame) and packet.end >= self._until:
                self.heard.set()


def listen_and_ask(ears: Ears, stream: Samples, seconds: float, question: str) -> Cost:
    """The same of the runtime, which hears the recording as it comes, and goes on hearing."""
    ears.reset()
    ears.flush()
    listen_s = time.process_time()
    source = Stream(stream, int(seconds * SAMPLE_RATE_HZ))

    def listen() -> None:
        try:
            deque(ears.listen(source), 0)
        finally:
            source.heard.set()  # whoever waits for it must not wait for ever

    with ThreadPoolExecutor(1) as pool:
        listening = pool.submit(listen)
        try:
            source.heard.wait()
            ask_s = time.process_time()
            late_ms = 1e3 * (time.monotonic() - source.began_s - seconds)
            pieces: list[str] = []
            answer = ears.ask(question, on_text=pieces.append)
            end_s = time.process_time()
        finally:
            source.close()
        listening.result()
    written = len(pieces) - 1  # the last one is what was left of half a character
    first_ms, last_ms = late_ms + answer.ttft_ms, late_ms + answer.total_ms
    return Cost(answer.text, written, first_ms, last_ms, end_s - ask_s, end_s - listen_s)


def open_cascade(bundle: Bundle, stack: ExitStack) -> Section:
    """The runtime, and the naive way with each transcriber of the same weights.

    Raises:
        EdgeAlmError: the models cannot be loaded.
    """
    assert bundle.language_model is not None
    assert bundle.transcriber is not None
    stream = read(DATA / "home.flac")[int(BEGIN_S * SAMPLE_RATE_HZ) :]
    recording = stream[: int(LENGTH_S * SAMPLE_RATE_HZ)]
    ears = stack.enter_context(Ears(bundle))
    ears.prepare()
    notes: list[str] = []

    def work(name: str, ask: Callable[[str], Cost]) -> tuple[str, Work]:
        def do(number: int) -> list[Taken]:
            if number == WARM_UP:
                told = [f'{question} "{one_line(ask(question).text)}"' for question in QUESTIONS]
                notes.append(f"cascade, {name}: {' '.join(told)}")
                return []
            return ask(QUESTIONS[number % len(QUESTIONS)]).taken()

        return name, do

    peers = [work(RUNTIME, partial(listen_and_ask, ears, stream, LENGTH_S))]
    if bundle.exported is not None:
        notes.append("the naive way left out: the bundle's encoder does not hear patches")
        return Section("cascade", peers, notes)
    encoder = open_encoder(bundle.encoder, bundle.labels)
    llama = stack.enter_context(PlainLlama(bundle.language_model, n_ctx=CONTEXT_TOKENS))
    for engine, name in READERS.items():
        try:
            transcriber = open_transcriber(engine, bundle.transcriber)
        except EdgeAlmError as error:
            notes.append(f"{name} left out: {error}")
        else:
            peers.append(work(name, partial(Cascade(transcriber, encoder, llama).ask, recording)))
    return Section("cascade", peers, notes)
