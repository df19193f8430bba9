"""edge-alm as ROS 2 nodes."""
