"""What listening and answering take: joules where there is a power meter, else CPU seconds.

    python -m benchmarks.power [--seconds 30] [--meter auto|NAME|serial:PATH@BAUD|none]

Three recordings are heard at the pace of a microphone, the scene going into the language model as
it does live: silence; a quiet room where a sound of ``tests/data`` is heard a tenth of the time; a
conversation, someone speaking 60 % of the time. Then a few questions. Energy is what is above the
idle power, which is measured first, with nothing loaded. Meters: :mod:`edge_alm.bench.meters`; each
says what it sees and what not. Time without a reading is told, and a figure with more than a tenth
of it is not given. ``--meter serial:...`` reads a meter on the bench
(:mod:`edge_alm.bench.meters.external`).

CPU seconds are this process's. A stage's are those of the thread that runs it; the rest of the
process is the threads that CTranslate2 and llama.cpp start themselves, and all that lies between
stages. Weights read are the encoder's file for every hop that it heard, and the language model's
and its adapter's for every pass: what has to come from memory where caches are smaller, as they are
on small boards. The transcriber's are not counted: nobody tells how often it reads them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import soundfile

from benchmarks.listen_cost import SOUNDS, SPEECH, make_audio, read
from edge_alm.bench.meters.energy import Energy, Sampler
from edge_alm.bench.meters.find import FINDERS, find_meter
from edge_alm.bench.stages import HEARING, StageClock, Stages
from edge_alm.errors import EdgeAlmError
from edge_alm.models.bundle import Bundle
from edge_alm.reasoning.llama import LlamaContext
from edge_alm.runtime import Ears, load
from edge_alm.types import SAMPLE_RATE_HZ, Event, Samples, Sound, Speech

KINDS = ("silence", "home noise", "conversation")
SHARES = {"home noise": (SOUNDS, 0.1), "conversation": (SPEECH, 0.6)}
"""What is heard, and how much of the time."""
LONGEST_SOUND_S = 3.0
LEAD_S = 0.5
QUESTIONS = (
    "Which sound came first?",
    "What was heard last?",
    "Was there any speech?",
    "What was said?",
)
REPEATS = 2
WARM_UP_S = 5.0
SETTLE_S = 1.0
"""Loading goes on in other threads for a moment, and a hot CPU draws more."""
REST = "further threads, rest"
HOUR_S = 3600.0
PASSES = ("llm_tokens", "llm_embeddings")
"""Each call reads the language model's weights once."""
ALL_STAGES: Stages = (
    *HEARING,
    ("llm_tokens", LlamaContext, "decode"),
    ("llm_embeddings", LlamaContext, "decode_embeddings"),
)


def make_recording(kind: str, seconds: float) -> Samples:
    """Samples of one of :data:`KINDS`, the same at every call."""
    if kind == "silence":
        return make_audio("silence", seconds)
    audio = make_audio("room", seconds)
    names, share = SHARES[kind]
    longest = int(min(LONGEST_SOUND_S, share * seconds) * SAMPLE_RATE_HZ)
    at = int(LEAD_S * SAMPLE_RATE_HZ)
    for name in cycle(names):
        clip = read((name,))[: min(longest, max(0, len(audio) - at))]
        if not len(clip):
            break
        audio[at : at + len(clip)] += clip
        at += int(len(clip) / share)
    return audio


@dataclass(frozen=True)
class Cost:
    """What a stretch of time took."""

    seconds: float
    cpu_s: float
    stages_s: dict[str, float]
    """CPU seconds by stage, :data:`REST` the last."""
    hops: int
    passes: int
    """Of the language model over its weights."""
    events: int
    """Sounds that began and things said; or questions."""
    energy: Energy | None


