"""The tutorials keep their form, and no claim of theirs can be altered without a failure.

The form is looked at in the ordinary suite. What executes needs the extra `tutorials` and takes minutes:
`pip install -e '.[test,tutorials]'; pytest --dist loadfile -m slow tests/test_{tutorials,book,drawing}.py`. Without
the extra those tests warn and are skipped; with REFNORM_TOOLS=tutorials they fail (with chromium: so do those that open
the book in it). Unaltered, every page is executed by the book (`test_book.py`).

Not verified: links to other sites; prose that no cell computes.
"""

import doctest
import sys

import pytest
from altered_claims import ALTERED
from tutorial_pages import (
    ANSWERS,
    FOLDER,
    GOOD,
    INDEX,
    PAGES,
    PageError,
    broken_links,
    complaints,
    execute,
    faults_of_answers,
    is_notebook,
    need_extra,
)

pytestmark = pytest.mark.filterwarnings("always:NOT TESTED")

NOTEBOOKS = [name for name, text in PAGES.items() if is_notebook(text)]


def run(text, name):
    """Execute a notebook; run the doctests of any other page."""
    if is_notebook(text):
        execute(text, name)
        return
    failures = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE, verbose=False)
    runner.run(doctest.DocTestParser().get_doctest(text, {}, name, name, 0), out=failures.append)
    if failures:
        raise PageError(f"{name}: {''.join(failures)}")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_tutorial_has_its_form(name):
    assert complaints(PAGES[name]) == []


@pytest.mark.parametrize("name", PAGES)
def test_links_and_images_of_a_page_lead_somewhere(name):
    assert broken_links(PAGES[name]) == []


@pytest.mark.parametrize("page", ANSWERS)
def test_questions_have_an_answer_of_few_sentences_an_example_and_a_lab(page):
    assert faults_of_answers(PAGES[page], ANSWERS[page]) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("## Before or after ReLU?", "Before or after ReLU?", "14 questions"),
        ("## Before or after ReLU?", "## Before or after ReLU", "'Before or after ReLU' is no question"),
        (
            "No: gradients",
            "No. Gradients. Never. So it is. Gradients",
            "Is gradient accumulation the same as a bigger batch?: 7 sentences",
        ),
        (">>> f", "f", "no example"),
        ("Lab: [small batches](small-batches.md)", "Lab: small batches", "no lab"),
    ],
)
def test_an_answer_of_bad_form_is_refused(old, new, fault):
    altered = PAGES["answers.md"].replace(old, new)
    assert any(fault in found for found in faults_of_answers(altered, ANSWERS["answers.md"]))


def test_an_answer_from_practice_without_a_source_is_refused():
    page = "answers-from-practice.md"
    altered = PAGES[page].replace("https://github.com/pytorch/pytorch/issues/147303", "")
    (found,) = faults_of_answers(altered, ANSWERS[page])
    assert found == "Why is the gradient NaN in float16 when the forward pass is fine?: no source"


def test_every_page_is_in_the_index():
    assert set(PAGES) - {"index.md"} <= {f"{name}.md" for name in INDEX}


def test_the_page_of_conventions_is_what_the_table_says():
    sys.path.insert(0, str(FOLDER))
    import pages

    assert PAGES["conventions.md"] == pages.table(), "python tutorials/pages.py writes it anew"


def test_a_page_of_good_form_is_accepted():
    assert is_notebook(GOOD)
    assert complaints(GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("What you'll learn", "What you learn", '"What you\'ll learn" is missing'),
        ("## On your own\n", "", "last sections"),
        ("## Further reading", "## Reading", "last sections"),
        ("assert total == 2", "print(total)\nFalse", "section 'A section' does not end in an assertion"),
        ('assert total == 2, f"it is {total}"\n```', "assert total\n```\n\n```{code-cell}\n1\n```", "does not end in"),
        ("# A page\n", "# A page\n" + "\n" * 250, "must be below 250"),
        ("# A page\n", "# A page\n\n```{output}\n2\n```\n", "outputs are kept"),
        ("(findings.md)", "(found.md)", "there is no found.md"),
        ("(findings.md)", "(findings.md#nowhere)", "no heading #nowhere"),
        ("(#a-section)", "(#the-section)", "no heading #the-section"),
        ("(#a-section)", "(#no-heading)", "no heading #no-heading"),
        ("kills.svg", "skills.svg", "skills.svg"),
        ("what it shows in words", "", "says nothing"),
    ],
)
def test_a_page_of_bad_form_is_refused(old, new, complaint):
    assert GOOD.count(old) == 1
    assert any(complaint in found for found in complaints(GOOD.replace(old, new)))


@pytest.mark.parametrize(("page", "old", "new"), ALTERED)
def test_what_is_altered_is_in_the_page_once(page, old, new):
    assert PAGES[page].count(old) == 1, old
    assert new != old


@pytest.mark.slow
@pytest.mark.parametrize(("page", "old", "new"), ALTERED)
def test_an_altered_claim_fails(page, old, new):
    need_extra()
    with pytest.raises(PageError, match=r"AssertionError|Expected:"):
        run(PAGES[page].replace(old, new), page)


@pytest.mark.slow
def test_the_cell_that_fails_is_named():
    need_extra()
    execute(GOOD)
    with pytest.raises(PageError, match=r"^page, code cell 2 of 2: AssertionError: it is 3\n"):
        execute(GOOD.replace("1 + 1", "1 + 2"))
    with pytest.raises(PageError, match=r"^page, code cell 1 of 2: NameError"):
        execute(GOOD.replace("1 + 1", "one + 1"))
    with pytest.raises(PageError, match="timed out"):
        execute(GOOD.replace("total = 1 + 1", "import time; time.sleep(60)"), seconds=2)
