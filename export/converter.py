"""llama.cpp's own converters, of the very version that runs the model.

They come in the source distribution of llama-cpp-python, which pip fetches once (77 MB; 2 MB of
it are kept in the model store). Each runs in a process of its own, with no network.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edge_alm.errors import DownloadError, ModelBrokenError, UsageError, missing_extra
from edge_alm.models import store
from edge_alm.models.gguf_file import GgufInfo, check_gguf

PACKAGE = "llama-cpp-python"
MODEL, ADAPTER = "convert_hf_to_gguf.py", "convert_lora_to_gguf.py"
_SCRIPTS = (MODEL, ADAPTER)
_KEPT = (*_SCRIPTS, "conversion/", "gguf-py/gguf/")
TYPES = ("f32", "f16", "bf16", "q8_0")
"""How a converter may store matrices."""
_CAUSES = ("Error", "ERROR", "not supported", "Killed")


def convert(script: str, source: Path, arguments: Sequence[str], target: Path) -> GgufInfo:
    """Run a converter.

    Args:
        script: :data:`MODEL` or :data:`ADAPTER`.
        source: the folder to convert; named in the error.
        arguments: of the script, but for its output.
        target: the GGUF file to write, in a folder whose half files nobody minds.

    Returns:
        What the file declares, which has been checked.

    Raises:
        MissingExtraError: llama-cpp-python is not installed.
        DownloadError: the converter cannot be fetched.
        UsageError: no memory or no room for the file.
        ModelBrokenError: the converter refused; says its last word.
    """
    command = [sys.executable, str(find_converter() / script), *arguments]
    done = subprocess.run(
        [*command, "--outfile", str(target)],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode == 0 and target.is_file():
        return check_gguf(target)
    words = _reason(done.stderr) or f"exit {done.returncode}"
    if done.returncode == -9 or "MemoryError" in words:
        raise UsageError(str(source), expected="memory enough to convert it", got=words)
    if "No space left" in words:
        raise UsageError(str(target.parent), expected="room for the file", got=words)
    raise ModelBrokenError(
        str(source), expected="what llama.cpp's converter takes", got=words or "no reason given"
    )


def _reason(text: str) -> str:
    """The line of a converter's output that says why."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    telling = [line for line in lines if any(word in line for word in _CAUSES)]
    return (telling or lines or [""])[-1]


def find_converter() -> Path:
    """The folder of llama.cpp's scripts in the model store; fetched if it is not there.

    Raises:
        MissingExtraError, DownloadError: as :func:`convert`.
    """
    try:
        requirement = f"{PACKAGE}=={version(PACKAGE)}"
    except PackageNotFoundError as error:
        raise missing_extra("llm", PACKAGE, str(error)) from error
    folder = store.home() / "converter" / requirement.replace("==", "-")
    if not all((folder / script).is_file() for script in _SCRIPTS):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            _unpack(_fetch_source(requirement, Path(scratch)), Path(scratch) / "converter")
            shutil.rmtree(folder, ignore_errors=True)
            (Path(scratch) / "converter").replace(folder)
    return folder


def _fetch_source(requirement: str, folder: Path) -> Path:
    """Let pip put the source distribution into ``folder``; it runs its metadata step, no more."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"]
    command += ["--disable-pip-version-check", "--no-binary", PACKAGE, "--dest", str(folder)]
    done = subprocess.run([*command, requirement], capture_output=True, text=True, check=False)
    found = sorted(folder.glob("*.tar.gz"))
    if done.returncode != 0 or len(found) != 1:
        words = (done.stderr.strip() or "no file").splitlines()
        raise DownloadError(requirement, expected="its source distribution", got=words[-1])
    return found[0]


def _unpack(source: Path, folder: Path) -> None:
    """Take the converters and the Python they import out of the archive, plain files only."""
    with tarfile.open(source) as archive:
        for member in archive:
            _, _, name = member.name.partition("/vendor/llama.cpp/")
            content = archive.extractfile(member) if member.isfile() else None
            if content is None or not name.endswith(".py") or ".." in Path(name).parts:
                continue
            if name.startswith(_KEPT):
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content.read())
    if missing := [script for script in _SCRIPTS if not (folder / script).is_file()]:
        raise DownloadError(source.name, expected=", ".join(missing), got="no such file in it")
