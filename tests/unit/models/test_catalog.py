from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from edge_alm.errors import UsageError
from edge_alm.models.catalog import (
    ModelFile,
    WebSource,
    WheelSource,
    catalogue,
    default_artefacts,
    find_artefact,
)

OPEN = {"MIT", "Apache-2.0"}


def test_every_entry_is_complete() -> None:
    for artefact in catalogue().values():
        assert artefact.what
        assert urlsplit(artefact.origin).scheme == "https"
        names = [file.name for file in artefact.files + artefact.raw]
        assert len(set(names)) == len(names)
        for source in artefact.sources:
            if isinstance(source, WheelSource):
                assert source.wheel.count("==") == 1
                assert source.size_bytes > 0
                # Each file must be found in the wheel, and nothing else be looked for.
                assert set(source.paths) == {file.name for file in artefact.fetched}
            else:
                assert set(source.paths) <= set(names)


def test_the_default_models_are_there_and_openly_licensed() -> None:
    names = default_artefacts()
    assert names == ("silero-vad", "yamnet", "whisper-tiny.en", "smollm2-135m-instruct")
    assert {find_artefact(name).licence for name in names} <= OPEN


def test_a_hub_is_pinned_to_a_revision_and_can_be_mirrored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    (source,) = find_artefact("qwen2.5-0.5b-instruct").sources
    assert isinstance(source, WebSource)
    assert len(source.revision) == 40
    assert source.url("a b.gguf") == (
        "https://huggingface.co/Qwen/Qwen2.5-0.5B-Instruct-GGUF/resolve/"
        f"{source.revision}/a%20b.gguf"
    )
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:8080/")
    assert source.url("x").startswith("http://127.0.0.1:8080/Qwen/")


def test_a_url_source_keeps_files_under_other_names() -> None:
    source = WebSource("here", "http://h/models/", paths={"m.bin": "v1/m"})
    assert (source.url("m.bin"), source.url("n")) == ("http://h/models/v1/m", "http://h/models/n")


def test_a_file_cannot_leave_its_folder_or_lack_a_hash() -> None:
    for name in ("../x", "a/b", "/x", "", ".complete", "x\n"):
        with pytest.raises(ValueError, match="file name"):
            ModelFile(name, 1, "0" * 64)
    for size_bytes, sha256 in ((0, "0" * 64), (1, ""), (1, "0" * 63), (1, "G" * 64)):
        with pytest.raises(ValueError, match="SHA-256"):
            ModelFile("x", size_bytes, sha256)


def test_the_definition_changes_with_any_file() -> None:
    hashes = {artefact.sha256 for artefact in catalogue().values()}
    assert len(hashes) == len(catalogue())


def test_an_unknown_name_is_the_users_mistake() -> None:
    with pytest.raises(UsageError, match="expected one of silero-vad"):
        find_artefact("nix")
