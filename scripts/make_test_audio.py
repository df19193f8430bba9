"""Make the recordings of tests/data from Debian's packages.

    scripts/make_test_audio.py UNPACKED

``UNPACKED/<package>/`` holds each package as ``dpkg -x`` leaves it: sonic-pi-samples,
sound-theme-freedesktop, minetest-data, minetest-mod-homedecor, asterisk-core-sounds-en-wav.
Writes the single clips, the scene ``home.flac`` composed of some of them with the truth in
``home.csv``, and the licence table.
"""

import csv
import hashlib
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

RATE_HZ = 16_000
OUT = Path(__file__).parent.parent / "tests" / "data"

# name: (file of the package, label as AudioSet has it or the words, licence, author)
CLIPS = {
    "doorbell": ("**/homedecor_doorbell.ogg", "Ding-dong", "CC-BY-SA-4.0", "Vanessa Ezekowitz"),
    "toilet_flush": (
        "**/homedecor_toilet_flush.ogg",
        "Toilet flush",
        "CC-BY-SA-4.0",
        "Vanessa Ezekowitz",
    ),
    "glass": ("**/default_break_glass.1.ogg", "Shatter", "CC-BY-3.0", "cmusounddesign"),
    "stream": ("**/env_sounds_water.3.ogg", "Stream", "CC-BY-SA-3.0", "minetest authors"),
    "crow": ("**/misc_crow.flac", "Caw", "CC0-1.0", "davidworksonline"),
    "music": ("**/loop_compus.flac", "Music", "CC0-1.0", "godspine"),
    "piano": ("**/ambi_piano.flac", "Music", "CC0-1.0", "Rutger Muller"),
    "alarm_clock": (
        "**/alarm-clock-elapsed.oga",
        "Alarm clock",
        "CC-BY-SA-3.0",
        "Tim/corsica_s",
    ),
    "speech_wrong": (
        "**/en_US_f_Allison/something-terribly-wrong.wav",
        "Something is terribly wrong!",
        "CC-BY-SA-3.0",
        "Allison Smith",
    ),
    "speech_weasels": (
        "**/en_US_f_Allison/tt-weasels.wav",
        "Weasels have eaten our phone system",
        "CC-BY-SA-3.0",
        "Allison Smith",
    ),
    "speech_invalid": (
        "**/en_US_f_Allison/pbx-invalid.wav",
        "I am sorry, that's not a valid extension. Please try again.",
        "CC-BY-SA-3.0",
        "Allison Smith",
    ),
    "speech_service": (
        "**/en_US_f_Allison/ss-noservice.wav",
        "The number you have dialed is not in service. Please check the number and try again.",
        "CC-BY-SA-3.0",
        "Allison Smith",
    ),
    "speech_extension": (
        "**/en_US_f_Allison/agent-newlocation.wav",
        "Please enter a new extension, followed by pound.",
        "CC-BY-SA-3.0",
        "Allison Smith",
    ),
    "speech_hold": (
        "**/en_US_f_Allison/transfer.wav",
        "Please hold while I try that extension.",
        "CC-BY-SA-3.0",
        "Allison Smith",
    ),
}
# name, start in seconds, peak
SCENE = (
    ("doorbell", 2.0, 0.4),
    ("speech_hold", 6.0, 0.4),
    ("glass", 10.5, 0.5),
    ("speech_wrong", 13.0, 0.4),
    ("toilet_flush", 17.0, 0.3),
    ("crow", 23.0, 0.4),
)
SCENE_S = 26.0
ROOM_DB = -62.0
"""Level of the room's noise, brown."""

Audio = npt.NDArray[np.float32]


def read_clip(path: Path) -> Audio:
    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    return np.asarray(soxr.resample(samples.mean(axis=1), rate_hz, RATE_HZ), dtype=np.float32)


def active_span(samples: Audio) -> tuple[int, int]:
    """First and last sample within 30 dB of the peak, by 10 ms."""
    blocks = np.abs(samples[: len(samples) // 160 * 160]).reshape(-1, 160).max(axis=1)
    loud = np.flatnonzero(blocks > blocks.max() * 10 ** (-30 / 20))
    return int(loud[0]) * 160, int(loud[-1] + 1) * 160


def make_room(samples: int) -> Audio:
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(samples))
    noise = np.fft.irfft(spectrum / np.maximum(np.fft.rfftfreq(samples, 1 / RATE_HZ), 20), samples)
    noise *= 10 ** (ROOM_DB / 20) / np.sqrt(np.mean(noise**2))
    return np.asarray(noise, dtype=np.float32)


def main() -> None:
    root = Path(sys.argv[1])
    OUT.mkdir(parents=True, exist_ok=True)
    sources, clips = {}, {}
    for name, (pattern, _, _, _) in CLIPS.items():
        sources[name] = min(root.glob(pattern))
        clip = read_clip(sources[name])
        clips[name] = clip / np.abs(clip).max()
        # FLAC: lossless and free of encoder versions; 16 kHz is all that the runtime hears.
        soundfile.write(OUT / f"{name}.flac", clips[name] * 0.5, RATE_HZ, subtype="PCM_16")
    scene = make_room(int(SCENE_S * RATE_HZ))
    truth = []
    for name, start_s, peak in SCENE:
        start = int(start_s * RATE_HZ)
        scene[start : start + len(clips[name])] += clips[name] * peak
        first, last = active_span(clips[name])
        truth.append([CLIPS[name][1], (start + first) / RATE_HZ, (start + last) / RATE_HZ])
    soundfile.write(OUT / "home.flac", scene, RATE_HZ, subtype="PCM_16")
    with (OUT / "home.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["what", "start_s", "end_s"])
        writer.writerows(truth)
    with (OUT / "LICENCES.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "source", "licence", "author", "sha256", "what"])
        for name, (_, what, licence, author) in CLIPS.items():
            source = sources[name].relative_to(root).as_posix()
            writer.writerow([f"{name}.flac", source, licence, author, digest(f"{name}.flac"), what])
        used = ", ".join(name for name, _, _ in SCENE)
        authors = "; ".join(dict.fromkeys(CLIPS[name][3] for name, _, _ in SCENE))
        writer.writerow(
            ["home.flac", f"mix of {used}", "CC-BY-SA-4.0", authors, digest("home.flac"), "a scene"]
        )


def digest(name: str) -> str:
    return hashlib.sha256((OUT / name).read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
