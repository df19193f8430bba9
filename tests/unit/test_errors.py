import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

import edge_alm.cli.main  # noqa: F401  everything that defines an error
from edge_alm import errors
from edge_alm.errors import LONGEST_PART_CHARS, EdgeAlmError, SourceError, missing_extra

CLASSES: list[type[EdgeAlmError]] = [EdgeAlmError, *EdgeAlmError.__subclasses__()]


def test_an_error_says_what_expected_got_and_the_mend() -> None:
    error = SourceError("a.ogg", expected="audio", got="a directory", hint="name a file")
    assert str(error) == "a.ogg: expected audio, got a directory; name a file"


@pytest.mark.parametrize(
    ("parts", "line"),
    [
        ({}, "a.ogg"),
        ({"got": "nothing"}, "a.ogg: got nothing"),
        ({"expected": "audio"}, "a.ogg: expected audio"),
        ({"hint": "try again"}, "a.ogg; try again"),
    ],
)
def test_what_is_not_known_is_left_out(parts: dict[str, str], line: str) -> None:
    assert str(SourceError("a.ogg", **parts)) == line


@given(st.text(), st.text(), st.text(), st.text())
def test_it_is_always_one_line(what: str, expected: str, got: str, hint: str) -> None:
    line = str(EdgeAlmError(what, expected=expected, got=got, hint=hint))
    assert line.isprintable(), "a terminal does not do what a file's content says"
    assert len(line) < 4 * LONGEST_PART_CHARS + 50


def test_programs_can_tell_them_apart() -> None:
    codes = [cls.code for cls in CLASSES]
    assert len(set(codes)) == len(codes)
    for name in vars(errors):
        if name.endswith("Error"):
            assert issubclass(getattr(errors, name), EdgeAlmError)


@pytest.mark.parametrize(
    ("extra", "hint"),
    [("asr", "pip install 'edge-alm[asr]'"), ("", "pip install edge-alm")],
)
def test_a_missing_package_names_the_command(extra: str, hint: str) -> None:
    assert missing_extra(extra, "x").hint == hint


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_comes_back_from_another_process_as_it_was(kind: type[EdgeAlmError]) -> None:
    error = kind("a.ogg", expected="audio", got="a directory", hint="name a file")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    assert again.hint == "name a file"
