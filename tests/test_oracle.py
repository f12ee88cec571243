"""The oracle: what it convicts, what it lets pass, and what it says.

Verified here: that correct implementations conform under their own row and not under another; that typical mistakes
are convicted with the quantity and a cause; behaviours (arguments, dtypes, shapes, NaN, policies); that reports carry
what they must and survive a round trip; that a snippet reproduces. The mutants of real bugs are in test_mutants.py, the
command line in test_cli.py. Not verified here: that bounds hold for every algorithm and are not slack.
"""

import itertools
import json
import math
import os
import sys
import types
from dataclasses import replace
from xml.etree import ElementTree

import mutants
import numpy as np
import pytest
from mutants import Correct
from test_cli import GOOD

import refnorm
from refnorm import golden
from refnorm.conventions import CONVENTIONS, POLICIES, differences
from refnorm.golden.inputs import case as case_of
from refnorm.oracle.apart import check_apart
from refnorm.oracle.ask.target import Target, TargetError, load_target
from refnorm.oracle.bounds import bounds
from refnorm.oracle.quantities import FURTHER, QUANTITIES
from refnorm.oracle.report import Report
from refnorm.oracle.shown import junit, markdown
from refnorm.oracle.tiers import ONE_PASS, PAIRWISE, ROW_BY_ROW, WIDE
from refnorm.oracle.trial import trial
from refnorm.oracle.vocabulary import known_formulas

SAMPLED = True  # see conftest.py

FAST = ("float64",)


def causes(report):
    return {finding.cause for finding in report.findings}


def of(report, cause):
    return next(finding for finding in report.findings if finding.cause == cause)


def quantity_state(report, quantity, dtype="float64"):
    return next(c.state for c in report.paths[0].cells if c.quantity == quantity and c.dtype == dtype)


class Swapped(Correct):
    def train(self, x, gamma, beta, mean, var, momentum, eps):
        return super().train(x, gamma, beta, mean, var, 1 - momentum, eps)


class Biased(Correct):
    def refuse(self, x):
        if x.size == 0:
            raise ValueError("empty batch")

    def corrected(self, var, s):
        return var


class BiasedOldMomentum(Biased):
    def train(self, x, gamma, beta, mean, var, momentum, eps):
        return super().train(x, gamma, beta, mean, var, 1 - momentum, eps)


def test_a_correct_implementation_conforms_in_every_format():
    report = refnorm.check(Correct())
    assert report.conforms
    assert report.findings == ()
    assert {c.quantity for c in report.paths[0].cells} >= set(QUANTITIES)
    assert set(report.paths[0].not_judged) == {"jvp", "double backward"}


@pytest.mark.parametrize("kind", ["float64", "float32", "float16", "bfloat16"])
def test_refnorm_itself_conforms_in_every_format(kind):
    report = refnorm.check("refnorm", dtypes=(kind,))
    assert report.conforms, str(report)
    assert {c.dtype for c in report.paths[0].cells} == {kind}
    assert all(c.worst <= 0.5 for c in report.paths[0].cells)


def test_the_biased_running_variance_is_a_convention_of_its_own():
    report = refnorm.check(Biased(), "torch", dtypes=FAST)
    assert not report.conforms
    finding = of(report, "running-variance-biased")
    assert finding.kind == "convention"
    assert finding.quantities == ("running variance",)
    assert "matches m, not m - 1" in finding.title
    assert quantity_state(report, "running mean") == "ok"


def test_the_swapped_momentum_is_a_convention_of_its_own():
    finding = of(refnorm.check(Swapped(), "torch", dtypes=FAST), "momentum-sense")
    assert finding.kind == "convention"
    assert finding.quantities == ("running mean", "running variance")


