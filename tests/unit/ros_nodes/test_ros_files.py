"""Launch files and parameter files, without ROS: `launch` is on no package index."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from edge_alm_ros.parameters import BY_NAME, problem

NODES = Path(__file__).resolve().parents[3] / "ros_nodes"
PACKAGE = NODES / "edge_alm_ros"
LAUNCH_FILES = sorted((PACKAGE / "launch").iterdir())
CONFIGS = sorted((PACKAGE / "config").iterdir())


def calls(tree: ast.AST, name: str) -> list[ast.Call]:
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
    ]


def first(call: ast.Call) -> str:
    assert isinstance(call.args[0], ast.Constant)
    return str(call.args[0].value)


def text_of(call: ast.Call, keyword: str) -> str:
    (value,) = (k.value for k in call.keywords if k.arg == keyword)
    assert isinstance(value, ast.Constant)
    return str(value.value)


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_launch_files_use_the_arguments_that_they_declare(path: Path) -> None:
    assert path.name.endswith(".launch.py")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert "generate_launch_description" in {
        node.name for node in tree.body if isinstance(node, ast.FunctionDef)
    }
    declared = calls(tree, "DeclareLaunchArgument")
    assert sorted(map(first, declared)) == sorted(
        {first(call) for call in calls(tree, "LaunchConfiguration")}
    )
    assert all(text_of(call, "description") for call in declared)
    # What the documentation at the top gives must be an argument.
    given = set(re.findall(r"(\w+):=", ast.get_docstring(tree) or ""))
    assert given <= set(map(first, declared))


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_launch_files_start_what_is_installed(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    setup = (PACKAGE / "setup.py").read_text(encoding="utf-8")
    nodes = calls(tree, "Node") + calls(tree, "LifecycleNode")
    assert nodes
    for node in nodes:
        assert text_of(node, "package") == PACKAGE.name
        assert f"{text_of(node, 'executable')} = {{NAME}}." in setup


def test_the_default_config_of_the_launch_file_is_there() -> None:
    tree = ast.parse((PACKAGE / "launch" / "audio_reasoner.launch.py").read_text("utf-8"))
    (config,) = (c for c in calls(tree, "DeclareLaunchArgument") if first(c) == "config")
    assert text_of(config, "default_value") in {path.stem for path in CONFIGS}


def parameters_of(path: Path) -> dict[str, str]:
    """Dotted names and values of the two levels that our files have."""
    found, group = {}, ""
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.partition("  #")[0].rstrip()
        if not text.strip() or text.startswith("#"):
            continue
        depth = len(text) - len(text.lstrip())
        name, _, value = text.strip().partition(":")
        if depth == 4:
            group = name
        elif depth == 6:
            found[f"{group}.{name}"] = value.strip().strip('"')
    return found


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_configs_name_parameters_that_there_are(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith("# ")
    found = parameters_of(path)
    assert len(found) >= 5
    for name, value in found.items():
        assert name in BY_NAME, name
        default = BY_NAME[name].default
        if isinstance(default, str):
            assert problem({name: value}) == ""
        elif isinstance(default, bool):
            assert value in ("true", "false")
        elif isinstance(default, float):
            assert "." in value  # ROS takes 5 for an integer, and refuses it
            assert problem({name: float(value)}) == ""


@pytest.mark.parametrize("name", ["edge_alm_msgs", "edge_alm_ros"])
def test_package_files(name: str) -> None:
    root = ElementTree.parse(NODES / name / "package.xml").getroot()
    assert root.findtext("name") == name
    assert root.findtext("license") == "Apache-2.0"
    version = root.findtext("version") or "none"
    needed = {node.text for node in root if node.tag in ("depend", "exec_depend")}
    if name == "edge_alm_ros":
        assert version in (PACKAGE / "setup.py").read_text("utf-8")
        imported = {
            node.module.split(".")[0]
            for path in (PACKAGE / name).glob("*.py")
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom) and node.module
        }
        ros = {module for module in imported if module.endswith(("_msgs", "_srvs", "_interfaces"))}
        assert ros | {"rclpy"} <= needed


def test_only_three_modules_know_ros() -> None:
    know = {
        path.stem
        for path in (PACKAGE / "edge_alm_ros").glob("*.py")
        if re.search(r"^(import|from) (rclpy|\w+_msgs)", path.read_text("utf-8"), re.MULTILINE)
    }
    assert know == {"audio_reasoner", "diagnostics", "watch_for"}
