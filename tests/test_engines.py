"""What the adapters of compilers and engines share: programs in other languages, environments, no running statistics.

The engines are not installed here: `refnorm matrix` does that, and its results are committed as data. Not verified:
what an engine answers (`figures/matrix`), and that its packages can be had.
"""

import json
import sys

import numpy as np
import pytest
from installed import framework

from refnorm.frameworks import conversation
from refnorm.frameworks.conversation import Program
from refnorm.frameworks.sources import compiled
from refnorm.golden import cases
from refnorm.matrix import environments
from refnorm.oracle.ask.target import Target
from refnorm.oracle.measure.numerics import numerics
from refnorm.oracle.trial import trial

ECHO = """
import json, sys
for line in sys.stdin:
    request = json.loads(line)
    if "array" in request:
        print(json.dumps({"result": request["array"]}), flush=True)
    elif "fail" in request:
        print(json.dumps({"error": request["fail"]}), flush=True)
    else:
        sys.exit(3)
"""


@pytest.fixture
def echo():
    program = Program([sys.executable, "-c", ECHO])
    yield program
    program.close()


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (0, 3), ()])
def test_arrays_travel_unchanged_whatever_their_layout(echo, dtype, shape):
    array = np.random.default_rng(0).normal(size=shape[::-1]).astype(dtype).T
    found = echo.ask(array=array)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_what_a_program_reports_is_raised_and_it_goes_on(echo):
    with pytest.raises(RuntimeError, match="no such kernel"):
        echo.ask(fail="no such kernel")
    assert echo.ask(array=np.float32([1, 2])).tolist() == [1, 2]


def test_a_program_that_ends_without_an_answer_says_its_exit_status(echo):
    with pytest.raises(RuntimeError, match="exit status 3"):
        echo.ask(end=True)


def test_what_cannot_travel_is_named(echo):
    with pytest.raises(TypeError, match="complex does not travel"):
        echo.ask(value=1j)


@pytest.mark.parametrize(("path", "said"), [(None, "there is no node"), ("/bin/node", "tfjs is not in")])
def test_without_node_or_its_package_an_adapter_is_not_imported(tmp_path, monkeypatch, path, said):
    monkeypatch.setenv("REFNORM_NODE", str(tmp_path))
    monkeypatch.setattr(conversation.shutil, "which", lambda _: path)
    with pytest.raises(ImportError, match=said):
        conversation.node("tfjs", tmp_path / "program.mjs")


def test_an_environment_is_another_when_the_lock_file_of_its_packages_changes(tmp_path, monkeypatch):
    steps = []
    monkeypatch.setattr(environments, "REQUIREMENTS", tmp_path)
    (tmp_path / "web.txt").write_text("")

    def run(step, **_):
        root = tmp_path / "environments" / step[step.index("--prefix") + 1] if "--prefix" in step else None
        steps.append((step, json.loads((root / "package.json").read_text()) if root else None))
        for name in list(expected):
            (tmp_path / "environments" / name).mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(environments.subprocess, "run", run)
    found = []
    for version in ("1.0.0", "2.0.0"):
        lock = json.dumps({"lockfileVersion": 3, "packages": {"": {"dependencies": {"web": version}}}})
        (tmp_path / "web-npm.json").write_text(lock)
        digest = environments.hashlib.sha256(lock.encode()).hexdigest()[:8]
        expected = [f"web-{digest}"]
        found.append(environments.environment("web", tmp_path / "environments"))
        step, package = steps[-1]
        assert step[:2] == ["npm", "ci"]
        assert package == {"dependencies": {"web": version}}
    assert found[0] != found[1]


def test_an_interpreter_of_another_version_is_looked_for_where_pyenv_keeps_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setattr(environments, "PYTHONS", {"old": "3.10"})
    assert environments.interpreter("torch") == sys.executable
    assert environments.interpreter("old") == "python3.10"
    kept = tmp_path / "versions" / "3.10.13" / "bin" / "python"
    kept.parent.mkdir(parents=True)
    kept.touch()
    assert environments.interpreter("old") == str(kept)


