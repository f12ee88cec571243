"""The playground: what a visitor sees is what refnorm says, in headless Chromium on a desktop and on a phone.

    pip install playwright && python tutorials/browser.py                          # and Debian's chromium
    REFNORM_TOOLS=playground pytest -n 0 -m "slow or not slow" tests/test_playground.py

The pages are served from the built folder; whatever else they ask for is refused and fails the test. What stands in
for FLINT in the browser is compared with FLINT here, case by case.

Not verified: other browsers; the public site that a book without Pyodide of its own loads it from.
"""

import contextlib
import functools
import html
import http.server
import importlib.util
import json
import pickle
import re
import shutil
import subprocess
import sys
import threading
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from altered_claims import VARIED
from tutorial_pages import FOLDER, REQUIRED

import refnorm
from refnorm.conventions import ROWS
from refnorm.golden.truth import _computed

sys.path.insert(0, str(FOLDER))
import browser
import notebooks

SAMPLED = True  # see conftest.py

pytestmark = pytest.mark.filterwarnings("always:NOT TESTED")

PAGE = FOLDER / "playground"
EXAMPLES = re.findall(r'name: "([^"]+)",\n\s+code: `([^`]+)`', (PAGE / "examples.js").read_text(encoding="utf-8"))
PROMISED = [  # of each example: whether it conforms, and causes that must be named
    (False, {"normalised-by-unbiased-variance"}),
    (False, {"result-unusable"}),
    (True, set()),
    (False, {"eps-outside-root"}),
    (False, {"dx-sums-divided-by-samples"}),
]
QUANTITIES = {
    "training": ("y, training", "running mean", "running variance", "dx", "dgamma", "dbeta"),
    "inference": ("y, inference", "frozen y", "frozen dx", "frozen dgamma", "frozen dbeta"),
}
SECOND = ("jvp", "double backward ddy", "double backward dx", "double backward dgamma")


def truths(every):
    """Return every truth of every n-th case, as `exact` computes it with whatever FLINT is at hand."""
    found = {}
    for case in list(refnorm.golden.cases())[::every]:
        if case.finite and not case.undefined:
            prefix = "frozen " if case.operation == "inference" else ""
            for quantity in (*QUANTITIES[case.operation], *(prefix + name for name in SECOND)):
                exact = _computed(case, ROWS["keras"], quantity)
                found[case.id, quantity] = exact.hi, exact.lo, exact.bound, exact.rounded(case.kind)
    return found


def without_flint(every, before=""):
    """Return the same in a process that has the browser's stand-in."""
    code = f"import sys; sys.path[:0] = {[str(PAGE), str(FOLDER.parent), str(Path(__file__).parent)]}\n"
    code += f"import in_place_of_flint as flint; sys.modules['flint'] = flint\n{before}\n"
    code += f"import pickle, test_playground as t; sys.stdout.buffer.write(pickle.dumps(t.truths({every})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return pickle.loads(done.stdout)


def differing(one, other):
    """Return which truths differ, be it beyond what their bounds leave open or in a rounded result."""
    assert one.keys() == other.keys()
    found = []
    for key, (hi, lo, bound, rounded) in one.items():
        hi2, lo2, bound2, rounded2 = other[key]
        known = np.isfinite(hi) & np.isfinite(hi2)
        with np.errstate(invalid="ignore"):
            off = np.abs((hi - hi2) + (lo - lo2))
        agree = np.array_equal(rounded, rounded2, equal_nan=True)
        agree &= np.array_equal(np.signbit(rounded), np.signbit(rounded2))
        if not agree or np.any((off > bound + bound2)[known]):
            found.append(key)
    return found


@pytest.mark.parametrize("every", [40, pytest.param(1, marks=pytest.mark.slow)])
def test_the_truth_without_flint_is_the_truth_with_it(every):
    exact = truths(every)
    assert len(exact) > 2000 / every
    assert differing(exact, without_flint(every)) == []


def test_a_wrong_root_in_place_of_flint_is_seen():
    wrong = "right = flint.arb.rsqrt\n"
    wrong += "flint.arb.rsqrt = lambda ball: right(ball) * flint.arb(1 + flint.fmpq(1, 2**80))"
    assert len(differing(truths(40), without_flint(40, wrong))) > 10


