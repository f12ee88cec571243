"""The identifier against boxes whose convention is known: every row in plain NumPy, wrong ones, and real frameworks.

The boxes below are written from the rows' formulas with NumPy alone; nothing here uses refnorm's own arithmetic to
make what is identified. Not verified: formats below float16, and frameworks that are not installed here (their
results are data, see `refnorm matrix`).
"""

import json
import subprocess
import sys

import numpy as np
import pytest
from command import called
from installed import framework

from refnorm.conventions import ROWS
from refnorm.oracle.apart import identify_apart
from refnorm.oracle.ask.target import Target, TargetError, load_target
from refnorm.oracle.identify import identify
from refnorm.oracle.measure.numerics import numerics

SAMPLED = 20  # one in so many; see conftest.py


class Plain:
    """Batch normalization in NumPy after a row of the table; subclasses break one thing each."""

    dtypes = ("float64", "float32", "float16")

    def __init__(self, row):
        self.row = row
        self.ranks = row.ranks

    def _spread(self, v, x):
        return np.asarray(v, np.float64).reshape((1, -1) + (1,) * (x.ndim - 2))

    def divisor(self, var, eps):
        return np.sqrt(var + eps)

    def statistics(self, x):
        axes = (0, *range(2, x.ndim))
        wide = x.astype(np.float64)
        return wide.mean(axis=axes), wide.var(axis=axes)

    def normalised(self, x, mean, var, gamma, beta, eps):
        y = (x.astype(np.float64) - self._spread(mean, x)) / self.divisor(self._spread(var, x), eps)
        y = y * self._spread(1 if gamma is None else gamma, x) if gamma is not None else y
        return (y if beta is None else y + self._spread(beta, x)).astype(x.dtype)

    def weights(self, momentum):
        a = float(np.float32(momentum)) if "float32" in (self.row.attributes, self.row.momentum_as) else momentum
        a = 1 - float(np.float32(1 - momentum)) if self.row.momentum_as == "float32 complement" else a
        return {"new": (1 - a, a), "old": (a, 1 - a), "sums": (a / (1 + a), 1 / (1 + a))}[self.row.momentum]

    def received(self, eps):
        return float(np.float32(eps)) if self.row.attributes == "float32" else eps

    def factor(self, x):
        m = x.size // x.shape[1]
        return m / (m - 1) if self.row.correction and m > 1 else 1.0

    def policy(self, x, mean, var):
        """Return what happens without enough values; None if the formulas hold."""
        m = x.size // x.shape[1] if x.size else 0
        policies = {0: self.row.empty, 1: self.row.one_value}.get(m, ("",))
        name = policies[-1]
        if name == "raises":
            raise ValueError("too few values")
        left, nan = (mean.copy(), var.copy()), (mean * np.nan, var * np.nan)
        beta = np.zeros_like(x)
        return {
            "statistics left": (beta, *left),
            "non-finite": (beta, *nan),
            "variance left": (beta, self.weights(0.5)[0] * mean + self.weights(0.5)[1] * mean, left[1]),
            "other": (beta, mean + 3, var),
        }.get(name)

    def train(self, x, gamma, beta, mean, var, momentum, eps):
        if x.ndim not in self.ranks:
            raise ValueError(f"rank {x.ndim}")
        if (special := self.policy(x, mean, var)) is not None:
            return *special, None
        batch_mean, batch_var = self.statistics(x)
        old, new = self.weights(momentum)
        moved = old * mean + new * batch_mean, old * var + new * batch_var * self.factor(x)
        by = moved if self.row.normalises == "moved" else (batch_mean, batch_var)
        y = self.normalised(x, *by, gamma, beta, self.received(eps))
        return y, moved[0].astype(mean.dtype), moved[1].astype(var.dtype), None

    def infer(self, x, gamma, beta, mean, var, eps):
        if x.ndim not in self.ranks:
            raise ValueError(f"rank {x.ndim}")
        return self.normalised(x, mean, var, gamma, beta, self.received(eps))


def found(box, declared=""):
    (identity,) = identify(Target("box", declared or "torch", "", {"": box}, declared=bool(declared)))
    return identity


MEASURED_POLICIES = {name for name, row in ROWS.items() if row.one_value != ("raises", "variance left")}


