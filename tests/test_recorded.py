"""The convention of recorded outputs: fitted from files alone, for a client of every kind of row, and for wrong ones.

The client below is plain NumPy and knows rows only by their words. Not verified: programs that write half precision
alone, where weights are told to two digits.
"""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from test_terms import made

from refnorm.cli import main
from refnorm.conventions import ROWS
from refnorm.formats import rounded
from refnorm.golden.export import export
from refnorm.oracle.ask.folder import exported
from refnorm.oracle.ask.target import TargetError
from refnorm.oracle.measure.from_files import DIGITS, _divisors, _weights, identify_outputs
from refnorm.oracle.measure.measurement import Key, Measurement

ALIKE = list({(row.momentum, row.correction): name for name, row in reversed(ROWS.items())}.values())


class Client:
    def __init__(self, momentum="new", correction=1):
        self.momentum, self.correction = momentum, correction

    def weights(self, a):
        return {"new": (1 - a, a), "old": (a, 1 - a), "sums": (a / (1 + a), 1 / (1 + a))}[self.momentum]

    def divisor(self, var, eps):
        return np.sqrt(var + eps)

    def normalise(self, x, mean, var, given, eps):
        along = (1, -1) + (1,) * (x.ndim - 2)
        y = (x - mean.reshape(along)) / self.divisor(var, eps).reshape(along)
        y = y * given["gamma"].reshape(along) if "gamma" in given else y
        return y + given["beta"].reshape(along) if "beta" in given else y

    def answer(self, entry, given):
        mean, var = given["running_mean"], given["running_var"]
        if entry["operation"] == "inference":
            return {"y": self.normalise(given["x"], mean, var, given, entry["eps"])}
        for step in range(entry["steps"]):
            x = given[f"batch.{step}"]
            m = x.size // x.shape[1]
            if m < 2:
                raise ValueError("too few values")
            axes = (0, *range(2, x.ndim))
            batch_mean, batch_var = x.mean(axis=axes), x.var(axis=axes)
            old, new = self.weights(entry["momentum"])
            mean, var = old * mean + new * batch_mean, old * var + new * batch_var * m / (m - self.correction)
        return {
            "y": self.normalise(x, batch_mean, batch_var, given, entry["eps"]),
            "running_mean": mean,
            "running_var": var,
        }


def write(directory, client, program=None, dtypes=("float64",)):
    export(directory, "npz", dtypes=dtypes)
    for entry in json.loads((directory / "export.json").read_text())["cases"]:
        with np.load(directory / entry["file"]) as file:
            given = {name: file[name].astype(float) for name in file.files}
        aside = directory / "outputs" / entry["id"]
        try:
            with np.errstate(all="ignore"):
                results = client.answer(entry, given)
        except ValueError as error:
            aside.with_name(f"{entry['id']}.json").write_text(json.dumps({"raises": str(error)}))
            continue
        for name, a in results.items():
            with np.errstate(over="ignore"):  # what a narrow format does not hold
                np.save(aside.with_name(f"{entry['id']}.{name}.npy"), a.astype(entry["dtype"]))
    if program:
        (directory / "outputs" / "program.json").write_text(json.dumps(program))


def measured(directory):
    (path,) = identify_outputs(directory)["paths"]
    return {m["name"]: m["value"] for m in path["measurements"]}, path


@pytest.mark.parametrize("name", ALIKE)
def test_momentum_and_variance_are_fitted_from_files(name, tmp_path):
    row = ROWS[name]
    write(tmp_path, Client(row.momentum, row.correction))
    values, path = measured(tmp_path)
    assert values["momentum"] == row.momentum
    assert values["running variance, k in m/(m - k)"] == row.correction
    assert values["divisor in training"] == values["divisor in inference"] == "sqrt(var + eps)"
    assert values["one value per channel"] == values["empty batch"] == "raises"
    assert values["formula of y, training"] == "y = gamma (x - mean) / std + beta, std^2 = var + eps"
    old, new = {"new": ("(1 - a)", "a"), "old": ("a", "(1 - a)"), "sums": ("a/(1 + a)", "1/(1 + a)")}[row.momentum]
    assert values["formula of running mean"] == f"running mean = {old} running mean + {new} mean"
    assert all(
        (ROWS[near].momentum, ROWS[near].correction) == (row.momentum, row.correction) for near in path["nearest"]
    )


def test_what_no_row_does_is_called_other(tmp_path):
    class Strange(Client):
        def weights(self, a):
            return 1 - a * 1.001, a * 1.001

        def divisor(self, var, eps):
            return np.sqrt(var) + eps

    write(tmp_path, Strange(), {"name": "mine", "convention": "torch", "operations": ["train", "infer"]})
    values, path = measured(tmp_path)
    assert values["momentum"] == "other"
    assert values["divisor in training"] == values["divisor in inference"] == "sqrt(var) + eps"
    assert {line.split(":")[0] for line in path["differs"]} >= {"momentum", "divisor in training"}


