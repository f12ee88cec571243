"""The door: batch norms as people write them, judged as they are.

`doors/given` was written by whoever planned this, `doors` by someone who had seen no reader; each file has its
expectation in EXPECT.json: how the report may read it, which causes it must and which words it must never say. Right
files conform, each bug is found and named. A file whose library is not installed is skipped by name; of those that need
one, a run that is not told to be slow takes what was given and the first of each library.

Not verified here: what is on no list; GPUs; libraries that are not named under ``requires``.
"""

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from command import called

import refnorm
from refnorm.conventions import ROWS
from refnorm.golden.inputs import case
from refnorm.oracle.ask.doors.declared import reading
from refnorm.oracle.ask.doors.leaves import leaves
from refnorm.oracle.ask.doors.names import gradient_of, role_of
from refnorm.oracle.ask.doors.own import own_functions
from refnorm.oracle.ask.envelope import Envelope, envelope_of, fitted
from refnorm.oracle.ask.target import TargetError, as_target, load_target
from refnorm.oracle.measure.weights import SENSES
from refnorm.oracle.report import Report
from refnorm.oracle.shown import text

SAMPLED = 60  # one in so many; see conftest.py

DOORS = Path(__file__).parent / "doors"
EXPECTED = [
    (folder, expected)
    for folder in (DOORS / "given", DOORS)
    for expected in json.loads((folder / "EXPECT.json").read_text(encoding="utf-8"))
]


def checked(folder, target, *options):
    """Judge a target as the command line does; return the exit status, the report, and what else was said."""
    done = called("check", target, "--format", "json", *options, cwd=folder)
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


def problems(expected, report):
    """Return what a report says that it must not, or does not say that it must."""
    found = []
    shown = text(Report.from_dict(report))
    findings = [f"{f['title']} | {f['cause']}" for f in report["findings"]]
    verdict = "conforms" if report["conforms"] else "deviates"
    if verdict != expected["verdict"]:
        found.append(f"{verdict}, expected {expected['verdict']}")
    for never in expected["never"]:
        found += [f"says {never!r}: {line}" for line in [*findings, *shown.splitlines()] if re.search(never, line)]
    for cause in expected["causes"]:
        if not any(re.search(cause, line) for line in findings):
            found.append(f"does not say {cause!r}, but {findings}")
    for line in findings:
        if not any(re.search(pattern, line) for pattern in (*expected["causes"], *expected["may"])):
            found.append(f"finds what is not there: {line}")
    found += [f"does not mention {must!r}" for must in expected["must_say"] if not re.search(must, shown)]
    if expected["judged_as"] and report["convention"] not in expected["judged_as"]:
        found.append(f"judged as {report['convention']}, expected one of {expected['judged_as']}")
    judged = {cell["quantity"] for path in report["paths"] for cell in path["cells"]}
    return [*found, *(f"does not judge {quantity}" for quantity in expected["judged"] if quantity not in judged)]


def of_libraries():
    """Yield the doors; those of libraries beside the first of each, and those that were given, are slow."""
    met = set()
    for folder, expected in EXPECTED:
        needs = tuple(expected["requires"])
        slow = bool(needs) and folder.name != "given" and needs in met
        met.add(needs)
        marks = [pytest.mark.slow] if slow else []
        yield pytest.param(folder, expected, id=f"{folder.name}-{expected['target']}", marks=marks)


@pytest.mark.parametrize(("folder", "expected"), [*of_libraries()])
def test_what_people_wrote_is_judged_as_it_is(folder, expected):
    missing = [name for name in expected["requires"] if find_spec(name) is None]
    if missing:
        pytest.skip(f"NOT TESTED: {expected['target']} needs {', '.join(missing)}")
    status, report, said = checked(folder, expected["target"])
    assert report is not None, said
    assert problems(expected, report) == []
    assert status == (0 if expected["verdict"] == "conforms" else 1)


def test_the_expectations_can_fail():
    folder, expected = next((f, e) for f, e in EXPECTED if e["target"] == "hw_layer.py")
    _, report, _ = checked(folder, "hw_layer.py", "--dtypes", "float64")
    assert problems(expected, report) == []
    assert any("expected deviates" in line for line in problems(expected | {"verdict": "deviates"}, report))
    assert problems(expected | {"judged_as": ["torch"]}, report)
    assert problems(expected | {"must_say": ["gamma: not offered"]}, report)
    assert problems(expected | {"never": ["2e-05"]}, report)


