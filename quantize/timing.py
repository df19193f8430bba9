"""Time and memory on this machine, of several models in turn."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_alm.errors import RefusedError
from edge_alm.native import run_probe

_PROBE_S = 300.0


@dataclass(frozen=True, slots=True)
class Latency:
    """Of one call, on one thread."""

    median_ms: float
    p95_ms: float
    best_ms: float
    """What the machine can do, whatever else went on."""


def time_in_turn(jobs: Sequence[Callable[[int], object]], times: int) -> list[Latency]:
    """Call every job ``times`` times with 0, 1, ...

    All in turn, so that a machine that is busy with other things is so for all of them, and each
    time in another order: a scheduler's beat had it that of two equal encoders the first took twice
    as long.
    """
    rng = np.random.default_rng(0)
    took_ms = np.zeros((times, len(jobs)))
    for job in jobs:
        job(0)  # what is loaded or compiled at the first call is no latency
    for i in range(times):
        for k in rng.permutation(len(jobs)):
            began_s = time.perf_counter()
            jobs[k](i)
            took_ms[i, k] = 1e3 * (time.perf_counter() - began_s)
    return [
        Latency(*(float(v) for v in (np.median(own), np.quantile(own, 0.95), own.min())))
        for own in took_ms.T
    ]


def peak_bytes(code: str, what: Path) -> int:
    """Peak resident memory of a process of its own that runs ``code``.

    Raises:
        RefusedError: it crashed, hung or raised; of a process without memory the system tells no
            more than SIGKILL.
    """
    end = "\nfrom quantize.timing import own_peak_bytes\nprint(own_peak_bytes())"
    outcome = run_probe(code + end, _PROBE_S)
    if outcome.status != "ok":
        raise RefusedError(str(what), expected="a model that runs", got=outcome.reason)
    return int(outcome.report["bytes"])


def own_peak_bytes() -> str:
    """Peak resident memory of this process so far, as a probe's report."""
    try:
        # Not getrusage: its maximum includes the parent as it was when it forked.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
        peak = int(line.split()[1]) * 1024
    except OSError:  # macOS, which counts bytes
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return json.dumps({"bytes": peak})


def encoder_peak_bytes(path: Path) -> int:
    """Peak resident memory of a process that opens an encoder; as :func:`peak_bytes`."""
    code = (
        "from pathlib import Path\n"
        "from edge_alm.models.onnx_session import open_session\n"
        f"session = open_session(Path({str(path.absolute())!r}))"
    )
    return peak_bytes(code, path)
