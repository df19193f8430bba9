"""What is said of a machine, on trees of files as kernels show them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_alm.bench.machine import (
    Machine,
    State,
    find_faults,
    hottest_c,
    is_watched,
    mean_mhz,
    parse_pi,
    read_machine,
    read_state,
    to_dict,
)

MACHINES = Path(__file__).resolve().parents[2] / "data" / "machines"
NAMES = ("raspberry-pi-5", "jetson-orin-nano", "laptop", "virtual")


def no_pi() -> None:
    return None


def state_of(name: str) -> State:
    return read_state(MACHINES / name, no_pi)


def test_a_raspberry_pi() -> None:
    board = read_machine(MACHINES / "raspberry-pi-5")
    assert board.model == "Raspberry Pi 5 Model B Rev 1.0"
    assert board.cpu == "4 x Cortex-A76"
    assert board.features == ("asimd", "asimddp", "asimdhp")
    assert board.memory_mb == 4248
    state = read_state(MACHINES / "raspberry-pi-5", lambda: "throttled=0x50005\n")
    assert state.governors == ("ondemand",)
    assert state.mhz == (1500.0,)
    assert state.ceiling == 1.0
    assert state.temperatures_c == {"cpu-thermal": 52.35}
    assert state.throttles is None
    assert state.cooled == (), "a fan slows nothing down"
    assert state.load == 0.1
    assert state.pi == (
        "under-voltage now",
        "throttled now",
        "under-voltage since it started",
        "throttled since it started",
    )


def test_a_jetson_that_is_held_down() -> None:
    board, state = read_machine(MACHINES / "jetson-orin-nano"), state_of("jetson-orin-nano")
    assert board.model == "NVIDIA Jetson Orin Nano Developer Kit"
    assert board.cpu == "6 x Cortex-A78AE"
    assert state.mhz == (1190.4, 1190.4)
    assert state.ceiling == pytest.approx(0.788)
    assert state.cooled == ("cpufreq-cpu0",), "the GPU's clock is another thing"
    assert set(state.temperatures_c) == {"cpu-thermal", "gpu-thermal", "tj-thermal"}
    told = find_faults(board, state, state)
    assert [line for line in told if "the clock may reach 79%" in line]
    assert len([line for line in told if "cpufreq-cpu0" in line]) == 2


def test_a_laptop() -> None:
    board, state = read_machine(MACHINES / "laptop"), state_of("laptop")
    assert (board.model, board.cpu) == ("LENOVO 20L5", "Intel(R) Core(TM) i5-8250U CPU @ 1.60GHz")
    assert board.features == ("avx", "avx2", "f16c", "fma", "sse4_2")
    # Two cores once each, and their package seven times, which all of them show.
    assert state.throttles == 9
    assert state.cooled == (), "a powerclamp at -1 is off"
    assert state.pi is None
    assert find_faults(board, state, state) == []
    hot = replace(state, throttles=12)
    assert find_faults(board, state, hot) == ["the CPU throttled 3 times while it was measured"]


def test_where_nothing_is_told_nothing_is_said() -> None:
    state = state_of("virtual")
    assert (state.governors, state.mhz, state.ceiling) == ((), (), None)
    assert (state.temperatures_c, state.throttles, state.pi) == ({}, None, None)
    assert not is_watched(state)
    assert all(is_watched(state_of(name)) for name in NAMES[:3])
    assert read_machine(MACHINES / "virtual").features == ("avx2", "avx512_vnni", "avx512f", "fma")


def test_other_work_is_told() -> None:
    busy = state_of("virtual")
    (told,) = find_faults(replace(read_machine(MACHINES / "virtual"), cores=2), busy, busy)
    assert "a load of 3.5 on 2 cores" in told
    quiet = replace(busy, load=0.1)
    board = replace(read_machine(MACHINES / "virtual"), cores=2)
    assert find_faults(board, quiet, busy) == [], "the load in the end is our own"


def test_an_empty_tree_is_a_machine_too(tmp_path: Path) -> None:
    board, state = read_machine(tmp_path), read_state(tmp_path, no_pi)
    assert (board.model, board.features, board.memory_mb) == ("", (), None)
    assert state == State((), (), None, {}, None, (), None, None)
    assert (hottest_c(tmp_path), mean_mhz(tmp_path)) == (None, None)
    assert find_faults(board, state, state) == []


def test_this_machine_can_be_read() -> None:
    assert read_machine().cores >= 1
    assert isinstance(read_state(), State)


def test_over_time() -> None:
    assert hottest_c(MACHINES / "jetson-orin-nano") == pytest.approx(59.312)
    assert mean_mhz(MACHINES / "laptop") == 800.0


@pytest.mark.parametrize("name", NAMES)
def test_json_takes_it(name: str) -> None:
    for part in (read_machine(MACHINES / name), state_of(name)):
        assert isinstance(part, Machine | State)
        assert json.loads(json.dumps(to_dict(part))).keys() == to_dict(part).keys()


@pytest.mark.parametrize("text", ["", "No data available", "-", "nan?", "\0\0"])
def test_sensors_that_say_nothing_are_left_out(text: str, tmp_path: Path) -> None:
    for name in NAMES:
        root = Path(shutil.copytree(MACHINES / name, tmp_path / name))
        for path in root.rglob("*"):
            if path.is_file():
                path.write_text(text, encoding="utf-8")
        state = read_state(root, no_pi)
        assert (state.mhz, state.ceiling, state.temperatures_c) == ((), None, {})
        assert state.cooled == ()
        read_machine(root)


@given(st.integers(0, 0xFFFFFFFF))
def test_every_bit_of_a_pi_is_told_once(bits: int) -> None:
    told = parse_pi(f"throttled={bits:#x}")
    assert told is not None
    assert len(told) == (bits & 0xF000F).bit_count()
    assert len(set(told)) == len(told)


@pytest.mark.parametrize("text", ["", "throttled=", "throttled=0xg", "error=1", "VCHI failed"])
def test_what_no_pi_says(text: str) -> None:
    assert parse_pi(text) is None
