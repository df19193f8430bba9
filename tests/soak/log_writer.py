"""Writes events to a log until it is killed, and says of each on standard output when.

    python tests/soak/log_writer.py LOG

Run by ``test_log_killed.py``. A line holds the event's number and the time by
``time.monotonic()``, the same clock in all processes, at which the log took it.
"""

from __future__ import annotations

import os
import sys
import time

from edge_alm.log import EventLog
from edge_alm.types import Sound


def main() -> None:
    with EventLog(sys.argv[1], max_bytes=2 << 20) as log:
        number = 0
        while True:
            # Bursts, and pauses in which the log has time to flush.
            for _ in range(200):
                log.write(Sound("Bark", float(number), number + 0.5, 0.9, "end"))
                # Not through a buffer: it would be killed with the process.
                os.write(1, f"{number} {time.monotonic()}\n".encode())
                number += 1
            time.sleep(0.02)


if __name__ == "__main__":
    main()
