"""How many digits are lost, as `numerics` measures it: on boxes that lose as many as is said here.

The boxes compute in float64, and are off by the factors that are given. Not verified here: the report of it
(`test_plots`), real algorithms (`test_identify`).
"""

import hashlib

import numpy as np
import pytest

from refnorm.golden.inputs import arranged
from refnorm.golden.rule import uniform
from refnorm.oracle.ask.process import Loss
from refnorm.oracle.ask.target import Target, TargetError
from refnorm.oracle.measure import numerics as module
from refnorm.oracle.measure.numerics import LAYOUTS, batch, numerics

U = 2.0**-52


class Off:
    """Batch normalization whose results are off by factors; momentum weighs the new value, or running sums."""

    dtypes = ("float64", "float32", "float16")
    ranks = (2, 3, 4, 5)

    def __init__(self, y=0.0, inference=0.0, var=0.0, correction=1, sums=False):
        self.off, self.correction, self.sums = {"y": y, "infer": inference, "var": var}, correction, sums

    def normalised(self, x, gamma, beta, mean, var, eps):
        if x.ndim not in self.ranks:
            raise ValueError("rank")
        gamma, beta, mean, var = (
            np.asarray(a, float).reshape(1, -1, *[1] * (x.ndim - 2)) for a in (gamma, beta, mean, var)
        )
        return (np.ascontiguousarray(x, float) - mean) / np.sqrt(var + eps) * gamma + beta

    def train(self, x, gamma, beta, running_mean, running_var, momentum, eps):
        if not 0 < momentum < 1:
            raise ValueError("momentum")
        axes, m = (0, *range(2, x.ndim)), x.size // x.shape[1]
        wide = np.ascontiguousarray(x, float)
        mean, var = wide.mean(axes), wide.var(axes)
        y = self.normalised(x, gamma, beta, mean, var, eps) * (1 + self.off["y"])
        old, new = (momentum / (1 + momentum), 1 / (1 + momentum)) if self.sums else (1 - momentum, momentum)
        var = var * m / (m - self.correction) * (1 + self.off["var"])
        return y, old * running_mean + new * mean, old * running_var + new * var

    def infer(self, x, gamma, beta, running_mean, running_var, eps):
        return self.normalised(x, gamma, beta, running_mean, running_var, eps) * (1 + self.off["infer"])


class Trains(Off):
    infer = None

    def __getattribute__(self, name):
        if name == "infer":
            raise AttributeError(name)
        return super().__getattribute__(name)


class Infers(Off):
    def __getattribute__(self, name):
        if name == "train":
            raise AttributeError(name)
        return super().__getattribute__(name)


def target(*boxes, **named):
    return Target("box", "torch", "", {**dict(zip([""], boxes, strict=False)), **named})


def found(box, *arguments, **options):
    (result,) = numerics(target(box), *arguments, **options).values()
    return result


@pytest.mark.parametrize("ranks", [(2,), (2, 3, 4, 5), (3,), (5,)])
def test_each_error_is_measured_in_units_of_the_last_place(ranks):
    k = 2.0**16
    box = Off(k * U, -2 * k * U, 4 * k * U)
    box.ranks = ranks
    result = found(box, dtype="float64", ratios=(0, 10))
    assert result["dtype"] == "float64"
    assert result["ratios"] == [0, 10]
    for ratio in (0, 1):
        assert result["y"][ratio] == pytest.approx(k, rel=1e-2)
        assert result["inference"][ratio] == pytest.approx(2 * k, rel=1e-2)
        assert result["variance"][ratio] == pytest.approx(4 * k, rel=1e-2)


class Remembers(Infers):
    mean = None

    def infer(self, x, gamma, beta, running_mean, *rest):
        self.mean = running_mean if x.size == 512 else self.mean  # other batches are of other sizes
        return super().infer(x, gamma, beta, running_mean, *rest)


def test_inference_is_measured_at_the_mean_of_the_batch():
    box = Remembers()
    for ratio in (0, 7):
        assert found(box, dtype="float32", ratios=[ratio])["inference"][0] < 1
        assert box.mean.tolist() == [float(np.float32(ratio / np.sqrt(3)))] * 2


@pytest.mark.parametrize(("correction", "sums"), [(0, False), (1, True), (0, True)])
def test_the_variance_is_what_it_is_whatever_the_row_weighs_and_corrects(correction, sums):
    right, wrong = (found(Off(0, 0, off, correction, sums), dtype="float64", ratios=[1]) for off in (0, -512 * U))
    assert right["variance"][0] < 8
    assert wrong["variance"][0] == pytest.approx(512, abs=8)


@pytest.mark.parametrize("off", [1e-3, -1e-3])
@pytest.mark.parametrize("correction", [0, 1])
def test_a_variance_that_is_off_by_less_than_half_of_its_correction_is_taken_for_the_nearer_one(correction, off):
    result = found(Off(0, 0, off, correction), dtype="float64", ratios=[1])
    assert result["variance"][0] == pytest.approx(1e-3 / U, rel=1e-2)


