"""The command line as a stranger meets it: exit statuses, formats, hostile targets, never a traceback of ours.

What is about the process (streams, signals, statuses) runs `python -m refnorm` in one of its own; what is about words
calls the command line in this one. Not verified: the look on a terminal.
"""

import json
import os
import re
import stat
import subprocess
import sys
import time
from xml.etree import ElementTree

import pytest
from command import called

from refnorm.conventions import ROWS

SAMPLED = 4  # one in so many; see conftest.py

GOOD = """\
import numpy as np

def axes(x):
    return tuple(a for a in range(x.ndim) if a != 1)

def along(values, x):
    return values.astype(np.float64).reshape((1, -1) + (1,) * (x.ndim - 2))

def normalise(x, gamma, beta, mean, var, eps):
    x_hat = (x.astype(np.float64) - along(mean, x)) / np.sqrt(along(var, x) + eps)
    y = x_hat if gamma is None else x_hat * along(gamma, x)
    return (y if beta is None else y + along(beta, x)).astype(x.dtype), x_hat

def train(x, gamma, beta, running_mean, running_var, momentum, eps):
    m = x.size // x.shape[1]
    if m < 2:
        raise ValueError("more than 1 value per channel is needed")
    wide = x.astype(np.float64)
    mean, var = wide.mean(axes(x)), wide.var(axes(x))
    y, x_hat = normalise(x, gamma, beta, mean, var, eps)
    new_mean = (1 - momentum) * running_mean + momentum * mean
    new_var = (1 - momentum) * running_var + momentum * var * m / (m - 1)
    cache = x_hat, gamma, beta, 1 / np.sqrt(var + eps), x.dtype
    return y, new_mean.astype(running_mean.dtype), new_var.astype(running_var.dtype), cache

def infer(x, gamma, beta, running_mean, running_var, eps):
    return normalise(x, gamma, beta, running_mean, running_var, eps)[0]

def backward(dy, cache):
    x_hat, gamma, beta, inv_std, dtype = cache
    g = dy.astype(np.float64)
    m = g.size // g.shape[1]
    dgamma, dbeta = (g * x_hat).sum(axes(g)), g.sum(axes(g))
    dx = (g - along(dbeta, g) / m - x_hat * along(dgamma, g) / m) * along(inv_std, g)
    dx = dx if gamma is None else dx * along(gamma, g)
    return dx.astype(dtype), None if gamma is None else dgamma.astype(gamma.dtype), \\
        None if beta is None else dbeta.astype(beta.dtype)
"""


def refnorm(*arguments, cwd):
    """Call the command line in this process."""
    done = called(*arguments, cwd=cwd)
    assert "Traceback" not in done.stderr + done.stdout
    return done


def alone(*arguments, cwd, timeout=60):
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "refnorm", *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)
    assert "Traceback" not in done.stderr + done.stdout
    return done


@pytest.fixture
def write(tmp_path):
    def to(name, text):
        (tmp_path / name).write_text(text)
        return name

    return to


def altered(old, new):
    assert old in GOOD
    return GOOD.replace(old, new)


@pytest.mark.parametrize("dtypes", [("--dtypes", "float64"), pytest.param((), marks=pytest.mark.slow)], ids=len)
def test_a_correct_file_conforms_with_status_0(write, tmp_path, dtypes):
    done = alone("check", write("good.py", GOOD), *dtypes, cwd=tmp_path)
    assert done.returncode == 0
    assert "conforms to torch; not judged: frozen gradients, jvp, double backward" in done.stdout
    assert done.stderr == ""  # no progress when piped


