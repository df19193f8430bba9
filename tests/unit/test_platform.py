"""What holds for the repository as a whole: sizes, licences, versions, no traces of a machine."""

from __future__ import annotations

import csv
import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import edge_alm

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
BUNDLES = ROOT / "edge_alm" / "bundles"
LARGEST_BUNDLE_BYTES = 25_000_000
AUDIO = {".wav", ".ogg", ".flac", ".mp3", ".opus", ".oga", ".m4a", ".aiff", ".raw", ".pcm"}
LICENCES = ROOT / "tests" / "data" / "LICENCES.csv"
OPEN_LICENCES = re.compile(r"CC0|CC-BY(-SA)?-\d|public domain", re.IGNORECASE)

# A home folder, a scratch folder of a session, a package index that is not named by its public
# name. Spelt in pieces so that this file does not find itself.
TRACES = re.compile(
    rb"/(?:home|Users)/(?!(?:you|user|pi|me)\b)[a-z][\w.-]*/"
    rb"|/ro" + rb"ot/|/work" + rb"/(?:main|shared)|/opt" + rb"/pypi"
    rb"|https?://(?:[^/\s@]+@|(?:10|172|192)\.\d+\.\d+\.\d+)"
    rb"|https?://[\w.-]*(?:artifactory|nexus|devpi)[\w.-]*"
)