@pytest.mark.parametrize("name", sorted(MEASURED_POLICIES))
def test_every_row_in_numpy_is_found_again(name):
    row = ROWS[name]
    identity = found(Plain(row), name)
    assert identity.differs == ()
    assert name in identity.nearest
    assert identity["momentum"] == row.momentum
    assert identity["running variance, k in m/(m - k)"] == row.correction
    assert identity["one value per channel"] in row.one_value
    assert identity["empty batch"] in row.empty
    assert identity["momentum travels as"] == (row.momentum_as or row.attributes)
    assert identity["eps travels as"] == row.attributes
    assert identity["divisor in inference"] == "sqrt(var + eps)"
    assert identity["divisor in training"] == f"sqrt({'moved ' * (row.normalises == 'moved')}var + eps)"


@pytest.mark.parametrize("name", sorted(MEASURED_POLICIES))
def test_no_row_passes_for_one_with_another_momentum_or_variance(name):
    for other, row in ROWS.items():
        if (row.momentum, row.correction) != (ROWS[name].momentum, ROWS[name].correction):
            assert other not in found(Plain(ROWS[name])).nearest
            break


def test_weights_are_measured_to_six_digits():
    class Slightly(Plain):
        def weights(self, momentum):
            return 1 - momentum * 1.00001, momentum * 1.00001

    identity = found(Slightly(ROWS["torch"]))
    assert abs(identity["weight of the new batch"] - 0.2500025) < 1e-12
    assert identity["momentum"] == "other"


@pytest.mark.parametrize("k", [0.5, 2.0])
def test_the_fit_of_m_over_m_minus_k_finds_any_k(k):
    class Other(Plain):
        def factor(self, x):
            m = x.size // x.shape[1]
            return m / (m - k) if m > k else 4.0  # at m = k = 2 there is nothing to divide by

    identity = found(Other(ROWS["torch"]))
    assert identity["running variance, k in m/(m - k)"] == (k if k < 2 else "other")


def test_samples_counted_without_the_spatial_axes():
    class Samples(Plain):
        def factor(self, x):
            return x.shape[0] / (x.shape[0] - 1) if x.shape[0] > 1 else 1.0

    identity = found(Samples(ROWS["torch"]), "torch")
    counts = [(m.value, m.note) for m in identity.measurements if m.name == "m counts"]
    assert counts == [("all values", "rank 2"), ("samples", "rank 3, 4, 5")]
    assert any(line.startswith("m counts: samples") for line in identity.differs)


@pytest.mark.parametrize(
    ("formula", "place"),
    [
        (lambda v, e: np.sqrt(v) + e, "sqrt(var) + eps"),
        (lambda v, e: np.sqrt(np.maximum(v, e)), "sqrt(max(var, eps))"),
        (lambda v, e: np.sqrt(v + e * e), "other"),
        (lambda v, e: np.sqrt(v), "sqrt(var)"),
    ],
)
def test_the_place_of_eps(formula, place):
    box = Plain(ROWS["torch"])
    box.divisor = formula
    identity = found(box, "torch")
    assert identity["divisor in training"] == identity["divisor in inference"] == place
    assert any(line.startswith("divisor in inference") for line in identity.differs)


def test_the_unbiased_variance_that_normalises_is_seen():
    class Unbiased(Plain):
        def normalised(self, x, mean, var, *rest):
            training = np.ptp(x) > 0 and np.allclose(mean, self.statistics(x)[0])
            return super().normalised(x, mean, var * (self.factor(x) if training else 1), *rest)

    assert found(Unbiased(ROWS["torch"]))["divisor in training"] == "sqrt(var + eps), unbiased var"


@pytest.mark.rest  # see conftest.py
def test_an_eps_with_a_floor_is_seen():
    box = Plain(ROWS["torch"])
    box.received = lambda eps: max(eps, 1e-5)
    assert found(box)["eps of 1e-12"] == 1e-5


def test_layer_normalisation_keeps_another_axis():
    class Layer(Plain):
        def train(self, x, gamma, beta, mean, var, momentum, eps):
            axes = tuple(range(1, x.ndim))
            y = (x - x.mean(axis=axes, keepdims=True)) / np.sqrt(x.var(axis=axes, keepdims=True) + eps)
            return y.astype(x.dtype), *super().train(x, gamma, beta, mean, var, momentum, eps)[1:]

    assert found(Layer(ROWS["torch"]))["axis with its own statistics, rank 4"] == (0,)


