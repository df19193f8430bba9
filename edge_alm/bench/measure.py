"""Measures this machine with one bundle, in rounds.

A round takes one sample (or a few) of everything, so that a machine that grows hot or gets other
work does so to all figures alike; what is compared, as the lengths of audio are, changes
its order from round to round. Before the first round everything is run once and not counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from edge_alm.audio.file import AudioFile
from edge_alm.audio.memory import MemoryAudio
from edge_alm.bench import machine
from edge_alm.bench.meters.energy import Sampler
from edge_alm.bench.report import REST, Report, Samples
from edge_alm.bench.sounds import (
    ClockedAudio,
    delays_s,
    make_silence,
    make_sounds,
    make_voice,
)
from edge_alm.bench.stages import StageClock
from edge_alm.bench.start import forget, start
from edge_alm.bench.statistics import quantile, rounded
from edge_alm.bench.table import duration_to_text
from edge_alm.bench.trace import Trace
from edge_alm.models.bundle import Bundle
from edge_alm.reasoning.llama import LlamaContext, default_threads
from edge_alm.runtime import Ears, load
from edge_alm.types import SAMPLE_RATE_HZ, Source

T = TypeVar("T")
QUESTIONS = (
    "What was heard first?",
    "What was heard last?",
    "Was there any speech?",
    "How often was there a beep?",
)
RECORDING = "recording"
CORE = "% of a core"
_DECODE_CONTEXT_TOKENS = 512


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rounds: int
    listen_s: float
    """Of silence and of a voice; the sounds are always :data:`~edge_alm.bench.sounds.SOUNDS_S`."""
    lengths_s: tuple[int, ...]
    """Of audio before questions."""
    decode_tokens: int
    idle_s: float
    """How long the power is read while nothing happens."""


FULL = Plan(rounds=5, listen_s=30.0, lengths_s=(5, 30, 120), decode_tokens=64, idle_s=5.0)
QUICK = Plan(rounds=3, listen_s=10.0, lengths_s=(5, 30), decode_tokens=32, idle_s=2.0)
LONG_S = (600, 1800)


def make_plan(*, quick: bool, long: bool) -> Plan:
    """The plan that the options describe."""
    plan = QUICK if quick else FULL
    return replace(plan, lengths_s=plan.lengths_s + LONG_S) if long else plan


@dataclass(frozen=True, slots=True)
class Cost:
    """What some work took."""

    seconds: float
    cpu_s: float
    """Of the whole process."""
    joules: float | None
    """All that the meter saw; None where it saw too little to say."""


class Bench:
    """One run.

    Args:
        options: for :func:`edge_alm.load`; plain values.
        plan: how much is measured.
        recording: a file that is heard too.
        sampler: reads a power meter, and has been entered; None where there is none.
        tell: called with what is about to be done.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        plan: Plan,
        recording: str | None = None,
        sampler: Sampler | None = None,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._options = dict(options)
        self._plan = plan
        self._sampler = sampler
        self._tell = tell
        self._samples = Samples()
        self._answers = bool(options.get("llm", True))
        self._idle_w: float | None = None
        sounds, silence, voice = (
            make_sounds(),
            make_silence(plan.listen_s),
            make_voice(plan.listen_s),
        )
        self._kinds: dict[str, Callable[[], AudioFile | MemoryAudio]] = {
            "silence": lambda: MemoryAudio(silence),
            "sounds": lambda: MemoryAudio(sounds),
            "voice": lambda: MemoryAudio(voice),
        }
        if recording is not None:
            self._kinds[RECORDING] = lambda: AudioFile(recording)
        self._main = RECORDING if recording is not None else "sounds"
        self._plain: dict[str, Any] = {}

    def run(self, notes: Sequence[str] = ()) -> Report:
        """Measure everything.

        Args:
            notes: for the report, before what is found out here.

        Raises:
            EdgeAlmError: the models cannot be loaded, or the recording not read.
        """
        began = datetime.now(timezone.utc).isoformat(timespec="seconds")
        board, before = machine.read_machine(), machine.read_state()
        with Trace(self._sampler) as trace:
            bundle = self._warm_up(trace)
            for i in range(self._plan.rounds):
                self._round(i, bundle, trace)
        after = machine.read_state()
        found = [*notes, *machine.find_faults(board, before, after)]
        if not machine.is_watched(before):
            found.append("nothing here tells of temperature or throttling")
        meter = self._sampler.meter if self._sampler else None
        values = {
            "version": board.versions.get("edge-alm", ""),
            "began": began,
            **self._plain,
            **self._medians(),
            "bundle": describe_bundle(bundle, self._options),
            "machine": machine.to_dict(board),
            "start": machine.to_dict(before),
            "end": machine.to_dict(after),
            "plan": asdict(self._plan),
            "meter": {"name": meter.name, "scope": meter.scope} if meter else None,
            "notes": found,
            "trace": trace.to_dict(),
        }
        return Report(values, self._samples.figures())

    def _warm_up(self, trace: Trace) -> Bundle:
        """Run what is measured once, and find what does not depend on the time it takes."""
        self._tell("warm-up")
        clocked = ClockedAudio(make_sounds())
        with trace.phase("warm-up"), load(**self._options) as ears:
            ears.prepare()
            for _ in ears.listen(clocked):
                pass
            if self._answers:
                ears.ask(QUESTIONS[0])
            for delay_s in delays_s(clocked.told):
                self._samples.add("events/after a sound begins", "s of audio", delay_s)
            return ears.bundle

    def _round(self, i: int, bundle: Bundle, trace: Trace) -> None:
        name = f"round {i + 1}"
        self._tell(f"{name} of {self._plan.rounds}")
        if self._sampler is not None:
            with trace.phase(f"{name}, idle"):
                self._idle()
        with trace.phase(f"{name}, starts"):
            for from_disk in _rotated((True, False), i):
                self._start(bundle, from_disk=from_disk)
        with ExitStack() as stack:
            with trace.phase(f"{name}, starts again"):
                ears, cost = self._measure(lambda: stack.enter_context(self._load()))
                self._samples.add("start/again in a process", "s", cost.seconds)
            with trace.phase(f"{name}, listens"):
                for kind in _rotated(tuple(self._kinds), i):
                    self._listen(ears, kind)
            if self._answers:
                with trace.phase(f"{name}, answers"):
                    for seconds in _rotated(self._plan.lengths_s, i):
                        self._ask(ears, seconds)
        if self._answers and bundle.language_model is not None:
            with trace.phase(f"{name}, writes"):
                speed = decode_speed(
                    bundle.language_model, bundle.adapter, self._plan.decode_tokens
                )
                self._samples.add("decode/one token at a time", "tokens/s", speed)

    def _load(self) -> Ears:
        ears = load(**self._options)
        ears.prepare()
        return ears

    def _idle(self) -> None:
        _, cost = self._measure(lambda: time.sleep(self._plan.idle_s))
        self._idle_w = None if cost.joules is None else cost.joules / cost.seconds
        if self._idle_w is not None:
            self._samples.add("power/idle", "W", self._idle_w)

    def _start(self, bundle: Bundle, *, from_disk: bool) -> None:
        if from_disk and not forget(_files(bundle)):
            return
        found = start(self._options)
        where = "from disk" if from_disk else "in memory"
        self._samples.add(f"start/fresh process, models {where}", "s", found.ready_s)
        if found.first_ms is not None:
            self._samples.add("start/first answer to first token", "ms", found.first_ms)
        self._samples.add("memory/peak", "MB", found.peak_rss_bytes / 1e6)

    def _listen(self, ears: Ears, kind: str) -> None:
        source = self._kinds[kind]()
        audio_s = source.total_samples / SAMPLE_RATE_HZ
        ears.reset()
        with StageClock() as clock:
            events, cost = self._measure(lambda: _hear(ears, source))
        stages_s = {name.replace("_", " "): s for name, s in clock.spent_s.items()}
        if not self._answers:
            del stages_s["language model"]
        stages_s[REST] = max(0.0, cost.cpu_s - sum(stages_s.values()))
        for name, seconds in (*stages_s.items(), ("all", cost.cpu_s)):
            self._samples.add(f"listen/{kind}/{name}", CORE, 100.0 * seconds / audio_s)
        self._samples.add(f"speed/{kind}", "x real time", audio_s / cost.seconds)
        joules = self._above_idle(cost)
        if joules is not None:
            self._samples.add(f"power/{kind}", "J a minute, above idle", 60.0 * joules / audio_s)
        if kind == self._main:
            self._plain |= {"audio_s": round(audio_s, 2), "events": events}

    def _ask(self, ears: Ears, seconds: int) -> None:
        ears.reset()
        _hear(ears, MemoryAudio(make_sounds(seconds)))
        name = f"ask/{duration_to_text(seconds)}"
        for question in QUESTIONS:
            answer, cost = self._measure(partial(ears.ask, question))
            self._samples.add(f"{name}/first token", "ms", answer.ttft_ms)
            self._samples.add(f"{name}/last token", "ms", answer.total_ms)
            self._samples.add(f"{name}/CPU", "s", cost.cpu_s)
            joules = self._above_idle(cost)
            if joules is not None:
                self._samples.add("power/a question", "J, above idle", joules)

    def _measure(self, work: Callable[[], T]) -> tuple[T, Cost]:
        begun_s, cpu_s = time.monotonic(), time.process_time()
        found = work()
        ended_s, cpu_s = time.monotonic(), time.process_time() - cpu_s
        energy = self._sampler.energy(begun_s, ended_s) if self._sampler else None
        watts = energy.watts if energy else None
        seconds = ended_s - begun_s
        return found, Cost(seconds, cpu_s, None if watts is None else watts * seconds)

    def _above_idle(self, cost: Cost) -> float | None:
        if cost.joules is None or self._idle_w is None:
            return None
        return cost.joules - self._idle_w * cost.seconds

    def _medians(self) -> dict[str, float]:
        """The few figures that are asked for most, as plain numbers."""
        medians = {f.name: quantile(f.samples, 0.5) for f in self._samples.figures()}
        found = {
            "cpu_share": rounded(medians[f"listen/{self._main}/all"] / 100.0),
            "times_real_time": rounded(medians[f"speed/{self._main}"]),
        }
        if self._answers:
            longest = duration_to_text(max(QUICK.lengths_s))
            found["median_ttft_ms"] = rounded(medians[f"ask/{longest}/first token"])
        found["peak_rss_mb"] = rounded(medians["memory/peak"])
        return found


