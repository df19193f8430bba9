"""Questions about what was heard, answered by a language model on this machine."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import EdgeAlmError, UsageError
from edge_alm.models.state_cache import StateCache
from edge_alm.reasoning import evidence
from edge_alm.reasoning.llama import DEFAULT_N_CTX, LlamaContext, Logits, TextDecoder
from edge_alm.reasoning.loudness import SoundLevels
from edge_alm.reasoning.marks import HopMarks
from edge_alm.reasoning.mtmd import AudioTower, Piece, probe_audio_tower
from edge_alm.reasoning.phrases import Phrases
from edge_alm.reasoning.projector import Projector
from edge_alm.reasoning.prompts import (
    NOTHING_HEARD,
    THOUGHT_END,
    THOUGHT_START,
    Part,
    audio_line,
    chat_format,
    end_line,
    event_line,
    guess_line,
    is_heard,
    ongoing_line,
    pinned_prompt,
    question_prompt,
    recording_line,
    turn_prompt,
    until_s,
)
from edge_alm.reasoning.scene import ALWAYS, QUESTION, SCRATCH, SceneMemory, never
from edge_alm.reasoning.stretches import Stretches
from edge_alm.types import SAMPLE_RATE_HZ, Answer, Event, Guess, Samples, Sound

MAX_ANSWER_TOKENS = 64
MAX_THOUGHT_TOKENS = 96


class QuestionCancelledError(EdgeAlmError):
    """The caller gave up a question before its answer was there."""

    code = "cancelled"


class Reasoner(Protocol):
    """Hears about a scene as it unfolds and answers questions about it."""

    def append_event(self, event: Event) -> None:
        """Add an event to the scene. One that does not belong there is ignored."""
        ...

    def append_guess(self, guess: Guess) -> None:
        """Add what a sound without a sure name may have been.

        Nothing, for who has not learnt to read it.
        """
        return

    def append_embeddings(
        self, embeddings: NDArray[np.float32], start_s: float, end_s: float
    ) -> None:
        """Add consecutive hops of the sound encoder, float32 [n, n_in], to the scene.

        Without a projector nothing happens.
        """
        ...

    def begin_recording(self, name: str) -> None:
        """What follows comes from another recording."""
        ...

    def begin_stream(self) -> None:
        """Another clock begins; all that was appended is before its times.

        Nothing, for who cannot be asked about a part of the scene.
        """
        return

    def flush(self) -> None:
        """Work off what was appended, so that a question need not."""
        ...

    def ask(
        self,
        question: str,
        *,
        choices: Sequence[str] | None = None,
        think: bool = False,
        ongoing: Sequence[Sound] = (),
        now_s: float | None = None,
        on_text: Callable[[str], None] | None = None,
        cancelled: Callable[[], bool] = never,
        remember: bool = False,
        since_s: float | None = None,
    ) -> Answer:
        """Answer a question about the scene so far.

        Args:
            question: any text.
            choices: the answer is one of these, whatever their order.
            think: write down what was heard, in order, before answering.
            ongoing: sounds that have begun and not ended.
            now_s: how long the stream has been heard, and they have lasted, seconds.
            on_text: called with each piece of text (of the thought too) as it comes.
            cancelled: asked every now and then; True gives the question up within a second.
            remember: keep question and answer in the scene, so that the next one can refer
                to them.
            since_s: leave out what was over by this second of the stream under way, and all
                streams before it.

        Raises:
            UsageError: an empty question, a single choice, or more text than fits.
            QuestionCancelledError: ``cancelled`` said so.
        """
        ...

    def reset(self) -> None:
        """Forget the scene."""
        ...

    def close(self) -> None:
        """Free what is held. Idempotent."""
        ...


class LocalReasoner:
    """A :class:`Reasoner` on llama.cpp; thread-safe, one call at a time.

    Args:
        model: a GGUF file.
        projector: an .npz for soft tokens; without one the scene is timed text.
        adapter: a LoRA adapter for the model.
        phrases: an .npz by which the words of a question are compared with what was heard; without
            one they are not.
        sentences: folder of the sentence encoder that ``phrases`` were made for; None: of none.
        trained: whether model and adapter were trained on this scene format; if not, examples
            stand before the scene.
        prior_weight: how much of a choice's log likelihood without the scene is taken from
            the one with it, 0 to 1.
        evidence_weight: of what the stretches alone tell of choices that are sounds, see
            :mod:`edge_alm.reasoning.evidence`.
        n_ctx: tokens that the scene, a question and its answer share.
        n_threads: see :class:`LlamaContext`.
        cache: a folder that makes the next start quicker; None: nothing is written.
        audio_projector: a GGUF file that turns audio into soft tokens of an audio-native model.
        audio_window_samples: how much audio a question takes in at most.

    Raises:
        MissingExtraError, ModelMissingError, ModelBrokenError: nothing is half loaded.
    """

    def __init__(
        self,
        model: Path,
        *,
        projector: Path | None = None,
        adapter: Path | None = None,
        phrases: Path | None = None,
        sentences: Path | None = None,
        trained: bool = False,
        prior_weight: float = 1.0,
        evidence_weight: float = evidence.WEIGHT,
        n_ctx: int = DEFAULT_N_CTX,
        n_threads: int | None = None,
        cache: Path | None = None,
        audio_projector: Path | None = None,
        audio_window_samples: int = 0,
    ) -> None:
        self._lock = threading.RLock()
        self._projector = Projector(projector) if projector else None
        self._marks = HopMarks()
        self._levels = SoundLevels()
        self._stretches = Stretches(Phrases(phrases, sentences)) if phrases else None
        self._trained, self._prior_weight = trained, prior_weight
        self.evidence_weight = evidence_weight
        if audio_projector:
            probe_audio_tower(audio_projector, model, cache)
        self._tower: AudioTower | None = None
        self._window_samples = audio_window_samples
        self._llama = LlamaContext(model, n_ctx=n_ctx, n_threads=n_threads, adapter=adapter)
        try:
            if self._projector and self._projector.n_out != self._llama.n_embd:
                raise UsageError(
                    "projector",
                    expected=f"{self._llama.n_embd} outputs for {model.name}",
                    got=str(self._projector.n_out),
                )
            if audio_projector:
                self._tower = AudioTower(
                    audio_projector, self._llama.model, self._llama.n_embd, self._llama.n_threads
                )
            self._chat = chat_format(self._llama.chat_template)
            self._scene = SceneMemory(
                self._llama,
                pinned_prompt(self._chat, trained=trained),
                StateCache(cache) if cache else None,
                spare_tokens=self._count_audio(),
            )
        except BaseException:
            self._free()
            raise
        self._closed = False

    def append_event(self, event: Event) -> None:
        """See :class:`Reasoner`."""
        if is_heard(event):
            loudness = self._loudness(event)
            self._append_text(event_line(event, loudness), until_s(event))
            if self._stretches and isinstance(event, Sound):
                self._stretches.tell(event.start, until_s(event), loudness)

    def append_guess(self, guess: Guess) -> None:
        """See :class:`Reasoner`."""
        if self._trained:
            loudness = self._levels.step(guess)
            self._append_text(guess_line(guess, loudness), guess.end)
            if self._stretches:
                self._stretches.tell(guess.start, guess.end, loudness)

    def append_embeddings(
        self, embeddings: NDArray[np.float32], start_s: float, end_s: float
    ) -> None:
        """See :class:`Reasoner`. A soft token each."""
        self._levels.put(embeddings, start_s, end_s)
        if self._stretches:
            self._stretches.put(embeddings, start_s, end_s)
        if self._projector is None:
            return
        soft = self._projector(embeddings)
        with self._open() as scene:
            mark = self._marks.before(start_s, end_s)
            if mark:
                scene.append_text(mark, end_s)
            for token in soft:
                scene.append(token[None], end_s)

    def begin_recording(self, name: str) -> None:
        """See :class:`Reasoner`."""
        self._append_text(recording_line(name))
        if self._stretches:
            self._stretches.begin_recording(name)

    def _append_text(self, text: str, until_s: float = ALWAYS) -> None:
        with self._open() as scene:
            scene.append_text(text, until_s)

    def begin_stream(self) -> None:
        """See :class:`Reasoner`."""
        self._levels.reset()
        if self._stretches:
            self._stretches.begin_stream()
        with self._open() as scene:
            scene.begin_stream()

    def flush(self) -> None:
        """See :class:`Reasoner`."""
        with self._open() as scene:
            scene.flush()

    def ask(
        self,
        question: str,
        *,
        choices: Sequence[str] | None = None,
        think: bool = False,
        ongoing: Sequence[Sound] = (),
        now_s: float | None = None,
        on_text: Callable[[str], None] | None = None,
        cancelled: Callable[[], bool] = never,
        remember: bool = False,
        since_s: float | None = None,
        audio: Samples | None = None,
    ) -> Answer:
        """See :class:`Reasoner`.

        With ``since_s`` only what was not over by that second of the stream under way counts (the
        language model has met the rest, and may remember some of it). An audio-native model also
        hears ``audio`` [n] at 16 kHz, of which the end counts; it is encoded now, which takes it
        as long as 30 s of audio do.

        A choice's score is its log likelihood with the scene, less that without it times
        ``prior_weight``, and what :mod:`~edge_alm.reasoning.evidence` tells of choices that are
        sounds. Confidence is the softmax of the scores; for a free answer the geometric
        mean of its tokens' probabilities. With the language model untrained, a prior weight of 1
        had 0.58 to 0.66 of 64 made questions right over a dozen prompts, the mean log likelihood
        alone 0.50 to 0.58.
        """
        watch = Stopwatch()
        options = check_question(question, choices)
        with self._open() as scene:
            scene.flush(cancelled)
            _give_up_if(cancelled)
            lines = [ongoing_line(sound, now_s, self._loudness(sound, now_s)) for sound in ongoing]
            heard = self._hear(audio)
            with scene.fork(since_s=-math.inf if since_s is None else since_s) as end:
                if end == scene.pinned_tokens and not (lines or heard):
                    lines = [NOTHING_HEARD]
                lines += (clock := self._clock(now_s, since_s))
                lines += self._compare(question, options, ongoing, now_s, since_s)
                turn = Turn(scene, self._llama, end, cancelled, watch, on_text or _drop)
                turn.hear(heard)
                turn.read(self._tail(lines, question))
                if think:
                    turn.read(scene.tokenize([Part(THOUGHT_START)]))
                    turn.write(MAX_THOUGHT_TOKENS, stop="\n")
                    turn.read(scene.tokenize([Part(THOUGHT_END)]))
                    turn.tell(THOUGHT_END)
                if options:
                    scores = np.array(turn.score(options, self._answer_end))
                else:
                    text, confidence = turn.write(MAX_ANSWER_TOKENS)
            if options:
                if self._prior_weight:
                    with scene.fork(blank=True) as end:
                        blank = Turn(scene, self._llama, end, cancelled, watch, _drop)
                        blank.read(self._tail([NOTHING_HEARD, *clock], question))
                        unheard = np.array(blank.score(options, self._answer_end))
                    scores -= self._prior_weight * unheard
                scores += self._weigh(question, options, ongoing, now_s, since_s)
                watch.first()
                text, confidence = pick(options, scores)
                turn.tell(text)
            if remember:
                scene.append(scene.tokenize(turn_prompt(self._chat, question, text)))
        return Answer(
            question=question,
            text=text,
            choice=text if options else None,
            confidence=round(confidence, 4),
            ttft_ms=watch.first_ms,
            total_ms=watch.now_ms(),
        )

    def likelihood(self, question: str, text: str, now_s: float | None = None) -> float:
        """Mean log probability of the tokens of ``text`` (and of its end) as the answer.

        Of a text's first :data:`MAX_ANSWER_TOKENS` tokens, in lower case. It compares one text over
        several scenes, which the scores of choices cannot.
        """
        if not text.strip():
            raise UsageError("text", expected="some", got="none")
        check_question(question, None)
        with self._open() as scene:
            scene.flush()
            lines = [NOTHING_HEARD] if scene.is_empty else []
            lines += self._clock(now_s)
            lines += self._compare(question, [text])
            with scene.fork() as end:
                turn = Turn(scene, self._llama, end, never, Stopwatch(), _drop)
                turn.read(self._tail(lines, question))
                (total,) = turn.score([text], self._answer_end)
            tokens = self._llama.tokenize(text.lower())[:MAX_ANSWER_TOKENS]
            return total / (len(tokens) + len(self._answer_end))

    def _hear(self, audio: Samples | None) -> list[Piece]:
        """What the model reads of the end of ``audio``; nothing where it has no ear for it."""
        if self._tower is None or audio is None or not len(audio):
            return []
        audio = audio[-self._window_samples :]
        heading = self._llama.tokenize(audio_line(len(audio) / SAMPLE_RATE_HZ))
        return [heading, *self._tower(audio), self._llama.tokenize("\n")]

    def _count_audio(self) -> int:
        if self._tower is None:
            return 0
        silence = np.zeros(self._window_samples, np.float32)
        heading = self._llama.tokenize(audio_line(len(silence) / SAMPLE_RATE_HZ))
        return self._tower.count(len(silence)) + len(heading) + 8

    def _free(self) -> None:
        if self._tower is not None:
            self._tower.close()
        self._llama.close()

    def _loudness(self, event: Event, now_s: float | None = None) -> int | None:
        if not (self._trained and isinstance(event, Sound)):
            return None
        return self._levels.step(event, now_s)

    def _clock(self, now_s: float | None, since_s: float | None = None) -> list[str]:
        return [end_line(now_s, since_s or 0.0)] if self._trained and now_s is not None else []

    def _compare(
        self,
        question: str,
        choices: Sequence[str],
        ongoing: Sequence[Sound] = (),
        now_s: float | None = None,
        since_s: float | None = None,
    ) -> list[str]:
        """Which of the question's phrases the stretches of the scene are like."""
        if self._stretches is None:
            return []
        return self._stretches.lines(question, choices, *self._part(ongoing, now_s, since_s))

    def _weigh(
        self,
        question: str,
        choices: Sequence[str],
        ongoing: Sequence[Sound],
        now_s: float | None,
        since_s: float | None,
    ) -> NDArray[np.float64] | float:
        """What the stretches of the scene add to the scores of the choices."""
        if self._stretches is None or not self.evidence_weight:
            return 0.0
        part = self._part(ongoing, now_s, since_s)
        found = self._stretches.weigh(question, choices, *part, now_s)
        return 0.0 if found is None else self.evidence_weight * found

    def _part(
        self, ongoing: Sequence[Sound], now_s: float | None, since_s: float | None
    ) -> tuple[list[tuple[float, float, int | None]], float]:
        """Spans of sounds that have not ended, and from when on the scene counts."""
        until = math.inf if now_s is None else now_s
        spans = [(sound.start, until, self._loudness(sound, now_s)) for sound in ongoing]
        return spans, -math.inf if since_s is None else since_s

    @property
    def _answer_end(self) -> list[int]:
        """What a trained model writes after its answer, and so belongs to every choice."""
        if not self._trained:
            return []
        return self._scene.tokenize([Part(self._chat.end, True)])[:1]

    def _tail(self, lines: Sequence[str], question: str) -> list[int]:
        """Tokens from the end of what is held to where the answer begins.

        Of the lines as many of the last as fit beside the question.
        """
        tokens = self._scene.tokenize(question_prompt(self._chat, question))
        room = self._scene.reserved_tokens - MAX_THOUGHT_TOKENS - MAX_ANSWER_TOKENS
        if len(tokens) > room:
            raise UsageError(
                "question",
                expected=f"at most {room} tokens",
                got=str(len(tokens)),
                hint="shorten it",
            )
        for line in reversed(lines):
            line_tokens = self._llama.tokenize(line)
            if len(line_tokens) + len(tokens) > room:
                break
            tokens = line_tokens + tokens
        return tokens

    def reset(self) -> None:
        """See :class:`Reasoner`."""
        with self._open() as scene:
            scene.reset()
            self._marks.reset()
            self._levels.reset()
            if self._stretches:
                self._stretches.reset()

    def close(self) -> None:
        """See :class:`Reasoner`. Waits for a question in progress: cancel it first."""
        with self._lock:
            self._closed = True
            self._free()

    @contextmanager
    def _open(self) -> Iterator[SceneMemory]:
        with self._lock:
            if self._closed:
                raise UsageError("reasoner", expected="an open one", got="a closed one")
            yield self._scene