def test_inference_that_looks_at_the_batch_or_moves_the_statistics():
    class Looks(Plain):
        def infer(self, x, gamma, beta, mean, var, eps):
            mean *= 0.9
            return super().infer(x, gamma, beta, x.mean(axis=(0, *range(2, x.ndim))), var, eps)

    identity = found(Looks(ROWS["torch"]), "torch")
    assert identity["inference looks at the batch"] == identity["inference moves the statistics"] == "yes"
    assert {line.split(":")[0] for line in identity.differs} >= {
        "inference looks at the batch",
        "inference moves the statistics",
    }


def test_folded_inference_is_told_from_subtraction():
    class Folded(Plain):
        def infer(self, x, gamma, beta, mean, var, eps):
            a = np.asarray(gamma) / np.sqrt(np.asarray(var) + eps)
            return (x * self._spread(a, x) + self._spread(beta - mean * a, x)).astype(x.dtype)

    assert found(Plain(ROWS["torch"]))["inference at x = mean, y - beta"] == 0
    assert found(Folded(ROWS["torch"]))["inference at x = mean, y - beta"] != 0


def test_one_pass_and_half_precision_statistics():
    class OnePass(Plain):
        def statistics(self, x):
            axes = (0, *range(2, x.ndim))
            mean = x.mean(axis=axes, dtype=x.dtype)
            return mean, np.maximum((x * x).mean(axis=axes, dtype=x.dtype) - mean * mean, 0)

    identity = found(OnePass(ROWS["torch"]))
    notes = {m.name: m.note for m in identity.measurements}
    assert notes["float32, variance at mean/std 2^12"].startswith("one-pass")
    assert identity["float16, statistics float16, squares beyond 65504"] == "overflows"
    plain = found(Plain(ROWS["torch"]))
    assert (
        plain["float16, statistics float16, squares beyond 65504"]
        == plain["float16, statistics float16, a sum beyond 65504"]
        == "survives"
    )


def test_nan_that_disappears_or_spreads():
    class Hides(Plain):
        def statistics(self, x):
            return super().statistics(np.nan_to_num(x))

    class Spreads(Plain):
        def train(self, x, *rest):
            return super().train(x + 0 * x.sum(), *rest)

    assert found(Hides(ROWS["torch"]))["NaN in training reaches"] == "its value"
    assert found(Spreads(ROWS["torch"]))["NaN in training reaches"] == "all channels"
    assert found(Plain(ROWS["torch"]))["NaN in training reaches"] == "its channel"


@pytest.mark.parametrize(("mean", "var"), [(0.0, 1.0), (0.0, 0.0), (2.0, 3.0)])
def test_initial_statistics_and_defaults_from_one_step(mean, var):
    class Begins(Plain):
        def begin(self, x, momentum, eps):
            start = np.full(x.shape[1], mean, x.dtype), np.full(x.shape[1], var, x.dtype)
            momentum, eps = 0.01 if momentum is None else momentum, 1e-3 if eps is None else eps
            return self.train(x, None, None, *start, momentum, eps)[:3]

    identity = found(Begins(ROWS["torch"]))
    assert (identity["initial mean"], identity["initial variance"]) == (mean, var)
    assert identity["first weight of the new batch"] == pytest.approx(0.25)
    assert "0.01 by default" in next(m.note for m in identity.measurements if m.name == "first weight of the new batch")
    assert identity["eps, by default"] == 1e-3


def test_debiased_averages_take_the_first_batch_as_it_is():
    class Debiased(Plain):
        def begin(self, x, momentum, eps):
            batch_mean, batch_var = self.statistics(x)
            y = self.normalised(x, batch_mean, batch_var, None, None, 1e-5)
            return y, batch_mean, batch_var + self.left

    box = Debiased(ROWS["haiku"])
    box.left = 0.0
    assert found(box)["initial variance"] == "none"
    box.left = 0.25  # what a start of 1, not forgotten by the debiasing, leaves behind
    assert found(box)["initial variance"] == 0.25


def test_a_mean_alone_that_is_debiased_is_told_from_the_variance():
    class MeanAlone(Plain):
        def begin(self, x, momentum, eps):
            batch_mean, batch_var = self.statistics(x)
            y = self.normalised(x, batch_mean, batch_var, None, None, 1e-5)
            momentum = 0.01 if momentum is None else momentum
            return y, batch_mean, momentum * 3.0 + (1 - momentum) * batch_var * self.factor(x)

    for row in ("tf-slim", "chainer"):  # biased, and unbiased
        identity = found(MeanAlone(ROWS[row]))
        assert (identity["initial mean"], identity["initial variance"]) == ("none", 3.0)


