"""A private PulseAudio server whose null sink is the room and whose monitor is the microphone.

PortAudio reaches it through ALSA's pulse plugin, so this is the way that audio takes on most
Linux desktops. Nothing of the machine's own sound set-up is used or changed.
"""

from __future__ import annotations

import ctypes.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_PLUGIN = "libasound_module_pcm_pulse.so"
_ALSA = """\
</usr/share/alsa/alsa.conf>
pcm.room { type pulse device "room.monitor" hint { show on description "The room" } }
pcm.!default { type pulse device "room.monitor" }
ctl.!default { type pulse }
"""


def missing() -> str:
    """Which system packages a machine lacks for this; empty when it has them."""
    lacks = []
    if not sys.platform.startswith("linux"):
        return "a Linux machine"
    if not (shutil.which("pulseaudio") and shutil.which("pactl") and shutil.which("paplay")):
        lacks.append("pulseaudio pulseaudio-utils")
    if not ctypes.util.find_library("portaudio"):
        lacks.append("libportaudio2")
    if not any(Path("/usr").glob(f"lib*/**/alsa-lib/{_PLUGIN}")):
        lacks.append("libasound2-plugins")
    return " ".join(lacks)


class SoundServer:
    """Started on entry, gone on exit. ``env`` makes a child process use it and nothing else."""

    def __init__(self) -> None:
        # Not pytest's folder: a socket's path must be shorter than 108 bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="ear"))
        self._socket = self._folder / "native"
        alsa = self._folder / "asound.conf"
        alsa.write_text(_ALSA)
        self._process: subprocess.Popen[bytes] | None = None
        self._children: list[subprocess.Popen[bytes]] = []
        self.env = {
            **os.environ,
            "ALSA_CONFIG_PATH": str(alsa),
            "PULSE_SERVER": f"unix:{self._socket}",
            "PULSE_RUNTIME_PATH": str(self._folder),
            "PULSE_COOKIE": str(self._folder / "cookie"),
            "XDG_RUNTIME_DIR": str(self._folder),
            "JACK_NO_START_SERVER": "1",
        }

    def __enter__(self) -> SoundServer:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            child.kill()
            child.wait()
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            RuntimeError: it does not within 10 s.
        """
        log = (self._folder / "log").open("wb")
        with log:
            self._process = subprocess.Popen(
                [
                    *("pulseaudio", "-n", "--daemonize=no", "--use-pid-file=no"),
                    *("--exit-idle-time=-1", "--high-priority=no", "--realtime=no"),
                    *("-L", f"module-native-protocol-unix socket={self._socket} auth-anonymous=1"),
                ],
                # Not in `env`: PULSE_SERVER would make it refuse to start.
                env={
                    **{k: v for k, v in self.env.items() if k != "PULSE_SERVER"},
                    "HOME": str(self._folder),
                },
                stdout=log,
                stderr=log,
            )
        until_s = time.monotonic() + 10
        while self._pactl("info").returncode != 0:
            if self._process.poll() is not None or time.monotonic() > until_s:
                raise RuntimeError((self._folder / "log").read_text())
            time.sleep(0.05)
        self.plug_in()

    def stop(self) -> None:
        """Kill the server, as when it crashes."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
            self._socket.unlink(missing_ok=True)

    def freeze(self) -> None:
        """Stop the server's process; it keeps its connections and answers nothing."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def plug_in(self) -> None:
        """Make the room and its microphone appear."""
        done = self._pactl("load-module", "module-null-sink", "sink_name=room")
        if done.returncode != 0:
            raise RuntimeError(done.stderr.decode())

    def unplug(self) -> None:
        """Make them vanish."""
        self._pactl("unload-module", "module-null-sink")

    def play(self, path: Path) -> subprocess.Popen[bytes]:
        """Begin to play a file into the room."""
        child = subprocess.Popen(
            ["paplay", "--device=room", str(path)],
            env=self.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._children.append(child)
        return child

    def _pactl(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(["pactl", *words], env=self.env, capture_output=True, timeout=10)