@pytest.mark.parametrize("dtypes", [FAST, None], ids=["float64", "all"])
@pytest.mark.parametrize("row", ["keras", "onnx"])
def test_an_implementation_conforms_under_its_own_row_and_deviates_under_torch(row, dtypes):
    class AsRow(BiasedOldMomentum):
        def train(self, x, gamma, beta, mean, var, momentum, eps):
            round32 = CONVENTIONS[row].travelled
            return super().train(x, gamma, beta, mean, var, round32(momentum), round32(eps))

        def frozen(self, x, gamma, beta, mean, var, eps):
            return super().frozen(x, gamma, beta, mean, var, CONVENTIONS[row].travelled(eps))

    assert refnorm.check(AsRow(), convention=row, dtypes=dtypes).conforms
    report = refnorm.check(AsRow(), convention="torch", dtypes=("float32",))
    assert not report.conforms
    assert report.paths[0].nearest in ("keras", "onnx")
    assert "momentum-sense+running-variance-biased" in causes(report)


@pytest.mark.slow  # rows that are not torch's are on trial above, and all are identified in tests/test_identify.py
def test_caffe_weighs_the_new_batch_by_one_over_one_plus_fraction():
    class Caffe(Correct):
        def refuse(self, x):
            if x.size == 0:
                raise ValueError("empty batch")

        def train(self, x, gamma, beta, mean, var, momentum, eps):
            f = float(np.float32(momentum))  # a float in its message, as eps is
            m = x.size // x.shape[1]
            wide = x.astype(np.float64)
            axes = tuple(a for a in range(x.ndim) if a != 1)
            y, _, _, saved = (
                Correct.train(self, x, gamma, beta, mean, var, momentum, eps) if m > 1 else self.one(x, beta)
            )
            if x.size == 0:
                raise ValueError("empty batch")
            new_mean, new_var = wide.mean(axes), wide.var(axes) * (m / (m - 1) if m > 1 else 1)
            weigh = lambda old, new: ((f * old + new) / (f + 1)).astype(old.dtype)  # noqa: E731 - one formula, two uses
            return y, weigh(mean, new_mean), weigh(var, new_var), saved

        def inverse(self, var, eps):
            return Correct.inverse(self, var, float(np.float32(eps)))

        def one(self, x, beta):
            y = np.broadcast_to(np.reshape(beta, (1, -1) + (1,) * (x.ndim - 2)), x.shape).astype(x.dtype)
            return y, None, None, None

    assert refnorm.check(Caffe(), convention="caffe").conforms
    assert not refnorm.check(Caffe(), convention="torch", dtypes=FAST).conforms


def test_gamma_missing_in_dx_is_named():
    class Mutant(Correct):
        def backward(self, dy, cache):
            dx, dgamma, dbeta = super().backward(dy, cache._replace(gamma=np.ones_like(cache.gamma)))
            return dx, dgamma, dbeta

    finding = of(refnorm.check(Mutant(), dtypes=FAST), "dx-gamma-missing")
    assert finding.kind == "wrong"
    assert finding.quantities == ("dx", "frozen dx")
    assert finding.title == "gamma is missing in dx"


@pytest.mark.slow  # the pair below has it, in one format
def test_eps_outside_the_root_is_named():
    class Mutant(Correct):
        def inverse(self, var, eps):
            return 1 / (np.sqrt(var) + eps)

    report = refnorm.check(Mutant())
    finding = of(report, "eps-outside-root")
    assert finding.kind == "wrong"
    assert {"y, training", "y, inference"} <= set(finding.quantities)
    assert quantity_state(report, "y, training", "float16") == "WRONG"


def test_a_pair_of_deviations_is_named_separately():
    class Mutant(Correct):
        def inverse(self, var, eps):
            return 1 / (np.sqrt(var) + eps)

        def backward(self, dy, cache):
            return super().backward(dy, cache._replace(gamma=np.ones_like(cache.gamma)))

    assert {"eps-outside-root", "dx-gamma-missing"} <= causes(refnorm.check(Mutant(), dtypes=FAST))


@pytest.mark.slow  # what is shifted, below, is graded alike
def test_one_pass_variance_is_graded_as_numerics_and_fails():
    class Mutant(Correct):
        def precision(self, x):
            return np.dtype(np.float32 if x.dtype == np.float16 else x.dtype)

        def moments(self, x):
            mean = self.average(x)
            return mean, np.maximum(self.average(x * x) - mean * mean, 0)

    report = refnorm.check(Mutant())
    assert not report.conforms
    assert {finding.kind for finding in report.findings} == {"numerics"}
    assert causes(report) == {"one-pass-variance"}