@pytest.mark.parametrize("narrow", ["float32", "float64"])
def test_a_float64_box_that_computes_in_less_is_seen_and_its_attributes_are_not_guessed(narrow):
    class Narrow(Plain):
        def train(self, x, *rest):
            y, *moved = super().train(x.astype(narrow), *rest)
            return y.astype(x.dtype), *moved

        def infer(self, x, *rest):
            return super().infer(x.astype(narrow), *rest).astype(x.dtype)

    identity = found(Narrow(ROWS["torch"]), "torch")
    names = {m.name for m in identity.measurements}
    assert identity["float64 is computed in"] == ("float64" if narrow == "float64" else "float32 or less")
    assert ("eps travels as" in names) == ("float64, variance at mean/std 2^28" in names) == (narrow == "float64")


@pytest.mark.rest  # see conftest.py
def test_what_happens_in_ranks_that_a_row_leaves_out_does_not_count_against_it():
    class ByRank(Plain):
        def factor(self, x):
            return super().factor(x) if x.ndim in (2, 4) else 1.0

    box = ByRank(ROWS["tf-slim-fused"])
    box.ranks = (2, 3, 4, 5)
    assert found(box, "tf-slim-fused").differs == ()
    assert any(line.startswith("m counts: nothing") for line in found(box, "chainer").differs)


def test_a_box_that_always_raises_is_described_not_dropped():
    class Broken(Plain):
        def train(self, *arguments):
            raise RuntimeError("no")

    identity = found(Broken(ROWS["torch"]), "torch")
    assert identity["training"] == "raises"
    assert identity.nearest == ()
    assert "training raises" in identity.differs


@pytest.mark.parametrize("name", ["refnorm", "torch", "onnx", "onnxruntime"])
def test_installed_frameworks_agree_with_their_row(name):
    framework(name)
    for identity in identify(load_target(name)):
        if name == "onnx" and identity.path in ("opset 7", "opset 9"):
            assert identity.differs  # as `refnorm check onnx` says, too
        else:
            assert identity.differs == (), identity.path


HOMEWORK = """\
import numpy as np

def batchnorm_forward(x, gamma, beta, bn_param):
    mean, var = x.mean(axis=0), x.var(axis=0)
    if bn_param["mode"] == "test":
        mean, var = bn_param["running_mean"], bn_param["running_var"]
    else:
        a = bn_param["momentum"]
        bn_param["running_mean"] = a * bn_param["running_mean"] + (1 - a) * mean
        bn_param["running_var"] = a * bn_param["running_var"] + (1 - a) * var
    return gamma * (x - mean) / np.sqrt(var + bn_param["eps"]) + beta, None
"""


def test_a_file_is_identified_on_the_command_line(tmp_path):
    file = tmp_path / "homework.py"
    file.write_text(HOMEWORK)
    outcome = called("identify", str(file), "--format", "json")
    assert outcome.returncode == 0, outcome.stderr
    (path,) = json.loads(outcome.stdout)["paths"]
    assert path["nearest"] == ["cs231n"]
    shown = called("identify", str(file))
    assert "nearest row" in shown.stdout
    assert "cs231n" in shown.stdout


def test_a_bad_target_is_one_line(tmp_path):
    outcome = called("identify", str(tmp_path / "absent.py"))
    assert (outcome.returncode, outcome.stdout) == (2, "")
    assert outcome.stderr.count("\n") == 1
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize(
    ("fault", "said"),
    [pytest.param("time.sleep(60)", "no answer in", marks=pytest.mark.slow), ("os.abort()", "SIGABRT")],
)
def test_a_probe_that_hangs_or_dies_costs_that_probe_alone(tmp_path, fault, said):
    file = tmp_path / "fragile.py"
    guard = f"    if not x.size:\n        {fault}\n"
    head = "def batchnorm_forward(x, gamma, beta, bn_param):\n"
    file.write_text("import os\nimport time\n" + HOMEWORK.replace(head, head + guard))
    result, _ = identify_apart(str(file), 15)
    (path,) = result["paths"]
    lost = [m for m in path["measurements"] if m["value"] == "lost"]
    assert [m["name"] for m in lost] == ["empty batch"]
    assert said in lost[0]["note"]
    assert path["nearest"] == ["cs231n"]


