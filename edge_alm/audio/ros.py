"""A ROS 2 topic as a source, for programs that are no node themselves."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from edge_alm.audio.chunks import QUEUE_S, Chunk, ChunkStream
from edge_alm.errors import MissingExtraError, SourceError
from edge_alm.types import Packet

QUEUE_CHUNKS = 500
"""Messages that DDS keeps for a reader: 10 s of chunks of 20 ms."""
FETCH_S = 0.04
JUMP_S = 0.5
"""What has no sample numbers has lost something when its stamps jump by more than this."""
_FLOAT32, _INT32, _INT16 = 1, 2, 8
"""PortAudio's numbers of sample formats, which ``audio_common_msgs`` uses."""


def chunk_from_message(message: Any) -> Chunk:
    """A message of type ``edge_alm_msgs/AudioChunk`` (or with its fields)."""
    return Chunk(
        data=bytes(message.data),
        encoding=message.encoding,
        rate_hz=message.sample_rate,
        channels=message.channels,
        first_sample=message.first_sample,
        stamp_unix=unix_from_stamp(message.header.stamp),
    )


class StampedChunks:
    """Messages of type ``audio_common_msgs/AudioStamped``, which carry no sample numbers.

    They are numbered here as they come. Where the stamps jump the numbers begin anew, and the
    parser tells by the stamps what is lost.
    """

    def __init__(self) -> None:
        self._next = 0
        self._end_unix = 0.0

    def __call__(self, message: Any) -> Chunk:
        """The message as a chunk; one in a format unknown here gets that for its encoding."""
        info, data = message.audio.info, message.audio.audio_data
        stamp_unix = unix_from_stamp(message.header.stamp)
        encoding, raw = f"audio_common format {info.format}", b""
        if info.format == _INT16:
            encoding, raw = "s16le", np.asarray(data.int16_data, "<i2").tobytes()
        elif info.format == _INT32:
            scaled = np.asarray(data.int32_data, np.float64) / 2**31
            encoding, raw = "f32le", scaled.astype("<f4").tobytes()
        elif info.format == _FLOAT32:
            encoding, raw = "f32le", np.asarray(data.float32_data, "<f4").tobytes()
        if stamp_unix - self._end_unix > JUMP_S:
            self._next = 0
        width = 2 if encoding == "s16le" else 4
        first, samples = self._next, len(raw) // (width * max(1, info.channels))
        self._next += samples
        self._end_unix = stamp_unix + samples / max(1, info.rate)
        return Chunk(raw, encoding, info.rate, info.channels, first, stamp_unix)


def unix_from_stamp(stamp: Any) -> float:
    """Seconds of a ``builtin_interfaces/Time``."""
    return float(stamp.sec + stamp.nanosec * 1e-9)


def message_type(name: str) -> tuple[type, Callable[[Any], Chunk]]:
    """The class of the messages ``AudioChunk`` or ``AudioStamped``, and what reads them.

    Raises:
        MissingExtraError: the package of that message is not there.
    """
    try:
        if name == "AudioStamped":
            from audio_common_msgs.msg import AudioStamped

            return AudioStamped, StampedChunks()
        from edge_alm_msgs.msg import AudioChunk
    except (ImportError, OSError) as error:
        raise _missing(str(error)) from error
    return AudioChunk, chunk_from_message


class RosTopic:
    """Chunks on a topic, heard by a small node of our own.

    What has come is fetched every 40 ms. An executor would look at all of a node's services and
    timers for each message: 0.5 ms of CPU time a chunk, where fetching takes 0.14 ms.

    Args:
        topic: its name; relative to the root when it has no leading slash.
        message: AudioChunk, or AudioStamped of audio_common_msgs.
        queue_s: seconds of audio that may wait for the reader.
        context: of the node to whom this belongs; none: one of its own.

    Raises:
        MissingExtraError: rclpy or the message's package is not installed, or not sourced.
        SourceError: not a name of a topic, or ROS does not start.
    """

    live = True

    def __init__(
        self,
        topic: str,
        message: str = "AudioChunk",
        queue_s: float = QUEUE_S,
        context: Any = None,
    ) -> None:
        try:
            import rclpy
            from rclpy.qos import QoSProfile, qos_profile_sensor_data
        except (ImportError, OSError) as error:
            raise _missing(str(error)) from error
        kind, self._read = message_type(message)
        self.name = f"ros:{topic}"
        self._stream = ChunkStream(self.name, queue_s)
        self._closing = threading.Event()
        self._own: Any = rclpy.Context() if context is None else None
        self._context: Any = context or self._own
        try:
            if self._own is not None:
                rclpy.init(context=self._own)
            self._node = rclpy.create_node(
                f"edge_alm_audio_{os.getpid()}",
                context=self._context,
                use_global_arguments=False,
                enable_rosout=False,
                start_parameter_services=False,
            )
            # Best effort, because that agrees with every publisher, a reliable one too; and deep.
            profile = QoSProfile(
                depth=QUEUE_CHUNKS,
                history=qos_profile_sensor_data.history,
                reliability=qos_profile_sensor_data.reliability,
            )
            self._topic = self._node.create_subscription(kind, topic, self._stream.put, profile)
        except Exception as error:
            self._end()
            raise SourceError(
                self.name,
                expected="the name of a topic, such as ros:/audio",
                got=" ".join(str(error).split())[:200],
            ) from error
        self._thread = threading.Thread(target=self._fetch, name="ros-topic", daemon=True)
        self._thread.start()

    @property
    def started_unix(self) -> float | None:
        """See :class:`~edge_alm.types.Source`."""
        return self._stream.started_unix

    @property
    def waiting_s(self) -> float:
        """Audio that waits for its reader."""
        return self._stream.waiting_s

    def packets(self) -> Iterator[Packet]:
        """See :class:`~edge_alm.types.Source`. Ends when it is closed or ROS is shut down."""
        return self._stream.packets()

    def close(self) -> None:
        """See :class:`~edge_alm.types.Source`."""
        self._closing.set()
        self._stream.close()
        if threading.current_thread() is not self._thread:
            self._thread.join(1.0)

    def _fetch(self) -> None:
        topic = self._topic
        try:
            while self._context.ok() and not self._closing.wait(FETCH_S):
                with topic.handle:
                    while (found := topic.handle.take_message(topic.msg_type, False)) is not None:
                        self._stream.put(self._read(found[0]))
        finally:
            self._stream.close()
            self._end()

    def _end(self) -> None:
        if node := getattr(self, "_node", None):
            node.destroy_node()
        if self._own is not None:
            self._own.try_shutdown()


def _missing(cause: str) -> MissingExtraError:
    return MissingExtraError(
        "ROS 2",
        expected="rclpy and edge_alm_msgs to be importable",
        got=" ".join(cause.split())[:200],
        hint="source ROS 2's setup.bash and that of the workspace in which ros_nodes/ was built",
    )
