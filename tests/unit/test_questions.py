import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_alm.errors import UsageError
from edge_alm.questions import Question, is_right, normalise, read_questions, summarise

OURS = {
    "id": 1,
    "audio": "a.wav",
    "question": "What?",
    "choices": ["Dog", "Cat"],
    "answer": "Dog",
    "skill": "identify",
}
MMAU = {
    "id": "m1",
    "audio_id": "./test-mini-audios/a.wav",
    "question": "What?",
    "choices": ["Dog", "Cat"],
    "answer": "Cat",
    "dataset": "x",
    "task": "sound",
    "split": "test-mini",
    "category": "Reasoning",
    "sub-category": "Temporal Event Reasoning",
    "difficulty": "easy",
}


def write(folder: Path, name: str, *entries: object) -> Path:
    path = folder / name
    if name.endswith(".jsonl"):
        path.write_text("\n\n".join(json.dumps(e) for e in entries) + "\n", encoding="utf-8")
    else:
        path.write_text(json.dumps(list(entries)), encoding="utf-8")
    return path


def question(answer: str, **more: Any) -> Question:
    values: dict[str, Any] = {"id": "1", "audio": (), "question": "?", "choices": None, "skill": ""}
    return Question(**{**values, **more}, answer=answer)


def test_ours(tmp_path: Path) -> None:
    both = {**OURS, "id": "x", "audio": ["a.wav", "sub/b.wav"], "choices": None}
    first, second = read_questions(write(tmp_path, "q.jsonl", OURS, both))
    assert first == Question(
        "1", (tmp_path / "a.wav",), "What?", ("Dog", "Cat"), "Dog", "identify", None, None
    )
    assert second.audio == (tmp_path / "a.wav", tmp_path / "sub" / "b.wav")
    assert second.choices is None


def test_mmau(tmp_path: Path) -> None:
    (only,) = read_questions(write(tmp_path, "mmau.json", MMAU))
    assert only.audio == (tmp_path / "test-mini-audios" / "a.wav",)
    assert (only.skill, only.task, only.difficulty) == ("Temporal Event Reasoning", "sound", "easy")


def test_mmau_without_its_groups(tmp_path: Path) -> None:
    bare = {k: MMAU[k] for k in ("id", "audio_id", "question", "choices", "answer")}
    (only,) = read_questions(write(tmp_path, "mmau.json", bare))
    assert (only.skill, only.task, only.difficulty) == ("all", None, None)


def without(key: str) -> dict[str, Any]:
    return {k: v for k, v in OURS.items() if k != key}


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (without("skill"), "line 3: the keys id, audio, question, answer, skill, got no skill"),
        (3, "line 3: a JSON object, got int"),
        ({**OURS, "audio": []}, 'line 3: "audio" a path or a list of paths'),
        ({**OURS, "audio": [1]}, 'line 3: "audio" a path or a list of paths'),
        ({**OURS, "choices": "Dog"}, 'line 3: "choices" a list of texts or null'),
        ({**OURS, "choices": ["Dog", 2]}, 'line 3: "choices" a list of texts or null'),
        ({**OURS, "choices": ["Dog", "Dog"]}, "line 3: two or more different choices"),
        ({**OURS, "question": " "}, "line 3: question a text, got ' '"),
        ({**OURS, "answer": "Bird"}, "line 3: the answer among the choices, got 'Bird'"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, entry: object, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_questions(write(tmp_path, "q.jsonl", OURS, entry))
    assert words in str(caught.value)
    assert "question file q.jsonl" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("q.jsonl", b"", "at least one question, got none"),
        ("q.jsonl", b"\n \n", "at least one question, got none"),
        ("q.jsonl", b"{", "line 1: JSON"),
        ("q.jsonl", b"[" * 100_000, "line 1: JSON"),
        ("q.jsonl", b"\xff\xfe", "a readable text file"),
        ("q.json", b"[]", "at least one question, got none"),
        ("q.json", b"{}", "a JSON array, got dict"),
        ("q.json", b"[1]", "entry 1: a JSON object, got int"),
    ],
)
def test_a_wrong_file_is_explained(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_questions(tmp_path / name)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["missing.jsonl", "."])
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="a readable text file"):
        read_questions(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "normal"),
    [("The  Dog.", "dog"), ("a dog!", "dog"), ("Theatre", "theatre"), ("the", ""), ("3 x", "3 x")],
)
def test_normalising(text: str, normal: str) -> None:
    assert normalise(text) == normal


@given(st.text())
def test_normalising_twice_changes_nothing_but_articles(text: str) -> None:
    once = normalise(text)
    assert once == once.strip().lower()
    if once.split(" ")[0] not in ("a", "an", "the"):
        assert normalise(once) == once


def test_a_free_answer_has_to_match() -> None:
    assert is_right(question("a dog"), "Dog.", None)
    assert not is_right(question("a dog"), "A dog and a cat", None)


def test_choices_that_differ_in_a_sign_are_two(tmp_path: Path) -> None:
    entry = {**OURS, "choices": ["C minor", "C# minor"], "answer": "C# minor"}
    (only,) = read_questions(write(tmp_path, "q.jsonl", entry))
    assert is_right(only, "", "C# minor")
    assert not is_right(only, "", "C minor")


@pytest.mark.parametrize("answer", ["dog", "The Dog."])
def test_an_answer_may_be_written_otherwise_than_its_choice(tmp_path: Path, answer: str) -> None:
    (only,) = read_questions(write(tmp_path, "q.jsonl", {**OURS, "answer": answer}))
    assert only.answer == "Dog"


def test_other_scripts_are_words_too() -> None:
    assert not is_right(question("小提琴"), "钢琴", None)
    assert is_right(question("小提琴"), "小提琴。", None)


def test_a_choice_counts_not_the_text() -> None:
    assert is_right(question("Dog", choices=("Dog", "Cat")), "whatever", "Dog")
    assert not is_right(question("Dog", choices=("Dog", "Cat")), "Dog", "Cat")


RESULTS = st.lists(
    st.tuples(
        st.builds(
            question,
            st.just("x"),
            skill=st.sampled_from("abc"),
            task=st.sampled_from([None, "t", "u"]),
        ),
        st.booleans(),
    ),
    min_size=1,
)


@given(RESULTS)
def test_the_groups_add_up(results: list[tuple[Question, bool]]) -> None:
    summary = summarise(results, 12.5)
    rights = sum(right for _, right in results)
    assert summary["n"] == len(results)
    assert summary["accuracy"] == pytest.approx(rights / len(results), abs=1e-4)
    assert summary["median_ttft_ms"] == 12.5
    groups = summary["by_skill"].values()
    assert sum(g["n"] for g in groups) == len(results)
    assert sum(g["n"] * g["accuracy"] for g in groups) == pytest.approx(rights, abs=0.01)
    told = [q for q, _ in results if q.task]
    assert sum(g["n"] for g in summary.get("by_task", {}).values()) == len(told)
    assert ("by_task" in summary) == bool(told)
    assert "by_difficulty" not in summary
