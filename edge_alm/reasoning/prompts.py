"""What the language model reads: the pinned prompt, a line for each event, a question's frame.

Pure functions. Text from outside (labels, spoken words, questions, names) is data: it is kept on
one line here, and it is tokenised so that no word of it can become a control token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, TypeGuard

from edge_alm.types import SAMPLE_RATE_HZ, Event, Guess, Lost, Sound, Speech


class Part(NamedTuple):
    """A stretch of a prompt."""

    text: str
    control: bool = False
    """Whether ``<|im_end|>`` and the like in it are control tokens; never for outside text."""


Prompt: TypeAlias = list[Part]


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """The control text around the turns of a conversation."""

    name: str
    system: str
    user: str
    assistant: str
    end: str


CHATML = ChatFormat(
    "chatml",
    "<|im_start|>system\n",
    "<|im_start|>user\n",
    "<|im_start|>assistant\n",
    "<|im_end|>\n",
)
"""SmolLM2, Qwen and many others."""
LLAMA3 = ChatFormat(
    "llama3",
    "<|start_header_id|>system<|end_header_id|>\n\n",
    "<|start_header_id|>user<|end_header_id|>\n\n",
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "<|eot_id|>",
)

SCENE_FORMAT = 4
"""Of all that is fixed here and in :mod:`edge_alm.reasoning.marks`. An adapter is trained on one
format; who changes a word that it reads counts this up and trains anew."""
SYSTEM = (
    "You hear a recording through its timed list of sounds. "
    "Answer the question from the list alone, in a few words."
)
TRAINED_SYSTEM = "You hear a recording. Answer in a few words."
OPENING = "Sounds heard:\n"
EXAMPLES: tuple[tuple[str, str, str], ...] = (
    (
        "[0.4-1.6 owl]\n[2.5-3.1 hammer]\n[4.0-4.6 truck]\n",
        "Which sound came first?",
        "owl",
    ),
    (
        '[2.0-3.0 tractor]\n[3.4-4.9 "good morning"]\n[8.0-9.1 whistle]\n',
        "What was said?",
        "good morning",
    ),
    (
        "[0.3-1.0 bee]\n[1.2-2.6 flute]\n[6.0-7.1 cow]\n",
        "Which sound came last?",
        "cow",
    ),
    (
        "[1.3-2.2 goat]\n[2.9-3.9 fire 0.4]\n[5.5-6.2 drum]\n",
        "What was heard right after the goat?",
        "fire",
    ),
    (
        "[0.5-1.5 duck]\n[2.5-3.1 saw]\n[4.0-4.6 duck]\n",
        "How many times was a duck heard?",
        "2",
    ),
    ("[0.9-2.2 frog]\n[4.9-5.9 bus]\n", "Was there a horse?", "no"),
    ("[0.2-1.2 guitar]\n[2.6-5.9 wind 0.4]\n", "Was there a guitar?", "yes"),
)
"""Turns before the first: scene, question, answer. They are pinned, so no question waits for them.

On 48 made questions without choices SmolLM2-135M had 12 % right without them (it chats), 40 % with
seven such turns, 19 % with as many questions about one scene: it repeats one answer. With five
turns instead of seven it was 28 % against 42 %, on another 64. On 120 fresh questions these seven
had 34 %; which sound came first is beyond the model, whatever the examples.
"""
SURE = 0.5
"""From this confidence on a line does not tell it. A line of SmolLM2's tokens is 14 long instead
of 19, so that the same context holds a third more, at three quarters of the cost."""
WHOLE_SECONDS_FROM_S = 30.0
"""From this length on the clock before a question tells whole seconds: a dozen tokens less."""
THOUGHT_START = "Heard in order:"
THOUGHT_END = "\n"
NOTHING_HEARD = "Nothing was heard yet.\n"


def chat_format(template: str) -> ChatFormat:
    """The format that a GGUF file's chat template stands for; ChatML where it says nothing."""
    return LLAMA3 if "<|start_header_id|>" in template else CHATML


def pinned_prompt(chat: ChatFormat, *, trained: bool = False) -> Prompt:
    """What stands before the scene for as long as the stream lasts.

    A model ``trained`` on :data:`SCENE_FORMAT` needs no examples.
    """
    if trained:
        return [Part(chat.system, True), Part(TRAINED_SYSTEM), *_next_user_turn(chat)]
    prompt = [Part(chat.system, True), Part(SYSTEM), *_next_user_turn(chat)]
    for scene, question, answer in EXAMPLES:
        prompt += [Part(scene), *turn_prompt(chat, question, answer)]
    return prompt


def question_prompt(chat: ChatFormat, question: str) -> Prompt:
    """What follows the scene, up to where the answer begins."""
    return [Part(f"Question: {one_line(question)}"), Part(chat.end + chat.assistant, True)]


def turn_prompt(chat: ChatFormat, question: str, answer: str) -> Prompt:
    """A whole turn, after which the user's next turn, and the scene in it, goes on."""
    return [
        *question_prompt(chat, question),
        Part(one_line(answer)),
        *_next_user_turn(chat),
    ]


