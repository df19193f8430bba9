"""Threads, queues and shutdown around the pipeline.

    source -> [hearing thread: pipeline] -> events -> the caller's loop
                          `-> scene queue -> [reasoning thread: reasoner] <- questions

Nothing that is slow can hold back a live ear: events and scene wait in queues, and the scene
queue merges its oldest hops when the model is slow. Where hearing itself falls behind a live
stream, :mod:`edge_alm.overload` decides what is given up. A recording can wait, and does before
anything would be merged: its scene is the same at every run.
"""

from __future__ import annotations

import atexit
import importlib.util
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import wait
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

from edge_alm.audio.source import open_source
from edge_alm.errors import OverloadedError, UsageError, missing_extra
from edge_alm.hearing.audioset import ontology, voice_labels
from edge_alm.hearing.blocks import RecentAudio
from edge_alm.hearing.encoder import HOP_SAMPLES, Hop, HopEncoder
from edge_alm.hearing.engines import open_transcriber
from edge_alm.hearing.exported import make_encoder
from edge_alm.hearing.gate import SoundGate
from edge_alm.hearing.guesses import Guesser
from edge_alm.hearing.logmel import LogMel
from edge_alm.hearing.phrase_watch import PhraseWatcher
from edge_alm.hearing.segmenter import SpeechSegmenter
from edge_alm.hearing.sound_ear import SoundEar
from edge_alm.hearing.speech_ear import SpeechEar
from edge_alm.hearing.taught_ear import TaughtEar
from edge_alm.hearing.tracker import Tracker, read_thresholds
from edge_alm.hearing.transcriber import Transcriber
from edge_alm.hearing.transcription import (
    InlineTranscription,
    OnPartial,
    ThreadedTranscription,
    Transcription,
)
from edge_alm.hearing.vad import SileroVad
from edge_alm.hearing.watch import NameMatcher, NameWatcher, Query, Watcher
from edge_alm.models import store
from edge_alm.models.bundle import Bundle, load_bundle
from edge_alm.native import keep_heap_small
from edge_alm.overload import Lag, Overload, Relief
from edge_alm.pipeline import Pipeline
from edge_alm.reasoning.asked import split_order
from edge_alm.reasoning.judges import Judges, open_judges, own_sounds
from edge_alm.reasoning.losses import LossDigest
from edge_alm.reasoning.phrases import Phrases
from edge_alm.reasoning.reasoner import LocalReasoner, QuestionCancelledError, Reasoner
from edge_alm.types import (
    SAMPLE_RATE_HZ,
    Answer,
    Event,
    Fault,
    Frame,
    Guess,
    Lost,
    Packet,
    Sound,
    Source,
    Teller,
    to_seconds,
)
from edge_alm.workers import Hearing, Mind, closed

READER_EVENTS = 256
"""Events of a recording that may wait for their reader."""
Listeners: TypeAlias = tuple[Watcher | None, TaughtEar | None]
SCENE_ENTRIES = 128
"""Entries of a recording that may wait for the model; half of what the queue can hold."""


