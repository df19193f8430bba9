import os
import re
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_alm.audio.file import AudioFile
from edge_alm.audio.resample import resampled_length
from edge_alm.errors import SourceError
from edge_alm.types import Fault, Frame, Packet, Samples

TONE_HZ = 440


def tone(seconds: float, rate_hz: int) -> Samples:
    at_s = np.arange(round(seconds * rate_hz)) / rate_hz
    return (0.5 * np.sin(2 * np.pi * TONE_HZ * at_s)).astype(np.float32)


def hear(source: AudioFile) -> tuple[Samples, list[Packet]]:
    """All samples, after checking that the frames are consecutive; and what is no frame."""
    parts, position = [np.zeros(0, np.float32)], 0
    others: list[Packet] = []
    for packet in source.packets():
        if isinstance(packet, Frame):
            assert packet.start == position
            assert packet.samples.dtype == np.float32
            assert packet.samples.ndim == 1
            assert len(packet.samples)
            position = packet.end
            parts.append(packet.samples)
        else:
            others.append(packet)
    return np.concatenate(parts), others


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("channels", [1, 2, 8])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "FLOAT", "PCM_U8"])
def test_rates_channels_and_widths(
    tmp_path: Path, rate_hz: int, channels: int, subtype: str
) -> None:
    path = tmp_path / "tone.wav"
    mono = tone(0.7, rate_hz)
    # Channel c is (c + 1) times as loud: the mean is (channels + 1) / 2 times.
    loudness = np.arange(1, channels + 1) / channels
    soundfile.write(path, mono[:, None] * loudness, rate_hz, subtype=subtype)
    source = AudioFile(path)
    samples, others = hear(source)
    assert others == []
    assert len(samples) == source.total_samples == resampled_length(len(mono), rate_hz)
    inner = slice(800, -800)
    wanted = tone(0.7, 16_000) * loudness.mean()
    np.testing.assert_allclose(
        samples[inner], wanted[inner], atol=0.01 if subtype == "PCM_U8" else 1e-3
    )


@pytest.mark.parametrize(
    ("extension", "container"), [("flac", "FLAC"), ("ogg", "OGG"), ("mp3", "MP3"), ("aiff", "AIFF")]
)
def test_formats(tmp_path: Path, extension: str, container: str) -> None:
    path = tmp_path / f"tone.{extension}"
    soundfile.write(path, tone(1, 44_100), 44_100, format=container)
    source = AudioFile(path)
    samples, others = hear(source)
    assert others == []
    assert len(samples) == source.total_samples
    assert abs(len(samples) - 16_000) < 1_700  # MP3 pads
    spectrum = np.abs(np.fft.rfft(samples))
    assert abs(np.argmax(spectrum) * 16_000 / len(samples) - TONE_HZ) < 2


@pytest.mark.parametrize("subtype", ["G721_32", "GSM610"])
def test_codecs_in_which_nothing_can_be_sought(tmp_path: Path, subtype: str) -> None:
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(1, 16_000), 16_000, subtype=subtype)
    source = AudioFile(path)
    samples, others = hear(source)
    assert others == []
    assert len(samples) == source.total_samples >= 16_000
    spectrum = np.abs(np.fft.rfft(samples))
    assert abs(np.argmax(spectrum) * 16_000 / len(samples) - TONE_HZ) < 2


@pytest.fixture(scope="module")
def stereo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("file") / "noise.flac"
    noise = np.random.default_rng(0).normal(0, 0.1, (30_000, 2))
    soundfile.write(path, noise, 44_100)
    return path


@settings(deadline=None, max_examples=20)
@given(block_s=st.floats(0.001, 2))
def test_blocks_do_not_matter(stereo: Path, block_s: float) -> None:
    whole, _ = hear(AudioFile(stereo))
    np.testing.assert_array_equal(hear(AudioFile(stereo, block_s=block_s))[0], whole)


def test_bad_samples_are_silence_and_one_fault(tmp_path: Path) -> None:
    path = tmp_path / "bad.wav"
    samples = tone(3, 16_000)
    samples[16_000:16_010] = np.nan
    samples[20_000] = np.inf
    samples[20_001] = -np.inf
    samples[40_000] = 3e30
    samples[41_000] = 1.5  # above full scale, but audio
    soundfile.write(path, samples, 16_000, subtype="FLOAT")
    heard, others = hear(AudioFile(path))
    wanted = np.where(np.abs(samples) < 2, samples, 0)
    np.testing.assert_array_equal(heard, wanted)
    (fault,) = others
    assert isinstance(fault, Fault)
    assert fault.code == "bad-samples"
    assert "13 samples" in fault.message
    assert "near 1.0 s" in fault.message


