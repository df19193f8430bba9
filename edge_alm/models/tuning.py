"""Which of a bundle's encoders is the fastest here: measured once, remembered, deletable.

``HOME/tuning.json`` holds the choice for each bundle, and the machine that it was made on. On
another machine, with another onnxruntime, or after the file is removed, the bundle's own encoder
is used. The file is small talk of this program with itself: whatever is wrong with it means that
there is no choice, and never an error.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edge_alm.models import store
from edge_alm.models.files import replace_durably
from edge_alm.native import this_cpu

FILE = "tuning.json"
_FORMAT = 1
_MAX_BYTES = 1 << 16
FASTER = 0.95
"""Ratio of the times below which an encoder is worth a change."""
LEAST_COSINE = 0.95
"""5 % quantile of the cosine with the bundle's own encoder. 8-bit products overflow on x86 CPUs
without VNNI, which shows here and nowhere else."""


@dataclass(frozen=True, slots=True)
class Trial:
    """How one encoder did on this machine, beside the bundle's own."""

    file: str
    ms: float
    """The shortest of many patches on one thread: what it can do, whatever else goes on."""
    own_ms: float
    """Of the bundle's own encoder, measured in turn with it."""
    cosine_low: float
    """5 % quantile of the cosine of the embeddings."""
    reason: str = ""
    """Why it did not run; "" when it did."""

    @property
    def is_good(self) -> bool:
        """Whether it agrees and is faster."""
        agrees = self.cosine_low >= LEAST_COSINE
        return not self.reason and agrees and self.ms < FASTER * self.own_ms


def choose(trials: Sequence[Trial]) -> int:
    """The best encoder: 0 for the bundle's own, n for the n-th trial."""
    good = [(trial.ms / trial.own_ms, i + 1) for i, trial in enumerate(trials) if trial.is_good]
    return min(good)[1] if good else 0


def path() -> Path:
    """Where the choices are kept."""
    return store.home() / FILE


def remember(bundle_sha256: str, choice: int, trials: Sequence[Trial]) -> None:
    """Keep a choice for a bundle on this machine; those made on another one are dropped.

    Raises:
        OSError: the disk refused.
    """
    bundles = dict(_read())
    bundles[bundle_sha256] = {"encoder": choice, "trials": [asdict(trial) for trial in trials]}
    values = {"format": _FORMAT, "machine": machine(), "bundles": bundles}
    target = path()
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{FILE}.part")
    part.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    replace_durably(part, target)


def chosen(bundle_sha256: str, choices: int) -> int:
    """The remembered choice, 0 to ``choices``; 0 where there is none."""
    entry = _read().get(bundle_sha256)
    choice = entry.get("encoder") if isinstance(entry, dict) else None
    return choice if type(choice) is int and 0 <= choice <= choices else 0


def machine() -> str:
    """What a choice depends on: the CPU and onnxruntime."""
    cpu = this_cpu()
    try:
        runtime = version("onnxruntime")
    except PackageNotFoundError:
        runtime = ""
    flags = " ".join(sorted(cpu.flags))
    text = f"{cpu.system} {cpu.machine} {cpu.name} {flags} {runtime}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read() -> Mapping[str, Any]:
    try:
        with path().open("rb") as file:
            values = json.loads(file.read(_MAX_BYTES))
        right = values["format"] == _FORMAT and values["machine"] == machine()
        return dict(values["bundles"]) if right else {}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return {}
