"""The drawings of the lessons: what is read off a picture with a ruler is what was drawn, and a reader may vary it.

Not verified: how wide letters are in a reader's font; colours against the background of a theme that is grey.
"""

import importlib.util
import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from altered_claims import VARIED
from drawing import COLOURS, LINE, WIDTH, apart, draw, ticks
from tutorial_pages import CELL, FOLDER, PAGES, asserts, cells, execute, need_extra

SVG = "{http://www.w3.org/2000/svg}"


class Read:
    """A picture, read as one reads it: from the numbers at its axes."""

    def __init__(self, drawing, log=""):
        self.root = ElementTree.fromstring(drawing.svg)
        self.texts = [(float(t.get("x")), float(t.get("y")), t.text, t.get("text-anchor")) for t in self.of("text")]
        numbers = [t for t in self.texts if re.fullmatch(r"-?[\d.]+(e-?\d+)?", t[2])]
        across = [(x, float(words)) for x, _, words, anchor in numbers if anchor == "middle"]
        up = [(y - 5, float(words)) for _, y, words, anchor in numbers if anchor == "end"]
        self.x, self.y = self.scale(across, "x" in log), self.scale(up, "y" in log)

    def of(self, name):
        return list(self.root.iter(SVG + name))

    @staticmethod
    def scale(found, logarithmic):
        """Return what turns places into values, from the first and the last number of an axis."""
        (a, first), (b, last) = found[0], found[-1]
        change, back = (np.log, np.exp) if logarithmic else (float, float)
        return lambda place: back(change(first) + (place - a) / (b - a) * (change(last) - change(first)))

    def curve(self, k):
        pairs = [pair.split(",") for pair in self.of("polyline")[k].get("points").split()]
        return [self.x(float(a)) for a, _ in pairs], [self.y(float(b)) for _, b in pairs]

    def labels(self, *names):
        return {words: (x, y) for x, y, words, _ in self.texts if words in names}


def test_values_are_read_off_the_axes():
    x, y = [-3.0, 0.5, 2.0, 40.0], [7.0, -2.5, 0.0, 11.0]
    across, up = Read(draw("A line", {"line": (x, y)}, x="x")).curve(0)
    assert across == pytest.approx(x, abs=0.02 * 43)  # two places are written to a tenth of a pixel
    assert up == pytest.approx(y, abs=0.02 * 13.5)


def test_values_are_read_off_logarithmic_axes():
    x, y = 10.0 ** -np.arange(1, 16), np.geomspace(1e-12, 30, 15)
    across, up = Read(draw("Errors", {"e": (x, y)}, x="h", log="xy"), "xy").curve(0)
    assert np.log(across) == pytest.approx(np.log(x), abs=0.1)  # of 32
    assert np.log(up) == pytest.approx(np.log(y), abs=0.1)


def test_bars_have_the_heights_and_edges_of_a_histogram():
    counts, edges = np.histogram([1, 1, 2, 5, 5, 5, 6, 9], bins=4)
    across, up = Read(draw("Bars", {"seen": (counts, edges)}, x="value")).curve(0)
    assert up[1:-1:2] == pytest.approx(list(counts), abs=0.05)
    assert (up[0], up[-1]) == pytest.approx((0, 0), abs=0.05)
    assert across[::2] == pytest.approx(list(edges), abs=0.1)


def test_points_are_dots_and_a_single_point_is_one():
    read = Read(draw("Dots", {"seen": ([1, 2, 4], [1, 4, 9]), "line": ([1, 4], [0, 9])}, x="m", points=["seen"]))
    assert [read.y(float(c.get("cy"))) for c in read.of("circle")] == pytest.approx([1, 4, 9], abs=0.1)
    assert len(read.of("polyline")) == 1
    assert len(Read(draw("One", {"a": ([1], [1]), "b": ([0, 2], [0, 2])}, x="m")).of("circle")) == 1
    for value in (0, -3, 1e-9, 1e20):
        read = Read(draw("One alone", {"a": ([value], [value])}, x="m"))
        assert read.y(float(read.of("circle")[0].get("cy"))) == pytest.approx(value, abs=0.01 * (abs(value) or 1))


def test_names_stand_at_the_right_ends_a_line_apart_and_inside():
    names = ("first", "second", "third", "fourth", "fifth")
    series = {name: ([0, 1], [k, 1 + k / 1000]) for k, name in enumerate(names)}
    read = Read(draw("Meeting", series, x="x"))
    places = sorted(read.labels(*names).values(), key=lambda place: place[1])
    assert len(places) == 5
    assert min(np.diff([y for _, y in places])) >= LINE - 0.1
    assert all(0 < y < float(read.root.get("height")) - LINE for _, y in places)
    assert all(x + 8.5 * len("second") < WIDTH for x, _ in places)
    backwards = Read(draw("Falling steps", {"line": ([3, 2, 1], [5, 0, 0])}, x="x"))
    assert backwards.y(backwards.labels("line")["line"][1] - 5) == pytest.approx(5, abs=0.1)  # at x = 3


def test_levels_that_meet_are_moved_apart_and_others_stay():
    assert apart([10, 50, 90], 100) == [10, 50, 90]
    assert apart([98, 99, 100], 100) == [100 - 2 * LINE, 100 - LINE, 100]
    assert apart([], 100) == []


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1e-9, 3e-9), (1e6, 1e6 + 1), (-7, 123)])
def test_ticks_are_few_and_the_first_is_not_above_the_lowest_value(low, high):
    found = ticks(low, high)
    assert 4 <= len(found) <= 8
    assert found[0] <= low < found[1] < found[-1] <= high