def test_single_precision_and_inference_alone(tmp_path):
    class Infers(Client):
        def answer(self, entry, given):
            if entry["operation"] == "training":
                raise ValueError("not offered")
            return super().answer(entry, given)

    write(tmp_path / "a", Client("old", 0), {"convention": "keras"}, ("float32",))
    values, path = measured(tmp_path / "a")
    assert (values["momentum"], values["running variance, k in m/(m - k)"]) == ("old", 0)
    assert [line for line in path["differs"] if not line.startswith("one value")] == []
    for entry in json.loads((tmp_path / "a" / "export.json").read_text())["cases"]:
        with np.load(tmp_path / "a" / entry["file"]) as file:
            shape = file["x" if entry["operation"] == "inference" else "batch.0"].shape
        for path in (tmp_path / "a" / "outputs").glob(f"{entry['id']}.*"):
            if np.prod(shape) != 2 * shape[1]:
                path.unlink()
    values, _ = measured(tmp_path / "a")  # of two values a channel alone
    assert values["momentum"] == "old"
    assert "one value per channel" not in values
    write(tmp_path / "b", Infers(), {"operations": ["infer"]}, ("float32",))
    values, _ = measured(tmp_path / "b")
    assert values["divisor in inference"] == "sqrt(var + eps)"
    assert "momentum" not in values


def test_each_case_of_the_widest_format_is_counted_as_it_is_read(tmp_path):
    write(tmp_path, Client(), dtypes=("float32", "float16"))
    steps = []
    identify_outputs(tmp_path, lambda *step: steps.append(step))
    numbers, totals, ids = zip(*steps, strict=True)
    assert numbers == tuple(range(1, len(steps) + 1))
    assert set(totals) == {len(steps)}
    assert len(set(ids)) == len(ids)
    assert {id.split(".")[2] for id in ids} == {"float32"}
    assert any("mixed-precision" in case.id for case in exported(tmp_path)[1])
    assert not any("mixed-precision" in id or "several-steps" in id for id in ids)


