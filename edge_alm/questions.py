"""Files of questions with known answers, ours and MMAU's, and how answers are scored.

Ours has one object a line: ``{"id", "audio", "question", "choices", "answer", "skill"}``;
``audio`` is a path or a list of paths, relative to the file. MMAU (Sakshi et al., 2024) is a
JSON array of ``{"id", "audio_id", "question", "choices", "answer", "task", "sub-category",
"difficulty", ...}``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_alm.errors import UsageError

LARGEST_FILE_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Question:
    """One question with its answer."""

    id: str
    audio: tuple[Path, ...]
    question: str
    choices: tuple[str, ...] | None
    answer: str
    """With choices: one of them, word for word."""
    skill: str
    task: str | None = None
    difficulty: str | None = None


def read_questions(path: Path) -> list[Question]:
    """All questions of a ``.jsonl`` file of ours or a ``.json`` file as MMAU publishes it.

    Raises:
        UsageError: the file cannot be read, or an entry is wrong; says which and how.
    """
    try:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise _wrong(path, "at most 256 MB", f"{path.stat().st_size} bytes")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(path, "a readable text file", str(error)) from error
    if path.suffix == ".json":
        entries = _parse(path, "the file", text)
        if not isinstance(entries, list):
            raise _wrong(path, "a JSON array", type(entries).__name__)
        numbered = [(f"entry {i}", entry) for i, entry in enumerate(entries, 1)]
        make = _from_mmau
    else:
        lines = [(f"line {i}", line) for i, line in enumerate(text.splitlines(), 1)]
        numbered = [(where, _parse(path, where, line)) for where, line in lines if line.strip()]
        make = _from_ours
    if not numbered:
        raise _wrong(path, "at least one question", "none")
    return [make(path, where, entry) for where, entry in numbered]


def normalise(text: str) -> str:
    """Lower case, no punctuation, single spaces, no article in front."""
    words = re.findall(r"[^\W_]+", text.lower())
    return " ".join(words[1:] if words[:1] in (["a"], ["an"], ["the"]) else words)


def is_right(question: Question, text: str, choice: str | None) -> bool:
    """Whether an answer is the right one; a free answer has to match after normalising."""
    if choice is not None:
        return choice == question.answer  # "C# minor" and "C minor" are two choices
    return normalise(text) == normalise(question.answer)


def summarise(results: Iterable[tuple[Question, bool]], median_ttft_ms: float) -> dict[str, Any]:
    """Numbers and accuracies: in all, by skill, and by task and difficulty where known."""
    rows = list(results)
    summary: dict[str, Any] = {
        "n": len(rows),
        "accuracy": _accuracy([right for _, right in rows]),
        "by_skill": _by(rows, "skill"),
        "median_ttft_ms": median_ttft_ms,
    }
    for field in ("task", "difficulty"):
        groups = _by(rows, field)
        if groups:
            summary[f"by_{field}"] = groups
    return summary


def _by(rows: list[tuple[Question, bool]], field: str) -> dict[str, dict[str, float]]:
    groups: dict[str, list[bool]] = {}
    for question, right in rows:
        value = getattr(question, field)
        if value is not None:
            groups.setdefault(value, []).append(right)
    return {
        name: {"n": len(rights), "accuracy": _accuracy(rights)}
        for name, rights in sorted(groups.items())
    }


def _accuracy(rights: list[bool]) -> float:
    return round(sum(rights) / len(rights), 4)


def _from_ours(path: Path, where: str, entry: Any) -> Question:
    values = _fields(path, where, entry, ("id", "audio", "question", "answer", "skill"))
    audio = values["audio"]
    names = [audio] if isinstance(audio, str) else audio
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise _wrong(path, f'{where}: "audio" a path or a list of paths', repr(audio))
    choices = _choices(path, where, values.get("choices"))
    return Question(
        str(values["id"]),
        tuple(path.parent / name for name in names),
        _text(path, where, values, "question"),
        choices,
        _answer(path, where, values, choices),
        str(values["skill"]),
    )


def _from_mmau(path: Path, where: str, entry: Any) -> Question:
    values = _fields(path, where, entry, ("id", "audio_id", "question", "choices", "answer"))
    task, difficulty = values.get("task"), values.get("difficulty")
    choices = _choices(path, where, values["choices"])
    return Question(
        str(values["id"]),
        (path.parent / str(values["audio_id"]),),
        _text(path, where, values, "question"),
        choices,
        _answer(path, where, values, choices),
        str(values.get("sub-category") or values.get("category") or task or "all"),
        None if task is None else str(task),
        None if difficulty is None else str(difficulty),
    )


def _choices(path: Path, where: str, choices: Any) -> tuple[str, ...] | None:
    if choices is None:
        return None
    if not isinstance(choices, list) or not all(isinstance(c, str) for c in choices):
        raise _wrong(path, f'{where}: "choices" a list of texts or null', repr(choices))
    if len(set(choices)) < 2 or not all(choice.strip() for choice in choices):
        raise _wrong(path, f"{where}: two or more different choices", repr(choices))
    return tuple(choices)


def _answer(
    path: Path, where: str, values: Mapping[str, Any], choices: tuple[str, ...] | None
) -> str:
    """The answer; with choices the one that it equals, or else the first that is like it."""
    answer = _text(path, where, values, "answer")
    if choices is None or answer in choices:
        return answer
    for choice in choices:
        if normalise(choice) == normalise(answer):
            return choice
    raise _wrong(path, f"{where}: the answer among the choices", repr(answer))


def _text(path: Path, where: str, values: Mapping[str, Any], key: str) -> str:
    text = str(values[key])
    if not text.strip():
        raise _wrong(path, f"{where}: {key} a text", repr(text))
    return text


def _fields(path: Path, where: str, entry: Any, needed: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(entry, dict):
        raise _wrong(path, f"{where}: a JSON object", type(entry).__name__)
    missing = [name for name in needed if name not in entry]
    if missing:
        raise _wrong(path, f"{where}: the keys {', '.join(needed)}", f"no {', '.join(missing)}")
    return entry


def _parse(path: Path, where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _wrong(path, f"{where}: JSON", str(error)) from error


def _wrong(path: Path, expected: str, got: str) -> UsageError:
    return UsageError(f"question file {path.name}", expected=expected, got=got)
