"""Say on a topic whether a phrase was heard of late.

ros2 launch edge_alm_ros watch_for.launch.py phrase:="glass breaking" topic:=/alarm
"""

from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """What ``ros2 launch`` asks for."""
    hold_off_s = ParameterValue(LaunchConfiguration("hold_off_s"), value_type=float)
    return LaunchDescription(
        [
            DeclareLaunchArgument("phrase", description="name of a sound, or words"),
            DeclareLaunchArgument("topic", default_value="heard", description="std_msgs/Bool"),
            DeclareLaunchArgument(
                "service", default_value="", description="std_srvs/Trigger to call instead"
            ),
            DeclareLaunchArgument(
                "hold_off_s", default_value="2.0", description="how long it stays true"
            ),
            DeclareLaunchArgument("namespace", default_value="", description="of the node"),
            Node(
                package="edge_alm_ros",
                executable="watch_for",
                name="watch_for",
                namespace=LaunchConfiguration("namespace"),
                parameters=[
                    {
                        "phrase": LaunchConfiguration("phrase"),
                        "topic": LaunchConfiguration("topic"),
                        "service": LaunchConfiguration("service"),
                        "hold_off_s": hold_off_s,
                    }
                ],
                output="screen",
                respawn=True,
            ),
        ]
    )