def test_a_folder_without_outputs_is_one_line_on_the_command_line(tmp_path, capsys):
    export(tmp_path, dtypes=["float32"])
    with pytest.raises(TargetError, match="no outputs to measure"):
        identify_outputs(tmp_path)
    assert main(["identify", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1


def test_a_folder_is_identified_on_the_command_line(tmp_path, capsys):
    write(tmp_path, Client("old", 0), {"name": "mine", "version": "3", "operations": ["train", "infer"]})
    assert main(["identify", str(tmp_path)]) == 1  # torch is what program.json means when it is silent
    said = capsys.readouterr().out
    assert "mine 3" in said
    assert identify_outputs(tmp_path)["paths"][0]["row"] == "torch"
    assert re.search(r"differs +momentum: old, torch has new", said)


# Weights, without files.


def fitted(client, counts=(2, 3, 8, 33), kind="float64", largest=1.0):
    """Return what is told of weights and correction by the running statistics of a client; x is of rank 2 and 4."""
    recorded = []
    for i, m in enumerate(counts):
        case = made((m, 3) if i % 2 else (1, 3, m, 1), momentum=(0.25, 0.125, 0.5)[i % 3]).case
        x = case.x
        axes = (0, *range(2, x.ndim))
        old, new = client.weights(case.momentum)
        var = x.var(axis=axes) * (m / (m - client.k(m)))
        stored = {
            "running_mean": old * case.running_mean + new * x.mean(axis=axes),
            "running_var": old * case.running_var * largest + new * var,
        }
        own = replace(case, running_var=case.running_var * largest)
        recorded.append((own, {name: rounded(value, kind) for name, value in stored.items()}))
    return {m.key: m for m in _weights(recorded, DIGITS[kind])}


class Corrects(Client):
    """The correction is k(m) of m values."""

    def __init__(self, k, momentum="new"):
        super().__init__(momentum)
        self.k = k


@pytest.mark.parametrize("kind", DIGITS)
@pytest.mark.parametrize("sense", ["new", "old", "sums"])
def test_a_weight_is_told_to_the_digits_of_the_format(sense, kind):
    found = fitted(Corrects(lambda m: 1, sense), kind=kind)
    assert found[Key.MOMENTUM].value == sense
    assert found[Key.NEW_WEIGHT].value == pytest.approx(Client(sense).weights(0.25)[1], abs=DIGITS[kind])
    last = fitted(Corrects(lambda m: 1, sense), (2, 3), kind)  # with momenta of 0.25 and 0.125
    assert last[Key.NEW_WEIGHT].value == pytest.approx(Client(sense).weights(0.25)[1], abs=DIGITS[kind])
    told = re.fullmatch(r"(\S+) at 0.25, (\S+) at 0.125, (\S+) at 0.5; fitted in 4 cases", found[Key.NEW_WEIGHT].note)
    each = [Client(sense).weights(a)[1] for a in (0.25, 0.125, 0.5)]
    assert [float(value) for value in told.groups()] == pytest.approx(each, abs=max(DIGITS[kind], 1e-6))
    if kind in ("float64", "float32"):
        assert found[Key.CORRECTION].value == 1


def test_a_correction_is_told_that_is_the_same_for_all_counts():
    assert fitted(Corrects(lambda m: 0))[Key.CORRECTION].value == 0
    assert str(fitted(Corrects(lambda m: -1e-6))[Key.CORRECTION].value) == "0.0"  # and not -0.0
    assert fitted(Corrects(lambda m: 0.5))[Key.CORRECTION].value == 0.5
    assert fitted(Corrects(lambda m: 1 + 1e-3 * (m > 30)))[Key.CORRECTION].value == 1
    assert fitted(Corrects(lambda m: 1 + 4e-3 * (m > 30)))[Key.CORRECTION].value == "other"
    assert fitted(Corrects(lambda m: 1 + 3.19e-3 * (m > 30)))[Key.CORRECTION].value == 1  # 100 * 64 * 5e-7 is 3.2e-3
    assert fitted(Corrects(lambda m: 1 + 3.21e-3 * (m > 30)))[Key.CORRECTION].value == "other"
    assert fitted(Corrects(lambda m: 0.256))[Key.CORRECTION].value == 0.26
    assert fitted(Corrects(lambda m: -1 if m > 30 else -0.5))[Key.CORRECTION].value == "other"
    half = fitted(Corrects(lambda m: m / 2))[Key.CORRECTION]
    assert half.value == "other"
    assert half.note == "from 1 to 16.5"


def test_of_many_values_no_correction_is_told_and_of_no_known_weights_none():
    assert Key.CORRECTION not in fitted(Corrects(lambda m: 1), counts=(65, 70))
    assert fitted(Corrects(lambda m: 1), counts=(64, 70))[Key.CORRECTION].value == 1
    assert fitted(Corrects(lambda m: m / 2 if m > 64 else 1), counts=(8, 100))[Key.CORRECTION].value == 1

    class Strange(Corrects):
        def weights(self, a):
            return 1 - a, a * 1.001

    found = fitted(Strange(lambda m: 1))
    assert found[Key.MOMENTUM].value == "other"
    assert found[Key.MOMENTUM].note == "no known rule"
    assert Key.CORRECTION not in found


def test_of_a_variance_that_no_batch_enters_no_correction_is_told():
    assert Key.CORRECTION not in fitted(Corrects(lambda m: -np.inf))
    assert Key.CORRECTION not in fitted(Corrects(lambda m: 2 * m))  # it is subtracted


def test_a_batch_that_hardly_counts_says_nothing_of_the_correction():
    assert Key.CORRECTION not in fitted(Corrects(lambda m: 1), largest=1e3)
    assert fitted(Corrects(lambda m: 1), largest=10)[Key.CORRECTION].value == 1


@pytest.mark.parametrize(("size", "told"), [(59.0, True), (61.0, False)])
def test_where_the_batchs_mean_is_thirty_times_the_old_one_no_weight_is_told(size, told):
    case = replace(made((4, 2)).case, running_mean=np.array([2.0, 0.0]))
    x = case.x - case.x.mean(0) + [0.0, size]
    moved = {"running_mean": 0.75 * case.running_mean + 0.25 * x.mean(0)}
    found = {m.key for m in _weights([(replace(case, batches=(x,)), moved)], DIGITS["float64"])}
    assert (Key.MOMENTUM in found) == told


def test_the_divisor_is_what_the_formula_of_y_says():
    said = {
        "y = gamma (x - mean) / std + beta, std^2 = var + eps": "sqrt(var + eps)",
        "y = gamma (x - running mean) / std + beta, std = sqrt(running variance) + eps": "sqrt(var) + eps",
        "y = beta": "other",
    }
    for words, place in said.items():
        formulas = [
            Measurement(Key.FORMULA, f"formula of {quantity}", words)
            for quantity in ("running mean", "y, training", "frozen y", "y, inference")
        ]
        found = [*_divisors(formulas[:3])]
        assert [(m.key, m.name, m.value) for m in found] == [("training-divisor", "divisor in training", place)]
        assert [m.value for m in _divisors(formulas)] == [place, place]