def test_all_samples_bad(tmp_path: Path) -> None:
    path = tmp_path / "nan.wav"
    soundfile.write(path, np.full((4_410, 2), np.nan), 44_100, subtype="DOUBLE")
    heard, (fault,) = hear(AudioFile(path))
    assert not heard.any()
    assert isinstance(fault, Fault)
    assert "8820 samples" in fault.message


@pytest.mark.parametrize(
    ("extension", "container", "subtype"),
    [
        ("wav", "WAV", "PCM_16"),
        ("wav", "WAVEX", "PCM_24"),
        ("wav", "RF64", "PCM_16"),
        ("aiff", "AIFF", "PCM_16"),
        ("au", "AU", "PCM_16"),
        ("flac", "FLAC", "PCM_16"),
        ("ogg", "OGG", "VORBIS"),
        ("opus", "OGG", "OPUS"),
        ("mp3", "MP3", "MPEG_LAYER_III"),
    ],
)
@pytest.mark.parametrize("kept", [0.5, 0.97])
def test_a_cut_file_is_heard_to_its_end(
    tmp_path: Path, extension: str, container: str, subtype: str, kept: float
) -> None:
    path = tmp_path / f"cut.{extension}"
    noise = np.random.default_rng(0).normal(0, 0.1, (480_000, 2))
    soundfile.write(path, noise, 48_000, format=container, subtype=subtype)
    assert hear(AudioFile(path))[1] == []
    os.truncate(path, int(path.stat().st_size * kept))
    samples, others = hear(AudioFile(path))
    heard_s = len(samples) / 16_000
    # Half the bytes of a compressed file are not half its seconds.
    assert abs(heard_s - 10 * kept) < (1.5 if container in ("OGG", "MP3") else 0.35)
    (fault,) = others
    assert isinstance(fault, Fault)
    assert fault.code == "truncated"
    told = re.search(r"ends after ([\d.]+) s; ([\d.]+)?", fault.message)
    assert told
    assert float(told[1]) == pytest.approx(heard_s, abs=0.01)
    if container != "OGG":
        assert heard_s + float(told[2]) == pytest.approx(10, abs=0.02)


