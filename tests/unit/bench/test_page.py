"""The page: whole without a network, well formed, with every figure in it, and no text cut off."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from bench_reports import check_svg, make_report, through_json
from hypothesis import given
from hypothesis import strategies as st

from edge_alm.bench.page import to_html
from edge_alm.bench.plots import WIDTH, Line, distributions, lines, stacked, ticks
from edge_alm.bench.report import Report

names = st.text("abc /&<", min_size=1, max_size=24)
values = st.just(0.0) | st.floats(1e-6, 1e6)


def parse(page: str) -> ET.Element:
    return ET.fromstring(page)


def everything(report: Report) -> list[str]:
    """All numbers of the figures as a page has to have them."""
    return [repr(sample) for figure in report.figures for sample in figure.samples]


def test_the_page_is_whole(tmp_path: Path) -> None:
    report = through_json(make_report(), tmp_path / "a.json")
    html = to_html(report)
    page = parse(html)
    assert html.startswith("<!DOCTYPE html>")
    assert page.tag == "html"
    cells = ["".join(cell.itertext()) for cell in page.iter("td")]
    for figure in report.figures:
        assert cells.count(figure.name) == 2, "once with its medians, once with its samples"
        assert " ".join(map(repr, figure.samples)) in cells
    assert len(list(page.iter("circle"))) > 20
    assert "one &amp; only &lt;note&gt;" in html
    assert "prefers-color-scheme" in html


def test_nothing_is_fetched() -> None:
    html = to_html(make_report())
    page = parse(html)
    assert not [e.tag for e in page.iter() if e.tag in ("script", "link", "img", "iframe", "use")]
    attributes = {name for element in page.iter() for name in element.attrib}
    assert not attributes & {"src", "href", "srcset", "data", "style"}
    assert not re.search(r"https?:|url\(|@import", html)


def test_the_plots_are_there() -> None:
    page = parse(to_html(make_report()))
    titles = [title.text for title in page.iter("h2")]
    assert titles == [
        "The machine",
        "From a question to its answer",
        "From nothing to ready",
        "From a sound to its event",
        "What listening costs, by stage",
        "Of that, hearing",
        "What an answer costs, by how much was heard",
        "Power over time",
        "CPU over time",
        "Temperature over time",
        "Clock over time",
        "All figures",
    ]
    for svg in page.iter("svg"):
        check_svg(ET.tostring(svg, encoding="unicode"))


@pytest.mark.parametrize("llm", [True, False])
def test_what_was_not_measured_is_not_drawn(llm: bool) -> None:
    report = make_report()
    report.values["trace"].update(watts=None, points=[], phases=[])
    figures = [f for f in report.figures if llm or f.group not in ("ask", "decode")]
    titles = [t.text for t in parse(to_html(Report(report.values, figures))).iter("h2")]
    assert "Power over time" not in titles
    assert "CPU over time" not in titles
    assert ("What an answer costs, by how much was heard" in titles) == llm
    assert to_html(Report(report.values, [])).count("<h2>") == 2


def test_watts_are_never_made_up() -> None:
    report = make_report()
    report.values["trace"]["watts"] = None
    html = to_html(report)
    assert "No power sensor was read." in html
    assert ">W<" not in html


@given(st.floats(1e-6, 1e9), st.integers(3, 8))
def test_ticks_are_round_and_reach_the_highest(highest: float, most: int) -> None:
    found = ticks(highest, most)
    assert found[0] == 0.0
    assert found[-1] >= highest * (1 - 1e-6)
    assert 1 <= len(found) - 1 <= most
    assert found == sorted(set(found))


@pytest.mark.parametrize("highest", [0.0, -1.0, float("nan")])
def test_ticks_of_nothing(highest: float) -> None:
    assert ticks(highest) == [0.0, 1.0]


@given(st.dictionaries(names, st.lists(values, min_size=1, max_size=9), min_size=1, max_size=5))
def test_every_sample_is_a_dot_within_the_plot(rows: dict[str, list[float]]) -> None:
    svg = check_svg(distributions(rows, "ms"))
    dots = [float(dot.attrib["cx"]) for dot in svg.iter("circle")]
    assert len(dots) == sum(map(len, rows.values()))
    assert all(0.0 <= x <= WIDTH for x in dots)


@given(
    st.dictionaries(
        names, st.dictionaries(names, values, min_size=1, max_size=10), min_size=1, max_size=4
    )
)
def test_a_bars_parts_are_as_long_as_their_values(rows: dict[str, dict[str, float]]) -> None:
    svg = check_svg(stacked(rows, "% of a core"))
    bars = [rect for rect in svg.iter("rect") if rect.find("title") is not None]
    assert len(bars) == sum(value > 0.0 for parts in rows.values() for value in parts.values())


@given(st.lists(st.tuples(st.floats(0.1, 1e4), values), min_size=2, max_size=20), st.booleans())
def test_lines_stay_within_the_plot(points: list[tuple[float, float]], log: bool) -> None:
    points = sorted(points)
    if log:
        points = [(x, y) for x, (_, y) in zip((5.0, 30.0, 120.0, 600.0), points, strict=False)]
    names = [(x, f"{x:g} s") for x, _ in points] if log else None
    found = Line("first token", points), Line("last token", [(x, y + 1) for x, y in points])
    svg = check_svg(lines(found, "s", "ms", x_ticks=names, marks=[(0.0, 1e9, "all")] * (not log)))
    for line in svg.iter("polyline"):
        for pair in line.attrib["points"].split():
            x, y = map(float, pair.split(","))
            assert 0.0 <= x <= WIDTH
            assert 0.0 <= y <= 240.0