class Stateless:
    """The operation of training as compilers have it: no running statistics."""

    dtypes = ("float64", "float32")
    without = ("running mean", "running variance")
    two_pass = True

    def train(self, x, gamma, beta, running_mean, running_var, momentum, eps):
        axes = tuple(a for a in range(x.ndim) if a != 1)
        mean = x.mean(axes, keepdims=True)
        square = (x * x).mean(axes, keepdims=True)
        var = ((x - mean) ** 2).mean(axes, keepdims=True) if self.two_pass else square - mean * mean
        like = (1, -1, *[1] * (x.ndim - 2))
        y = (x - mean) / np.sqrt(var + x.dtype.type(eps))
        y = y if gamma is None else y * gamma.reshape(like)
        return (y if beta is None else y + beta.reshape(like)), None, None, None


class OnePass(Stateless):
    two_pass = False


def declared(implementation):
    return Target("engine", "torch", "", {"": implementation}, declared=True)


def test_without_running_statistics_digits_of_y_are_measured_all_the_same():
    right, wrong = (numerics(declared(kind()))[""] for kind in (Stateless, OnePass))
    assert set(right["variance"]) == {None}
    assert wrong["y"][4] > 100 * right["y"][4]  # mean/std 1000: (mean/std)^2 u of the variance against mean/std u


def test_without_running_statistics_no_policy_is_asked_for_and_the_rest_is_judged():
    seen = set()
    report = trial(declared(Stateless()), None, dtypes=["float64"], progress=lambda number, of, id: seen.add(id))
    undefined = {case.id for case in cases(dtype="float64") if case.undefined}
    assert undefined
    assert not seen & undefined
    assert not [f for f in report.findings if f.kind == "wrong"], str(report)
    assert [f.cause for f in trial(declared(OnePass()), None, dtypes=["float32"]).findings]


def test_stablehlos_operations_are_text_that_mlir_reads():
    framework("jax")
    from jax._src.interpreters import mlir
    from jaxlib.mlir import ir

    from refnorm.frameworks.in_stablehlo import SIGNATURES, operation_text

    with mlir.make_ir_context():
        for operation in SIGNATURES:
            for shape in ((4, 3), (0, 1, 2), ("?", 3, "?", "?")):
                for dtype in ("float64", "float32", "float16", "bfloat16"):
                    assert ir.Module.parse(operation_text(operation, 1e-5, shape, dtype)).operation.verify()
        with pytest.raises(ir.MLIRError, match="feature_index"):
            ir.Module.parse(operation_text("batch_norm_grad", 1e-5, (4, 3), "float32").replace("1 : i64", "7 : i64"))


def test_sources_are_compiled_once_where_they_stand_and_what_is_missing_is_named(tmp_path, monkeypatch):
    (tmp_path / "here.cpp").write_text("")
    monkeypatch.setenv("REFNORM_ENGINE", str(tmp_path))
    calls = []

    def commands(root, build, library):
        calls.append(root)
        return [[sys.executable, "-c", f"open({str(library)!r}, 'w')"]]

    library = compiled("engine", "here.cpp", commands)
    assert library == tmp_path / "refnorm-build" / "engine.so"
    assert library.exists()
    assert compiled("engine", "here.cpp", commands) == library
    assert calls == [tmp_path]
    with pytest.raises(ImportError, match="set REFNORM_ENGINE to their folder"):
        compiled("engine", "elsewhere.cpp", commands)
    failing = [[sys.executable, "-c", "import sys; sys.exit('an error of its own')"]]
    monkeypatch.setenv("REFNORM_OTHER", str(tmp_path))
    with pytest.raises(ImportError, match="other could not be compiled: an error of its own"):
        compiled("other", "here.cpp", lambda *_: failing)
