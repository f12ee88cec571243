"""`refnorm plot` as a stranger meets it, and the numbers that are drawn, not the pixels.

Theory is checked by another road: integrals of the densities, sums of the
weights, numbers of the literature. Not verified: how a picture looks.
"""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from algorithms import ALGORITHMS
from scipy import integrate, stats
from test_cli import GOOD, altered, refnorm

from refnorm.cli import main
from refnorm.oracle.ask.target import Target
from refnorm.oracle.measure.numerics import numerics
from refnorm.plots import PLOTS, conditioning, conformance, lag, module, rendered, significant, small_batch

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
        (("lag", "--output", "lag.gif"), ".svg, .png, .pdf"),
        (("lag", "--output", "lag"), ".svg, .png, .pdf"),
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


def test_the_command_line_imports_no_matplotlib(tmp_path):
    code = "import sys, refnorm.cli, refnorm.plots; assert not {'matplotlib', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_a_file_is_measured_and_judged_in_a_process_of_its_own_and_its_report_draws_the_same(tmp_path):
    (tmp_path / "bad.py").write_text("print('loud')\n" + altered(" * m / (m - 1)", ""))
    done = refnorm("plot", "conditioning", "bad.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "float32 ulp at mean/std 1 and 1000: bad.py: " in done.stdout
    assert "loud" not in done.stdout
    done = refnorm(
        "plot",
        "conformance",
        "bad.py",
        "--convention",
        "torch",
        "--dtypes",
        "float32",
        "--output",
        "a.svg",
        cwd=tmp_path,
    )
    assert "bad.py deviates from torch: 1 of " in done.stdout
    assert "the first is running variance in float32" in done.stdout
    refnorm(
        "check",
        "bad.py",
        "--convention",
        "torch",
        "--dtypes",
        "float32",
        "--format",
        "json",
        "--output",
        "report.json",
        cwd=tmp_path,
    )
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
    found = plot.data()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert rendered(plot, json.loads(json.dumps(found)), "svg", "t") == rendered(plot, found, "svg", "t")


def test_rounding_keeps_integers_and_words():
    assert significant([1234567, "x", True, 1234567.0, np.float64("nan"), None], 3) == [
        1234567, "x", True, 1230000.0, None, None,
    ]  # fmt: skip
