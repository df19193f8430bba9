"""Every meter on a tree as it is documented, and on trees with something wrong."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_alm.bench.meters.battery import Battery
from edge_alm.bench.meters.external import ExternalMeter, parse_line
from edge_alm.bench.meters.find import find_meter
from edge_alm.bench.meters.jetson import Ina3221, choose_rails
from edge_alm.bench.meters.meter import Meter, MeterError, Reading
from edge_alm.bench.meters.rapl import HINT, Rapl, joules_between
from edge_alm.bench.meters.raspberry import Pmic, parse_rails
from edge_alm.errors import DeviceError, UsageError

POWER = Path(__file__).resolve().parents[2] / "data" / "power"
PMIC_LINES = (POWER / "raspberry-pi-5" / "pmic_read_adc.txt").read_text(encoding="utf-8")
PATIENCE_S = 200.0
RANGE_UJ = 262_143_328_850
ORIN_NANO_W = 4.96 * 0.9
AGX_ORIN_W = 19.0 * 0.12 + 19.0 * 0.04 + 5.0 * 0.6


@pytest.fixture(scope="module", autouse=True)
def _no_board() -> Iterator[None]:
    """On a Raspberry Pi its own meter would be found first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edge_alm.bench.meters.raspberry.shutil.which", lambda _name: None)
        yield


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a tree, for changes."""
    return lambda name: Path(shutil.copytree(POWER / name, tmp_path / name))


def value(meter: Meter | None) -> float:
    assert meter is not None
    (reading,) = meter.read()
    return reading.value


@pytest.mark.parametrize(
    ("name", "watts", "scope"),
    [
        ("jetson-orin-nano", ORIN_NANO_W, "VDD_IN"),
        ("jetson-agx-orin", AGX_ORIN_W, "VDD_CPU_CV + VDD_GPU_SOC + VIN_SYS_5V0"),
        ("laptop", 6.27, "battery"),
        ("glasses", 3.85 * 0.12, "battery"),
    ],
)
def test_watts_of_a_documented_tree(name: str, watts: float, scope: str) -> None:
    meter, reasons = find_meter(sysfs=POWER / name)
    assert meter is not None
    assert not reasons
    assert meter.quantity == "watts"
    assert scope in meter.scope
    assert value(meter) == pytest.approx(watts)
    meter.close()


def test_a_machine_without_meters_has_none(tmp_path: Path) -> None:
    assert find_meter(sysfs=tmp_path) == (None, [])
    assert find_meter("none", POWER / "laptop") == (None, [])


def test_a_choice_is_kept_to(tmp_path: Path) -> None:
    assert isinstance(find_meter("battery", POWER / "laptop")[0], Battery)
    with pytest.raises(MeterError, match="expected one on this machine"):
        find_meter("rapl", tmp_path)
    with pytest.raises(UsageError, match="ina3221, pmic, rapl, battery or serial:PATH"):
        find_meter("multimeter", tmp_path)
    with pytest.raises(DeviceError, match="No such file"):
        find_meter("serial:/dev/no-such-line", tmp_path)


# Jetson


def test_a_total_rail_stands_for_all() -> None:
    assert choose_rails(["VDD_SOC", "VDD_IN", "VDD_CPU_GPU_CV"]) == ["VDD_IN"]
    assert choose_rails(["GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"]) == sorted(
        ["GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"]
    )
    # What feeds it is not measured here: nothing would be counted twice.
    assert choose_rails(["VDDQ_VDD2_1V8AO"]) == ["VDDQ_VDD2_1V8AO"]


def test_a_chip_without_labels_is_told(tree: Callable[[str], Path]) -> None:
    sysfs = tree("jetson-orin-nano")
    for path in sysfs.glob("class/hwmon/hwmon1/in[123]_label"):
        path.unlink()
    meter, (reason,) = find_meter(sysfs=sysfs)
    assert meter is None
    assert "expected a rail with a label" in reason


# Raspberry Pi


def test_rails_are_paired_by_name() -> None:
    watts = parse_rails(PMIC_LINES)
    assert len(watts) == 12
    assert watts["VDD_CORE"] == pytest.approx(1.5 * 0.75)
    assert watts["0V8_SW"] == pytest.approx(0.35 * 0.8)
    assert not {"EXT5V", "BATT"} & watts.keys()
    assert value(Pmic(lambda: PMIC_LINES)) == pytest.approx(sum(watts.values()))
    backwards = "\n".join(reversed(PMIC_LINES.splitlines()))
    assert parse_rails(backwards) == pytest.approx(watts)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('error=1 error_msg="Command not registered"', "Command not registered"),
        ("", "as on a Raspberry Pi 5"),
        (PMIC_LINES.replace("VDD_CORE_V", "VDD_COLD_V"), "no volts of VDD_CORE"),
        (PMIC_LINES.replace("=1.50000000A", "=?A"), r"VDD_CORE_A: expected a number, got '\?'"),
        (PMIC_LINES.replace("=1.50000000A", "=nanA"), "VDD_CORE_A: expected a number"),
    ],
)
def test_lines_of_another_form_are_refused(text: str, words: str) -> None:
    with pytest.raises(MeterError, match=words):
        Pmic(lambda: text).read()


# RAPL


def set_counter(sysfs: Path, package: int, energy_uj: object) -> None:
    path = sysfs / "class" / "powercap" / f"intel-rapl:{package}" / "energy_uj"
    path.write_text(f"{energy_uj}\n", encoding="utf-8")


def test_only_packages_count_and_a_counter_wraps_around(tree: Callable[[str], Path]) -> None:
    sysfs = tree("rapl")
    meter, _ = find_meter(sysfs=sysfs)
    assert isinstance(meter, Rapl)
    assert meter.quantity == "joules"
    assert value(meter) == 0.0
    set_counter(sysfs, 0, 1_000_000)  # 0.32885 J to the end of the range, then 1 J
    set_counter(sysfs, 1, 7_000_000)
    for part in ("intel-rapl:0:0", "intel-rapl:2", "intel-rapl-mmio:0"):
        (sysfs / "class" / "powercap" / part / "energy_uj").write_text("99000000\n")
    assert value(meter) == pytest.approx(0.32885 + 1.0 + 2.0)


@settings(deadline=None)
@given(st.lists(st.integers(0, 60_000_000_000), min_size=1, max_size=20))
def test_no_joule_is_lost_in_a_wrap(steps_uj: list[int]) -> None:
    total_uj, joules = 0, 0.0
    for step_uj in steps_uj:
        before_uj, total_uj = total_uj, total_uj + step_uj
        joules += joules_between(before_uj % RANGE_UJ, total_uj % RANGE_UJ, RANGE_UJ)
    assert joules == pytest.approx(total_uj * 1e-6)


def test_a_reset_counter_is_told_and_then_goes_on(tree: Callable[[str], Path]) -> None:
    sysfs = tree("rapl")
    set_counter(sysfs, 1, 100_000_000)
    meter = Rapl.find(sysfs)
    assert meter is not None
    set_counter(sysfs, 1, 0)
    with pytest.raises(MeterError, match="expected a counter that counts"):
        meter.read()
    before = value(meter)
    set_counter(sysfs, 1, 3_000_000)
    assert value(meter) - before == pytest.approx(3.0)


def test_a_counter_for_root_only_is_one_line(
    tree: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    sysfs = tree("rapl")
    real = Path.read_text

    def refuse(path: Path, *args: str, **kwargs: str) -> str:
        if path.name == "energy_uj":  # root, who may run this, could read it in any mode
            raise PermissionError(13, "Permission denied")
        return real(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", refuse)
    meter, (reason,) = find_meter(sysfs=sysfs)
    assert meter is None
    assert "Permission denied" in reason
    assert HINT in reason
    assert "\n" not in reason


# Battery


@pytest.mark.parametrize("status", ["Charging", "Full", "Not charging", "Unknown"])
def test_a_battery_that_is_not_discharged_says_nothing(
    status: str, tree: Callable[[str], Path]
) -> None:
    sysfs = tree("laptop")
    meter = Battery.find(sysfs)
    (sysfs / "class" / "power_supply" / "BAT0" / "status").write_text(f"{status}\n")
    with pytest.raises(MeterError, match=f"BAT0: expected Discharging, got {status}"):
        value(meter)
    assert find_meter(sysfs=sysfs)[0] is None


# What can be wrong with any file


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("jetson-orin-nano", "class/hwmon/hwmon1/curr1_input"),
        ("jetson-agx-orin", "class/hwmon/hwmon3/in3_input"),
        ("rapl", "class/powercap/intel-rapl:1/energy_uj"),
        ("rapl", "class/powercap/intel-rapl:0/max_energy_range_uj"),
        ("laptop", "class/power_supply/BAT0/power_now"),
        ("glasses", "class/power_supply/battery/current_now"),
    ],
)
@pytest.mark.parametrize("content", [None, "", "none", "nan", "12 mA"])
def test_a_file_that_is_missing_or_no_number_is_told(
    name: str, path: str, content: str | None, tree: Callable[[str], Path]
) -> None:
    sysfs = tree(name)
    running = find_meter(sysfs=sysfs)[0]
    if content is None:
        (sysfs / path).unlink()
        if path.endswith("power_now"):
            path = path.replace("power_now", "current_now")  # which it has not either
    else:
        (sysfs / path).write_text(content + "\n", encoding="utf-8")
    meter, (reason,) = find_meter(sysfs=sysfs)
    assert meter is None
    assert path in reason
    assert ("expected a file to read" if content is None else "expected a number") in reason
    if not path.endswith("max_energy_range_uj"):  # read once
        with pytest.raises(MeterError, match=path.rpartition("/")[2]):
            value(running)


# A meter on the bench


@pytest.fixture
def bench() -> Iterator[tuple[BinaryIO, ExternalMeter]]:
    """The meter's end of a pipe, and ours: what is written is there at once."""
    near, far = os.pipe()
    os.set_blocking(near, False)
    meter = ExternalMeter(near, "pipe")
    with os.fdopen(far, "wb", buffering=0) as file:
        yield file, meter
    meter.close()
    meter.close()


