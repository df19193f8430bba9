"""A bundle: which models listen and answer together, found and checked.

A bundle is a folder with a ``bundle.json``: a name, and for each role either an artefact of the
catalogue (``{"artefact": "yamnet", "file": "yamnet.onnx"}``) or a file of its own
(``{"file": "projector.npz", "sha256": "..."}``). The encoder may be the ``manifest.json`` of an
exported one, which brings its own labels and thresholds, or a ``.tflite`` for LiteRT. The
transcriber is a folder, the catalogue's or the bundle's own (``{"folder": "zipformer", "engine":
"sherpa-onnx"}``). "default" is the one called "tiny", which ships with the package.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_alm.errors import ModelBrokenError, ModelMissingError, UsageError
from edge_alm.models import store, tuning
from edge_alm.models.adapter_file import check_adapter
from edge_alm.models.background_file import check_background
from edge_alm.models.catalog import BUNDLES, DEFAULT_BUNDLE, default_artefacts
from edge_alm.models.ctranslate2_folder import check_ctranslate2
from edge_alm.models.files import broken, inside, sha256_file
from edge_alm.models.gguf_file import check_gguf
from edge_alm.models.manifest import AUDIO_GRAPH, MANIFEST, load_manifest
from edge_alm.models.mmproj_file import check_mmproj
from edge_alm.models.onnx_file import OnnxInfo, check_onnx
from edge_alm.models.phrases_file import check_phrases
from edge_alm.models.projector_file import HOP_LEVELS, check_projector
from edge_alm.models.sentences_folder import SentencesInfo, check_sentences
from edge_alm.models.sherpa_folder import check_sherpa
from edge_alm.models.tflite_file import SUFFIX, TfliteInfo, check_tflite

DEFINITION = "bundle.json"
SCENE_FORMAT = 4
"""The form in which a language model reads the scene here. A projector and an adapter are trained
on one form; a test holds that this is the one of :mod:`edge_alm.reasoning.prompts`."""

AUDIO_WINDOW_S, MAX_AUDIO_WINDOW_S = 29.0, 600.0
"""libmtmd hears 30 s at a time: at 30 s and its padding there would be a second stretch."""


def _check_speech(folder: Path) -> None:
    manifest = load_manifest(folder)
    if manifest.kind != "speech" or not {"encoder", "decoder"} <= manifest.graphs.keys():
        got = f"kind {manifest.kind}, graphs {sorted(manifest.graphs)}"
        raise broken(folder / MANIFEST, "what python -m export whisper makes", got)


def _check_sentences(path: Path) -> SentencesInfo:
    return check_sentences(path.parent)


def _check_encoder(path: Path) -> OnnxInfo | TfliteInfo:
    return check_tflite(path) if path.suffix == SUFFIX else check_onnx(path)


ENGINES: Mapping[str, Callable[[Path], Any]] = {
    "ctranslate2": check_ctranslate2,
    "faster-whisper": check_ctranslate2,
    "onnxruntime": _check_speech,
    "sherpa-onnx": check_sherpa,
}
"""What may turn speech into text, and what checks the folder of its model."""
_DEFAULT_ENGINE = "ctranslate2"
_CHECKS: dict[str, Callable[[Path], Any] | None] = {
    "vad": check_onnx,
    "encoder": _check_encoder,
    "labels": None,
    "transcriber": None,
    "language_model": check_gguf,
    "projector": check_projector,
    "adapter": check_gguf,
    "phrases": check_phrases,
    "sentences": _check_sentences,
    "background": check_background,
    "audio_projector": check_gguf,
    "thresholds": None,
}
"""The roles, and what reads a file's header."""
_REQUIRED = frozenset({"name", "vad", "encoder", "labels", "transcriber", "language_model"})
_CHOICES = "encoder_choices"
"""Other forms of the encoder: the one that is fastest on a machine stands in for it there."""
_SETTINGS = frozenset(
    {
        "audio_window_s",
        "context_tokens",
        "scene_format",
        "prior_weight",
        "golden",
        "about",
        _CHOICES,
    }
)
_KEYS = frozenset({"name", *_CHECKS}) | _SETTINGS
_MAX_DEFINITION_BYTES = 1 << 16
_EMBEDDING = "embedding"
_MIN_CONTEXT_TOKENS, _CONTEXT_TOKENS = 256, 4096


