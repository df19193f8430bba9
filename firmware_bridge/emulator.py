"""The firmware of boards/mps2_an386 in QEMU: a recording goes in, its UART is a Unix socket.

python -m firmware_bridge.emulator RECORDING [--pcm16] [--paced]
edge-alm listen serial:SOCKET        with the path that it prints
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from edge_alm.types import SAMPLE_RATE_HZ

C = Path(__file__).parent / "c"
START_S = 20.0


def build(folder: Path | None = None) -> Path:
    """The firmware, made anew where its sources changed.

    Raises:
        RuntimeError: it does not compile.
    """
    folder = folder or C.parents[1] / "build" / "firmware"
    done = subprocess.run(
        ["make", "-C", str(C), "board", f"BUILD={folder}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(done.stdout + done.stderr)
    return folder / "mps2_an386.elf"


class EmulatedBoard:
    """A board that plays ``samples`` [n] at 16 kHz as soon as a host is there, and then ends.

    Args:
        firmware: what :func:`build` gives.
        samples: what its microphone hears.
        words: ``pcm16``, ``paced``, ``gated``; see the firmware's main.c.
    """

    def __init__(self, firmware: Path, samples: NDArray[np.int16], *words: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ealm")
        folder = Path(self._folder.name)
        recording, self._shown = folder / "in.raw", folder / "shown"
        samples.astype("<i2").tofile(recording)
        self.socket = folder / "uart"
        arguments = [str(recording), *words, f"show={self._shown}"]
        self._process = subprocess.Popen(
            [
                "qemu-system-arm",
                *("-M", "mps2-an386", "-display", "none", "-monitor", "none"),
                *("-chardev", f"socket,id=uart,path={self.socket},server=on,wait=on"),
                *("-serial", "chardev:uart", "-kernel", str(firmware), "-semihosting-config"),
                "enable=on,target=native," + ",".join(f"arg={word}" for word in arguments),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        end_s = time.monotonic() + START_S
        while not self.socket.is_socket():
            if self._process.poll() is not None or time.monotonic() > end_s:
                raise RuntimeError(f"qemu-system-arm: {self.close()}")
            time.sleep(0.01)

    @property
    def source(self) -> str:
        """As ``edge-alm listen`` takes it."""
        return f"serial:{self.socket}"

    def __enter__(self) -> EmulatedBoard:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def wait(self) -> list[str]:
        """Until it has ended: the captions and events that it showed, a code before each.

        Raises:
            RuntimeError: it failed.
        """
        if self._process.wait(60) != 0:
            raise RuntimeError(f"firmware: status {self._process.returncode}")
        return self._shown.read_text("utf-8").splitlines()

    def close(self) -> str:
        """End it; what QEMU said."""
        self._process.kill()
        _, said = self._process.communicate()
        self._folder.cleanup()
        return said.decode(errors="replace").strip()


def main() -> None:
    """Run a board until it ends."""
    import soundfile

    parser = argparse.ArgumentParser(description="A board in QEMU.")
    parser.add_argument("recording", help="16 kHz")
    for word in ("pcm16", "paced", "gated"):
        parser.add_argument(f"--{word}", action="store_true")
    args = parser.parse_args()
    samples, rate_hz = soundfile.read(args.recording, dtype="int16", always_2d=True)
    if rate_hz != SAMPLE_RATE_HZ:
        parser.error(f"{args.recording}: expected {SAMPLE_RATE_HZ} Hz, got {rate_hz}")
    words = [word for word in ("pcm16", "paced", "gated") if getattr(args, word)]
    with EmulatedBoard(build(), samples[:, 0], *words) as board:
        print(board.source, flush=True)
        for shown in board.wait():
            print(shown)


if __name__ == "__main__":
    main()
