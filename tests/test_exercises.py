"""The exercises of the lessons: each check accepts the solution and refuses what is wrong, on any inputs.

The solutions are those of `solutions.md`, which uses other formulas than the checks do: these differentiate, count or
simulate. Wrong answers are those that a check knows by name, and right ones that are moved a little.

Not verified: that an exercise teaches; what a check says of a mistake that nobody has thought of, but that it is one.
"""

import ast
import doctest
import importlib
import re
from collections import defaultdict

import exercises
import numpy as np
import pytest
from exercises import RIGHT, TOLERANCE, UNANSWERED, WRONG, Function, Lesson, Number, Property
from tutorial_pages import FENCE, INDEX, PAGES, cells, checks, is_notebook

LESSONS = {
    f"{name}.md": importlib.import_module(f"exercises.{name.replace('-', '_')}")
    for name in INDEX
    if re.search(r"^from exercises\.", PAGES.get(f"{name}.md", ""), re.MULTILINE)
}
EVERY = [(page, k) for page, module in LESSONS.items() for k in range(1, len(module.check.exercises) + 1)]
SAMPLED = True  # see conftest.py
SEEDS = (1, 2, 3)


def exercise(page, number):
    return LESSONS[page].check.exercises[number - 1]


@pytest.fixture(scope="module")
def solutions():
    """Execute the page of solutions; return the answer that it gives to each exercise."""
    answers, lesson_of = defaultdict(dict), {id(module.check): page for page, module in LESSONS.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lesson, "__call__", lambda self, k, answer: answers[lesson_of[id(self)]].update({k: answer}))
        namespace = {}
        for example in doctest.DocTestParser().get_examples(PAGES["solutions.md"]):
            exec(compile(example.source, "solutions.md", "single"), namespace)
            if example.source.startswith("def "):
                namespace[example.source[4 : example.source.index("(")]].source = example.source
    return answers


def test_every_lesson_of_the_course_has_four_exercises_or_more():
    listed = re.search(r":caption: Tutorials\n\n((?:\w[\w-]*\n)*)", PAGES["index.md"])[1].split()
    assert set(LESSONS) == {f"{name}.md" for name in listed if is_notebook(PAGES[f"{name}.md"])}
    assert all(len(module.check.exercises) >= 4 for module in LESSONS.values())


@pytest.mark.parametrize("page", LESSONS)
def test_a_lesson_asks_each_of_its_exercises_once_in_order_and_leaves_it_open(page):
    asked = [call for code in cells(PAGES[page]) for call in checks(code)]
    assert [number for number, _ in asked] == list(range(1, len(LESSONS[page].check.exercises) + 1))
    for number, stub in asked:
        namespace = {}
        exec(f"answer = {stub}" if not stub.startswith("def ") else stub, namespace)
        answer = namespace.get("answer", namespace.get(stub[4 : stub.index("(")] if stub.startswith("def ") else ""))
        assert LESSONS[page].check.judge(number, answer).status == UNANSWERED, (number, stub)
        assert PAGES[page].count(f"**Exercise {number}.**") == 1, number


@pytest.mark.parametrize(("page", "number"), EVERY)
def test_a_check_accepts_the_solution(page, number, solutions):
    for seed in SEEDS:
        assert LESSONS[page].check.judge(number, solutions[page][number], seed).status == RIGHT


def test_there_is_a_solution_to_every_exercise_and_no_other(solutions):
    assert {(page, number) for page, answers in solutions.items() for number in answers} == set(EVERY)


@pytest.mark.parametrize(("page", "number"), EVERY)
def test_a_check_refuses_the_mistakes_that_it_knows_and_says_which_it_is(page, number):
    assert exercise(page, number).mistakes
    for words, wrong in exercise(page, number).mistakes.items():
        for seed in SEEDS:
            verdict = LESSONS[page].check.judge(number, wrong, seed)
            assert verdict.status == WRONG
            assert words in verdict.words


@pytest.mark.parametrize(("page", "number"), [e for e in EVERY if isinstance(exercise(*e), Function)])
@pytest.mark.parametrize("spoil", ["a little too large", "one element", "sign", "noise"])
def test_a_check_refuses_a_solution_that_is_spoilt(page, number, spoil, solutions):
    rng = np.random.default_rng(number)

    def spoilt(result):
        if isinstance(result, tuple):
            return (*result[:-1], spoilt(result[-1]))
        result = np.array(result, dtype=float)
        if spoil == "a little too large":
            return result * (1 + 2.0**-30)
        if spoil == "one element":
            result.flat[abs(result).argmax()] *= 1.001
            return result
        if spoil == "sign":
            return -result
        return result + 1e-6 * abs(result).max() * rng.standard_normal(result.shape)

    def answer(*arguments):
        return spoilt(solutions[page][number](*arguments))

    verdict = LESSONS[page].check.judge(number, answer, seed=number)
    assert verdict.status == WRONG
    assert verdict.words


@pytest.mark.parametrize(("page", "number"), [e for e in EVERY if isinstance(exercise(*e), Number)])
def test_a_check_refuses_other_numbers(page, number):
    asked = exercise(page, number)
    off = asked.within * 1.01 if asked.within > 1 else 1.02
    for wrong in (asked.value * off, asked.value / off, -asked.value, 0.0, asked.value + asked.within * 2, np.nan, "m"):
        assert asked.judge(wrong).status == WRONG, wrong