@dataclass(frozen=True, slots=True)
class Golden:
    """A question to which a bundle is known to give an answer."""

    clip: Path
    """An audio file."""
    question: str
    choices: tuple[str, ...]
    answer: str
    """One of the choices."""
    scores: Mapping[str, float]
    """Probability of each choice among the choices."""
    tolerance: float
    """By how much a score may differ on another machine."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """Checked paths of the models that work together."""

    name: str
    vad: Path
    """Silero VAD, an ONNX file."""
    encoder: Path
    """An ONNX or LiteRT file with the outputs ``class_scores`` and ``embedding``: the bundle's own,
    or the one that was the fastest here (:mod:`edge_alm.models.tuning`)."""
    labels: Path
    """CSV with the columns index, mid, display_name: a row for each class score (of no meaning
    where an exported encoder gives none)."""
    transcriber: Path | None
    """A folder in the form of its engine; None where it was not asked for."""
    language_model: Path | None
    """A GGUF file; None where it was not asked for."""
    projector: Path | None
    """An .npz from the encoder's embedding to the language model's width; None: text only."""
    adapter: Path | None
    """A LoRA adapter (GGUF) of the language model; None: without."""
    phrases: Path | None
    """An .npz by which a question's words are compared with what was heard; None: they are not."""
    sentences: Path | None
    """Folder of the sentence encoder that ``phrases`` were made for; None: of word pieces."""
    background: Path | None
    """An .npz with what sounds of the user's own are told apart from; None: none can be taught."""
    audio_projector: Path | None
    """A GGUF file by which an audio-native language model hears audio itself; None: it does not."""
    audio_window_s: float
    """How much audio a question hands over to it."""
    thresholds: Path | None
    """CSV with the columns label, threshold; None: those of the package."""
    sha256: str
    """Of the definition; it changes when the bundle does."""
    context_tokens: int
    """How much of the scene the language model holds."""
    scene_format: int | None
    """:data:`SCENE_FORMAT`; None where the language model was not trained on scenes."""
    prior_weight: float
    """0 to 1: how much of a choice's log-likelihood without the scene is taken off."""
    golden: Golden | None
    exported: Path | None = None
    """The folder of an exported encoder, with its manifest; None: the encoder is YAMNet."""
    engine: str = _DEFAULT_ENGINE
    """Of :data:`ENGINES`; it runs the transcriber."""
    encoder_id: str = ""
    """The same for all bundles with this encoder, whichever of its forms is used."""


def load_bundle(
    name_or_dir: str | Path = "default",
    *,
    language_model: bool = True,
    transcriber: bool | str = True,
    encoder: str | Path | None = None,
) -> Bundle:
    """Find a bundle's files and check that they are whole and fit each other.

    About 25 ms for the default bundle, most of it the language model's vocabulary. A file of the
    bundle's own is hashed (1 GB takes about a second).

    Args:
        name_or_dir: "default", the name of a bundle in the package, or a folder with a
            ``bundle.json``.
        language_model: False leaves out the language model, its adapter and the projectors.
        transcriber: False leaves out the transcriber; "ENGINE" runs the bundle's by another of
            :data:`ENGINES`, "ENGINE:DIR" takes the model in that folder.
        encoder: the folder of an exported encoder, or an ONNX or LiteRT file with the bundle's
            labels, to use in place of the bundle's.

    Raises:
        UsageError: no such bundle or engine, or the definition is wrong.
        ModelMissingError: an artefact is not here yet.
        ModelBrokenError: a file's hash, header or widths disagree, or the bundle was trained on
            scenes of another form.
    """
    folder = _find_folder(name_or_dir)
    definition, sha256 = _read_definition(folder / DEFINITION)
    choices = definition.get(_CHOICES, [])
    own_encoder = definition["encoder"]
    if encoder is None and choices and (choice := tuning.chosen(sha256, len(choices))):
        definition["encoder"] = choices[choice - 1]
    unwanted = {"transcriber"}  # looked at below
    if not language_model:
        unwanted |= {"language_model", "projector", "adapter", "audio_projector"}
        if encoder is not None:
            unwanted |= {"phrases", "sentences", "background"}  # they are of the bundle's encoder
    paths = {
        role: _find_file(folder, role, definition[role])
        for role in _CHECKS
        if role not in unwanted
        and definition.get(role) is not None
        # One that is replaced need not be here.
        and not (role == "encoder" and encoder is not None)
    }
    if encoder is not None:
        given = Path(encoder)
        paths["encoder"] = given if given.is_file() else given / MANIFEST
    exported = paths["encoder"].parent if paths["encoder"].name == MANIFEST else None
    if exported is not None:
        paths |= _exported_files(exported)
    engine = _DEFAULT_ENGINE
    if transcriber:
        wish = transcriber if isinstance(transcriber, str) else ""
        engine, paths["transcriber"] = _find_transcriber(folder, definition["transcriber"], wish)
    headers = {
        role: check(path) for role, path in paths.items() if (check := _CHECKS[role]) is not None
    }
    context_tokens: int = definition.get("context_tokens", _CONTEXT_TOKENS)
    _check_fit(folder, paths, headers, context_tokens)
    return Bundle(
        name=definition["name"],
        vad=paths["vad"],
        encoder=paths["encoder"],
        labels=paths["labels"],
        transcriber=paths.get("transcriber"),
        language_model=paths.get("language_model"),
        projector=paths.get("projector"),
        adapter=paths.get("adapter"),
        phrases=paths.get("phrases"),
        sentences=paths["sentences"].parent if "sentences" in paths else None,
        background=paths.get("background"),
        audio_projector=paths.get("audio_projector"),
        audio_window_s=float(definition.get("audio_window_s", AUDIO_WINDOW_S)),
        thresholds=paths.get("thresholds"),
        sha256=sha256,
        context_tokens=context_tokens,
        scene_format=definition.get("scene_format"),
        prior_weight=float(definition.get("prior_weight", 1.0)),
        golden=_read_golden(folder, definition.get("golden")),
        exported=exported,
        engine=engine,
        encoder_id=str(own_encoder.get("sha256") or own_encoder),
    )


