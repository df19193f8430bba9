"""A node that says whether a phrase was heard of late, or calls a service when it is.

For a behaviour tree: no code, three parameters.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import rclpy
from edge_alm_msgs.msg import AudioEvent
from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from edge_alm.errors import EdgeAlmError
from edge_alm_ros.phrases import HoldOff, PhraseSpotter

EVENTS = "audio_reasoner/events"
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class WatchFor(Node):
    """See the module. The parameters are read at the start.

    Raises:
        UsageError: no phrase.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("watch_for", **options)
        self._spotter = PhraseSpotter(
            self._parameter("phrase", "", "name of a sound, or words that someone says")
        )
        topic = self._parameter("topic", "heard", "where it is told (std_msgs/Bool, latched)")
        service = self._parameter(
            "service", "", "a service to call instead (std_srvs/Trigger); empty: none"
        )
        hold_off_s = self._parameter(
            "hold_off_s",
            2.0,
            "for so long it stays true, or the service is not called again",
            FloatingPointRange(from_value=0.05, to_value=3600.0),
        )
        events = self._parameter("events", EVENTS, "the reasoner's events")
        self._hold_off = HoldOff(hold_off_s)
        self._client = self.create_client(Trigger, service) if service else None
        self._told = None if service else self.create_publisher(Bool, topic, _LATCHED)
        self._over = self.create_timer(hold_off_s, self._on_over)
        self._over.cancel()
        self._tell(False)
        self.create_subscription(AudioEvent, events, self._on_event, QoSProfile(depth=100))

    def _parameter(self, name: str, default: Any, description: str, *ranges: Any) -> Any:
        descriptor = ParameterDescriptor(
            description=description, read_only=True, floating_point_range=list(ranges)
        )
        return self.declare_parameter(name, default, descriptor).value

    def _on_event(self, event: Any) -> None:
        if not self._spotter.is_heard(event.type, event.state, event.label, event.text):
            return
        if self._client is None:
            self._tell(True)
            self._over.reset()  # heard again: it stays true for as long from now on
        elif not self._client.service_is_ready():
            # No call, so nothing to hold off: whoever serves it later is called at the next word.
            self.get_logger().warning(f"{self._client.srv_name}: heard, but nobody serves it")
        elif self._hold_off.passes(time.monotonic()):
            self._client.call_async(Trigger.Request()).add_done_callback(self._on_reply)

    def _on_reply(self, reply: Any) -> None:
        done = reply.result()
        if not done.success:
            self.get_logger().warning(f"the service refused: {done.message}")

    def _on_over(self) -> None:
        self._over.cancel()
        self._tell(False)

    def _tell(self, heard: bool) -> None:
        if self._told is not None:
            self._told.publish(Bool(data=heard))


def main(args: list[str] | None = None) -> None:
    """Run the node until it is shut down."""
    rclpy.init(args=args)
    try:
        node = WatchFor()
    except (EdgeAlmError, ParameterException) as error:
        print(f"watch_for: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        raise SystemExit(2) from None
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