class Stopwatch:
    """Milliseconds since a question came."""

    def __init__(self) -> None:
        self._began_s = time.perf_counter()
        self.first_ms = 0.0

    def now_ms(self) -> float:
        """So far."""
        return round((time.perf_counter() - self._began_s) * 1000.0, 1)

    def first(self) -> None:
        """The answer has begun; only the first call counts."""
        self.first_ms = self.first_ms or self.now_ms()


class Turn:
    """The assistant's turn in the fork of a question."""

    def __init__(
        self,
        scene: SceneMemory,
        llama: LlamaContext,
        end: int,
        cancelled: Callable[[], bool],
        watch: Stopwatch,
        tell: Callable[[str], None],
    ) -> None:
        self._scene, self._llama, self._cancelled = scene, llama, cancelled
        self._end, self._watch, self.tell = end, watch, tell
        self._logits: Logits = np.empty(0, np.float32)

    def read(self, tokens: Sequence[int]) -> None:
        """Take in tokens that are given."""
        logits = self._scene.run(
            tokens, QUESTION, self._end, wanted=True, cancelled=self._cancelled
        )
        _give_up_if(self._cancelled)
        if logits is not None:
            self._logits = logits
        self._end += len(tokens)

    def hear(self, pieces: Sequence[Piece]) -> None:
        """Take in audio: tokens and soft tokens."""
        for piece in pieces:
            if isinstance(piece, list):
                self.read(piece)
            else:
                _give_up_if(self._cancelled)
                self._scene.run_soft(piece, QUESTION, self._end)
                self._end += len(piece)

    def write(self, max_tokens: int, stop: str = "") -> tuple[str, float]:
        """Write the likeliest tokens; returns the text and its tokens' mean probability."""
        decoder = TextDecoder()
        text, total, n = "", 0.0, 0
        for _ in range(max_tokens):
            token = int(self._logits.argmax())
            total += float(log_softmax(self._logits)[token])
            n += 1
            self._watch.first()
            if self._llama.is_end(token):
                break
            piece = decoder.feed(self._llama.piece(token))
            if stop and stop in piece:
                break
            self.tell(piece)
            text += piece
            self.read([token])
        rest = decoder.finish()
        self.tell(rest)
        return (text + rest).strip(), math.exp(total / n)

    def score(self, options: Sequence[str], ending: Sequence[int] = ()) -> list[float]:
        """Log probability of each option, in lower case as the scene is, and of ``ending``."""
        tokens = [
            [*self._llama.tokenize(option.lower())[:MAX_ANSWER_TOKENS], *ending]
            for option in options
        ]
        scores: list[float] = []
        for group in batches(tokens, self._llama.n_batch, self._llama.n_seq_max - SCRATCH):
            _give_up_if(self._cancelled)
            scores += self._score_group(group)
        return scores

    def _score_group(self, group: Sequence[list[int]]) -> list[float]:
        """As :meth:`score`, in one native call: each option in a fork of its own."""
        sequences = range(SCRATCH, SCRATCH + len(group))
        for sequence in sequences:
            self._llama.fork(QUESTION, sequence)
        try:
            # The last token is not run: nothing after it is asked for.
            rows = self._llama.decode(
                [token for option in group for token in option[:-1]],
                [self._end + i for option in group for i in range(len(option) - 1)],
                [s for s, option in zip(sequences, group, strict=True) for _ in option[:-1]],
                [True] * sum(len(option) - 1 for option in group),
            )
        finally:
            for sequence in sequences:
                self._llama.remove(sequence)
        first, later = log_softmax(self._logits), iter(log_softmax(rows))
        return [
            float(first[option[0]]) + sum(float(next(later)[token]) for token in option[1:])
            for option in group
        ]