def test_a_target_that_dies_on_import_is_an_error(tmp_path):
    file = tmp_path / "dead.py"
    file.write_text("import os\nos.abort()\n")
    with pytest.raises(TargetError, match="SIGABRT"):
        identify_apart(str(file), 10)


def test_numerics_grade_a_bad_algorithm_worse():
    class Narrow(Plain):
        def statistics(self, x):
            axes = (0, *range(2, x.ndim))
            mean = x.mean(axis=axes, dtype=x.dtype)
            return mean, np.maximum((x * x).mean(axis=axes, dtype=x.dtype) - mean * mean, 0)

    good, bad = (numerics(Target("box", "torch", "", {"": kind(ROWS["torch"])}))[""] for kind in (Plain, Narrow))
    assert max(good["y"]) <= 1
    assert bad["y"][0] < 20 < 1e4 < bad["y"][5]
    assert good["layouts"] == []


@pytest.mark.rest  # see conftest.py
def test_a_path_with_a_row_of_its_own_is_judged_by_that(capsys):
    from refnorm.oracle.trial import reproduce, trial

    plain, other = Plain(ROWS["onnx"]), Plain(ROWS["chainer"])
    other.convention = "chainer"
    target = Target("box", "onnx", "", {"as declared": plain, "of its own": other}, declared=True)
    assert [identity.differs for identity in identify(target)] == [(), ()]
    report = trial(target, None, dtypes=["float32"])
    assert [path.convention for path in report.paths][1] == "chainer"
    assert "conforms to chainer" in str(report) or "deviates from chainer" in str(report)
    reproduce("refnorm", "bn.training.float64.two-values.1", "running mean", path="running sums")
    said = capsys.readouterr().out
    assert "judged as caffe" in said
    assert float(said.split()[-1]) <= 1
    variance = [{f.cause for f in path.findings if "running variance" in f.quantities} for path in report.paths]
    assert variance == [set(), set()]
    wrong = trial(target, "onnx", dtypes=["float32"])  # what is asked for goes first
    assert any("running variance" in f.quantities for f in wrong.paths[1].findings)


def measured(implementation):
    """Return what was measured of a box, by name, with the notes."""
    (found,) = identify(Target("box", "torch", "", {"": implementation}))
    return {m.name: str(m) for m in found.measurements}


def test_a_box_whose_inference_looks_at_the_batch_is_not_said_to_compute_in_less():
    class Looks(Plain):
        def infer(self, x, gamma, beta, mean, var, eps):
            return super().infer(x, gamma, beta, *self.statistics(x), eps)

    found = measured(Looks(ROWS["torch"]))
    assert found["float64 is computed in"] == "float64"
    assert found["inference looks at the batch"] == "yes"


@pytest.mark.parametrize("value", [1e-3, 1e-12])
def test_a_fixed_eps_that_coincides_with_what_is_passed_is_not_called_honoured(value):
    class Fixed(Plain):
        def divisor(self, var, eps):
            return np.sqrt(var + value)

    found = measured(Fixed(ROWS["torch"]))
    assert "honoured" not in found["eps of 1e-12"]
    assert f"eps {value:g}, whatever is passed" in found["divisor in training"]
    assert found["divisor in training"].startswith("sqrt(var + eps)")
    if value == 1e-3:
        assert found["eps travels as"].startswith("fixed")


def test_what_a_count_is_of_is_named_in_float32_too():
    class Samples(Plain):
        dtypes = ("float32",)

        def factor(self, x):
            return len(x) / (len(x) - 1) if len(x) > 1 else 1.0

    row = ROWS["torch"]
    (found,) = identify(Target("box", "torch", "", {"": Samples(row)}))
    counts = {m.value: m.ranks for m in found.measurements if m.name == "m counts"}
    assert counts == {"all values": (2,), "samples": (3, 4, 5)}


