"""One audio reasoner with the parameters of a file, started again should it die.

ros2 launch edge_alm_ros audio_reasoner.launch.py config:=audio_from_a_topic namespace:=/robot1
"""

from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """What ``ros2 launch`` asks for."""
    name = [LaunchConfiguration("config"), ".yaml"]
    config = PathJoinSubstitution([FindPackageShare("edge_alm_ros"), "config", name])
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "config",
                default_value="robot_microphone",
                description="a file in config/, without .yaml",
            ),
            DeclareLaunchArgument("namespace", default_value="", description="of the node"),
            DeclareLaunchArgument(
                "autostart", default_value="true", description="configure and activate at start"
            ),
            LifecycleNode(
                package="edge_alm_ros",
                executable="audio_reasoner",
                name="audio_reasoner",
                namespace=LaunchConfiguration("namespace"),
                parameters=[config, {"autostart": LaunchConfiguration("autostart")}],
                output="screen",
                respawn=True,
                respawn_delay=2.0,
            ),
        ]
    )
