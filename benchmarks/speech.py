"""How soon speech becomes text, how right it is, and whether noise ever does.

    python -m benchmarks.speech [--corpus build/corpus] [--prompts 150] [--minutes 30] [--live 40]
        [--onnx DIR]

- **Words.** Recorded prompts of 1 to 6 s, each read by the transcriber and, in turn, by
  faster-whisper (``pip install faster-whisper``) with the same weights in 8 bits, one thread,
  greedy and without timestamps. Time on the clock, and of the CPU, which a busy machine spoils
  less. ``--onnx`` adds the same weights in onnxruntime (``python -m export whisper --model
  ~/.cache/edge-alm/whisper-tiny.en``, ``python -m quantize onnx --to int8-dynamic``).
- **Invented.** Noise, music and silence, a third of ``--minutes`` each, through VAD, segmenter and
  gates as any stream: words in events, and in what is told while someone seems to speak.
- **First text.** From the first sound of a prompt to the first text that is told of it, in the
  noise of a quiet room: on the clock, at the pace of a microphone, and as it would be on an idle
  core: the audio that had to be heard, and the time of the CPU for reading it.

The prompts are Asterisk's, of the corpus (``python -m export.corpus``); without it those of
``tests/data`` are read. Noise is made, and of ESC-10 where that is there; music is what the
corpus has in folders called music, and ``tests/data``.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from edge_alm.audio.memory import MemoryAudio
from edge_alm.audio.pace import Pace
from edge_alm.hearing.engines import open_transcriber
from edge_alm.models import store
from edge_alm.runtime import Ears, load
from edge_alm.types import SAMPLE_RATE_HZ, Frame, Packet, Samples, Speech
from export.corpus import read_corpus, spoken_words
from quantize.speech_files import word_errors

DATA = Path(__file__).parent.parent / "tests" / "data"
SHORTEST_S, LONGEST_S = 1.0, 6.0
PIECE_S = 30.0
"""Of music, noise or silence in a stream."""
ROOM_DB = -60.0
GAP_S = 1.5
ONSET_DB = 40.0
"""A prompt begins where it is so far under its loudest hundredth of a second."""
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
OWN, OTHER = "edge-alm", "faster-whisper"
VOICELESS = ("rain", "sea waves", "fire crackling", "clock tick", "helicopter", "chainsaw")


@dataclass(frozen=True)
class Prompt:
    """A recording and what is said in it."""

    samples: Samples
    words: list[str]


@dataclass
class Reading:
    """What one reader made of all prompts."""

    wrong: int = 0
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)


def read(path: Path) -> Samples:
    samples, rate_hz = soundfile.read(str(path), dtype="float32", always_2d=True)
    mono = soxr.resample(samples.mean(axis=1), rate_hz, SAMPLE_RATE_HZ)
    return np.asarray(mono, np.float32)


def to_words(text: str) -> list[str]:
    """Lower case, without marks; a lone digit is its word."""
    plain = "".join(c if c.isalnum() else " " for c in text.lower().replace("'", ""))
    return [
        DIGITS[int(word)] if len(word) == 1 and word in "0123456789" else word
        for word in plain.split()
    ]


def find_prompts(
    corpus: Path, count: int, shortest_s: float = SHORTEST_S, longest_s: float = LONGEST_S
) -> list[Prompt]:
    """``count`` prompts in an order that says nothing; the same on every machine."""
    if corpus.is_dir():
        clips = read_corpus(corpus, Path())
        said = {clip.text: clip.path for clip in clips if clip.corpus == "speech"}
    else:
        with (DATA / "LICENCES.csv").open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["file"].startswith("speech_")]
        said = {spoken_words(row["what"]): DATA / row["file"] for row in rows}
    found = (
        Prompt(read(path), to_words(text))
        for text, path in sorted(said.items(), key=lambda item: _draw(item[0]))
        if text and shortest_s <= soundfile.info(str(path)).duration <= longest_s
    )
    return list(itertools.islice(found, count))


def compare_readers(
    prompts: Sequence[Prompt], folder: Path, exported: Path | None
) -> dict[str, Reading]:
    """Every prompt by every reader in turn, so that what else the machine does meets all alike."""
    readers: dict[str, Callable[[Samples], str]] = {}
    own = open_transcriber("ctranslate2", folder)
    readers[OWN] = lambda samples: own.transcribe(samples).text
    if exported is not None:
        onnx = open_transcriber("onnxruntime", exported)
        readers["onnxruntime"] = lambda samples: onnx.transcribe(samples).text
    try:
        from faster_whisper import WhisperModel
    except ImportError:
        print("faster-whisper is not installed: nothing to compare with")
    else:
        other = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=1)

        def read_other(samples: Samples) -> str:
            segments, _ = other.transcribe(
                samples, language="en", beam_size=1, without_timestamps=True
            )
            return "".join(segment.text for segment in segments)

        readers[OTHER] = read_other
    results = {name: Reading() for name in readers}
    for reader in readers.values():
        reader(prompts[0].samples)  # warm
    for number, prompt in enumerate(prompts):
        for name in list(readers)[:: 1 if number % 2 else -1]:
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            text = readers[name](prompt.samples)
            results[name].wall_s.append(time.perf_counter() - wall_s)
            results[name].cpu_s.append(time.process_time() - cpu_s)
            results[name].wrong += word_errors(prompt.words, to_words(text))
    return results


def report_readers(results: dict[str, Reading], words: int) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    print(f"{'':16}{'words wrong':>12}{'median ms':>11}{'p95 ms':>9}{'CPU ms':>9}")
    for name, result in results.items():
        median, p95 = 1000 * np.percentile(result.wall_s, [50, 95])
        cpu = 1000 * float(np.median(result.cpu_s))
        wrong = 100 * result.wrong / words
        print(f"{name:16}{wrong:11.1f} %{median:11.0f}{p95:9.0f}{cpu:9.0f}")
        summary[name] = {
            "wer": round(wrong, 2),
            "median_ms": round(float(median), 1),
            "p95_ms": round(float(p95), 1),
            "median_cpu_ms": round(cpu, 1),
        }
    if OTHER in results:
        own, other = results[OWN], results[OTHER]
        for kind in ("wall_s", "cpu_s"):
            ratio = float(np.median(getattr(other, kind)) / np.median(getattr(own, kind)))
            summary[f"sooner_{kind.removesuffix('_s')}"] = round(ratio, 2)
        print(f"sooner: {summary['sooner_wall']:.2f} x, of CPU {summary['sooner_cpu']:.2f} x")
    return summary


def make_noise(slope: float, level_db: float, seconds: float, seed: int) -> Samples:
    """White, pink or brown (slope 0, 0.5, 1) noise that swells and fades by 12 dB every 5 s."""
    n = int(seconds * SAMPLE_RATE_HZ)
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(n))
    spectrum /= np.maximum(np.arange(len(spectrum)), n // 400) ** slope
    noise = np.fft.irfft(spectrum, n)
    swell = 10 ** (0.3 * np.sin(2 * np.pi * np.arange(n) / (5 * SAMPLE_RATE_HZ)))
    noise *= swell * 10 ** (level_db / 20) / np.sqrt(np.mean(noise**2))
    return np.clip(noise, -1.0, 1.0).astype(np.float32)


def silence_pieces() -> Iterator[Samples]:
    yield np.zeros(int(PIECE_S * SAMPLE_RATE_HZ), np.float32)
    for seed in range(10**6):
        yield make_noise(0.5, (-80, -70, -60)[seed % 3], PIECE_S, seed)


def noise_pieces(esc10: Path) -> Iterator[Samples]:
    clips: list[Path] = []
    if (esc10 / "clips.csv").is_file():
        with (esc10 / "clips.csv").open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["label"] in VOICELESS]
        clips = [esc10 / row["path"] for row in sorted(rows, key=lambda row: _draw(row["path"]))]
    for seed in range(10**6):
        yield make_noise((0.0, 0.5, 1.0)[seed % 3], -50.0 + 7 * (seed % 7), PIECE_S, seed)
        if some := clips[6 * seed : 6 * seed + 6]:
            yield np.concatenate([read(path) for path in some])


def music_pieces(corpus: Path) -> Iterator[Samples]:
    files = [
        path
        for path in corpus.rglob("*")
        if path.suffix in (".ogg", ".wav", ".flac") and "music" in path.parts and _is_long(path)
    ]
    files.sort(key=lambda path: _draw(path.name))
    while True:
        for path in [*files, DATA / "music.flac", DATA / "piano.flac"]:
            samples = read(path)
            # One from the middle of each: a piece is much the same all through.
            begin = max(0, (len(samples) - int(PIECE_S * SAMPLE_RATE_HZ)) // 2)
            yield samples[begin : begin + int(PIECE_S * SAMPLE_RATE_HZ)]


def _is_long(path: Path) -> bool:
    try:
        return bool(soundfile.info(str(path)).duration >= PIECE_S)
    except soundfile.LibsndfileError:  # an MP3 that is called .wav
        return False


def count_invented(ears: Ears, pieces: Iterator[Samples], minutes: float) -> dict[str, Any]:
    """Words where there are none, in ``minutes`` of audio."""
    said: list[str] = []
    told: list[str] = []
    heard_s = 0.0
    while heard_s < 60 * minutes:
        samples = next(pieces)
        heard_s += len(samples) / SAMPLE_RATE_HZ
        events = ears.listen(MemoryAudio(samples), on_partial=lambda s: told.append(s.text))
        said += [event.text for event in events if isinstance(event, Speech)]
    return {
        "minutes": round(heard_s / 60, 1),
        "words": len(to_words(" ".join(said))),
        "said": said,
        "partial_words": len(to_words(" ".join(told))),
        "told": told,
    }


class TimedAudio(MemoryAudio):
    """Samples that come at the pace of a microphone, or as they are asked for."""

    def __init__(self, samples: Samples, *, live: bool) -> None:
        super().__init__(samples, frame_samples=SAMPLE_RATE_HZ // 50)
        self.live = live
        self.began_s = self.cpu_s = 0.0
        self._pace, self._stop = Pace(), threading.Event()

    def packets(self) -> Iterator[Packet]:
        self.began_s = time.monotonic()
        for packet in super().packets():
            if self.live and isinstance(packet, Frame):
                self._pace.wait(packet.end, self._stop)
            self.cpu_s = time.process_time()
            yield packet


def find_onset(samples: Samples) -> int:
    """Sample index of the first sound of a prompt."""
    step = SAMPLE_RATE_HZ // 100
    frames = samples[: len(samples) // step * step].reshape(-1, step)
    power = np.mean(frames**2, axis=1)
    return int(np.argmax(power > power.max() * 10 ** (-ONSET_DB / 10))) * step


def measure_partials(ears: Ears, prompts: Sequence[Prompt], *, live: bool) -> dict[str, Any]:
    """From a prompt's first sound to the first text of it."""
    gap = int(GAP_S * SAMPLE_RATE_HZ)
    parts: list[Samples] = []
    spans_s: list[tuple[float, float]] = []
    at = gap
    for prompt in prompts:
        end = at + len(prompt.samples)
        onset = at + find_onset(prompt.samples)
        spans_s.append((onset / SAMPLE_RATE_HZ, end / SAMPLE_RATE_HZ + GAP_S / 2))
        parts += [np.zeros(gap, np.float32), prompt.samples]
        at = end + gap
    audio = np.concatenate([*parts, np.zeros(gap, np.float32)])
    audio += make_noise(0.5, ROOM_DB, len(audio) / SAMPLE_RATE_HZ, 0)
    source = TimedAudio(audio, live=live)
    told: list[tuple[float, float]] = []

    def tell(speech: Speech) -> None:
        if not speech.text:
            return
        if live:
            told.append((speech.end, time.monotonic() - source.began_s))
        else:
            told.append((speech.end, speech.end + time.process_time() - source.cpu_s))

    ears.prepare()
    for _ in ears.listen(source, on_partial=tell):
        pass
    firsts = [
        min((at_s for end_s, at_s in told if begin <= end_s <= end), default=float("inf")) - begin
        for begin, end in spans_s
    ]
    median, p95 = np.percentile(firsts, [50, 95], method="higher")
    found = {"median_s": round(float(median), 3), "p95_s": round(float(p95), 3)}
    where = "on the clock" if live else "on an idle core"
    print(f"first text {where}: median {median:.2f} s, p95 {p95:.2f} s ({len(prompts)} prompts)")
    return {"prompts": len(prompts), "told": len(told), **found}