def judged(code, folder):
    """Judge code as the page does, in this process; return what the page is given."""
    spec = importlib.util.spec_from_file_location("playground_judge", PAGE / "judge.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with contextlib.chdir(folder):
        return json.loads(module.judge(code, lambda *_: None))


@pytest.mark.parametrize(("example", "promised"), list(zip(EXAMPLES, PROMISED, strict=True)), ids=range(len(PROMISED)))
def test_every_example_is_what_its_name_says(example, promised, tmp_path):
    report = judged(example[1], tmp_path)["report"]
    conforms, causes = promised
    assert report["conforms"] == conforms
    assert causes <= {finding["cause"] for finding in report["findings"]}


@pytest.mark.parametrize(
    ("code", "line", "said"),
    [
        ("import numpy as np\ndef batch_norm(x:\n    pass\n", 2, "SyntaxError"),
        ("import numpy as np\n\nscale = np.foo\n", 3, "has no attribute 'foo'"),
        ("import torch_of_another_world\n", 1, "torch_of_another_world"),
        ("raise SystemExit('done')\n", 1, "SystemExit"),
        ("answer = 42\n", None, "refnorm.reading"),
    ],
)
def test_code_that_cannot_be_judged_is_told_why_and_where(code, line, said, tmp_path):
    answer = judged(code, tmp_path)
    assert said in answer["trouble"]
    assert answer["line"] == line


def test_what_the_code_prints_is_kept_apart(tmp_path):
    answer = judged("print('hello')\n" + EXAMPLES[2][1], tmp_path)
    assert answer["printed"] == "hello\n"
    assert answer["report"]["conforms"]


def test_an_archive_is_the_same_for_the_same_files(tmp_path):
    for name in "ab":
        browser.archive(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_book_without_python_of_its_own_names_the_public_files(tmp_path, monkeypatch):
    monkeypatch.setattr(browser, "FETCHED", tmp_path / "nothing")
    browser.write(tmp_path)
    files = {file["name"]: file for file in json.loads((tmp_path / "playground" / "files.json").read_text())}
    assert files.keys() == {*browser.FILES, browser.ARCHIVE}
    assert all(file["url"].startswith("https://") == (name in browser.FILES) for name, file in files.items())


def ran(*codes):
    """Run cells as a page of the book does, in this process; return what is said of each."""
    spec = importlib.util.spec_from_file_location("playground_cells", PAGE / "cells.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [json.loads(module.run(code)) for code in codes]


def test_cells_share_their_names_and_show_what_they_print_and_their_value():
    assert ran("a = 2", "print('two')\na * 21", "None") == [{"printed": ""}, {"printed": "two\n42\n"}, {"printed": ""}]


@pytest.mark.parametrize(
    ("code", "line", "said"),
    [
        ("a = 1\nassert a == 2", 2, "AssertionError"),
        ("def f(:\n    pass", 1, "SyntaxError: invalid syntax"),
        ("import json\njson.loads('{')", 2, "JSONDecodeError: Expecting property name"),
        ("import scikit_of_another_world", None, "scikit_of_another_world is not there in the browser"),
        ("print('before')\nraise SystemExit(3)", 2, "SystemExit: 3"),
    ],
)
def test_a_cell_that_raises_says_why_and_where(code, line, said):
    (answer,) = ran(code)
    assert answer["trouble"].startswith(said)
    assert answer.get("line") == line


def test_pages_that_need_what_the_browser_has_not_are_not_offered_there():
    pages = {path.stem: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.md")}
    live = {name for name, page in pages.items() if notebooks.is_live(page)}
    assert {"why-normalise", "normalise-by-hand", "catch-a-wrong-gradient", "read-a-formula"} <= live
    assert not {"compare-your-framework", "index"} & live
    assert notebooks.lacking(pages["compare-your-framework"]) == {"refnorm.cli"}  # torch is used if it is there
    beside = "```{code-cell} ipython3\nfrom scipy.stats import norm\n```"
    assert notebooks.lacking(beside) == {"scipy.stats"}


def test_the_digits_in_place_of_scikit_learns_are_scikit_learns(tmp_path):
    datasets = pytest.importorskip("sklearn.datasets")
    browser.archive(tmp_path / "python.zip")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r} + '/there')\nfrom sklearn.datasets import load_digits\n"
    code += "import pickle; sys.stdout.buffer.write(pickle.dumps(load_digits(return_X_y=True)))"
    with zipfile.ZipFile(tmp_path / "python.zip") as archive:
        archive.extractall(tmp_path / "there", [name for name in archive.namelist() if name.startswith("sklearn/")])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    for ours, theirs in zip(pickle.loads(done.stdout), datasets.load_digits(return_X_y=True), strict=True):
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)


# In Chromium


def lacking():
    """Return what is not at hand for looking at the pages."""
    found = [name for name in browser.FILES if not browser.is_whole(browser.FETCHED, name)]
    missing = [f"Pyodide's {', '.join(found)} (python tutorials/browser.py)"] if found else []
    missing += ["Chromium"] * (chromium() is None) + ["scikit-learn"] * (browser.handwritten() is None)
    return missing + ["playwright (pip install playwright)"] * (importlib.util.find_spec("playwright") is None)


def chromium():
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """The address of a built playground, and the browser to look at it."""
    if missing := lacking():
        reason = f"the playground was not opened: there is no {' and no '.join(missing)}"
        if "playground" in REQUIRED:
            pytest.fail(f"REFNORM_TOOLS=playground, but {reason}", pytrace=False)
        warnings.warn(f"NOT TESTED: {reason}", stacklevel=1)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    folder = tmp_path_factory.mktemp("book")
    browser.write(folder)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, sync_playwright() as play:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        opened = play.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield f"http://127.0.0.1:{server.server_port}/playground/index.html", opened, folder
        opened.close()
        server.shutdown()


class Visit:
    """A page, everything that went wrong in it, and everything that it asked the network for."""

    def __init__(self, book, width, fragment="", altered=None, page=None):
        address, opened, *_ = book
        address = address if page is None else address.replace("playground/index.html", page)
        self.address, self.wrong, self.asked = address, [], []
        height, phone = (844, True) if width < 600 else (900, False)
        self.context = opened.new_context(viewport={"width": width, "height": height}, has_touch=phone, is_mobile=phone)
        self.context.route("**/*", self._routed)
        self.altered = altered
        self.page = self.context.new_page()
        self.page.set_default_timeout(120_000)
        self.page.on("console", lambda m: self.wrong.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.goto(address + fragment)

    def _routed(self, route):
        url = route.request.url
        self.asked.append(url)
        if not url.startswith(self.address.rpartition("/")[0]):
            self.wrong.append(f"asked for {url}")
            route.abort()
        elif self.altered and url.endswith(self.altered):
            body = bytearray(route.fetch().body())
            body[len(body) // 2] ^= 1
            route.fulfill(body=bytes(body))
        else:
            route.continue_()

    def verdict(self, expected):
        """Wait for a verdict, and return what is said with it."""
        self.page.wait_for_selector("body[data-verdict]")
        assert self.page.get_attribute("body", "data-verdict") == expected, self.page.inner_text("#verdict")
        return self.page.inner_text("#verdict")

    def judge(self, code):
        self.page.fill("textarea", code)
        self.page.click("#run")
        self.page.wait_for_function("!document.getElementById('run').disabled")

    def fits(self):
        return self.page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    def close(self):
        self.context.close()
        assert self.wrong == []


slow = pytest.mark.slow
widths = pytest.mark.parametrize("width", [390, 1280])


@slow
@widths
def test_a_mistake_is_named_and_conforms_once_it_is_corrected(book, width):
    visit = Visit(book, width)
    said = visit.verdict("deviates")
    assert "unbiased" in visit.page.inner_text("#verdict mark")
    assert "std² = var + ε" in said
    assert visit.fits()
    code = visit.page.input_value("textarea")
    mistake = ", ddof=1"
    end = code.index(mistake) + len(mistake)
    visit.page.focus("textarea")
    visit.page.evaluate(f"document.activeElement.setSelectionRange({end}, {end})")
    for _ in mistake:
        visit.page.keyboard.press("Backspace")
    visit.page.keyboard.press("Control+Enter")
    visit.page.wait_for_function("document.body.dataset.verdict === 'conforms'")
    assert "It conforms to cs231n" in visit.verdict("conforms")
    assert visit.fits()
    visit.close()


@slow
def test_the_editor_indents_goes_on_and_is_left_by_keyboard(book):
    visit = Visit(book, 1280)
    page = visit.page
    page.fill("textarea", "def f(x):")
    page.press("textarea", "End")
    page.keyboard.press("Enter")
    page.keyboard.type("return x")
    assert page.input_value("textarea") == "def f(x):\n    return x"
    page.keyboard.press("Shift+Tab")
    assert page.input_value("textarea") == "def f(x):\nreturn x"
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "run"
    visit.close()


@slow
def test_errors_name_the_line_and_lead_there(book):
    visit = Visit(book, 390)
    visit.verdict("deviates")
    visit.judge("import numpy as np\n\ndef batch_norm(x, gamma, beta, eps):\n    return (x - mu) / eps\n")
    assert "name 'mu' is not defined" in visit.verdict("trouble")
    assert visit.page.inner_text(".gutter .bad") == "4"
    assert visit.page.evaluate("document.getElementById('status').getBoundingClientRect().top < innerHeight / 2")
    visit.page.click(".chip")
    assert (
        visit.page.evaluate("document.activeElement.value.slice(0, document.activeElement.selectionStart)").count("\n")
        == 3
    )
    wrong = EXAMPLES[0][1].replace("return dx, dgamma, dbeta", "return dx, dgamma, dbeta[::2] @ x_hat")
    visit.judge(wrong)
    line = str(wrong[: wrong.index("@ x_hat")].count("\n") + 1)
    assert f"line {line}" in visit.verdict("deviates")
    assert visit.page.inner_text(".gutter .bad") == line
    visit.close()


@slow
def test_a_link_carries_the_code_and_waits_to_be_read(book):
    first = Visit(book, 1280)
    first.verdict("deviates")
    code = EXAMPLES[2][1].replace("class BatchNorm", "class Überschicht")
    first.page.fill("textarea", code)
    first.page.click("#share")
    first.page.wait_for_function("location.hash.startsWith('#code=')")
    fragment = first.page.evaluate("location.hash")
    first.close()
    second = Visit(book, 390, fragment)
    second.page.wait_for_function("document.getElementById('said').textContent === 'Python is ready.'")
    assert second.page.input_value("textarea") == code
    assert second.page.get_attribute("body", "data-verdict") is None
    assert "came with the link" in second.page.inner_text("#verdict")
    second.page.click("#run")
    assert "It conforms to keras" in second.verdict("conforms")
    second.close()


@slow
def test_a_lesson_leads_to_the_empty_skeleton(book):
    visit = Visit(book, 390, "#skeleton")
    assert visit.page.input_value("textarea") == EXAMPLES[1][1]
    assert "Write what is None" in visit.page.inner_text("#verdict")
    visit.page.wait_for_function("document.getElementById('said').textContent === 'Python is ready.'")
    assert visit.page.get_attribute("body", "data-verdict") is None
    visit.judge(EXAMPLES[0][1].replace(", ddof=1", ""))
    assert "It conforms to cs231n" in visit.verdict("conforms")
    visit.close()


WRITTEN = """
import hashlib, refnorm.golden
from refnorm.golden.sized import sized_case
found = hashlib.sha256()
sized = [sized_case(f"bn.training.float32.sized.{shape}") for shape in ("65537x4", "1x4x363x367")]
for case in [*refnorm.golden.cases(), *sized]:
    for array in (*case.batches, case.dy, case.running_mean):
        found.update(case.id.encode() + array.tobytes())
print(found.hexdigest())
"""


@slow
def test_the_cases_in_a_browser_are_those_everywhere(book, tmp_path):
    """Integers have 32 bits there: a product that fits elsewhere may run over."""
    here = judged(WRITTEN + EXAMPLES[2][1], tmp_path)["printed"]
    visit = Visit(book, 1280)
    visit.verdict("deviates")
    visit.judge(WRITTEN + EXAMPLES[2][1])
    visit.verdict("conforms")
    visit.page.click("text=What your code printed")
    assert visit.page.inner_text("details[open] pre").split() == here.split()
    assert len(here.split()[0]) == 64
    visit.close()


@slow
def test_an_endless_loop_is_stopped_and_the_next_code_judged(book):
    visit = Visit(book, 1280)
    visit.verdict("deviates")
    visit.page.fill("textarea", "def batch_norm(x, gamma, beta, eps):\n    while True:\n        pass\n")
    visit.page.click("#run")
    visit.page.click("#stop")
    assert "Stopped" in visit.verdict("trouble")
    visit.page.wait_for_function("document.getElementById('said').textContent === 'Python is ready.'")
    visit.judge(EXAMPLES[2][1])
    visit.verdict("conforms")
    visit.close()


@slow
def test_a_file_that_is_not_the_published_one_is_refused(book):
    visit = Visit(book, 1280, altered=browser.ARCHIVE)
    visit.page.wait_for_function(
        "document.getElementById('said').textContent.includes('not the file that was published')"
    )
    visit.close()


@slow
@widths
def test_every_slider_moves_a_picture_and_needs_no_python(book, width):
    visit = Visit(book, width, "#play")
    page = visit.page
    assert visit.fits()
    for dial in page.query_selector_all("#cards [data-name]"):
        before = page.inner_html("#cards")
        dial.focus()
        page.keyboard.press("Enter" if dial.evaluate("e => e.tagName") == "BUTTON" else "ArrowRight")
        assert page.inner_html("#cards") != before, dial.get_attribute("id")
        assert "NaN" not in page.inner_html("#cards")
    assert not any("wasm" in url for url in visit.asked)
    visit.close()


@slow
def test_extremes_are_shown_without_a_number_that_is_none(book):
    visit = Visit(book, 1280, "#play")
    for name, end in [
        ("m", "Home"),
        ("eps", "Home"),
        ("spread", "Home"),
        ("eps", "End"),
        ("spread", "End"),
        ("m", "End"),
    ]:
        visit.page.focus(f"#batch-{name}")
        visit.page.keyboard.press(end)
        shapes = visit.page.inner_html("#cards")
        assert not re.search(r"NaN|Infinity|undefined|not a number<", shapes), (name, end)
    visit.close()


@slow
def test_the_pictures_show_what_refnorm_computes(book):
    visit = Visit(book, 1280, "#play")
    script = """state => {
      const x = drawn(state), next = normal(9), g = x.map(() => next());
      const forward = normalised(x, state);
      return { x, g, ...forward, ...gradient(g, forward, state) };
    }"""
    for m, eps, spread, gamma in [(2, 1e-5, 1.0, 1.0), (16, 0.5, 0.1, -1.5), (256, 1e-12, 30.0, 0.7)]:
        state = {
            "distribution": "one outlier",
            "m": m,
            "spread": spread,
            "seed": 5,
            "eps": eps,
            "gamma": gamma,
            "beta": 0.25,
        }
        got = visit.page.evaluate(script, state)
        x, g = (np.array(got[name]).reshape(m, 1) for name in ("x", "g"))
        y, saved = refnorm.batch_norm_training(x, np.array([gamma]), np.array([0.25]), eps=eps)
        dx, _, _ = refnorm.batch_norm_training_backward(g, saved)
        s, x_hat = got["s"], (y[:, 0] - 0.25) / gamma
        u = (m + 10) * 2.0**-52 * (1 + np.abs(x).max() / s) ** 2  # sums of m terms; what subtracting the mean magnifies
        assert np.allclose(got["y"], y[:, 0], rtol=0, atol=u * (abs(gamma) * np.abs(x_hat).max() + 0.25))
        assert np.allclose(
            got["dx"], dx[:, 0], rtol=0, atol=u * abs(gamma) / s * np.abs(g).max() * (1 + x_hat.max() ** 2)
        )
        shares, jacobian = got["shares"], np.eye(m) - 1 / m - np.outer(x_hat, x_hat) / m  # of x_hat in x, times s
        assert shares["left"] == pytest.approx(np.sum((jacobian @ g) ** 2) / np.sum(g**2), abs=1e-9)
        assert shares["mean"] == pytest.approx(m * g.mean() ** 2 / np.sum(g**2), abs=1e-9)
        assert shares["x_hat"] == pytest.approx(1 - shares["mean"] - shares["left"], abs=1e-9)
        assert np.abs(x_hat).max() <= np.sqrt(m - 1) * (1 + u)
        assert got["expected"] == pytest.approx(np.sum(jacobian**2) / m, abs=1e-9)  # over g of independent values
    track = visit.page.evaluate("followed({ momentum: 0.1, m: 4, steps: 50, truth: (step) => step, seed: 1 })")
    mean, var = np.zeros(1), np.ones(1)
    for point in track:
        batch = refnorm.Statistics(4, np.array([point["batch"]]), var)
        mean, var = refnorm.update_running(mean, var, batch, momentum=0.1)
        assert point["running"] == pytest.approx(float(mean[0]), abs=2.0**-50 * 50 * (1 + point["step"]))
    visit.close()


@slow
def test_what_is_told_is_what_is_drawn(book):
    visit = Visit(book, 390, "#play")
    visit.page.select_option("#batch-distribution", "one outlier")
    told = visit.page.inner_text("#t-batch")
    largest, limit = (
        float(number) for number in re.search(r"value ([\d.]+) cannot exceed .* = ([\d.]+)\.$", told).groups()
    )
    assert limit == pytest.approx(np.sqrt(15), abs=0.005)  # m = 16
    assert 0.8 * limit < largest <= limit
    visit.page.focus("#gradient-m")
    visit.page.keyboard.press("Home")
    assert "with two values, nothing can be learned" in visit.page.inner_text("#t-gradient")
    visit.page.focus("#lag-momentum")
    visit.page.keyboard.press("End")  # 1: the last batch is all that is known
    assert "in 0 batches" in visit.page.inner_text("#t-lag")
    visit.close()


@slow
def test_what_goes_wrong_in_a_page_fails_its_test(book):
    visit = Visit(book, 1280, "#play")
    visit.page.evaluate(
        "setTimeout(() => { throw new Error('on purpose'); }); fetch('https://example.org').catch(() => 0)"
    )
    visit.page.wait_for_timeout(500)
    with pytest.raises(AssertionError):
        visit.close()
    assert {"on purpose", "asked for https://example.org/"} <= set(visit.wrong)


# The cells of a page of the book

CELL = '<div class="cell"><div class="cell_input"><div class="highlight"><pre>{}</pre></div></div></div>'
RAN = "/ have run| has run|raised|could not/.test(document.querySelector('.run-page + span').textContent)"


@pytest.fixture(scope="module")
def lessons(book):
    """Pages of the book, each no more than its cells and its button, beside the playground."""
    folder = book[2]
    for path in FOLDER.glob("*.md"):
        text = path.read_text(encoding="utf-8")
        if notebooks.is_live(text):
            notebooks.archive(folder / f"{path.stem}.zip", {path.stem: ("{}", notebooks.needs(text))})
            cells = [CELL.format(html.escape(code)) for code in notebooks.CELLS.findall(text)]
            write_page(folder / f"{path.stem}.html", f"{path.stem}.zip", cells)
    write_page(folder / "three.html", "", [CELL.format(code) for code in ("a = 20", "a + 1", "print(2 * a)")])
    return book


def write_page(file, files, cells):
    button = f'<button class="run-page" data-files="{files}">Run</button><span role="status"></span>'
    head = '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">'
    script = '<script src="playground/cells.js" defer></script>'
    file.write_text("\n".join([head, button, script, *cells]), encoding="utf-8")


LIVE = sorted(p.stem for p in FOLDER.glob("*.md") if notebooks.is_live(p.read_text(encoding="utf-8")))


@slow
@pytest.mark.parametrize("name", LIVE)
def test_every_cell_of_a_page_runs_in_the_browser_and_what_a_lesson_draws_can_be_varied(lessons, name):
    visit = Visit(lessons, 1280, page=f"{name}.html")
    page = visit.page
    page.click(".run-page")
    page.wait_for_function(RAN)
    assert page.inner_text(".run-page + span").startswith("Every cell has run."), page.inner_text("body")
    assert page.locator("svg").count() == (name in VARIED)
    if name in VARIED:
        assert page.get_attribute("svg", "role") == "img"
        before = page.inner_html("svg")
        cell = page.locator(".cell:has(svg)")
        code = cell.locator("pre[contenteditable]")
        code.fill(code.inner_text().replace(*VARIED[name]))
        cell.locator(".run-cell").click()
        page.wait_for_function("document.querySelector('.cell:has(svg, .cell-trouble)').dataset.ran !== 'now'")
        assert page.locator(".cell-trouble").count() == 0, page.inner_text(".cell-trouble")
        assert page.inner_html("svg") != before
    visit.close()


ACTS = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9" role="img" onload="document.title = 'acts'">
<script>document.title = 'acts'</script><style>body { display: none }</style><image href="https://example.org/a.png"/>
<a href="https://example.org"><text>linked</text></a><foreignObject><iframe xmlns="http://www.w3.org/1999/xhtml"/>
</foreignObject><text style="fill: red" onclick="document.title = 'acts'" fill="url(https://example.org)" x="1">5 &lt; 6
</text></svg>"""


@slow
def test_of_what_a_cell_draws_nothing_acts(lessons):
    visit = Visit(lessons, 1280, page="three.html")
    page = visit.page
    page.click(".run-page")
    page.wait_for_function(RAN)
    cell = page.locator("pre[contenteditable]").nth(2)
    drawing = "class D:\n    def _repr_svg_(self):\n        return {}\nD()"
    cell.fill(drawing.format(repr(ACTS)))
    page.locator(".run-cell").nth(2).click()
    page.wait_for_selector("svg")
    assert page.locator("svg *").count() == 1
    assert page.evaluate("[...document.querySelectorAll('svg, svg *')].flatMap((e) => e.getAttributeNames())") == [
        "viewBox",
        "role",
        "x",
    ]
    assert page.text_content("svg text") == "5 < 6\n"
    page.dispatch_event("svg text", "click")
    assert page.title() == ""
    for none in ("<svg", "<html xmlns='http://www.w3.org/1999/xhtml'><script>1</script></html>"):
        cell.fill(drawing.format(repr(none)))
        page.locator(".run-cell").nth(2).click()
        page.wait_for_function("document.querySelectorAll('.cell_output')[2].textContent.includes('is no SVG')")
    assert page.locator("svg").count() == 0
    visit.close()


@slow
@widths
def test_a_cell_is_changed_and_run_again_where_it_stands(lessons, width):
    visit = Visit(lessons, width, page="three.html")
    page = visit.page
    page.click(".run-page")
    page.wait_for_function(RAN)
    outputs = page.locator(".cell_output")
    assert [text.strip() for text in outputs.all_inner_texts()] == ["", "21", "40"]
    cell = page.locator("pre[contenteditable]").nth(0)
    page.evaluate("void (document.onkeydown = (event) => (document.title += event.key))")  # as its shortcuts hear
    cell.click()
    page.keyboard.press("Control+A")
    for line in ("def thirty():", "return 60 // 2", "", "a = thirty()"):
        page.keyboard.type(line)
        page.keyboard.press("Enter")
        if not line:
            for _ in range(4):
                page.keyboard.press("Backspace")  # a new line is as deep as the last one, deeper after a colon
    cell.press("Control+Enter")
    assert page.title() == ""
    page.wait_for_function("/Every cell has run/.test(document.querySelector('.run-page + span').textContent)")
    page.locator(".run-cell").nth(2).click()
    page.wait_for_function("document.querySelectorAll('.cell_output')[2].textContent.includes('60')")
    page.locator("pre[contenteditable]").nth(1).fill("a / 0")
    page.locator(".run-cell").nth(1).click()
    page.wait_for_selector(".cell-trouble")
    assert page.inner_text(".cell-trouble") == "Line 1: ZeroDivisionError: division by zero"
    visit.close()
