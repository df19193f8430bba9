"""Short phrases of the General MIDI instruments, rendered by FluidSynth.

One MIDI file holds every phrase, each in a slot of its own, and is cut afterwards: 2,000 s take
seconds, while starting FluidSynth and loading 140 MB of sounds would take longer than a phrase.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np

from edge_alm.errors import MissingExtraError, SourceError
from edge_alm.types import SAMPLE_RATE_HZ

SOUNDFONT = "fluid-soundfont-gm/usr/share/sounds/sf2/FluidR3_GM.sf2"
VARIATIONS = 5
SLOT_S, PLAYED_S = 5.0, 3.0
"""A phrase lasts at most ``PLAYED_S``; the rest of its slot is for the sound to die away."""
TICKS_PER_S = 480

PROGRAMS = (
    *["piano"] * 4,
    *["electric piano"] * 2,
    *("harpsichord", "clavinet", "celesta", "glockenspiel", "music box", "vibraphone"),
    *("marimba", "xylophone", "tubular bells", "hammered dulcimer"),
    *["electric organ"] * 3,
    *("church organ", "reed organ", "accordion", "harmonica", "accordion"),
    *["acoustic guitar"] * 2,
    *["electric guitar"] * 3,
    *["distorted electric guitar"] * 2,
    *("electric guitar", "double bass"),
    *["bass guitar"] * 5,
    *["synthesizer bass"] * 2,
    *("violin", "viola", "cello", "double bass", "string section", "pizzicato strings", "harp"),
    "timpani",
    *["string section"] * 4,
    *["choir"] * 3,
    *("orchestra hit", "trumpet", "trombone", "tuba", "muted trumpet", "french horn"),
    *["brass section"] * 3,
    *["saxophone"] * 4,
    *("oboe", "english horn", "bassoon", "clarinet", "piccolo", "flute", "recorder"),
    *("pan flute", "blown bottle", "shakuhachi flute", "whistling", "ocarina"),
    *["synthesizer lead"] * 8,
    *["synthesizer pad"] * 8,
    *["synthesizer effect"] * 8,
    *("sitar", "banjo", "shamisen", "koto", "thumb piano", "bagpipes", "violin", "shanai"),
    *("tinkling bell", "cowbell", "steel drums", "woodblock", "taiko drum", "tom drum"),
    *("synthesizer drum", "reversed cymbal"),
    *[""] * 8,
)
"""What a listener calls each program. The last eight imitate other sounds (a gunshot, a bird):
they are not played, because real ones are in the corpus."""

_LOW = frozenset(
    (
        *("double bass", "bass guitar", "synthesizer bass", "tuba", "timpani", "bassoon", "cello"),
        *("trombone", "taiko drum", "tom drum", "synthesizer drum"),
    )
)
_HIGH = frozenset(("glockenspiel", "celesta", "music box", "piccolo", "xylophone", "whistling"))
_SCALES = ((0, 2, 4, 7, 9, 12), (0, 2, 3, 5, 7, 8, 12), (0, 2, 4, 5, 7, 9, 11, 12))


def render_instruments(root: Path) -> None:
    """Write ``root/instruments/<program>-<label>/<variation>.wav`` unless they are there.

    Raises:
        MissingExtraError: no ``fluidsynth``.
        SourceError: it cannot render.
    """
    import soundfile

    folder = root / "instruments"
    if folder.is_dir():
        return
    if shutil.which("fluidsynth") is None:
        raise MissingExtraError(
            "fluidsynth",
            expected="the program",
            got="none",
            hint="apt-get install --no-install-recommends fluidsynth",
        )
    part = root / "instruments.part"  # so that a kill leaves no half of them
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    midi, rendered = part / "phrases.mid", part / "phrases.wav"
    slots = [(p, v) for p, label in enumerate(PROGRAMS) if label for v in range(VARIATIONS)]
    midi.write_bytes(midi_file(slots))
    command = ["fluidsynth", "-ni", "-q", "-g", "0.6", "-r", str(SAMPLE_RATE_HZ), "-O", "s16"]
    command += ["-o", "synth.cpu-cores=1", "-T", "wav", "-F", str(rendered)]
    command += [str(root / SOUNDFONT), str(midi)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not rendered.is_file():
        raise SourceError(
            "instruments",
            expected="fluidsynth to render them",
            got=(done.stderr or done.stdout).strip()[-300:] or f"status {done.returncode}",
        )
    with soundfile.SoundFile(str(rendered)) as file:
        for slot, (program, variation) in enumerate(slots):
            file.seek(round(slot * SLOT_S * SAMPLE_RATE_HZ))
            samples = file.read(round(SLOT_S * SAMPLE_RATE_HZ), dtype="float32", always_2d=True)
            label = PROGRAMS[program].replace(" ", "_")
            path = part / f"{program:03d}-{label}" / f"{variation}.wav"
            path.parent.mkdir(exist_ok=True)
            soundfile.write(str(path), samples.mean(axis=1), SAMPLE_RATE_HZ)
    midi.unlink()
    rendered.unlink()
    part.rename(folder)


def midi_file(slots: list[tuple[int, int]]) -> bytes:
    """A Standard MIDI File (format 0) with the phrase of each (program, variation) in its slot."""
    events: list[tuple[int, bytes]] = [
        (0, b"\xff\x51\x03" + (1_000_000).to_bytes(3, "big")),  # one beat a second
    ]
    for slot, (program, variation) in enumerate(slots):
        start = round(slot * SLOT_S * TICKS_PER_S)
        # Sounds that ring on, as pads do, must not reach the next slot.
        events += [(start, b"\xb0\x78\x00"), (start, bytes((0xC0, program)))]
        for at, length, pitch, velocity in phrase(program, variation):
            on = start + 1 + round(at * TICKS_PER_S)
            events.append((on, bytes((0x90, pitch, velocity))))
            events.append((on + round(length * TICKS_PER_S), bytes((0x80, pitch, 0))))
    end = round(len(slots) * SLOT_S * TICKS_PER_S)
    events.append((end, b"\xff\x2f\x00"))
    events.sort(key=lambda event: event[0])
    track, before = bytearray(), 0
    for tick, message in events:
        track += _variable_length(tick - before) + message
        before = tick
    header = struct.pack(">4sIHHH", b"MThd", 6, 0, 1, TICKS_PER_S)
    return header + struct.pack(">4sI", b"MTrk", len(track)) + bytes(track)


def phrase(program: int, variation: int) -> list[tuple[float, float, int, int]]:
    """Start and length in seconds, pitch and velocity of some notes; the same at every call."""
    rng = np.random.default_rng((program, variation))
    label = PROGRAMS[program]
    lowest = 33 if label in _LOW else 67 if label in _HIGH else 50
    key = lowest + int(rng.integers(0, 15))
    scale = _SCALES[int(rng.integers(len(_SCALES)))]
    loudness = int(rng.integers(60, 115))
    # One take is a single held note: melodies alone would teach a tune, not a timbre.
    count = 1 if variation == 0 else int(rng.integers(3, 9))
    beats = rng.choice((0.5, 1.0, 1.0, 2.0), size=count)
    lengths = beats / beats.sum() * rng.uniform(1.2, PLAYED_S)
    starts = np.concatenate(([0.0], np.cumsum(lengths)[:-1]))
    pitches = key + rng.choice(scale, size=count)
    velocities = np.clip(loudness + rng.integers(-8, 9, size=count), 30, 127)
    held = rng.choice((0.5, 0.95))
    return [
        (float(at), float(length * held), int(pitch), int(velocity))
        for at, length, pitch, velocity in zip(starts, lengths, pitches, velocities, strict=True)
    ]


def _variable_length(value: int) -> bytes:
    """MIDI's numbers of seven bits a byte, the highest first."""
    found = [value & 0x7F]
    while value := value >> 7:
        found.append(value & 0x7F | 0x80)
    return bytes(reversed(found))
