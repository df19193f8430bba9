"""How often the language model answers rightly about timed text, by skill.

    python benchmarks/answers.py [--each 15] [--seed 99]

Scenes are made of labels and sentences at random times, as the runtime would write them; no
audio is involved, so this is the model's reading alone. With choices the answer is the likeliest
one; a free answer is right when the answer's words, and no other choice's, are in it.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from edge_alm.models.bundle import load_bundle
from edge_alm.questions import normalise
from edge_alm.reasoning.reasoner import LocalReasoner
from edge_alm.types import Event, Sound, Speech

LABELS = (
    *("Dog", "Cat", "Baby cry", "Church bell", "Doorbell", "Glass breaking", "Siren", "Car"),
    *("Rain", "Thunder", "Tick-tock", "Sneeze", "Cough", "Rooster", "Helicopter", "Chainsaw"),
    *("Knock", "Telephone", "Applause", "Laughter", "Water tap", "Train horn", "Piano"),
)
SENTENCES = (
    "turn left at the corner",
    "please close the door",
    "the train leaves at nine",
    "where did you put the keys",
    "dinner is ready",
    "I will call you tomorrow",
)


@dataclass(frozen=True)
class Case:
    events: list[Event]
    question: str
    choices: list[str]
    answer: str


def make_scene(rng: random.Random, labels: list[str]) -> list[Event]:
    events: list[Event] = []
    at = rng.uniform(0, 3)
    for label in labels:
        end = at + rng.uniform(0.5, 4)
        events.append(Sound(label, at, end, round(rng.uniform(0.4, 0.98), 2), "end"))
        at = end + rng.uniform(0.3, 5)
    return events


def some(rng: random.Random) -> tuple[list[str], list[str]]:
    """Labels that are heard, in order, and all others."""
    heard = rng.sample(LABELS, rng.randint(3, 6))
    return heard, [label for label in LABELS if label not in heard]


def which(rng: random.Random) -> Case:
    heard, others = some(rng)
    answer = rng.choice(heard)
    choices = [answer, *rng.sample(others, 3)]
    return Case(make_scene(rng, heard), "Which of these sounds was heard?", choices, answer)


def first(rng: random.Random) -> Case:
    heard, _ = some(rng)
    return Case(make_scene(rng, heard), "Which sound came first?", heard[:4], heard[0])


def last(rng: random.Random) -> Case:
    heard, _ = some(rng)
    return Case(make_scene(rng, heard), "Which sound came last?", heard[-4:], heard[-1])


def present(rng: random.Random) -> Case:
    heard, others = some(rng)
    is_there = rng.random() < 0.5
    label = rng.choice(heard if is_there else others)
    answer = "yes" if is_there else "no"
    return Case(make_scene(rng, heard), f"Was there a {label.lower()}?", ["yes", "no"], answer)


def order(rng: random.Random) -> Case:
    heard, others = some(rng)
    i = rng.randrange(len(heard) - 1)
    rest = [label for label in heard if label not in heard[i : i + 2]] + others
    question = f"What was heard right after the {heard[i].lower()}?"
    choices = [heard[i + 1], *rng.sample(rest, 3)]
    return Case(make_scene(rng, heard), question, choices, heard[i + 1])


def before(rng: random.Random) -> Case:
    heard, _ = some(rng)
    pair = [heard[i].lower() for i in sorted(rng.sample(range(len(heard)), 2))]
    answer = rng.choice(["yes", "no"])
    one, other = pair if answer == "yes" else reversed(pair)
    question = f"Did the {one} come before the {other}?"
    return Case(make_scene(rng, heard), question, ["yes", "no"], answer)


def count(rng: random.Random) -> Case:
    heard, _ = some(rng)
    label, times = rng.choice(heard), rng.randint(1, 4)
    labels = [other for other in heard if other != label] + [label] * times
    rng.shuffle(labels)
    question = f"How many times was a {label.lower()} heard?"
    return Case(make_scene(rng, labels), question, ["1", "2", "3", "4"], str(times))


def said(rng: random.Random) -> Case:
    events = make_scene(rng, some(rng)[0])
    choices = rng.sample(SENTENCES, 4)
    i = rng.randrange(len(events))
    old = events[i]
    if isinstance(old, Sound) and old.end is not None:
        events[i] = Speech(choices[0], old.start, old.end, 0.9)
    return Case(events, "What was said?", choices, choices[0])


SKILLS: tuple[Callable[[random.Random], Case], ...] = (
    *(which, first, last, present, order, before, count, said),
)


def is_free_right(text: str, case: Case) -> bool:
    words = f" {normalise(text)} "
    named = [choice for choice in case.choices if f" {normalise(choice)} " in words]
    return named == [case.answer]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--each", type=int, default=15, help="questions of each skill")
    parser.add_argument("--seed", type=int, default=99)
    args = parser.parse_args()
    bundle = load_bundle(transcriber=False)
    if bundle.language_model is None:
        raise SystemExit("the default bundle has no language model")
    reasoner = LocalReasoner(bundle.language_model, n_ctx=bundle.context_tokens)
    rng = random.Random(args.seed)
    rows: dict[str, dict[str, float]] = {}
    print(f"{'skill':10}{'guessing':>10}{'choices':>10}{'free':>10}")
    for skill in SKILLS:
        guessing, chosen, free = [], [], []
        for _ in range(args.each):
            case = skill(rng)
            reasoner.reset()
            for event in case.events:
                reasoner.append_event(event)
            guessing.append(1 / len(case.choices))
            answer = reasoner.ask(case.question, choices=case.choices)
            chosen.append(float(answer.choice == case.answer))
            free.append(float(is_free_right(reasoner.ask(case.question).text, case)))
        means = [statistics.mean(values) for values in (guessing, chosen, free)]
        rows[skill.__name__] = dict(zip(("guessing", "choices", "free"), means, strict=True))
        print(f"{skill.__name__:10}" + "".join(f"{mean:10.2f}" for mean in means))
    mean = {
        name: statistics.mean(row[name] for row in rows.values())
        for name in ("guessing", "choices", "free")
    }
    print(f"{'all':10}" + "".join(f"{mean[name]:10.2f}" for name in mean))
    print(json.dumps({"n": args.each * len(SKILLS), **mean, "by_skill": rows}))


if __name__ == "__main__":
    main()
