"""How peers take turns, what is told of them, and what a token reads."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from bench_reports import check_svg, make_report, through_json
from conftest import Require
from native_models import write_language_model

from benchmarks.peers.__main__ import lengths_s, make_parser
from benchmarks.peers.cascade import Cascade, Stream
from benchmarks.peers.page import to_html
from benchmarks.peers.plain_llama import PlainLlama
from benchmarks.peers.section import WARM_UP, Section, Taken, run_rounds
from benchmarks.peers.speech import Reader
from benchmarks.peers.table import TITLES, to_rows, to_text
from benchmarks.peers.writing import Copier, run_llama_bench, tensor_bytes, weight_bytes
from benchmarks.speech import Prompt
from edge_alm.bench.report import Figure, Report
from edge_alm.bench.trace import Trace
from edge_alm.errors import EdgeAlmError
from edge_alm.hearing.transcriber import Transcript
from edge_alm.models.gguf_file import GgufInfo
from edge_alm.reasoning.reasoner import MAX_ANSWER_TOKENS
from edge_alm.types import SAMPLE_RATE_HZ, Samples

FIGURES = [
    Figure("answers/30 s/the runtime", "ms", (200.0, 210.0)),
    Figure("answers/30 s/llama.cpp", "ms", (2000.0, 2100.0)),
    Figure("answers/2 min/the runtime", "ms", (300.0, 310.0)),
    Figure("answers/2 min/llama.cpp", "ms", (9000.0, 9100.0)),
    Figure("speech/to text/the runtime", "ms", (80.0,)),
    Figure("speech/words wrong/the runtime", "%", (0.0,)),
    Figure("speech/to text/other", "ms", (400.0,)),
    Figure("speech/words wrong/other", "%", (5.0,)),
    Figure("memory/copied", "GB/s", (5.0, 10.0)),
    Figure("decode/a", "tokens/s", (40.0,)),
    Figure("decode/b", "tokens/s", (50.0,)),
    Figure("sounds/c", "ms a hop", (1.0,)),
]


def info(**shapes: tuple[int, ...]) -> GgufInfo:
    named = {name.replace("_weight", ".weight"): shape for name, shape in shapes.items()}
    return GgufInfo("llama", 64, 512, named, dict.fromkeys(named, ("F16", 0)), {}, {})


def make_peers_report() -> Report:
    values = {**make_report().values, "weight_bytes": 100_000_000}
    values["plan"] = {"rounds": 2, "lengths_s": [30, 120]}
    return Report(values, FIGURES)


@pytest.mark.parametrize(
    ("kind", "shape", "size"),
    [
        ("F32", (4, 3), 48),
        ("F16", (4, 3), 24),
        ("Q8_0", (64, 2), 136),
        ("Q4_0", (64, 2), 72),
        ("Q4_1", (64, 2), 80),
    ],
)
def test_bytes_of_a_tensor(kind: str, shape: tuple[int, ...], size: int) -> None:
    assert tensor_bytes(kind, shape) == size


def test_a_table_of_which_a_row_is_read_does_not_count() -> None:
    tied = info(token_embd_weight=(64, 100), blk_weight=(64, 64))
    assert weight_bytes(tied) == 2 * 64 * (100 + 64)
    own = info(token_embd_weight=(64, 100), blk_weight=(64, 64), output_weight=(64, 100))
    assert weight_bytes(own) == weight_bytes(tied)


@pytest.mark.parametrize("threads", [1, 3])
def test_copying_takes_time(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.peers.writing.COPIED_BYTES", 3 << 20)
    assert 0.0 < Copier(threads)() < 10_000.0


@pytest.mark.parametrize("printed", ["", "[]", '[{"avg_ts": "quick"}]', "null"])
def test_what_is_no_llama_bench_is_told(tmp_path: Path, printed: str) -> None:
    program = tmp_path / "llama-bench"
    program.write_text(f"#!/bin/sh\nprintf '%s' '{printed}'\n")
    program.chmod(0o755)
    with pytest.raises(EdgeAlmError, match="llama-bench"):
        run_llama_bench(program, tmp_path / "model.gguf", 1, 8, 0)
    program.write_text("#!/bin/sh\necho '[{\"avg_ts\": 31.5}]'\n")
    assert run_llama_bench(program, tmp_path / "model.gguf", 1, 8, 0) == 31.5


def test_shares_are_of_the_best_copy_and_ratios_to_the_first_peer() -> None:
    rows = to_rows(FIGURES, 100_000_000)
    assert len({len(row) for row in rows}) == 1
    found = {row[0].strip(): row[-2:] for row in rows}
    assert found["copied"] == ("-", "-")
    assert found["a"] == ("-", "40%")
    assert found["b"] == ("1.25", "50%")
    assert found["c"] == ("-", "-")
    assert found["30 s/llama.cpp"] == ("10.00", "-")
    assert found["2 min/the runtime"] == ("-", "-")
    assert found["to text/other"] == ("5.00", "-")
    assert found["words wrong/other"] == ("-", "-"), "there is no ratio to nothing"


def test_the_table_has_the_machine_every_figure_and_the_notes() -> None:
    text = to_text(make_peers_report())
    assert "Raspberry Pi 5" in text
    assert "note: one & only <note>" in text
    for figure in FIGURES:
        assert f"  {figure.rest} " in text


def test_the_page_has_every_figure_and_a_plot_of_each_comparison(tmp_path: Path) -> None:
    page = ET.fromstring(to_html(through_json(make_peers_report(), tmp_path / "a.json")))
    titles = [(title.text or "").lower() for title in page.iter("h2")]
    used = [title for group, title in TITLES.items() if any(f.group == group for f in FIGURES)]
    assert [title for title in titles if title in used] == used
    assert "to the first token, by how much was heard" in titles
    cells = ["".join(cell.itertext()) for cell in page.iter("td")]
    for figure in FIGURES:
        assert figure.name in cells
    for svg in page.iter("svg"):
        check_svg(ET.tostring(svg, encoding="unicode"))


def test_one_length_makes_no_line() -> None:
    report = make_peers_report()
    report.values["plan"]["lengths_s"] = [30]
    assert "To the first token" not in to_html(report)


def test_peers_take_turns_and_the_warm_up_does_not_count() -> None:
    done: list[tuple[int, str]] = []

    def peer(name: str, what: str, value: float) -> tuple[str, object]:
        def work(number: int) -> list[Taken]:
            done.append((number, name))
            return [Taken(what, "ms", value + number)]

        return name, work

    first = Section("x", [peer("a", "", 10.0), peer("b", "", 20.0)])  # type: ignore[list-item]
    second = Section("y", [peer("a", "z", 30.0)])  # type: ignore[list-item]
    with Trace() as trace:
        figures = run_rounds([first, second], 20, trace, lambda text: None).figures()
    assert [figure.name for figure in figures] == ["x/a", "x/b", "y/z/a"]
    assert figures[0].samples == tuple(10.0 + i for i in range(20))
    assert [number for number, _ in done] == sorted(number for number, _ in done)
    assert done[0] == (WARM_UP, "a")
    orders = {tuple(name for at, name in done if at == number) for number in range(20)}
    assert len(orders) > 1


def test_who_cannot_do_the_work_is_left_out_with_a_line() -> None:
    def fails(number: int) -> list[Taken]:
        raise EdgeAlmError("model", expected="to run", got="nothing\nof the kind")

    section = Section("x", [("a", lambda number: [Taken("", "ms", 1.0)]), ("b", fails)])
    with Trace() as trace:
        figures = run_rounds([section], 2, trace, lambda text: None).figures()
    assert [figure.name for figure in figures] == ["x/a"]
    assert section.notes == ["b left out: model: expected to run, got nothing of the kind"]


class Parrot:
    """Always hears the same."""

    def transcribe(self, samples: Samples) -> Transcript:
        return Transcript("Turn right, now!", 0.9, 0.0)

    def draft(self, samples: Samples) -> Transcript:
        return self.transcribe(samples)


def test_wrong_words_are_of_all_that_were_said() -> None:
    silence = np.zeros(1600, np.float32)
    prompts = [Prompt(silence, ["turn", "left", "now"]), Prompt(silence, ["turn"])]
    taken = Reader(Parrot(), prompts)(0)
    assert [t.what for t in taken] == ["to text", "CPU"] * 2 + ["words wrong"]
    assert taken[-1].value == pytest.approx(100.0 * 3 / 4)


class Bells:
    """Hears a bell in all of nine patches, and glass in the third."""

    labels = ("Glass", "Bell", *(f"Sound {i}" for i in range(8)))
    embedding_size = 1

    def __init__(self) -> None:
        self.patches = 0

    def encode(self, patch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.patches += 1
        scores = np.full(len(self.labels), 0.1, np.float32)
        scores[:2] = (0.7 if self.patches % 9 == 3 else 0.0), 0.8
        return scores, np.zeros(1, np.float32)


def test_the_naive_way_does_it_all_when_asked(tmp_path: Path, require: Require) -> None:
    require("llama_cpp", "the extra llm")
    encoder = Bells()
    with PlainLlama(write_language_model(tmp_path / "model.gguf"), n_ctx=1024) as llama:
        cascade = Cascade(Parrot(), encoder, llama)
        samples = np.zeros(4 * SAMPLE_RATE_HZ, np.float32)
        cost = cascade.ask(samples, "What was it?")
        again = cascade.ask(samples, "What was it?")
        prompt = b"".join(map(llama.piece, cascade.tokenize("go", ["Bell", "Glass"], "Why?")))
    assert 'Speech: "go"\nSounds: bell, glass\n Question: Why?' in prompt.decode()
    assert encoder.patches == 2 * 9
    assert 0.0 < cost.first_ms <= cost.last_ms
    assert 0 <= cost.tokens <= MAX_ANSWER_TOKENS
    assert (again.text, again.tokens) == (cost.text, cost.tokens), "nothing is left from before"
    assert cost.cpu_s == cost.all_cpu_s
    assert {taken.what: taken.value for taken in cost.taken()}["first token"] == cost.first_ms


def test_sounds_are_tagged_by_their_peaks() -> None:
    cascade = Cascade(Parrot(), Bells(), None)  # type: ignore[arg-type]
    assert cascade.tag(np.zeros(4 * SAMPLE_RATE_HZ, np.float32))[:2] == ["Bell", "Glass"]


def test_a_stream_tells_when_enough_was_heard_and_goes_on() -> None:
    stream = Stream(np.zeros(SAMPLE_RATE_HZ // 5, np.float32), SAMPLE_RATE_HZ // 10)
    heard = [stream.heard.is_set() for _ in stream.packets()]
    assert heard == [False] * 5 + [True] * 5


@pytest.mark.parametrize(
    ("words", "lengths"),
    [([], [30, 120, 600]), (["--long"], [30, 120, 600, 1800]), (["--lengths", "9", "5"], [5, 9])],
)
def test_lengths(words: list[str], lengths: list[int]) -> None:
    assert lengths_s(make_parser().parse_args(words)) == lengths


@pytest.mark.parametrize("words", [["--rounds", "0"], ["--lengths", "-5"], ["--only", "taste"]])
def test_wrong_options_are_told(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        make_parser().parse_args(words)
    assert stop.value.code == 2
    assert words[0] in capsys.readouterr().err
