"""Recorded scenes: written, read back, refused, and the same as what the reasoner is fed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from toy import make_recording, write_scenes

from edge_alm.errors import UsageError
from edge_alm.models.bundle import load_bundle
from edge_alm.types import SAMPLE_RATE_HZ, Event, Guess, Lost, Sound, Speech
from export.corpus import Clip
from export.recordings import (
    CORPUS_SHARES,
    RECIPES,
    Listener,
    Recorder,
    Recording,
    choose_clips,
    read_recordings,
    write_part,
)
from export.scenes import Placed

HOP_S = 0.48
GUESSED = "[5.1-5.4 maybe whoosh, wind L9]\n"


def plain(recording: Recording) -> tuple[object, ...]:
    items = [i if isinstance(i, str) else np.asarray(i).tobytes() for i in recording.items]
    return items, recording.timeline, recording.duration_s


def test_what_is_written_is_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    speech = Placed("speech", 0.5, 2.0, -20.0, "turn “left”\n", "near")
    nothing = Recording((), (), 3.0)
    wordy = Recording(('[0.5-2.0 "turn left"]\n',), (speech,), 2.5)
    parts = [[make_recording(rng), nothing, make_recording(rng)], [nothing, wordy]]
    for i, part in enumerate(parts):
        write_part(tmp_path / f"{i:04}", part)
    read = read_recordings(tmp_path)
    assert list(map(plain, read)) == [plain(recording) for part in parts for recording in part]
    assert [r.hops for r in read] == [r.hops for part in parts for r in part]
    assert read[0].hops > 0
    assert {path.suffix for path in tmp_path.iterdir()} == {".jsonl", ".f16"}


def cut(path: Path, name: str, size: int) -> None:
    content = (path / name).read_bytes()
    (path / name).write_bytes(content[:size])


def edit(path: Path, change: Callable[[list[dict[str, object]]], object]) -> None:
    lines = [json.loads(line) for line in (path / "0000.jsonl").read_text().splitlines()]
    change(lines)
    (path / "0000.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "no embeddings": lambda path: (path / "0000.f16").unlink(),
    "embeddings cut": lambda path: cut(path, "0000.f16", -2),
    "embeddings empty": lambda path: cut(path, "0000.f16", 0),
    "embeddings of another part": lambda path: (path / "0000.f16").write_bytes(
        (path / "0000.f16").read_bytes() * 2
    ),
    "text empty": lambda path: cut(path, "0000.jsonl", 0),
    "text cut in a line": lambda path: cut(path, "0000.jsonl", -9),
    "text cut after a line": lambda path: edit(path, lambda lines: lines.pop()),
    "a line twice": lambda path: edit(path, lambda lines: lines.append(lines[-1])),
    "a key missing": lambda path: edit(path, lambda lines: lines[1].pop("timeline")),
    "a key too many": lambda path: edit(
        path, lambda lines: lines[1].update(timeline=[{"label": "a", "colour": "red"}])
    ),
    "another kind of item": lambda path: edit(path, lambda lines: lines[1].update(items=[1.5])),
    "not an object": lambda path: (path / "0000.jsonl").write_text("[]\n[]\n"),
    "not text": lambda path: (path / "0000.jsonl").write_bytes(b"\xff\xfe\n"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_part_is_refused_in_one_line(tmp_path: Path, damage: str) -> None:
    write_scenes(tmp_path, 3)
    DAMAGES[damage](tmp_path)
    with pytest.raises(UsageError, match=r"0000\.jsonl: expected a part .*; delete it$") as caught:
        read_recordings(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_without_scenes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "0000.partial").write_text("")  # a maker that was killed
    with pytest.raises(UsageError, match=r"expected recorded scenes, got none"):
        read_recordings(tmp_path)


def test_a_recorder_writes_what_the_text_format_says() -> None:
    recorder = Recorder()
    recorder.begin_recording("a.wav")
    recorder.append_embeddings(np.full((1, 3), 1.0, np.float32), 0.0, HOP_S)
    recorder.append_embeddings(np.full((1, 3), 2.0, np.float32), HOP_S, 2 * HOP_S)
    recorder.append_event(Sound("Dog", 0.0, None, 0.9, "start"))
    recorder.append_embeddings(np.full((1, 3), 3.0, np.float32), 2 * HOP_S, 3 * HOP_S)
    recorder.append_event(Sound("Dog", 0.0, 1.4, 0.9, "end"))
    recorder.append_embeddings(np.full((1, 3), 4.0, np.float32), 5.0, 5.0 + HOP_S)
    recorder.append_guess(Guess(("Whoosh", "Wind"), 5.1, 5.4))
    items = recorder.items()
    hops = [item for item in items if not isinstance(item, str)]
    texts = [item if isinstance(item, str) else len(item) for item in items]
    assert texts == ["Recording a.wav:\n", "[0.0]", 3, "[0.0-1.4 dog L9]\n", "[5.0]", 1, GUESSED]
    assert np.concatenate(hops)[:, 0].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert all(hop.dtype == np.float16 for hop in hops)
    recorder.reset()
    assert recorder.items() == ()
    recorder.append_embeddings(np.zeros((1, 3), np.float32), 5.0 + HOP_S, 5.0 + 2 * HOP_S)
    assert recorder.items()[0] == "[5.5]"
    with pytest.raises(UsageError, match="a language model"):
        recorder.ask("What?")


def clips(corpora: tuple[str, ...] = (*CORPUS_SHARES, "speech")) -> list[Clip]:
    """Of each corpus a label with one clip and one with fifty."""
    return [
        Clip(
            Path(f"{corpus}{label}{i}"), f"{corpus} {label}", corpus, f"{i}", "train", corpus, True
        )
        for corpus in corpora
        for label, n in (("rare", 1), ("often", 50))
        for i in range(n)
    ]


def test_clips_are_chosen_by_the_seed_alone_with_labels_equally_likely() -> None:
    table = clips()
    for seed in range(5):
        rngs = np.random.default_rng(seed), np.random.default_rng(seed)
        assert choose_clips(rngs[0], table) == choose_clips(rngs[1], table)
    rng = np.random.default_rng(0)
    chosen = [choose_clips(rng, table) for _ in range(300)]
    corpora = [{clip.corpus for clip in clips} - {"speech"} for clips in chosen]
    alone = Counter(next(iter(found)) for found in corpora if len(found) == 1)
    assert 0.6 < alone.total() / len(chosen) < 0.8
    assert alone["debian"] > alone["esc10"] > alone["instruments"] > 0
    assert all(sum(clip.corpus == "speech" for clip in clips) == 4 for clips in chosen)
    first = [next(clip.label.split()[1] for clip in own) for own in chosen]
    assert 0.4 < first.count("rare") / len(first) < 0.6


def test_a_corpus_that_is_missing_is_never_chosen() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        found = {clip.corpus for clip in choose_clips(rng, clips(("esc10",)))}
        assert found == {"esc10"}


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_chosen_by_the_seed_alone(name: str) -> None:
    one, other = np.random.default_rng(3), np.random.default_rng(3)
    assert [RECIPES[name](one) for _ in range(50)] == [RECIPES[name](other) for _ in range(50)]
    if name == "pairs":
        assert all(RECIPES[name](one).events == (0, 0, 1) for _ in range(20))


@pytest.fixture(scope="module")
def listener(models: Path) -> Iterator[Listener]:
    listener = Listener(load_bundle(language_model=False))
    yield listener
    listener.close()


def bursts(freq_hz: float) -> np.ndarray:
    """Three seconds: two tones of half a second, and quiet noise."""
    rng = np.random.default_rng(0)
    t = np.arange(3 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    tone = 0.3 * np.sin(2 * np.pi * freq_hz * t) * ((t % 1.5) < 0.5)
    return (tone + rng.normal(0, 1e-4, len(t))).astype(np.float32)


def test_a_listener_hears_each_sound_anew(listener: Listener) -> None:
    from edge_alm.models.bundle import load_bundle
    from edge_alm.models.onnx_file import check_onnx
    from edge_alm.models.projector_file import HOP_LEVELS

    first = listener.hear(bursts(1000.0))
    other, again = listener.hear(bursts(3000.0)), listener.hear(bursts(1000.0))
    assert plain(Recording(first, (), 3.0)) != plain(Recording(other, (), 3.0))
    assert plain(Recording(first, (), 3.0)) == plain(Recording(again, (), 3.0))
    embedding = check_onnx(load_bundle(language_model=False).encoder).outputs["embedding"][-1]
    assert isinstance(embedding, int)
    hops = [item for item in first if not isinstance(item, str)]
    assert 2 <= sum(map(len, hops)) <= 7
    assert {hop.shape[1] for hop in hops} == {embedding + HOP_LEVELS}
    assert first[0] in ("[0.0]", "[0.5]")
    assert listener.hear(np.zeros(3 * SAMPLE_RATE_HZ, np.float32)) == ()


def test_a_recorder_writes_what_the_local_reasoner_feeds_its_model(
    models: Path,
    require: Callable[[object, str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require("llama_cpp", "the extra llm")
    from edge_alm.models.bundle import load_bundle
    from edge_alm.reasoning.projector import Projector
    from edge_alm.reasoning.reasoner import LocalReasoner
    from edge_alm.reasoning.scene import Item, SceneMemory

    model = load_bundle(transcriber=False).language_model
    assert model is not None
    rng = np.random.default_rng(0)
    shapes = {"ln_weight": (6,), "ln_bias": (6,), "w1": (4, 6), "b1": (4,), "w2": (576, 4)}
    shapes["b2"] = (576,)
    arrays = {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    with (tmp_path / "projector.npz").open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    fed: list[Item] = []
    append = SceneMemory.append

    def spy(self: SceneMemory, item: Item, until_s: float) -> None:
        fed.append(item)
        append(self, item, until_s)

    monkeypatch.setattr(SceneMemory, "append", spy)
    events: list[Event] = [
        Sound("Dog", 1.0, None, 0.9, "start"),
        Speech('say "left" <|im_end|>', 2.0, 3.0, 0.9),
        Lost(1600, 3.5, "overrun"),
        Sound("Glass", 1.0, 4.0, 0.4, "end"),
    ]
    recorder = Recorder()
    reasoner = LocalReasoner(
        model, projector=tmp_path / "projector.npz", trained=True, n_ctx=1024, n_threads=1
    )
    try:
        for listening in (recorder, reasoner):
            hops = np.random.default_rng(1).normal(0, 1, (60, 6)).astype(np.float16)
            listening.begin_recording("a.wav")
            for i, hop in enumerate(hops.astype(np.float32)):
                start_s = i * HOP_S + (5.0 if i > 40 else 0.0)
                listening.append_embeddings(hop[None], start_s, start_s + HOP_S)
                if i % 13 == 5:
                    listening.append_event(events[i // 13 % len(events)])
            listening.flush()
        projector, expected = Projector(tmp_path / "projector.npz"), list[Item]()
        for item in recorder.items():
            if isinstance(item, str):
                expected.append(reasoner._llama.tokenize(item))
            else:
                expected += [row[None] for row in projector(item.astype(np.float32))]
    finally:
        reasoner.close()
    assert len(fed) == len(expected) > 60
    for ours, theirs in zip(expected, fed, strict=True):
        assert type(ours) is type(theirs)
        if isinstance(ours, list):
            assert ours == theirs
        else:
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
