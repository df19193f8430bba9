"""Speech to text: an utterance of about two seconds, and how many of its words are wrong."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.section import RUNTIME, Section, Taken, Work
from benchmarks.speech import Prompt, find_prompts, to_words
from edge_alm.errors import EdgeAlmError, UsageError
from edge_alm.hearing.engines import open_transcriber
from edge_alm.hearing.transcriber import Transcriber
from edge_alm.models.bundle import Bundle
from quantize.speech_files import word_errors

SHORTEST_S, LONGEST_S = 1.5, 3.0
NO_SHERPA = (
    "sherpa-onnx left out: no model was given; --sherpa DIR reads with one, as it is published"
)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads all prompts in a round."""

    transcriber: Transcriber
    prompts: Sequence[Prompt]

    def __call__(self, number: int) -> list[Taken]:
        taken: list[Taken] = []
        wrong = 0
        for prompt in self.prompts:
            begun_s, cpu_s = time.perf_counter(), time.process_time()
            text = self.transcriber.transcribe(prompt.samples).text
            taken.append(Taken("to text", "ms", 1e3 * (time.perf_counter() - begun_s)))
            taken.append(Taken("CPU", "ms of CPU", 1e3 * (time.process_time() - cpu_s)))
            wrong += word_errors(prompt.words, to_words(text))
        words = sum(len(prompt.words) for prompt in self.prompts)
        return [*taken, Taken("words wrong", "%", 100.0 * wrong / words)]


def open_speech(bundle: Bundle, corpus: Path, count: int, sherpa: Sequence[Path]) -> Section:
    """Every engine that is there, one thread for its network.

    Args:
        bundle: whose transcriber faster-whisper reads with, too.
        corpus: a folder of ``python -m export.corpus``; without it the recordings of the tests
            are read.
        count: of prompts.
        sherpa: folders of sherpa-onnx.

    Raises:
        EdgeAlmError: there are no prompts, or the bundle's own transcriber cannot be opened.
    """
    assert bundle.transcriber is not None
    prompts = find_prompts(corpus, count, SHORTEST_S, LONGEST_S)
    if not prompts:
        expected = f"prompts of {SHORTEST_S:g} to {LONGEST_S:g} s"
        raise UsageError(f"corpus {corpus}", expected=expected, got="none")
    words = sum(len(prompt.words) for prompt in prompts)
    notes = [f"speech: {len(prompts)} prompts of {SHORTEST_S:g} to {LONGEST_S:g} s, {words} words"]
    own = open_transcriber(bundle.engine, bundle.transcriber)
    peers: list[tuple[str, Work]] = [(RUNTIME, Reader(own, prompts))]
    others = [("faster-whisper", "faster-whisper", bundle.transcriber)]
    others += [(f"sherpa-onnx, {folder.name}", "sherpa-onnx", folder) for folder in sherpa]
    for name, engine, folder in others:
        try:
            peers.append((name, Reader(open_transcriber(engine, folder), prompts)))
        except EdgeAlmError as error:
            notes.append(f"{name} left out: {error}")
    if not sherpa:
        notes.append(NO_SHERPA)
    return Section("speech", peers, notes)
