"""`refnorm plot` as a stranger meets it, and the numbers that are drawn, not the pixels.

Theory is checked by another road: integrals of the densities, sums of the
weights, numbers of the literature. Not verified: how a picture looks.
"""

import csv
import io
import itertools
import json
import math
import subprocess
import sys

import numpy as np
import pytest
from algorithms import ALGORITHMS
from matplotlib.figure import Figure
from scipy import integrate, stats
from test_cli import GOOD, altered, refnorm

from refnorm.cli import main
from refnorm.oracle.ask.target import Target
from refnorm.oracle.measure.numerics import numerics
from refnorm.plots import (
    PLOTS,
    activations,
    conditioning,
    conformance,
    file_content,
    label_ends,
    lag,
    module,
    rendered,
    significant,
    small_batch,
)

SAMPLED = True  # see conftest.py

SMALL = ("small-batch", "--counts", "2", "4", "--samples", "500")


def test_the_list_names_every_plot_and_nothing_is_drawn(tmp_path):
    done = refnorm("plot", "--list", cwd=tmp_path)
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(PLOTS)
    assert (done.returncode, list(tmp_path.iterdir())) == (0, [])


def test_a_picture_is_written_and_what_it_shows_is_said(tmp_path):
    done = refnorm("plot", *SMALL, "--output", "a.png", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "|x_hat| at most 1 (seen: 1)" in done.stdout
    assert done.stdout.endswith("a.png\n")
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("kind", "begins"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_the_same_bytes_come_again(kind, begins):
    found = small_batch.data([2, 4], samples=500)
    once, again = (rendered(small_batch, found, kind, "a title") for _ in range(2))
    assert once.startswith(begins)
    assert once == again


def test_without_output_nothing_is_replaced(tmp_path):
    done = refnorm("plot", "lag", "--momentum", "0.5", cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "lag.svg")
    (tmp_path / "lag.svg").write_text("mine")
    again = refnorm("plot", "lag", "--momentum", "0.5", cwd=tmp_path)
    assert (again.returncode, (tmp_path / "lag.svg").read_text()) == (2, "mine")
    assert "--output lag.svg replaces it" in again.stderr
    assert refnorm("plot", *SMALL, "--output", "lag.svg", cwd=tmp_path).returncode == 0
    assert (tmp_path / "lag.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "which plot?"),
        (("histogram",), "invalid choice: 'histogram'"),
        (("small-batch", "--counts", "1"), "2 or more"),
        (("small-batch", "--counts", "two"), "invalid int value"),
        (("small-batch", "--samples", "0"), "2 or more"),
        (("small-batch", "--momentum", "0.1"), "unrecognized arguments"),
        (("lag", "--momentum", "1.5"), "from 0.001 to 1"),
        (("lag", "--momentum", "nan"), "from 0.001 to 1"),
        (("lag", "--output", "lag.gif"), ".svg, .png, .pdf, .csv, .json"),
        (("lag", "--output", "lag"), ".svg, .png, .pdf, .csv, .json"),
        (("lag", "--output", "lag.svg", "--format", "csv"), "lag.svg ends in .svg, and --format asks for csv"),
        (("lag", "--format", "xlsx"), "invalid choice: 'xlsx'"),
        (("small-batch", "--correlation"), "--correlation goes with --data"),
        (("small-batch", "--data", "absent.npy"), "absent.npy"),
        (("lag", "--output", "absent/lag.svg"), "no directory absent"),
        (("conditioning", "absent.py"), "no file absent.py"),
        (("conformance", "absent.json"), "absent.json"),
        (("conformance", "no-such-framework"), "is no target"),
    ],
)
def test_what_cannot_be_drawn_is_said_with_status_2(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    try:
        status = main(["plot", *arguments])
    except SystemExit as ended:  # argparse
        status = ended.code
    written = capsys.readouterr()
    assert (status, written.out) == (2, "")
    assert said in written.err
    assert list(tmp_path.iterdir()) == []


def test_a_directory_and_a_file_that_is_no_report_are_named(tmp_path):
    (tmp_path / "lag.svg").mkdir()
    done = refnorm("plot", "lag", "--output", "lag.svg", cwd=tmp_path)
    assert (done.returncode, "is a directory" in done.stderr) == (2, True)
    for text in ("[]", "{", '{"paths": 1}', '{"findings": []}'):
        (tmp_path / "report.json").write_text(text)
        with pytest.raises(ValueError, match=r"report\.json is no report; make one with: refnorm check"):
            conformance.data(str(tmp_path / "report.json"))


def test_without_matplotlib_one_line_says_what_to_install_before_anything_is_measured(tmp_path):
    code = "import sys; sys.modules['matplotlib'] = None; from refnorm.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "plot", "conditioning", "absent.py"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("refnorm: drawing needs matplotlib")
    assert "pip install matplotlib" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    numbers = [sys.executable, "-c", code, "plot", *SMALL, "--format", "csv", "--output", "-"]
    assert subprocess.run(numbers, capture_output=True, text=True, check=True).stdout.startswith("m,inverse,")


def test_the_command_line_imports_no_matplotlib(tmp_path):
    code = "import sys, refnorm.cli, refnorm.plots; assert not {'matplotlib', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


@pytest.mark.rest  # see conftest.py
def test_a_file_is_measured_and_judged_in_a_process_of_its_own_and_its_report_draws_the_same(tmp_path, dtype):
    (tmp_path / "bad.py").write_text("print('loud')\n" + altered(" * m / (m - 1)", ""))
    done = refnorm("plot", "conditioning", "bad.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "float32 ulp at mean/std 1 and 1000: bad.py: " in done.stdout
    assert "loud" not in done.stdout
    asked = ("bad.py", "--convention", "torch", "--dtypes", dtype)
    done = refnorm("plot", "conformance", *asked, "--output", "a.svg", cwd=tmp_path)
    assert "bad.py deviates from torch: 1 of " in done.stdout
    assert f"the first is running variance in {dtype}" in done.stdout
    refnorm("check", *asked, "--format", "json", "--output", "report.json", cwd=tmp_path)
    again = refnorm("plot", "conformance", "report.json", "--output", "b.svg", cwd=tmp_path)
    assert again.stdout.splitlines()[0] == done.stdout.splitlines()[0]
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_targets_that_hang_or_take_another_format_are_said_in_a_line(tmp_path):
    (tmp_path / "hangs.py").write_text("import time; time.sleep(60)")
    done = refnorm("plot", "conditioning", "hangs.py", "--timeout", "2", cwd=tmp_path)
    assert (done.returncode, "gave no answer for 2 s" in done.stderr) == (2, True)
    (tmp_path / "double.py").write_text(GOOD + 'dtypes = ("float64",)\n')
    done = refnorm("plot", "conditioning", "double.py", "--dtype", "float16", cwd=tmp_path)
    assert (done.returncode, "it takes float64" in done.stderr) == (2, True)


# Numbers instead of pictures.


@pytest.mark.parametrize("name", ["small-batch", "lag"])
def test_csv_and_json_hold_the_numbers_that_are_drawn(name):
    plot = module(name)
    found = plot.data()
    again = json.loads(file_content(plot, found, "json"))
    assert again.pop("caption") == plot.caption(found)
    assert again == json.loads(json.dumps(found))
    rows = list(csv.DictReader(io.StringIO(file_content(plot, found, "csv").decode())))
    series = found["batches"] if name == "small-batch" else found["averages"]
    for key in ("m", "kurtosis") if name == "small-batch" else ("momentum", "lag"):
        assert [float(row[key]) for row in rows] == [b[key] for b in series]


@pytest.mark.rest  # see conftest.py
def test_standard_output_gets_the_file_alone_and_standard_error_a_sentence_for_each_count(tmp_path):
    done = refnorm("plot", *SMALL, "--format", "json", "--output", "-", cwd=tmp_path)
    assert (done.returncode, json.loads(done.stdout)["samples"], list(tmp_path.iterdir())) == (0, 500, [])
    assert [line.split(" values per channel")[0] for line in done.stderr.splitlines()] == [
        f"refnorm: Gaussian data, m = {m}" for m in (2, 4)
    ]
    drawn = subprocess.run([sys.executable, "-m", "refnorm", "plot", *SMALL, "--output", "-"], capture_output=True)
    assert drawn.stdout.startswith(b"<?xml")


def test_without_output_numbers_go_into_a_file_of_their_format(tmp_path):
    done = refnorm("plot", *SMALL, "--format", "csv", cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "small-batch.csv")
    assert (tmp_path / "small-batch.csv").read_text().count("\n") == 3


@pytest.mark.parametrize("name", ["conditioning", "conformance"])
def test_a_trial_and_a_measurement_have_tables_too(name, tmp_path):
    (tmp_path / "good.py").write_text(GOOD)
    done = refnorm("plot", name, "good.py", "--format", "csv", "--output", "-", cwd=tmp_path)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    if name == "conditioning":
        (near,) = (r for r in rows if (r["what"], r["quantity"], r["mean/std"]) == ("error", "y, training", "1"))
        assert 0 < float(near["ulp"]) < 1.01  # good.py widens, and rounds once
    else:
        assert {row["dtype"] for row in rows} == {"float64", "float32", "float16"}
        assert {row["state"] for row in rows if row["quantity"] == "dx"} == {"ok"}


def test_ticks_are_at_the_asked_counts_and_their_numbers_do_not_meet():
    counts = [2, 3, 4, 5, 100, 101, 102, 1000]
    figure = small_batch.draw(small_batch.data(counts, samples=2))
    for axes in figure.axes:
        assert axes.get_xticks().tolist() == counts
        labels = [label.get_text() for label in axes.get_xticklabels()]
        assert [label for label in labels if label] == ["2", "3", "4", "5", "100", "1000"]


def test_names_at_the_ends_of_curves_stand_where_these_end_and_apart_where_they_meet():
    axes = Figure().add_subplot(xlim=(0, 1), ylim=(0, 10))
    ends = [(9.0, "far", "blue"), (4.0, "one", "red"), (4.0, "two\nlines", "green"), (-5.0, "below", "black")]
    label_ends(axes, 1, ends, gap=0.1)
    places = {text.get_text(): text.xy[1] for text in axes.texts}
    assert (places["far"], places["below"]) == pytest.approx((0.9, 0.05))  # the second within the axis
    assert places["two\nlines"] - places["one"] == pytest.approx(0.15)  # a line and a half of 0.1
    assert (places["two\nlines"] + places["one"]) / 2 == pytest.approx(0.4)


# A user's own activations.


def saved(folder, x):
    np.save(folder / "acts.npy", x, allow_pickle=True)
    return str(folder / "acts.npy")


def raised(x):
    x = np.asarray(x, dtype=float).copy()
    x[1, 1] = math.nan
    return x


@pytest.mark.parametrize(
    ("x", "axis", "said"),
    [
        (np.arange(4.0), 1, r"shape \(4,\); samples and channels are two axes at least"),
        (np.eye(3), 2, r"shape \(3, 3\) and no axis 2; --axis says where the channels are"),
        (np.ones((1, 3, 5)), 1, "a batch needs two samples"),
        (np.ones((4, 0)), 1, "a batch needs two samples"),
        (raised(np.eye(3)), 1, "1 of 9 values that are not finite, the first in channel 1 of sample 1"),
        (np.ones((4, 3)), 1, "one value in every channel"),
        (np.eye(3) * 1j, 1, "complex128, not real numbers"),
        (np.eye(3) > 0, 1, "bool, not real numbers"),
        (np.array([[print, 1], [2, 3]], dtype=object), 1, "it holds Python objects"),
        (np.eye(3), 1, "has 3 samples, too few for a batch of 4"),
    ],
)
def test_activations_that_cannot_be_taken_are_refused_with_what_is_wrong(x, axis, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        small_batch.data([2, 4], samples=10, activations=saved(tmp_path, x), axis=axis)


def test_a_file_that_is_no_array_is_refused_and_nothing_in_it_runs(tmp_path):
    class Runs:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    saved(tmp_path, np.array([Runs(), Runs()], dtype=object))
    (tmp_path / "text.npy").write_text("1 2 3")
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "cut.npy").write_bytes((tmp_path / "acts.npy").read_bytes()[:20])
    np.savez(tmp_path / "two.npz", a=np.eye(2), b=np.eye(3))
    for name, said in (
        ("acts", "Python objects"),
        ("text", "damaged"),
        ("empty", "damaged"),
        ("cut", "damaged"),
        ("two", "several arrays"),
    ):
        suffix = "npz" if name == "two" else "npy"
        done = refnorm("plot", "small-batch", "--data", f"{name}.{suffix}", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, ""), name
        assert said in done.stderr, (name, done.stderr)
        assert "numpy.save" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "ran").exists()


def test_single_values_have_no_correlation(tmp_path):
    with pytest.raises(ValueError, match="no positions to correlate"):
        small_batch.data([2], samples=10, activations=saved(tmp_path, np.eye(3)), correlation=True)


def test_the_variance_of_all_batches_without_repetition_is_as_foretold():
    """All choices of N among n samples, by enumeration: the expected value is their plain mean."""
    x = np.random.default_rng(0).normal(size=(5, 2, 3)) + np.random.default_rng(1).normal(size=(5, 2, 1))
    values = np.moveaxis(x, 1, 0)
    values = (values - values.mean(axis=(1, 2), keepdims=True)) / values.std(axis=(1, 2), keepdims=True)
    source = activations.correlations(activations.Activations("x", values, 0))
    for count in (2, 3, 4, 5):
        each = [values[:, list(chosen)].var(axis=(1, 2)).mean() for chosen in itertools.combinations(range(5), count)]
        assert small_batch.expected_variance(source, count) == pytest.approx(np.mean(each), rel=1e-12)


def test_correlations_are_those_of_the_process_that_made_the_values(tmp_path):
    rng = np.random.default_rng(0)
    shared, own = rng.normal(size=(4000, 3, 1, 1)), rng.normal(size=(4000, 3, 4, 5))
    file = saved(tmp_path, 7 + 0.1 * (shared + own))  # two positions are correlated by 1/2
    found = activations.correlations(activations.read_activations(file))
    assert found["rho"] == pytest.approx((1 + 19 / 2) / 20, abs=0.02)
    assert [len(line) for line in found["along"]] == [4, 5]
    for line in found["along"]:
        assert line == pytest.approx([1] + [0.5] * (len(line) - 1), abs=0.02)


def test_gaussian_activations_are_seen_as_theory_says_wherever_the_channels_are(tmp_path):
    x = np.random.default_rng(0).normal(size=(2000, 6, 4)) * 3 - 100
    for axis, laid in ((1, x), (-1, np.moveaxis(x, 1, -1)), (0, np.moveaxis(x, 1, 0))):
        found = small_batch.data([2], samples=4000, activations=saved(tmp_path, laid), axis=axis)
        (seen,) = found["batches"]
        assert (seen["m"], seen["count"], seen["constant"], found["source"]["channels"]) == (8, 2, 0, 6)
        assert abs(seen["kurtosis"] - small_batch.kurtosis(8)) <= 4 * seen["kurtosis_error"]
        assert abs(seen["energy"] - small_batch.energy(8)) <= 4 * seen["energy_error"]
        assert abs(seen["inverse"] - small_batch.inverse_mean(8)) <= 4 * seen["inverse_error"]
        assert abs(seen["variance"] - 7 / 8) <= 4 * seen["variance_error"]


def test_activations_of_another_distribution_are_seen_to_be_others(tmp_path):
    x = np.maximum(np.random.default_rng(0).normal(size=(2000, 6)), 0)
    (seen,) = small_batch.data([16], samples=4000, activations=saved(tmp_path, x))["batches"]
    assert seen["kurtosis"] - small_batch.kurtosis(16) > 20 * seen["kurtosis_error"]


def test_constant_channels_are_left_out_and_constant_batches_counted(tmp_path):
    x = np.zeros((10, 2))
    x[0, 0] = 1  # a batch of two varies if it has the first sample: 9 of 45 do
    found = small_batch.data([2], samples=5000, activations=saved(tmp_path, x))
    (seen,) = found["batches"]
    assert (found["source"]["channels"], found["source"]["left_out"]) == (1, 1)
    assert seen["constant"] == pytest.approx(36 / 45, abs=4 * math.sqrt(0.16 / 5000))
    assert (seen["inverse"], seen["quantiles"][-1], seen["largest"]) == (None, None, 1.0)
    words = small_batch.caption(found)
    assert "1 constant ones left out" in words
    assert "stretched without bound" in words
    assert rendered(small_batch, found, "svg", "t").startswith(b"<?xml")


@pytest.mark.rest  # see conftest.py
def test_activations_draw_and_are_said_for_each_count_and_come_again(tmp_path):
    x = np.random.default_rng(0).normal(size=(12, 3, 4, 5)).astype(np.float32)
    saved(tmp_path, np.moveaxis(x, 1, -1))
    ask = ("plot", "small-batch", "--data", "acts.npy", "--axis", "-1", "--correlation", "--counts", "2", "3", "12")
    once, _ = (refnorm(*ask, "--samples", "50", "--output", name, cwd=tmp_path) for name in ("a.svg", "b.svg"))
    assert once.returncode == 0, once.stderr
    lines = once.stdout.splitlines()
    assert lines[0] == "acts.npy: 12 samples of 4 x 5 values in 3 channels."
    assert [line.split(" samples")[0] for line in lines[2:5]] == ["2", "3", "12"]
    assert "too small on the mean (foretold: 0 %)" in lines[4]  # all samples: the variance of the data
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


# Theory by another road.


@pytest.mark.parametrize("m", [3, 4, 5, 8, 32])
def test_the_mean_of_1_over_s_is_the_integral_of_its_density(m):
    density = stats.chi2(m - 1).pdf
    mean, _ = integrate.quad(lambda t: math.sqrt(m) * 2 * density(t * t), 0, np.inf)  # v = t^2 lifts the pole
    assert float(small_batch.inverse_mean(m)) == pytest.approx(mean, rel=1e-7)


def test_the_mean_of_1_over_s_is_infinite_for_two_values():
    """Each decade nearer to s = 0 adds as much as the one before: 2 sqrt(2) phi(0) ln 10, phi the normal density."""
    density = stats.chi2(1).pdf
    decades = [10.0**-k for k in range(2, 7)]
    added = [integrate.quad(lambda t: math.sqrt(2) * 2 * density(t * t), low / 10, low, epsabs=0)[0] for low in decades]
    assert added == pytest.approx([2 * math.sqrt(2) * stats.norm.pdf(0) * math.log(10)] * 5, rel=1e-4)
    assert small_batch.inverse_mean(2) == math.inf


@pytest.mark.parametrize("m", [4, 5, 8, 32])
def test_the_deviation_of_1_over_s_is_the_integral_of_its_density(m):
    square, _ = integrate.quad(lambda t: 2 * m / t * stats.chi2(m - 1).pdf(t * t), 0, np.inf)
    expected = math.sqrt(square - small_batch.inverse_mean(m) ** 2)
    assert small_batch.inverse_deviation(m) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("m", [2, 3, 4, 8, 32, 128])
def test_batches_are_seen_as_theory_says(m):
    (seen,) = small_batch.data([m], samples=10_000, seed=1)["batches"]
    assert abs(seen["kurtosis"] - small_batch.kurtosis(m)) <= 4 * seen["kurtosis_error"] + 1e-12
    assert abs(seen["energy"] - small_batch.energy(m)) <= 4 * seen["energy_error"] + 1e-4 * (m == 2)
    assert seen["largest"] <= small_batch.bound(m) * (1 + 1e-4)  # written with five digits
    if m > 3:
        assert abs(seen["inverse"] - small_batch.inverse_mean(m)) <= 4 * seen["inverse_error"]
    for level, quantile in zip(small_batch.LEVELS, seen["quantiles"], strict=True):
        beyond = stats.chi2.sf(m / quantile**2, m - 1)  # the level that the seen quantile has in theory
        assert abs(beyond - level) <= 4 * math.sqrt(level * (1 - level) / 10_000) + 1e-4


def test_another_theory_would_be_noticed():
    (seen,) = small_batch.data([8], samples=10_000, seed=1)["batches"]
    assert abs(seen["kurtosis"] - 3) > 20 * seen["kurtosis_error"]
    assert abs(seen["energy"] - 7 / 8) > 20 * seen["energy_error"]
    assert abs(seen["inverse"] - math.sqrt(8 / 7)) > 4 * seen["inverse_error"]


@pytest.mark.parametrize("a", [0.003, 0.1, 0.5, 1.0])
def test_lag_noise_and_memory_are_seen_as_theory_says(a):
    (seen,) = lag.data([a], count=8, replicas=2000, seed=1)["averages"]
    ages = np.arange(20_000)
    weights = a * (1 - a) ** ages
    assert lag.lag(a) == pytest.approx(float(weights @ ages))
    assert lag.effective(a) == pytest.approx(1 / float(weights @ weights))
    assert abs(seen["lag"] - lag.lag(a)) <= 4 * seen["lag_error"] + 1e-3 * lag.lag(a)
    assert abs(seen["mean_noise"] * lag.effective(a) * 8 - 1) <= 4 * math.sqrt(2 / 1999) + 1e-3
    assert abs(seen["var_noise"] - 2 / 7 / lag.effective(a)) <= 4 * seen["var_noise_error"]
    assert seen["memory"] == lag.memory(a)
    assert (1 - a) ** lag.memory(a) < 0.01
    assert a == 1 or (1 - a) ** (lag.memory(a) - 1) >= 0.01


def test_the_guide_lines_bound_the_algorithms_of_their_tiers_and_not_those_of_worse_ones():
    chosen = [
        algorithm for algorithm in ALGORITHMS if algorithm.name in ("wide", "halves", "rows", "Welford", "one pass")
    ]
    ratios = [1, 100, 10_000]
    target = Target("algorithms", "torch", "", {algorithm.name: algorithm for algorithm in chosen})
    found = conditioning.collected(numerics(target, ratios=ratios), "float32", ratios)
    for algorithm in chosen:
        for quantity in ("y", "variance"):
            limit = found["guides"][algorithm.tier][quantity]
            for error, allowed in zip(found["lines"][algorithm.name][quantity], limit, strict=True):
                assert allowed is None or (error is not None and error <= allowed), (algorithm.name, quantity)
    assert found["lines"]["one pass"]["variance"][1] > found["guides"]["pairwise sums"]["variance"][1]
    assert conditioning.at(found, 100)["wide"] < conditioning.at(found, 100)["one pass"]


def test_a_mean_beyond_the_format_leaves_a_gap_and_no_error(tmp_path):
    target = Target("algorithms", "torch", "", {"wide": ALGORITHMS[0]})
    found = conditioning.collected(numerics(target, dtype="float16", ratios=[1, 1e6]), "float16", [1, 1e6])
    assert found["lines"]["wide"]["y"][1] is None
    assert found["guides"]["wide accumulation"]["y"][1] is None
    assert rendered(conditioning, found, "svg", "t").startswith(b"<?xml")


def test_a_report_keeps_its_states_and_infinite_errors_are_drawn():
    import refnorm as package

    class Wrong:
        def infer(self, x, gamma, beta, running_mean, running_var, eps):
            return np.full_like(x, np.nan)

    found = conformance.collected(package.check(Wrong(), dtypes=["float32"]))
    cell = found["paths"][0]["cells"]["y, inference"]["float32"]
    assert (cell, found["conforms"]) == ({"worst": None, "state": "WRONG"}, False)
    assert b"wrong not finite" in rendered(conformance, json.loads(json.dumps(found)), "svg", "t")


@pytest.mark.parametrize("name", ["small-batch", "lag"])
def test_plain_data_go_through_json(name):
    plot = module(name)
    found = plot.data([2, 4], samples=500) if name == "small-batch" else plot.data()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert rendered(plot, json.loads(json.dumps(found)), "svg", "t") == rendered(plot, found, "svg", "t")


def test_rounding_keeps_integers_and_words():
    assert significant([1234567, "x", True, 1234567.0, np.float64("nan"), None], 3) == [
        1234567, "x", True, 1230000.0, None, None,
    ]  # fmt: skip