def test_names_say_what_they_stand_for():
    assert [role_of(n) for n in ("weight", "bngain", "W", "g", "scale")] == ["gamma"] * 5
    assert [role_of(n) for n in ("running_mean", "moving_avg", "exp_mean", "mu", "rm")] == ["mean"] * 5
    assert [role_of(n) for n in ("running_var", "sigma2", "movingVariance", "running_V")] == ["var"] * 4
    assert [role_of(n) for n in ("running_std", "moving_sigma", "batch_std")] == ["var", "var", "std"]
    assert [role_of(n) for n in ("deterministic", "is_test", "use_running_average", "eval")] == ["inference"] * 4
    assert [role_of(n) for n in ("train_flg", "is_training", "training")] == ["training"] * 3
    assert [gradient_of(n) for n in ("dgamma", "grad_W", "LW", "d_beta", "Lb", "bias_grad")] == [
        "gamma", "gamma", "gamma", "beta", "beta", "beta",
    ]  # fmt: skip
    assert [role_of(n) for n in ("bn_param", "bn_config", "bn_cfg", "running_stats")] == ["state"] * 4
    assert [role_of(n) for n in ("momentum", "moment", "moments")] == ["momentum", "momentum", ""]
    assert role_of("unheard_of") == gradient_of("gamma") == ""


def test_whatever_comes_back_is_found_through_tuples_and_dictionaries():
    y, row = np.zeros((2, 3)), np.zeros(3)
    assert [way for way, _ in leaves((y, {"stats": (row, [row])}))] == [(0,), (1, "stats", 0), (1, "stats", 1, 0)]
    assert [way for way, _ in leaves([[1.0, 2.0], [3.0, 4.0]])] == [()]


class Takes:
    """An implementation with refnorm's own functions, by keyword and in another order."""

    def train(self, *, eps, momentum, running_var, running_mean, beta, gamma, x):
        return Right.train(self, x, gamma, beta, running_mean, running_var, momentum, eps)


class Right:
    def train(self, x, gamma, beta, running_mean, running_var, momentum, eps):
        y, saved = refnorm.batch_norm_training(x, gamma, beta, eps=eps)
        moved = refnorm.update_running(running_mean, running_var, saved.statistics, momentum=momentum)
        return y, *moved, None


def test_own_functions_are_called_in_the_order_that_they_ask_for():
    assert own_functions(Right()).__class__ is Right
    report = refnorm.check(Takes(), dtypes=["float64"])
    assert report.conforms
    assert report.convention == "torch"


def test_a_train_that_trains_a_model_is_none():
    class Loop:
        def train(self, model, loader, epochs=1):
            raise AssertionError("nobody calls this")

    assert own_functions(Loop()) is None


def test_a_plain_installation_without_bfloat16_judges(tmp_path):
    """The package ml_dtypes, which has bfloat16, is no dependency: its absence ended the trial of NumPy functions."""
    (tmp_path / "bn.py").write_text(
        "def batch_norm(x, gamma, beta, eps):\n"
        "    return gamma * (x - x.mean(axis=0)) / (x.var(axis=0) + eps) ** 0.5 + beta\n"
    )
    hidden = (
        "import sys, importlib.util as u; sys.modules['ml_dtypes'] = None; find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'ml_dtypes' else find(name, *a)\n"
        "import refnorm; print(refnorm.check('bn.py', dtypes=['float32']).conforms)"
    )
    command = [sys.executable, "-c", hidden]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr


def test_an_envelope_is_measured():
    def batch_norm(x, gamma, beta, running_mean, running_var, training):
        x, n = np.asarray(x), len(x)
        if x.ndim != 2:
            raise ValueError("rows, please")
        mean, var = (x.mean(0), x.var(0)) if training else (running_mean, running_var)
        if training:
            if n < 2:
                raise ValueError("a variance needs two rows")
            running_mean = 0.75 * running_mean + 0.25 * mean
            running_var = 0.75 * running_var + 0.25 * var * n / (n - 1)
        return gamma * (x - mean) / np.sqrt(var + 1e-4) + beta, running_mean, running_var

    implementation = as_target(batch_norm).paths[""]
    found = envelope_of(implementation)
    assert (found.ranks, found.gamma, found.eps, found.momentum) == ((2,), "mandatory", 1e-4, 0.25)
    assert found.passes == ()
    assert any("eps: fixed at 0.0001" in line for _, line in found.gaps())
    report = refnorm.check(batch_norm, dtypes=["float64"])
    assert report.conforms, str(report)
    assert "m/(m - 1)" in report.paths[0].followed


