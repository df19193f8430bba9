"""``edge-alm doctor --tune``: which form of the sound encoder is the fastest on this machine."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_alm.cli.output import print_line
from edge_alm.errors import UsageError
from edge_alm.models import tuning
from edge_alm.models.bundle import bundle_encoders, load_bundle
from edge_alm.models.tuning import Trial
from edge_alm.native import run_probe

TIMEOUT_S = 120.0
"""For one encoder; a machine ten times slower than two x86 cores needs 20 s."""
_TIMED_CALLS = 100


def tune(bundle_name: str | Path, *, json_lines: bool = False) -> int:
    """Time a bundle's encoders, remember the choice and print it.

    Each runs in a process of its own, in turn with the bundle's own encoder: what crashes or
    disagrees is out.

    Returns:
        0 for the bundle's own encoder, n for its n-th choice.

    Raises:
        UsageError: the bundle has no golden clip to run them on, or the folder of the models
            cannot be written.
        ModelMissingError, ModelBrokenError: a file of the bundle is missing or damaged.
    """
    own, *others = bundle_encoders(bundle_name)
    bundle = load_bundle(bundle_name, language_model=False, transcriber=False)
    if bundle.golden is None:
        raise UsageError(f"bundle {bundle_name}", expected="a golden clip to time on", got="none")
    trials = [_try(own, other, bundle.labels, bundle.golden.clip) for other in others]
    choice = tuning.choose(trials)
    try:
        tuning.remember(bundle.sha256, choice, trials)
    except OSError as error:
        raise UsageError(
            str(tuning.path()),
            expected="a file that can be written",
            got=os.strerror(error.errno or 0),
            hint="set EDGE_ALM_HOME",
        ) from error
    name = (own, *others)[choice].name
    if json_lines:
        found = [{**asdict(trial), "good": trial.is_good} for trial in trials]
        print_line(json.dumps({"encoder": name, "trials": found}))
        return choice
    print_line(f"{own.name:24} the bundle's own")
    for trial in trials:
        print_line(f"{trial.file:24} {_describe(trial)}")
    print_line(f"from now on: {name}; remove {tuning.path()} to forget it")
    return choice


def report_trial(own: str, other: str, labels: str, clip: str) -> None:
    """In the probe's own process: run two encoders in turn and print what came out as JSON."""
    import numpy as np

    from edge_alm.audio.source import open_source
    from edge_alm.hearing.encoder import cut_patches
    from edge_alm.hearing.exported import open_encoder
    from edge_alm.types import Frame

    encoders = [open_encoder(Path(path), Path(labels)) for path in (own, other)]
    packets = open_source(clip).packets()
    patches = cut_patches(np.concatenate([p.samples for p in packets if isinstance(p, Frame)]))
    embeddings = [np.stack([e.encode(patch)[1] for patch in patches]) for e in encoders]
    a, b = (x.astype(np.float64) for x in embeddings)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosine = np.nan_to_num((a * b).sum(axis=1) / np.maximum(norms, 1e-12))
    took_ms: tuple[list[float], list[float]] = ([], [])
    for i in range(_TIMED_CALLS):
        for k in (0, 1) if i % 2 else (1, 0):  # a scheduler's beat may favour the second of two
            began_s = time.perf_counter()
            encoders[k].encode(patches[i % len(patches)])
            took_ms[k].append(1e3 * (time.perf_counter() - began_s))
    own_ms, ms = (min(times) for times in took_ms)
    low = float(np.quantile(cosine, 0.05))
    print(json.dumps({"own_ms": round(own_ms, 4), "ms": round(ms, 4), "cosine_low": low}))


def _try(own: Path, other: Path, labels: Path, clip: Path) -> Trial:
    paths = tuple(str(path.absolute()) for path in (own, other, labels, clip))
    code = f"from edge_alm.cli.tune import report_trial; report_trial(*{paths!r})"
    outcome = run_probe(code, TIMEOUT_S)
    if outcome.status != "ok":
        words = "crashed with " if outcome.status == "crashed" else ""
        return Trial(other.name, 0.0, 0.0, 0.0, reason=words + outcome.reason)
    report: dict[str, Any] = dict(outcome.report)
    return Trial(other.name, report["ms"], report["own_ms"], report["cosine_low"])


def _describe(trial: Trial) -> str:
    if trial.reason:
        return trial.reason
    against = f"{trial.ms:.2f} ms a patch against {trial.own_ms:.2f}"
    return f"{against}, cosine {trial.cosine_low:.4f}{'' if trial.is_good else ', not better'}"