def decode_speed(model: Path, adapter: Path | None, tokens: int) -> float:
    """Tokens a second that a model writes, one at a time, after a prompt of a few.

    In a context of its own, with the runtime's number of threads.
    """
    with LlamaContext(model, n_ctx=_DECODE_CONTEXT_TOKENS, adapter=adapter) as context:
        prompt = context.tokenize("What was heard?", begin=True)
        n = len(prompt)
        logits = context.decode(prompt, range(n), [0] * n, [False] * (n - 1) + [True])
        begun_s = time.perf_counter()
        for i in range(tokens):
            logits = context.decode([int(logits[0].argmax())], [n + i], [0], [True])
        return tokens / (time.perf_counter() - begun_s)


def _hear(ears: Ears, source: Source) -> int:
    """Listen to all of it and wait for the scene; how many events there were."""
    events = sum(1 for _ in ears.listen(source))
    ears.flush()
    return events


def _rotated(items: Sequence[T], by: int) -> list[T]:
    """Each in turn comes first."""
    at = by % len(items)
    return [*items[at:], *items[:at]]


def _files(bundle: Bundle) -> list[Path]:
    """All that a start reads of the models."""
    parts = (
        *(bundle.vad, bundle.encoder, bundle.labels, bundle.transcriber, bundle.language_model),
        *(bundle.projector, bundle.adapter, bundle.phrases, bundle.audio_projector),
    )
    return [path for path in parts if path is not None]


def describe_bundle(bundle: Bundle, options: Mapping[str, Any]) -> dict[str, Any]:
    """A bundle as a report names it, loaded with these options."""
    server, model = options.get("llm", True), bundle.language_model
    return {
        "name": bundle.name,
        "sha256": bundle.sha256,
        "encoder": bundle.encoder.name if bundle.exported is None else bundle.exported.name,
        "transcriber": bundle.engine if bundle.transcriber else None,
        "language_model": server if isinstance(server, str) else model.name if model else None,
        "threads": default_threads() if model else None,
    }