class Ears:
    """Everything that hears and answers, made of one bundle. Made by :func:`edge_alm.load`.

    One stream at a time: where another begins, the one before ends. :meth:`ask`, :meth:`reset`
    and :meth:`close` may be called from any thread, while listening too.

    Args:
        bundle: the models.
        llm: the address of an OpenAI-compatible server in place of the bundle's language
            model.
        reasoner: what to make in place of the bundle's language model; gets embeddings too.
        transcriber: what turns speech into text; None: the bundle's, made when it is needed.
        taught_sounds: whether to know the sounds that were taught.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        llm: str | None = None,
        reasoner: Callable[[], Reasoner] | None = None,
        transcriber: Transcriber | None = None,
        taught_sounds: bool = True,
    ) -> None:
        self._bundle = bundle
        self._encoder = make_encoder(bundle)
        self._log_mel = LogMel()
        self._matcher = NameMatcher(self._encoder.labels)
        self._phrases: Phrases | None = None  # when something is watched for, or was taught
        self._knows_taught = taught_sounds
        self._spoken = ontology().descendants("Speech") | {"Speech"}
        self._voices = [i for i, v in enumerate(self._encoder.labels) if v in voice_labels()]
        self._transcriber = transcriber
        self._transcribes = transcriber is not None or bundle.transcriber is not None
        self._tells_speech = self._transcribes
        self._source: Source | None = None
        self._ongoing: tuple[Sound, ...] = ()
        self._pipeline: Pipeline | None = None
        """Of the stream under way. It knows these ears: kept for longer, it would keep them."""
        self._heard_s: float | None = None  # of the stream before that
        self._relief = Relief.NOTHING
        self._relieving = threading.Lock()
        """A stream that ends, or is taken over from, gives up nothing any more."""
        self._closed = threading.Event()
        self._mind: Mind | None = None
        self._recent: RecentAudio | None = None  # for a language model that hears it itself
        window_samples = round(bundle.audio_window_s * SAMPLE_RATE_HZ)
        # Known before the model is: what is heard while it loads belongs to the scene too.
        self._takes_embeddings = llm is None and (
            reasoner is not None or bundle.projector is not None
        )
        if reasoner is not None:
            self._mind = Mind(reasoner)
        elif llm is not None:
            # Here, since http and ssl take 6 MB.
            from edge_alm.reasoning.remote import RemoteReasoner

            remote = RemoteReasoner(llm)
            self._mind = Mind(lambda: remote)
        elif (model := bundle.language_model) is not None:
            self._mind = Mind(
                lambda: LocalReasoner(
                    model,
                    projector=bundle.projector,
                    adapter=bundle.adapter,
                    phrases=bundle.phrases,
                    sentences=bundle.sentences,
                    trained=bundle.scene_format is not None,
                    prior_weight=bundle.prior_weight,
                    n_ctx=bundle.context_tokens,
                    cache=store.home() / "prefixes",
                    audio_projector=bundle.audio_projector,
                    audio_window_samples=window_samples,
                )
            )
            if bundle.audio_projector is not None:
                self._recent = RecentAudio(window_samples)
        if self._mind:
            # For those who forget close(): the model is freed with the ears, or at exit.
            weakref.finalize(self, self._mind.close)

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
        on_partial: OnPartial | None = None,
    ) -> Iterator[Event]:
        """Events of a stream, each as soon as it is known; what is heard joins the scene.

        Args:
            source: a file, ``-``, ``mic:NAME``; None for the default microphone; or an open
                source, which is closed at the end.
            watch: phrases that raise a :class:`~edge_alm.types.Watch` event: a sound, or several in
                order ("a dog barking, then rain"), which raise it as the last one starts.
            realtime: pace a file as a microphone would.
            backend: what opens a microphone: ``auto``, ``sounddevice`` or ``pyaudio``.
            on_partial: called, on another thread, with what has been said so far while someone
                speaks: about twice a second, each time from the beginning, and revised by the
                event in the end; with an empty text when nothing was said after all.

        Raises:
            UsageError, SourceError, DeviceError, MissingExtraError: before the first event.
            ClosedError: the ears are closed.
        """
        if self._closed.is_set():
            raise closed()
        phrases = list(watch)
        judges = self._make_judges(watches=bool(phrases))
        watcher = self._make_watcher(phrases, judges)
        own = None if judges is None else judges.of_taught()
        taught_ear = None if judges is None or own is None else TaughtEar(judges.names, own)
        if source is None or isinstance(source, (str, Path)):
            spec = None if source is None else str(source)
            source = open_source(spec, realtime=realtime, backend=backend)
        waits = not (source.live or realtime)
        events = self._listen(source, (watcher, taught_ear), on_partial, waits=waits)
        weakref.finalize(events, source.close)  # when nobody ever asks for the first event
        return events

    @property
    def bundle(self) -> Bundle:
        """The models."""
        return self._bundle

    @property
    def sounds(self) -> tuple[str, ...]:
        """The labels that the encoder can give; none where it only embeds."""
        return self._encoder.labels

    @property
    def takes_embeddings(self) -> bool:
        """Whether the scene takes in the encoder's embeddings."""
        return self._takes_embeddings

    @property
    def backlog(self) -> int:
        """Entries of the scene that wait for the language model."""
        return len(self._mind.scene) if self._mind else 0

    def prepare(self) -> None:
        """Load now what is otherwise loaded when it is first needed, and wait for it.

        Raises:
            MissingExtraError, ModelBrokenError: as these first times would.
            ClosedError: the ears are closed.
        """
        if self._transcribes:
            self._load_transcriber()
        self.flush()

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
        since_s: float | None = None,
        on_text: Callable[[str], None] | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Answer:
        """Answer a question about what was heard so far.

        Args:
            question: any text.
            choices: the answer is one of these, whatever their order.
            think: let the model write down what it heard before it answers.
            remember: keep question and answer in the scene, for the next question.
            since_s: leave out what was over by this second of the stream under way, and all
                streams before it; None: leave out nothing.
            on_text: called with each piece of the answer as it comes, on another thread.
            cancelled: asked now and then; True gives the question up.

        Returns:
            The answer; its times count from this call, so the wait for the model is in them.

        Raises:
            UsageError: an empty question or choice, or no language model.
            OverloadedError: the machine cannot keep up with the stream.
            ClosedError: the ears are closed.
            EdgeAlmError: the language model cannot be loaded or reached.
        """
        mind = self._require_mind()
        if self._refuses():  # before the mind reads the scene for it
            raise _overloaded()
        asked_s = time.perf_counter()
        given_up, overloaded = threading.Event(), threading.Event()
        recent = self._recent
        since = 0 if since_s is None else round(since_s * SAMPLE_RATE_HZ)

        def is_given_up() -> bool:
            if self._refuses():
                overloaded.set()
            return mind.is_closing() or given_up.is_set() or overloaded.is_set() or cancelled()

        def answer(reasoner: Reasoner) -> Answer:
            if self._refuses():  # since it was asked
                raise _overloaded()
            waited_ms = 1000.0 * (time.perf_counter() - asked_s)
            # Only a language model of a bundle that has an audio projector hears by itself.
            heard: dict[str, Any] = {} if recent is None else {"audio": recent.read(since)}
            found = reasoner.ask(
                question,
                choices=choices,
                think=think and self._relief < Relief.THINKING,
                ongoing=self._ongoing,
                now_s=self._now_s(),
                on_text=on_text,
                cancelled=is_given_up,
                remember=remember,
                since_s=since_s,
                **heard,
            )
            return replace(
                found,
                ttft_ms=round(found.ttft_ms + waited_ms, 1),
                total_ms=round(found.total_ms + waited_ms, 1),
            )

        try:
            answered = mind.call(answer).result()
            self._tell(answered)
            return answered
        except QuestionCancelledError:
            if overloaded.is_set():
                raise _overloaded() from None
            raise
        finally:
            given_up.set()  # Ctrl-C in an interactive session must not leave it at work

    def relive(self, events: Iterable[Event]) -> None:
        """Let the scene be these events, of a log for instance, in place of what was heard.

        Args:
            events: in order, with times on a clock of their own.

        Raises:
            UsageError: a stream is under way, or there is no language model.
            ClosedError: the ears are closed.
            EdgeAlmError: the language model cannot be loaded.
        """
        if self._pipeline is not None:
            raise UsageError(
                "events", expected="ears that listen to nothing", got="a stream under way"
            )
        told = list(events)

        def relive(reasoner: Reasoner) -> None:
            reasoner.reset()
            for event in told:
                reasoner.append_event(event)

        mind = self._require_mind()
        self._ongoing, self._heard_s = (), None
        mind.call(relive).result()

    def flush(self) -> None:
        """Wait until all that was heard is in the language model's context, as it is live.

        Raises:
            ClosedError: the ears are closed.
            EdgeAlmError: the language model cannot be loaded.
        """
        if self._mind:
            self._mind.call(lambda reasoner: reasoner.flush()).result()

    def reset(self) -> None:
        """Forget the scene.

        Raises:
            ClosedError: the ears are closed.
            EdgeAlmError: the language model cannot be loaded.
        """

        def forget(reasoner: Reasoner) -> None:
            self._ongoing = ()
            reasoner.reset()

        if self._mind:
            self._mind.call(forget).result()

    def close(self) -> None:
        """End the stream, give up what is asked, free the models. Idempotent.

        Takes at most :data:`~edge_alm.workers.STOP_S`; native work under way ends behind it.
        """
        self._closed.set()
        source = self._source
        if source is not None:
            source.close()
        if self._mind:
            self._mind.close()

    def _tell(self, event: Event) -> None:
        """Pass an event on to whoever is at the source's other end."""
        source: object = self._source
        if isinstance(source, Teller):
            source.tell(event)

    def _refuses(self) -> bool:
        """Whether there is no time for questions."""
        return self._relief >= Relief.ANSWERS

    def _now_s(self) -> float | None:
        """How long the stream has been heard; None before the first."""
        pipeline = self._pipeline
        return self._heard_s if pipeline is None else pipeline.heard_s

    def _require_mind(self) -> Mind:
        if self._mind is None:
            raise UsageError(
                "question",
                expected="a language model",
                got="ears that were loaded without one",
                hint="load them with llm=True, or leave out --no-llm",
            )
        return self._mind

    def _make_watcher(self, watch: Sequence[str], judges: Judges | None) -> Watcher | None:
        """What tells of these phrases; None for none.

        Raises:
            UsageError: a phrase that names no sound.
        """
        queries = [self._read_query(text, judges) for text in watch]
        if not queries:
            return None
        if judges is None:
            return NameWatcher(queries, self._matcher)
        parts = [part for query in queries for part in query.parts]
        return PhraseWatcher(
            queries, judges.of_hops(parts), [self._names(p, judges) for p in parts]
        )

    def _read_query(self, text: str, judges: Judges | None) -> Query:
        parts = split_order(text) if judges is None else judges.parts(text)
        if self._matcher.called(text):  # "Smash, crash" is one sound
            parts = [text]
        if not parts:
            raise UsageError(f"watch {text!r}", expected="the name of a sound", got="none")
        return Query(text, tuple(parts))

    def _names(self, part: str, judges: Judges) -> frozenset[str]:
        """The labels that a part of a query is told with."""
        taught = judges.taught_name(part)
        return self._matcher.called(part) if taught is None else frozenset({taught})

    def _make_judges(self, *, watches: bool) -> Judges | None:
        """What knows words and taught sounds; None where there is nothing to be known.

        Raises:
            ModelBrokenError: a taught sound, or what it is told apart from, is damaged.
        """
        sounds = own_sounds(self._bundle) if self._knows_taught else []
        if self._bundle.phrases is None or not (watches or sounds):
            return None
        if self._phrases is None:
            self._phrases = Phrases(self._bundle.phrases, self._bundle.sentences)
        return open_judges(self._bundle, self._phrases, sounds)

    def _load_transcriber(self) -> Transcriber:
        if self._transcriber is None:
            if self._bundle.transcriber is None:
                raise UsageError("speech", expected="a transcriber", got="a bundle without one")
            self._tells_speech = False  # unless the next line succeeds
            self._transcriber = open_transcriber(self._bundle.engine, self._bundle.transcriber)
            self._tells_speech = True
        return self._transcriber

    def _make_pipeline(
        self,
        transcription: Transcription | None,
        listeners: Listeners,
        keep: Callable[[Hop], None],
    ) -> Pipeline:
        rules = self._encoder.labels, read_thresholds(self._bundle.thresholds), ontology()
        tracker, guesser = Tracker(*rules), Guesser(*rules)
        hops = HopEncoder(self._encoder, self._log_mel)
        vad, segmenter = SileroVad(self._bundle.vad), SpeechSegmenter()
        speech = SpeechEar(vad, segmenter, transcription, self._voices)

        def on_hop(hop: Hop) -> None:
            speech.hear_hop(hop)
            keep(hop)

        watcher, taught_ear = listeners
        sound = SoundEar(
            SoundGate(), hops, tracker, watcher, on_hop, guesser, self._keep_guess, taught_ear
        )
        return Pipeline(speech, sound)

    def _listen(
        self,
        source: Source,
        listeners: Listeners,
        on_partial: OnPartial | None,
        *,
        waits: bool,
    ) -> Iterator[Event]:
        """Events of a source, which is closed at the end; one that ``waits`` loses nothing."""
        transcription: Transcription | None = None
        hearing: Hearing | None = None
        pipeline: Pipeline | None = None

        def stop() -> None:
            source.close()
            if isinstance(transcription, ThreadedTranscription):
                transcription.close()
            if hearing:
                hearing.stop()

        # Python kills daemon threads as it exits; one in native code takes the process with it.
        atexit.register(stop)
        try:
            if self._source is not None:
                self._source.close()
            self._source = source
            if self._closed.is_set():
                raise closed()
            if self._transcribes:
                kind = InlineTranscription if waits else ThreadedTranscription
                transcription = kind(self._load_transcriber, on_partial)
            keep = partial(self._keep_hop, waits=waits)
            pipeline = self._make_pipeline(transcription, listeners, keep)
            with self._relieving:
                self._ongoing, self._pipeline = (), pipeline
                self._give_up(Relief.NOTHING)
            if self._recent is not None:
                self._recent.reset()
            if self._mind:
                self._mind.scene.begin_stream()
            packets = self._kept(source.packets())
            if not waits:
                relieve = partial(self._relieve, pipeline, transcription)
                packets = keep_up(packets, relieve)
            events = self._heard(pipeline, packets, source, waits=waits)
            hearing = Hearing(events, READER_EVENTS if waits else 0)
            yield from hearing.events()
        finally:
            atexit.unregister(stop)
            stop()
            self._let_go(pipeline)

    def _let_go(self, pipeline: Pipeline | None) -> None:
        with self._relieving:
            if pipeline is not None and pipeline is self._pipeline:
                self._give_up(Relief.NOTHING)
                self._heard_s, self._pipeline = pipeline.heard_s, None

    def _relieve(
        self, pipeline: Pipeline, transcription: Transcription | None, relief: Relief
    ) -> None:
        """On the hearing thread: give up what ``relief`` says, and take up the rest."""
        with self._relieving:
            if pipeline is self._pipeline:
                self._give_up(relief)
        if isinstance(transcription, ThreadedTranscription):
            transcription.relieve(relief >= Relief.TRANSCRIPTION)
        pipeline.thin(relief >= Relief.HOPS)

    def _give_up(self, relief: Relief) -> None:
        """Of questions, which belong to no stream."""
        self._relief = relief
        if self._mind:
            self._mind.scene.hold(self._refuses())

    def _heard(
        self, pipeline: Pipeline, packets: Iterable[Packet], source: Source, *, waits: bool
    ) -> Iterator[Event]:
        """On the hearing thread: events, which also go into the scene; each fault once."""
        faults: set[Fault] = set()
        losses = LossDigest()
        for event in pipeline.run(packets):
            if isinstance(event, Fault):
                if event in faults:  # a missing transcriber fails anew at every segment
                    continue
                faults.add(event)
            if self._mind:
                self._ongoing = tuple(s for s in pipeline.ongoing() if self._is_news(s))
                if self._is_news(event):
                    for told in losses.push(event) if isinstance(event, Lost) else [event]:
                        self._mind.scene.put_event(told)
                self._hold_back(self._mind, waits)
            self._tell(event)
            yield _stamp(event, source.started_unix)

    def _kept(self, packets: Iterable[Packet]) -> Iterator[Packet]:
        """The packets, whose last samples are kept where a question wants to hear them."""
        for packet in packets:
            if self._recent is not None and isinstance(packet, Frame):
                self._recent.push(packet)
            yield packet

    def _is_news(self, event: Event | Guess) -> bool:
        """Whether the scene needs it: that someone spoke is told by what was said."""
        label = event.label if isinstance(event, Sound) else ""
        if isinstance(event, Guess):
            label = event.labels[0]
        return not (label in self._spoken and self._tells_speech)

    def _keep_guess(self, guess: Guess) -> None:
        if self._mind and self._is_news(guess):
            self._mind.scene.put_guess(guess)

    def _keep_hop(self, hop: Hop, *, waits: bool) -> None:
        # A soft token of plain noise tells nothing, and is taken for something.
        if self._mind and self._takes_embeddings and not hop.is_noise:
            start_s, end_s = to_seconds(hop.start), to_seconds(hop.end)
            self._mind.scene.put_embeddings(hop.features[None], start_s, end_s)
            self._hold_back(self._mind, waits)

    def _hold_back(self, mind: Mind, waits: bool) -> None:
        if waits and len(mind.scene) > SCENE_ENTRIES:
            # If this fails the next question says so; sounds are heard all the same.
            wait([mind.call(lambda reasoner: None)])