def bundle_encoders(name_or_dir: str | Path = "default") -> tuple[Path, ...]:
    """The encoders of a bundle that do the same work: its own first.

    Raises:
        UsageError, ModelMissingError, ModelBrokenError: as :func:`load_bundle`.
    """
    folder = _find_folder(name_or_dir)
    definition, _ = _read_definition(folder / DEFINITION)
    entries = [definition["encoder"], *definition.get(_CHOICES, [])]
    paths = tuple(_find_file(folder, "encoder", entry) for entry in entries)
    for path in paths:
        if path.name != MANIFEST:
            _check_encoder(path)
    return paths


def shipped_bundles() -> tuple[str, ...]:
    """Names of the bundles in the package."""
    return tuple(sorted(path.parent.name for path in BUNDLES.glob(f"*/{DEFINITION}")))


def about_bundle(name_or_dir: str | Path) -> dict[str, Any]:
    """A bundle's ``about``: where it comes from, in its maker's words; empty where it says nothing.

    Raises:
        UsageError, ModelBrokenError: as :func:`load_bundle`.
    """
    definition, _ = _read_definition(_find_folder(name_or_dir) / DEFINITION)
    return dict(definition.get("about", {}))


def _check_fit(
    folder: Path, paths: Mapping[str, Path], headers: Mapping[str, Any], context_tokens: int
) -> None:
    """Refuse files that are whole but were not made for each other."""
    encoder, model = headers["encoder"], headers.get("language_model")
    projector, adapter = headers.get("projector"), headers.get("adapter")
    width = (encoder.outputs.get(_EMBEDDING) or (None,))[-1]
    if width is None:
        raise broken(paths["encoder"], f"an output {_EMBEDDING!r}", ", ".join(encoder.outputs))
    if model is None:
        _check_phrases(paths, headers, width)
        return
    if model.n_embd is None:
        path = paths["language_model"]
        raise broken(path, "a language model", f"a GGUF file of {model.architecture}")
    if context_tokens > (model.context_length or context_tokens):
        raise _misfit(folder, "context_tokens", model.context_length, context_tokens)
    if projector and projector.inputs != width + HOP_LEVELS:
        what = "inputs (the encoder's embedding and levels)"
        raise _misfit(paths["projector"], what, width + HOP_LEVELS, projector.inputs)
    if projector and projector.outputs != model.n_embd:
        what = "outputs (the language model's embedding)"
        raise _misfit(paths["projector"], what, model.n_embd, projector.outputs)
    _check_phrases(paths, headers, width)
    if adapter:
        check_adapter(paths["adapter"], adapter, model)
    if ear := headers.get("audio_projector"):
        check_mmproj(paths["audio_projector"], ear, model.n_embd)


