"""The convention of recorded outputs: fitted from files alone, for a client of every kind of row, and for wrong ones.

The client below is plain NumPy and knows rows only by their words. Not verified: programs that write half precision
alone, where weights are told to two digits.
"""

import json

import numpy as np
import pytest

from refnorm.cli import main
from refnorm.conventions import ROWS
from refnorm.golden.export import export
from refnorm.oracle.ask.target import TargetError
from refnorm.oracle.measure.from_files import identify_outputs

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
    write(tmp_path / "b", Infers(), {"operations": ["infer"]}, ("float32",))
    values, _ = measured(tmp_path / "b")
    assert values["divisor in inference"] == "sqrt(var + eps)"
    assert "momentum" not in values


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
    assert "differs" in said