def load(
    bundle: str | Path = "default",
    *,
    llm: bool | str = True,
    transcribe: bool | str = True,
    encoder: str | Path | None = None,
) -> Ears:
    """Load what hears and answers.

    The language model loads in the background; whether it is there and whole, and the package
    that runs it, is checked at once.

    Args:
        bundle: the name of a bundle, or a folder with one.
        llm: whether to load the bundle's language model; or the address of an
            OpenAI-compatible server (``http://host:port/v1``) to use instead.
        transcribe: whether speech becomes text; or what does it in place of the bundle's engine:
            ``ctranslate2``, ``faster-whisper`` or ``sherpa-onnx``, with a colon and the model's
            folder where that is not the bundle's.
        encoder: in place of the bundle's: a folder that ``python -m export encoder`` made, or an
            ONNX or LiteRT file that hears patches as YAMNet does.

    Raises:
        ModelMissingError: a file is not on this machine; the hint says how to fetch it.
        ModelBrokenError: a file is damaged.
        MissingExtraError: the package that runs the language model, or the engine that was
            chosen, is not installed.
        UsageError: no such bundle or engine, not an address, or an encoder that can tell nothing:
            without scores, and nothing that reads its embeddings.
    """
    address = llm if isinstance(llm, str) else None
    own_model = llm is True
    keep_heap_small()
    found = load_bundle(bundle, language_model=own_model, transcriber=transcribe, encoder=encoder)
    if found.language_model is not None and not _is_installed("llama_cpp"):
        raise missing_extra("llm", "llama-cpp-python")
    transcriber = None
    if isinstance(transcribe, str) and found.transcriber is not None:
        # Sounds are heard where the bundle's own fails; what was asked for must be there.
        transcriber = open_transcriber(found.engine, found.transcriber)
    ears = Ears(found, llm=address, transcriber=transcriber)
    if not (ears.sounds or ears.takes_embeddings):
        ears.close()
        raise UsageError(
            f"encoder {found.exported}",
            expected="scores, or a bundle whose projector reads its embeddings",
            got="neither",
            hint="export a model with a classifier, or train a projector: export/README.md",
        )
    return ears


