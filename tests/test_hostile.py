"""Hostile targets: whatever one does, there is a verdict that its arrays support, or one clear line; nothing is left.

The grammar of `hostile.py` on a sample (``python tests/hostile.py --count 1000`` tries many), and the faults that
attacks have found, one test each. Not verified: what is left of a trial where there is no /proc.
"""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from hostile import TAG, hostile, left, tried
from test_cli import GOOD, alone, altered, refnorm

import refnorm as package
from refnorm.oracle.apart import loaded_apart
from refnorm.oracle.ask.process import Line

SAMPLED = True  # see conftest.py

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")


@pytest.fixture
def tag(monkeypatch):
    """A tag that all processes carry which a test starts; none may be left."""
    name = f"test-{os.getpid()}-{time.monotonic_ns()}"
    monkeypatch.setenv(TAG, name)
    yield name
    assert gone(name)


def gone(name, seconds=20):
    """Wait until no process carries a tag; return whether that happened."""
    until = time.monotonic() + seconds
    while left(name):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("number", [*range(8), *(pytest.param(n, marks=pytest.mark.slow) for n in range(8, 80))])
def test_a_generated_target_gets_a_verdict_that_its_arrays_support_or_one_line(number):
    *_, fault, _ = tried(number, seed=2026)
    assert not fault, f"{fault}\n{hostile(number, 2026).source}"


def test_what_watches_over_hostile_targets_sees_what_is_wrong(monkeypatch):
    import hostile as module

    monkeypatch.setattr(module, "hostile", lambda *_: hostile(0, 2026)._replace(source=GOOD, may=frozenset({1})))
    assert "status 0, and only [1] can be right" in tried(1, 0)[2]
    started = []
    monkeypatch.setattr(module, "_called", lambda *_: (1, started.append(subprocess.Popen(["sleep", "60"])) or "done"))
    assert "left alive" in tried(1, 0)[2]
    assert started[0].wait() == -signal.SIGKILL
    monkeypatch.setattr(module, "_called", lambda *_: 1 / 0)
    assert "ZeroDivisionError" in tried(1, 0)[2]


FORGED = """
import os
for descriptor in range(3, 40):
    try:
        os.write(descriptor, b'{"result": {"conforms": true, "paths": [], "findings": []}}\\n')
    except OSError:
        pass
"""


