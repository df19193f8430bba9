import numpy as np
import numpy.typing as npt
import pytest

from edge_alm.hearing.gate import BLOCK_SAMPLES, HANGOVER_BLOCKS, SoundGate

BLOCKS_PER_S = 16_000 / BLOCK_SAMPLES


def noise(seconds: float, level_db: float, seed: int = 0) -> npt.NDArray[np.float32]:
    count = int(seconds * BLOCKS_PER_S) * BLOCK_SAMPLES
    samples = np.random.default_rng(seed).standard_normal(count) * 10 ** (level_db / 20)
    return samples.astype(np.float32)


def open_blocks(gate: SoundGate, samples: npt.NDArray[np.float32]) -> list[bool]:
    return [gate.push(block) for block in samples.reshape(-1, BLOCK_SAMPLES)]


@pytest.mark.parametrize("level_db", [-300, -90, -76])
def test_near_silence_never_opens(level_db: float) -> None:
    assert not any(open_blocks(SoundGate(), noise(20, level_db)))


def test_a_stream_that_begins_loud_is_heard() -> None:
    assert open_blocks(SoundGate(), noise(1, -20))[0]


def test_a_steady_background_is_learnt() -> None:
    gate = SoundGate()
    opened = open_blocks(gate, noise(180, -40))
    assert opened[0]
    assert not any(opened[-int(30 * BLOCKS_PER_S) :])


@pytest.mark.parametrize("above_db", [10, 20, 40])
def test_an_event_over_the_background_opens_at_once_and_then_shuts(above_db: float) -> None:
    gate = SoundGate()
    open_blocks(gate, noise(120, -60))
    assert open_blocks(gate, noise(0.2, -60 + above_db, seed=1))[0]
    after = open_blocks(gate, noise(3, -60, seed=2))
    assert after[HANGOVER_BLOCKS - 2]
    assert not any(after[HANGOVER_BLOCKS + 2 :])


def test_a_quiet_beep_in_a_rumble_opens() -> None:
    spectrum = np.fft.rfft(noise(150, -60))
    rumble = np.fft.irfft(spectrum / np.maximum(np.arange(len(spectrum)), 20_000))
    rumble = (rumble * 10 ** (-35 / 20) / np.sqrt(np.mean(rumble**2))).astype(np.float32)
    gate = SoundGate()
    opened = open_blocks(gate, rumble)
    assert not any(opened[-100:])
    block = rumble[-BLOCK_SAMPLES:].copy()
    block += 0.01 * np.sin(2 * np.pi * 3500 * np.arange(BLOCK_SAMPLES) / 16_000)
    assert gate.push(block.astype(np.float32)), "at -43 dBFS, 8 dB under the rumble's level"


def test_level_is_in_dbfs() -> None:
    gate = SoundGate()
    gate.push(noise(0.1, -23)[:BLOCK_SAMPLES])
    assert gate.level_db == pytest.approx(-23, abs=1.0)


def test_reset_forgets_the_background() -> None:
    gate = SoundGate()
    open_blocks(gate, noise(180, -40))
    gate.reset()
    assert open_blocks(gate, noise(1, -40)) == open_blocks(SoundGate(), noise(1, -40))
