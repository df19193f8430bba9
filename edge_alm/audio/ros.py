"""A ROS 2 topic as a source, for programs that are no node themselves."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from edge_alm.audio.chunks import Chunk, ChunkStream
from edge_alm.errors import MissingExtraError, SourceError
from edge_alm.types import Packet

QUEUE_CHUNKS = 500
"""Messages that DDS keeps for a reader: 10 s of chunks of 20 ms."""
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
    """Chunks of type ``edge_alm_msgs/AudioChunk`` on a topic, heard by a node of our own.

    Args:
        topic: its name; relative to the root when it has no leading slash.

    Raises:
        MissingExtraError: rclpy or edge_alm_msgs is not installed, or not sourced.
        SourceError: not a name of a topic, or ROS does not start.
    """

    live = True

    def __init__(self, topic: str) -> None:
        try:
            import rclpy
            from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
            from rclpy.qos import qos_profile_sensor_data
        except (ImportError, OSError) as error:
            raise _missing(str(error)) from error
        kind, read = message_type("AudioChunk")
        self.name = f"ros:{topic}"
        self._stream = ChunkStream(self.name)
        self._context = rclpy.Context()
        try:
            rclpy.init(context=self._context)
            node = rclpy.create_node(f"edge_alm_{os.getpid()}", context=self._context)
            profile = listening_profile(qos_profile_sensor_data)
            node.create_subscription(
                kind, topic, lambda message: self._stream.put(read(message)), profile
            )
            executor = SingleThreadedExecutor(context=self._context)
            executor.add_node(node)
        except Exception as error:
            self._context.try_shutdown()
            raise SourceError(
                self.name,
                expected="the name of a topic, such as ros:/audio",
                got=" ".join(str(error).split())[:200],
            ) from error

        def spin() -> None:
            try:
                executor.spin()
            except ExternalShutdownException:
                pass
            finally:
                node.destroy_node()

        self._thread = threading.Thread(target=spin, name="ros-topic", daemon=True)
        self._thread.start()

    @property
    def started_unix(self) -> float | None:
        """See :class:`~edge_alm.types.Source`."""
        return self._stream.started_unix

    def packets(self) -> Iterator[Packet]:
        """See :class:`~edge_alm.types.Source`. Ends when it is closed or ROS is shut down."""
        return self._stream.packets()

    def close(self) -> None:
        """See :class:`~edge_alm.types.Source`."""
        self._stream.close()
        self._context.try_shutdown()
        if threading.current_thread() is not self._thread:
            self._thread.join(1.0)


def listening_profile(sensor_data: Any) -> Any:
    """The QoS of an audio subscription.

    Best effort, because that agrees with every publisher, a reliable one too; and deep.
    """
    from rclpy.qos import QoSProfile

    return QoSProfile(
        depth=QUEUE_CHUNKS,
        history=sensor_data.history,
        reliability=sensor_data.reliability,
        durability=sensor_data.durability,
    )


def _missing(cause: str) -> MissingExtraError:
    return MissingExtraError(
        "ROS 2",
        expected="rclpy and edge_alm_msgs to be importable",
        got=" ".join(cause.split())[:200],
        hint="source ROS 2's setup.bash and that of the workspace in which ros_nodes/ was built",
    )
