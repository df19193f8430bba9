"""A simulated robot that drives until someone calls "stop" or glass breaks.

ros2 run edge_alm_ros audio_reasoner --ros-args -p autostart:=true
python3 stop_robot.py
"""

from __future__ import annotations

from typing import Any

import rclpy
from edge_alm_msgs.msg import AudioEvent
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from std_msgs.msg import Float64

from edge_alm_ros.phrases import PhraseSpotter


class Robot(Node):
    """Publishes its speed in m/s ten times a second; 0 for ever once it was stopped."""

    def __init__(self) -> None:
        super().__init__("robot")
        words = self.declare_parameter("words", ["stop", "glass breaking"]).value
        self.dangers = [PhraseSpotter(word) for word in words]
        self.speed = 0.5
        self.wheels = self.create_publisher(Float64, "speed", 10)
        self.create_subscription(AudioEvent, "audio_reasoner/events", self.hear, 100)
        self.create_timer(0.1, lambda: self.wheels.publish(Float64(data=self.speed)))

    def hear(self, event: Any) -> None:
        """Stop when the event is one of the dangers."""
        if any(d.is_heard(event.type, event.state, event.label, event.text) for d in self.dangers):
            self.speed = 0.0
            self.wheels.publish(Float64(data=0.0))
            self.get_logger().warning(f"stopped: {event.label or event.text}")


rclpy.init()
try:
    rclpy.spin(Robot())
except (KeyboardInterrupt, ExternalShutdownException):
    rclpy.try_shutdown()