@pytest.mark.parametrize(("page", "number"), [e for e in EVERY if isinstance(exercise(*e), Function)])
def test_a_check_says_what_it_cannot_judge(page, number, solutions):
    asked, solution = exercise(page, number), solutions[page][number]

    def said(answer):
        status, words = asked.judge(answer, np.random.default_rng(0))
        assert status == WRONG
        return words

    assert said(3.0) == "a function is asked for, and this is a float"
    assert "it raises TypeError" in said(lambda: 1)
    assert said(lambda *a: {}).endswith(("is a dict", "and 1 came"))
    assert "should have the shape" in said(lambda *a: tuple(np.zeros((2, 2, 2, 2)) for _ in asked.names.split(", ")))
    extra = said(lambda *a: (*(r if isinstance(r := solution(*a), tuple) else (r,)), 0.0))
    assert extra.startswith(f"{len(asked.names.split(', '))} results are asked for")


def test_a_right_answer_may_sum_in_any_order(solutions):
    """Errors of right answers stay 64 times below what a check allows, however they sum."""

    def reordered(x):
        order = np.random.default_rng(0).permutation(len(x))
        mean = np.float64(0)
        for k, row in enumerate(x[order], 1):
            mean = mean + (row - mean) / k
        return mean

    def welford(dy, x_hat, inv_std, gamma):
        return gamma * inv_std * (dy - reordered(dy) - x_hat * reordered(dy * x_hat))

    asked = exercise("backward-twice.md", 8)
    for seed in range(20):
        arguments = asked.draw(np.random.default_rng(seed))
        right = asked.truth(*arguments)
        for answer in (welford, solutions["backward-twice.md"][8]):
            assert abs(answer(*arguments) - right).max() < TOLERANCE / 64 * abs(right).max()


@pytest.mark.parametrize("page", LESSONS)
def test_no_solution_stands_above_its_exercise(page, solutions):
    """What a solution returns, if it is somewhere in a lesson at all, comes after the exercise."""
    lines = PAGES[page].splitlines()
    for number, answer in solutions[page].items():
        if not callable(answer):
            continue
        told = {line.strip() for line in answer.source.splitlines() if line.strip().startswith("return ")}
        assert told
        at = next(k for k, line in enumerate(lines) if f"**Exercise {number}.**" in line)
        assert not [line for line in lines[:at] if line.strip() in told], number


def test_the_picture_of_the_gradients_comes_after_their_exercises():
    text = PAGES["backward-twice.md"]
    assert text.index("**Exercise 6.**") < text.index("figures/graph.svg") < text.index("**Exercise 7.**")


def test_a_stub_is_no_answer_and_no_error():
    for stub in (..., None, (..., ...), lambda x: ..., lambda x: None, lambda x: (..., 1)):
        asked = Function(lambda rng: (1.0,), lambda x: x, "x") if callable(stub) else Number(1, "one")
        assert asked.judge(stub, np.random.default_rng(0)) == (UNANSWERED, "")
    asked = Property(lambda answer, rng: exercises.returned(answer, 1.0) and None, "it is so")
    assert asked.judge(lambda x: ..., np.random.default_rng(0)) == (UNANSWERED, "")
    assert asked.judge(lambda x: x, np.random.default_rng(0)) == (RIGHT, "it is so")
    with pytest.raises(ValueError, match=r"exercise 2: this lesson has the exercises 1 to 1"):
        Lesson(Number(1, "one")).judge(2, 1)


def test_arguments_of_an_answer_are_its_own():
    def greedy(x):
        x *= 2
        return x / 2

    asked = Function(lambda rng: (rng.standard_normal(3),), lambda x: x, "x")
    assert asked.judge(greedy, np.random.default_rng(0)).status == RIGHT


def test_a_number_is_asked_for_in_three_digits_or_whole():
    assert [Number(9.245, "n").judge(n).status for n in (9.245, 9.24, 9.25, 9.2)] == [RIGHT, RIGHT, RIGHT, WRONG]
    assert [Number(51, "n").judge(n).status for n in (51, 51.0, 50, 51.2)] == [RIGHT, RIGHT, WRONG, WRONG]
    assert [Number(1e-4, "h", within=3).judge(h).status for h in (4e-5, 2e-4, 1e-5)] == [RIGHT, RIGHT, WRONG]


def test_the_page_of_solutions_links_every_lesson():
    prose = FENCE.sub("", PAGES["solutions.md"])
    assert re.findall(r"\[To the lesson\]\(([\w-]+\.md)\)", prose) == sorted(
        LESSONS, key=lambda page: INDEX.index(page.removesuffix(".md"))
    )
    for page in LESSONS:
        assert "](solutions.md#" in PAGES[page]


def test_an_exercise_is_found_in_a_cell():
    code = "def f(x):\n    return ...\n\ncheck(2, f)\ncheck(3, ...)\n"
    assert checks(code) == [(2, "def f(x):\n    return ..."), (3, "...")]
    assert checks("refnorm.check(f)") == []
    assert ast.parse(code)