class Accounts:
    """Measures stretches of this process.

    Args:
        sampler: reads a power meter; None where there is none.
    """

    def __init__(self, sampler: Sampler | None) -> None:
        self._sampler = sampler
        self._clock = StageClock(ALL_STAGES)

    def measure(self, work: Callable[[], int]) -> Cost:
        """Do some work, which returns its number of events."""
        self._clock.reset()
        with self._clock:
            begun_s, cpu_s = time.monotonic(), time.process_time()
            events = work()
            ended_s, cpu_s = time.monotonic(), time.process_time() - cpu_s
        stages_s = dict(self._clock.spent_s)
        stages_s[REST] = max(0.0, cpu_s - sum(stages_s.values()))
        return Cost(
            seconds=ended_s - begun_s,
            cpu_s=cpu_s,
            stages_s=stages_s,
            hops=self._clock.calls["encoder"],
            passes=sum(self._clock.calls[name] for name in PASSES),
            events=events,
            energy=self._sampler.energy(begun_s, ended_s) if self._sampler else None,
        )


def idle(seconds: float) -> int:
    """Wait; nothing happens."""
    time.sleep(seconds)
    return 0


def listen(ears: Ears, recording: Path, *, realtime: bool = True) -> int:
    """Hear all of it; how many sounds began and how often something was said."""

    def counts(event: Event) -> bool:
        return isinstance(event, Speech) or (isinstance(event, Sound) and event.state == "start")

    events = sum(map(counts, ears.listen(recording, realtime=realtime)))
    ears.flush()
    return events


def ask(ears: Ears) -> int:
    """Ask a few questions; how many."""
    for question in QUESTIONS * REPEATS:
        ears.ask(question)
    return len(QUESTIONS) * REPEATS


def above_idle(cost: Cost, idle_w: float | None) -> float | None:
    """Joules of a stretch beyond what the machine takes anyway; None where it isn't known."""
    if cost.energy is None or cost.energy.watts is None or idle_w is None:
        return None
    return (cost.energy.watts - idle_w) * cost.seconds


def ratio(value: float | None, by: float) -> float | None:
    return None if value is None or not by else value / by


def weight_bytes(bundle: Bundle) -> dict[str, int]:
    """What an encoder's hop and a pass of the language model read, by their files' sizes."""
    model = [path for path in (bundle.language_model, bundle.adapter) if path]
    return {
        "hop": bundle.encoder.stat().st_size,
        "pass": sum(path.stat().st_size for path in model),
    }


def report_on(cost: Cost, weights: dict[str, int], idle_w: float | None) -> dict[str, Any]:
    """A stretch of listening as JSON; null where nothing was measured."""
    hours = cost.seconds / HOUR_S
    joules = above_idle(cost, idle_w)
    moved = cost.hops * weights["hop"] + cost.passes * weights["pass"]
    return {
        "cpu_s_per_hour": cost.cpu_s / hours,
        "duty": {name: s / cost.seconds for name, s in cost.stages_s.items()},
        "events": cost.events,
        "weight_bytes_per_hour": moved / hours,
        "joules_per_hour": ratio(joules, hours),
        "joules_per_event": ratio(joules, cost.events),
        **report_gaps(cost),
    }


def report_on_questions(
    cost: Cost, weights: dict[str, int], idle_w: float | None
) -> dict[str, Any]:
    """The same of one question."""
    return {
        "asked": cost.events,
        "seconds_per_question": cost.seconds / cost.events,
        "cpu_s_per_question": cost.cpu_s / cost.events,
        "weight_bytes_per_question": cost.passes * weights["pass"] / cost.events,
        "joules_per_question": ratio(above_idle(cost, idle_w), cost.events),
        **report_gaps(cost),
    }


def report_gaps(cost: Cost) -> dict[str, Any]:
    """For how long there was no reading, and what the meter had to say to it."""
    if cost.energy is None:
        return {}
    energy = cost.energy
    return {"unmeasured_s": energy.gap_s, "faults": energy.faults, "fault": energy.fault}


