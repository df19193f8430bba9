import io
import json
import sys

import pytest

from edge_alm.cli.output import CLEAR_LINE, PartialLine, event_to_text, print_event
from edge_alm.types import Answer, Event, Fault, Lost, Sound, Speech, Watch


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (Sound("Dog", 2.02, None, 0.753, "start"), "    2.02           Dog (0.75)"),
        (Sound("Dog", 2.02, 3.4, 0.8, "end"), "    2.02 -    3.40 Dog ends"),
        (Speech("turn left", 61.5, 62.0, 0.9), '   61.50 -   62.00 "turn left"'),
        (Watch("glass", "Shatter", 10.9, 0.9), "   10.90           >>> glass: Shatter"),
        (Lost(160, 1.0, "driver overrun"), "    1.00           lost 160 samples: driver overrun"),
        (Fault("x", "it broke", "mend it"), "fault: it broke; mend it"),
        (Fault("x", "it broke; mend it", "mend it"), "fault: it broke; mend it"),
        (Fault("x", "it broke", ""), "fault: it broke"),
        (
            Answer("What?", "A dog.", None, 0.9, 41.6, 99.9),
            "Q: What?\nA: A dog.  [first token 42 ms, all 100 ms]",
        ),
    ],
)
def test_what_a_person_reads(event: Event, text: str) -> None:
    assert event_to_text(event) == text


def test_times_of_a_day_stay_in_their_columns() -> None:
    lines = [
        event_to_text(Sound("Dog", start, start + 1, 0.5, "end")) for start in (0.0, 9.99, 86_398.0)
    ]
    assert len({line.index("Dog") for line in lines}) == 1


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_event(Speech('"one"\ntwo', 0.0, 1.0, 0.5), as_json=True)
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert json.loads(printed)["text"] == '"one"\ntwo'


def test_a_line_is_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a signal between two writes cannot leave half of one."""
    writes: list[str] = []

    class Recorder(io.StringIO):
        def write(self, text: str) -> int:
            writes.append(text)
            return len(text)

    monkeypatch.setattr(sys, "stdout", Recorder())
    print_event(Lost(1, 0.0, "x"), as_json=False)
    print_event(Lost(1, 0.0, "x"), as_json=True)
    assert len(writes) == 2
    assert all(line.endswith("\n") for line in writes)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_what_is_being_said_is_written_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("COLUMNS", "40")
    line = PartialLine()
    line.clear()
    assert terminal.getvalue() == ""
    line.show(Speech("please", 2.0, 2.5, 0.5))
    line.show(Speech("please hold while I try that extension", 2.0, 4.5, 0.5))
    _, first, last = terminal.getvalue().split(CLEAR_LINE)
    assert first.endswith('"please')
    assert last.endswith("that extension")
    assert len(last) == 39
    line.show(Speech("", 2.0, 4.5, 0.0))
    line.clear()
    assert terminal.getvalue().endswith(last + CLEAR_LINE)
    assert "\n" not in terminal.getvalue()


def test_in_a_file_what_is_being_said_has_lines(capsys: pytest.CaptureFixture[str]) -> None:
    line = PartialLine()
    line.show(Speech("please", 2.0, 2.5, 0.5))
    line.clear()
    line.show(Speech("please hold", 2.0, 3.0, 0.5))
    line.show(Speech("", 2.0, 3.0, 0.0))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == '    2.00 ...       "please\n    2.00 ...       "please hold\n'