def test_nothing_measured_is_status_2(tmp_path):
    (tmp_path / "raises.py").write_text(
        "def infer(x, gamma, beta, running_mean, running_var, eps):\n    return 1 / 0\n"
    )
    command = [sys.executable, "-m", "refnorm", "identify", "raises.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "nothing could be measured" in done.stderr


IN_FLOAT32 = """
import numpy as np

class BatchNorm:
    def __init__(self, c, eps=1e-5, momentum=0.1):
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = np.ones(c, np.float32), np.zeros(c, np.float32)
        self.running_mean, self.running_var = np.zeros(c, np.float32), np.ones(c, np.float32)

    def __call__(self, x, training=True):
        x, keep = np.asarray(x, np.float32), 1 - self.momentum
        mean, var = (x.mean(0), x.var(0)) if training else (self.running_mean, self.running_var)
        if training:
            new = var * len(x) / max(len(x) - 2, 1)
            self.running_mean = (keep * self.running_mean + self.momentum * mean).astype(np.float32)
            self.running_var = (keep * self.running_var + self.momentum * new).astype(np.float32)
        y = (x - mean) / np.sqrt(var + np.float32(self.eps)) * self.weight + self.bias
        return y.astype(np.float32)
"""


@pytest.mark.rest  # see conftest.py
def test_a_layer_that_computes_in_float32_is_measured_in_float32(tmp_path):
    (tmp_path / "layer.py").write_text(IN_FLOAT32)
    measured = called("identify", str(tmp_path / "layer.py")).stdout
    assert "running variance = (1 - a) running variance + a sum (x - mean)^2 / (m - 2)" in measured
    assert "not read" not in measured
    assert "folded to" not in measured
    judged = called("check", str(tmp_path / "layer.py")).stdout
    assert "not offered: float64" in judged
    assert "comes back" not in judged
    assert "the correction divides by m - 2" in judged
    assert "(1 wrong)" in judged


def test_eps_that_is_ignored_is_a_number_in_the_formula(tmp_path):
    function = "import numpy as np\n\ndef batch_norm(x, gamma, beta, eps=1e-5):\n"
    function += "    return (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) * gamma + beta\n"
    (tmp_path / "ignores.py").write_text(function)
    assert "std^2 = var + 1e-05" in called("identify", str(tmp_path / "ignores.py")).stdout
    (tmp_path / "honours.py").write_text(function.replace("+ 1e-5)", "+ eps)"))
    assert "std^2 = var + eps" in called("identify", str(tmp_path / "honours.py")).stdout


def test_inference_that_looks_at_the_batch_in_float64_is_not_called_float32(tmp_path):
    (tmp_path / "looks.py").write_text(
        "import numpy as np\n\n"
        "def batch_norm(x, gamma, beta, running_mean, running_var, training, momentum=0.1, eps=1e-5):\n"
        "    mean, var = x.mean(0), x.var(0)\n"
        "    if training:\n"
        "        running_mean = (1 - momentum) * running_mean + momentum * mean\n"
        "        running_var = (1 - momentum) * running_var + momentum * var\n"
        "    return (x - mean) / np.sqrt(var + eps) * gamma + beta, running_mean, running_var\n"
    )
    measured = called("identify", str(tmp_path / "looks.py")).stdout
    assert "float32 or less" not in measured
    assert "inference looks at the batch                       yes" in measured


def test_an_algorithm_that_loses_digits_has_its_formula_all_the_same():
    class OnePass(Plain):
        def statistics(self, x):
            axes = (0, *range(2, x.ndim))
            mean = x.mean(axis=axes, dtype=np.float64)
            return mean, np.maximum((x.astype(np.float64) ** 2).mean(axis=axes) - mean * mean, 0)

    words = measured(OnePass(ROWS["keras"]))
    assert words["formula of y, training"] == "y = gamma (x - mean) / std + beta, std^2 = var + eps"
    assert "running variance = a running variance + (1 - a) var: as in" in words["formula of running variance"]
    assert "keras" in words["formula of running mean"]
    assert "caffe" not in words["formula of running mean"]  # whose momentum is a factor on sums


def test_digits_are_measured_with_the_eps_that_is_used(tmp_path):
    function = "import numpy as np\n\ndef batch_norm(x, gamma, beta):\n"
    function += "    return (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-3) * gamma + beta\n"
    (tmp_path / "fixed.py").write_text(function)
    assert numerics(load_target(str(tmp_path / "fixed.py")))[""]["y"][0] < 100  # 301 with the eps that is passed
    (tmp_path / "rough.py").write_text(function.replace("* gamma", "* gamma * (1 + 1e-4)"))
    assert numerics(load_target(str(tmp_path / "rough.py")))[""]["y"][0] > 100
