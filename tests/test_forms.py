"""Forms that other suites read, each by a reader of its own: PyTorch's SampleInput, WebNN's tests, hipDNN's bundles.

torch runs the samples, and the bundles by a reader that knows the page of the form alone; node runs the file of WebNN's
tests. REFNORM_FRAMEWORKS=torch,expecttest and REFNORM_TOOLS=node make their absence a failure.

Not verified: a browser with WebNN, and hipDNN's own loader and runner.
"""

import json
import math
import os
import shutil
import subprocess
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from installed import framework

from refnorm.conventions import CONVENTIONS
from refnorm.formats import numpy_dtype
from refnorm.golden import case
from refnorm.golden.export import export, exported_cases
from refnorm.oracle.ask.target import TargetError
from refnorm.oracle.judge import compared
from refnorm.oracle.outputs import judge
from refnorm.testing import expected_of, sample_inputs

pytestmark = pytest.mark.filterwarnings("always:NOT TESTED")
CONSUMER = Path(__file__).parent / "consumers" / "wpt.mjs"
MISTAKES = ("eps-outside", "eps-ignored", "no-root", "bias-inside", "default-epsilon", "last-axis")


# PyTorch's SampleInput.


@pytest.fixture(scope="module")
def torch():
    framework("expecttest")
    return framework("torch")


def ran(torch, sample, batch_norm):
    """Run a sample as PyTorch's own suite does: the operator on input, args and kwargs; then its gradients."""
    y = batch_norm(sample.input, *sample.args, **sample.kwargs)
    given = {"dx": sample.input, "dgamma": sample.kwargs["weight"], "dbeta": sample.kwargs["bias"]}
    given = {name: leaf for name, leaf in given.items() if leaf is not None}
    dy = torch.tensor(case(sample.name).dy).to(y.dtype)
    results = dict(zip(given, torch.autograd.grad(y, list(given.values()), dy), strict=True))
    if sample.kwargs["training"]:
        moved = dict(zip(("running mean", "running variance"), sample.args, strict=True))
        return {"y, training": y, **moved, **results}
    return {"y, inference": y, **{f"frozen {name}": value for name, value in results.items()}}


def check(torch, sample, batch_norm):
    """Compare by torch.testing, in units of the bound of each element."""
    for quantity, got in ran(torch, sample, batch_norm).items():
        expected, bound = map(torch.tensor, expected_of(sample.name, quantity))
        difference, bound = got.detach().to(torch.float64) - expected, bound.expand(expected.shape)
        error = torch.where(difference == 0, 0.0, difference / bound)  # a bound is 0 where nothing is rounded
        assert torch.isfinite(expected).all()
        torch.testing.assert_close(error, torch.zeros_like(error), rtol=0, atol=1.0, msg=f"{sample.name}: {quantity}")


def samples(torch, dtype):
    return list(sample_inputs(None, "cpu", dtype, True))


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
def test_torchs_batch_norm_passes_every_sample(torch, dtype):
    found = samples(torch, getattr(torch, dtype))
    assert {s.name.split(".")[1] for s in found} == {"training", "inference"}
    assert all(s.input.dtype == getattr(torch, dtype) for s in found)
    assert len(found) > 60
    for sample in found:
        check(torch, sample, torch.nn.functional.batch_norm)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_formats_are_samples_too_and_y_is_right(torch, dtype):
    for sample in samples(torch, getattr(torch, dtype)):
        y = torch.nn.functional.batch_norm(sample.input, *sample.args, **sample.kwargs)
        quantity = f"y, {'training' if sample.kwargs['training'] else 'inference'}"
        (seen,) = compared(case(sample.name), CONVENTIONS["torch"], quantity, cast(y.detach()))
        assert seen.passed, sample.name


def cast(tensor):
    kind = str(tensor.dtype).removeprefix("torch.")
    return tensor.double().numpy().astype(numpy_dtype(kind))


