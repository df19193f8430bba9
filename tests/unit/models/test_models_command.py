from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from file_server import FileServer, serve
from test_store import CONTENT, artefact

from edge_alm.cli import models
from edge_alm.errors import ModelBrokenError, UsageError
from edge_alm.models import store
from edge_alm.models.catalog import catalogue


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    models.add_parser(parser.add_subparsers(required=True))
    args = parser.parse_args(["models", *words])
    status = args.run(args)
    assert isinstance(status, int)
    return status


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serve(CONTENT) as running:
        yield running


@pytest.fixture(autouse=True)
def empty_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_ALM_HOME", str(tmp_path))


@pytest.fixture
def tiny(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"tiny": artefact(server.url)}
    for module in (store, models):
        monkeypatch.setattr(module, "catalogue", lambda: known)
        monkeypatch.setattr(module, "find_artefact", known.__getitem__)


def test_list_names_every_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list") == 0
    out = capsys.readouterr().out
    assert all(name in out for name in catalogue())
    assert run("list", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(catalogue())
    assert {row["state"] for row in rows} == {"missing"}


def test_show_gives_licence_origin_and_hashes(capsys: pytest.CaptureFixture[str]) -> None:
    run("show", "yamnet")
    text = capsys.readouterr().out
    run("show", "yamnet", "--json")
    row = json.loads(capsys.readouterr().out)
    for file in row["files"]:
        assert file["sha256"] in text
    assert (row["licence"], row["default"]) == ("Apache-2.0", True)


def test_pull_prints_progress_as_lines_where_there_is_no_terminal(
    tiny: None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run("pull", "tiny") == 0
    out, err = capsys.readouterr()
    assert out == f"tiny: {tmp_path / 'tiny'}\n"
    assert err.splitlines()[-1] == "tiny: 100 %"
    assert len(err.splitlines()) <= 11


def test_pull_draws_a_bar_on_a_terminal(
    tiny: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    run("pull", "tiny")
    err = capsys.readouterr().err
    assert "[##############################] 0.4 MB of 0.4 MB" in err
    assert err.endswith("\n")


def test_a_misspelt_name_stops_before_any_download(
    server: FileServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match="smolm"):
        run("pull", "silero-vad", "smolm")
    assert server.requests == []


def test_verify_tells_good_from_broken(
    tiny: None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run("verify")
    assert "no models here" in capsys.readouterr().out
    run("pull", "tiny")
    assert run("verify") == 0
    assert "tiny: good" in capsys.readouterr().out
    (tmp_path / "tiny" / "file").write_bytes(bytes([CONTENT[0] ^ 1]) + CONTENT[1:])
    with pytest.raises(ModelBrokenError):
        run("verify", "tiny")