class KeepsItsEps(Off):
    def normalised(self, x, gamma, beta, mean, var, eps):
        return super().normalised(x, gamma, beta, mean, var, 2.0**-4)


def test_a_box_whose_eps_is_fixed_is_measured_at_its_own():
    result = found(KeepsItsEps(), dtype="float64", ratios=[0])
    assert result["y"][0] < 8
    assert result["inference"][0] < 8


class Replaces(Off):
    def train(self, x, gamma, beta, running_mean, *rest):
        y, mean, _ = super().train(x, gamma, beta, running_mean, *rest)
        return y, mean, np.asarray(x, float).var((0, *range(2, x.ndim))) * (1 + self.off["var"])


def test_a_variance_has_its_own_weight():
    assert found(Replaces(), dtype="float64", ratios=[1])["variance"][0] < 8
    assert found(Replaces(0, 0, 512 * U), dtype="float64", ratios=[1])["variance"][0] == pytest.approx(512, abs=8)


class Stays(Off):
    def train(self, x, gamma, beta, running_mean, running_var, *rest):
        y, *_ = super().train(x, gamma, beta, running_mean, running_var, *rest)
        return y, np.asarray(running_mean), np.asarray(running_var)


def test_a_variance_that_takes_nothing_of_the_batch_has_no_error():
    result = found(Stays(), dtype="float64", ratios=[0])
    assert result["variance"] == [None]
    assert result["y"][0] < 8


class Fixed(Off):
    def normalised(self, x, gamma, beta, mean, var, eps):
        return super().normalised(x, gamma, beta, mean, var, 0.25)


def test_a_fixed_eps_is_no_error():
    result = found(Fixed(), dtype="float64", ratios=[0])
    assert result["y"][0] < 8
    assert result["inference"][0] < 8


@pytest.mark.parametrize(("dtype", "last"), [("float32", 2.0**-23), ("float16", 2.0**-10), ("bfloat16", 2.0**-7)])
def test_units_are_those_of_the_format(dtype, last):
    box = Off(64 * last, 32 * last)
    box.dtypes = ("float64", dtype)
    result = found(box, dtype=dtype, ratios=[0])
    assert (result["layouts"], result["digest"] == "") == ([], dtype == "bfloat16")
    assert result["y"] == [pytest.approx(64, abs=1)]
    assert result["inference"] == [pytest.approx(32, abs=1)]


def test_numbers_have_three_digits():
    (worst,) = found(Off(1234567 * U), dtype="float64", ratios=[0])["y"]
    assert worst == pytest.approx(1234567, rel=5e-3)
    assert worst == float(f"{worst:.3g}")


def test_by_default_every_ratio_is_measured_in_float32():
    result = found(Off())
    assert result["dtype"] == "float32"
    assert result["ratios"] == [0, 1, 10, 100, 1000, 10_000, 100_000, 1_000_000]
    assert all(len(result[key]) == 8 for key in ("y", "inference", "variance"))
    assert max(result["y"]) <= 1
    assert result["layouts"] == []


def test_a_format_that_is_not_taken_gives_way_to_the_widest():
    box = Off()
    box.dtypes = ("float64",)
    assert found(box, dtype="float16", ratios=[0])["dtype"] == "float64"


def test_a_mean_that_the_format_does_not_hold_is_not_measured():
    result = found(Off(), dtype="float16", ratios=(1, 1_000_000))
    for key in ("y", "inference", "variance"):
        assert result[key][0] < 2
        assert result[key][1] is None


def test_what_is_not_offered_is_not_measured():
    trained, inferred = (found(kind(), dtype="float64", ratios=[0]) for kind in (Trains, Infers))
    assert trained["inference"] == inferred["y"] == inferred["variance"] == [None]
    assert trained["y"][0] < 8
    assert trained["variance"][0] < 8
    assert inferred["inference"][0] < 8
    assert inferred["layouts"] == []
    box = Off()
    box.without = ("running mean", "running variance")
    kept_nothing = found(box, dtype="float64", ratios=[0])
    assert kept_nothing["variance"] == [None]
    assert kept_nothing["y"][0] < 8


class RefusesLarge(Off):
    def normalised(self, x, *rest):
        if np.abs(x.mean()) > 40:
            raise ValueError("large")
        return super().normalised(x, *rest)


class IsInfinite(Off):
    def normalised(self, x, *rest):
        return super().normalised(x, *rest) * (np.inf if np.abs(x.mean()) > 40 else 1)