def test_what_is_required_and_not_offered_is_a_finding():
    def batch_norm(x, gamma, beta):
        return gamma * (x - x.mean(0)) / np.sqrt(x.var(0) + 2e-5) + beta

    assert refnorm.check(batch_norm, dtypes=["float64"]).conforms
    report = refnorm.check(batch_norm, dtypes=["float64"], require=["eps", "gradients", "statistics"])
    assert [f.cause for f in report.findings] == ["not-offered"] * 3
    assert "eps: fixed at 2e-05" in str(report)
    assert Report.from_dict(report.to_dict()) == report
    with pytest.raises(ValueError, match="'speed' cannot be required; use ranks"):
        refnorm.check(batch_norm, require=["speed"])


def test_an_argument_that_is_accepted_and_ignored_is_a_finding():
    def batch_norm(x, gamma, beta, eps):
        return gamma * (x - x.mean(0)) / np.sqrt(x.var(0) + 2e-5) + beta

    report = refnorm.check(batch_norm, dtypes=["float64"])
    (finding,) = report.findings
    assert finding.cause == "eps-ignored"
    assert "y divides by sqrt(var + 2e-05), whatever eps is passed" in finding.title


def test_cases_are_fitted_without_a_change_to_what_they_ask():
    images = case("bn.training.float64.rank-4.1")
    rows = fitted(images, Envelope(ranks=(2,)))
    assert rows.x.shape == (images.x.size // images.x.shape[1], images.x.shape[1])
    assert np.array_equal(rows.x.mean(0), np.moveaxis(images.x, 1, -1).reshape(rows.x.shape).mean(0))
    assert not rows.held
    assert fitted(images, Envelope()) is images
    assert fitted(case("bn.training.float64.affine-absent.1"), Envelope(gamma="mandatory")) is None
    assert fitted(images, Envelope(eps=2e-5)).eps == 2e-5
    assert fitted(images, Envelope(momentum=0.1), old_weighs=True).momentum == 0.9


def test_there_is_a_row_for_whatever_is_measured():
    assert {(row.momentum, row.correction) for row in ROWS.values()} >= set(product(SENSES, (0, 1)))


def test_the_biased_variance_moved_by_a_new_weight_is_not_wrong():
    def batch_norm(x, gamma, beta, running_mean, running_var, momentum, eps, training):
        mean, var = (x.mean(0), x.var(0)) if training else (running_mean, running_var)
        if training:
            running_mean = running_mean + momentum * (mean - running_mean)
            running_var = running_var + momentum * (var - running_var)
        return gamma * (x - mean) / np.sqrt(var + eps) + beta, running_mean, running_var

    report = refnorm.check(batch_norm, dtypes=["float64"])
    assert report.conforms, str(report)
    assert report.convention == "tvm"
    assert "the biased variance is stored, as in tvm" in " ".join(str(report).split())
    assert not refnorm.check(batch_norm, "torch", dtypes=["float64"]).conforms


def test_statistics_along_the_wrong_axis_are_a_fault_where_nothing_says_that_samples_are_columns():
    def batch_norm(x, gamma, beta, eps):
        return gamma * (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + eps) + beta

    assert not refnorm.check(batch_norm, dtypes=["float64"]).conforms


def test_what_is_declared_is_judged_and_nothing_else(tmp_path):
    (tmp_path / "odd.py").write_text(
        "import numpy as np, refnorm\n"
        "def batch_norm(q, a, b, c):\n    return 0 / 0\n"
        "def f(q, a, b, c):\n    return a * (q - q.mean(0)) / np.sqrt(q.var(0) + c) + b\n"
        'bn = refnorm.reading(f, takes="x, gamma, beta, eps", gives="y")\n'
    )
    status, report, _ = checked(tmp_path, "odd.py", "--dtypes", "float64")
    assert status == 0
    assert len(report["paths"]) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"takes": "x, gama"}, "'gama' is none of x, gamma"),
        ({"takes": "gamma, beta"}, "does not say which parameter is x"),
        ({"takes": "x", "gives": "cache"}, "does not say which result is y"),
        ({"takes": "x, gamma, beta, eps, mean"}, "has 5 words, and f takes 1"),
    ],
)
def test_a_declaration_with_a_mistake_says_so(words, message):
    def f(x):
        return x

    with pytest.raises(ValueError, match=message):
        reading(f, **words)


