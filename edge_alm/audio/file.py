"""A recording as a source."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_alm.audio.pace import Pace
from edge_alm.audio.resample import MAX_RATE_HZ, MIN_RATE_HZ, Resampler, resampled_length
from edge_alm.errors import SourceError
from edge_alm.types import Fault, Frame, Packet, Samples

MAX_CHANNELS = 8
BLOCK_S = 0.5
"""Reading 48 kHz stereo FLAC so costs 0.19 % of a core; 0.34 % in 0.1 s blocks, 0.16 % in 1 s."""
PACED_BLOCK_S = 0.1
"""A paced file must not arrive in lumps that no microphone delivers."""
MAX_MAGNITUDE = 1_000.0
"""60 dB above full scale. Float files may pass 1.0, but no mix has such peaks: these are
broken samples, and one of them would drown the second around it."""
_EXPECTED = "audio that libsndfile reads (WAV, FLAC, Ogg, Opus, MP3, AIFF, ...)"
_CONVERT = "convert it with: ffmpeg -i NAME out.wav"
# libsndfile corrects a header that announces more bytes than the file has, and says so here.
_CORRECTED = re.compile(
    r"^\s*(?:data|SSND|Data Size|Riff size|riff)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE
)
_STREAMED_SIZE = 0x7FFF_0000
"""Programs that write to a pipe announce a size from here up to 4 GiB: unknown."""


class AudioFile:
    """Anything libsndfile reads, streamed: 1 to 8 channels (their mean is heard), any rate.

    Samples that are NaN, infinite or beyond ±1000 are heard as 0 and reported at the end as
    one fault ``bad-samples``; a file that ends before its header says so is heard as far as
    it goes, followed by a fault ``truncated``. The frames hold in all
    ``resampled_length(frames of the file, its rate)`` samples, however it is read.

    Args:
        path: the file.
        realtime: deliver at the pace of a microphone; nothing is ever lost.
        block_s: seconds of audio in a frame, about; by default 0.5, or 0.1 when paced.

    Raises:
        SourceError: missing, a directory, unreadable, empty, not audio, or unusable channels
            or rate.
    """

    live = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        realtime: bool = False,
        block_s: float | None = None,
    ) -> None:
        if block_s is None:
            block_s = PACED_BLOCK_S if realtime else BLOCK_S
        self.name = Path(path).name
        self._file = _open(Path(path))
        self._rate_hz: int = self._file.samplerate
        self._block_frames = max(1, round(block_s * self._rate_hz))
        self._pace = Pace() if realtime else None
        self._closed = threading.Event()
        self._reading = threading.Lock()  # libsndfile must not be closed under a read

    @property
    def started_unix(self) -> float | None:
        """None: a recording's wall clock is not known."""
        return None

    @property
    def total_samples(self) -> int:
        """Samples at 16 kHz that the file announces; a truncated one yields fewer."""
        return resampled_length(self._file.frames, self._rate_hz)

    def packets(self) -> Iterator[Packet]:
        """Frames to the end of the file, then at most two faults (bad samples, truncated)."""
        resampler = Resampler(self._rate_hz)
        position = heard = bad = 0
        first_bad_s = 0.0
        more = True
        try:
            while more:
                block = self._read()
                if self._closed.is_set():
                    return
                more = len(block) > 0
                wrong = zero_bad_samples(block)
                if wrong and not bad:
                    first_bad_s = heard / self._rate_hz
                bad += wrong
                heard += len(block)
                samples = resampler.push(to_mono(block)) if more else resampler.flush()
                if not len(samples):
                    continue
                frame = Frame(position, samples)
                if self._pace is not None:
                    self._pace.wait(frame.end, self._closed)
                    if self._closed.is_set():
                        return
                yield frame
                position = frame.end
            if bad:
                yield Fault(
                    "bad-samples",
                    f"{self.name}: {bad} samples are NaN, infinite or beyond ±{MAX_MAGNITUDE:g}, "
                    f"the first near {first_bad_s:.1f} s; heard as silence",
                    "write it again with samples within ±1",
                )
            missing = self._missing(heard)
            if missing:
                yield Fault(
                    "truncated",
                    f"{self.name}: ends after {heard / self._rate_hz:.2f} s; {missing}",
                    "copy or download it again",
                )
        finally:
            self.close()

    def close(self) -> None:
        """Stop :meth:`packets` and release the file."""
        self._closed.set()
        with self._reading:
            self._file.close()

    def _read(self) -> NDArray[np.float32]:
        """The next block, shape [frames, channels]; no frames at the end."""
        import soundfile

        block = np.zeros((self._block_frames, self._file.channels), np.float32)
        with self._reading:
            if self._closed.is_set():
                return block[:0]
            before = self._tell()
            try:
                return block[: len(self._file.read(out=block))]
            except soundfile.LibsndfileError:
                # A decoder met the cut end; what it gave before that is in the block.
                return block[: max(0, self._tell() - before)]

    def _tell(self) -> int:
        """The frame that is read next; 0 where damage has left nothing that can be sought in."""
        import soundfile

        try:
            return int(self._file.tell())
        except soundfile.LibsndfileError:
            return 0

    def _missing(self, heard: int) -> str:
        """What the file announced but did not hold; empty when it is whole."""
        missing_s = (self._file.frames - heard) / self._rate_hz
        correction = _CORRECTED.search(self._file.extra_info)
        if correction and heard:
            announced, found = (int(size) for size in correction.groups())
            if found and not _STREAMED_SIZE <= announced <= 0xFFFF_FFFF:
                missing_s += (announced - found) / found * heard / self._rate_hz
        if missing_s >= 0.01:  # sloppy writers are a few bytes off
            return f"{missing_s:.2f} s more are announced"
        if self._file.format == "OGG" and not _ogg_is_whole(Path(os.fsdecode(self._file.name))):
            return "the end of the Ogg stream is missing, how much cannot be told"
        return ""


