"""Trees by seed, step and place, and what is left out of them."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phrase_files import write_phrases
from toy import LABELS, WIDTH, make_recording, tokenize, write_scenes

from edge_alm.errors import UsageError
from edge_alm.models.projector_file import HOP_LEVELS
from edge_alm.reasoning.prompts import (
    CHATML,
    NOTHING_HEARD,
    THOUGHT_START,
    end_line,
    pinned_prompt,
)
from export.lessons import (
    SHARES,
    Curriculum,
    Lessons,
    LessonsConfig,
    heard_in_order,
    is_mark,
    is_soft,
    is_sound_line,
    thinned,
    within,
)
from export.recordings import Recording, read_recordings, write_part
from export.replay import ALL, FAMILIES, FOLDS
from export.scenes import Placed
from export.trees import ROOT, Item, Tree, TreeMaker
from export.wordings import WORDINGS

RICH = LessonsConfig(
    drop_text=0.3,
    drop_soft=0.3,
    two_recordings=0.3,
    earlier_turns=0.3,
    thoughts=0.3,
    contrasts=0.5,
    long=0.3,
    questions=3,
    longest_tokens=4000,
)
HOPS = np.zeros((2, WIDTH), np.float16)
PINNED = len([t for p in pinned_prompt(CHATML, trained=True) for t in tokenize(*p)])


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("lessons") / "scenes")


def make(config: LessonsConfig, *folders: Path, seed: int = 0) -> Lessons:
    config = replace(config, train=tuple(map(str, folders)))
    return Lessons(config, TreeMaker(tokenize), tokenize, seed)


def text(tree: Tree, node: int | None = None) -> str:
    """A node's text, or all; a soft token is a NUL."""
    tokens = [t for t, n in zip(tree.tokens, tree.node, strict=True) if node in (None, n)]
    return "".join(chr(t) if t < 256 else "|" for t in tokens)


def scene_text(tree: Tree) -> str:
    """What the scene, without what stands before it, reads as."""
    return text(tree, ROOT)[PINNED:]


def tells_sounds(scene: str) -> bool:
    return re.search(r"\[[\d.]+-[\d.]+ [^\"]", scene) is not None


def same(a: Tree, b: Tree) -> bool:
    def plain(tree: Tree) -> tuple[object, ...]:
        soft = [hops.tobytes() for hops in tree.soft]
        lists = tree.tokens, tree.positions, tree.node, tree.soft_at, tree.rows, tree.targets
        return soft, lists, tree.continuation, tree.choices, tree.written

    return plain(a) == plain(b)


def test_a_tree_depends_on_seed_step_and_place_alone(scenes: Path) -> None:
    one, other = make(RICH, scenes), make(RICH, scenes)
    where = [(step, place) for step in range(3) for place in range(2)]
    trees = {at: one.tree(*at) for at in where}
    for at in reversed(where):
        assert same(other.tree(*at), trees[at])
    every = list(trees.values())
    assert not any(same(a, b) for i, a in enumerate(every) for b in every[:i])
    assert not same(make(RICH, scenes, seed=1).tree(0, 0), trees[0, 0])


def test_every_ingredient_comes_and_nothing_is_longer_than_allowed(scenes: Path) -> None:
    config = replace(RICH, longest_tokens=1200)
    lessons = make(config, scenes)
    trees = [lessons.tree(step, 0) for step in range(60)]
    assert all(len(tree) <= 1200 for tree in trees)
    found = Counter[str]()
    for tree in trees:
        scene = scene_text(tree)
        found["two"] += "Recording " in scene
        found["turns"] += "assistant" in scene
        found["thought"] += THOUGHT_START in text(tree)
        found["soft"] += bool(tree.soft_at)
        found["lines"] += tells_sounds(scene)
        found["choices"] += bool(tree.choices)
        (ended_s,) = map(float, re.findall(r"\[([\d.]+) end;", scene))
        found["long"] += ended_s > 8.0
        assert tree.written or tree.choices
        assert len(tree.soft_at) == scene.count("\0")
    names = "two", "turns", "thought", "soft", "lines", "long"
    assert all(5 <= found[name] <= 55 for name in names), found
    assert found["choices"] > 30