def _check_phrases(paths: Mapping[str, Path], headers: Mapping[str, Any], width: int) -> None:
    phrases, sentences = headers.get("phrases"), headers.get("sentences")
    if phrases and phrases.of_sentences != (sentences is not None):
        made_for = ("word pieces", "a sentence encoder")
        what = "words (a sentence encoder's or pieces of words)"
        raise _misfit(
            paths["phrases"], what, made_for[sentences is not None], made_for[phrases.of_sentences]
        )
    if phrases and sentences and phrases.width != sentences.width:
        what = "width (the sentence encoder's)"
        raise _misfit(paths["phrases"], what, sentences.width, phrases.width)
    if phrases and phrases.inputs != width:
        raise _misfit(paths["phrases"], "inputs (the encoder's embedding)", width, phrases.inputs)


def _exported_files(folder: Path) -> dict[str, Path]:
    """The roles that an exported encoder fills; its files have been held to its manifest.

    Raises:
        ModelMissingError, ModelBrokenError: as :func:`load_manifest`, or no encoder's.
    """
    manifest = load_manifest(folder)
    graph = manifest.graphs.get(AUDIO_GRAPH)
    if manifest.kind != "encoder" or graph is None or _EMBEDDING not in graph.outputs:
        got = f"kind {manifest.kind}, graphs {sorted(manifest.graphs)}"
        raise broken(folder / MANIFEST, f"an encoder that gives an {_EMBEDDING}", got)
    own = {"encoder": graph.file, "labels": manifest.labels, "thresholds": manifest.thresholds}
    return {role: folder / name for role, name in own.items() if name is not None}


def _misfit(path: Path, what: str, expected: object, got: object) -> ModelBrokenError:
    return ModelBrokenError(
        f"{path}: {what}",
        expected=str(expected),
        got=str(got),
        hint="use files that were made for each other",
    )


def _find_folder(name_or_dir: str | Path) -> Path:
    name = DEFAULT_BUNDLE if name_or_dir == "default" else str(name_or_dir)
    for folder in (BUNDLES / name, Path(name_or_dir)):
        if (folder / DEFINITION).is_file():
            return folder
    raise UsageError(
        f"bundle {name_or_dir}", expected=f'"default" or a folder with {DEFINITION}', got="neither"
    )


def _read_definition(path: Path) -> tuple[dict[str, Any], str]:
    """The definition and its SHA-256.

    Raises:
        UsageError: not JSON, unknown or missing keys, a wrong value.
        ModelBrokenError: trained on scenes of another form.
    """
    try:
        raw = path.read_bytes()[: _MAX_DEFINITION_BYTES + 1]
        definition = json.loads(raw.decode())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(str(path), expected="JSON", got=str(error)) from error
    if not isinstance(definition, dict):
        raise UsageError(str(path), expected="a JSON object", got=type(definition).__name__)
    keys = definition.keys()
    if not keys >= _REQUIRED or keys - _KEYS:
        raise UsageError(
            str(path),
            expected=f"keys {sorted(_REQUIRED)}, perhaps {sorted(_KEYS - _REQUIRED)}",
            got=f"{sorted(keys)}",
        )

    def check(key: str, default: object, right: Callable[[Any], bool], expected: str) -> None:
        if not right(value := definition.get(key, default)):
            raise UsageError(f"{path}: {key}", expected=expected, got=repr(value))

    check("name", "", lambda v: isinstance(v, str), "a text")
    check(
        "context_tokens",
        _CONTEXT_TOKENS,
        lambda v: type(v) is int and v >= _MIN_CONTEXT_TOKENS,
        f"{_MIN_CONTEXT_TOKENS} or more",
    )
    check(
        "audio_window_s",
        AUDIO_WINDOW_S,
        lambda v: _is_number(v) and 0.1 <= v <= MAX_AUDIO_WINDOW_S,
        f"a number from 0.1 to {MAX_AUDIO_WINDOW_S:g}",
    )
    check("prior_weight", 1.0, lambda v: _is_number(v) and 0.0 <= v <= 1.0, "a number from 0 to 1")
    check("scene_format", None, lambda v: v is None or type(v) is int, "a whole number")
    check("about", {}, lambda v: isinstance(v, dict), "an object")
    check(_CHOICES, [], lambda v: isinstance(v, list), "a list of files")
    trained = definition.get("projector") or definition.get("adapter")
    scene_format = definition.get("scene_format")
    if (trained or scene_format is not None) and scene_format != SCENE_FORMAT:
        raise ModelBrokenError(
            f"{path}: scene_format",
            expected=str(SCENE_FORMAT),
            got=str(scene_format),
            hint="use a bundle that was trained for this version of edge-alm",
        )
    return definition, hashlib.sha256(raw).hexdigest()


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