def shifted_by(choose):
    """One pass, row by row, over x less one of its values, which ``choose`` picks from a channel by |x - mean|."""

    class Shifted(Correct):
        def precision(self, x):
            return x.dtype

        def moments(self, x):
            axes = tuple(a for a in range(x.ndim) if a != 1)
            rows = np.moveaxis(x, 1, -1).reshape(-1, x.shape[1])
            place = np.broadcast_to(choose(np.abs(rows - rows.mean(axis=0))), (1, x.shape[1]))
            k = np.take_along_axis(rows, place, axis=0)[0]
            mean, square = (np.cumsum((rows - k) ** p, axis=0)[-1] / x.dtype.type(len(rows)) for p in (1, 2))
            return [np.expand_dims(v, axes) for v in (k + mean, np.maximum(square - mean * mean, 0))]

    return Shifted()


def test_one_pass_over_x_less_its_first_value_conforms():
    assert refnorm.check(shifted_by(lambda distance: 0), dtypes=("float64", "float32")).conforms


def test_one_pass_over_x_less_a_value_far_from_the_mean_is_graded_as_numerics():
    report = refnorm.check(shifted_by(lambda distance: distance.argmax(axis=0)), dtypes=("float64", "float32"))
    assert {finding.kind for finding in report.findings} == {"numerics"}
    assert causes(report) == {"shifted-one-pass-variance"}


def test_statistics_in_half_that_overflow_fail():
    class Mutant(Correct):
        def train(self, x, gamma, beta, mean, var, momentum, eps):
            y, new_mean, new_var, saved = super().train(x, gamma, beta, mean, var, momentum, eps)
            if x.dtype == np.float16:
                axes = tuple(a for a in range(x.ndim) if a != 1)
                batch = x.var(axes)  # in float16
                m = x.size // x.shape[1]
                new_var = ((1 - momentum) * var + momentum * batch * (m / (m - 1))).astype(var.dtype)
            return y, new_mean, new_var, saved

    assert "half-overflow" in causes(refnorm.check(Mutant(), dtypes=("float16",)))


def test_what_is_not_offered_is_not_judged_and_not_passed():
    module = types.SimpleNamespace(infer=Correct().infer)
    report = refnorm.check(module, dtypes=FAST)
    assert report.conforms
    assert report.paths[0].not_judged["dx"] == "not offered"
    assert report.paths[0].not_judged["frozen gradients"] == "not offered"
    assert "y, training" not in {c.quantity for c in report.paths[0].cells}
    assert "not judged: y, training" in str(report)


def test_an_object_with_nothing_to_judge_is_refused():
    with pytest.raises(TargetError, match="could not be read as a batch normalization"):
        refnorm.check(object())


def test_written_arguments_are_found():
    class Mutant(Correct):
        def infer(self, x, gamma, beta, mean, var, eps):
            y = super().infer(x, gamma, beta, mean, var, eps)
            if mean.flags.writeable:
                mean += 1
            return y

    finding = of(refnorm.check(Mutant(), dtypes=FAST), "argument-modified")
    assert finding.title == "infer wrote to its argument running_mean"


def test_a_promoted_dtype_is_found():
    class Mutant(Correct):
        def infer(self, *arguments):
            return super().infer(*arguments).astype(np.float64)

    report = refnorm.check(Mutant(), dtypes=("float32",))
    assert "dtype-changed" in causes(report)
    assert "float64 comes back, expected float32" in of(report, "dtype-changed").title


@pytest.mark.parametrize(
    ("returned", "cause"),
    [
        (None, "result-unusable"),
        (1.0, "result-unusable"),
        (np.zeros(3), "shape"),
        (np.zeros((2, 3), int), "result-unusable"),
    ],
)
def test_unusable_results_are_one_finding_each(returned, cause):
    class Mutant(Correct):
        def infer(self, *arguments):
            return returned

    findings = [f for f in refnorm.check(Mutant(), dtypes=FAST).findings if f.quantities == ("y, inference",)]
    assert [f.cause for f in findings][:1] == [cause]