def test_a_wrong_batch_norm_fails_samples(torch):
    def biased(x, mean, var, *, training, momentum, **options):
        moved, m = var.clone(), x.numel() // x.shape[1]
        y = torch.nn.functional.batch_norm(x, mean, moved, training=training, momentum=momentum, **options)
        if training:
            var.copy_((1 - momentum) * var + (moved - (1 - momentum) * var) * (m - 1) / m)
        return y

    def eps_twice(x, mean, var, *, eps, **options):
        return torch.nn.functional.batch_norm(x, mean, var, eps=2 * eps, **options)

    for wrong in (biased, eps_twice):
        failed = 0
        for sample in (s for s in samples(torch, torch.float64) if s.input.numel() < 1000):
            try:
                check(torch, sample, wrong)
            except AssertionError:
                failed += 1
        assert failed > 10, wrong.__name__


def test_samples_are_what_an_opinfo_takes(torch):
    from torch.testing._internal.opinfo.core import OpInfo

    info = OpInfo("nn.functional.batch_norm", sample_inputs_func=sample_inputs, dtypes=(torch.float32,))
    found = list(info.sample_inputs("cpu", torch.float32, requires_grad=True))
    assert [s.name for s in found] == [s.name for s in samples(torch, torch.float32)]
    assert found[0].input.requires_grad


# WebNN, as web-platform-tests have it.


@pytest.fixture(scope="module")
def webnn(tmp_path_factory):
    directory = tmp_path_factory.mktemp("webnn") / "tests"
    export(directory, "webnn")
    return directory


