"""The wire form, as another program reads it: from the .msg files alone."""

from __future__ import annotations

import time
from pathlib import Path

import edge_alm_msgs
import pytest
from edge_alm_msgs.msg import AudioChunk, AudioEvent
from rclpy.serialization import deserialize_message, serialize_message
from ros_world import ROOT, Probe, chunks_of, reasoner, recording, silence
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

MESSAGES = ROOT / "ros_nodes" / "edge_alm_msgs" / "msg"


@pytest.fixture(scope="module")
def types() -> Typestore:
    """Humble's common types, and ours as the files define them."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    for file in sorted(MESSAGES.glob("*.msg")):
        text = file.read_text(encoding="utf-8")
        store.register(get_types_from_msg(text, f"edge_alm_msgs/msg/{file.stem}"))
    return store


def test_events_in_a_bag(probe: Probe, namespace: str, types: Typestore, tmp_path: Path) -> None:
    raw: list[bytes] = []
    topic = f"{namespace}/audio_reasoner/events"
    probe.node.create_subscription(AudioEvent, topic, raw.append, 1000, raw=True)
    with reasoner(
        namespace,
        autostart=True,
        models__language_model="none",
        models__transcribe=False,
        input__source="ros:audio",
    ):
        probe.await_listening()
        probe.await_listener()
        probe.play(chunks_of(recording("glass"), started=time.time()))
        probe.play(chunks_of(silence(3), started=time.time(), first=2 * 16_000))
        probe.until(lambda: any(e.state == "end" for e in probe.events), "an end")
        probe.spin(1.0)
    kind = "edge_alm_msgs/msg/AudioEvent"
    bag = tmp_path / "bag"
    with Writer(bag, version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        connection = writer.add_connection(topic, kind, typestore=types)
        for at, message in enumerate(raw):
            writer.write(connection, at, message)
    with Reader(bag) as reader:
        read = [types.deserialize_cdr(data, c.msgtype) for c, _, data in reader.messages()]
    assert len(read) == len(probe.events) > 2
    for ours, theirs in zip(probe.events, read, strict=True):
        for name in AudioEvent.get_fields_and_field_types():
            mine, other = getattr(ours, name), getattr(theirs, name)
            if name == "header":
                assert (mine.frame_id, mine.stamp.sec) == (other.frame_id, other.stamp.sec)
            elif name in ("onset", "offset"):
                assert (mine.sec, mine.nanosec) == (other.sec, other.nanosec)
            else:
                assert mine == pytest.approx(other) if name == "confidence" else mine == other


def test_a_chunk_there_and_back(types: Typestore) -> None:
    (chunk,) = chunks_of(recording("glass")[:320], started=1_700_000_000.25, first=7)
    theirs = types.deserialize_cdr(serialize_message(chunk), "edge_alm_msgs/msg/AudioChunk")
    assert bytes(theirs.data) == bytes(chunk.data)
    back = types.serialize_cdr(theirs, "edge_alm_msgs/msg/AudioChunk")
    assert deserialize_message(bytes(back), AudioChunk) == chunk


def test_colcon_built_and_installed_both_packages() -> None:
    installed = ROOT / "build" / "ros" / "install"
    assert Path(edge_alm_msgs.__file__).is_relative_to(installed / "edge_alm_msgs")
    for package in ("edge_alm_msgs", "edge_alm_ros"):
        share = installed / package / "share"
        assert (share / "ament_index" / "resource_index" / "packages" / package).is_file()
        assert (share / package / "package.xml").is_file()
    ours = installed / "edge_alm_ros"
    for folder in ("launch", "config"):
        source = ROOT / "ros_nodes" / "edge_alm_ros" / folder
        there = {file.name for file in (ours / "share" / "edge_alm_ros" / folder).iterdir()}
        assert there == {file.name for file in source.iterdir() if file.is_file()}
    executables = {file.name for file in (ours / "lib" / "edge_alm_ros").iterdir()}
    assert executables == {"audio_reasoner", "watch_for"}
    # Nothing in the packages knows of the wheels: they build unchanged elsewhere.
    for file in (ROOT / "ros_nodes").glob("edge_alm_*/**/*"):
        if file.is_file() and file.suffix in (".txt", ".xml", ".py", ".cfg"):
            assert "/opt/python" not in file.read_text(encoding="utf-8")