@pytest.mark.parametrize("first", [1, 40])  # in the calls that come before the cases, or only later
def test_complex_results_are_unusable_and_nobody_cuts_them_to_their_real_parts(first):
    class Complex(Correct):
        calls = 0

        def train(self, *given):
            y, mean, var, cache = super().train(*given)
            self.calls += 1
            return y + 1j * (self.calls >= first), mean, var + 1j * (self.calls >= first), cache

    found = refnorm.check(Complex(), "torch", dtypes=["float64"]).findings
    assert "y, training has dtype complex128, expected float64" in [f.title for f in found]


def test_raising_everywhere_is_one_finding():
    class Mutant(Correct):
        def backward(self, dy, cache):
            raise ValueError("backward\nis homework")

    report = refnorm.check(Mutant())
    assert [f.cause for f in report.findings] == ["raises"]
    assert "ValueError: backward is homework" in report.findings[0].title


@pytest.mark.parametrize("again", [lambda dx: dx[..., None], lambda dx: dx[:1], lambda dx: np.empty((0,) * 5)])
def test_a_second_result_of_another_shape_is_not_compared_with_the_first(again):
    class Mutant(Correct):
        calls = 0

        def backward(self, dy, cache):
            self.calls += 1
            dx, dgamma, dbeta = super().backward(dy, cache)
            return dx if self.calls % 2 else again(dx), dgamma, dbeta

    assert "not-repeatable" in causes(refnorm.check(Mutant(), dtypes=FAST))


def test_calls_that_end_in_other_errors_are_apart():
    class Mutant(Correct):
        def infer(self, x, *arguments):
            raise ValueError("not with these weights" if x.dtype == np.float32 else "no weights")

        def backward(self, dy, cache):
            raise ValueError("no weights")

    titles = [f.title for f in refnorm.check(Mutant(), dtypes=["float64", "float32"]).findings]
    assert sorted(title.partition(" at ")[0] for title in titles) == [
        "backward raised ValueError: no weights",
        "infer raised ValueError: no weights",
        "infer raised ValueError: not with these weights",
    ]  # raised at two places, by two errors


def test_what_is_not_implemented_is_not_offered():
    class Unfinished(Correct):
        def backward(self, dy, cache):
            raise NotImplementedError("question 5")

    report = refnorm.check(Unfinished(), dtypes=FAST)
    assert report.conforms
    assert report.paths[0].not_judged["dx"] == "not offered"
    assert any("backward, which is not implemented: question 5" in line for line in report.paths[0].remarks)


def test_sys_exit_in_a_function_is_a_finding():
    class Mutant(Correct):
        def infer(self, *arguments):
            raise SystemExit(0)

    assert "raises" in causes(refnorm.check(Mutant(), dtypes=FAST))


def test_nan_that_disappears_is_found():
    class Mutant(Correct):
        def train(self, x, *rest):
            return super().train(np.nan_to_num(x, posinf=0), *rest)

    assert "non-finite-handling" in causes(refnorm.check(Mutant(), dtypes=FAST))


def test_nan_that_spreads_to_other_channels_is_found():
    class Mutant(Correct):
        def train(self, x, *rest):
            y, mean, var, saved = super().train(x, *rest)
            return y if np.all(np.isfinite(y)) else y * np.nan, mean, var, saved

    titles = [f.title for f in refnorm.check(Mutant(), dtypes=FAST).findings]
    assert "nan in x spreads from channel 0 to others in y, training" in titles


def test_one_value_per_channel_must_raise_under_torch():
    class Mutant(Correct):
        def refuse(self, x):
            if x.size == 0:
                raise ValueError("empty batch")

        def train(self, x, gamma, beta, mean, var, momentum, eps):
            if x.size == x.shape[1]:
                return x.copy(), mean.copy(), var.copy(), None
            return super().train(x, gamma, beta, mean, var, momentum, eps)

    finding = of(refnorm.check(Mutant(), "torch", dtypes=FAST), "one-value-per-channel-statistics-left")
    assert "torch asks that an error is raised" in finding.title


