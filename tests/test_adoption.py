"""What a project puts into its CI works as the page says: the action, the nightly, the badge, the hook.

The steps of `action.yml` and of the workflows in `tutorials/in-your-ci.md` are read from those files and run in order,
by the shell and with the options that GitHub uses; steps that fetch something (`uses: actions/...`, `pip install`) are
left out here. Marked slow, and so run by their own command: the nightly, the hook and, as they download, the action as
a whole in an empty environment, and pre-commit itself (`pip install pre-commit`).

Not verified: GitHub's own runners and shields.io.
"""

import copy
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from command import called

from refnorm.oracle.finding import Finding
from refnorm.oracle.report import ROWS, Report
from refnorm.oracle.report import Path as Judged
from refnorm.oracle.shown import badge

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "tutorials" / "in-your-ci.md").read_text(encoding="utf-8")
PUSH, NIGHTLY, PRE_COMMIT = map(yaml.safe_load, re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
(MADE, BADGE) = re.findall(r"^refnorm (.+)$", PAGE, re.MULTILINE)
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
(HOOK,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
JUDGE = (ROOT / "tutorials" / "judge-your-own.md").read_text(encoding="utf-8")
GOOD = re.search(r"^`my_bn.py`:\n\n```python\n(.*?)^```$", JUDGE, re.MULTILINE | re.DOTALL)[1]
BIASED = GOOD.replace(" * m / (m - 1)", "")


@pytest.fixture
def faster(dtype):
    """Return options that let a job judge one format."""
    return f" --dtypes {dtype}"


@pytest.fixture
def project(tmp_path):
    """Return a folder where `python` is this one, as in a job whose Python has refnorm."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tmp_path / "bin" / "python").chmod(0o755)
    (tmp_path / "my_bn.py").write_text(GOOD)
    return tmp_path


def run_step(step, inputs, folder, path):
    """Run one step as GitHub does; return its status and output."""
    given = step.get("env", {})
    variables = {n: re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda m: inputs[m[1]], str(v)) for n, v in given.items()}
    assert "${{" not in step["run"] + "".join(variables.values())
    outside = {n: v for n, v in os.environ.items() if n != "PYTHONPATH"}
    outside |= {"GITHUB_ACTION_PATH": str(ROOT), "GITHUB_STEP_SUMMARY": str(folder / "summary.md"), "PATH": path}
    outside |= {"PYTHONPATH": str(ROOT)} if str(folder / "bin") in path else {}
    shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    return subprocess.run(shell, cwd=folder, env=outside | variables, capture_output=True, text=True, check=False)


def steps_of(workflow, options=""):
    """Yield the steps of a workflow's job with their inputs, those of our action in the place where it is used."""
    (job,) = workflow["jobs"].values()
    for step in job["steps"]:
        if step.get("uses") == "OWNER/refnorm@TAG":
            known = ACTION["inputs"]
            assert set(step["with"]) <= set(known)
            assert {n for n, i in known.items() if i.get("required")} <= set(step["with"])
            inputs = dict.fromkeys(known, "") | step["with"]
            inputs["options"] += options
            yield from ((inner, inputs) for inner in ACTION["runs"]["steps"])
        else:
            yield step, {}


def fetches(step):
    return "uses" in step or "pip install" in step["run"]


def run_job(workflow, project, options=""):
    """Run what a job computes; return the last step's outcome."""
    path = f"{project / 'bin'}{os.pathsep}{os.environ['PATH']}"
    steps = [(step, inputs) for step, inputs in steps_of(workflow, options) if not fetches(step)]
    assert steps
    for step, inputs in steps:
        done = run_step(step, inputs, project, path)
    return done


def test_the_action_is_composite_and_pastes_no_input_into_a_script():
    assert ACTION["runs"]["using"] == "composite"
    for step in ACTION["runs"]["steps"]:
        assert step["shell"] == "bash"
        assert "${{" not in step["run"]


def test_at_a_push_a_right_one_passes_and_the_summary_has_the_report(project, faster):
    done = run_job(PUSH, project, faster)
    assert done.returncode == 0, done.stderr
    summary = (project / "summary.md").read_text()
    assert summary.startswith("## refnorm: my_bn.py:BatchNorm conforms to `torch`")
    assert done.stdout == summary


def test_at_a_push_a_wrong_one_fails_and_what_cannot_be_judged_has_another_status(project, faster):
    (project / "my_bn.py").write_text(BIASED)
    done = run_job(PUSH, project, faster)
    assert done.returncode == 1
    assert "running variance is the biased one" in (project / "summary.md").read_text()
    (project / "my_bn.py").unlink()
    done = run_job(PUSH, project, faster)
    assert done.returncode == 2
    assert "my_bn.py" in done.stderr


def test_a_value_of_an_input_is_no_command(project):
    workflow = copy.deepcopy(PUSH)
    (job,) = workflow["jobs"].values()
    job["steps"][-1]["with"]["target"] = '$(touch owned); "; touch owned #'
    assert run_job(workflow, project).returncode == 2
    assert not (project / "owned").exists()


@pytest.mark.slow
def test_the_nightly_fails_on_what_is_new_and_says_what_has_gone(project, faster):
    (project / "my_bn.py").write_text(BIASED)
    assert called(*shlex.split(MADE + faster), cwd=project).returncode == 1
    assert MADE == "check my_bn.py:BatchNorm --convention torch --format json --output known.json"
    done = run_job(NIGHTLY, project, faster)
    assert done.returncode == 0, done.stderr
    assert "1 known, 0 new, 0 gone" in done.stderr
    assert json.loads((project / "badge.json").read_text())["message"] == "deviates from torch: 1 convention"
    (project / "my_bn.py").write_text(BIASED.replace("momentum * mean", "momentum * mean * 1.001"))
    done = run_job(NIGHTLY, project, faster)
    assert done.returncode == 1
    assert "1 known, 1 new, 0 gone" in done.stderr
    assert json.loads((project / "badge.json").read_text())["color"] == "red"
    (project / "my_bn.py").write_text(GOOD)
    done = run_job(NIGHTLY, project, faster)
    assert done.returncode == 0
    assert "0 known, 0 new, 1 gone" in done.stderr
    assert json.loads((project / "badge.json").read_text())["color"] == "brightgreen"


def test_a_badge_of_what_cannot_be_judged_replaces_the_one_before(project, faster):
    arguments = shlex.split(BADGE + faster)
    assert called(*arguments, cwd=project).returncode == 0
    assert json.loads((project / "badge.json").read_text())["message"] == "conforms to torch in 8 of 10 results"
    (project / "my_bn.py").write_text("raise RuntimeError")
    assert called(*arguments, cwd=project).returncode == 2
    said = {"schemaVersion": 1, "label": "batch norm", "message": "not judged", "color": "lightgrey"}
    assert json.loads((project / "badge.json").read_text()) == said


def test_a_baseline_that_is_no_report_gives_no_badge_that_conforms(project):
    (project / "known.json").write_text("{}")
    done = called(*shlex.split(f"{BADGE} --baseline known.json"), cwd=project)
    assert done.returncode == 2
    assert json.loads((project / "badge.json").read_text())["message"] == "not judged"


def report_of(*kinds, cells=True, lacking=()):
    """Return a report with a finding of each kind."""
    findings = tuple(Finding(kind, "cause", "title", "effect", ("y",), ("a case",), "a case", "y") for kind in kinds)
    path = Judged(
        "",
        (SimpleNamespace(quantity="y, training"),) if cells else (),
        findings,
        dict.fromkeys(lacking, "not offered"),
        7,
    )
    return Report("mine", "keras", (path,), {}, ("float32",))


@pytest.mark.parametrize(
    ("report", "message", "colour"),
    [
        (report_of(), "conforms to keras", "brightgreen"),
        (report_of(lacking=("jvp", "dx")), "conforms to keras in 8 of 10 results", "brightgreen"),
        (report_of("wrong", "numerics", "wrong"), "deviates from keras: 2 wrong, 1 numerics", "red"),
        (report_of("convention"), "deviates from keras: 1 convention", "orange"),
        (report_of("numerics"), "deviates from keras: 1 numerics", "orange"),
        (report_of(cells=False), "not judged", "lightgrey"),
        (None, "not judged", "lightgrey"),
    ],
)
def test_a_badge_says_what_the_report_says(report, message, colour):
    made = json.loads(badge(report))
    assert made == {"schemaVersion": 1, "label": "batch norm", "message": message, "color": colour}
    assert len(ROWS) == 10


@pytest.mark.slow
def test_the_hook_judges_the_file_that_the_configuration_names(project):
    (repo,) = PRE_COMMIT["repos"]
    (used,) = repo["hooks"]
    assert used["id"] == HOOK["id"]
    assert not HOOK["pass_filenames"]  # the target is an argument; `files` says when
    assert re.search(used["files"], "my_bn.py")
    program, *words = shlex.split(HOOK["entry"])
    assert program == "refnorm"
    for source, status in ((GOOD, 0), (BIASED, 1)):
        (project / "my_bn.py").write_text(source)
        assert called(*words, *used["args"], cwd=project).returncode == status


@pytest.mark.slow
def test_the_action_works_from_nothing(tmp_path):
    """Each step, that which installs refnorm included, in an environment that holds NumPy alone."""
    venv.create(tmp_path / "job", with_pip=True)
    bin = tmp_path / "job" / "bin"
    path = f"{bin}{os.pathsep}{os.environ['PATH']}"
    for source, status in ((GOOD, 0), (BIASED, 1)):
        (tmp_path / "my_bn.py").write_text(source)
        for step, inputs in steps_of(PUSH):
            if "uses" not in step:
                done = run_step(step, inputs, tmp_path, path)
        assert done.returncode == status, done.stderr
    where = run_step({"run": "python -c 'import refnorm; print(refnorm.__file__)'"}, {}, tmp_path, path)
    assert str(tmp_path) in where.stdout


@pytest.mark.slow
def test_pre_commit_runs_the_hook(project):
    """With pre-commit, from a clone of what is committed."""
    program = shutil.which("pre-commit") or str(Path(sys.executable).with_name("pre-commit"))
    if not Path(program).exists():
        pytest.skip("NOT TESTED: there is no pre-commit; pip install pre-commit")
    text = next(t for t in re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) if "hooks:" in t)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    text = text.replace("https://github.com/OWNER/refnorm", str(ROOT)).replace("TAG", head.stdout.strip())
    (project / ".pre-commit-config.yaml").write_text(text)
    for command in (["git", "init", "-q"], ["git", "add", "my_bn.py", ".pre-commit-config.yaml"]):
        subprocess.run(command, cwd=project, check=True)
    variables = {n: v for n, v in os.environ.items() if n != "PYTHONPATH"} | {"PRE_COMMIT_HOME": str(project / "home")}
    run = [program, "run", "--all-files", "--verbose"]
    done = subprocess.run(run, cwd=project, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "conforms to torch" in done.stdout
    (project / "my_bn.py").write_text(BIASED)
    done = subprocess.run(run, cwd=project, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "running variance is the biased one" in done.stdout