@pytest.mark.parametrize(
    ("old", "new", "quantity", "sentence"),
    [
        (" * m / (m - 1)", "", "running variance", "running variance is the biased one"),
        ("(1 - momentum) * running_mean + momentum * mean", "momentum * running_mean + (1 - momentum) * mean",
         "running mean", "momentum weighs the old value of the running mean, but the batch's of the running variance"),
        ("dx if gamma is None else dx * along(gamma, g)", "dx", "dx", "gamma is missing in dx"),
        ("np.sqrt(along(var, x) + eps)", "(np.sqrt(along(var, x)) + eps)", "y, training · dx · dgamma · y, inference",
         "eps is added outside the root"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_convicted_with_a_plain_sentence(write, tmp_path, old, new, quantity, sentence):
    name = write("wrong.py", altered(old, new))
    done = refnorm("check", name, "--convention", "torch", "--dtypes", "float64", cwd=tmp_path)
    assert done.returncode == 1
    assert sentence in done.stdout
    assert f"seen in {quantity}" in done.stdout
    assert "deviates from torch" in done.stdout


def test_a_printed_snippet_runs(write, tmp_path):
    name = write("wrong.py", altered(" * m / (m - 1)", ""))
    done = refnorm("check", name, "--convention", "torch", "--dtypes", "float64", cwd=tmp_path)
    snippet = re.search(r'reproduce:  python -c "(.*)"', done.stdout).group(1)
    again = subprocess.run([sys.executable, "-c", snippet], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "expected" in again.stdout
    assert "error / bound at most" in again.stdout


@pytest.mark.parametrize(
    ("target", "text", "message"),
    [
        ("nowhere", None, "'nowhere' is no target; name a framework"),
        ("nowhere.py", None, "there is no file nowhere.py"),
        ("nowhere:thing", None, "nowhere:thing could not be imported: ModuleNotFoundError"),
        ("good:nothing", GOOD, "good has no attribute 'nothing'"),
        ("syntax.py", "def f(:\n", "SyntaxError"),
        ("raises.py", "raise RuntimeError('at import')", "raises.py could not be imported: RuntimeError: at import"),
        ("exits.py", "import sys; sys.exit(0)", "SystemExit: 0"),
        ("vanishes.py", "import os; os._exit(0)", "exited with status 0 in its import"),
        ("empty.py", "x = 1", "holds nothing that looks like a batch normalization"),
        ("dies.py", GOOD + "import os, signal\ndef infer(*a): os.kill(os.getpid(), signal.SIGSEGV)",
         "was killed by SIGSEGV in the trial of what dies.py takes"),
        ("late.py", GOOD + "import os, signal\ndef infer(x, *a): x.size == 21 and os.kill(os.getpid(), signal.SIGSEGV)",
         "was killed by SIGSEGV in case bn.inference"),
    ],
)  # fmt: skip
def test_what_cannot_be_judged_is_one_line_and_status_2(write, tmp_path, target, text, message):
    if text is not None:
        write(target.partition(":")[0].removesuffix(".py") + ".py", text)
    done = refnorm("check", target, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_target_that_hangs_is_stopped_and_named(write, tmp_path):
    start = time.monotonic()
    text = GOOD + "import time\ndef infer(*a): time.sleep(600)\n"
    done = refnorm("check", write("hangs.py", text), "--timeout", "3", cwd=tmp_path)
    assert done.returncode == 2
    assert "gave no answer for 3 s in the trial of what hangs.py takes" in done.stderr
    assert time.monotonic() - start < 40


def test_a_target_that_prints_does_not_spoil_the_report(write, tmp_path):
    text = GOOD + "import os\nprint('at import')\ndef infer(*a):\n    os.write(1, b'hello\\n')\n    return None\n"
    done = refnorm("check", write("prints.py", text), "--format", "json", "--dtypes", "float64", cwd=tmp_path)
    report = json.loads(done.stdout)
    assert not report["conforms"]
    assert report["notes"][0].startswith("the target printed")


def test_a_module_object_that_cannot_be_pickled_is_judged(write, tmp_path):
    write("mine.py", GOOD + "class Holder: pass\nheld = Holder()\nheld.infer, held.lock = infer, (lambda: 0)\n")
    done = refnorm("check", "mine:held", "--dtypes", "float64", cwd=tmp_path)
    assert done.returncode == 0
    assert "not judged: y, training" in done.stdout


def test_json_has_the_findings_and_their_snippets(write, tmp_path):
    name = write("wrong.py", altered(" * m / (m - 1)", ""))
    asked = ("--convention", "torch", "--dtypes", "float64")
    done = refnorm("check", name, "--format", "json", *asked, cwd=tmp_path)
    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert report["conforms"] is False
    assert report["versions"].keys() == {"refnorm", "golden", "target", "array"}
    assert report["findings"][0]["cause"] == "running-variance-biased"
    assert report["findings"][0]["reproduce"].startswith("python -c")


@pytest.mark.parametrize("form", ["markdown", "junit"])
def test_other_formats_are_written(write, tmp_path, form):
    done = refnorm("check", write("good.py", GOOD), "--format", form, "--dtypes", "float64", cwd=tmp_path)
    assert done.returncode == 0
    if form == "junit":
        assert ElementTree.fromstring(done.stdout).get("failures") == "0"
    else:
        assert "| running variance | ok" in done.stdout


def test_output_is_written_whole_and_nothing_is_left_aside(write, tmp_path):
    name = write("good.py", GOOD)
    done = refnorm("check", name, "--dtypes", "float64", "--output", "report.txt", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout == ""
    assert "conforms to torch" in (tmp_path / "report.txt").read_text()
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".part")] == []
    assert stat.S_IMODE((tmp_path / "report.txt").stat().st_mode) & 0o600 == 0o600


def test_output_that_cannot_be_written_is_one_line_and_status_2(write, tmp_path):
    done = refnorm(
        "check", write("good.py", GOOD), "--dtypes", "float64", "--output", "no/such/report.txt", cwd=tmp_path
    )
    assert done.returncode == 2
    assert "cannot write no/such/report.txt" in done.stderr


@pytest.mark.rest  # see conftest.py
def test_a_baseline_accepts_what_is_known_and_says_what_is_gone(write, tmp_path):
    asked = ("--convention", "torch", "--dtypes", "float64")
    name = write("mine.py", altered(" * m / (m - 1)", ""))
    refnorm("check", name, *asked, "--format", "json", "--output", "known.json", cwd=tmp_path)
    same = refnorm("check", name, *asked, "--baseline", "known.json", cwd=tmp_path)
    assert same.returncode == 0
    assert "1 known, 0 new, 0 gone" in same.stderr
    write("mine.py", altered("dx if gamma is None else dx * along(gamma, g)", "dx"))
    other = refnorm("check", name, *asked, "--baseline", "known.json", cwd=tmp_path)
    assert other.returncode == 1
    assert "new: dx-gamma-missing (dx)" in other.stderr
    assert "gone: running-variance-biased (running variance)" in other.stderr


def test_a_baseline_that_is_no_report_is_refused(write, tmp_path):
    write("known.json", "[]")
    done = refnorm("check", write("good.py", GOOD), "--baseline", "known.json", cwd=tmp_path)
    assert done.returncode == 2
    assert "known.json is no report; make one with: refnorm check" in done.stderr


def test_a_reader_that_leaves_early_is_no_error(write, tmp_path):
    script = f"{sys.executable} -m refnorm conventions | head -1"
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "Traceback" not in done.stderr


def test_help_says_that_checking_a_file_runs_it(tmp_path):
    done = refnorm("check", "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "Checking a file runs it" in done.stdout
    assert "exit status: 0 conforms, 1 deviates, 2 could not be judged" in done.stdout


def test_conventions_shows_the_table_a_row_and_a_difference(tmp_path):
    assert refnorm("conventions", cwd=tmp_path).stdout.count("\n") == 2 + len(ROWS)
    assert "weight of the new batch" in refnorm("conventions", "torch", cwd=tmp_path).stdout
    assert "pass 1 - momentum" in refnorm("conventions", "torch", "onnx", cwd=tmp_path).stdout
    unknown = refnorm("conventions", "nowhere", cwd=tmp_path)
    assert unknown.returncode == 2
    assert "there is no convention 'nowhere'" in unknown.stderr


def test_bad_options_are_status_2(tmp_path):
    for arguments in (
        ("check",),
        ("check", "x", "--convention", "nope"),
        ("check", "x", "--dtypes", "float8"),
        ("nope",),
    ):
        assert refnorm(*arguments, cwd=tmp_path).returncode == 2
    assert alone("nope", cwd=tmp_path).returncode == 2


def test_the_installed_command_is_the_same(tmp_path):
    beside = os.path.join(os.path.dirname(sys.executable), "refnorm")
    done = subprocess.run([beside, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("refnorm ")


# refnorm gradcheck

PAIR = """\
import numpy as np

def inputs(rng):
    return rng.standard_normal((4, 3)), rng.standard_normal((3, 2))

names = "x", "w"

def forward(x, w):
    y = np.tanh(x @ w)
    return y, (x, w, y)

def backward(dy, cache):
    x, w, y = cache
    inner = dy * (1 - y**2)
    return inner @ w.T, x.T @ inner
"""


def test_gradcheck_takes_any_forward_and_backward(tmp_path):
    (tmp_path / "layer.py").write_text(PAIR, encoding="utf-8")
    done = refnorm("gradcheck", "layer.py", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "right: every gradient is the derivative of its forward"
    (tmp_path / "wrong.py").write_text(PAIR.replace("1 - y**2", "1 - y"), encoding="utf-8")
    done = refnorm("gradcheck", "wrong.py", "--format", "json", "--output", "verdict.json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    verdict = json.loads((tmp_path / "verdict.json").read_text(encoding="utf-8"))["verdicts"]["forward"]
    assert [c["name"] for c in verdict["comparisons"]] == ["x", "w", "<dy, J v>"]
    assert {c["status"] for c in verdict["comparisons"]} == {"wrong"}


@pytest.mark.rest  # see conftest.py
def test_gradcheck_takes_an_implementation_as_check_does(tmp_path):
    (tmp_path / "good.py").write_text(GOOD, encoding="utf-8")
    done = refnorm("gradcheck", "good.py", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "training, rank 4" in done.stdout
    (tmp_path / "bad.py").write_text(GOOD.replace("- x_hat * along(dgamma, g) / m", ""), encoding="utf-8")
    done = refnorm("gradcheck", "bad.py", "--seed", "3", cwd=tmp_path)
    assert done.returncode == 1
    assert "cause: no gradient flows through the variance" in done.stdout
    assert "(seed 3)" in done.stdout


@pytest.mark.parametrize(
    ("source", "status", "said"),
    [
        (PAIR.replace("inner = dy * (1 - y**2)", "raise ValueError('not yet')"), 1, "it raises ValueError: not yet"),
        (PAIR.replace("return y, (x, w, y)", "return y"), 1, "forward must return y, cache"),
        (PAIR.replace("return rng.standard_normal((4, 3)), ", "return np.arange(12).reshape(4, 3), "), 1, "int64"),
        (PAIR.replace("y = np.tanh(x @ w)", "y = np.tanh(x @ w) + np.random.random()"), 2, "it is random"),
        (PAIR.replace("y = np.tanh(x @ w)", "import os; os._exit(3)"), 2, "exited with status 3"),
        (PAIR.replace("y = np.tanh(x @ w)", "raise SystemExit"), 1, "it raises SystemExit"),
        (PAIR.replace("def backward", "def back"), 2, "holds nothing that looks like a batch normalization"),
        ("syntax error", 2, "could not be imported: SyntaxError"),
    ],
)
def test_gradcheck_says_in_words_what_it_cannot_do(source, status, said, tmp_path):
    (tmp_path / "target.py").write_text(source, encoding="utf-8")
    done = refnorm("gradcheck", "target.py", cwd=tmp_path)
    assert done.returncode == status, done.stdout + done.stderr
    assert said in " ".join((done.stdout + done.stderr).split())
    assert "Traceback" not in done.stdout + done.stderr


def test_gradcheck_stops_what_hangs(tmp_path):
    (tmp_path / "hangs.py").write_text(PAIR.replace("y = np.tanh", "import time; time.sleep(99); y = np.tanh"))
    done = refnorm("gradcheck", "hangs.py", "--timeout", "2", cwd=tmp_path)
    assert done.returncode == 2
    assert "gave no answer for 2 s in case forward and was stopped" in done.stderr


FOREIGN = "\x1b[2J\a\0\udc80\x9b"  # clears a screen, rings, ends strings, is half of a character, starts a command


@pytest.mark.parametrize("form", ["text", "markdown", "json", "junit"])
def test_control_characters_of_a_target_are_written_out(write, tmp_path, form):
    name = write(
        "mine.py",
        GOOD.replace(
            "    m = x.size", f"    if x.size == 21:\n        raise ValueError({FOREIGN!r})\n    m = x.size", 1
        ),
    )
    done = refnorm("check", name, "--dtypes", "float64", "--format", form, cwd=tmp_path)
    assert done.returncode == 1
    assert not set(done.stdout + done.stderr) & set(FOREIGN) - set("[2J")
    assert "1b[2J" in done.stdout
    if form == "junit":
        ElementTree.fromstring(done.stdout)
    if form == "json":
        json.loads(done.stdout)


def test_an_import_that_raises_control_characters_is_one_line(write, tmp_path):
    done = refnorm("check", write("mine.py", f"raise ValueError({FOREIGN!r})"), cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert r"\x1b[2J\x07\x00\udc80\x9b" in done.stderr


def test_output_goes_into_what_is_no_file_and_behind_a_link(write, tmp_path):
    name = write("good.py", GOOD)
    (tmp_path / "real.txt").write_text("before")
    (tmp_path / "real.txt").chmod(0o640)
    (tmp_path / "link.txt").symlink_to("real.txt")
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["timeout", "60", "cat", "pipe"], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as reader:
        for output in ("link.txt", "pipe", "/dev/null"):
            done = refnorm("check", name, "--dtypes", "float64", "--output", output, cwd=tmp_path)
            assert done.returncode == 0, done.stderr
        assert "conforms to torch" in reader.communicate()[0]
    assert "conforms to torch" in (tmp_path / "real.txt").read_text()
    assert stat.S_IMODE((tmp_path / "real.txt").stat().st_mode) == 0o640
    assert (tmp_path / "link.txt").is_symlink()
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_new_file_has_the_mode_that_the_umask_leaves(write, tmp_path):
    command = f"umask 077; {sys.executable} -m refnorm gradcheck {write('pair.py', PAIR)} --output new.txt"
    subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, check=True)
    assert stat.S_IMODE((tmp_path / "new.txt").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("redirection", "status"), [(">/dev/full", 2), (">&-", 0), ("2>&-", 0), (">&- 2>&-", 0), ("| cat >/dev/null", 0)]
)
def test_a_stream_that_takes_nothing_does_not_say_that_the_target_deviates(tmp_path, redirection, status):
    command = f"set -o pipefail; {sys.executable} -m refnorm conventions torch {redirection}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert "Traceback" not in done.stderr


def test_streams_of_ascii_alone_lose_nothing_but_looks(write, tmp_path):
    name = write(
        "mine.py",
        GOOD.replace(
            "    m = x.size", '    if x.size == 21:\n        raise ValueError("m\u00fc\u2265")\n    m = x.size', 1
        ),
    )
    done = subprocess.run(
        [sys.executable, "-m", "refnorm", "check", name, "--dtypes", "float64"],
        cwd=tmp_path, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")
    assert r"m\xfc\u2265" in done.stdout


@pytest.mark.parametrize("limit", ["inf", "nan", "0", "-1", "1e300", "soon"])
def test_a_limit_that_is_none_is_refused(tmp_path, limit):
    done = refnorm("check", "refnorm", "--timeout", limit, cwd=tmp_path)
    assert done.returncode == 2
    assert "argument --timeout" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_baseline_nested_beyond_reading_is_refused(write, tmp_path):
    write("known.json", "[" * 100_000)
    done = refnorm("check", write("good.py", GOOD), "--baseline", "known.json", cwd=tmp_path)
    assert done.returncode == 2
    assert "known.json is no report" in done.stderr


def test_a_fault_of_ours_has_a_status_and_a_line_of_its_own(monkeypatch, capsys):
    from refnorm.cli import conventions, main

    def fails(options):
        raise KeyError("ours")

    monkeypatch.setattr(conventions, "run", fails)
    assert main(["conventions"]) == 2
    assert "a fault of refnorm, not of the target: KeyError: 'ours'" in capsys.readouterr().err
