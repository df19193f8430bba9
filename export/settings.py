"""What is trained, on what and how: the configuration of a training run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from edge_alm.errors import UsageError
from export.lessons import LessonsConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


PRECISIONS = ("no", "bf16")


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What is trained.

    Raises:
        ValueError: a number is not positive.
    """

    rank: int = 16
    alpha: int = 32
    hidden: int = 1024
    queries: int = 0
    """Learned queries to each run of hops, for export.ablations; 0: one soft token for each hop,
    which is what the runtime loads."""

    def __post_init__(self) -> None:
        _check_positive(self, "rank", "alpha", "hidden")
        if self.queries < 0:
            raise ValueError(f"queries: not negative, got {self.queries}")


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How it is trained.

    Raises:
        ValueError: a number is out of range, or an unknown precision.
    """

    steps: int = 600
    batch: int = 8
    micro_batch: int = 2
    warmup: int = 20
    decay: int = 120
    lr_projector: float = 1e-3
    lr_adapter: float = 3e-4
    choice_weight: float = 1.0
    warm_start: int = 0
    mixed_precision: str = "no"
    """"bf16" holds the frozen model in that type too; projector and adapters stay float32."""
    compile: bool = False
    """Compile the layers (a minute at the start): a third faster on a CPU."""
    checkpoint_every: int = 25
    seed: int = 0

    def __post_init__(self) -> None:
        _check_positive(self, "steps", "batch", "micro_batch", "checkpoint_every")
        if self.seed < 0:
            raise ValueError(f"seed: not negative, got {self.seed}")
        if self.mixed_precision not in PRECISIONS:
            raise ValueError(
                f"mixed_precision: one of {', '.join(PRECISIONS)}, got {self.mixed_precision!r}"
            )


@dataclass(frozen=True, slots=True)
class Config:
    """A training run."""

    data: LessonsConfig
    model: ModelConfig
    training: TrainingConfig
    phases: tuple[tuple[int, LessonsConfig], ...] = ()
    """Until which step something else than ``data`` is learnt from, in order."""

    def curriculum(self) -> tuple[tuple[int, LessonsConfig], ...]:
        """All phases; ``data`` is the last."""
        return (*self.phases, (self.training.steps, self.data))


def read_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """The run that a TOML file describes.

    Args:
        path: the file.
        overrides: ``section.key=value``, the value in TOML.

    Raises:
        UsageError: not a readable file, or an unknown section, key or kind of value.
    """
    try:
        tables = read_tables(path, overrides)
        sections = {"data": LessonsConfig, "model": ModelConfig, "training": TrainingConfig}
        phases = tables.pop("phase", [])
        if unknown := tables.keys() - sections.keys():
            raise ValueError(f"unknown section {sorted(unknown)[0]}")
        data = tables.get("data", {})
        return Config(
            **{name: read_section(kind, tables.get(name, {})) for name, kind in sections.items()},
            phases=tuple(_phase(phase, data) for phase in phases),
        )
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(str(path), expected="a training configuration", got=str(error)) from error


def _phase(table: Any, data: dict[str, Any]) -> tuple[int, LessonsConfig]:
    """A phase is ``data`` with some of it changed, and ``until``."""
    if not isinstance(table, dict) or type(table.get("until")) is not int:
        raise TypeError(f"a phase is a table with a step in until, got {table!r}")
    changes = {name: value for name, value in table.items() if name != "until"}
    return table["until"], read_section(LessonsConfig, {**data, **changes})


def read_tables(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The tables of a TOML file, with ``section.key=value`` (in TOML) changed.

    Raises:
        OSError, ValueError: it cannot be read, or is not TOML.
    """
    tables: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    for override in overrides:
        for section, table in tomllib.loads(override).items():
            tables.setdefault(section, {}).update(table)
    return tables


def read_section(kind: Any, table: Any) -> Any:
    """A dataclass whose fields all have defaults, with the values of a table.

    Raises:
        TypeError, ValueError: not a table, an unknown key or kind of value, or what ``kind`` says.
    """
    if not isinstance(table, dict):
        raise TypeError(f"a section is a table, got {table!r}")
    defaults = {field.name: field.default for field in fields(kind)}
    if unknown := table.keys() - defaults.keys():
        raise ValueError(f"unknown key {sorted(unknown)[0]}, known: {', '.join(sorted(defaults))}")
    return kind(**{name: _value(name, table[name], defaults[name]) for name in table})


def _value(name: str, value: Any, default: Any) -> Any:
    """The value, if it is of the default's kind."""
    if isinstance(default, tuple) and isinstance(value, list):
        value = tuple(float(each) if type(each) is int else each for each in value)
    if type(value) is int and isinstance(default, float):
        value = float(value)
    if type(value) is not type(default):
        raise TypeError(f"{name}: a value like {default!r}, got {value!r}")
    return value


def _check_positive(config: Any, *names: str) -> None:
    for name in names:
        if getattr(config, name) < 1:
            raise ValueError(f"{name}: at least 1, got {getattr(config, name)}")
