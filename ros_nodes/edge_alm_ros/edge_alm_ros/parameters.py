"""The reasoner's parameters: what they mean, and which values make sense. No ROS in here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlsplit

Value: TypeAlias = bool | int | float | str | list[str]

CONFIGURED, ACTIVE = "configured", "active"


@dataclass(frozen=True)
class Parameter:
    """One of them."""

    name: str
    default: Value
    description: str
    fixed_when: str = ""
    """From when on it cannot be changed: :data:`CONFIGURED`, :data:`ACTIVE`, or never."""
    choices: tuple[str, ...] = ()
    """Of a text; none: any."""
    at_least: float = 0.0
    at_most: float = 0.0
    """Of a number."""
    may_be_empty: bool = True
    """Of a text."""


PARAMETERS = (
    Parameter(
        "models.bundle",
        "default",
        "the models: the name of a bundle in edge-alm, or a folder with one",
        CONFIGURED,
        may_be_empty=False,
    ),
    Parameter(
        "models.language_model",
        "bundle",
        "what answers: 'bundle' (its own), 'none', or the address of an OpenAI-compatible server "
        "(http://host:port/v1)",
        CONFIGURED,
        may_be_empty=False,
    ),
    Parameter("models.transcribe", True, "whether speech becomes text", CONFIGURED),
    Parameter(
        "input.source",
        "mic",
        "what is listened to: 'mic', 'mic:NAME', a file, 'ros:TOPIC', or an address of the "
        "firmware bridge (serial:PATH, udp:PORT, udp:INTERFACE:PORT)",
        ACTIVE,
        may_be_empty=False,
    ),
    Parameter(
        "input.message",
        "AudioChunk",
        "type of the messages on ros:TOPIC: edge_alm_msgs/AudioChunk, or "
        "audio_common_msgs/AudioStamped where that is installed",
        ACTIVE,
        choices=("AudioChunk", "AudioStamped"),
    ),
    Parameter(
        "input.queue_s",
        10.0,
        "seconds of audio from ros:TOPIC that may wait; what comes on top is lost, and told so",
        ACTIVE,
        at_least=0.5,
        at_most=60.0,
    ),
    Parameter("input.realtime", True, "play a file at the pace of a microphone", ACTIVE),
    Parameter(
        "input.backend",
        "auto",
        "what opens a microphone",
        ACTIVE,
        choices=("auto", "sounddevice", "pyaudio"),
    ),
    Parameter(
        "watch.phrases",
        [""],
        "sounds in any words, or several in order ('a dog barking, then rain'), that make an "
        "event of type 'watch' when they start; empty ones count for nothing",
        ACTIVE,
    ),
    Parameter("output.frame_id", "microphone", "frame_id of every event"),
    Parameter("output.stream_id", "", "stream_id of every event; empty: the source's name"),
    Parameter(
        "output.redact_speech",
        False,
        "no word that was said on any topic: events of speech have no text, and ~/speech is silent",
    ),
    Parameter(
        "diagnostics.period_s",
        1.0,
        "seconds between two messages on /diagnostics",
        at_least=0.1,
        at_most=60.0,
    ),
    Parameter("autostart", False, "configure and activate at start, without anyone's order"),
)
BY_NAME = {parameter.name: parameter for parameter in PARAMETERS}


def problem(values: Mapping[str, Value], state: str = "") -> str:
    """Why these values cannot be set, in one line; empty when they can.

    Args:
        values: by name; names that are not the reasoner's are left alone.
        state: of the node: "", :data:`CONFIGURED` or :data:`ACTIVE`.
    """
    for name, value in values.items():
        parameter = BY_NAME.get(name)
        if parameter is not None:
            reason = _problem(parameter, value, state)
            if reason:
                return f"{name}: {reason}"
    return ""


def _problem(parameter: Parameter, value: Value, state: str) -> str:
    if parameter.fixed_when == ACTIVE and state == ACTIVE:
        return "expected a node that does not listen, got an active one; deactivate it first"
    if parameter.fixed_when == CONFIGURED and state in (CONFIGURED, ACTIVE):
        return "expected a node without models, got a configured one; clean it up first"
    if isinstance(value, str):
        if parameter.choices and value not in parameter.choices:
            return f"expected {' or '.join(parameter.choices)}, got {value!r}"
        if not parameter.may_be_empty and not value.strip():
            return "expected some text, got none"
    elif isinstance(value, float) and not parameter.at_least <= value <= parameter.at_most:
        return f"expected {parameter.at_least:g} to {parameter.at_most:g}, got {value:g}"
    if parameter.name == "models.language_model" and value not in ("bundle", "none"):
        url = urlsplit(str(value))
        if url.scheme not in ("http", "https") or not url.hostname:
            return f"expected 'bundle', 'none' or http://host:port/v1, got {value!r}"
    return ""