def run_wpt(webnn, which):
    if shutil.which("node") is None:
        reason = "NOT TESTED: there is no node, so nothing has run WebNN's tests"
        assert "node" not in os.environ.get("REFNORM_TOOLS", ""), reason
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)
    (file,) = (webnn / "webnn").iterdir()
    return subprocess.run(["node", CONSUMER, file, which], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("which", ["direct", "folded", "wide"])
def test_a_right_batch_norm_in_javascript_passes_webnns_tests(webnn, which):
    count = json.loads((webnn / "export.json").read_text())["total_cases"]
    done = run_wpt(webnn, which)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{count} passed, 0 failed\n", "")
    assert count > 30


@pytest.mark.parametrize("which", MISTAKES)
def test_a_wrong_one_fails(webnn, which):
    done = run_wpt(webnn, which)
    assert done.returncode == 1, done.stderr
    assert "FAIL bn.inference.float32." in done.stdout


def test_webnn_expected_values_are_exact(webnn):
    (file,) = (webnn / "webnn").iterdir()
    text = file.read_text(encoding="utf-8")
    tests = json.loads(text[text.index("[\n") : text.rindex("];") + 1])
    assert [t["name"] for t in tests] == [e["id"] for e in json.loads((webnn / "export.json").read_text())["cases"]]
    for test in tests:
        output = test["graph"]["expectedOutputs"]["bnOutput"]
        y = np.array(output["data"], np.float32).reshape(output["descriptor"]["shape"])
        (seen,) = compared(case(test["name"]), CONVENTIONS["torch"], "y, inference", y)
        assert seen.ratio == 0
        assert test["graph"]["tolerance"] > 0


def test_a_format_without_a_case_is_refused(tmp_path):
    with pytest.raises(ValueError, match="webnn can state no case of float16"):
        export(tmp_path / "none", "webnn", dtypes=["float16"])
    assert not (tmp_path / "none").exists()


# hipDNN's bundles.

FORMATS = {"double": ("<f8", "float64"), "float": ("<f4", "float32"), "half": ("<f2", "float16")}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    directory = tmp_path_factory.mktemp("hipdnn") / "bundles"
    export(directory, "hipdnn")
    return directory


def load(folder):
    """Read a bundle by what its page says: the graph, and each tensor by dims, strides and format."""
    (meta,) = folder.glob("*.meta.json")
    name = meta.name.removesuffix(".meta.json")
    graph, tensors = json.loads((folder / f"{name}.json").read_text()), {}
    for entry in graph["tensors"]:
        if "value" in entry:
            tensors[entry["uid"]] = entry["value"]
            continue
        raw, (dtype, _) = (folder / f"{name}.tensor{entry['uid']}.bin").read_bytes(), FORMATS[entry["data_type"]]
        size = np.dtype(dtype).itemsize
        assert len(raw) == size * math.prod(entry["dims"])
        strides = [size * stride for stride in entry["strides"]]
        tensors[entry["uid"]] = np.ndarray(entry["dims"], dtype, raw, strides=strides)
    return graph, tensors, json.loads(meta.read_text())


def computed(node, tensors):
    """Compute a node in float64, from the graph alone."""
    given = {name.removesuffix("_tensor_uid"): uid for name, uid in node["inputs"].items()}
    values = {name: tensors[uid] for name, uid in given.items() if isinstance(uid, int)}
    x = values["x"].astype(float)
    mean, variance = values.get("mean"), values.get("variance")
    if node["type"] == "BatchnormAttributes":
        axes = tuple(a for a in range(x.ndim) if a != 1)
        mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    scale, bias = (values[name].astype(float) for name in ("scale", "bias"))
    y = scale * (x - mean.astype(float)) / np.sqrt(variance.astype(float) + values["epsilon"]) + bias
    return {"y": y, "mean": mean}


def correctly_rounded(means, x):
    """Whether each channel's mean is within half a place of the exact one; of large arrays the first channel."""
    for c, mean in list(enumerate(means.reshape(-1)))[: None if x.size < 1000 else 1]:
        values = np.moveaxis(x, 1, 0)[c].reshape(-1)
        exact = sum(map(Fraction, values.tolist())) / values.size
        if abs(Fraction(float(mean)) - exact) > Fraction(float(np.spacing(np.abs(mean)))) / 2:
            return False
    return True


def test_a_mean_that_is_a_place_off_is_seen():
    x = np.array([[1.0], [2.0]], np.float32)
    assert correctly_rounded(np.array([1.5], np.float32), x)
    assert not correctly_rounded(np.nextafter(np.array([1.5], np.float32), np.float32(2)), x)


def test_every_bundle_is_read_and_computed_from_its_graph(bundles):
    entries = json.loads((bundles / "export.json").read_text())["cases"]
    by_id, types = {c.id: c for c in exported_cases(["float64", "float32", "float16"])}, set()
    folders = {meta.parent for meta in bundles.rglob("*.meta.json")}
    assert folders == {bundles / entry["folder"] for entry in entries}
    for entry in entries:
        graph, tensors, meta = load(bundles / entry["folder"])
        (node,) = graph["nodes"]
        item = by_id[entry["id"]]
        assert {"format_version", "generator", "reference_source", "reference_strategy"} <= set(meta)
        got, uid = computed(node, tensors), node["outputs"]["y_tensor_uid"]
        quantity = "y, training" if item.operation == "training" else "y, inference"
        exact = tensors[uid].reshape(item.x.shape).astype(numpy_dtype(item.kind))
        (stored,) = compared(item, CONVENTIONS["torch"], quantity, exact)
        assert stored.ratio == 0, entry["id"]
        mine = got["y"].reshape(item.x.shape).astype(numpy_dtype(item.kind))
        (right,) = compared(item, CONVENTIONS["torch"], quantity, mine)
        assert right.passed, entry["id"]
        if item.operation == "training":
            assert correctly_rounded(tensors[node["outputs"]["mean_tensor_uid"]], item.x), entry["id"]
        types.add((node["type"], graph["io_data_type"], tensors[0].ndim))
    assert {t for t, _, _ in types} == {"BatchnormAttributes", "BatchnormInferenceAttributesVarianceExt"}
    assert {d for _, d, _ in types} == set(FORMATS)
    assert {r for _, _, r in types} == {4, 5}


def test_a_bundle_of_another_formula_is_noticed(bundles):
    found = (bundles / "golden_reference_data").rglob("BatchnormInferenceAttributesVarianceExt/nchw/fp64/*")
    (folder,) = (path for path in found if path.name == "variance_near_eps_1")
    graph, tensors, _ = load(folder)
    (node,) = graph["nodes"]
    tensors[node["inputs"]["epsilon_tensor_uid"]] = 0.0
    item = case("bn.inference.float64.variance-near-eps.1")
    (seen,) = compared(item, CONVENTIONS["torch"], "y, inference", computed(node, tensors)["y"].reshape(item.x.shape))
    assert not seen.passed


@pytest.mark.parametrize("form", ["webnn", "bundles"])
def test_neither_is_for_the_judge(request, form):
    with pytest.raises(TargetError, match="holds tests for"):
        judge(request.getfixturevalue(form))
