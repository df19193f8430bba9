"""CPU time by stage, clocked where the runtime calls each stage."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, TypeAlias, TypeVar

from edge_alm.hearing.encoder import HopEncoder, Yamnet
from edge_alm.hearing.exported import ExportedEncoder
from edge_alm.hearing.faster_whisper import FasterWhisperTranscriber
from edge_alm.hearing.gate import SoundGate
from edge_alm.hearing.logmel import LogMel
from edge_alm.hearing.sherpa import SherpaTranscriber
from edge_alm.hearing.tracker import Tracker
from edge_alm.hearing.vad import SileroVad
from edge_alm.hearing.whisper import WhisperTranscriber
from edge_alm.reasoning.llama import LlamaContext

Stages: TypeAlias = Sequence[tuple[str, type[Any], str]]
"""Of each its name, and the class and method that are its work; a name may come twice."""

HEARING: Stages = (
    ("vad", SileroVad, "push"),
    ("gate", SoundGate, "push"),
    ("front_end", LogMel, "__call__"),
    ("encoder", Yamnet, "encode"),
    ("encoder", ExportedEncoder, "hear"),
    ("hop", HopEncoder, "push"),
    ("tracker", Tracker, "push"),
    ("transcriber", WhisperTranscriber, "transcribe"),
    ("transcriber", FasterWhisperTranscriber, "transcribe"),
    ("transcriber", SherpaTranscriber, "transcribe"),
)
SCENE: Stages = (
    ("language model", LlamaContext, "decode"),
    ("language model", LlamaContext, "decode_embeddings"),
)
T = TypeVar("T")


class StageClock:
    """Counts calls and CPU seconds of each stage between entering and leaving.

    A stage's time is that of the thread that runs it, without the stages that it calls, and without
    the threads that a native library starts for it. While the clock runs, so does any other object
    of these classes on it: one clock at a time.

    Args:
        stages: what to clock.
    """

    def __init__(self, stages: Stages = (*HEARING, *SCENE)) -> None:
        self._stages = stages
        self._lock = threading.Lock()  # hearing and reasoning have a thread each
        self._within = threading.local()
        self._own: list[tuple[type[Any], str, Any]] = []
        self.spent_s: dict[str, float] = {}
        """CPU seconds by stage, in the order of ``stages``."""
        self.calls: Counter[str] = Counter()
        self.reset()

    def reset(self) -> None:
        """Begin anew at nothing."""
        with self._lock:
            self.spent_s = dict.fromkeys((name for name, _, _ in self._stages), 0.0)
            self.calls = Counter()

    def __enter__(self) -> StageClock:
        for name, owner, method in self._stages:
            function = owner.__dict__[method]
            self._own.append((owner, method, function))
            setattr(owner, method, self._clocked(name, function))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        while self._own:
            owner, method, function = self._own.pop()
            setattr(owner, method, function)

    def _clocked(self, name: str, function: Callable[..., T]) -> Callable[..., T]:
        def call(*args: Any, **kwargs: Any) -> T:
            outer_s = getattr(self._within, "spent_s", 0.0)
            self._within.spent_s = 0.0  # by the stages that this one calls
            begun_s = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                took_s = time.thread_time() - begun_s
                with self._lock:
                    self.spent_s[name] += took_s - self._within.spent_s
                    self.calls[name] += 1
                self._within.spent_s = outer_s + took_s

        return call