def shown(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def print_table(kinds: dict[str, dict[str, Any]], *, metered: bool) -> None:
    """A column for each kind of recording."""

    def row(name: str, values: list[float | None], digits: int) -> None:
        print(f"{name:38}" + "".join(f"{shown(value, digits):>14}" for value in values))

    print(f"{'':38}" + "".join(f"{kind:>14}" for kind in kinds))
    reports = list(kinds.values())
    if metered:
        row("J an hour, above idle", [r["joules_per_hour"] for r in reports], 0)
        row("J an event, above idle", [r["joules_per_event"] for r in reports], 2)
    row("events", [r["events"] for r in reports], 0)
    row("CPU s an hour", [r["cpu_s_per_hour"] for r in reports], 1)
    row("weights read, GB an hour", [r["weight_bytes_per_hour"] / 1e9 for r in reports], 1)
    for name in [*dict.fromkeys(name for name, _, _ in ALL_STAGES), REST]:
        row(f"  {name}, % of one core", [100 * r["duty"][name] for r in reports], 2)


def print_questions(report: dict[str, Any]) -> None:
    joules = report["joules_per_question"]
    print(
        f"a question: {report['seconds_per_question']:.2f} s, {report['cpu_s_per_question']:.2f} "
        f"CPU s, {report['weight_bytes_per_question'] / 1e9:.1f} GB of weights read"
        + ("" if joules is None else f", {joules:.2f} J above idle")
    )


def print_gaps(stretches: dict[str, Cost]) -> None:
    """A line for each stretch of which something is missing."""
    for name, cost in stretches.items():
        energy = cost.energy
        if energy and (energy.faults or energy.watts is None or energy.gap_s > cost.seconds / 100):
            print(
                f"{name}: {energy.gap_s:.1f} of {energy.window_s:.1f} s without a reading, "
                f"{energy.faults} faults{': ' if energy.fault else ''}{energy.fault}"
                + (" (no figure)" if energy.watts is None else "")
            )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=30.0, help="of idling and each recording")
    parser.add_argument(
        "--meter", default="auto", help=f"auto, {', '.join(FINDERS)}, serial:PATH@BAUD or none"
    )
    args = parser.parse_args()
    try:
        meter, reasons = find_meter(args.meter)
    except EdgeAlmError as error:
        parser.error(str(error))
    for reason in reasons:
        print(f"not used: {reason}")
    if meter is None:
        print("no power meter: CPU seconds and bytes of weights read instead of joules")

    stretches: dict[str, Cost] = {}
    idle_w = None
    with ExitStack() as stack:
        sampler = stack.enter_context(Sampler(meter)) if meter else None
        accounts = Accounts(sampler)
        if meter:
            stretches["idle"] = accounts.measure(partial(idle, args.seconds))
            energy = stretches["idle"].energy
            idle_w = energy.watts if energy else None
            print(f"{meter.name}: {meter.scope}; {shown(idle_w, 2)} W idle")
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ears = stack.enter_context(load())
        ears.prepare()
        warm_up = folder / "warm_up.wav"
        soundfile.write(warm_up, make_recording("conversation", WARM_UP_S), SAMPLE_RATE_HZ)
        listen(ears, warm_up, realtime=False)
        ears.ask(QUESTIONS[0])
        for kind in KINDS:
            path = folder / f"{kind}.wav"
            soundfile.write(path, make_recording(kind, args.seconds), SAMPLE_RATE_HZ)
            time.sleep(SETTLE_S)
            stretches[kind] = accounts.measure(partial(listen, ears, path))
        stretches["questions"] = accounts.measure(partial(ask, ears))
        weights = weight_bytes(ears.bundle)

    kinds = {kind: report_on(stretches[kind], weights, idle_w) for kind in KINDS}
    questions = report_on_questions(stretches["questions"], weights, idle_w)
    print_table(kinds, metered=meter is not None)
    print_questions(questions)
    print_gaps(stretches)
    print(
        json.dumps(
            {
                "seconds": args.seconds,
                "meter": meter.name if meter else None,
                "scope": meter.scope if meter else None,
                "idle_w": idle_w,
                "weight_bytes": weights,
                "kinds": kinds,
                "questions": questions,
            }
        )
    )


if __name__ == "__main__":
    main()