def test_a_wav_from_a_pipe_announces_no_size(tmp_path: Path) -> None:
    path = tmp_path / "piped.wav"
    soundfile.write(path, tone(1, 16_000), 16_000)
    data = bytearray(path.read_bytes())
    for at in (4, 40):
        data[at : at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    samples, others = hear(AudioFile(path))
    assert len(samples) == 16_000
    assert others == []


def test_three_hours_stay_small(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    seconds = 3 * 3600
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(b"")
    size_bytes = seconds * 16_000 * 2
    data = bytearray(path.read_bytes())
    data[4:8] = (size_bytes + 36).to_bytes(4, "little")
    data[40:44] = size_bytes.to_bytes(4, "little")
    path.write_bytes(data)
    os.truncate(path, len(data) + size_bytes)  # sparse: takes no room on the disk
    code = r"""
import re, sys
from pathlib import Path
from edge_alm.audio.file import AudioFile
total = sum(len(frame.samples) for frame in AudioFile(sys.argv[1]).packets())
# Not ru_maxrss: it starts from the parent's.
status = Path("/proc/self/status")
peak = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1] if status.exists() else 0
print(total, peak)
"""
    run = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    total, peak_kb = (int(word) for word in run.stdout.split())
    assert total == seconds * 16_000
    assert peak_kb < 100_000  # measured: 33 MB


def missing(folder: Path) -> Path:
    return folder / "none.wav"


def empty(folder: Path) -> Path:
    path = folder / "empty.wav"
    path.write_bytes(b"")
    return path


def header_only(folder: Path) -> Path:
    path = folder / "header.wav"
    soundfile.write(path, np.zeros((0, 1)), 16_000)
    return path


def text(folder: Path) -> Path:
    path = folder / "notes.wav"
    path.write_text("not audio at all\n" * 100)
    return path


def random_bytes(folder: Path) -> Path:
    path = folder / "random.mp4"
    path.write_bytes(np.random.default_rng(0).bytes(10_000))
    return path


def directory(folder: Path) -> Path:
    return folder


def raw(folder: Path) -> Path:
    path = folder / "samples.raw"
    path.write_bytes(bytes(3_200))
    return path


def fifo(folder: Path) -> Path:
    path = folder / "fifo"
    os.mkfifo(path)
    return path


def nine_channels(folder: Path) -> Path:
    path = folder / "nine.wav"
    soundfile.write(path, np.zeros((100, 9)), 16_000)
    return path


def one_hertz(folder: Path) -> Path:
    path = folder / "slow.wav"
    soundfile.write(path, np.zeros(100), 1)
    return path


@pytest.mark.parametrize(
    ("make", "got"),
    [
        (missing, "got no such file"),
        (empty, "got an empty file"),
        (header_only, "got a header without samples"),
        (text, "got format not recognised"),
        (random_bytes, "got format not recognised"),
        (directory, "got a directory"),
        (raw, "got raw samples without a header"),
        (fifo, "got not a regular file"),
        (nine_channels, "expected 1 to 8 channels, got 9"),
        (one_hertz, "expected 1000 to 768000 Hz, got 1 Hz"),
    ],
)
def test_what_cannot_be_heard(tmp_path: Path, make: Callable[[Path], Path], got: str) -> None:
    path = make(tmp_path)
    with pytest.raises(SourceError) as caught:
        AudioFile(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: expected ")
    assert got in line
    assert "\n" not in line
    assert caught.value.hint or make in (empty, header_only)


def test_a_name_with_a_nul() -> None:
    with pytest.raises(SourceError, match="null"):
        AudioFile("a\0.wav")


def test_no_right_to_read(tmp_path: Path) -> None:
    path = tmp_path / "secret.wav"
    soundfile.write(path, tone(1, 16_000), 16_000)
    path.chmod(0)
    # root may read anything, so the test steps down to nobody where it runs as root.
    code = f"""
import os, soundfile
from edge_alm.audio.file import AudioFile
if os.geteuid() == 0:
    os.seteuid(65534)
try:
    AudioFile({str(path)!r})
except Exception as error:
    print(type(error).__name__, error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("SourceError")
    assert "got permission denied" in run.stdout


def test_names_beyond_ascii(tmp_path: Path) -> None:
    path = tmp_path / "straße 音 🎤.wav"
    soundfile.write(path, tone(1, 16_000), 16_000)
    assert AudioFile(path).name == path.name
    assert len(hear(AudioFile(path))[0]) == 16_000


def test_realtime_keeps_a_microphones_pace(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(1.2, 48_000), 48_000)
    start_s = time.monotonic()
    end = 0
    for packet in AudioFile(path, realtime=True).packets():
        assert isinstance(packet, Frame)
        end = packet.end
        late_s = time.monotonic() - start_s - end / 16_000
        assert -0.03 < late_s < 0.3  # never early, but for what the clock starts on
        if end < 8_000:
            time.sleep(0.08)  # a slow reader is not made slower still
    assert end == 19_200


def test_realtime_loses_nothing_to_a_slow_reader(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(0.5, 16_000), 16_000)
    total = 0
    for packet in AudioFile(path, realtime=True).packets():
        assert isinstance(packet, Frame)
        total += len(packet.samples)
        time.sleep(0.15)
    assert total == 8_000


def test_close_ends_a_paced_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(60, 16_000), 16_000)
    source = AudioFile(path, realtime=True, block_s=30)
    timer = threading.Timer(0.1, source.close)
    timer.start()
    start_s = time.monotonic()
    assert list(source.packets()) == []
    assert time.monotonic() - start_s < 1
    timer.join()
    source.close()
    assert list(source.packets()) == []


def open_files() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


def test_an_abandoned_file_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(1, 16_000), 16_000)
    before = open_files()
    source = AudioFile(path)
    packets = source.packets()
    next(packets)
    packets.close()  # type: ignore[attr-defined]
    assert open_files() == before


def test_it_has_no_wall_clock(stereo: Path) -> None:
    source = AudioFile(stereo)
    assert source.started_unix is None
    assert source.live is False
