"""What the options of the event log take, and what they refuse in a line."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from edge_alm.cli.main import make_parser
from edge_alm.cli.options import duration, open_log
from edge_alm.errors import EdgeAlmError, UsageError
from edge_alm.log import LogError


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90.0), ("15m", 900.0), ("2h", 7_200.0), ("1d", 86_400.0)]
)
def test_a_time(text: str, seconds: float) -> None:
    assert duration(text) == seconds
    assert duration(f"0.5{text[-1]}") > 0.0


@pytest.mark.parametrize(
    "text", ["", "2", "h", "2 h", "-2h", "2H", "1h30m", "0s", "0.0s", "1e3s", "٢h", "nan", "9" * 20]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="like 90s, 15m, 2h or 1d, got"):
        duration(text)


def test_a_wrong_time_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        make_parser().parse_args(["ask", "--log", "x", "--since", "2 hours", "Did anyone knock?"])
    assert left.value.code == 2
    line = capsys.readouterr().err
    assert "ask: argument --since: expected a time like 90s, 15m, 2h or 1d, got '2 hours'" in line
    assert line.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["ask", "Did anyone knock?"], "ask: expected at least one SOURCE and a QUESTION"),
        (["ask", "--log", "x", "Did anyone knock?"], "ask: expected at least one SOURCE"),
        (["ask", "--since", "2h", "Did anyone knock?"], "--since: expected the log"),
        (["ask", "a.ogg", "What?", "--log", "x", "--since", "2h"], "got the source 'a.ogg', too"),
        (["ask", "--log", "x", "--since", "2h", "What?", "--log-words"], "--log-words: expected"),
        (["ask", "--log", "x", "--since", "2h", " "], "question: expected some text"),
        (["ask", "--log", "x", "--since", "2h", "What?"], "got no such file"),
        (["listen", "a.ogg", "--log-words"], "--log-words: expected --log FILE"),
        (["chat", "a.ogg", "--log-words"], "--log-words: expected --log FILE"),
        (
            ["listen", "a.ogg", "--log", "x", "--log-words", "--redact-speech"],
            "got --redact-speech",
        ),
        (["listen", "a.ogg", "--redact-speech", "--ask", "What?"], "--ask: expected words"),
        (["listen", "a.ogg", "--redact-speech", "--partial"], "--partial: expected words"),
        (["listen", "a.ogg", "--log", "none/x"], "expected a folder to write to"),
    ],
)
def test_a_mistake_is_told_before_anything_is_loaded(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGE_ALM_HOME", str(tmp_path / "none"))
    args = make_parser().parse_args(words)
    with pytest.raises(EdgeAlmError) as refused:
        args.run(args)
    assert told in str(refused.value)
    assert isinstance(refused.value, UsageError | LogError)
    assert not list(tmp_path.iterdir())


def test_without_the_option_there_is_no_log(tmp_path: Path) -> None:
    with open_log(make_parser().parse_args(["listen"])) as log:
        assert log is None
    path = tmp_path / "log"
    with open_log(make_parser().parse_args(["listen", "--log", str(path), "--log-mb", "3"])) as log:
        assert log is not None
    assert path.exists()


@pytest.mark.parametrize("text", ["1", "0", "-3", "x", "1.5", "9999999"])
def test_a_size_that_is_none_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        make_parser().parse_args(["listen", f"--log-mb={text}"])
    assert "expected a whole number from 2 on" in capsys.readouterr().err