def test_a_file_without_a_batch_norm_says_what_there_is_and_what_to_write(tmp_path):
    (tmp_path / "other.py").write_text("def train(model, loader):\n    pass\n\n\ndef twice(x):\n    return 2 * x\n")
    status, _, said = checked(tmp_path, "other.py")
    assert status == 2
    assert "it defines train, twice" in said
    assert "refnorm.reading(" in said
    assert said.count("\n") == 1


def test_all_parameters_that_say_nothing_are_named(tmp_path):
    (tmp_path / "odd.py").write_text("def whiten(x, q, r, eps):\n    return (x - x.mean(0)) * q + r\n")
    status, _, said = checked(tmp_path, "odd.py")
    assert status == 2
    assert "it is not known what q, r are. To declare it, add to the file: import refnorm" in said
    assert 'refnorm.reading(whiten, takes="x, ?, ?, eps", gives="y")' in said


PROCESS = """
import numpy as np, refnorm

class Normalizer:
    def __init__(self, n):
        self.g, self.b, self.m, self.v = np.ones(n), np.zeros(n), np.zeros(n), np.ones(n)

    def process(self, u, k):
        m, v = (u.mean(0), u.var(0)) if k else (self.m, self.v)
        if k:
            self.m, self.v = 0.9 * self.m + 0.1 * m, 0.9 * self.v + 0.1 * v
        return self.g * (u - m) / np.sqrt(v + 1e-5) + self.b
"""


@pytest.mark.rest  # see conftest.py
@pytest.mark.parametrize("formats", [("--dtypes", "float64"), pytest.param((), marks=pytest.mark.slow)], ids=str)
def test_a_layer_that_is_called_by_an_unknown_method_is_declared_by_it(tmp_path, formats):
    (tmp_path / "layer.py").write_text(PROCESS)
    for target in ("layer.py", "layer.py:Normalizer"):
        status, _, said = checked(tmp_path, target)
        assert status == 2
        assert 'refnorm.reading(Normalizer.process, takes="x, ?", state={"gamma": "...", ' in said
    names = '{"gamma": "g", "beta": "b", "mean": "m", "var": "v"}'
    declared = f'bn = refnorm.reading(Normalizer.process, takes="x, training", state={names})'
    for code, conforms in ((PROCESS, True), (PROCESS.replace("+ self.b", "- self.b"), False)):
        (tmp_path / "layer.py").write_text(f"{code}\n\n{declared}\n")
        assert checked(tmp_path, "layer.py", *formats)[1]["conforms"] == conforms


TOLD = """
import types
import numpy as np


class BatchNorm:
    def __init__(self, n, eps=1e-5, momentum=0.9):
        self.gamma, self.beta, self.running_mean, self.running_var = np.ones(n), np.zeros(n), np.zeros(n), np.ones(n)
        self.eps, self.momentum = eps, momentum
        {made}

    def forward(self, x{taken}):
        if {condition}:
            mean, var = x.mean(0), x.var(0)
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mean
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
        else:
            mean, var = self.running_mean, self.running_var
        return (x - mean) / np.sqrt(var + self.eps) * self.gamma + self.beta
"""


@pytest.mark.parametrize(
    ("made", "taken", "condition", "words"),
    [
        ("self.settings = types.SimpleNamespace(training=True)", "", "self.settings.training", "training=True"),
        ("self.net = type('Net', (), {'training': True})()", "", "self.net.training", "training=True"),
        ("self.how = {'phase': 'train'}", "", "self.how['phase'] == 'train'", "phase='train'"),
        ("self.phase = 'TRAINING'", "", "self.phase == 'TRAINING'", "phase='TRAINING'"),
        ("", ", phase=0", "phase == 0", "phase=0"),
        ("", ", mode='learning'", "mode == 'learning'", "mode='learning'"),
        ("", ", mode='fitting'", "mode != 'scoring'", ""),
        ("self.learning = True", "", "self.learning", ""),
        ("", ", **more", "more.get('train', True)", ""),
        ("self.training = True", "", "True or self.training", "wrong"),
    ],
)
def test_how_a_layer_is_told_to_train_is_found_or_its_inference_is_not_judged(tmp_path, made, taken, condition, words):
    (tmp_path / "layer.py").write_text(TOLD.format(made=made or "pass", taken=taken, condition=condition))
    _, report, _ = checked(tmp_path, "layer.py", "--dtypes", "float64")
    assert report["conforms"] == (words != "wrong")
    (path,) = report["paths"]
    assert ("y, inference" not in path["not_judged"]) == bool(words)
    if not words:
        assert "nothing was found that tells it to infer" in text(Report.from_dict(report)).replace("\n    ", " ")
    elif words == "wrong":  # it has a switch, and does not heed it
        assert report["findings"][0]["cause"] == "batch-statistics-in-inference"
    else:
        assert f"training by {words}" in text(Report.from_dict(report))