def check_question(question: str, choices: Sequence[str] | None) -> list[str]:
    """The different choices in an order of their own, so that the given one cannot matter.

    Raises:
        UsageError: an empty question or choice, or fewer than two choices.
    """
    if not question.strip():
        raise UsageError("question", expected="some text", got="none")
    if choices is None:
        return []
    options = sorted(set(choices))
    if len(options) < 2 or not all(option.strip() for option in options):
        raise UsageError("choices", expected="two or more texts", got=repr(list(choices)))
    return options


def pick(options: Sequence[str], scores: Sequence[float] | NDArray[Any]) -> tuple[str, float]:
    """The option with the highest score, and its share in the softmax of all."""
    shares = np.exp(log_softmax(np.asarray(scores)))
    best = int(np.argmax(scores))
    return options[best], float(shares[best])


def log_softmax(x: NDArray[Any]) -> NDArray[np.float64]:
    """Over the last axis, in double precision."""
    y = x.astype(np.float64)
    y -= y.max(axis=-1, keepdims=True)
    y -= np.log(np.exp(y).sum(axis=-1, keepdims=True))
    return y


def batches(
    items: Sequence[list[int]], max_tokens: int, max_items: int
) -> Iterator[Sequence[list[int]]]:
    """Consecutive items, as many at a time as fit; each fits alone."""
    group: list[list[int]] = []
    for item in items:
        if group and (len(group) == max_items or sum(map(len, [*group, item])) > max_tokens):
            yield group
            group = []
        group.append(item)
    yield group


def _give_up_if(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise QuestionCancelledError("question", got="cancelled before its answer")


def _drop(_text: str) -> None:
    pass
