"""Scenes of labelled sounds, mixed so that the whole truth about them is known.

A scene is planned first (which labels, how often, near or far), then laid out in time, then
rendered: every event is cut, put into a room, brought to its level and added; noise comes
last and is set against the events. :func:`imagine` stops after the layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_alm.types import SAMPLE_RATE_HZ, Samples
from export.acoustics import (
    FRAME_SAMPLES,
    Codec,
    Noise,
    fade,
    filter_event,
    frame_powers,
    loud_part,
    make_noise,
    make_room,
    pass_band,
    pass_codec,
    rms,
)
from export.corpus import Clip, read_samples, similar

if TYPE_CHECKING:
    Floats: TypeAlias = NDArray[np.float32]
else:
    Floats = Any

Range: TypeAlias = tuple[float, float]

SPEECH = "speech"
MIN_START_GAP_S = 0.7
"""Starts closer than this could not be put in order by hops of 0.48 s."""
REPEAT_GAP_S = 0.6
PAUSE_S = 0.5
"""A pause this long would be heard as the end of one occurrence; shorter than REPEAT_GAP_S."""
MIN_OCCURRENCE_S = 0.3
"""A clip of bursts shorter than this (a clock's ticks) is one sound and cannot be counted."""
FAR_DB = 14.0
MOST_PLACED = 8
RATES_HZ = (8_000, 11_025, 12_000, 22_050, 44_100, 48_000)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Ranges and probabilities of scenes; the defaults are for training. Ranges are uniform."""

    events: tuple[float, ...] = (0.05, 0.2, 0.25, 0.2, 0.15, 0.1, 0.05)
    """Weights of 0, 1, 2, ... different sounds."""
    duration_s: Range = (4.0, 20.0)
    """Events that do not fit into the longest are left out."""
    gap_s: Range = (0.3, 3.0)
    longest_event_s: float = 5.0
    overlap: float = 0.25
    """Probability that two neighbours overlap, by up to half of the shorter one."""
    repeat: float = 0.25
    """Probability that one of the sounds comes 2 to 5 times."""
    speech: float = 0.2
    """Probability that one of the sounds is speech, where there are clips of it."""
    near_far: float = 0.12
    """Probability of a near and a far sound, half of the time of the same clip."""
    spread_db: float = 30.0
    """Range of the levels (RMS) of the sounds."""
    loudest_db: Range = (-34.0, -14.0)
    """RMS of the loudest, dBFS; less where its peaks would clip."""
    reverb: float = 0.4
    rt60_s: Range = (0.1, 1.0)
    wet: Range = (0.1, 0.7)
    """Share of the reverberation in the amplitude."""
    noise: tuple[Noise, ...] = ("white", "pink", "brown", "hum", "room tone")
    """One of them in every scene; empty: no noise."""
    snr_db: Range = (-5.0, 40.0)
    """Power of the events while they sound against the noise; densest at 3/4 of the range."""
    audible_db: float | None = 6.0
    """Noise is lowered until every event's loud part is this far above it; None: never."""
    alone_db: Range = (-75.0, -30.0)
    """RMS of noise in scenes without an event, dBFS."""
    band: float = 0.25
    """Probability that the scene passed through another sample rate."""
    codec: float = 0.15
    codecs: tuple[Codec, ...] = ("mulaw", "vorbis", "mp3")

    @classmethod
    def training(cls) -> Recipe:
        """Everything, 4 to 20 s."""
        return cls()

    @classmethod
    def clean(cls) -> Recipe:
        """1 to 4 sounds one after the other in mild noise, 5 to 20 s."""
        return cls(
            events=(0, 1, 1, 1, 1),
            duration_s=(5.0, 20.0),
            overlap=0.0,
            speech=0.0,
            near_far=0.0,
            spread_db=15.0,
            loudest_db=(-26.0, -16.0),
            reverb=0.0,
            noise=("white", "pink", "room tone"),
            snr_db=(20.0, 40.0),
            band=0.0,
            codec=0.0,
        )

    @classmethod
    def long(cls) -> Recipe:
        """Ten minutes of room tone with exactly one event."""
        return cls(
            events=(0, 1),
            duration_s=(600.0, 600.0),
            gap_s=(5.0, 60.0),
            repeat=0.0,
            near_far=0.0,
            reverb=0.2,
            noise=("room tone",),
            snr_db=(15.0, 40.0),
            band=0.0,
            codec=0.0,
        )

    @classmethod
    def empty(cls, kind: Literal["silence", "room tone", "white noise"]) -> Recipe:
        """No event: zeros, room tone or white noise."""
        noise: dict[str, tuple[Noise, ...]] = {
            "silence": (),
            "room tone": ("room tone",),
            "white noise": ("white",),
        }
        alone_db = (-50.0, -20.0) if kind == "white noise" else (-70.0, -45.0)
        return cls(events=(1,), noise=noise[kind], alone_db=alone_db, band=0.0, codec=0.0)


@dataclass(frozen=True, slots=True)
class Placed:
    """A sound in a scene."""

    label: str
    start_s: float
    end_s: float
    """Without the reverberation after it."""
    level_db: float
    """RMS from start to end of the sound as mixed, dBFS, before any codec."""
    text: str = ""
    """Words spoken."""
    attribute: str = ""
    """"near" or "far" where the composer made it so."""
    source: str = ""
    """The recording that its clip came from."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A recording and all that is heard in it."""

    samples: Samples
    """Shape [n], float32, 16 kHz, within [-1, 1]."""
    timeline: tuple[Placed, ...]
    """By start."""
    duration_s: float


@dataclass(frozen=True, slots=True)
class Stems:
    """A scene before it is summed."""

    parts: tuple[tuple[int, Floats], ...]
    """First sample and samples (with reverberation) of each event, in the timeline's order."""
    noise: Floats
    """Shape [n]: as long as the scene."""
    timeline: tuple[Placed, ...]

    def mix(self) -> Floats:
        """The sum, cut at the scene's end."""
        samples: Floats = self.noise.copy()
        for start, part in self.parts:
            end = min(start + len(part), len(samples))
            samples[start:end] += part[: end - start]
        return samples


@dataclass(frozen=True, slots=True)
class _Planned:
    label: str
    gain_db: float
    attribute: str = ""
    clip: Clip | None = None
    length_samples: int = 0


@dataclass(frozen=True, slots=True)
class _Laid:
    """What is placed, where it starts, and how many samples the scene has."""

    planned: tuple[_Planned, ...]
    starts: tuple[int, ...]
    total_samples: int


def compose(
    rng: np.random.Generator,
    clips: Sequence[Clip],
    recipe: Recipe = Recipe(),
) -> Scene:
    """A scene of clips; the same generator state, clips and recipe give the same samples.

    Labels in a scene are pairwise not ``similar``, except repeats. Speech comes at most once
    and whole; other clips are cut to 5 s at most. Raises what reading a clip raises.
    """
    stems = render(rng, clips, recipe)
    samples = stems.mix()
    if rng.random() < recipe.codec:
        samples = pass_codec(samples, recipe.codecs[int(rng.integers(len(recipe.codecs)))])
    samples = np.clip(samples, -1.0, 1.0).astype(np.float32, copy=False)
    return Scene(samples, stems.timeline, len(samples) / SAMPLE_RATE_HZ)


def imagine(
    rng: np.random.Generator,
    labels: Sequence[str],
    recipe: Recipe = Recipe(),
) -> tuple[tuple[Placed, ...], float]:
    """A timeline without samples, and its duration in seconds.

    Events last 0.3 s to the recipe's longest, evenly on a logarithmic scale.
    """
    planned = []
    for item in _plan(rng, labels, recipe):
        length_s = 0.3 * (recipe.longest_event_s / 0.3) ** rng.random()
        planned.append(replace(item, length_samples=round(length_s * SAMPLE_RATE_HZ)))
    laid = _lay_out(rng, planned, recipe)
    loudest_db = rng.uniform(*recipe.loudest_db)
    levels_db = [loudest_db + item.gain_db for item in laid.planned]
    return _timeline(laid, levels_db), laid.total_samples / SAMPLE_RATE_HZ


def render(rng: np.random.Generator, clips: Sequence[Clip], recipe: Recipe) -> Stems:
    """The parts of a scene, scaled so that their sum stays within [-1, 1]."""
    by_label: dict[str, list[Clip]] = {}
    for clip in clips:
        by_label.setdefault(clip.label, []).append(clip)
    planned, dry = _cut(rng, _plan(rng, list(by_label), recipe), by_label, recipe)
    laid = _lay_out(rng, planned, recipe)
    dry = dry[: len(laid.planned)]
    rate_hz = RATES_HZ[int(rng.integers(len(RATES_HZ)))] if rng.random() < recipe.band else None
    if rate_hz:
        narrow = [pass_band(event, rate_hz) for event in dry]
        # A cricket loses all it has at 8 kHz; such a scene keeps its band.
        if all(rms(a) > 0.5 * rms(b) for a, b in zip(narrow, dry, strict=True)):
            dry = narrow
        else:
            rate_hz = None
    parts = _reverberate(rng, dry, laid.planned, recipe)
    gains = [10 ** (item.gain_db / 20) for item in laid.planned]
    parts = [
        part * np.float32(gain / max(rms(part[: len(event)]), 1e-9))
        for part, event, gain in zip(parts, dry, gains, strict=True)
    ]
    placed = list(zip(laid.starts, parts, strict=True))
    noise = make_noise(rng, recipe.noise, laid.total_samples)
    if rate_hz:
        noise = pass_band(noise, rate_hz)
    snr_db = rng.triangular(
        recipe.snr_db[0],
        0.25 * recipe.snr_db[0] + 0.75 * recipe.snr_db[1],
        recipe.snr_db[1] + 1e-9,
    )
    if placed:
        sounding = sum(len(event) for event in dry)
        power = sum(len(e) * gain**2 for e, gain in zip(dry, gains, strict=True)) / sounding
        level = np.sqrt(power) * 10 ** (-snr_db / 20)
        if recipe.audible_db is not None:
            quietest = min(loud_part(part[: len(e)]) for part, e in zip(parts, dry, strict=True))
            level = min(level, quietest * 10 ** (-recipe.audible_db / 20))
        top_db = rng.uniform(*recipe.loudest_db) - max(item.gain_db for item in laid.planned)
    else:
        level, top_db = 1.0, rng.uniform(*recipe.alone_db)
    noise *= np.float32(level / max(rms(noise), 1e-9))
    scale = 10 ** (top_db / 20)
    peak = float(np.max(np.abs(Stems(tuple(placed), noise, ()).mix())))
    scale = np.float32(min(scale, 0.98 / max(peak, 1e-9)))
    placed = [(start, part * scale) for start, part in placed]
    levels_db = [
        20 * float(np.log10(max(rms(part[: len(event)]), 1e-9)))
        for (_, part), event in zip(placed, dry, strict=True)
    ]
    return Stems(tuple(placed), noise * scale, _timeline(laid, levels_db))


def _plan(rng: np.random.Generator, labels: Sequence[str], recipe: Recipe) -> list[_Planned]:
    """Which labels come, in which order, at which gain (dB, 0 at most)."""
    weights = np.asarray(recipe.events, dtype=np.float64)
    count = int(rng.choice(len(weights), p=weights / weights.sum()))
    chosen: list[str] = []
    if count and SPEECH in labels and rng.random() < recipe.speech:
        chosen.append(SPEECH)
    for index in rng.permutation(len(labels)):
        if len(chosen) == count:
            break
        label = labels[index]
        if label != SPEECH and not any(similar(label, other) for other in chosen):
            chosen.append(label)
    rng.shuffle(chosen)
    groups = [[_Planned(label, -rng.uniform(0, recipe.spread_db))] for label in chosen]
    usual = [i for i, label in enumerate(chosen) if label != SPEECH]
    if usual and rng.random() < recipe.near_far:
        _make_near_and_far(rng, groups, usual)
    elif usual and rng.random() < recipe.repeat:
        group = groups[usual[int(rng.integers(len(usual)))]]
        first = group[0]
        for _ in range(int(rng.integers(1, 5))):
            gain_db = min(0.0, first.gain_db + rng.uniform(-3, 3))
            group.append(replace(first, gain_db=gain_db))
    planned = [item for group in groups for item in group][:MOST_PLACED]
    if len(planned) > len(groups) and rng.random() < 0.4:
        order = rng.permutation(len(planned))
        planned = [planned[i] for i in order]
    return planned


def _make_near_and_far(
    rng: np.random.Generator, groups: list[list[_Planned]], usual: Sequence[int]
) -> None:
    """Turn two of the sounds, or one into two, into a near and a far one."""
    near_db = -rng.uniform(0, 6)
    far_db = near_db - FAR_DB - rng.uniform(0, 8)
    roles = [("near", near_db), ("far", far_db)]
    rng.shuffle(roles)
    if len(usual) > 1 and rng.random() < 0.5:
        for index, (attribute, gain_db) in zip(
            rng.choice(len(usual), 2, replace=False), roles, strict=True
        ):
            group = groups[usual[int(index)]]
            group[0] = replace(group[0], attribute=attribute, gain_db=gain_db)
    else:
        group = groups[usual[int(rng.integers(len(usual)))]]
        group[:] = [replace(group[0], attribute=a, gain_db=g) for a, g in roles]


def _cut(
    rng: np.random.Generator,
    planned: Sequence[_Planned],
    by_label: dict[str, list[Clip]],
    recipe: Recipe,
) -> tuple[list[_Planned], list[Floats]]:
    """Clips for what is planned, and their samples, faded at both ends."""
    room_s = 0.7 * recipe.duration_s[1] / max(1, len(planned))
    longest_s = max(MIN_OCCURRENCE_S, min(recipe.longest_event_s, room_s))
    same_clip = rng.random() < 0.5
    done: dict[str, list[tuple[_Planned, Floats]]] = {}
    filled: list[_Planned] = []
    cut: list[Floats] = []
    labels = [item.label for item in planned]
    uncountable: set[str] = set()
    for item in planned:
        if item.label in uncountable:
            continue
        earlier = done.setdefault(item.label, [])
        if earlier and (same_clip or item.attribute):
            first, samples = earlier[0]
            clip = first.clip
        else:
            candidates, repeated = by_label[item.label], labels.count(item.label) > 1
            found = _read(rng, candidates, recipe, longest_s, repeated)
            if found is None and repeated and not earlier:
                uncountable.add(item.label)
                found = _read(rng, candidates, recipe, longest_s, False)
            if found is None:
                continue
            clip, samples = found
        item = replace(item, clip=clip, length_samples=len(samples))
        earlier.append((item, samples))
        filled.append(item)
        cut.append(samples)
    return filled, cut


def _read(
    rng: np.random.Generator,
    clips: Sequence[Clip],
    recipe: Recipe,
    longest_s: float,
    repeated: bool,
) -> tuple[Clip, Floats] | None:
    """One of the clips as an event; None when eight of them do not do."""
    for index in rng.permutation(len(clips))[:8]:
        clip = clips[index]
        if clip.label == SPEECH:
            # Half a sentence would make its text a lie.
            samples = read_samples(clip, 3 * recipe.longest_event_s)
            if len(samples) > recipe.longest_event_s * SAMPLE_RATE_HZ:
                continue
            return clip, samples
        samples, countable = occurrence(read_samples(clip))
        if repeated and not countable:
            continue
        limit_s = rng.uniform(min(1.0, longest_s), longest_s)
        samples = samples[: round(limit_s * SAMPLE_RATE_HZ)]
        # Cut in a pause, the event would end in silence.
        power = frame_powers(samples)
        last = int(np.flatnonzero(power >= power.max() * 1e-4)[-1])
        return clip, fade(samples[: (last + 1) * FRAME_SAMPLES])
    return None


def occurrence(samples: Floats) -> tuple[Floats, bool]:
    """The sound once, and whether it can be counted.

    Where pauses of PAUSE_S divide a clip, the loudest piece is one occurrence (a bark of
    three). Pieces shorter than MIN_OCCURRENCE_S are left together as one sound that cannot be
    counted (a ticking clock).
    """
    power = frame_powers(samples)
    active = np.flatnonzero(power > power.max() * 10**-2.5)
    pause = round(PAUSE_S * SAMPLE_RATE_HZ / FRAME_SAMPLES)
    breaks = np.flatnonzero(np.diff(active) > pause)
    if not len(breaks):
        return samples, True
    firsts = active[np.concatenate(([0], breaks + 1))]
    lasts = active[np.concatenate((breaks, [len(active) - 1]))]
    best = int(np.argmax([power[a : b + 1].sum() for a, b in zip(firsts, lasts, strict=True)]))
    start = max(0, (firsts[best] - 1) * FRAME_SAMPLES)
    end = (lasts[best] + 2) * FRAME_SAMPLES
    if end - start < MIN_OCCURRENCE_S * SAMPLE_RATE_HZ:
        return samples, False
    return samples[start:end], True


def _lay_out(rng: np.random.Generator, planned: Sequence[_Planned], recipe: Recipe) -> _Laid:
    """Starts by gaps and overlaps; what does not fit into the longest scene is left out."""
    longest = round(recipe.duration_s[1] * SAMPLE_RATE_HZ)
    kept: list[_Planned] = []
    starts: list[int] = []
    ends: dict[str, int] = {}
    end = 0
    overlapped = False
    for item in planned:
        start = end
        if kept:
            before = kept[-1]
            overlap_samples = 0
            if _may_overlap(before, item) and not overlapped and rng.random() < recipe.overlap:
                shorter = min(before.length_samples, item.length_samples)
                overlap_samples = round(shorter * rng.uniform(0.1, 0.5))
            gap_s = rng.uniform(*recipe.gap_s)
            start += -overlap_samples if overlap_samples else round(gap_s * SAMPLE_RATE_HZ)
            start = max(start, starts[-1] + round(MIN_START_GAP_S * SAMPLE_RATE_HZ))
            if item.label in ends:
                start = max(start, ends[item.label] + round(REPEAT_GAP_S * SAMPLE_RATE_HZ))
            overlapped = start < end
            if overlapped:
                # Under a much louder sound the other would not be heard.
                low, high = before.gain_db - 6, min(0.0, before.gain_db + 6)
                item = replace(item, gain_db=float(np.clip(item.gain_db, low, high)))
        if start + item.length_samples > longest and kept:
            break
        kept.append(item)
        starts.append(start)
        ends[item.label] = start + item.length_samples
        end = max(end, ends[item.label])
    if sum(1 for item in kept if item.attribute) == 1:
        kept = [replace(item, attribute="") for item in kept]
    total = round(rng.uniform(*recipe.duration_s) * SAMPLE_RATE_HZ)
    # Half a second around the events where there is room for it.
    total = max(total, min(longest, end + SAMPLE_RATE_HZ), end)
    lead = int(rng.integers(0, total - end + 1))
    return _Laid(tuple(kept), tuple(start + lead for start in starts), total)


def _may_overlap(a: _Planned, b: _Planned) -> bool:
    return a.label != b.label and not (a.attribute or b.attribute)


def _timeline(laid: _Laid, levels_db: Sequence[float]) -> tuple[Placed, ...]:
    return tuple(
        Placed(
            label=item.label,
            start_s=start / SAMPLE_RATE_HZ,
            end_s=(start + item.length_samples) / SAMPLE_RATE_HZ,
            level_db=level_db,
            text=item.clip.text if item.clip else "",
            attribute=item.attribute,
            source=item.clip.source if item.clip else "",
        )
        for item, start, level_db in zip(laid.planned, laid.starts, levels_db, strict=True)
    )


def _reverberate(
    rng: np.random.Generator,
    dry: Sequence[Floats],
    planned: Sequence[_Planned],
    recipe: Recipe,
) -> list[Floats]:
    """Every event in the scene's room, longer by its reverberation; far ones mostly so."""
    roomy = rng.random() < recipe.reverb
    any_far = any(item.attribute == "far" for item in planned)
    if not (roomy or any_far):
        return [*dry]
    low_s, high_s = recipe.rt60_s
    room = make_room(rng, rng.uniform(max(low_s, min(0.4, high_s)) if any_far else low_s, high_s))
    wet = rng.uniform(*recipe.wet) if roomy else 0.0
    parts = []
    for event, item in zip(dry, planned, strict=True):
        if item.attribute == "far":
            parts.append(filter_event(event, room, rng.uniform(0.8, 0.95), rng.uniform(900, 1_800)))
        elif item.attribute == "near" or not roomy:
            parts.append(event)
        else:
            parts.append(filter_event(event, room, wet))
    return parts
