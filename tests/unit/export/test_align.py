"""Training: it learns, the same every time, and a killed run goes on as if nothing had happened."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from torch import Tensor
from toy import CONTROL, WIDTH, make_model, tokenize, write_scenes

from edge_alm.errors import UsageError
from export import align
from export.align import Trainer, learning_rate, tree_loss
from export.hearing_model import Projector, build, load_language_model, load_weights, trainable
from export.lessons import Lessons, LessonsConfig
from export.runs import CHECKPOINT, LOG, load_float, load_run, read_checkpoint
from export.settings import Config, ModelConfig, TrainingConfig, read_config
from export.trees import Branch, Item, Tree, TreeMaker

ROOT = Path(__file__).resolve().parents[3]
STEPS = 30
DATA = LessonsConfig(
    drop_text=0.2, drop_soft=0.2, thoughts=0.2, contrasts=0.5, questions=2, longest_tokens=900
)
CONFIG = Config(
    DATA,
    ModelConfig(4, 8, 16),
    TrainingConfig(
        steps=STEPS,
        batch=4,
        micro_batch=2,
        warmup=3,
        decay=5,
        lr_projector=5e-3,
        lr_adapter=1e-2,
        warm_start=3,
        checkpoint_every=5,
    ),
)


@pytest.fixture(autouse=True, scope="module")
def on_the_cpu() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "true")
        yield


@pytest.fixture(autouse=True)
def any_precision() -> None:
    """accelerate holds a process to the first one."""
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("align") / "scenes")


class Killed(BaseException):
    """As SIGKILL would, it leaves no time for anything."""


class MortalLessons(Lessons):
    """Dies in the middle of a step."""

    dies_at = STEPS

    def tree(self, step: int, place: int) -> Tree:
        if (step, place) == (self.dies_at, 2):
            raise Killed
        return super().tree(step, place)


def train(
    scenes: Path, out: Path, *, dies_at: int = STEPS, seed: int = 0, **changes: Any
) -> dict[str, Tensor]:
    """All trained weights after a run, everything made anew as in a new process."""
    data = replace(CONFIG.data, train=(str(scenes),))
    config = Config(data, CONFIG.model, replace(CONFIG.training, seed=seed, **changes))
    lessons = MortalLessons(data, TreeMaker(tokenize), tokenize, seed)
    lessons.dies_at = dies_at
    plain = make_model()
    torch.seed()  # what else happened in the process does not matter
    model = build(plain, lessons.n_in, config.model, seed)
    AcceleratorState._reset_state(reset_partial_state=True)
    Trainer(model, lessons, config, out).run()
    kinds = {value.dtype for value in model.parameters() if not value.requires_grad}
    wanted = torch.bfloat16 if config.training.mixed_precision == "bf16" else torch.float32
    assert kinds == {wanted}
    return {name: value.detach().clone() for name, value in trainable(model).items()}


def log(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / LOG).read_text().splitlines()]


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def trained(
    scenes: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Tensor]]:
    out = tmp_path_factory.mktemp("align") / "whole"
    return out, train(scenes, out)


def test_the_losses_fall(trained: tuple[Path, dict[str, Tensor]]) -> None:
    lines = log(trained[0])
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    for name in ("written", "chosen"):
        first, last = (np.mean([line[name] for line in part]) for part in (lines[:5], lines[-5:]))
        assert last < 0.85 * first, name


def test_every_part_is_trained_and_nothing_else(trained: tuple[Path, dict[str, Tensor]]) -> None:
    model = build(make_model(), WIDTH, CONFIG.model, 0)
    before, after = trainable(model), trained[1]
    assert all(not torch.equal(before[name], after[name]) for name in before)
    adapted = {name.split(".")[-4] for name in before if "lora" in name}
    assert adapted == {f"{part}_proj" for part in ("q", "k", "v", "o", "gate", "up", "down")}
    assert all("lora" in name or name.startswith("projector.") for name in before)


def test_one_seed_gives_the_same_weights_and_another_others(
    scenes: Path, tmp_path: Path, trained: tuple[Path, dict[str, Tensor]]
) -> None:
    assert_same(train(scenes, tmp_path / "again"), trained[1])
    with pytest.raises(Killed):
        train(scenes, tmp_path / "other", dies_at=1, seed=1)
    assert log(tmp_path / "other")[0]["written"] != log(trained[0])[0]["written"]


def test_a_killed_run_goes_on_bit_for_bit(
    scenes: Path, tmp_path: Path, trained: tuple[Path, dict[str, Tensor]]
) -> None:
    out = tmp_path / "killed"
    for dies_at, saved in ((3, None), (12, 10), (13, 10), (27, 25)):
        with pytest.raises(Killed):
            train(scenes, out, dies_at=dies_at)
        assert len(log(out)) == dies_at
        found = read_checkpoint(out)["step"] if (out / CHECKPOINT).exists() else None
        assert found == saved
    (out / f"{CHECKPOINT}.partial").write_bytes(b"killed while it saved")
    assert_same(train(scenes, out), trained[1])
    for one, other in zip(log(out), log(trained[0]), strict=True):
        assert {**one, "took_s": 0} == {**other, "took_s": 0}
    whole, resumed = (read_checkpoint(folder)["optimizer"] for folder in (trained[0], out))
    assert str(whole["param_groups"]) == str(resumed["param_groups"])
    for i, state in whole["state"].items():
        assert all(torch.equal(value, resumed["state"][i][key]) for key, value in state.items())


def test_a_killed_run_in_bfloat16_goes_on_bit_for_bit(scenes: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"mixed_precision": "bf16", "steps": 8}
    whole = train(scenes, tmp_path / "whole", **changes)
    with pytest.raises(Killed):
        train(scenes, tmp_path / "killed", dies_at=6, **changes)
    assert_same(train(scenes, tmp_path / "killed", **changes), whole)
    assert {value.dtype for value in whole.values()} == {torch.float32}
    in_float = train(scenes, tmp_path / "float", steps=8)
    assert not all(torch.equal(whole[name], in_float[name]) for name in whole)


def test_a_finished_run_is_left_as_it_is(
    scenes: Path, tmp_path: Path, trained: tuple[Path, dict[str, Tensor]]
) -> None:
    shutil.copytree(trained[0], tmp_path / "done")
    assert_same(train(scenes, tmp_path / "done", dies_at=0), trained[1])
    assert (tmp_path / "done" / LOG).read_text() == (trained[0] / LOG).read_text()


def test_the_learning_rate_rises_stays_and_falls_to_a_tenth() -> None:
    config = TrainingConfig(steps=100, warmup=10, decay=40)
    rates = [learning_rate(step, config) for step in range(100)]
    assert rates[:10] == pytest.approx(np.linspace(0.1, 1.0, 10))
    assert set(rates[9:61]) == {1.0}
    assert rates[60:96] == pytest.approx(np.linspace(1.0, 5 / 40, 36))
    assert rates[96:] == [0.1] * 4
    assert learning_rate(0, TrainingConfig(steps=1, warmup=0, decay=0)) == 1.0


def test_the_projector_is_the_runtimes(tmp_path: Path) -> None:
    from edge_alm.reasoning.projector import Projector as Runtime

    torch.manual_seed(0)
    ours = Projector(WIDTH, 16, 32)
    with torch.no_grad():
        ours.ln.weight.normal_()
        ours.ln.bias.normal_()
    arrays: dict[str, Any] = dict(ours.arrays())
    np.savez(tmp_path / "projector.npz", **arrays)
    theirs = Runtime(tmp_path / "projector.npz")
    hops = np.random.default_rng(0).normal(1, 3, (7, WIDTH)).astype(np.float32)
    with torch.no_grad():
        soft = ours(torch.from_numpy(hops)).numpy()
    np.testing.assert_allclose(soft, theirs(hops), rtol=1e-5, atol=1e-5)


def test_the_loss_is_that_of_the_answers_words_and_of_the_choice() -> None:
    branches = [
        Branch("a?", ("xx", "y", "zzz"), 1),
        Branch("b?", ("xy",), 0),
        Branch("c?", ("p", "q"), 0, write=False),
    ]
    tree = TreeMaker(tokenize).make([], branches)
    scores = -torch.rand(len(tree.rows), generator=torch.Generator().manual_seed(0)) * 4
    sums = [0.0] * tree.continuations
    for number, score in zip(tree.continuation, scores.tolist(), strict=True):
        sums[number] += score
    x, y, z, xy, p, q = sums
    written = -(y + xy) / (2 + 3)
    chosen = [np.log(np.exp([x, y, z]).sum()) - y, np.log(np.exp([p, q]).sum()) - p]
    loss, outcome = tree_loss(tree, scores, 0.5)
    assert float(loss) == pytest.approx(written + 0.5 * np.mean(chosen), rel=1e-5)
    assert outcome.tokens == 5
    assert outcome.written == pytest.approx(-(y + xy), rel=1e-5)
    assert outcome.chosen == pytest.approx(sum(chosen), rel=1e-5)
    assert outcome.right == (y > max(x, z)) + (p > q)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_the_shipped_configuration_is_read_and_can_be_overridden(tmp_path: Path) -> None:
    path = ROOT / "export" / "align.toml"
    changes = ["training.steps=7", 'data.train=["here"]', "data.shares=[]", "training.lr_adapter=1"]
    config = read_config(path, changes)
    assert (config.training.steps, config.data.train) == (7, ("here",))
    assert config.training.lr_adapter == 1.0
    plain = read_config(path)
    steps, lr = plain.training.steps, plain.training.lr_adapter
    assert replace(config.training, steps=steps, lr_adapter=lr) == plain.training
    assert read_config(write(tmp_path / "empty.toml", "")) == Config(
        LessonsConfig(), ModelConfig(), TrainingConfig()
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[train]\nsteps = 1", "unknown section train"),
        ("[training]\nstep = 1", "unknown key step, known: batch,"),
        ("[training]\nsteps = 1.5", "steps: a value like 600, got 1.5"),
        ("[training]\nsteps = true", "steps: a value like 600, got True"),
        ("[training]\nsteps = 0", "steps: at least 1"),
        ("[training]\nbatch = -1", "batch: at least 1"),
        ("[training]\nmixed_precision = 'fp8'", "mixed_precision: one of no, bf16, got 'fp8'"),
        ("[training]\nseed = -1", "seed: not negative"),
        ("[model]\nrank = 0", "rank: at least 1"),
        ("[data]\nimagined = '0.2'", "imagined: a value like 0.0"),
        ("[data]\nthoughts = 2", "thoughts: between 0 and 1"),
        ("data = 3", "a section is a table, got 3"),
        ("[data", "at end of document"),
    ],
)
def test_a_wrong_configuration_is_refused_in_one_line(
    tmp_path: Path, text: str, words: str
) -> None:
    path = write(tmp_path / "align.toml", text)
    with pytest.raises(UsageError) as caught:
        read_config(path)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{path}: expected a training configuration, got ")
    assert "\n" not in str(caught.value)


def test_no_configuration_and_a_wrong_override_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_config(tmp_path / "missing.toml")
    path = write(tmp_path / "align.toml", "")
    for override in ("training.step=1", "training", "data=3", "model.rank=two"):
        with pytest.raises(UsageError, match="expected a training configuration"):
            read_config(path, [override])


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model and its tokenizer as transformers keeps them."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("model")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([AddedToken(word, special=True) for word in CONTROL])
    PreTrainedTokenizerFast(tokenizer_object=inner).save_pretrained(folder)
    make_model().save_pretrained(folder)
    return folder


def test_only_control_text_becomes_control_tokens(model_folder: Path) -> None:
    model, read = load_language_model(model_folder)
    assert not any(value.requires_grad for value in model.parameters())
    text = "<|im_start|>user\n"
    assert len(read(text, True)) == 1 + len("user\n")
    assert len(read(text, False)) == len(text)
    assert max(read(text, False)) < 256 <= read(text, True)[0]


@pytest.fixture
def arguments(scenes: Path, model_folder: Path, tmp_path: Path) -> list[str]:
    """Of a command that trains as CONFIG says; lacks --out."""
    sections = asdict(CONFIG)
    del sections["phases"]  # none
    sections["data"] |= {"train": [str(scenes)]}
    lines = [
        line
        for name, table in sections.items()
        for line in (f"[{name}]", *(f"{key} = {json.dumps(table[key])}" for key in table))
    ]
    config = write(tmp_path / "align.toml", "\n".join(lines))
    return [str(config), "--model", str(model_folder), "--set", "training.steps=3"]


def test_a_run_from_the_command_line_is_read_back(
    arguments: list[str], model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    monkeypatch.setattr(sys, "argv", ["align", *arguments, "--out", str(out)])
    align.main()
    assert len(log(out)) == 3

    run = load_run(out, model_folder)
    assert (run.step, run.config["training"]["steps"]) == (3, 3)
    weights = read_checkpoint(out)["weights"]
    assert_same(dict(trainable(run.model)), weights)
    judge = load_float(out, model_folder)
    items: list[Item] = ["[0.0]", np.ones((2, WIDTH), np.float16), "[0.0-1.0 dog]\n"]
    choices = ["a dog", "Bell", "nothing at all"]
    chosen = choices[judge.choose(items, "What was it?", choices, 4.0)]
    assert choices[::-1][judge.choose(items, "What was it?", choices[::-1], 4.0)] == chosen

    state = torch.load(out / CHECKPOINT, weights_only=True)
    state["weights"].pop("projector.w2.bias")
    torch.save(state, out / CHECKPOINT)
    with pytest.raises(UsageError, match="the weights of this model"):
        load_run(out, model_folder)


def test_two_processes_learn_as_one(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["align", *arguments, "--out", str(tmp_path / "one")])
    align.main()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc_per_node", "2", "-m", "export.align", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "two")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    one, two = (read_checkpoint(tmp_path / name)["weights"] for name in ("one", "two"))
    apart = [(one[name] - two[name]).abs().flatten() for name in one]
    # Sums in another order; where a gradient is nearly zero its sign, and with it Adam's step of
    # 0.01, may turn. With gradients that are not shared the mean is 0.002.
    assert float(torch.cat(apart).mean()) < 1e-5
    assert len(log(tmp_path / "two")) == 3


def test_another_models_weights_are_refused() -> None:
    model = build(make_model(), WIDTH, CONFIG.model, 0)
    wider = trainable(build(make_model(), WIDTH + 1, CONFIG.model, 0))
    with pytest.raises(UsageError, match=r"projector.*expected \(12,\), got \(13,\)"):
        load_weights(model, wider)


def test_what_is_no_run_or_no_model_is_refused_in_one_line(
    tmp_path: Path, model_folder: Path
) -> None:
    def refuse(match: str, act: Callable[[], object]) -> None:
        with pytest.raises(UsageError, match=match) as caught:
            act()
        assert "\n" not in str(caught.value)

    refuse("expected a training run, got .*No such file", lambda: load_run(tmp_path, model_folder))
    for content in (b"", b"no checkpoint", b"PK\x03\x04 cut"):
        (tmp_path / CHECKPOINT).write_bytes(content)
        refuse("expected a checkpoint", lambda: load_run(tmp_path, model_folder))
    torch.save({"step": 1}, tmp_path / CHECKPOINT)
    refuse("one without config", lambda: load_run(tmp_path, model_folder))
    refuse("no such file", lambda: load_language_model(tmp_path / "missing"))
    refuse("expected a language model", lambda: load_language_model(tmp_path))


def test_the_program_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "export.align",
        "none.toml",
        "--model",
        "none",
        "--out",
        "none",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("align: none.toml: expected a training configuration")
    assert len(done.stderr.splitlines()) == 1


def test_a_phase_is_the_data_with_some_of_it_changed(tmp_path: Path) -> None:
    path = write(
        tmp_path / "phases.toml",
        "[data]\nquestions = 4\nchoices = 0.5\n[[phase]]\nuntil = 10\nquestions = 1\n"
        "[training]\nsteps = 20\n",
    )
    config = read_config(path)
    then = replace(LessonsConfig(), questions=4, choices=0.5)
    assert config.curriculum() == ((10, replace(then, questions=1)), (20, then))


@pytest.mark.parametrize("phase", ["questions = 1", "until = 3\nunknown = 1", "until = 1.5"])
def test_a_wrong_phase_is_refused(phase: str, tmp_path: Path) -> None:
    path = write(tmp_path / "wrong.toml", f"[[phase]]\n{phase}\n")
    with pytest.raises(UsageError, match="training configuration"):
        read_config(path)
