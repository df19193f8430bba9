"""The package as colcon and ament_python want it."""

from pathlib import Path

from setuptools import setup

NAME = "edge_alm_ros"


def files(folder: str) -> list[str]:
    """Of a folder, as setuptools wants them named."""
    return sorted(map(str, Path(folder).glob("*.*")))


setup(
    name=NAME,
    version="0.1.0",
    packages=[NAME],
    package_data={NAME: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", files("launch")),
        (f"share/{NAME}/config", files("config")),
    ],
    install_requires=["setuptools"],
    zip_safe=True,
    maintainer="The edge-alm authors",
    maintainer_email="maintainers@edge-alm.invalid",
    description="edge-alm as ROS 2 nodes",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            f"audio_reasoner = {NAME}.audio_reasoner:main",
            f"watch_for = {NAME}.watch_for:main",
        ]
    },
)
