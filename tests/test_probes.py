"""What a black box is asked, and every word that is said of it: boxes in NumPy of which one step is changed.

Words and numbers are written by hand. Not verified here: how running statistics move (`test_weights`), and which row
has all this (`test_identify`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from mutants import Correct
from test_identify import Plain

from refnorm.conventions import ROWS
from refnorm.golden.inputs import case, cases
from refnorm.oracle.ask.box import Box, Refused
from refnorm.oracle.ask.envelope import envelope_of
from refnorm.oracle.measure import formulas
from refnorm.oracle.measure.measurement import Key, Measurement
from refnorm.oracle.measure.probes import PROBES, works_in_less

TORCH = ROWS["torch"]
ALL = (2, 3, 4, 5)
SAMPLED = True  # see conftest.py


def probe(name, box):
    """Return what one probe measures."""
    (found,) = [p for p in PROBES if p.__name__.strip("_") == name]
    with np.errstate(all="ignore"):
        return list(found(Box(box)))


def said(name, box):
    """Return keys, values and notes of what one probe measures."""
    return [(m.key.value, m.value, m.note) for m in probe(name, box)]


def box(**steps):
    """Return a plain box with some steps, or attributes, replaced."""
    made = Plain(TORCH)
    for name, step in steps.items():
        setattr(made, name, step)
    return made


class TrainsOnly(Plain):
    infer = property()


class InfersOnly(Plain):
    train = property()


def raises(*arguments):
    raise RuntimeError("no")


# Functions and ranks.


def test_what_is_offered_is_told_from_what_raises():
    ranks = Measurement(Key.RANKS, "ranks of x", ALL)
    assert probe("functions", box()) == [ranks]
    assert probe("functions", TrainsOnly(TORCH)) == [Measurement(Key.INFERENCE, "inference", "not offered"), ranks]
    assert probe("functions", InfersOnly(TORCH)) == [Measurement(Key.TRAINING, "training", "not offered"), ranks]
    refused = Measurement(Key.TRAINING, "training", "raises", "RuntimeError: no")
    assert probe("functions", box(train=raises)) == [refused, ranks]
    assert probe("functions", box(ranks=(2, 4))) == [Measurement(Key.RANKS, "ranks of x", (2, 4))]


@pytest.mark.parametrize(
    ("made", "name"), [((1j, 0, 0), "y"), ((0, 1j, 0), "running mean"), ((0, 0, 1j), "running variance")]
)
def test_complex_numbers_are_refused_and_not_cut_to_their_real_parts(made, name):
    def train(*arguments):
        results = Plain.train(plain, *arguments)
        return *(r + i for r, i in zip(results, made, strict=False)), None

    plain = box(train=train)
    refused = Measurement(Key.TRAINING, "training", "raises", f"{name} is complex128, which is no real number")
    assert probe("functions", plain)[0] == refused


# How eps and momentum travel.

WIDE = ("working-format", "float64", "")
EPS = ("eps-travels", "float64", "0.001 arrives as 0.001")
MOMENTUM = ("momentum-travels", "float64", "0.1 arrives as 0.1")


@pytest.mark.parametrize(
    ("row", "eps", "momentum"),
    [
        ("torch", EPS, MOMENTUM),
        ("keras", EPS, MOMENTUM),
        ("haiku", EPS, MOMENTUM),
        (
            "onnx",
            ("eps-travels", "float32", "0.001 arrives as 0.0010000000475"),
            ("momentum-travels", "float32", "0.1 arrives as 0.10000000149"),
        ),
        ("mxnet", EPS, ("momentum-travels", "float32", "0.1 arrives as 0.10000000149")),
        ("tf-keras", EPS, ("momentum-travels", "float32 complement", "0.1 arrives as 0.100000023842")),
    ],
)
def test_formats_on_the_way_show_in_what_comes_back(row, eps, momentum):
    assert said("as_received", Plain(ROWS[row])) == [WIDE, eps, momentum]


def test_of_one_function_only_what_it_hears_is_told():
    assert said("as_received", InfersOnly(TORCH)) == [WIDE, EPS]
    assert said("as_received", TrainsOnly(TORCH)) == [WIDE, MOMENTUM]
    assert said("as_received", box(without=("running mean", "running variance"))) == [WIDE, EPS]


def test_what_is_fixed_at_what_was_passed_is_not_heard():
    found = said("as_received", box(received=lambda eps: 1e-3, weights=lambda a: (0.9, 0.1)))
    assert found[1:] == [
        ("eps-travels", "fixed", "0.001 is used, and 0.003 is not heard"),
        ("momentum-travels", "fixed", "0.1 is used, and 0.3 is not heard"),
    ]


@pytest.mark.parametrize(("off", "shows"), [(0.9e-5, True), (1.1e-5, False), (-0.9e-5, True), (-1.1e-5, False)])
def test_what_arrives_too_far_off_is_not_what_was_passed(off, shows):
    near = said("as_received", box(received=lambda eps: eps * (1 + off), weights=lambda a: (1 - a * (1 + off), a)))
    # of momentum the new value shows it right
    assert [key for key, *_ in near] == ["working-format", *["eps-travels"] * shows, "momentum-travels"]
    both = said("as_received", box(weights=lambda a: (1 - a * (1 + off), a * (1 + off))))
    assert [key for key, *_ in both] == ["working-format", "eps-travels", *["momentum-travels"] * shows]


@pytest.mark.parametrize(("off", "fixed"), [(0.9e-5, True), (1.1e-5, False)])
def test_what_moves_is_heard(off, fixed):
    found = said("as_received", box(received=lambda eps: 1e-3 + (eps - 1e-3) / 2 * off))
    assert (found[1][1] == "fixed") == fixed


def test_a_box_that_refuses_one_eps_is_asked_for_its_momentum():
    def received(eps):
        if eps == 1e-3:
            raise ValueError("too large")
        return eps

    assert said("as_received", box(received=received)) == [WIDE, MOMENTUM]


def test_narrow_boxes_are_not_asked():
    assert said("as_received", box(dtypes=("float32",))) == []
    assert said("as_received", box(ranks=())) == []


def narrow(function):
    """Return a box one function of which computes in float32."""

    class Narrow(Plain):
        def normalised(self, x, *rest):
            return super().normalised(x.astype(self.kind), *rest).astype(x.dtype)

        def train(self, x, *rest):
            self.kind = "float32" if "train" in function else "float64"
            return super().train(x.astype(self.kind).astype(x.dtype), *rest)

        def infer(self, *rest):
            self.kind = "float32" if "infer" in function else "float64"
            return super().infer(*rest)

    return Narrow


def test_a_box_computes_in_less_where_both_functions_do():
    assert said("as_received", narrow("train infer")(TORCH)) == [
        ("working-format", "float32 or less", "whatever the layer's format")
    ]
    assert not works_in_less(Box(narrow("train")(TORCH)))
    assert not works_in_less(Box(narrow("infer")(TORCH)))
    for name, kind in (("train", TrainsOnly), ("infer", InfersOnly)):
        assert works_in_less(Box(type("Both", (kind, narrow(name)), {})(TORCH)))
        assert not works_in_less(Box(kind(TORCH)))


def test_what_is_centred_in_full_keeps_a_difference():
    class Centres(InfersOnly):
        def infer(self, x, gamma, beta, mean, var, eps):
            centred = (x - self._spread(mean, x)).astype(np.float32)
            return (centred / np.sqrt(self._spread(var, x) + eps).astype(np.float32)).astype(x.dtype)

    assert not works_in_less(Box(Centres(TORCH)))


@pytest.mark.parametrize(("kept", "less"), [(0.0, True), (0.5, True), (0.6, False), (1.0, False)])
def test_a_difference_of_which_more_than_half_comes_back_is_not_lost(kept, less):
    made = InfersOnly(TORCH)
    made.infer = lambda x, *rest: kept * (x - 1.0)
    assert works_in_less(Box(made)) == less


@pytest.mark.parametrize(("digits", "less"), [(2.0**-40, False), (2.0**-39, True), (2.0**-38, True)])
def test_a_difference_of_2_to_the_minus_40_is_what_is_lost(digits, less):
    class Rounds(Plain):
        def normalised(self, x, *rest):
            return super().normalised(np.round(x / digits) * digits, *rest)

    assert works_in_less(Box(Rounds(TORCH))) == less


# A new layer.


def begins(mean=0.0, var=1.0, momentum=0.01, eps=1e-3, row="torch"):
    class Begins(Plain):
        def begin(self, x, given, given_eps):
            start = np.full(x.shape[1], mean, x.dtype), np.full(x.shape[1], var, x.dtype)
            used = momentum if given is None else given, eps if given_eps is None else given_eps
            return self.train(x, None, None, *start, *used)[:3]

    return Begins(ROWS[row])


def test_a_first_step_is_measured_in_full():
    assert probe("first_step", begins(2.0, 3.0)) == [
        Measurement(
            Key.FIRST_WEIGHT,
            "first weight of the new batch",
            0.25,
            "0.01 by default; 0.25 given",
            short="0.01",
        ),
        Measurement(Key.INITIAL_MEAN, "initial mean", 2.0),
        Measurement(Key.INITIAL_VARIANCE, "initial variance", 3.0),
        Measurement(Key.DEFAULT_EPS, "eps, by default", 1e-3, "from y of a new layer"),
    ]


@pytest.mark.parametrize("row", ["torch", "keras"])
@pytest.mark.parametrize(("mean", "var"), [(0.0, 0.0), (0.123456, 0.654321), (-7.0, 1e-5)])
def test_initial_statistics_are_found_whatever_the_row(row, mean, var):
    found = {m.key: m.value for m in probe("first_step", begins(mean, var, 0.9, 1e-5, row))}
    assert found[Key.INITIAL_MEAN] == pytest.approx(mean, abs=1e-9)
    assert found[Key.INITIAL_VARIANCE] == pytest.approx(var, abs=2e-6)  # of what is left of it six digits are kept
    assert found[Key.FIRST_WEIGHT] == pytest.approx(0.25 if row == "torch" else 0.75)
    assert found[Key.DEFAULT_EPS] == 1e-5


def test_eps_by_default_has_three_digits():
    assert probe("first_step", begins(eps=1.23456e-4))[-1].value == 1.23e-4


class Debiased(Plain):
    """What the first batch leaves is its own statistics, beside something that may be added."""

    added = (0.0, 0.0)

    def begin(self, x, momentum, eps):
        mean, var = self.statistics(x)
        y = self.normalised(x, mean, var, None, None, 1e-5)
        return y, mean + self.added[0], var + self.added[1]


def test_what_a_debiased_layer_leaves():
    made = Debiased(ROWS["haiku"])
    taken = "the first batch is taken as it is"
    assert [m for m in probe("first_step", made) if m.key is not Key.DEFAULT_EPS] == [
        Measurement(Key.FIRST_WEIGHT, "first weight of the new batch", 1.0, "1 by default; 0.25 given", short="1"),
        Measurement(Key.INITIAL_MEAN, "initial mean", "none", taken),
        Measurement(Key.INITIAL_VARIANCE, "initial variance", "none", taken),
    ]
    made.added = (-0.5, 0.1234567)  # of which six digits are told
    left = "is added to that of the first batch, at momentum 0.25"
    assert probe("first_step", made)[1:3] == [
        Measurement(Key.INITIAL_MEAN, "initial mean", -0.5, left),
        Measurement(Key.INITIAL_VARIANCE, "initial variance", 0.123457, left),
    ]


@pytest.mark.parametrize("row", ["torch", "tvm", "chainer", "tf-slim"])  # unbiased, and biased, by new and by old
def test_a_variance_that_weighs_its_start_beside_a_debiased_mean_is_told(row):
    class MeanAlone(Debiased):
        def begin(self, x, momentum, eps):
            y, mean, var = super().begin(x, momentum, eps)
            old, new = self.weights(0.01 if momentum is None else momentum)
            return y, mean, old * 3.0 + new * var * self.factor(x)

    found = {m.name: m.value for m in probe("first_step", MeanAlone(ROWS[row]))}
    assert (found["initial mean"], found["initial variance"]) == ("none", 3.0)


@pytest.mark.parametrize("eps", [1e-3, 1.25e-6])
def test_eps_by_default_is_told_in_float32_as_well(eps):
    narrow_layer = begins(eps=eps)
    narrow_layer.dtypes = ("float32",)
    assert probe("first_step", narrow_layer)[-1].value == eps


def test_a_layer_without_a_first_step_is_given_its_statistics():
    given = Measurement(Key.INITIAL_STATISTICS, "initial statistics", "given", "by the caller: nothing to measure")
    assert probe("first_step", box()) == [given]
    assert probe("first_step", InfersOnly(TORCH)) == []


# Where eps is added.

DIVISOR = "0.0349386 at var = 2^-12, eps = 2^-10"  # sqrt(5/4096)


def test_the_divisors_are_measured():
    assert probe("eps", box()) == [
        Measurement(Key.INFERENCE_DIVISOR, "divisor in inference", "sqrt(var + eps)", DIVISOR),
        Measurement(Key.TRAINING_DIVISOR, "divisor in training", "sqrt(var + eps)", DIVISOR),
        Measurement(Key.TINY_EPS, "eps of 1e-12", 1e-12, "is honoured"),
    ]


@pytest.mark.parametrize(
    ("divisor", "place", "number"),
    [
        (lambda v, e: np.sqrt(v) + e, "sqrt(var) + eps", 2**-6 + 2**-10),
        (lambda v, e: np.sqrt(np.maximum(v, e)), "sqrt(max(var, eps))", 2**-5),
        (lambda v, e: np.sqrt(v), "sqrt(var)", 2**-6),
        (lambda v, e: np.sqrt(v + 2 * e), "other", np.sqrt(9 / 4096)),
        (lambda v, e: np.sqrt(v + e) * (1 + 0.9e-4), "sqrt(var + eps)", np.sqrt(5 / 4096) * (1 + 0.9e-4)),
        (lambda v, e: np.sqrt(v + e) * (1 + 1.1e-4), "other", np.sqrt(5 / 4096) * (1 + 1.1e-4)),
    ],
)
def test_the_place_of_eps_is_told_to_four_digits(divisor, place, number):
    for found in probe("eps", box(divisor=divisor))[:2]:
        assert (found.value, found.note) == (place, f"{number:.6g} at var = 2^-12, eps = 2^-10")


def test_half_precision_tells_places_to_fewer_digits():
    rough = box(divisor=lambda v, e: np.sqrt(v + e) * (1 + 3e-3), dtypes=("float16",))
    found = probe("eps", rough)
    assert [m.value for m in found] == ["sqrt(var + eps)"] * 2  # and no word of an eps of 1e-12
    rough.divisor = lambda v, e: np.sqrt(v + e) * (1 + 8e-3)
    assert [m.value for m in probe("eps", rough)] == ["other"] * 2


def test_an_eps_of_1e_12_is_a_number_of_bfloat16():
    pytest.importorskip("ml_dtypes")
    assert [m.key for m in probe("eps", box(dtypes=("bfloat16",)))][2:] == [Key.TINY_EPS]


class OwnVariance(Plain):
    """The variance that normalises a batch is a factor times its own."""

    times = 1.0

    def train(self, x, gamma, beta, mean, var, momentum, eps):
        _, *moved, _ = super().train(x, gamma, beta, mean, var, momentum, eps)
        own, biased = self.statistics(x)
        return self.normalised(x, own, biased * self.times * self.factor(x), gamma, beta, eps), *moved, None


def test_an_unbiased_variance_is_looked_for_in_training_alone():
    inference, training, _ = probe("eps", OwnVariance(TORCH))
    assert (inference.value, training.value) == ("sqrt(var + eps)", "sqrt(var + eps), unbiased var")
    other = OwnVariance(TORCH)
    other.times = 0.9
    assert probe("eps", other)[1].value == "other"
    wrong = box(divisor=lambda v, e: np.sqrt(v * 8 / 7 + e))
    assert [m.value for m in probe("eps", wrong)[:2]] == ["other", "sqrt(var + eps), unbiased var"]


def test_moved_statistics_that_normalise_are_told():
    found = probe("eps", Plain(ROWS["equinox-ema"]))
    assert [m.value for m in found[:2]] == ["sqrt(var + eps)", "sqrt(moved var + eps)"]


@pytest.mark.parametrize(("off", "place"), [(0.9e-4, "sqrt(moved var + eps)"), (1.1e-4, "other")])
def test_moved_statistics_are_told_to_four_digits(off, place):
    moving = Plain(ROWS["equinox-ema"])
    moving.divisor = lambda var, eps: np.sqrt(var + eps) * (1 + off)
    assert probe("eps", moving)[1].value == place


def test_where_no_statistics_are_kept_a_divisor_of_1_is_not_that_of_moved_ones():
    made = box(without=("running mean", "running variance"), divisor=lambda v, e: e * 2.0**10 + 0 * v)
    assert [m.value for m in probe("eps", made)[:2]] == ["other"] * 2


def test_only_doors_that_are_there_are_tried():
    assert [m.key for m in probe("eps", TrainsOnly(TORCH))] == [Key.TRAINING_DIVISOR]
    assert [m.key for m in probe("eps", InfersOnly(TORCH))] == [Key.INFERENCE_DIVISOR, Key.TINY_EPS]
    nothing = box(without=("running mean", "running variance"))
    assert [m.value for m in probe("eps", nothing)[:2]] == ["sqrt(var + eps)"] * 2


@pytest.mark.parametrize(
    ("received", "value", "note"),
    [
        (lambda eps: max(eps, 1e-5), 1e-5, "is used whatever is passed"),
        (lambda eps: max(eps, 1e-7), 1e-7, "arrives so"),
        (lambda eps: 1e-18 / eps, 1e-6, "arrives so"),
        (lambda eps: eps + 0.9e-15, 1.001e-12, "is honoured"),
        (lambda eps: eps + 1.1e-15, 1.001e-12, "arrives so"),
        (lambda eps: eps * 1.23456, 1.235e-12, "arrives so"),
    ],
)
def test_the_smallest_eps_is_told(received, value, note):
    found = probe("eps", box(received=received))[-1]
    assert (found.key, found.value, found.note) == (Key.TINY_EPS, value, note)


def test_an_eps_that_is_left_out_makes_the_divisor_0():
    found = probe("eps", box(received=lambda eps: 0.0 if eps < 1e-9 else eps))[-1]
    assert np.isnan(found.value)
    assert found.note == "arrives so"


# Axes, and values that are too few.


def test_the_channels_keep_their_own_statistics():
    assert [(m.name, m.value, m.note, m.ranks) for m in probe("kept_axes", box())] == [
        ("axis with its own statistics, rank 2", (1,), "3 values of 12 together", (2,)),
        ("axis with its own statistics, rank 3", (1,), "6 values of 24 together", (3,)),
        ("axis with its own statistics, rank 4", (1,), "18 values of 72 together", (4,)),
        ("axis with its own statistics, rank 5", (1,), "36 values of 144 together", (5,)),
    ]
    assert probe("kept_axes", InfersOnly(TORCH)) == []
    assert [m.ranks for m in probe("kept_axes", box(ranks=(3, 4)))] == [(3,), (4,)]


def test_a_change_shows_in_half_precision_as_well():
    full, half = (probe("kept_axes", box(dtypes=(kind,))) for kind in ("float64", "float16"))
    assert half == full


def test_a_y_that_does_not_look_at_x_keeps_no_axis():
    constant = box(normalised=lambda x, *rest: np.zeros_like(x))
    assert [(m.value, m.note) for m in probe("kept_axes", constant)[:1]] == [((), "0 values of 12 together")]


@pytest.mark.parametrize("name", ["torch", "keras", "caffe", "torch-native", "chainer"])
def test_what_one_value_and_no_value_do_is_named_as_the_oracle_names_it(name):
    row = ROWS[name]
    for about, accepted in (("one_value_per_channel", row.one_value), ("empty_batch", row.empty)):
        (found,) = probe(about, Plain(row))
        assert found.name == about.replace("_", " ")
        assert found.value == accepted[-1]
        assert (found.note, found.ranks) == ("rank 2, 4", (2, 4))
    assert probe("empty_batch", InfersOnly(row)) == []


def test_what_ranks_do_alike_is_said_once():
    class ByRank(Plain):
        def policy(self, x, mean, var):
            return super().policy(x, mean, var) if x.ndim == 2 else None

    assert [(m.value, m.note, m.ranks) for m in probe("one_value_per_channel", ByRank(TORCH))] == [
        ("raises", "rank 2", (2,)),
        ("biased", "rank 4", (4,)),
    ]
    assert [m.ranks for m in probe("one_value_per_channel", box(ranks=(4,)))] == [(4,)]


# NaN.

STORED = "and running mean, running variance"


class Spoils(Plain):
    """What NaN in training makes of y, and of what is stored, is a rule of each; without NaN all is right."""

    def train(self, x, *rest):
        y, mean, var, _ = super().train(np.nan_to_num(x), *rest)
        if np.isnan(x).any():
            y, mean, var = self.rule(x, y), *self.left(mean, var)
        return y, mean, var, None


def spread_over(channels):
    def rule(x, y):
        return np.where(np.isin(np.arange(3), channels).reshape(1, 3, *[1] * (x.ndim - 2)), np.nan, y)

    return rule


@pytest.mark.parametrize(
    ("rule", "reach"),
    [
        (lambda x, y: y, "nothing: it disappears"),
        (lambda x, y: y + 0 * x, "its value"),
        (spread_over([0]), "its channel"),
        (spread_over([0, 1, 2]), "all channels"),
        (spread_over([2]), "all channels"),
        (lambda x, y: y + 0 * np.roll(x, 1, axis=0), "part of it"),
        (lambda x, y: y + 0 * x + 0 * np.roll(x, 1, axis=0), "part of it"),
    ],
)
@pytest.mark.parametrize(
    ("left", "note"),
    [
        (lambda mean, var: (mean, var), ""),
        (lambda mean, var: (mean * np.nan, var), "and running mean"),
        (lambda mean, var: (mean, var * np.inf), "and running variance"),
        (lambda mean, var: (mean * np.nan, var * np.nan), STORED),
    ],
)
def test_how_far_a_nan_reaches(rule, reach, left, note):
    spoils = Spoils(TORCH)
    spoils.rule, spoils.left = rule, left
    assert probe("nan", spoils) == [
        Measurement(Key.NAN, "NaN in training reaches", reach, note),
        Measurement(Key.NAN, "NaN in inference reaches", "its value"),
    ]


def test_nan_is_asked_of_what_is_there():
    assert [m.name for m in probe("nan", InfersOnly(TORCH))] == ["NaN in inference reaches"]
    assert said("nan", TrainsOnly(TORCH)) == [("nan", "its channel", STORED)]
    nothing_kept = box(without=("running mean", "running variance"))
    assert said("nan", nothing_kept)[0] == ("nan", "its channel", "")
    assert [m.value for m in probe("nan", box(ranks=(3,)))] == ["its channel", "its value"]


# Formats.


def test_formats_that_come_back_are_noted():
    back = {m.name: m.value for m in probe("formats", box()) if m.key is Key.FORMATS}
    assert back == {
        "x float64, statistics float64": "y float64, statistics float64",
        "x float32, statistics float32": "y float32, statistics float32",
        "x float16, statistics float16": "y float16, statistics float16",
        "x float16, statistics float32": "y float16, statistics float32",
    }
    assert probe("formats", InfersOnly(TORCH)) == []
    unmixed = [m.name for m in probe("formats", box(mixed=False))]
    assert "x float16, statistics float32" not in unmixed
    assert "x float16, statistics float16" in unmixed


class Widens(Plain):
    def train(self, x, gamma, beta, mean, var, *rest):
        if x.dtype == mean.dtype == np.float16 and self.refuses:
            raise TypeError("half statistics")
        y, mean, var, _ = super().train(x, gamma, beta, mean, var, *rest)
        return y, mean.astype(np.float32), var.astype(np.float64), None


def test_formats_that_differ_or_are_refused_are_said():
    made = Widens(TORCH)
    made.refuses, made.dtypes = True, ("float32", "float16")
    found = {m.name: (m.value, m.note) for m in probe("formats", made)}
    assert found["x float32, statistics float32"] == ("y float32, statistics float32 and float64", "")
    assert found["x float16, statistics float16"] == ("raises", "TypeError: half statistics")
    assert [name for name in found if "beyond" in name] == [
        "float16, statistics float32, squares beyond 65504",
        "float16, statistics float32, a sum beyond 65504",
    ]
    assert [name for name in found if "beyond" not in name and "at mean" not in name] == [
        "x float32, statistics float32",
        "x float16, statistics float16",
        "x float16, statistics float32",
    ]
    made.without, made.refuses = ("running mean", "running variance"), False
    back = {m.name: m.value for m in probe("formats", made) if m.key is Key.FORMATS}
    assert back == {"x float32": "y float32", "x float16": "y float16"}


class Sums(Plain):
    """Statistics in the format of x, summed plainly; ``square`` says whether deviations are squared there."""

    def statistics(self, x):
        axes = (0, *range(2, x.ndim))
        if self.square:
            wide = x.astype(np.float64)
            squares = ((wide - wide.mean(axes, keepdims=True)).astype(x.dtype)) ** 2
            return wide.mean(axes), squares.astype(np.float64).mean(axes)
        return x.sum(axes, dtype=x.dtype) / (x.size // x.shape[1]), x.astype(np.float64).var(axes)


@pytest.mark.parametrize(("square", "overflows"), [(True, "squares"), (False, "a sum")])
def test_half_precision_squares_and_sums_that_overflow_are_told(square, overflows):
    made = Sums(TORCH)
    made.square = square
    found = [m for m in probe("formats", made) if m.key is Key.HALF_SUMS]
    assert [(m.name, m.short, m.value) for m in found] == [
        (f"float16, statistics {kind}, {what} beyond 65504", kind, "overflows" if what == overflows else "survives")
        for what in ("squares", "a sum")
        for kind in ("float16", "float32")
    ]


class OnePass(Plain):
    def statistics(self, x):
        axes = (0, *range(2, x.ndim))
        mean = x.mean(axes, dtype=x.dtype)
        return mean, np.maximum((x * x).mean(axes, dtype=x.dtype) - mean * mean, 0)


def test_one_pass_is_told_from_two():
    by_name = {m.name: m for m in probe("formats", box()) if m.key is Key.VARIANCE}
    assert list(by_name) == ["float32, variance at mean/std 2^12", "float64, variance at mean/std 2^28"]
    for found in by_name.values():
        assert abs(found.value) < 1e-7
        assert (found.note, found.short) == ("two-pass, or wider than x", "two-pass")
    for found in (m for m in probe("formats", OnePass(TORCH)) if m.key is Key.VARIANCE):
        assert not found.value < 0.01
        assert (found.note, found.short) == ("one-pass, E[x^2] - E[x]^2", "one-pass")
    narrow_names = [m.name for m in probe("formats", narrow("train infer")(TORCH)) if m.key is Key.VARIANCE]
    assert narrow_names == ["float32, variance at mean/std 2^12"]


@pytest.mark.parametrize(
    ("off", "kind"), [(0.9e-3, "two-pass"), (-0.9e-3, "two-pass"), (1.1e-3, "one-pass"), (-1.1e-3, "one-pass")]
)
def test_a_variance_is_good_to_three_digits(off, kind):
    class Off(Plain):
        def normalised(self, x, *rest):
            return (super().normalised(x, *rest) * (1 + off * (np.abs(x).max() > 4000))).astype(x.dtype)

    for found in (m for m in probe("formats", Off(TORCH)) if m.key is Key.VARIANCE):
        assert found.value == pytest.approx(abs(off), abs=1e-5)
        assert found.short == kind


@pytest.mark.parametrize(("off", "told"), [(0.9e-2, True), (1.1e-2, False)])
def test_a_y_that_is_not_by_the_batch_tells_nothing_of_its_variance(off, told):
    class Near(Plain):
        def normalised(self, x, *rest):
            y = super().normalised(x, *rest)
            return (y * (1 + off * (np.abs(x).max() == 2))).astype(x.dtype)

    keys = {m.key for m in probe("formats", Near(TORCH))}
    assert keys == ({Key.FORMATS, Key.HALF_SUMS, Key.VARIANCE} if told else {Key.FORMATS})


@pytest.mark.parametrize(("off", "said"), [(0.008, "survives"), (0.012, "overflows")])
def test_half_precision_that_is_off_by_a_hundredth_has_overflown(off, said):
    class Off(Plain):
        def normalised(self, x, *rest):
            return (super().normalised(x, *rest) * (1 + off * (np.abs(x).max() > 30))).astype(x.dtype)

    assert {m.value for m in probe("formats", Off(TORCH)) if m.key is Key.HALF_SUMS} == {said}


@pytest.mark.parametrize("at", [0, -1])
def test_half_precision_of_which_one_value_is_off_has_overflown(at):
    class Off(Plain):
        def normalised(self, x, *rest):
            y = super().normalised(x, *rest)
            y.flat[at] *= 1 + (np.abs(x).max() > 30)
            return y

    assert {m.value for m in probe("formats", Off(TORCH)) if m.key is Key.HALF_SUMS} == {"overflows"}


# Inference.

NOTHING_SEEN = [
    ("batch-in-inference", "no", ""),
    ("statistics-in-inference", "no", ""),
    ("folding", 0.0, "not folded"),
]


def test_inference_that_is_right_has_nothing_to_tell():
    assert said("evaluation", box()) == NOTHING_SEEN
    assert said("evaluation", box(ranks=(2,))) == NOTHING_SEEN
    assert said("evaluation", TrainsOnly(TORCH)) == []
    assert said("evaluation", box(lacks=("beta",))) == NOTHING_SEEN[:2]
    assert [m.name for m in probe("evaluation", box())] == [
        "inference looks at the batch",
        "inference moves the statistics",
        "inference at x = mean, y - beta",
    ]


@pytest.mark.parametrize("which", [0, 1])
def test_inference_that_moves_one_statistic_is_told(which):
    class Moves(Plain):
        def infer(self, x, gamma, beta, *rest):
            assert gamma.shape == beta.shape == rest[0].shape == rest[1].shape == x.shape[1:2]
            rest[which][:] *= 0.5
            return super().infer(x, gamma, beta, *rest)

    assert said("evaluation", Moves(TORCH))[1] == ("statistics-in-inference", "yes", "")


def test_inference_that_looks_at_other_samples_is_told():
    class Looks(Plain):
        def infer(self, x, *rest):
            return super().infer(x, *rest) + x.max() * 1e-9

    assert said("evaluation", Looks(TORCH))[0] == ("batch-in-inference", "yes", "")


@pytest.mark.parametrize("scaled", [lambda x, gamma, std: x * (gamma / std), lambda x, gamma, std: x * gamma / std])
def test_folding_is_seen_in_the_last_digits(scaled):
    class Folded(Plain):
        def infer(self, x, gamma, beta, mean, var, eps):
            std = np.sqrt(var + eps)
            scaled_x = scaled(x, self._spread(gamma, x), self._spread(std, x))
            return (scaled_x + self._spread(beta - mean * (gamma / std), x)).astype(x.dtype)

    value, note = said("evaluation", Folded(TORCH))[2][1:]
    mean, std = float(np.float32(3000.7)), np.sqrt(0.7 + 2.0**-10)
    assert value == (scaled(mean, 1.3, std) + (0.1 - mean * (1.3 / std))) - 0.1
    assert 0 < abs(value) < 1e-11
    assert note == "folded to x a + b"


def test_float32_is_not_folding():
    narrow_box = narrow("infer")(TORCH)
    narrow_box.infer = lambda *a: Plain.infer(narrow_box, *[v.astype("float32") for v in a[:5]], a[5]).astype("float64")
    assert said("evaluation", narrow_box)[2] == ("folding", 0.0, "not folded")


@pytest.mark.parametrize("off", [2.0**-40, -(2.0**-40)])
def test_what_y_is_off_is_the_number_that_is_told(off):
    made = box(infer=lambda *arguments: Plain.infer(made, *arguments) + off)
    assert said("evaluation", made)[2] == ("folding", pytest.approx(off, rel=1e-3), "folded to x a + b")


# Formulas.

USUAL_Y = "y = gamma (x - {}mean) / std + beta, std^2 = {} + eps"


def test_formulas_are_those_of_every_map():
    assert said("formulas", box())[0] == ("formula", USUAL_Y.format("", "var"), "")
    found = {m.name: m.value for m in probe("formulas", Plain(ROWS["keras"]))}
    assert found == {
        "formula of y, training": USUAL_Y.format("", "var"),
        "formula of running mean": "running mean = a running mean + (1 - a) mean",
        "formula of running variance": "running variance = a running variance + (1 - a) var",
        "formula of y, inference": USUAL_Y.format("running ", "running variance"),
    }
    assert probe("formulas", box(ranks=())) == []
    assert [m.name for m in probe("formulas", InfersOnly(TORCH))] == ["formula of y, inference"]
    trained = ("y, training", "running mean", "running variance")
    assert [m.name for m in probe("formulas", TrainsOnly(TORCH))] == [f"formula of {name}" for name in trained]


class Freezes(Plain):
    """A frozen layer is one of running statistics; ``twice`` how often it counts eps, ``power`` how often gamma."""

    twice, power = 1, 1

    def frozen(self, x, gamma, beta, mean, var, eps):
        return self.infer(x, gamma**self.power, beta, mean, var, self.twice * eps), None


def test_a_frozen_layer_is_told_where_it_is_not_inference():
    made = Freezes(TORCH)
    assert "formula of frozen y" not in [m.name for m in probe("formulas", made)]
    made.twice = 2
    found = {m.name: m.value for m in probe("formulas", made)}
    assert found["formula of frozen y"] == USUAL_Y.format("running ", "running variance").replace("eps", "2 eps")
    made.twice, made.power = 1, 2
    found = {m.name: m.value for m in probe("formulas", made)}
    assert found["formula of frozen y"] == USUAL_Y.format("running ", "running variance").replace("gamma", "gamma^2")


def test_gradients_of_a_frozen_layer_are_told_be_it_that_of_inference_or_not():
    made = Correct()
    made.dtypes = ("float64",)
    found = {m.name: m.value for m in probe("formulas", made)}
    assert "formula of frozen y" not in found
    assert found["formula of frozen dx"] == "dx = gamma / std dy"
    assert found["formula of frozen dbeta"] == "dbeta = sum dy"


class Narrows(Plain):
    """Takes float64, and returns float32."""

    def normalised(self, x, *rest):
        return super().normalised(x, *rest).astype(np.promote_types("float16", min(x.dtype, np.dtype("float32"))))

    def train(self, x, gamma, beta, mean, var, *rest):
        y, mean, var, cache = super().train(x, gamma, beta, mean, var, *rest)
        return y, mean.astype(y.dtype), var.astype(y.dtype), cache


@pytest.mark.parametrize(("made", "kind"), [(Plain, "float64"), (Narrows, "float32")])
def test_formulas_are_read_of_small_plain_cases_in_the_first_format_that_is_kept(made, kind):
    asked = list(formulas._plain(Box(made(TORCH)), envelope_of(made(TORCH))))
    assert {(c.kind, c.parameters, c.situation.layout) for c in asked} == {(kind, kind, "ordinary")}
    for c in asked:
        assert np.isfinite([*c.x.flat, *c.dy.flat]).all(), c.id
        assert c.count > (c.operation == "training"), c.id
        assert c.x.size <= 300, c.id
    others = {c.id: c for c in cases(dtype=kind)}.keys() - {c.id for c in asked}
    for other in map(case, others):
        special = other.situation.layout != "ordinary" or not np.isfinite([*other.x.flat, *other.dy.flat]).all()
        assert special or other.count < 2 or other.x.size > 300 or other.parameters != kind, other.id


@pytest.mark.parametrize("made", [Plain, InfersOnly])
@pytest.mark.parametrize("name", sorted(ROWS))
def test_numbers_are_judged_by_the_weights_and_the_correction_that_a_box_has(name, made, monkeypatch):
    rows = []
    monkeypatch.setattr(formulas, "read_formulas", lambda seen, row, eps: rows.append(row) or ())
    probe("formulas", made(ROWS[name]))
    own = ROWS[name] if made is Plain else TORCH
    assert [(row.momentum, row.correction) for row in rows] == [(own.momentum, own.correction)]


def test_a_quantity_is_known_by_its_name_wherever_that_was_written(monkeypatch):
    own, judged = said("formulas", box()), formulas.judged_numbers

    def renamed(*arguments):
        return [replace(o, quantity=" ".join(o.quantity.split())) for o in judged(*arguments)]

    monkeypatch.setattr(formulas, "judged_numbers", renamed)
    assert said("formulas", box()) == own


def test_weights_and_a_correction_of_no_row_are_those_of_torch():
    row = formulas.with_weights("other", -1)
    assert (row.momentum, row.correction) == (TORCH.momentum, TORCH.correction)


def test_what_cannot_be_read_is_said_so_and_a_fixed_eps_is_a_number():
    def divisor(var, eps):
        return np.sqrt(var + 1e-3)

    values = {m.name: (m.value, m.note) for m in probe("formulas", box(divisor=divisor))}
    assert values["formula of y, training"] == ("y = gamma (x - mean) / std + beta, std^2 = var + 0.001", "")
    bends = box(weights=lambda a: (np.cos(a), np.sin(3 * a)))
    values = {m.name: (m.value, m.note) for m in probe("formulas", bends)}
    assert values["formula of running mean"] == ("not read", "")
    assert values["formula of y, training"] == (USUAL_Y.format("", "var"), "")


def test_an_update_of_no_row_is_said_to_be_so():
    found = {m.name: (m.value, m.note) for m in probe("formulas", box(weights=lambda a: (1 - a, a * a)))}
    assert found["formula of running mean"] == ("running mean = (1 - a) running mean + a^2 mean", "as in no row")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_row_that_is_followed_is_among_those_that_are_named_and_no_other_is(name, dtype):
    row = ROWS[name]
    made = Plain(row)
    made.dtypes = (dtype,)
    notes = {m.name: m.note for m in probe("formulas", made) if "running" in m.name}
    for what, note in notes.items():
        named = set(note.removeprefix("as in ").split(", "))
        alike = {
            other.name
            for other in ROWS.values()
            if other.momentum == row.momentum
            and ("mean" in what or other.correction == row.correction)
            and (dtype == "float32" or (other.momentum_as or other.attributes) == (row.momentum_as or row.attributes))
        }
        assert named == alike


def test_a_probe_that_raises_is_refused():
    def infer(*arguments):
        if arguments[5] == 1e-12:
            raise ValueError("tiny")
        return Plain.infer(made, *arguments)

    made = box(infer=infer)
    with pytest.raises(Refused, match="tiny"):
        probe("eps", made)