def _next_user_turn(chat: ChatFormat) -> Prompt:
    return [Part(chat.end + chat.user, True), Part(OPENING)]


def is_heard(event: Event) -> TypeGuard[Sound | Speech | Lost]:
    """Whether the event belongs in the scene: sounds that ended, speech, gaps."""
    return isinstance(event, Speech | Lost) or (isinstance(event, Sound) and event.state == "end")


def event_line(event: Event, loudness: int | None = None) -> str:
    """The event as a line of the scene; empty for an event that does not belong there.

    ``[12.5-14.0 dog bark]``, ``[14.1-14.9 rain 0.4]`` (when that is less than
    :data:`SURE`), ``[15.2-16.9 "turn left"]``, ``[17.0-17.5 lost]``; for a model that has learnt
    it with the :mod:`~edge_alm.reasoning.loudness` of a sound, ``[12.5-14.0 dog bark L7]``.
    """
    if isinstance(event, Speech):
        words = one_line(event.text).replace('"', "'")
        return f'[{_span(event.start, event.end)} "{words}"]\n'
    if isinstance(event, Lost):
        return f"[{_span(event.at, until_s(event))} lost]\n"
    if isinstance(event, Sound) and event.state == "end":
        return _sound_line(event, event.end, loudness)
    return ""


def guess_line(guess: Guess, loudness: int | None = None) -> str:
    """A line for something without a sure name: ``[12.5-14.0 maybe whoosh, arrow, wind L7]``."""
    # "Domestic animals, pets" and "Singing bowl (gong)" are told short: three of them stand here.
    names = [label.partition(",")[0].partition(" (")[0].lower() for label in guess.labels]
    text = one_line(", ".join(names))
    return f"[{_span(guess.start, guess.end)} maybe {text}{_loud(loudness)}]\n"


@dataclass(frozen=True, slots=True)
class Match:
    """A phrase that fits a stretch."""

    phrase: str
    start_s: float
    doubts: int = 0
    """Marks of doubt."""
    loudness: int | None = None
    length_s: float | None = None


def likeness_line(matches: Sequence[Match]) -> str:
    """Where phrases of a question fit what was heard: each with the start of the stretch in seconds
    and marks of doubt, in order of time: ``[like dog bark 12, 15?, rain 40??]``.

    Whole seconds, rounded down as they begin a stretch's own line; a phrase again and again is told
    once. How loud and how long the stretch was follows where that is known and asked for:
    ``[like dog bark 12 L7 1.5s]``.
    """
    told, last = "", ""
    for match in matches:
        name = "" if match.phrase == last else f" {one_line(match.phrase).lower()}"
        length = "" if match.length_s is None else f" {match.length_s:.1f}s"
        told += f"{',' if told else ''}{name} {int(round(match.start_s, 1))}{'?' * match.doubts}"
        told += _loud(match.loudness) + length
        last = match.phrase
    return f"[like{told}]\n"


def until_s(event: Sound | Speech | Lost) -> float:
    """When what the event tells of was over, on the stream's clock."""
    if isinstance(event, Lost):
        return event.at + event.samples / SAMPLE_RATE_HZ
    return event.start if event.end is None else event.end


def ongoing_line(sound: Sound, now_s: float | None, loudness: int | None = None) -> str:
    """The line of a sound that has not ended: up to now, where that is known."""
    return _sound_line(sound, now_s, loudness)


def audio_line(seconds: float) -> str:
    """A heading for audio itself, where the model hears it."""
    return f"Audio, the last {seconds:.1f} s:\n"


def end_line(now_s: float, from_s: float = 0.0) -> str:
    """The last line before a trained model's question: until when it has listened by now, and what
    was the middle third of that.

    ``[600 end; middle 200-400]``, and to 0.1 s while that matters. Without the end nothing tells
    how much quiet came after the last sound; a small model compares two times, but finds no third
    of one.
    """
    third_s = (now_s - from_s) / 3.0
    digits = 1 if now_s - from_s < WHOLE_SECONDS_FROM_S else 0
    end, start, stop = (f"{at:.{digits}f}" for at in (now_s, from_s + third_s, now_s - third_s))
    return f"[{end} end; middle {start}-{stop}]\n"


def recording_line(name: str) -> str:
    """A heading for what follows, where a question is about several recordings."""
    return f"Recording {one_line(name)}:\n"


def one_line(text: str) -> str:
    """The text with every run of white space, line breaks included, as one space."""
    return " ".join(text.split())


def _sound_line(sound: Sound, end: float | None, loudness: int | None) -> str:
    label = one_line(sound.label).lower()
    doubt = "" if sound.confidence >= SURE else f" {sound.confidence:.1f}"
    return f"[{_span(sound.start, end)} {label}{doubt}{_loud(loudness)}]\n"


def _loud(loudness: int | None) -> str:
    return "" if loudness is None else f" L{loudness}"


def _span(start: float, end: float | None) -> str:
    return f"{start:.1f}-{'now' if end is None else f'{end:.1f}'}"