@pytest.mark.parametrize("kind", [RefusesLarge, IsInfinite])
def test_what_raises_or_is_not_finite_has_no_error(kind):
    result = found(kind(), dtype="float64", ratios=(0, 1000))
    assert result["y"][0] < 8
    assert result["inference"][0] < 8
    assert result["y"][1] is result["inference"][1] is None


def test_a_box_that_always_raises_has_no_numbers():
    box = Off()
    box.ranks = ()
    assert found(box, dtype="float64") == {
        "dtype": "float64",
        "ratios": [0, 1, 10, 100, 1000, 10_000, 100_000, 1_000_000],
        **{key: [] for key in ("y", "inference", "variance", "layouts")},
        "digest": "",
    }


def test_paths_are_told_one_after_the_other_and_one_that_was_lost_is_left_out():
    said = []
    lost = {"numerics of other": Loss("it hung")}
    results = numerics(target(Off(), other=Off()), lambda *step: said.append(step), lost, "float64", [0])
    assert said == [(1, 2, "numerics of box"), (2, 2, "numerics of other")]
    assert set(results) == {"", "other"}
    assert results["other"] == {"lost": "it hung"}
    first = numerics(target(Off(), other=Off()), lost={"numerics of box": Loss("it hung")}, dtype="float64", ratios=[0])
    assert first[""] == {"lost": "it hung"}
    assert first["other"]["y"][0] < 8


def test_without_exact_results_there_is_nothing_to_measure(monkeypatch):
    monkeypatch.setattr(module, "can_compute", lambda: False)
    with pytest.raises(TargetError, match="pip install python-flint"):
        found(Off())


@pytest.mark.parametrize("dtype", ["float64", "float16"])
@pytest.mark.parametrize("shape", [(4096, 2), (64, 2, 64)])
def test_batches_have_the_mean_that_is_asked_for_and_are_of_the_format(shape, dtype):
    for ratio in (0, 5):
        x = batch(shape, ratio, dtype)
        assert x.shape == shape
        assert x.mean() == pytest.approx(ratio / np.sqrt(3), abs=0.03)
        assert x.std() == pytest.approx(1 / np.sqrt(3), rel=0.03)
        assert np.array_equal(x, x.astype(dtype))


# Memory layouts, and the digest.


class ByLayout(Off):
    def __init__(self, holds, does):
        super().__init__()
        self.holds, self.does = holds, does

    def normalised(self, x, *rest):
        y = super().normalised(x, *rest)
        return self.does(y) if x.shape[:2] == (6, 3) and self.holds(x) else y


def raising(y):
    raise TypeError("layout")


@pytest.mark.parametrize("kind", [ByLayout, type("Infers", (Infers, ByLayout), {})])
def test_layouts_that_change_y_are_named(kind):
    x = uniform((6, 3, 5, 5), 11)
    for layout in LAYOUTS:
        strides = arranged(x, layout).strides
        assert strides != x.strides
        alike = [name for name in LAYOUTS if arranged(x, name).strides == strides]
        box = kind(lambda x, strides=strides: x.strides == strides, lambda y: np.nextafter(y, 9))
        assert found(box, dtype="float64", ratios=[])["layouts"] == alike
        box = kind(lambda x, strides=strides: x.strides == strides, raising)
        assert found(box, dtype="float64", ratios=[])["layouts"] == [f"{name} raises TypeError" for name in alike]
    assert found(kind(lambda x: True, raising), dtype="float64", ratios=[])["layouts"] == ["C order raises TypeError"]


class Identity(Off):
    """Return x as it is, and remember it."""

    def normalised(self, x, *rest):
        super().normalised(x, *rest)
        if x.shape[1] == 16:
            self.seen = x.shape
        return x


def test_a_box_that_raises_for_a_large_batch_has_the_kind_of_error_for_a_digest():
    box = Off()
    box.normalised = lambda x, *rest: raising(x) if x.shape[1] == 16 else Off.normalised(box, x, *rest)
    assert found(box, dtype="float64", ratios=[])["digest"] == "TypeError"


@pytest.mark.parametrize(
    ("ranks", "shape"), [((2,), (4096, 16)), ((3,), (32, 16, 28)), ((4,), (32, 16, 28, 28)), ((5,), (32, 16, 28, 28))]
)
def test_the_digest_is_of_y_of_a_large_batch(ranks, shape):
    box = Identity()
    box.ranks = ranks
    own = (*shape, 1) if ranks == (5,) else shape
    expected = hashlib.sha256(uniform(shape, 13).astype("float32").tobytes()).hexdigest()[:16]
    assert found(box, ratios=[])["digest"] == expected
    assert box.seen == own


class RefusesMany(Off):
    def normalised(self, x, *rest):
        if x.size > 5000:
            raise MemoryError
        return super().normalised(x, *rest)


def test_a_large_batch_that_raises_has_the_name_of_the_error_for_a_digest():
    assert found(RefusesMany(), ratios=[])["digest"] == "MemoryError"