def _open(path: Path) -> Any:
    """The ``soundfile.SoundFile``, checked."""
    import soundfile

    def error(got: str, hint: str = "", expected: str = _EXPECTED) -> SourceError:
        return SourceError(str(path), expected=expected, got=got, hint=hint)

    try:
        if path.is_dir():
            raise error("a directory", "name one file in it")
        if path.exists() and not path.is_file():
            raise error("not a regular file", "pipe 16 kHz mono s16le samples in with '-'")
        with path.open("rb") as file:
            if not file.read(1):
                raise error("an empty file")
    except FileNotFoundError:
        raise error("no such file", "check the path") from None
    except (OSError, ValueError) as cause:  # ValueError: a NUL in the name
        reason = getattr(cause, "strerror", None) or str(cause)
        raise error(reason[:1].lower() + reason[1:], "check the path and its rights") from cause
    try:
        # Absolute, because libsndfile takes "-" for standard input; as bytes, because a name may
        # hold some that are no text.
        file = soundfile.SoundFile(os.fsencode(path.absolute()))
    except soundfile.LibsndfileError as cause:
        reason = cause.error_string.rstrip(".")
        raise error(reason[:1].lower() + reason[1:], _CONVERT.replace("NAME", path.name)) from cause
    except TypeError as cause:  # soundfile asks for rate and channels where the name ends in .raw
        hint = "if it is 16 kHz mono s16le: edge-alm listen - < " + path.name
        raise error("raw samples without a header", hint) from cause
    wrong = None
    if file.frames == 0:
        wrong = error("a header without samples")
    elif not 1 <= file.channels <= MAX_CHANNELS:
        wrong = error(
            f"{file.channels}",
            f"mix it down: ffmpeg -i {path.name} -ac 1 out.wav",
            f"1 to {MAX_CHANNELS} channels",
        )
    elif not MIN_RATE_HZ <= file.samplerate <= MAX_RATE_HZ:
        wrong = error(
            f"{file.samplerate} Hz",
            _CONVERT.replace("NAME", path.name),
            f"{MIN_RATE_HZ} to {MAX_RATE_HZ} Hz",
        )
    if wrong:
        file.close()
        raise wrong
    return file


def to_mono(block: NDArray[np.float32]) -> Samples:
    """The mean of a block's channels: shape [frames, channels] to [frames]."""
    # Column by column: 5 times faster than mean(axis=1), and no sample's sum depends on where
    # in a block it lies.
    mono: Samples = block[:, 0].copy()
    for channel in range(1, block.shape[1]):
        mono += block[:, channel]
    if block.shape[1] > 1:
        mono *= np.float32(1 / block.shape[1])
    return mono


def zero_bad_samples(block: NDArray[np.float32]) -> int:
    """Set what is not audio to 0, in place; how many samples that was."""
    with np.errstate(invalid="ignore"):
        if not block.size or np.abs(block).max() <= MAX_MAGNITUDE:  # false when a NaN is in it
            return 0
        bad = ~(np.abs(block) <= MAX_MAGNITUDE)
    block[bad] = 0
    return int(bad.sum())


def _ogg_is_whole(path: Path) -> bool:
    """Whether the last page of an Ogg file is complete and marked as the last.

    A page (RFC 3533) starts with "OggS", version, flags (4: last page of its stream); byte 26
    counts the segment lengths that follow; it is at most 65,307 bytes long.
    """
    with path.open("rb") as file:
        file.seek(-min(65_307, path.stat().st_size), os.SEEK_END)
        tail = file.read()
    page = tail[max(0, tail.rfind(b"OggS")) :]
    if len(page) < 27 or len(page) < 27 + page[26]:
        return False
    size_bytes = 27 + page[26] + sum(page[27 : 27 + page[26]])
    return bool(page[5] & 4) and len(page) >= size_bytes