@pytest.mark.parametrize(
    ("taken", "condition", "words"),
    [
        (", phase=0", "phase == 0", "phase=0"),
        (", mode='TRAINING'", "mode == 'TRAINING'", "mode='TRAINING'"),
        (", phase='scoring'", "phase != 'scoring'", ""),
    ],
)
def test_a_function_whose_word_for_training_is_not_known_is_not_judged(tmp_path, taken, condition, words):
    source = f"""
import numpy as np


def batch_norm(x, gamma, beta, running_mean, running_var, momentum=0.9, eps=1e-5{taken}):
    mean, var = (x.mean(0), x.var(0)) if {condition} else (running_mean, running_var)
    y = (x - mean) / np.sqrt(var + eps) * gamma + beta
    old, new = (momentum, 1 - momentum) if {condition} else (1, 0)
    return y, old * running_mean + new * mean, old * running_var + new * var
"""
    (tmp_path / "function.py").write_text(source)
    status, report, said = checked(tmp_path, "function.py", "--dtypes", "float64")
    assert status == (0 if words else 2), said
    if words:
        assert "y, inference" not in report["paths"][0]["not_judged"]
        assert f"training by {words}" in text(Report.from_dict(report)).replace("\n    ", " ")
    else:
        assert "it is not known what tells it, by phase, whether it trains" in said


def test_a_file_of_data_alone_is_said_to_define_nothing_that_could_be_called(tmp_path):
    (tmp_path / "data.py").write_text("rate = 0.1\n")
    assert "it defines no function, no class and no layer" in checked(tmp_path, "data.py")[2]


def test_a_backward_that_is_not_implemented_is_no_wrong_gradient():
    done = called("gradcheck", "cs_homework.py", cwd=DOORS / "given")
    assert done.returncode == 0
    assert "training, rank 4: not offered: NotImplementedError: TODO: question 5 at cs_homework.py:" in done.stdout
    assert "right: every gradient is the derivative of its forward" in done.stdout


def test_a_call_that_does_not_fit_is_no_verdict(tmp_path):
    (tmp_path / "bn.py").write_text("def batch_norm(x, gamma, beta, eps):\n    return gamma.unheard_of(x)\n")
    status, _, said = checked(tmp_path, "bn.py")
    assert status == 2
    assert "bn.py:2" in said


def test_a_file_in_a_package_is_imported_as_part_of_it():
    target = load_target(str(DOORS / "given" / "pkg" / "bn.py"))
    assert target.paths[""].__name__ == "pkg.bn"
    with pytest.raises(TargetError, match="has no attribute 'Nothing'"):
        load_target(str(DOORS / "given" / "hw_layer.py:Nothing"))


def whiten(a, q, r, tiny):
    return q * (a - a.mean(0)) / np.sqrt(a.var(0) + tiny) + r


def fwd(a, q, r, tiny):
    z, s = a - a.mean(0), np.sqrt(a.var(0) + tiny)
    return q * z / s + r, (z / s, s, q)


def bwd(g, kept):
    z, s, q = kept
    return q / s * (g - g.mean(0) - z * (g * z).mean(0)), (g * z).sum(0), g.sum(0)


def step(a, q, r, m1, m2, k, tiny, learn):
    mean, var = (a.mean(0), a.var(0)) if learn else (m1, m2)
    if learn:
        m1, m2 = k * m1 + (1 - k) * mean, k * m2 + (1 - k) * var
    return q * (a - mean) / np.sqrt(var + tiny) + r, len(a), m1, m2


class Layer:
    def __init__(self, size):
        self.a, self.b, self.m1, self.m2 = np.ones(size), np.zeros(size), np.zeros(size), np.ones(size)

    def __call__(self, v, learn):
        y, _, self.m1, self.m2 = step(v, self.a, self.b, self.m1, self.m2, 0.9, 1e-5, learn)
        return y