def test_a_serial_line_is_read() -> None:
    far, near = os.openpty()
    meter, reasons = find_meter(f"serial:{os.ttyname(near)}@9600")
    assert meter is not None
    assert not reasons
    os.write(far, b"...\n0.0,5.0,0.5\n")
    readings: list[Reading] = []
    deadline_s = time.monotonic() + PATIENCE_S
    while not readings and time.monotonic() < deadline_s:
        readings = meter.read()
    assert [r.value for r in readings] == [2.5]
    meter.close()
    os.close(near)
    os.close(far)


@pytest.mark.parametrize(("name", "watts"), [("watts", [5.0]), ("volts_amps", [2.0, 2.25])])
def test_lines_of_both_forms(
    name: str, watts: list[float], bench: tuple[BinaryIO, ExternalMeter]
) -> None:
    far, meter = bench
    far.write(b"the end of a line\n" + (POWER / "bench" / f"{name}.csv").read_bytes())
    readings = meter.read()
    assert [r.value for r in readings] == pytest.approx(watts * (20 // len(watts)))
    seconds = [b.at_s - a.at_s for a, b in pairwise(readings)]
    assert seconds == pytest.approx([0.1] * 19)
    assert meter.read() == []


def test_a_bad_line_is_told_and_no_other_is_lost(bench: tuple[BinaryIO, ExternalMeter]) -> None:
    far, meter = bench
    far.write(b"...\r\n0.0,1.0\r\n0.1,1.0x\r\n0.2,3.0\r\n0.3,")
    assert [r.value for r in meter.read()] == [1.0]
    with pytest.raises(MeterError, match=r"expected a number, got .1\.0x"):
        meter.read()
    assert [r.value for r in meter.read()] == [3.0]
    far.write(b"4.0\n0.4,1,2,3\n")
    assert [r.value for r in meter.read()] == [4.0]
    with pytest.raises(MeterError, match="expected time,volts,amps"):
        meter.read()


def test_a_meter_that_starts_anew_begins_now(bench: tuple[BinaryIO, ExternalMeter]) -> None:
    far, meter = bench
    far.write(b"...\n900.0,1.0\n")
    (before,) = meter.read()
    far.write(b"0.0,1.0\n")
    (after,) = meter.read()
    assert 0.0 <= after.at_s - before.at_s < PATIENCE_S


def test_lines_that_waited_keep_their_times(bench: tuple[BinaryIO, ExternalMeter]) -> None:
    """However late the reader is, and wherever its reads cut the stream."""
    far, meter = bench
    far.write(b"...\n" + b"".join(b"%d,1.0\n" % i for i in range(60)))
    readings = meter.read()
    far.write(b"".join(b"%d,1.0\n" % i for i in range(55, 60)))  # begins anew, five lines late
    readings += meter.read()
    at_s = [r.at_s for r in readings]
    assert [b - a for a, b in pairwise(at_s[:60])] == pytest.approx([1.0] * 59)
    assert [b - a for a, b in pairwise(at_s[60:])] == pytest.approx([1.0] * 4)
    assert at_s[-1] <= time.monotonic()


def test_a_meter_that_is_pulled_out_is_told(bench: tuple[BinaryIO, ExternalMeter]) -> None:
    far, meter = bench
    far.write(b"...\n0.0,1.0\n")
    meter.read()
    far.close()
    with pytest.raises(MeterError, match="expected a meter at its other end"):
        meter.read()


def test_noise_without_a_line_is_told(bench: tuple[BinaryIO, ExternalMeter]) -> None:
    far, meter = bench
    for _ in range(8):
        far.write(b"\x00" * 512)
        assert meter.read() == []
    far.write(b"\x00")
    with pytest.raises(MeterError, match="expected lines"):
        meter.read()


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_line_is_a_reading_a_heading_or_an_error(line: str) -> None:
    try:
        found = parse_line(line)
    except MeterError:
        return
    assert found is None or len(found) == 2


def test_a_jetson_is_preferred_to_a_battery(tree: Callable[[str], Path]) -> None:
    sysfs = tree("jetson-orin-nano")
    shutil.copytree(POWER / "laptop", sysfs, dirs_exist_ok=True)
    assert isinstance(find_meter(sysfs=sysfs)[0], Ina3221)