@pytest.mark.parametrize(("low", "high", "least"), [(1, 128, 5), (0.1, 10, 7), (1e-300, 1e300, 5), (0.9, 11, 4)])
def test_logarithmic_ticks_are_few_and_the_first_is_not_above_the_lowest_value(low, high, least):
    found = ticks(low, high, logarithmic=True)
    assert least <= len(found) <= 12
    assert found[0] <= low < found[1] < found[-1] <= high


def test_an_axis_of_heights_begins_at_a_round_number():
    read = Read(draw("Test error", {"e": ([0.1, 1, 10], [91, 6.5, 53])}, x="scale", log="x"), "x")
    assert read.labels("0", "0.1", "10").keys() == {"0", "0.1", "10"}


def test_a_picture_is_said_in_words():
    root = Read(draw("Lag", {"a": ([1, 2], [3, 4.5])}, x="m")).root
    assert root.get("role") == "img"
    assert [(child.tag.removeprefix(SVG), child.text) for child in root][:2] == [
        ("title", "Lag"),
        ("desc", "Against m: a from 3 at 1 to 4.5 at 2"),
    ]


def test_hostile_words_are_words():
    words = '<script>alert("1")</script> & \'">'
    read = Read(draw(words, {words + "1": ([0, 1], [0, 1])}, x=words + "2", y=words + "3"))
    assert read.of("script") == []
    assert {words + end for end in "123"} <= {text[2] for text in read.texts}
    assert read.of("title")[0].text == words


def test_a_long_title_is_wrapped_within_the_picture():
    read = Read(draw("seventeen words " * 8, {"a": ([0, 1], [0, 1])}, x="x"))
    lines = [words for x, _, words, _ in read.texts if x == 0]
    assert len(lines) > 1
    assert all(8.5 * len(line) < WIDTH * 1.05 for line in lines)


@pytest.mark.parametrize(
    ("series", "more", "said"),
    [
        ({}, {}, "nothing to draw"),
        ({"a": ([], [])}, {}, r"a: \(0,\) values across and \(0,\) up"),
        ({"a": ([0, 1], [1, 2, 3, 4])}, {}, r"a: \(2,\) values across and \(4,\) up"),
        ({"a": ([[0, 1]], [[1, 2]])}, {}, "two sequences of n numbers"),
        ({"a": ([0, 1, 2], [1, np.nan, np.inf])}, {}, "a: 2 of 3 points are NaN or infinite"),
        ({"a": ([0, 1], [1, 2])}, {"log": "x"}, "x: 0 has no place on a logarithmic axis"),
        ({"a": ([1, 2], [1, 2])}, {"points": ["b"]}, "no series 'b'; there are a"),
    ],
)
def test_what_cannot_be_drawn_is_said(series, more, said):
    with pytest.raises(ValueError, match=said):
        draw("Nothing", series, x="x", **more)


def luminance(colour):
    channels = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]  # WCAG 2.2, relative luminance


@pytest.mark.parametrize("background", ["#ffffff", "#f8f9fb", "#131416", "#000000"])
def test_every_colour_is_seen_on_light_and_on_dark(background):
    for colour in COLOURS[:-1]:  # the last one is the text's own
        dark, light = sorted((luminance(colour), luminance(background)))
        assert (light + 0.05) / (dark + 0.05) >= 2.9, colour


def draws(code):
    return re.search(r"^draw\(.*\)\n\Z", code, re.MULTILINE) is not None


LESSONS = re.findall(
    r"^([\w-]+)$", PAGES["index.md"].partition(":caption: Tutorials")[2].partition("```")[0], re.MULTILINE
)


def test_every_lesson_draws_and_says_what_to_vary():
    lessons = [name for name in LESSONS if "{code-cell}" in PAGES[f"{name}.md"]]
    assert set(lessons) == set(VARIED)
    for name, (old, new) in VARIED.items():
        assert PAGES[f"{name}.md"].count(old) == 1, old
        (cell,) = (code for code in cells(PAGES[f"{name}.md"]) if draws(code))
        assert old in cell
        assert new not in cell
        assert asserts(cell), name


def ran(codes):
    """Run cells as a page of the book does; return what is said of the last."""
    spec = importlib.util.spec_from_file_location("cells_that_draw", FOLDER / "playground" / "cells.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for code in codes:
        answer = json.loads(module.run(code))
        assert "trouble" not in answer, (answer, code)
    return answer


def test_a_cell_that_draws_gives_the_picture_and_what_it_prints():
    code = "from drawing import draw\nprint(1)\ndraw('A', {'a': ([0, 1], [0, 1])}, x='x')"
    assert ran([code]) == {"printed": "1\n", "drawn": draw("A", {"a": ([0, 1], [0, 1])}, x="x").svg}
    assert ran([code + "\nNone"]) == {"printed": "1\n"}
    assert ran(["from drawing import Drawing\nDrawing"]) == {"printed": "<class 'drawing.Drawing'>\n"}


@pytest.mark.slow
@pytest.mark.filterwarnings("always:NOT TESTED")
@pytest.mark.parametrize("name", VARIED)
def test_what_a_reader_varies_holds_and_draws_another_picture(name):
    need_extra()
    page = PAGES[f"{name}.md"]
    (cell,) = (match for match in CELL.finditer(page) if draws(match[2]))
    notebook = execute(page[: cell.end()] + "\n\n" + cell[0].replace(*VARIED[name]) + "\n", name)
    code = [c for c in notebook.cells if c.cell_type == "code"]
    outputs = [c.outputs[-1]["data"] for c in code[-2:]]
    before, after = (ElementTree.tostring(ElementTree.fromstring(data["image/svg+xml"])) for data in outputs)
    assert before != after
    assert all(data["text/html"] == data["image/svg+xml"] for data in outputs)