def _draw(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--corpus", type=Path, default=Path("build/corpus"))
    parser.add_argument("--esc10", type=Path, default=Path("../shared/data/esc10"))
    parser.add_argument("--onnx", type=Path, help="a Whisper of python -m export whisper, too")
    parser.add_argument("--prompts", type=int, default=150, help="to compare readers with")
    parser.add_argument("--minutes", type=float, default=30.0, help="of noise, music and silence")
    parser.add_argument("--live", type=int, default=40, help="prompts for the first text")
    args = parser.parse_args()
    summary: dict[str, Any] = {}
    prompts = find_prompts(args.corpus, max(args.prompts, args.live))
    if args.prompts:
        chosen = prompts[: args.prompts]
        words = sum(len(prompt.words) for prompt in chosen)
        print(f"{len(chosen)} prompts, {words} words")
        results = compare_readers(chosen, store.locate("whisper-tiny.en"), args.onnx)
        summary["words"] = {"prompts": len(chosen), **report_readers(results, words)}
    with load(llm=False) as ears:
        if args.minutes:
            kinds = {
                "silence": silence_pieces(),
                "noise": noise_pieces(args.esc10),
                "music": music_pieces(args.corpus),
            }
            summary["invented"] = {}
            for kind, pieces in kinds.items():
                found = count_invented(ears, pieces, args.minutes / len(kinds))
                summary["invented"][kind] = found
                print(f"{kind}: {found['minutes']} min, {found['words']} words {found['said']}, ")
                print(f"  told before the end: {found['partial_words']} words {found['told']}")
        if args.live:
            chosen = prompts[: args.live]
            summary["first_text"] = {
                "idle": measure_partials(ears, chosen, live=False),
                "clock": measure_partials(ears, chosen, live=True),
            }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
