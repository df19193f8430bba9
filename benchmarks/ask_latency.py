"""Time to the first token of an answer, by how much was heard: held scene beside prefill.

    python -m benchmarks.ask_latency [--bundle default] [--questions 5] [--audio FOLDER]

Real recordings, one after the other, are heard by the runtime as the bundle has it: timed text, and
soft tokens where it has a projector, and before each question what its words are most like.
*Streamed* is the product's own path: the scene lies in the context when the question comes, and the
answer forks it. *Prefill* puts the same into an empty context at question time, text and soft
tokens in one go. Both with one model, in one run, question by question in turn.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_alm.audio.file import AudioFile
from edge_alm.models.bundle import Bundle, load_bundle
from edge_alm.reasoning.llama import LlamaContext
from edge_alm.reasoning.phrases import Phrases
from edge_alm.reasoning.projector import Projector
from edge_alm.reasoning.prompts import chat_format, end_line, pinned_prompt, question_prompt
from edge_alm.reasoning.scene import QUESTION, SCENE, Item, SceneMemory
from edge_alm.reasoning.stretches import Stretches
from edge_alm.types import SAMPLE_RATE_HZ, Frame, Samples
from export.lessons import thinned
from export.recordings import Listener
from export.replay import replay
from export.trees import Item as Heard

ROOT = Path(__file__).parent.parent
AUDIO_FOLDERS = (ROOT.parent / "shared" / "data" / "esc10", ROOT / "tests" / "data")
SECONDS = (30, 120, 600)
QUESTIONS = (
    "Which sound came first?",
    "What was heard last?",
    "Was there any speech? What was said?",
    "How many times did a dog bark?",
    "Did it rain?",
    "What happened after the dog barked?",
    "Was something broken?",
)


def read_audio(folder: Path, seconds: int) -> Samples:
    """Recordings of a folder in a seeded order, repeated until there is enough."""
    suffixes = (".ogg", ".flac", ".wav")
    paths = sorted(path for path in folder.rglob("*") if path.suffix in suffixes)
    np.random.default_rng(0).shuffle(paths)
    wanted, parts = seconds * SAMPLE_RATE_HZ, list[Samples]()
    while sum(map(len, parts)) < wanted:
        source = AudioFile(paths[len(parts) % len(paths)])
        frames = [packet.samples for packet in source.packets() if isinstance(packet, Frame)]
        parts.append(np.concatenate(frames))
    return np.concatenate(parts)[:wanted]


def hear(bundle: Bundle, audio: Samples) -> Sequence[Heard]:
    """What the runtime makes of a recording."""
    listener = Listener(bundle)
    try:
        return listener.hear(audio)
    finally:
        listener.close()


def make_items(
    bundle: Bundle, llama: LlamaContext, heard: Sequence[Heard], *, soft: bool = True
) -> list[Item]:
    """What a scene holds, in order of time; without ``soft`` its timed text alone."""
    project = Projector(bundle.projector) if bundle.projector and soft else None
    items: list[Item] = []
    # Without a projector there are no soft tokens, nor marks before them.
    for item in thinned(heard, text=False, soft=project is None):
        if isinstance(item, str):
            items.append(llama.tokenize(item))
        elif project:
            items += [token[None] for token in project(item.astype(np.float32))]
    return items


def make_stretches(bundle: Bundle, heard: Sequence[Heard]) -> Stretches | None:
    """What the questions about a scene are compared with."""
    if bundle.phrases is None:
        return None
    stretches = Stretches(Phrases(bundle.phrases, bundle.sentences))
    replay(heard, stretches)
    return stretches


def ask_held(scene: SceneMemory, tokens: list[int]) -> int:
    """The first token of the answer, from a scene that is held."""
    scene.flush()
    with scene.fork() as end:
        logits = scene.run(tokens, QUESTION, end, wanted=True)
    assert logits is not None
    return int(logits.argmax())


def last_items(items: Sequence[Item], tokens: int) -> Sequence[Item]:
    """As many of the last items as fit into ``tokens``: what a scene of that size still holds."""
    first = len(items)
    while first and len(items[first - 1]) <= tokens:
        first -= 1
        tokens -= len(items[first])
    return items[first:]


def ask_cold(llama: LlamaContext, items: Sequence[Item]) -> int:
    """The first token of the answer, from an empty context; the last item is the question."""
    llama.clear()
    position = 0
    logits = None
    runs = join(llama, items)
    for run in runs:
        for i in range(0, len(run), llama.n_batch):
            part = run[i : i + llama.n_batch]
            n = len(part)
            places = range(position, position + n)
            if isinstance(part, list):
                wanted = [False] * (n - 1) + [run is runs[-1] and i + n == len(run)]
                logits = llama.decode(part, places, [SCENE] * n, wanted)
            else:
                llama.decode_embeddings(part, places, SCENE)
            position += n
    assert logits is not None
    return int(logits[0].argmax())


def join(llama: LlamaContext, items: Sequence[Item]) -> list[Item]:
    """The items in as few runs as can be; the last one, the question, stays text.

    As where a scene is held, text and soft tokens run together if text's embeddings are known: a
    few of either kind at a time take longer.
    """
    *scene, question = items
    if llama.embeddings.is_known and not all(isinstance(item, list) for item in scene):
        scene = [llama.embeddings[item] if isinstance(item, list) else item for item in scene]
    runs: list[Item] = []
    for _, group in itertools.groupby((*scene, question), type):
        alike = list(group)
        tokens = [token for item in alike if isinstance(item, list) for token in item]
        runs.append(tokens or np.concatenate(alike))
    return runs


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--questions", type=int, default=5)
    parser.add_argument("--audio", type=Path, help="a folder of recordings")
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--threads", type=int, help="of the language model")
    args = parser.parse_args()
    folder = args.audio or next(f for f in AUDIO_FOLDERS if f.is_dir())
    bundle = load_bundle(args.bundle)
    trained = bundle.scene_format is not None
    audio = read_audio(folder, max(SECONDS))

    def open_context() -> LlamaContext:
        assert bundle.language_model is not None
        return LlamaContext(
            bundle.language_model,
            n_ctx=bundle.context_tokens,
            n_threads=args.threads,
            adapter=bundle.adapter,
        )

    streamed_ms, prefill_ms, tokens_held = {}, {}, {}
    with open_context() as llama, open_context() as cold:
        chat = chat_format(llama.chat_template)
        prompt = pinned_prompt(chat, trained=trained)
        kind = "soft tokens and text" if bundle.projector else "text"
        print(f"{bundle.name}, scenes of {kind}, {llama.n_threads} thread(s), {folder.name}")
        print(f"{'audio':>8} {'tokens':>8} {'streamed':>12} {'prefill':>12} {'ratio':>8}")
        for seconds in SECONDS:
            scene = SceneMemory(llama, prompt)
            pinned = scene.tokenize(prompt, begin=True)
            heard = hear(bundle, audio[: seconds * SAMPLE_RATE_HZ])
            items, stretches = make_items(bundle, llama, heard), make_stretches(bundle, heard)
            for item in items:
                scene.append(item)
            scene.flush()
            held = last_items(items, scene.end - scene.pinned_tokens)
            streamed, prefill = list[float](), list[float]()
            for i in range(args.questions):
                question = QUESTIONS[i % len(QUESTIONS)]
                begun = time.perf_counter()
                lines = [end_line(seconds)] if trained else []
                lines += stretches.lines(question) if stretches else []
                tokens = [token for line in lines for token in llama.tokenize(line)]
                tokens += scene.tokenize(question_prompt(chat, question))
                ask_held(scene, tokens)
                streamed.append(1000 * (time.perf_counter() - begun))
                begun = time.perf_counter()
                ask_cold(cold, [pinned, *held, tokens])
                prefill.append(1000 * (time.perf_counter() - begun))
            key = str(seconds)
            streamed_ms[key] = round(statistics.median(streamed), 1)
            prefill_ms[key] = round(statistics.median(prefill), 1)
            tokens_held[key] = scene.end
            gone = len(items) - len(held)
            ratio = prefill_ms[key] / streamed_ms[key]
            print(
                f"{seconds:6} s {scene.end:8} {streamed_ms[key]:9.0f} ms {prefill_ms[key]:9.0f} ms"
                f" {ratio:7.1f}x{f'   ({gone} of {len(items)} items gone)' if gone else ''}",
                flush=True,
            )
    first, last = str(SECONDS[0]), str(SECONDS[-1])
    growth = streamed_ms[last] / streamed_ms[first]
    print(f"streamed at {last} s: {growth:.2f}x that at {first} s (target: at most 2.0x)")
    print(
        f"prefill at {last} s: {prefill_ms[last] / streamed_ms[last]:.1f}x (target: at least 40x)"
    )
    print(
        json.dumps(
            {
                "bundle": bundle.name,
                "soft": bundle.projector is not None,
                "threads": llama.n_threads,
                "tokens": tokens_held,
                "streamed_ms": streamed_ms,
                "prefill_ms": prefill_ms,
            }
        )
    )


if __name__ == "__main__":
    main()
