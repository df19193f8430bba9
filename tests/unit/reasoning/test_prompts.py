import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_alm.reasoning.prompts import (
    CHATML,
    EXAMPLES,
    LLAMA3,
    ChatFormat,
    chat_format,
    event_line,
    guess_line,
    is_heard,
    ongoing_line,
    pinned_prompt,
    question_prompt,
    recording_line,
    turn_prompt,
)
from edge_alm.types import Event, Fault, Guess, Lost, Sound, Speech, Watch

LINES: list[tuple[Event, str]] = [
    (Sound("Dog bark", 12.5, 14.0, 0.934, "end"), "[12.5-14.0 dog bark]\n"),
    (Sound("Dog bark", 12.5, 14.0, 0.43, "end"), "[12.5-14.0 dog bark 0.4]\n"),
    (Speech("turn left", 15.2, 16.9, 0.8), '[15.2-16.9 "turn left"]\n'),
    (Speech('say "hi"\nthere', 1.0, 2.0, 0.8), "[1.0-2.0 \"say 'hi' there\"]\n"),
    (Lost(8000, 17.0, "overrun"), "[17.0-17.5 lost]\n"),
    (Sound("Dog bark", 12.5, None, 0.9, "start"), ""),
    (Watch("dog", "Dog", 1.0, 0.5), ""),
    (Fault("device", "gone", ""), ""),
]


@pytest.mark.parametrize(("event", "line"), LINES)
def test_line_of_an_event(event: Event, line: str) -> None:
    assert event_line(event) == line
    if isinstance(event, Sound) and line:
        assert event_line(event, 7) == line.replace("]", " L7]")
    else:
        assert event_line(event, 7) == line
    assert is_heard(event) == bool(line)


def test_a_guess_is_told_with_short_names() -> None:
    names = ("Fart", "Domestic animals, pets", "Gong (bell)")
    guess = Guess(names, 12.5, 14.0)
    assert guess_line(guess) == "[12.5-14.0 maybe fart, domestic animals, gong]\n"
    assert guess_line(guess, 3) == "[12.5-14.0 maybe fart, domestic animals, gong L3]\n"


def test_ongoing_sound_lasts_until_now() -> None:
    rain = Sound("Rain", 3.0, None, 0.5, "start")
    assert ongoing_line(rain, 7.25) == "[3.0-7.2 rain]\n"
    assert ongoing_line(rain, None) == "[3.0-now rain]\n"
    assert ongoing_line(rain, None, 0) == "[3.0-now rain L0]\n"


@given(st.text(), st.text(alphabet=string.printable))
def test_outside_text_stays_on_its_line_and_is_never_control(words: str, label: str) -> None:
    for line in (
        event_line(Speech(words, 0.0, 1.0, 0.5)),
        event_line(Sound(label, 0.0, 1.0, 0.5, "end")),
        recording_line(label),
        guess_line(Guess((label, words), 0.0, 1.0)),
    ):
        assert line.count("\n") == 1
        assert line.endswith("\n")
    for chat in (CHATML, LLAMA3):
        prompt = question_prompt(chat, words) + turn_prompt(chat, words, label)
        control = {part.text for part in prompt if part.control}
        assert control == {chat.end + chat.assistant, chat.end + chat.user}


def test_format_follows_the_models_template() -> None:
    assert chat_format("{{'<|start_header_id|>' + role + '<|end_header_id|>'}}") is LLAMA3
    assert chat_format("{{'<|im_start|>' + role}}") is CHATML
    assert chat_format("") is CHATML


@pytest.mark.parametrize("chat", [CHATML, LLAMA3])
def test_pinned_prompt_opens_a_user_turn_that_is_not_closed(chat: ChatFormat) -> None:
    text = "".join(part.text for part in pinned_prompt(chat))
    assert text.startswith(chat.system)
    assert chat.end not in text[text.rindex(chat.user) :]


def test_examples_are_written_as_the_scene_is() -> None:
    for scene, question, answer in EXAMPLES:
        for line in scene.splitlines():
            assert re.fullmatch(r'\[\d+\.\d-\d+\.\d (?:"[^"]+"|[^"\d]+(?: 0\.[0-4])?)\]', line), (
                line
            )
        assert question.endswith("?")
        assert answer in scene or answer in ("yes", "no", "2")