def test_a_scene_is_sought_that_allows_what_few_do(scenes: Path) -> None:
    few = replace(RICH, two_recordings=0.0, skills=("which",), questions=1, earlier_turns=0.0)

    def longest(config: LessonsConfig) -> int:
        lessons = make(config, scenes)
        texts = [text(lessons.tree(step, 0)) for step in range(30)]
        return sum(any(wording in each for wording in WORDINGS["longest"]) for each in texts)

    assert longest(few) == 0
    assert longest(replace(few, sought=("longest",), seek=1.0)) == 30


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All alike: they know every label."""
    folder = tmp_path_factory.mktemp("towers")
    names = [ALL, *(f"{family}{i}" for family in FAMILIES for i in range(FOLDS))]
    for name in names:
        write_phrases(folder / f"{name}.npz", LABELS, LABELS, n_in=WIDTH - HOP_LEVELS)
    return folder


def test_before_its_question_stands_what_the_scene_is_like(scenes: Path, towers: Path) -> None:
    plain = replace(RICH, drop_text=0.0, drop_soft=0.0, choices=1.0, longest_tokens=9000)
    lessons = make(replace(plain, towers=str(towers)), scenes)
    told = 0
    for step in range(20):
        tree = lessons.tree(step, 0)
        assert "[like " not in scene_text(tree)
        for node in range(1, len(tree.above)):
            lines = re.findall(r"\[like \w+ \d+[^]]*\]\n", text(tree, node))
            if not lines:
                continue
            told += 1
            before, _, after = text(tree, node).partition("Question: ")
            assert before.count("[like ") == len(lines) <= 2
            assert "[like " not in after
    assert told > 40


def right_option(tree: Tree, choice: tuple[int, ...]) -> str:
    """Text of the option that is right, without the end of the turn."""
    targets = [t for t, i in zip(tree.targets, tree.continuation, strict=True) if i == choice[0]]
    return "".join(map(chr, targets[:-1]))


def test_of_renamed_sounds_the_line_before_the_question_alone_tells_the_name(
    towers: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    timelines = [[Placed(label, 0.0, 2.0, -20.0)] for label in LABELS]
    write_part(tmp_path / "0000", [make_recording(rng, timeline) for timeline in timelines])
    config = LessonsConfig(
        towers=str(towers),
        renamed=1.0,
        skills=("which",),
        questions=1,
        longest_tokens=4000,
        thoughts=1.0,
        drop_text=0.5,
    )
    lessons = make(config, tmp_path)
    names = set()
    for step in range(40):
        tree = lessons.tree(step, 0)
        (choice,) = tree.choices
        assert not tree.written
        assert THOUGHT_START not in text(tree)
        name = right_option(tree, choice)
        (old,) = re.findall(r"\[[\d.]+-[\d.]+ (\w+)", scene_text(tree))
        assert name in LABELS
        assert name != old
        (told,) = re.findall(r"\[like (\w+) 0", text(tree))
        assert told == name
        names.add((old, name))
    assert len(names) > 10


def test_renaming_wants_towers() -> None:
    with pytest.raises(ValueError, match="towers"):
        LessonsConfig(renamed=0.5)


def test_scenes_without_their_lines_are_not_told_what_they_are_like(
    scenes: Path, towers: Path
) -> None:
    bare = replace(RICH, drop_text=1.0, drop_soft=0.0, towers=str(towers))
    for config in (bare, replace(bare, drop_text=0.0, likeness=0.0)):
        lessons = make(config, scenes)
        assert all("[like " not in text(lessons.tree(step, 0)) for step in range(10))


@pytest.mark.parametrize("drop", [0.0, 0.5])
def test_sole_kinds_of_input(scenes: Path, drop: float) -> None:
    plain = replace(RICH, drop_text=drop, drop_soft=drop, earlier_turns=0.0)
    lessons = make(replace(plain, inputs="text"), scenes)
    for step in range(20):
        tree = lessons.tree(step, 0)
        assert not tree.soft_at
        assert tells_sounds(scene_text(tree))
    lessons = make(replace(plain, inputs="soft"), scenes)
    for step in range(20):
        tree = lessons.tree(step, 0)
        assert tree.soft_at
        assert not tells_sounds(scene_text(tree))


def test_a_sole_kind_passes_over_sounds_it_has_nothing_of(tmp_path: Path) -> None:
    heard = make_recording(np.random.default_rng(0))
    unheard = Recording(("[0.0]", HOPS), (Placed("cat", 0.0, 1.0, -20.0),), 2.0)
    silence = Recording(("[0.0]", HOPS), (), 2.0)
    for name, scenes in (("sounds", [heard, unheard]), ("all", [heard, unheard, silence])):
        (tmp_path / name).mkdir()
        write_part(tmp_path / name / "0000", scenes)
    config = LessonsConfig(inputs="text", longest_tokens=4000)
    lessons = make(config, tmp_path / "sounds")
    nothing = NOTHING_HEARD + end_line(silence.duration_s)
    assert nothing not in {scene_text(lessons.tree(step, 0)) for step in range(20)}
    lessons = make(config, tmp_path / "all")
    seen = {scene_text(lessons.tree(step, 0)) for step in range(20)}
    (line,) = filter(is_sound_line, heard.items[:3])
    assert len(seen) == 2
    assert nothing in seen
    assert any(str(line) in scene for scene in seen)


scene_items = st.lists(
    st.sampled_from(
        [
            "[1.0]",
            "[12.5]",
            "[1.0-2.0 dog bark]\n",
            "[3.0-4.0 rain 0.4]\n",
            '[5.0-6.0 "left"]\n',
            HOPS,
        ]
    ),
    max_size=6,
)


@given(items=scene_items, drop_text=st.booleans(), drop_soft=st.booleans())
def test_thinned_leaves_a_kind_out_and_never_everything(
    items: list[Item], drop_text: bool, drop_soft: bool
) -> None:
    kept = thinned(items, text=drop_text, soft=drop_soft)
    said = [item for item in items if isinstance(item, str) and '"' in item]
    gone = (drop_text and any(map(is_sound_line, items))) or (
        drop_soft and any(map(is_soft, items))
    )
    if len(kept) == len(items):
        left = [i for i in items if not is_mark(i)]
        left = [i for i in left if not (drop_text and is_sound_line(i))]
        left = [i for i in left if not (drop_soft and is_soft(i))]
        assert not (gone and left)
    else:
        assert not (drop_text and any(map(is_sound_line, kept)))
        assert not (drop_soft and any(map(is_soft, kept)))
        assert any(not is_mark(item) for item in kept)
    assert [item for item in kept if isinstance(item, str) and '"' in item] == said
    assert bool(kept) == bool(items)


@given(
    seed=st.integers(0, 99),
    by_s=st.floats(0.0, 500.0),
    quiet_s=st.floats(0.0, 50.0),
)
def test_a_scene_within_a_longer_one_is_the_same_later(
    seed: int, by_s: float, quiet_s: float
) -> None:
    """Line for line: the times that the lines tell go with the timeline, and nothing else does."""
    alone = make_recording(np.random.default_rng(seed))
    found = within(alone, by_s, round(alone.duration_s + by_s + quiet_s, 1))
    assert len(found.items) == len(alone.items)
    later_s = round(by_s, 1)
    for item, before in zip(found.items, alone.items, strict=True):
        if isinstance(before, str):
            assert isinstance(item, str)
            told, untold = re.findall(r"\d+\.\d", item), re.split(r"\d+\.\d", item)
            assert untold == re.split(r"\d+\.\d", before)
            times = [float(time) + later_s for time in re.findall(r"\d+\.\d", before)]
            assert [float(time) for time in told] == pytest.approx(times, abs=0.051)
        else:
            assert item is before
    for placed, before_it in zip(found.timeline, alone.timeline, strict=True):
        assert placed.start_s - before_it.start_s == pytest.approx(later_s)
        assert replace(placed, start_s=before_it.start_s, end_s=before_it.end_s) == before_it
        assert placed.end_s <= found.duration_s + 0.1


def test_named_hops_are_of_scenes_with_one_kind_of_sound(scenes: Path) -> None:
    hops, words = make(RICH, scenes).named_hops()
    names = {bytes(tokens).decode().strip() for tokens in words}
    assert len(hops) == len(words)
    assert names <= set(LABELS)
    for hop, tokens in zip(hops, words, strict=True):
        assert LABELS[int(hop[: len(LABELS)].argmax())] == bytes(tokens).decode().strip()
    alone = [r for r in read_recordings(scenes) if len({p.label for p in r.timeline}) == 1]
    assert len(hops) == sum(recording.hops for recording in alone) > 0


def test_a_thought_names_every_sound_as_often_as_it_came() -> None:
    placed = [Placed(label, 1.0 * i, i + 0.5, -20.0) for i, label in enumerate(["a", "b", "a"])]
    assert heard_in_order(placed) == "a, b, a"
    assert heard_in_order([]) == "nothing"


@pytest.mark.parametrize("name", SHARES)
@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan")])
def test_a_share_out_of_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name}: between 0 and 1"):
        LessonsConfig(**{name: value})  # type: ignore[arg-type]


def test_other_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="inputs: one of both, soft, text, got 'sound'"):
        LessonsConfig(inputs="sound")
    with pytest.raises(ValueError, match="together"):
        LessonsConfig(drop_text=0.6, drop_soft=0.6)
    with pytest.raises(ValueError, match="questions"):
        LessonsConfig(questions=0)


def test_what_cannot_be_learnt_from_is_refused(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected folders of recorded scenes, got none"):
        make(RICH)
    silent, other = tmp_path / "silent", tmp_path / "other"
    for folder, hops, timeline in (
        (silent, HOPS, ()),
        (other, HOPS[:, :-1], (Placed("cat", 0.0, 1.0, -20.0),)),
    ):
        folder.mkdir()
        write_part(folder / "0000", [Recording((hops,), timeline, 2.0)])
    with pytest.raises(UsageError, match="0 sounds"):
        make(RICH, silent)
    with pytest.raises(UsageError, match="widths"):
        make(RICH, scenes, other)
    with pytest.raises(UsageError, match=r"longest_tokens.*got 50"):
        make(replace(RICH, longest_tokens=50), scenes).tree(0, 0)


def test_imagined_scenes_are_learnt_from(models: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    hops = np.abs(rng.normal(0, 1, (64, 1028))).astype(np.float16)
    real = Recording(("[0.0]", hops), (Placed("unheard of", 0.0, 30.0, -20.0),), 31.0)
    write_part(tmp_path / "0000", [real])
    lessons = make(LessonsConfig(imagined=1.0, longest_tokens=4000), tmp_path)
    trees = [lessons.tree(step, 0) for step in range(3)]
    assert all(0 < len(tree.soft_at) != 64 for tree in trees)
    assert all(soft.shape[1] == 1028 for tree in trees for soft in tree.soft)
    again = make(LessonsConfig(imagined=1.0, longest_tokens=4000), tmp_path)
    assert all(same(again.tree(step, 0), tree) for step, tree in enumerate(trees))


def test_skills_and_shares_choose_what_is_learnt(scenes: Path, tmp_path: Path) -> None:
    one = next(r for r in read_recordings(scenes) if r.timeline)
    other = tmp_path / "other"
    other.mkdir()
    write_part(other / "0000", [one])
    folders = (str(scenes), str(other))
    config = LessonsConfig(train=folders, shares=(0.0, 1.0), skills=("caption",), questions=1)
    lessons = make(config, scenes, other)
    labels = [label for label, _ in groupby(placed.label for placed in one.timeline)]
    for place in range(4):
        assert ", then ".join(labels) in text(lessons.tree(0, place))


def test_a_curriculum_goes_from_one_phase_to_the_next(scenes: Path) -> None:
    first = LessonsConfig(train=(str(scenes),), questions=1)
    then = replace(first, questions=4)
    both = Curriculum([(3, first), (9, then)], TreeMaker(tokenize), tokenize, 0)
    for step, config in ((0, first), (2, first), (3, then), (8, then), (40, then)):
        assert same(both.tree(step, 1), make(config, scenes).tree(step, 1))
    assert not same(both.tree(2, 1), make(then, scenes).tree(2, 1))


@pytest.mark.parametrize("shares", [(1.0,), (0.0, 0.0), (-1.0, 2.0)])
def test_shares_that_are_none_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="shares"):
        LessonsConfig(train=("a", "b"), shares=shares)