def _read_golden(folder: Path, entry: object) -> Golden | None:
    """The golden question; its clip has been hashed.

    Raises:
        UsageError, ModelMissingError, ModelBrokenError: as :func:`load_bundle`.
    """
    if entry is None:
        return None
    match entry:
        case {
            "file": str(file),
            "sha256": str(sha256),
            "question": str(question),
            "scores": dict(scores),
            "answer": str(answer),
            "tolerance": int() | float() as tolerance,
        } if answer in scores and all(map(_is_number, scores.values())):
            clip = _find_file(folder, "golden", {"file": file, "sha256": sha256})
            return Golden(clip, question, tuple(scores), answer, scores, float(tolerance))
    raise UsageError(
        f"{folder / DEFINITION}: golden",
        expected="file, sha256, question, scores (choice to number), answer (a choice), tolerance",
        got=repr(entry),
    )


def _find_file(folder: Path, role: str, entry: object) -> Path:
    """The path that an entry stands for; a file of the bundle's own has been hashed.

    Raises:
        UsageError, ModelMissingError, ModelBrokenError: as :func:`load_bundle`.
    """
    what = f"{folder / DEFINITION}: {role}"
    if not isinstance(entry, dict) or not all(isinstance(v, str) for v in entry.values()):
        raise UsageError(what, expected="an object of texts", got=repr(entry))
    keys = frozenset(entry)
    if keys == {"artefact"}:
        return _locate(entry["artefact"])
    if keys not in ({"artefact", "file"}, {"file", "sha256"}):
        raise UsageError(
            what, expected="artefact and file, or file and sha256", got=f"{sorted(keys)}"
        )
    try:
        path = inside(_locate(entry["artefact"]) if "artefact" in keys else folder, entry["file"])
    except ValueError as error:
        raise UsageError(what, expected="a file in the bundle's folder", got=str(error)) from None
    if not path.is_file():
        raise ModelMissingError(str(path), expected=f"the {role}", got="no such file")
    if "sha256" in keys and (got := sha256_file(path)) != entry["sha256"].lower():
        raise ModelBrokenError(str(path), expected=f"SHA-256 {entry['sha256']}", got=got)
    return path


def _find_transcriber(folder: Path, entry: object, choice: str) -> tuple[str, Path]:
    """The engine and its model's folder, which has been checked.

    Raises:
        UsageError, ModelMissingError, ModelBrokenError: as :func:`load_bundle`.
    """
    what = f"{folder / DEFINITION}: transcriber"
    if not isinstance(entry, dict):
        raise UsageError(what, expected="an object of texts", got=repr(entry))
    own = entry.get("engine", _DEFAULT_ENGINE)
    engine, _, where = choice.partition(":")
    for given, name in ((what, own), ("transcriber", engine or own)):
        if name not in ENGINES:
            raise UsageError(given, expected=f"one of {', '.join(ENGINES)}", got=repr(name))
    engine = engine or own
    if where:
        path = Path(where)
    elif ENGINES[engine] is not ENGINES[own]:
        raise UsageError(
            f"transcriber {engine}",
            expected="a model of its own",
            got=f"the bundle's, for {own}",
            hint=f"name its folder: {engine}:DIR",
        )
    else:
        path = _find_folder_of(folder, what, {k: v for k, v in entry.items() if k != "engine"})
    ENGINES[engine](path)
    return engine, path


def _find_folder_of(folder: Path, what: str, entry: Mapping[str, object]) -> Path:
    match entry:
        case {"artefact": str(name), **rest} if not rest:
            return _locate(name)
        case {"folder": str(name), **rest} if not rest:
            try:
                return inside(folder, name)
            except ValueError as error:
                expected = "a folder in the bundle's folder"
                raise UsageError(what, expected=expected, got=str(error)) from None
    raise UsageError(what, expected="artefact or folder, perhaps engine", got=f"{sorted(entry)}")


def _locate(name: str) -> Path:
    """As :func:`store.locate`; where one of the default models is missing, so may be the others."""
    try:
        return store.locate(name)
    except ModelMissingError as error:
        if name not in default_artefacts():
            raise
        raise ModelMissingError(
            error.what, expected=error.expected, got=error.got, hint="edge-alm models pull"
        ) from None