def test_a_silent_nan_for_an_empty_batch_fails_under_torch():
    class Mutant(Correct):
        def train(self, x, gamma, beta, mean, var, momentum, eps):
            if x.size == 0:
                return x.copy(), mean * np.nan, var * np.nan, None
            return super().train(x, gamma, beta, mean, var, momentum, eps)

    assert of(refnorm.check(Mutant(), "torch", dtypes=FAST), "empty-batch-non-finite").kind == "wrong"


def test_results_that_change_from_call_to_call_are_found():
    class Mutant(Correct):
        calls = 0

        def infer(self, *arguments):
            return super().infer(*arguments)

        def train(self, x, *rest):
            y, mean, var, saved = super().train(x, *rest)
            Mutant.calls += 1
            return y * np.asarray(1.001 if Mutant.calls % 2 else 1, y.dtype), mean, var, saved

    assert "not-repeatable" in causes(refnorm.check(Mutant(), dtypes=("float32",)))


SECOND = """

rank, calls = {rank}, 0


def second(array):
    \"\"\"Once in two calls for one rank of x: other numbers.\"\"\"
    global calls
    calls += array.ndim == rank
    return array * {factor} if array.ndim == rank and calls % 2 == 0 else array


right_{name} = {name}


def {name}(*arguments):
    result = right_{name}(*arguments)
    return second(result) if "{name}" == "infer" else (second(result[0]), *result[1:])
"""


@pytest.mark.parametrize("name", ["train", "backward", "infer"])
@pytest.mark.parametrize("rank", [2, 5])
def test_every_function_is_called_twice_in_every_case(tmp_path, name, rank):
    target = tmp_path / "second.py"
    target.write_text(GOOD + SECOND.format(rank=rank, name=name, factor=1.001))
    first, *_ = check_apart(str(target), "torch", dtypes=("float64",)).findings
    assert first.cause == "not-repeatable"
    assert {len(built.x.shape) for built in map(case_of, first.cases)} == {rank}
    target.write_text(GOOD + SECOND.format(rank=rank, name=name, factor="(1 + 2.0**-52)"))
    report = check_apart(str(target), "torch", dtypes=("float64",))
    assert "not-repeatable" not in causes(report)
    assert any("another order each time" in remark for remark in report.paths[0].remarks)


def test_a_wrong_layout_is_named_by_its_circumstance():
    class Mutant(Correct):
        def infer(self, x, *rest):
            scrambled = x if x.flags.c_contiguous else np.ascontiguousarray(x.ravel(order="K").reshape(x.shape))
            return super().infer(scrambled, *rest)

    assert "only-strided" in causes(refnorm.check(Mutant(), dtypes=FAST))


@pytest.mark.rest  # see conftest.py
def test_cs231n_modules_are_judged_as_they_are():
    def batchnorm_forward(x, gamma, beta, bn_param):
        eps, momentum = bn_param.get("eps", 1e-5), bn_param.get("momentum", 0.9)
        mean = bn_param.get("running_mean", np.zeros(x.shape[1], dtype=x.dtype))
        var = bn_param.get("running_var", np.zeros(x.shape[1], dtype=x.dtype))
        wide = x.astype(np.float64)
        if bn_param["mode"] == "test":
            y = gamma * (wide - mean) / np.sqrt(var.astype(np.float64) + eps) + beta
            return y.astype(x.dtype), None
        m, v = wide.mean(axis=0), wide.var(axis=0)
        x_hat = (wide - m) / np.sqrt(v + eps)
        bn_param["running_mean"] = (momentum * mean + (1 - momentum) * m).astype(mean.dtype)
        bn_param["running_var"] = (momentum * var + (1 - momentum) * v).astype(var.dtype)
        return (gamma * x_hat + beta).astype(x.dtype), (x_hat, gamma, np.sqrt(v + eps), x.dtype)

    def batchnorm_backward(dout, cache):
        x_hat, gamma, std, dtype = cache
        g = dout.astype(np.float64)
        dx = gamma * (g - g.mean(0) - x_hat * (g * x_hat).mean(0)) / std
        return dx.astype(dtype), (g * x_hat).sum(0).astype(gamma.dtype), g.sum(0).astype(gamma.dtype)

    homework = types.SimpleNamespace(batchnorm_forward=batchnorm_forward, batchnorm_backward=batchnorm_backward)
    report = refnorm.check(homework)
    assert report.convention == "cs231n"
    assert report.conforms, str(report)
    assert report.paths[0].not_judged == dict.fromkeys(("frozen gradients", "jvp", "double backward"), "not offered")