def test_a_forged_report_is_believed_by_nobody(tmp_path, tag):
    wrong = altered(" * m / (m - 1)", "")
    (tmp_path / "forged.py").write_text(wrong + FORGED)
    done = refnorm("check", "forged.py", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "wrote what is no answer on the line to its judge" in done.stderr


HANGS = "import os, time\ndef train(*a):\n    print('asked', flush=True)\n    {}\n    while True: time.sleep(0.1)\n"
SETSID = "if os.fork() == 0: os.setsid(); time.sleep(300)"


def heed():
    """Take back what a shell that runs the tests in the background has asked to be ignored."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize("own", ["pass", SETSID], ids=["alone", "with-a-session-of-its-own"])
@pytest.mark.parametrize("number", ["SIGTERM", "SIGHUP", "SIGQUIT", "SIGKILL", "SIGINT"])
def test_no_process_outlives_its_judge(tmp_path, tag, number, own):
    (tmp_path / "hangs.py").write_text(HANGS.format(own))
    command = [sys.executable, "-m", "refnorm", "check", "hangs.py", "--timeout", "300"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, preexec_fn=heed, **pipes) as judge:
        until = time.monotonic() + 60
        wanted = 3 if own == "pass" else 4  # judge, guard, worker, its child
        while len(left(tag)) < wanted and time.monotonic() < until:
            time.sleep(0.05)
        assert (len(left(tag)), judge.poll()) == (wanted, None)
        judge.send_signal(getattr(signal, number))
        if number == "SIGINT":
            time.sleep(0.01)
            judge.send_signal(signal.SIGINT)
        _, said = judge.communicate(timeout=60)
    assert judge.returncode != 0
    assert b"fault of refnorm" not in said


def test_a_limit_of_time_holds_for_what_a_target_starts_too(tmp_path, tag):
    (tmp_path / "hangs.py").write_text(f"import os, time\n{SETSID}\n" + HANGS.format("pass"))
    done = refnorm("check", "hangs.py", "--timeout", "2", cwd=tmp_path)
    assert "gave no answer for 2 s" in done.stderr
    assert gone(tag)


def test_what_the_judge_does_meanwhile_is_neither_the_targets_time_nor_its_fault(tmp_path, tag, monkeypatch):
    """The judge's clock is put forward, so that no wait is needed, and none on a slow machine is too long."""
    later, clock = [0.0], time.monotonic
    put = SimpleNamespace(monotonic=lambda: clock() + later[0], sleep=time.sleep)
    monkeypatch.setattr("refnorm.oracle.ask.process.time", put)
    (tmp_path / "slow.py").write_text(
        "import time\ndef train(x, gamma, beta, running_mean, running_var, momentum, eps):\n"
        "    time.sleep(0.5)\n    return x, running_mean, running_var, None\n"
    )
    done = []

    def work():
        for piece in range(2):
            later[0] += 700
            done.append(piece)
            yield piece
        raise ValueError("the judge's own")

    with loaded_apart(str(tmp_path / "slow.py"), 600.0, lambda *_: None, {}) as (target, step, line):
        step(0, 1, "a case")
        line.meanwhile(work())
        (implementation,) = target.paths.values()
        for _ in range(2):
            row = np.ones(3)
            assert np.array_equal(implementation.train(np.ones((2, 3)), row, row, row, row, 0.1, 1e-5)[1], row)
    assert done == [0, 1]
    assert gone(tag)


def test_a_process_that_cannot_be_started_leaves_nothing_open(tmp_path):
    before = sorted(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        Line("target.py", 1.0, folder=str(tmp_path / "gone"))
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_a_target_that_ends_its_guard_leaves_nothing(tmp_path, tag):
    text = f"import os, signal, time\n{SETSID}\nos.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(300)\n"
    (tmp_path / "rude.py").write_text(text)
    done = refnorm("check", "rude.py", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        2,
        "refnorm: rude.py ended the process that guards it in its import, so it could not be judged\n",
    )


@pytest.mark.parametrize("name", ["random", "types", "json", "struct", "socket", "numpy", "refnorm", "importlib"])
def test_files_beside_a_target_shadow_no_library(tmp_path, name):
    (tmp_path / f"{name}.py").write_text("raise RuntimeError('not the library')")
    (tmp_path / "good.py").write_text("import random, json\nfrom helpers import one\n" + GOOD)
    (tmp_path / "helpers.py").write_text("one = 1")
    done = refnorm("check", "good.py", "--dtypes", "float64", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_target_may_bear_the_name_of_a_library(tmp_path):
    (tmp_path / "random.py").write_text(GOOD)
    assert refnorm("check", "random.py", "--dtypes", "float64", cwd=tmp_path).returncode == 0
    assert refnorm("check", "statistics.py", cwd=tmp_path).returncode == 2


@pytest.mark.rest  # see conftest.py
@pytest.mark.parametrize(
    ("command", "options", "said"),
    [("check", ["--dtypes", "float64"], "conforms to torch"), ("identify", [], "nearest row")],
)
def test_what_numpy_exports_is_no_word_of_the_target(tmp_path, command, options, said):
    (tmp_path / "star.py").write_text("from numpy import *\n" + GOOD)
    done = alone(command, "star.py", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout


@pytest.mark.rest  # see conftest.py
def test_numpys_error_state_is_the_targets_own(tmp_path):
    (tmp_path / "raises.py").write_text("import numpy as np\nnp.seterr(all='raise')\n" + GOOD)
    assert refnorm("check", "raises.py", "--dtypes", "float32", cwd=tmp_path).returncode == 0
    assert package.check(str(tmp_path / "raises.py"), dtypes=["float32"]).conforms
    import numpy as np

    assert np.geterr() != dict.fromkeys(("divide", "over", "under", "invalid"), "raise")
