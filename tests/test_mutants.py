"""The oracle on trial: every bug must be caught and called by its name, and no correct algorithm may be convicted.

`mutants` holds the correct variants, the bugs of public projects and the invented ones; `causes` says what is true of
them. To save time a mutant is tried in float64 and where it needs another format, in that one (`FORMATS`); the
variants are tried in all three.

Not verified here: bfloat16, arrays of other libraries, conventions other than torch, which numbers a finding shows.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import mutants
import numpy as np
import pytest
from causes import ALL, BESIDES, CAUSES, FORMATS
from mutants import INVENTED, REAL, VARIANTS, Correct

import refnorm
from refnorm.oracle.report import Report
from refnorm.oracle.vocabulary import vocabulary

SAMPLED = 20  # one in so many; see conftest.py

BUGS = 55  # in the project's list of real bugs

VOCABULARY = set(vocabulary()) - {"unknown"}


@cache
def judged(name: str) -> Report:
    """Put a mutant or a variant on trial."""
    formats = ALL if name in VARIANTS else FORMATS.get(name, ("float64",))
    return refnorm.check({**VARIANTS, **REAL, **INVENTED}[name](), "torch", dtypes=formats)


def causes(report: Report) -> set[str]:
    return {finding.cause for finding in report.findings}


def called_by_name(report: Report, names: set[str]) -> bool:
    """Whether a report gives one of these causes."""
    return bool(causes(report) & names)


def false_names(report: Report, true: set[str]) -> set[str]:
    """Return the causes that a report gives and that are not true; "unknown" claims nothing."""
    return causes(report) - true - {"unknown"}


UNEXPLAINED = {  # whose first finding has no cause, and why
    "num_x_hat_limited_by_tanh": "a smooth limit is no sum of few terms",
    "num_one_pass_by_running_mean": "its errors grow with another distance than the tiers know",
}
FRAGILE = {
    "own_row_by_row": {"row-by-row sums"},
    "own_paper": {"row-by-row sums"},
    "welford": {"Welford's updates or merged moments"},
    "merged_halves": {"Welford's updates or merged moments"},
    "own_merged": {"Welford's updates or merged moments"},
    "own_merged_one_and_rest": {"Welford's updates or merged moments"},
    "own_welford": {"Welford's updates or merged moments", "row-by-row sums"},
    "y_folded": {"folded y = x a + b"},
    "dgamma_folded": {"folded y = x a + b"},
    "own_folded": {"folded y = x a + b"},
    "own_folded_gradients": {"folded y = x a + b"},
    "own_row_by_row_folded": {"folded y = x a + b", "row-by-row sums"},
}


@pytest.mark.parametrize("name", [*[*VARIANTS][-2::-1], [*VARIANTS][-1]])  # so that samples are fragile, and quick
def test_a_correct_algorithm_conforms_in_every_format_and_a_fragile_one_is_called_by_its_name(name):
    report = judged(name)
    assert report.conforms, str(report)
    assert set(report.paths[0].not_judged) == {"jvp", "double backward"}
    remarks = report.paths[0].remarks
    assert {r.split("computed as by ")[1].split(":")[0] for r in remarks} == FRAGILE.get(name, set())


@pytest.mark.parametrize("name", [*REAL, *INVENTED])
def test_a_mistake_is_caught_and_called_by_its_name_and_by_no_wrong_one(name):
    report, kind = judged(name), {**REAL, **INVENTED}[name]
    assert not report.conforms, f"{name} conforms: {kind.__doc__}"
    first = report.findings[0].cause
    assert first != "unknown" or name in UNEXPLAINED, f"{name}, {UNEXPLAINED.get(name, 'first finding')}:\n{report}"
    if name in CAUSES:
        assert called_by_name(report, CAUSES[name]), f"{name}, {CAUSES[name]}:\n{report}"
        wrong = false_names(report, CAUSES[name] | BESIDES.get(name, set()))
        assert not wrong, f"{name} is called {wrong}:\n{report}"


SAID = {  # by the only finding of its cause, of all quantities at once
    "run_update_is_a_race": "the same call gives different results when repeated",
    "run_tuning_runs_update_too": "the first of two calls is wrong, the second is right",
    "bwd_dbeta_accumulates_without_gamma": "what a call returns is added to what those before it returned",
    "edge_channels_last_view_reduces_other_axes": "training · dx · dgamma are wrong in the situation 'channels-last'",
    "fwd_welford_counts_skipped_tiles": "running mean · 3 more are wrong only for 8712 values per channel or more",
    "num_statistics_read_with_10_bits": "something on the way is rounded to it: only in float32",
    "num_eps_rounded_to_half": "eps is rounded to a format of 16 bits: only in float16",
}


@pytest.mark.parametrize("name", SAID)
def test_what_several_quantities_share_is_said_once_and_how(name):
    (only,) = judged(name).findings
    assert SAID[name] in only.title
    if name == "run_update_is_a_race":
        assert only.title == SAID[name]  # how it changes is said of what changes in one way alone


def test_none_for_beta_alone_is_judged_where_none_for_both_is_taken():
    (only,) = judged("edge_center_off_alone_raises").findings
    assert only.title.startswith("train · infer · frozen raised TypeError: 'NoneType'")  # one line of code, one finding
    assert only.title.endswith("(only in the situation 'beta-absent': beta = None with gamma present)")


# The checks can fail.


def test_a_correct_implementation_is_not_caught():
    assert judged("Correct").conforms
    assert not called_by_name(judged("Correct"), VOCABULARY)


def test_a_name_that_is_not_true_is_noticed():
    report = judged("bwd_gamma_missing_in_dx")
    assert not called_by_name(report, {"dx-sign"})
    assert false_names(report, {"dx-sign"}) == {"dx-gamma-missing"}
    assert not false_names(report, {"dx-gamma-missing"})


def test_every_real_bug_has_its_mutant_with_its_source():
    assert len(REAL) == BUGS
    for name, mutant in REAL.items():
        assert "/" in mutant.__doc__.split(":")[0], f"{name} does not say where it comes from"


def test_every_cause_asked_for_is_in_the_vocabulary():
    assert set(CAUSES) <= {*REAL, *INVENTED}
    assert set(BESIDES) <= set(CAUSES)
    assert set(FORMATS) <= {*REAL, *INVENTED}
    for name in CAUSES:
        asked = CAUSES[name] | BESIDES.get(name, set())
        unheard_of = {part for cause in asked for part in cause.split("+")} - VOCABULARY  # circumstances come in pairs
        assert not unheard_of, f"{name} asks for {unheard_of}"


def test_the_registries_share_nothing_and_the_mutants_import_nothing_of_refnorm():
    assert len({*VARIANTS, *REAL, *INVENTED}) == len(VARIANTS) + len(REAL) + len(INVENTED)
    assert not [name for name, value in vars(mutants).items() if getattr(value, "__module__", "").startswith("refnorm")]


# The mutants are the real bugs, not merely broken: each looks right where its report says so.

UNIT = {"var": 1.0, "eps": 2.0**-40}
TINY_EPS = {"eps": 2.0**-40}
LOOKS_RIGHT: dict[str, dict[str, Any]] = {
    "fwd_square_instead_of_sqrt": UNIT | {"but": "dx"},  # the derivative of v^-2 at 1 is not that of v^(-1/2)
    "fwd_eps_outside_sqrt": TINY_EPS,
    "fwd_clamp_var_at_eps": TINY_EPS,
    "fwd_eps_raised_to_cudnn_minimum": {"eps": 1e-3},
    "fwd_layout_axes_shifted": {"shape": (9, 3)},
    "fwd_rank3_length_not_reduced": {"shape": (6, 3, 2, 2)},
    "fwd_absolute_gamma": {"gamma": (1.0, 0.5, 2.0), "eps": 2.0**-40},
    "fwd_running_update_clobbers_aliased_affine": {},
    "sync_averages_shard_variances": {"shape": (1, 3, 4, 5)},
    "sync_bessel_local_count": {"shape": (6, 3, 2, 2)},
    "run_momentum_sense_swapped": {"momentum": 0.5},
    "run_var_tracks_inverse_std": UNIT | {"shape": (512, 3, 2), "tolerance": 1e-2},
    "run_std_with_linear_bessel": UNIT | {"shape": (512, 3, 2), "tolerance": 1e-2},
    "run_bessel_denominator_has_eps": TINY_EPS,
    "run_updated_twice": UNIT | {"shape": (512, 3, 2), "tolerance": 1e-2},
    "run_no_update_without_affine": {},
    "sync_backward_equal_weights_uneven": {"shape": (6, 3, 2, 2)},
    "bwd_gamma_missing_in_dx": {"gamma": (1.0, 1.0, 1.0)},
    "bwd_variance_term_missing": {"dy": "orthogonal to x_hat"},
    "bwd_mean_term_not_divided": {"dy": "of sum 0"},
    "bwd_dgamma_multiplies_std": UNIT,
    "bwd_saved_variance_used_as_invstd": UNIT,
    "bwd_overwrites_dy": {},
    "inf_eps_missing": TINY_EPS,
    "inf_uses_initial_statistics": {"var": 1.0},
    "inf_moves_running_statistics": {},
    "inf_fp16_casts_parameters_down": {},
    "bwd_xhat_recovered_from_output": {},
    "num_one_pass_variance_clamped": {},
    "num_half_count_overflows": {"dtype": np.float32},
    "num_eps_nudged_by_1e_12": {"eps": 1e-3},
    "bwd_large_batch_truncated": {"shape": (768, 3)},
    "edge_one_value_denominator_clamped": {},
    "edge_one_value_copied_through": {},
    "edge_output_promoted_to_float64": {},
    "edge_noncontiguous_backward_scrambled": {},
    "edge_null_affine_crashes": {},
    "fwd_welford_counts_skipped_tiles": {"shape": (6, 3, 16, 16)},
    "fwd_instance_statistics": {"shape": (1, 3, 4, 5)},
    "run_variance_recovered_with_plus_eps": TINY_EPS,
    "run_update_is_a_race": UNIT | {"shape": (512, 3, 2), "tolerance": 1e-2},
    "bwd_stale_statistics": {},
    "bwd_dbeta_accumulates_without_gamma": {},
    "inf_folded_shift_lost": {"beta": (0.0, 0.0, 0.0)},
    "inf_vector_index_taken_for_element_index": {},
    "num_statistics_read_with_10_bits": {},
    "num_eps_rounded_to_half": {"dtype": np.float16},
    "edge_channels_last_view_reduces_other_axes": {},
    "edge_center_off_alone_raises": {},
}
NEVER_RIGHT = {
    "run_unnormalised_sum": "the report names no inputs that hide it",
    "bwd_direct_term_divided_by_m": "hidden at m = 1, where torch's convention raises",
    "bwd_dgamma_not_summed": "the report names no inputs that hide it",
    "bwd_frozen_reads_unset_saves": "hidden in training, and every frozen backward shows it",
    "run_tuning_runs_update_too": "hidden from the second call of a shape on",
    "bwd_sums_run_over_channels": "the report names square, symmetric data; the numbers differ there, too",
}


def everything(
    implementation: Correct,
    shape: tuple[int, ...] = (6, 3, 2, 2),
    eps: float = 2.0**-10,
    momentum: float = 0.25,
    gamma: tuple[float, ...] = (-1.5, 0.5, 2.0),
    beta: tuple[float, ...] = (0.5, -1.0, 2.0),
    var: float = 2.0,
    dy: str = "",
    dtype: Any = np.float64,
    tolerance: float = 1e-5,
    but: str = "",
) -> dict[str, np.ndarray]:
    """Return all results on ordinary data: one variance for every channel, running statistics (0, that variance).

    ``tolerance`` and ``but`` (a result that looks wrong even so) are for `looks_right`.
    """
    rng = np.random.default_rng(0)
    axes = tuple(a for a in range(len(shape)) if a != 1)
    x, g = rng.normal(size=shape), rng.normal(size=shape)
    x_hat = (x - x.mean(axes, keepdims=True)) / x.std(axes, keepdims=True)
    if dy:
        g = g - g.mean(axes, keepdims=True)
    if dy == "orthogonal to x_hat":
        g = g - x_hat * (g * x_hat).mean(axes, keepdims=True)
    x, g = (np.sqrt(var) * x_hat).astype(dtype), g.astype(dtype)
    gamma, beta = np.array(gamma, dtype), np.array(beta, dtype)
    mean, running_var = np.zeros(3, dtype), np.full(3, var, dtype)
    y, new_mean, new_var, cache = implementation.train(x, gamma, beta, mean.copy(), running_var.copy(), momentum, eps)
    dx, dgamma, dbeta = implementation.backward(g.copy(), cache)
    results = {"y": y, "running mean": new_mean, "running variance": new_var}
    results |= {"dx": dx, "dgamma": dgamma, "dbeta": dbeta}
    results["inferred y"] = implementation.infer(x, gamma, beta, mean.copy(), running_var.copy(), eps)
    results["frozen y"], cache = implementation.frozen(x, gamma, beta, mean.copy(), running_var.copy(), eps)
    gradients = implementation.backward(g.copy(), cache)
    return results | dict(zip(("frozen dx", "frozen dgamma", "frozen dbeta"), gradients, strict=True))


def looks_right(mutant: Correct, **settings: Any) -> bool:
    """Whether a mutant's results are those of the correct implementation, to a tolerance that tests often have."""
    got, right = everything(mutant, **settings), everything(Correct(), **settings)
    tolerance = settings.get("tolerance", 1e-5)
    judged = [quantity for quantity in right if quantity != settings.get("but")]
    return all(np.allclose(got[q], right[q], rtol=tolerance, atol=tolerance) for q in judged)


@pytest.mark.parametrize("name", LOOKS_RIGHT)
def test_a_real_bug_looks_right_where_its_report_says_so(name):
    assert looks_right(REAL[name](), **LOOKS_RIGHT[name])


def test_looking_right_can_fail():
    assert not looks_right(REAL["run_momentum_sense_swapped"]())
    assert not looks_right(REAL["fwd_square_instead_of_sqrt"](), **UNIT)


def test_every_real_bug_says_where_it_looks_right_or_why_nowhere():
    assert set(LOOKS_RIGHT) | set(NEVER_RIGHT) == set(REAL)
    assert not set(LOOKS_RIGHT) & set(NEVER_RIGHT)