def test_a_snippet_reproduces_a_finding(tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text("import numpy as np\ndef infer(x, gamma, beta, mean, var, eps):\n    return x\n")
    report = refnorm.check(str(path), dtypes=FAST)
    finding = report.findings[0]
    snippet = report.snippet(finding.case, finding.quantity, "")
    assert snippet.startswith('python -c "import refnorm; refnorm.reproduce(')
    exec(snippet.removeprefix('python -c "').removesuffix('"'), {})
    printed = capsys.readouterr().out
    assert finding.case in printed
    assert "expected" in printed
    assert "error / bound" in printed


def test_a_report_survives_the_trip_through_json():
    report = refnorm.check(Biased(), "torch", dtypes=("float64", "float16"))
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert data["schema"] == 1
    assert data["conforms"] is False
    assert data["findings"][0].keys() >= {
        "kind",
        "cause",
        "title",
        "effect",
        "quantities",
        "case",
        "expected",
        "got",
        "reproduce",
    }
    again = Report.from_dict(data)
    assert again == report
    assert str(again) == str(report)


def test_a_report_carries_the_versions():
    versions = refnorm.check(Correct(), dtypes=FAST).versions
    assert versions["refnorm"] == refnorm.__version__
    assert versions["array"] == f"numpy {np.__version__}"
    assert versions["golden"]


def test_junit_counts_what_failed_and_what_was_skipped():
    trains = types.SimpleNamespace(train=Biased().train)
    suite = ElementTree.fromstring(junit(refnorm.check(trains, "torch", dtypes=FAST)))
    assert int(suite.get("failures")) == len(suite.findall(".//failure")) >= 1
    assert int(suite.get("skipped")) == len(suite.findall(".//skipped")) == 7
    assert int(suite.get("tests")) == len(suite.findall("testcase"))


def test_markdown_has_a_row_per_quantity_and_every_finding():
    report = refnorm.check(Biased(), "torch", dtypes=("float64", "float32"))
    page = markdown(report)
    assert "| running variance | CONVENTION | CONVENTION |" in page
    assert all(finding.title in page for finding in report.findings)


def test_unknown_rows_and_formats_are_refused():
    with pytest.raises(ValueError, match="no convention 'unheard-of'"):
        refnorm.check(Correct(), convention="unheard-of")
    with pytest.raises(ValueError, match="unknown dtype 'float8'"):
        refnorm.check(Correct(), dtypes=["float8"])


def test_every_row_says_what_it_does_where_the_paper_is_mute():
    for row in CONVENTIONS.values():
        assert set(row.one_value) <= set(POLICIES)
        assert set(row.empty) <= set(POLICIES)
        assert row.source
        assert not differences(row, row)


def test_names_of_deviations_are_stable_words():
    for entry, quantities in known_formulas():
        assert entry.name.replace("-", "").replace("+", "").replace("1e", "").replace(".", "").isalnum()
        assert entry.name == entry.name.lower()
        assert set(quantities) <= {*QUANTITIES, *FURTHER}
        assert entry.sentence
        assert entry.effect or entry.name.startswith("other-")


def test_bounds_grow_from_tier_to_tier():
    for case in golden.cases(dtype="float32"):
        if not case.finite or case.count < 2:
            continue
        tiers = [bounds(case, CONVENTIONS["torch"], tier) for tier in (WIDE, PAIRWISE, ROW_BY_ROW)]
        for narrow, wide in itertools.pairwise(tiers):
            for quantity in narrow:
                assert np.all(narrow[quantity] <= wide[quantity]), (case.id, quantity)


def test_only_the_one_pass_bound_grows_with_the_square_of_the_mean():
    small, _, large = golden.cases("training", "float64", "large-mean")
    growth = {}
    for tier in (ROW_BY_ROW, ONE_PASS):
        a, b = (np.max(bounds(c, CONVENTIONS["torch"], tier)["running variance"]) for c in (small, large))
        growth[tier.name] = b / a
    assert growth[ONE_PASS.name] > 1e7  # (2^20 / 2^6)^2 = 2.7e8
    assert growth[ROW_BY_ROW.name] < 1e5  # 2^20 / 2^6 = 1.6e4


def test_a_case_id_is_unique_and_found_again():
    ids = [case.id for case in golden.cases()]
    assert len(set(ids)) == len(ids)
    assert golden.case(ids[-1]).id == ids[-1]
    with pytest.raises(ValueError, match="there is no case"):
        golden.case("bn.nothing")
    with pytest.raises(ValueError, match="no case has"):
        list(golden.cases(flag="nothing"))


def test_inputs_are_representable_in_their_formats():
    for case in golden.cases():
        for array, kind in ((case.x, case.kind), (case.dy, case.kind), (case.running_var, case.parameters)):
            finite = np.where(np.isfinite(array), array, 0)
            assert np.array_equal(refnorm.exact.to_format(finite, kind), finite), case.id


def test_upstream_gradients_are_never_constant():
    for case in golden.cases("training"):
        if case.count > 1 and np.all(np.isfinite(case.dy)):
            axes = tuple(a for a in range(case.dy.ndim) if a != 1)
            assert np.all(np.ptp(case.dy, axis=axes) > 0), case.id


def test_missing_frameworks_are_one_clear_line(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    monkeypatch.delitem(__import__("sys").modules, "refnorm.frameworks.onnx", raising=False)
    with pytest.raises(TargetError, match="onnx is not installed"):
        load_target("onnx")


@pytest.mark.parametrize("where", ["bn.py", "package/bn.py"])
def test_a_file_is_judged_as_it_stands_and_not_by_bytecode_of_an_earlier_one(tmp_path, monkeypatch, where):
    """Both are as long, and of the same second, by which Python would take one for the other; nor is any left there."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    (file := tmp_path / where).parent.mkdir(exist_ok=True)
    if where != file.name:
        (file.parent / "__init__.py").touch()
    before = sorted(tmp_path.rglob("*"))
    for sign in "+-":
        file.write_text(GOOD.replace("y + along(beta, x)", f"y {sign} along(beta, x)"))
        os.utime(file, (1e9, 1e9))
        assert refnorm.check(str(file), dtypes=FAST).conforms is (sign == "+")
    assert sorted(tmp_path.rglob("*")) == sorted({*before, file})


def test_expected_values_know_the_travelling_format_of_eps():
    case = next(golden.cases("training", "float64", "two-values"))
    case = replace(case, situation=replace(case.situation, eps=0.1))
    torch, onnx = (golden.expected(case, CONVENTIONS[row])["y, training"].rounded() for row in ("torch", "onnx"))
    assert not np.array_equal(torch, onnx)
    assert math.isclose(CONVENTIONS["onnx"].travelled(0.1), 0.1, rel_tol=1e-7)


def test_the_page_of_causes_is_what_the_code_says():
    from pathlib import Path

    from refnorm.oracle.vocabulary import causes_page

    assert (Path(__file__).parents[1] / "tutorials" / "causes.md").read_text(encoding="utf-8") == causes_page()


@pytest.mark.parametrize("name", ["fwd_square_instead_of_sqrt", "bwd_dgamma_not_summed", "inf_uses_initial_statistics"])
def test_causes_that_are_named_are_in_the_vocabulary(name):
    from refnorm.oracle.vocabulary import vocabulary

    assert causes(refnorm.check(mutants.REAL[name](), dtypes=FAST)) <= set(vocabulary())


class Empty(Correct):
    """The correct shapes and dtypes, and whatever `value` makes of them: nothing is computed."""

    def __init__(self, value):
        self.value = value

    def train(self, x, gamma, beta, mean, var, momentum, eps):
        cache = (gamma, beta)
        return self.value(x), self.value(mean), self.value(var), cache

    def frozen(self, x, gamma, beta, mean, var, eps):
        return self.value(x), (gamma, beta)

    def infer(self, x, gamma, beta, mean, var, eps):
        return self.value(x)

    def backward(self, dy, cache):
        return self.value(dy), *(None if p is None else self.value(p) for p in cache)


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        (np.zeros_like, "returns-zeros"),
        (np.copy, "returns-input"),
        (np.ones_like, "unknown"),
        (lambda a: np.full_like(a, np.nan), "returns-nan"),
    ],
    ids=["zeros", "input", "ones", "nan"],
)
@pytest.mark.parametrize("dtypes", [FAST, None], ids=["float64", "all"])
def test_what_computes_nothing_is_wrong_in_every_quantity(value, cause, dtypes):
    report = refnorm.check(Empty(value), dtypes=dtypes)
    wrong = {quantity for finding in report.findings if finding.kind == "wrong" for quantity in finding.quantities}
    assert wrong >= set(QUANTITIES)
    assert cause in causes(report)
    assert report.paths[0].remarks == ()


def only_for(holds):
    """Return an implementation that is right where a condition on x and gamma holds, and off by 1 % elsewhere."""

    class Only(Correct):
        def y(self, s):
            y = super().y(s)
            return y if holds(s) else 1.01 * y

    return Only()


@pytest.mark.rest  # see conftest.py
@pytest.mark.parametrize(
    "holds",
    [
        lambda s: np.all(s.gamma == 1),
        lambda s: s.wide.size // s.wide.shape[1] > 2,
        lambda s: s.x.flags.c_contiguous,
        lambda s: s.x.dtype == np.float64,
        lambda s: s.x.ndim == 4,
        lambda s: s.x.shape[0] > 1,
        lambda s: s.eps > 1e-6,
        lambda s: not s.frozen,
    ],
    ids=["gamma 1", "m > 2", "contiguous", "float64", "rank 4", "several samples", "usual eps", "training"],
)
@pytest.mark.parametrize("dtypes", [("float64", "float32"), pytest.param(None, marks=pytest.mark.slow)], ids=str)
def test_what_is_right_in_ordinary_cases_alone_is_convicted(holds, dtypes):
    assert not refnorm.check(only_for(holds), dtypes=dtypes).conforms


def test_the_formats_of_a_report_are_those_of_all_its_paths():
    pytest.importorskip("ml_dtypes")
    plain, *_ = load_target("refnorm").paths.values()
    paths = {}
    for kind in ("float32", "bfloat16"):
        paths[kind] = types.SimpleNamespace(infer=plain.infer, dtypes=(kind,))
    report = trial(Target("engine", "torch", "", paths, declared=True), None)
    assert {"float32", "bfloat16"} <= set(report.dtypes)
    judged = [{cell.dtype for cell in path.cells} for path in report.paths]
    assert judged == [{"float32"}, {"bfloat16"}]
    for text in (str(report), markdown(report)):  # and each path has a column for its own, and none for the other's
        heads = [line for line in text.splitlines() if "float64  " in line or "| float64 |" in line]
        assert [["float32" in head[10:], "bfloat16" in head[10:]] for head in heads] == [[True, False], [False, True]]


def test_what_is_wrong_says_nothing_of_the_resolution():
    """A wrong result lies within its bound where that is wide: what would have been found there is not asked."""
    told = {}
    for name, holds in {"right": lambda s: True, "wrong": lambda s: not s.frozen}.items():
        report = refnorm.check(only_for(holds), dtypes=("float32",))
        assert report.conforms == (name == "right")
        (told[name],) = [line.split()[1] for line in str(report).splitlines() if line.startswith("  resolution ")]
        cells = {cell.resolution for cell in report.paths[0].cells if cell.state == "WRONG"}
        assert any(resolution > 1e-5 for resolution in cells) == (name == "wrong")
    assert float(told["wrong"]) <= float(told["right"])
