"""Temperature and power, where the board tells them. No ROS in here."""

from __future__ import annotations

from pathlib import Path

SYSFS = Path("/sys")


def temperatures_c(sysfs: Path = SYSFS) -> dict[str, float]:
    """Degrees of each thermal zone of the kernel, by its type (``cpu-thermal``)."""
    zones = sorted((sysfs / "class" / "thermal").glob("thermal_zone*"))
    found = {}
    for zone in zones:
        degrees = _number(zone / "temp")
        if degrees is not None:
            found[_text(zone / "type") or zone.name] = degrees / 1e3
    return found


def powers_w(sysfs: Path = SYSFS) -> dict[str, float]:
    """Watts of each sensor (``hwmon``) and each battery or supply, by name."""
    found = {}
    for file in sorted((sysfs / "class" / "hwmon").glob("hwmon*/power*_input")):
        microwatts = _number(file)
        if microwatts is not None:
            name = _text(file.parent / "name") or file.parent.name
            found[f"{name} {file.name.removesuffix('_input')}"] = microwatts / 1e6
    for file in sorted((sysfs / "class" / "power_supply").glob("*/power_now")):
        microwatts = _number(file)
        if microwatts is not None:
            found[file.parent.name] = microwatts / 1e6
    return found


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:  # a sensor may be there and not answer
        return ""


def _number(file: Path) -> float | None:
    try:
        return float(_text(file))
    except ValueError:
        return None