def normalise(v, q, r, m1, m2, frozen, where):
    assert where == "cpu"
    axes = tuple(range(v.ndim - 1))
    mean, var = (m1, m2) if frozen else (v.mean(axes), v.var(axes))
    return q * (v - mean) / np.sqrt(var + 1e-5) + r


@pytest.mark.parametrize(
    ("declared", "judged"),
    [
        (reading(whiten, takes="x, gamma, beta, eps", gives="y"), {"y, training"}),
        (reading(fwd, takes="x, gamma, beta, eps", gives="y, cache", backward=bwd), {"dx", "dgamma", "dbeta"}),
        (reading(step, takes="x, gamma, beta, mean, var, momentum, eps, training", gives="y, ?, mean, var"),
         {"y, training", "running mean", "running variance", "y, inference"}),
        (reading(Layer, takes="x, training", state={"gamma": "a", "beta": "b", "mean": "m1", "var": "m2"}),
         {"running mean", "running variance", "y, inference"}),
        (reading(normalise, takes="x, gamma, beta, mean, var, inference", channels_last=True, where="cpu"),
         {"y, training", "y, inference"}),
    ],
)  # fmt: skip
def test_the_five_declarations_of_the_page_hold(declared, judged):
    report = refnorm.check(declared, dtypes=["float64"])
    assert report.conforms, str(report)
    assert {cell.quantity for cell in report.paths[0].cells} >= judged


class Twice:
    """A layer of rows that counts its calls, and adds to its gradients until they are cleared."""

    def __init__(self, dim, eps=1e-5):
        self.gamma, self.beta, self.eps, self.calls = np.ones(dim), np.zeros(dim), eps, 0
        self.running_mean, self.running_var = np.zeros(dim), np.ones(dim)
        self.zero_grad()

    def zero_grad(self):
        self.dgamma, self.dbeta = 0.0, 0.0

    def forward(self, x, training):
        if not training:
            return self.gamma * (x - self.running_mean) / np.sqrt(self.running_var + self.eps) + self.beta
        self.calls += 1
        mean, var = x.mean(0), x.var(0)
        weight = 0.5 ** (self.calls % 2)
        self.running_mean = (1 - weight) * self.running_mean + weight * mean
        self.running_var = (1 - weight) * self.running_var + weight * var
        self.std = np.sqrt(var + self.eps)
        self.x_hat = (x - mean) / self.std
        return self.gamma * self.x_hat + self.beta

    def backward(self, dy):
        dgamma, dbeta = (dy * self.x_hat).sum(0), dy.sum(0)
        self.dgamma, self.dbeta = self.dgamma + dgamma, self.dbeta + dbeta
        return self.gamma / self.std * (dy - (dbeta + self.x_hat * dgamma) / len(dy))


def test_a_layer_may_count_its_calls_and_have_its_gradients_cleared():
    assert refnorm.check(Twice, dtypes=["float64"]).conforms


def test_a_layer_that_raises_when_it_is_used_again_is_found():
    class Once(Twice):
        def forward(self, x, training):
            if training and self.calls:
                raise RuntimeError("the graph is gone")
            return super().forward(x, training)

    (finding,) = refnorm.check(Once, dtypes=["float64"]).findings
    assert finding.cause == "not-repeatable"
    assert "a layer that is used a second time raises RuntimeError: the graph is gone" in finding.title


def test_forward_mode_leaves_the_compiler_of_torch_alone_and_gives_it_where_it_is_asked_for():
    if find_spec("torch") is None:
        pytest.skip("NOT TESTED: needs torch")
    script = (
        "import sys, torch\n"
        "from refnorm.oracle.ask.doors.in_torch import COMPILER, without_compiler\n"
        "with without_compiler():\n"
        "    from torch.autograd import forward_ad\n"
        "    with forward_ad.dual_level():\n"
        "        forward_ad.unpack_dual(forward_ad.make_dual(torch.ones(2), torch.ones(2)) + 1.0)\n"
        "assert COMPILER not in sys.modules\n"
        "with without_compiler():\n"
        "    assert torch._dynamo.is_compiling() is False\n"
        "    assert sys.modules[COMPILER].__file__\n"
        "assert sys.modules[COMPILER].__file__\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