def keep_up(packets: Iterable[Packet], relieve: Callable[[Relief], None]) -> Iterator[Packet]:
    """The packets of a live stream, and faults that tell of what is given up to keep up with it.

    Frames come in pieces of at most a hop: a reader that is late gets seconds at once.

    Args:
        packets: of the stream; whoever iterates has heard one when it asks for the next.
        relieve: called with what is given up, before the fault.
    """
    lag, overload = Lag(), Overload()
    waited_s, asked_s = 0.0, time.monotonic()
    for packet in packets:
        waited_s += time.monotonic() - asked_s
        for piece in _pieces(packet):
            yield piece
            if not isinstance(piece, Frame):
                continue
            now_s = time.monotonic()
            fault = overload.push(now_s, lag.push(now_s, piece.end / SAMPLE_RATE_HZ, waited_s))
            waited_s = 0.0
            if fault is not None:
                relieve(overload.relief)
                # Each fault is told once: only its time tells that a step is taken again.
                yield replace(fault, at_unix=time.time())
        asked_s = time.monotonic()


def _pieces(packet: Packet) -> Iterator[Packet]:
    """The packet; a frame in pieces of at most a hop."""
    if not isinstance(packet, Frame):
        yield packet
        return
    for at in range(0, len(packet.samples), HOP_SAMPLES):
        samples = packet.samples[at : at + HOP_SAMPLES]
        yield replace(packet, start=packet.start + at, samples=samples)


def _overloaded() -> OverloadedError:
    return OverloadedError(
        "question",
        expected="a machine that keeps up with what it hears",
        got="one that is overloaded",
        hint="ask again once an event of the code overload-eases says so",
    )


def _stamp(event: Event, started_unix: float | None) -> Event:
    if started_unix is None:
        return event
    at_s = getattr(event, "start", getattr(event, "at", None))
    return event if at_s is None else replace(event, at_unix=round(started_unix + at_s, 3))


def _is_installed(module: str) -> bool:
    """Without importing it, which takes a tenth of a second."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
