import json
from pathlib import Path

import pytest

from edge_alm.cli.evaluate import _to_table
from edge_alm.cli.main import make_parser
from edge_alm.errors import SourceError, UsageError
from edge_alm.questions import Question, summarise


def evaluate(*words: str) -> int:
    args = make_parser().parse_args(["eval", *words])
    status: int = args.run(args)
    return status


def test_a_missing_recording_is_told_before_any_is_heard(tmp_path: Path) -> None:
    entry = {"id": 1, "audio": "no.wav", "question": "?", "answer": "x", "skill": "s"}
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps(entry), encoding="utf-8")
    with pytest.raises(SourceError, match=r"q.jsonl: .*no.wav: expected a recording"):
        evaluate(str(path))


def test_a_broken_question_file_is_told_before_any_model_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(UsageError, match=r"question file q.jsonl: expected line 1: JSON"):
        evaluate(str(path))


def test_the_table_has_a_row_for_all_and_for_each_skill() -> None:
    def question(skill: str) -> Question:
        return Question("1", (), "?", None, "x", skill)

    results = [(question("order"), True), (question("order"), False), (question("count"), True)]
    head, *rows, last = _to_table(summarise(results, 41.6)).splitlines()
    assert head.split() == ["n", "right"]
    assert [row.split() for row in rows] == [
        ["all", "3", "66.7%"],
        ["count", "1", "100.0%"],
        ["order", "2", "50.0%"],
    ]
    assert last == "median time to first token 42 ms"