@pytest.fixture(scope="module")
def tracked(require: Callable[[object, str], None]) -> list[Path]:
    """Every file that git knows and that is still there."""
    require((ROOT / ".git").exists(), "a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    paths = [ROOT / name.decode() for name in listed.split(b"\0") if name]
    return [path for path in paths if path.is_file()]


@pytest.fixture(scope="module")
def project() -> dict[str, object]:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert isinstance(table, dict)
    return table


def test_no_large_file_is_tracked(tracked: list[Path]) -> None:
    elsewhere = [path for path in tracked if BUNDLES not in path.parents]
    assert [path for path in elsewhere if path.stat().st_size > 10_000_000] == []


@pytest.mark.parametrize("bundle", sorted(BUNDLES.iterdir()), ids=lambda path: path.name)
def test_a_shipped_bundle_is_small(bundle: Path) -> None:
    sizes = [path.stat().st_size for path in bundle.rglob("*") if path.is_file()]
    assert 0 < sum(sizes) <= LARGEST_BUNDLE_BYTES


def test_the_wheel_holds_the_package_and_nothing_else(
    tracked: list[Path], tmp_path: Path, require: Callable[[object, str], None]
) -> None:
    try:
        recent = int(version("setuptools").split(".")[0]) >= 77
    except PackageNotFoundError:
        recent = False
    require(recent, "setuptools 77 or later")
    package = {path for path in tracked if ROOT / "edge_alm" in path.parents}
    # A copy: setuptools leaves its build folder beside what it builds.
    for path in package | {ROOT / name for name in ("pyproject.toml", "README.md", "LICENSE")}:
        copy = tmp_path / "source" / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--wheel-dir", str(tmp_path), str(tmp_path / "source")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == {path.relative_to(ROOT).as_posix() for path in package}


def test_bundled_audio_is_two_megabytes_in_all(tracked: list[Path]) -> None:
    sizes = [p.stat().st_size for p in tracked if p.suffix.lower() in AUDIO]
    assert sum(sizes) <= 2_000_000


def test_no_file_names_a_machine(tracked: list[Path]) -> None:
    found = {
        f"{path.relative_to(ROOT)}: {match.group().decode()}"
        for path in tracked
        if path.suffix.lower() not in AUDIO
        for match in TRACES.finditer(path.read_bytes())
    }
    assert found == set()


@pytest.mark.parametrize(
    "trace",
    # In pieces here too.
    ["/ho|me/ann/x", "/ro|ot/.cache", "https|://u:p@pypi.example/", "http|://10.0.0.7/simple"],
)
def test_a_trace_of_a_machine_is_seen(trace: str) -> None:
    assert TRACES.search(trace.replace("|", "").encode())
    assert not TRACES.search(trace.encode())


def test_every_recording_has_its_licence(tracked: list[Path]) -> None:
    with LICENCES.open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    assert {"file", "source", "licence", "author", "sha256"} <= set(rows[0])
    listed = {row["file"]: row for row in rows}
    folder = LICENCES.parent
    audio = {path for path in tracked if path.suffix.lower() in AUDIO}
    ours = {path for path in audio if folder in path.parents}
    assert {str(path.relative_to(folder)) for path in ours} == set(listed)
    for name, row in listed.items():
        assert all(row.values()), f"{name}: a column is empty"
        assert OPEN_LICENCES.search(row["licence"]), f"{name}: {row['licence']}"
        assert sha256(folder / name) == row["sha256"], name
    hashes = {row["sha256"] for row in rows}
    for path in audio - ours:
        assert sha256(path) in hashes, f"{path}: expected a copy of one of {folder}"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_one_version(project: dict[str, object]) -> None:
    assert project["version"] == edge_alm.__version__
    assert f"## [{edge_alm.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_direct_dependency_is_locked(project: dict[str, object]) -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    locked = set(re.findall(r"^([a-z0-9-]+)==\S+", lock, re.MULTILINE))
    extras = project["optional-dependencies"]
    base = project["dependencies"]
    assert isinstance(extras, dict)
    assert isinstance(base, list)
    wanted = [*base, *(line for lines in extras.values() for line in lines)]
    names = {re.split(r"[\s\[<>=!~;]", line)[0].lower().replace("_", "-") for line in wanted}
    assert names <= locked


def test_the_lock_suits_every_index() -> None:
    """No build of one index (torch's ``+cpu``) and no address."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    line_form = re.compile(r"#.*|[a-z0-9-]+==[\w.]+(; python_version .*)?")
    assert [line for line in lines if not line_form.fullmatch(line)] == []


@pytest.mark.parametrize(("name", "several"), [("align", "phase"), ("distill", "student")])
def test_every_key_of_a_training_is_explained(name: str, several: str) -> None:
    tables = tomllib.loads((ROOT / "export" / f"{name}.toml").read_text(encoding="utf-8"))
    manual = (ROOT / "export" / "README.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"`(\w+)`", manual))
    others = tables.pop(several)
    assert {key for table in (*tables.values(), *others) for key in table} <= explained


def test_links_lead_somewhere(tracked: list[Path]) -> None:
    broken = []
    for page in tracked:
        if page.suffix == ".md":
            for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
                file = target.partition("#")[0]
                if "://" not in target and file and not (page.parent / file).exists():
                    broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []


def test_licence_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Copyright 2026 edge-alm developers" in text


@pytest.mark.parametrize("name", [".ci/run", "scripts/system-deps", "scripts/demo"])
def test_scripts_can_be_run(name: str) -> None:
    path = ROOT / name
    assert path.stat().st_mode & 0o111
    shell = path.read_text(encoding="utf-8").splitlines()[0].split()[-1].split("/")[-1]
    assert shell in ("sh", "bash")
    subprocess.run([shell, "-n", str(path)], check=True)


@pytest.mark.parametrize(
    ("target", "extras"),
    [
        ("demo", [{"mic", "llm", "asr"}]),
        (
            "test",
            [
                {"mic", "llm", "asr"},
                {"mic", "llm", "asr", "bridge", "opus", "ble", "tflite", "export", "dev"},
            ],
        ),
    ],
)
def test_only_tests_install_what_training_needs(
    target: str,
    extras: list[set[str]],
    tmp_path: Path,
    require: Callable[[object, str], None],
) -> None:
    require(shutil.which("make") is not None, "no make")
    done = subprocess.run(
        ["make", "-n", target, f"VENV={tmp_path}/venv"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    installed = re.findall(r"-c requirements\.lock -e '\.\[([\w,]+)\]'", done.stdout)
    assert [set(names.split(",")) for names in installed] == extras


@pytest.mark.parametrize("target", ["demo", "test", "check", "check-aarch64", "bench", "clean"])
def test_make_knows(target: str, require: Callable[[object, str], None]) -> None:
    require(shutil.which("make") is not None, "no make")
    done = subprocess.run(
        ["make", "-n", target], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
