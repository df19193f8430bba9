"""Imagined scenes: with a made classifier, and with the real one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_alm.errors import ModelBrokenError, UsageError
from edge_alm.hearing.audioset import ontology
from edge_alm.hearing.tracker import read_thresholds
from edge_alm.models.projector_file import HOP_LEVELS
from export import imagined
from export.imagined import RECIPE, Imagination, everyday, phrases, read_classifier
from export.scenes import SPEECH
from export.thresholds import NOT_EVENTS

NAMES = (*read_thresholds(), *sorted(NOT_EVENTS))
WIDTH = 96


def write_encoder(path: Path, classes: int = len(NAMES)) -> Path:
    """An encoder that is nothing but a classifier."""
    onnx = pytest.importorskip("onnx")
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 1, (classes, WIDTH)).astype(np.float32)
    constants = [
        onnx.numpy_helper.from_array(weight, "weight"),
        onnx.numpy_helper.from_array(np.full(classes, -6, np.float32), "bias"),
    ]
    floats = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Gemm", ["e", "weight", "bias"], ["class_scores"], transB=1)],
        "encoder",
        [onnx.helper.make_tensor_value_info("e", floats, [None, WIDTH])],
        [onnx.helper.make_tensor_value_info("class_scores", floats, [None, classes])],
        constants,
    )
    onnx.save(onnx.helper.make_model(graph), str(path))
    return path


def write_labels(path: Path) -> Path:
    rows = "".join(f'{i},/m/{i},"{name}"\n' for i, name in enumerate(NAMES))
    path.write_text("index,mid,display_name\n" + rows)
    return path


def make_pool(n: int = 400, width: int = WIDTH) -> np.ndarray:
    """Mostly zeros, as rectified means are."""
    drawn = np.random.default_rng(1).normal(-0.5, 1, (n, width))
    return np.maximum(drawn, 0).astype(np.float32)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Imagination:
    folder = tmp_path_factory.mktemp("encoder")
    encoder, labels = write_encoder(folder / "e.onnx"), write_labels(folder / "labels.csv")
    return Imagination(encoder, labels, read_thresholds(), make_pool())


@pytest.fixture(scope="module")
def real(models: Path, esc10: Path) -> Imagination:
    """Of YAMNet and forty recordings of folds 1 to 3."""
    from edge_alm.hearing.encoder import HOP_SAMPLES, HopEncoder, Yamnet
    from edge_alm.hearing.logmel import LogMel
    from edge_alm.models.store import locate
    from export.thresholds import read_clips, read_samples

    folder = locate("yamnet")
    encoder, labels = folder / "yamnet.onnx", folder / "yamnet_class_map.csv"
    hops = HopEncoder(Yamnet(encoder, labels), LogMel())
    pool = []
    clips = [path for _, path in read_clips(esc10, None, None) if path.name[0] in "123"]
    for path in clips[:: len(clips) // 40]:
        samples = read_samples(path, 4.0)
        whole = samples[: len(samples) // HOP_SAMPLES * HOP_SAMPLES].reshape(-1, HOP_SAMPLES)
        heard = (hops.push(hop, wanted=True) for hop in whole)
        pool += [hop.embedding for hop in heard if hop is not None]
    return Imagination(encoder, labels, read_thresholds(), np.stack(pool))


def test_classes_are_phrased_or_left_out() -> None:
    assert len(set(NAMES)) == 521
    assert set(everyday()) <= set(NAMES)
    left_out = {name for name in NAMES if not phrases(name)}
    assert left_out >= NOT_EVENTS
    assert len(left_out) < 45
    for name in set(NAMES) - left_out:
        for phrase in phrases(name):
            assert phrase == phrase.lower().strip()
            assert phrase
            assert '"' not in phrase
            assert len(phrase.split()) <= 6


def test_speech_is_the_only_class_called_so(made: Imagination) -> None:
    assert [name for name in NAMES if SPEECH in phrases(name)] == ["Speech"]
    assert NAMES.index("Speech") not in made.imaginable


def test_every_phrase_can_come(made: Imagination) -> None:
    wanted = {phrase for index in made.imaginable for phrase in phrases(NAMES[index])}
    rng = np.random.default_rng(0)
    met: set[str] = set()
    for _ in range(1200):
        met.update(made._choose(rng))
    assert met <= wanted
    assert len(met) > 0.99 * len(wanted)


def test_choice_holds_no_relatives(made: Imagination) -> None:
    tree = ontology()
    for seed in range(30):
        names = [NAMES[index] for index in made._choose(np.random.default_rng(seed)).values()]
        for name in names:
            assert tree.ancestors(name).isdisjoint(names)


def test_same_generator_gives_the_same_scene(made: Imagination) -> None:
    def scene(seed: int) -> tuple[list[str], bytes, object]:
        found = made.scene(np.random.default_rng(seed))
        texts = [item for item in found.items if isinstance(item, str)]
        hops = b"".join(item.tobytes() for item in found.items if not isinstance(item, str))
        return texts, hops, found.timeline

    first = scene(3)
    scene(4)
    assert scene(3) == first
    assert scene(4) != first


def test_scenes_are_as_the_runtime_gives_them(made: Imagination) -> None:
    said = 0
    for seed in range(40):
        found = made.scene(np.random.default_rng(seed), replace(RECIPE, speech=0.5))
        for before, item in zip((None, *found.items), found.items, strict=False):
            if isinstance(item, str):
                assert item.startswith("[")
            else:
                assert item.dtype == np.float16
                assert item.shape[1] == WIDTH + HOP_LEVELS
                assert (item[:, :WIDTH] >= 0).all()
                assert np.isfinite(item).all()
                assert before is None or isinstance(before, str)
        text = "".join(item for item in found.items if isinstance(item, str))
        for placed in found.timeline:
            assert 0 <= placed.start_s < placed.end_s <= found.duration_s
            assert bool(placed.text) == (placed.label == SPEECH)
            assert placed.text in text
            said += bool(placed.text)
        if found.timeline:
            assert found.hops
    assert said


def test_levels_tell_the_louder_sound(made: Imagination) -> None:
    checked = 0
    for seed in range(60):
        found = made.scene(np.random.default_rng(seed), replace(RECIPE, events=(0, 1), repeat=0))
        (placed,) = found.timeline
        hops = np.concatenate([item for item in found.items if not isinstance(item, str)])
        levels = hops[:, WIDTH:].astype(np.float32)
        if placed.end_s - placed.start_s > 1.5:
            quiet = np.quantile(levels, 0.02)
            # 20 dB is 1 in these features; the background is 20 to 50 dB down, or never heard.
            assert abs(levels.max() - (30 + placed.level_db) / 20) < 0.5
            checked += bool(quiet < levels.max() - 0.8)
    assert checked >= 5


def test_hops_are_possible(made: Imagination) -> None:
    norms = np.linalg.norm(make_pool(), axis=1)
    rng = np.random.default_rng(0)
    for name in ("Bark", "Siren", "Piano"):
        hops = made.event(rng, name, [-1.0, 5.0, 30.0])
        assert (hops >= 0).all()
        lengths = np.linalg.norm(hops, axis=1)
        assert norms.min() <= lengths.min() + 1e-4
        assert lengths.max() <= norms.max() + 1e-4


def test_clear_events_are_the_class(real: Imagination) -> None:
    rng = np.random.default_rng(0)
    exact = kin = 0
    chosen = real.imaginable[::3]
    for index in chosen:
        hops = real.event(rng, real.names[index], [4.0, 4.0])
        top = int(real._classifier(hops).mean(axis=0).argmax())
        exact += top == index
        kin += real.names[top] in real._families[index]
    # 83 % and 93 %; of a pool of all of Debian's sounds 87 % and 99 %.
    assert exact > 0.75 * len(chosen)
    assert kin > 0.88 * len(chosen)


def test_other_classes_are_held_down(made: Imagination, monkeypatch: pytest.MonkeyPatch) -> None:
    def rivals() -> float:
        rng = np.random.default_rng(0)
        logits = [
            made._classifier(made.event(rng, NAMES[index], [1.0, 1.0]))
            for index in made.imaginable[::20]
        ]
        return float(np.mean([(found > 1.0).sum() for found in logits]))

    held = rivals()
    monkeypatch.setattr(imagined, "DAMPED", 0)
    assert held < 0.7 * rivals()


def test_logit_asked_for_orders_the_hops(real: Imagination) -> None:
    index = real.names.index("Siren")
    hops = real.event(np.random.default_rng(0), "Siren", [-4.0, 0.0, 4.0])
    assert np.all(np.diff(real._classifier(hops)[:, index]) > 1.0)


def test_lines_tell_the_sounds_or_their_kin(real: Imagination) -> None:
    told = right = guessed = hits = 0
    by_phrase = {
        phrase: real._families[i] for i in real.imaginable for phrase in phrases(real.names[i])
    }
    for seed in range(60):
        found = real.scene(np.random.default_rng(seed))
        kin = {
            name.lower()
            for placed in found.timeline
            for name in by_phrase.get(placed.label, frozenset({"Speech"}))
        }
        for item in found.items:
            if isinstance(item, str) and "-" in item.split(" ")[0] and '"' not in item:
                label = item.strip().rstrip("]").partition(" ")[2]
                if label.startswith("maybe "):
                    guessed += 1
                    hits += any(name.partition(",")[0] in label for name in kin)
                else:
                    told += 1
                    right += any(label.startswith(name) for name in kin)
    assert told >= 30
    assert right > 0.5 * told
    assert guessed >= 30
    assert hits > 0.4 * guessed


def test_bad_input_is_refused(tmp_path: Path) -> None:
    encoder, labels = write_encoder(tmp_path / "e.onnx"), write_labels(tmp_path / "labels.csv")
    with pytest.raises(UsageError, match="pool"):
        Imagination(encoder, labels, read_thresholds(), make_pool(width=7))
    with pytest.raises(ModelBrokenError, match="class map"):
        Imagination(write_encoder(tmp_path / "f.onnx", 9), labels, {}, make_pool())


def test_classifier_without_constants_is_refused(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = write_encoder(tmp_path / "e.onnx")
    model = onnx.load(str(path))
    model.graph.node[0].op_type = "Identity"
    del model.graph.node[0].input[1:]
    del model.graph.node[0].attribute[:]
    onnx.save(model, str(path))
    with pytest.raises(ModelBrokenError, match="float encoder"):
        read_classifier(path)
