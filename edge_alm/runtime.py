"""Threads, queues and shutdown around the pipeline.

    source -> [hearing thread: pipeline] -> events -> the caller's loop
                          `-> scene queue -> [reasoning thread: reasoner] <- questions

Nothing that is slow can hold back the ear: events and scene wait in queues, and the scene
queue merges its oldest hops when the model is slow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from edge_alm.audio.source import open_source
from edge_alm.errors import UsageError
from edge_alm.hearing.audioset import ontology
from edge_alm.hearing.encoder import Hop, HopEncoder, Yamnet
from edge_alm.hearing.gate import SoundGate
from edge_alm.hearing.logmel import LogMel
from edge_alm.hearing.segmenter import SpeechSegmenter
from edge_alm.hearing.sound_ear import SoundEar
from edge_alm.hearing.speech_ear import SpeechEar
from edge_alm.hearing.tracker import Tracker, read_thresholds
from edge_alm.hearing.transcriber import Transcriber, WhisperTranscriber
from edge_alm.hearing.transcription import (
    InlineTranscription,
    ThreadedTranscription,
    Transcription,
)
from edge_alm.hearing.vad import SileroVad
from edge_alm.hearing.watch import NameMatcher, Watcher
from edge_alm.models.bundle import Bundle, load_bundle
from edge_alm.pipeline import Pipeline
from edge_alm.reasoning.reasoner import LocalReasoner, Reasoner
from edge_alm.reasoning.remote import RemoteReasoner
from edge_alm.types import Answer, Event, Source, to_seconds
from edge_alm.workers import Hearing, Mind


class Ears:
    """Everything that hears and answers, made of one bundle. Made by :func:`edge_alm.load`.

    One stream at a time; :meth:`ask` may be called from any thread, while listening too.

    Args:
        bundle: the models.
        llm: the address of an OpenAI-compatible server in place of the bundle's language
            model.
    """

    def __init__(self, bundle: Bundle, *, llm: str | None = None) -> None:
        self._bundle = bundle
        self._encoder = Yamnet(bundle.encoder, bundle.labels)
        self._log_mel = LogMel()
        self._matcher = NameMatcher(self._encoder.labels)
        self._transcriber: Transcriber | None = None
        self._pipeline: Pipeline | None = None
        self._heard_s = 0.0
        self._mind: Mind | None = None
        if llm is not None:
            self._mind = Mind(lambda: RemoteReasoner(llm))
        elif (model := bundle.language_model) is not None:
            self._mind = Mind(
                lambda: LocalReasoner(
                    model,
                    projector=bundle.projector,
                    adapter=bundle.adapter,
                    n_ctx=bundle.context_tokens,
                )
            )

    def __enter__(self) -> Ears:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def listen(
        self,
        source: str | Path | Source | None = None,
        *,
        watch: Iterable[str] = (),
        realtime: bool = False,
        backend: str = "auto",
    ) -> Iterator[Event]:
        """Events of a stream, each as soon as it is known; what is heard joins the scene.

        Args:
            source: a file, ``-``, ``mic:NAME``; None for the default microphone; or an open
                source, which is closed at the end.
            watch: phrases that raise a :class:`~edge_alm.types.Watch` event.
            realtime: pace a file as a microphone would.
            backend: what opens a microphone: ``auto``, ``sounddevice`` or ``pyaudio``.

        Raises:
            UsageError, SourceError, DeviceError: before the first event.
        """
        watcher = Watcher(watch, self._matcher)
        if source is None or isinstance(source, (str, Path)):
            spec = None if source is None else str(source)
            source = open_source(spec, realtime=realtime, backend=backend)
        return self._listen(source, watcher, threaded=source.live or realtime)

    def begin_recording(self, name: str) -> None:
        """Tell the scene that what is heard next is another recording."""
        self._require_mind().call(lambda reasoner: reasoner.begin_recording(name)).result()

    def ask(
        self,
        question: str,
        *,
        choices: Sequence[str] | None = None,
        think: bool = False,
        remember: bool = False,
        on_text: Callable[[str], None] | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Answer:
        """Answer a question about all that was heard so far.

        Args:
            question: any text.
            choices: the answer is one of these, whatever their order.
            think: let the model write down what it heard before it answers.
            remember: keep question and answer in the scene, for the next question.
            on_text: called with each piece of the answer as it comes, on another thread.
            cancelled: asked now and then; True gives the question up.

        Raises:
            UsageError: an empty question or choice, or no language model.
            EdgeAlmError: the language model cannot be loaded or reached.
        """
        mind = self._require_mind()
        ongoing = self._pipeline.ongoing() if self._pipeline else ()
        now_s = self._heard_s

        def answer(reasoner: Reasoner) -> Answer:
            return reasoner.ask(
                question,
                choices=choices,
                think=think,
                ongoing=ongoing,
                now_s=now_s,
                on_text=on_text,
                cancelled=lambda: mind.is_closing() or cancelled(),
                remember=remember,
            )

        return mind.call(answer).result()

    def reset(self) -> None:
        """Forget the scene."""
        if self._mind:
            self._mind.call(lambda reasoner: reasoner.reset()).result()

    def close(self) -> None:
        """Stop the threads and free the models. Idempotent."""
        if self._mind:
            self._mind.close()

    def _require_mind(self) -> Mind:
        if self._mind is None:
            raise UsageError(
                "question",
                expected="a language model",
                got="ears that were loaded without one",
                hint="load them with llm=True, or leave out --no-llm",
            )
        return self._mind

    def _load_transcriber(self) -> Transcriber:
        if self._transcriber is None:
            if self._bundle.transcriber is None:
                raise UsageError("speech", expected="a transcriber", got="a bundle without one")
            self._transcriber = WhisperTranscriber(self._bundle.transcriber)
        return self._transcriber

    def _make_pipeline(self, transcription: Transcription | None, watcher: Watcher) -> Pipeline:
        tracker = Tracker(self._encoder.labels, read_thresholds(), ontology())
        hops = HopEncoder(self._encoder, self._log_mel)
        sound = SoundEar(SoundGate(), hops, tracker, watcher, self._keep_hop)
        vad, segmenter = SileroVad(self._bundle.vad), SpeechSegmenter()
        return Pipeline(SpeechEar(vad, segmenter, transcription), sound)

    def _keep_hop(self, hop: Hop) -> None:
        self._heard_s = to_seconds(hop.end)
        if self._mind and self._mind.takes_embeddings:
            self._mind.scene.put_embeddings(
                hop.embedding[None], to_seconds(hop.start), to_seconds(hop.end)
            )

    def _listen(self, source: Source, watcher: Watcher, *, threaded: bool) -> Iterator[Event]:
        transcription: Transcription | None = None
        if self._bundle.transcriber is not None:
            kind = ThreadedTranscription if threaded else InlineTranscription
            transcription = kind(self._load_transcriber)
        pipeline = self._make_pipeline(transcription, watcher)
        self._pipeline, self._heard_s = pipeline, 0.0
        # A file waits for its reader; a microphone cannot, and events are few.
        hearing = Hearing(self._heard(pipeline, source), 0 if source.live else 256)
        try:
            yield from hearing.events()
        finally:
            source.close()
            if isinstance(transcription, ThreadedTranscription):
                transcription.close()
            hearing.stop()

    def _heard(self, pipeline: Pipeline, source: Source) -> Iterator[Event]:
        for event in pipeline.run(source.packets()):
            if self._mind:
                self._mind.scene.put_event(event)
            yield _stamp(event, source.started_unix)


def load(
    bundle: str | Path = "default", *, llm: bool | str = True, transcribe: bool = True
) -> Ears:
    """Load what hears and answers.

    The language model loads in the background; whether its file is there and whole is checked
    at once.

    Args:
        bundle: the name of a bundle, or a folder with one.
        llm: whether to load the bundle's language model; or the address of an
            OpenAI-compatible server (``http://host:port/v1``) to use instead.
        transcribe: whether speech becomes text.

    Raises:
        ModelMissingError: a file is not on this machine; the hint says how to fetch it.
        ModelBrokenError: a file is damaged.
    """
    address = llm if isinstance(llm, str) else None
    own_model = llm is True
    return Ears(load_bundle(bundle, language_model=own_model, transcriber=transcribe), llm=address)


def _stamp(event: Event, started_unix: float | None) -> Event:
    if started_unix is None:
        return event
    at_s = getattr(event, "start", getattr(event, "at", None))
    return event if at_s is None else replace(event, at_unix=round(started_unix + at_s, 3))
