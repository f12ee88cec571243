"""Exports, and the judge of what foreign programs write beside them: who is right conforms, every defect is a finding.

The client here reads the exported files by its own few lines (JSON, NumPy's npz, safetensors by the format's page) and
computes with refnorm's reference; `test_tfjs.py` has one that nobody here wrote. Judged in process; the command line at
the end. Not verified: Windows, directories that change while they are judged.
"""

import json
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from installed import framework

import refnorm
from refnorm.conventions import CONVENTIONS, ROWS
from refnorm.formats import FORMATS, numpy_dtype
from refnorm.frameworks.reference import Reference
from refnorm.golden import case as case_of
from refnorm.golden import cases
from refnorm.golden.export import export, exported_cases, outputs
from refnorm.golden.safetensors import pack
from refnorm.golden.truth import expected
from refnorm.oracle import outputs as judging
from refnorm.oracle.ask import folder, reading, recorded
from refnorm.oracle.ask.interface import FUNCTIONS
from refnorm.oracle.ask.target import TargetError
from refnorm.oracle.outputs import judge
from refnorm.oracle.quantities import FURTHER

SAMPLED = True  # see conftest.py

EVERYTHING = [*FUNCTIONS, *folder.FURTHER]


# The client: three readers, one computation, three writers.


def from_json(path, entry):
    document = json.loads(path.read_text())
    tensors = {f"batch.{k}": t for k, t in enumerate(document.get("batches", []))} | document
    kinds = {name: numpy_dtype(kind_of(name, entry)) for name in tensors}
    return {
        name: np.array([float(v) for v in t["data"]]).reshape(t["shape"]).astype(kinds[name])
        for name, t in tensors.items()
        if isinstance(t, dict)
    }


def from_npz(path, entry):
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name].astype(numpy_dtype(kind_of(name, entry))) for name in file.files}


def from_safetensors(path, entry):
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    kinds = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
    return {
        name: np.frombuffer(raw[8 + length :][slice(*t["data_offsets"])], numpy_dtype(kinds[t["dtype"]])).reshape(
            t["shape"]
        )
        for name, t in json.loads(raw[8 : 8 + length]).items()
    }


def kind_of(name, entry):
    wide = name in ("x", "dy", "y", "dx", "ddx") or name.startswith("batch")
    return "float64" if name in ("eps", "momentum") else entry["dtype"] if wide else entry["parameters"]


READERS = {"json": from_json, "npz": from_npz, "safetensors": from_safetensors}


def computed(entry, given, second):
    implementation = Reference()
    gamma, beta, mean, var, dy = (given.get(n) for n in ("gamma", "beta", "running_mean", "running_var", "dy"))
    if entry["operation"] == "training":
        for step in range(entry["steps"]):
            x = given[f"batch.{step}"]
            y, mean, var, cache = implementation.train(x, gamma, beta, mean, var, entry["momentum"], entry["eps"])
        results = {"y": y, "running_mean": mean, "running_var": var}
    else:
        y, cache = implementation.frozen(given["x"], gamma, beta, mean, var, entry["eps"])
        results = {"y": y}
    results |= dict(zip(("dx", "dgamma", "dbeta"), implementation.backward(dy, cache), strict=True))
    if second and "ddx" in given:
        moves = (given["ddx"], given.get("ddgamma"), given.get("ddbeta"))
        twice = implementation.double_backward(*moves, dy, cache)
        results["jvp"] = implementation.jvp(*moves, cache)
        results |= {f"double_backward_{n}": r for n, r in zip(("ddy", "dx", "dgamma"), twice, strict=True)}
    return results


def to_json(directory, id, results):
    names = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
    document = {
        name: None
        if a is None
        else {
            "dtype": a.dtype.name,
            "shape": list(a.shape),
            "data": [names.get(str(v), v) for v in a.reshape(-1).astype(float).tolist()],
        }
        for name, a in results.items()
    }
    (directory / f"{id}.json").write_text(json.dumps(document))


def to_npy(directory, id, results):
    for name, a in results.items():
        if a is not None:
            np.save(directory / f"{id}.{name}.npy", a.astype("float32") if a.dtype.name == "bfloat16" else a)


def to_safetensors(directory, id, results):
    tensors = {n: (a.dtype.name, a.astype(np.float64)) for n, a in results.items() if a is not None}
    (directory / f"{id}.safetensors").write_bytes(pack(tensors))


WRITERS = {"json": to_json, "npy": to_npy, "safetensors": to_safetensors}


def run_client(directory, writes, second=False):
    if second:
        (directory / "outputs" / "program.json").write_text(json.dumps({"operations": EVERYTHING}))
    manifest = json.loads((directory / "export.json").read_text())
    assert manifest["total_cases"] == len(manifest["cases"]) > 0
    for entry in manifest["cases"]:
        given = READERS[manifest["format"]](directory / entry["file"], entry)
        try:
            with np.errstate(all="ignore"):
                WRITERS[writes](directory / "outputs", entry["id"], computed(entry, given, second))
        except ValueError as error:
            (directory / "outputs" / f"{entry['id']}.json").write_text(json.dumps({"raises": str(error)}))
    return len(manifest["cases"])


@pytest.fixture(scope="module")
def right(tmp_path_factory):
    """An export with right outputs in JSON: bfloat16, which has the fewest cases, and all kinds of them."""
    directory = tmp_path_factory.mktemp("right") / "cases"
    export(directory, dtypes=["bfloat16"])
    run_client(directory, "json")
    return directory


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    """The same of a program that offers second order as well."""
    directory = tmp_path_factory.mktemp("second") / "cases"
    export(directory, dtypes=["bfloat16"])
    run_client(directory, "json", second=True)
    return directory


@pytest.fixture
def mine(right, tmp_path):
    return Path(shutil.copytree(right, tmp_path / "cases"))


def causes(report):
    return {finding.cause for finding in report.findings}


# What is right conforms.


@pytest.mark.parametrize(
    ("form", "writes", "dtypes"),
    [
        pytest.param("json", "json", ["float32", "bfloat16"], marks=pytest.mark.slow),  # most is reading large cases
        ("npz", "npy", ["float16", "bfloat16"]),
        ("safetensors", "safetensors", ["float64", "bfloat16"]),
    ],
)
def test_a_right_program_conforms_in_every_format(tmp_path, form, writes, dtypes):
    count = export(tmp_path / "cases", form, dtypes=dtypes)
    assert run_client(tmp_path / "cases", writes) == count == len(exported_cases(dtypes))
    report = judge(tmp_path / "cases")
    assert report.conforms, str(report)
    assert (report.cases, report.dtypes) == (count, tuple(dtypes))
    assert set(report.paths[0].not_judged) == {"jvp", "double backward"}


@pytest.mark.slow  # by default tests/test_oracle.py judges refnorm, format by format
def test_what_is_exported_is_judged_live_as_well():
    assert refnorm.check("refnorm", dtypes=[*FORMATS]).conforms


ALIKE = {(r.momentum, r.correction, r.attributes, r.one_value[0], r.empty[0]): name for name, r in ROWS.items()}


def exactly(case, row):
    """Return what is listed for a case, from exact values; None where the row has an error raised."""
    listed = {name: how for name, how in outputs(case).items() if not name.startswith(("jvp", "double_backward"))}
    asked = {name: np.dtype(numpy_dtype(kind)) for name, (kind, _) in listed.items()}
    if case.undefined:
        policy = (row.empty if case.count == 0 else row.one_value)[0]
        y = np.zeros(case.x.shape) + (0 if case.beta is None else case.beta.reshape(1, -1, *[1] * (case.x.ndim - 2)))
        mean, var = case.running_mean, case.running_var
        if policy == "biased":
            old, new = map(float, row.weights(case.momentum))
            mean, var = old * mean + new * case.x.reshape(case.x.shape[1]), old * var
        elif policy in ("non-finite", "other"):
            mean, var = (values + (np.nan if policy == "non-finite" else 5) for values in (mean, var))
        found = None if policy == "raises" else {"y": y, "running_mean": mean, "running_var": var}
    elif not np.isfinite(case.x).all() or not np.isfinite(case.dy).all():
        return None  # written by the client: there is no exact value
    else:
        results = expected(case, row)
        names = {"running_mean": "running mean", "running_var": "running variance"}
        prefix = "" if case.operation == "training" else "frozen "
        names |= {n: f"{prefix}{n}" for n in ("dx", "dgamma", "dbeta")} | {"y": f"y, {case.operation}"}
        found = {n: results[names[n]].rounded(kind) for n, (kind, _) in listed.items()}
    return found and {name: values.astype(asked[name]) for name, values in found.items() if name in listed}


@pytest.mark.parametrize("name", ALIKE.values())
def test_who_writes_exactly_what_is_listed_from_exact_values_conforms_under_every_row(tmp_path, name):
    """One row of each kind; the formats of export and outputs take turns."""
    row, turn = ROWS[name], list(ALIKE.values()).index(name)
    form, writes = list(zip(READERS, WRITERS, strict=True))[turn % 3]
    export(tmp_path, form, dtypes=["bfloat16"])
    (tmp_path / "outputs" / "program.json").write_text(json.dumps({"convention": name}))
    for entry in json.loads((tmp_path / "export.json").read_text())["cases"]:
        case = case_of(entry["id"])
        results = exactly(case, row)
        if results is None and case.undefined:
            (tmp_path / "outputs" / f"{case.id}.json").write_text('{"raises": "there are too few values"}')
            continue
        if results is None:
            results = computed(entry, READERS[form](tmp_path / entry["file"], entry), False)
        WRITERS[writes](tmp_path / "outputs", case.id, results)
    report = judge(tmp_path)
    assert report.conforms, str(report)
    assert report.convention == name


@pytest.mark.rest  # see conftest.py
def test_the_report_is_that_of_check(right):
    report, same = judge(right), refnorm.check("refnorm", dtypes=["bfloat16"])
    numbers = {(c.quantity, c.state, c.worst) for c in report.paths[0].cells}
    unwritten = {"repeatability", *FURTHER}  # what files do not hold
    of_check = {(c.quantity, c.state, c.worst) for c in same.paths[0].cells if c.quantity not in unwritten}
    assert numbers == of_check  # bfloat16 has no cases of memory layouts
    assert type(report).from_dict(report.to_dict()).to_dict() == report.to_dict()


def test_second_order_is_judged_where_it_is_offered(second):
    report, same = judge(second), refnorm.check("refnorm", dtypes=["bfloat16"])
    assert report.conforms, str(report)
    assert report.paths[0].not_judged == {}
    numbers = {(c.quantity, c.state, c.worst) for c in report.paths[0].cells}
    assert numbers == {(c.quantity, c.state, c.worst) for c in same.paths[0].cells if c.quantity != "repeatability"}


def test_second_order_that_is_wrong_or_missing_is_a_finding(second, tmp_path):
    mine = Path(shutil.copytree(second, tmp_path / "cases"))

    def negate(document):
        document["jvp"]["data"] = [-float(v) if not isinstance(v, str) else v for v in document["jvp"]["data"]]

    def edit(path, change):
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    for path in (mine / "outputs").glob("bn.inference.*"):
        edit(path, negate)
    edit(mine / "outputs" / "bn.training.bfloat16.rank-3.1.json", lambda d: d.pop("double_backward_dx"))
    found = {q: f.cause for f in judge(mine).findings for q in f.quantities}
    assert set(found) == {"frozen jvp", "double backward dx"}
    assert found["double backward dx"] == "output-missing"


def test_second_order_that_was_not_offered_is_surplus(second, tmp_path):
    mine = Path(shutil.copytree(second, tmp_path / "cases"))
    (mine / "outputs" / "program.json").unlink()
    assert causes(judge(mine)) == {"output-surplus"}


def test_a_convention_that_is_not_the_declared_one_is_named(right):
    report = judge(right, "keras")
    assert "momentum-sense+running-variance-unbiased" in causes(report)
    assert report.paths[0].nearest == "torch"


def test_a_convention_of_rank_2_leaves_other_ranks_aside(right):
    report = judge(right, "cs231n")
    assert 0 < report.cases < judge(right).cases
    assert "output-surplus" not in causes(report)


# What is not offered is said so, and not judged; silence is no excuse.


def test_an_operation_that_is_not_offered_is_not_judged(mine):
    for path in (mine / "outputs").glob("bn.inference.*"):
        path.unlink()
    assert causes(judge(mine)) == {"output-missing"}
    (mine / "outputs" / "program.json").write_text('{"name": "half", "operations": ["train", "backward"]}')
    report = judge(mine)
    assert report.conforms, str(report)
    absent = ("y, inference", "frozen gradients", "jvp", "double backward")
    assert report.paths[0].not_judged == dict.fromkeys(absent, "not offered")
    assert f"not judged: {', '.join(absent)}" in str(report)
    assert report.versions["target"] == "half"


def test_outputs_of_an_operation_that_is_not_offered_are_surplus(mine):
    (mine / "outputs" / "program.json").write_text('{"operations": ["train", "infer"]}')
    assert causes(judge(mine)) == {"output-surplus"}


@pytest.mark.parametrize(("which", "operations"), [("right", FUNCTIONS), ("second", EVERYTHING)])
def test_every_single_output_is_needed(request, which, operations):
    """Take each output of each case away, and each file: the case never passes."""
    right = request.getfixturevalue(which)
    files = folder.present(right / "outputs")
    for case in exported_cases(["bfloat16"]):
        whole = recorded.read_case(right, case, files, operations)
        assert not whole.defects
        assert all(o.passed for o in judging._judged_case(case, whole, CONVENTIONS["torch"], operations))
        gone = recorded.read_case(right, case, files - {f"{case.id}.json"}, operations)
        assert not all(o.passed for o in judging._judged_case(case, gone, CONVENTIONS["torch"], operations))
        document = json.loads((right / "outputs" / f"{case.id}.json").read_text())
        written = [name for name in outputs(case) if which == "second" or not name.startswith(("jvp", "double"))]
        for name in written if "raises" not in document else ():
            less = recorded.read_case(right, case, files, operations)
            del less.arrays[name]
            less.defects[name] = reading.ABSENT
            seen = judging._judged_case(case, less, CONVENTIONS["torch"], operations)
            assert any(o.trouble == reading.ABSENT for o in seen), (case.id, name)


@pytest.mark.parametrize("keep", [0, 1, 39])
def test_too_few_outputs_never_pass(mine, keep):
    for path in sorted((mine / "outputs").iterdir())[keep:]:
        path.unlink()
    report = judge(mine)
    assert causes(report) == {"output-missing"}
    assert report.cases == keep
    assert len(report.findings[0].cases) == 40 - keep


def test_no_outputs_directory_at_all_is_everything_missing(mine):
    shutil.rmtree(mine / "outputs")
    assert causes(judge(mine)) == {"output-missing"}


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("[]", "no JSON object"),
        ("{", "no JSON, or truncated"),
        ('{"operations": []}', "must have train or infer"),
        ('{"operations": ["backward", "infer"]}', "train if they have backward"),
        ('{"operations": ["infer", "jvp"]}', "train or frozen if they have jvp"),
        ('{"operations": ["fly"]}', "some of train, infer"),
        ('{"operations": [["train"]]}', "some of train, infer"),
        ('{"operations": 7}', "some of train, infer"),
        ('{"convention": "mine"}', "no convention 'mine'"),
        ('{"offers": 1}', "'offers' is none of its fields"),
    ],
)
def test_a_program_json_that_makes_no_sense_cannot_be_judged(mine, said, text):
    (mine / "outputs" / "program.json").write_text(said)
    with pytest.raises(TargetError, match=text):
        judge(mine)


# Every defect of an output is a finding, in words.

CASE = "bn.training.bfloat16.two-values.1"


def edited(change):
    def edit(path):
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    return edit


def as_npy(array, **options):
    def edit(path):
        document = json.loads(path.read_text())
        path.unlink()
        for name, t in document.items():
            values = np.array(t["data"], np.float32).reshape(t["shape"])
            np.save(path.with_name(f"{CASE}.{name}.npy"), array if name == "y" else values, **options)

    return edit


def as_safetensors(change):
    def edit(path):
        document = json.loads(path.read_text())
        path.unlink()
        values = {n: ("bfloat16", np.array(t["data"]).reshape(t["shape"])) for n, t in document.items()}
        path.with_suffix(".safetensors").write_bytes(change(pack(values)))

    return edit


def header(raw, old, new):
    length = int.from_bytes(raw[:8], "little")
    text = raw[8 : 8 + length].rstrip()
    assert old in text
    text = text.replace(old, new, 1)
    return len(text).to_bytes(8, "little") + text + raw[8 + length :]


def nan(document):
    for t in document.values():
        t["data"] = ["NaN"] * len(t["data"])


DEFECTS = {
    "missing": (Path.unlink, "output-missing", "the output file is missing"),
    "output missing": (edited(lambda d: d.pop("dx")), "output-missing", "an output is missing from its file"),
    "output null": (edited(lambda d: d.update(dbeta=None)), "output-missing", "an output is missing from its file"),
    "empty object": (lambda p: p.write_text("{}"), "output-missing", "an output is missing from its file"),
    "empty file": (lambda p: p.write_text(""), "output-unreadable", "it is no JSON, or truncated"),
    "truncated": (lambda p: p.write_text(p.read_text()[:-40]), "output-unreadable", "it is no JSON, or truncated"),
    "binary": (lambda p: p.write_bytes(b"\xff\xfe\x00" * 9), "output-unreadable", "it is no UTF-8"),
    "a list": (lambda p: p.write_text("[1]"), "output-unreadable", "it holds no JSON object"),
    "too deep": (lambda p: p.write_text("[" * 60000), "output-unreadable", "nested too deeply"),
    "too large": (lambda p: p.write_text(" " * 200_000), "output-unreadable", "more than"),
    "a name twice": (lambda p: p.write_text('{"y": 1, "y": 2}'), "output-unreadable", "'y' stands twice"),
    "too few numbers": (edited(lambda d: d["y"]["data"].pop()), "output-unreadable",
                        "5 numbers where shape [2, 3] has 6"),
    "numbers as text": (edited(lambda d: d["y"].update(data=["1"] * 6)), "output-unreadable", "element 0 is '1'"),
    "null numbers": (edited(lambda d: d["y"].update(data=[None] * 6)), "output-unreadable", "element 0 is null"),
    "booleans": (edited(lambda d: d["y"].update(data=[True] * 6)), "output-unreadable", "element 0 is True"),
    "nested data": (edited(lambda d: d["y"].update(data=[[1.0, 2.0, 3.0]] * 2)), "output-unreadable",
                    "2 numbers where"),
    "shape of halves": (edited(lambda d: d["y"].update(shape=[0.5, 12])), "output-unreadable", "non-negative integers"),
    "shape below 0": (edited(lambda d: d["y"].update(shape=[-2, -3])), "output-unreadable", "non-negative integers"),
    "unknown dtype": (edited(lambda d: d["y"].update(dtype="int8")), "output-unreadable", "dtype 'int8' is none of"),
    "bare list": (edited(lambda d: d.update(y=[1.0] * 6)), "output-unreadable", 'an array is {"shape"'),
    "raises and more": (edited(lambda d: d.update(raises="no")), "output-unreadable", "a text that stands alone"),
    "wrong shape": (edited(lambda d: d["y"].update(shape=[3, 2])), "shape",
                    "y, training has shape (3, 2), expected (2, 3)"),
    "wrong dtype": (edited(lambda d: d["y"].update(dtype="float64")), "dtype-changed",
                    "float64 comes back, expected bf"),
    "NaN-filled": (edited(nan), "only-two-values", "running mean · 4 more are wrong in the situation 'two-values'"),
    "surplus output": (edited(lambda d: d.update(z=d["y"])), "output-surplus", f"z in {CASE}.json"),
    "surplus file": (lambda p: (p.parent / "notes.txt").write_text(""), "output-surplus", "notes.txt"),
    "surplus folder": (lambda p: (p.parent / "more").mkdir(), "output-surplus", "more"),
    "misspelt case": (lambda p: p.rename(p.parent / "bn.json"), "output-surplus", "bn.json"),
    "hostile name": (lambda p: (p.parent / "a\x1b[2J\nb").write_text(""), "output-surplus", "a [2J b"),
    "two formats": (lambda p: p.with_suffix(".safetensors").write_bytes(pack({})), "output-unreadable", "not several"),
    "a folder": (lambda p: (p.unlink(), p.mkdir()), "output-unreadable", "no plain file"),
    "a pipe": (lambda p: (p.unlink(), os.mkfifo(p)), "output-unreadable", "no plain file"),
    "a link": (lambda p: (p.rename(p.parent.parent / "x"), p.symlink_to(p.parent.parent / "x")), "output-unreadable",
               "links are not followed"),
    "npy pickle": (as_npy(np.array([{"y": 1}], dtype=object)), "output-unreadable", "dtype object is no number's"),
    "npy text": (as_npy(np.array(["1"] * 6)), "output-unreadable", "is no number's"),
    "npy of integers": (as_npy(np.zeros((2, 3), np.int64)), "result-unusable", "has dtype int64, expected bfloat16"),
    "npy transposed": (as_npy(np.zeros((3, 2), np.float32)), "shape", "has shape (3, 2), expected (2, 3)"),
    "npy missing": (lambda p: (as_npy(np.zeros((2, 3)))(p), (p.parent / f"{CASE}.dx.npy").unlink()), "output-missing",
                    "the output file is missing"),
    "npy truncated": (lambda p: (as_npy(np.zeros((2, 3)))(p), cut(p.parent / f"{CASE}.y.npy")), "output-unreadable",
                      "takes 48 bytes, the file has 47"),
    "npy empty": (lambda p: (as_npy(np.zeros((2, 3)))(p), (p.parent / f"{CASE}.y.npy").write_bytes(b"")),
                  "output-unreadable", f"{CASE}.y.npy: "),
    "npy huge": (lambda p: (as_npy(np.zeros((2, 3)))(p), claim(p.parent / f"{CASE}.y.npy")), "output-unreadable",
                 "it is truncated or has a rest"),
    "safetensors truncated": (as_safetensors(lambda raw: raw[:-1]), "output-unreadable", "truncated or has a rest"),
    "safetensors too long": (as_safetensors(lambda raw: raw + b"\0"), "output-unreadable", "truncated or has a rest"),
    "safetensors cut": (as_safetensors(lambda raw: raw[:50]), "output-unreadable", "does not fit a file of 50"),
    "safetensors short": (as_safetensors(lambda raw: raw[:5]), "output-unreadable", "does not fit a file of 5"),
    "safetensors huge header": (as_safetensors(lambda raw: b"\xff" * 8 + raw[8:]), "output-unreadable", "does not fit"),
    "safetensors no JSON": (as_safetensors(lambda raw: raw[:8] + b"!" + raw[9:]), "output-unreadable",
                            "Expecting value"),
    "safetensors overlap": (as_safetensors(lambda raw: header(raw, b"[12,18]", b"[11,17]")), "output-unreadable",
                            "takes 6 bytes from 12 on, not 11 to 17"),
    "safetensors shape": (as_safetensors(lambda raw: header(raw, b"[2,3]", b"[2,9]")), "output-unreadable", "takes 36"),
    "safetensors below 0": (as_safetensors(lambda raw: header(raw, b"[2,3]", b"[-2,-3]")), "output-unreadable",
                            "non-negative"),
    "safetensors dtype": (as_safetensors(lambda raw: header(raw, b"BF16", b"F7")), "output-unreadable",
                          "has dtype 'F7'"),
    "safetensors of integers": (as_safetensors(lambda raw: header(raw, b"BF16", b"I16")), "result-unusable",
                                "has dtype int16, expected bfloat16"),
    "safetensors field": (as_safetensors(lambda raw: header(raw, b'"shape"', b'"form"')), "output-unreadable",
                          "must have dtype, shape and data_offsets"),
}  # fmt: skip


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def claim(path):
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (1 << 60,)})


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_is_a_finding_in_words(mine, defect):
    edit, cause, text = DEFECTS[defect]
    edit(mine / "outputs" / f"{CASE}.json")
    report = judge(mine)
    assert not report.conforms
    assert cause in causes(report), str(report)
    assert text in " ".join(str(report).split()), str(report)
    assert "\x1b" not in str(report)


def test_many_unreadable_files_are_one_finding(mine):
    for path in (mine / "outputs").iterdir():
        path.write_text(path.read_text()[:-3])
    report = judge(mine)
    assert [(f.cause, len(f.cases)) for f in report.findings] == [("output-unreadable", 40)]
    assert report.notes[-1] == "and 32 more files like these"


def test_messages_that_differ_in_numbers_are_one_finding(mine):
    refused = [c for c in exported_cases(["bfloat16"]) if c.operation == "training" and c.finite and c.count > 1]
    for case in refused:
        text = json.dumps({"raises": f"cannot broadcast {case.x.shape} to {case.x.size}"})
        (mine / "outputs" / f"{case.id}.json").write_text(text)
    (finding,) = judge(mine).findings
    assert finding.title.startswith("train raised ProgramError: cannot broadcast (N) to N")
    assert len(finding.cases) == len(refused)


def test_one_refused_operation_leaves_the_other_judged(mine):
    path = mine / "outputs" / f"{CASE}.json"
    document = json.loads(path.read_text())
    kept = {name: document[name] for name in ("y", "running_mean", "running_var")}
    path.write_text(json.dumps(kept | {"raises": {"backward": "not today"}}))
    (finding,) = judge(mine).findings
    assert (finding.cause, finding.quantities) == ("raises", ("dx",))
    assert "backward raised ProgramError: not today" in finding.title


def test_junit_counts_surplus_as_a_failure(mine):
    from refnorm.oracle.shown import junit

    (mine / "outputs" / "more.json").write_text("{}")
    assert 'failures="1"' in junit(judge(mine))


def test_a_printed_snippet_shows_the_file_again(mine):
    edited(lambda d: d["y"].update(data=[9.0] * 6))(mine / "outputs" / f"{CASE}.json")
    report = judge(mine)
    snippet = next(f["reproduce"] for f in report.to_dict()["findings"]).partition('"')[2][:-1]
    done = subprocess.run([sys.executable, "-c", snippet], capture_output=True, text=True, check=True)
    assert f"{CASE}, y, training, judged as torch" in done.stdout
    assert "got      [[9. 9. 9.]" in done.stdout


# What cannot be judged.


def altered(name, old, new):
    def edit(directory):
        text = (directory / name).read_text()
        assert old in text
        (directory / name).write_text(text.replace(old, new, 1))

    return edit


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (lambda d: (d / "export.json").unlink(), "is no export"),
        (lambda d: (d / "export.json").write_text("{}"), "is no export"),
        (lambda d: (d / "export.json").write_text("nonsense"), "is no export"),
        (altered("export.json", '"refnorm_export": 1', '"refnorm_export": 9'), "is no export"),
        (altered("export.json", '"format": "json"', '"format": "/../../etc/passwd"'), "is no export"),
        (altered("export.json", '"dtypes": ["bfloat16"]', '"dtypes": ["float7"]'), "is no export"),
        (altered("export.json", '"dtypes": ["bfloat16"]', '"dtypes": [{}]'), "is no export"),
        (altered("export.json", '"dtypes": ["bfloat16"]', '"dtypes": ["float32"]'), "holds other cases"),
        (altered("export.json", f'"id": "{CASE}"', '"id": "../../x"'), "holds other cases"),
        (altered("export.json", '"inputs": "', '"inputs": "0'), "holds other cases"),
        (altered("export.json", '"set": "20', '"set": "19'), "holds other cases"),
        (altered(f"inputs/{CASE}.json", "0.", "1."), "is not what was exported"),
        (lambda d: (d / "outputs").rename(d / "o") and (d / "outputs").symlink_to(d / "o"), "links are not followed"),
        (lambda d: (d / "inputs").rename(d / "i") and (d / "inputs").symlink_to(d / "i"), "is not what was exported"),
    ],
)
def test_what_is_no_export_of_this_set_is_refused(mine, edit, text):
    edit(mine)
    with pytest.raises(TargetError, match=text):
        judge(mine)


def test_a_manifest_with_fewer_cases_is_refused(mine):
    manifest = json.loads((mine / "export.json").read_text())
    manifest["cases"] = manifest["cases"][:1]
    (mine / "export.json").write_text(json.dumps(manifest))
    with pytest.raises(TargetError, match="holds other cases"):
        judge(mine)


# Exporting.


def test_an_export_holds_no_expected_values(right):
    for path in (right / "inputs").iterdir():
        assert not {"y", "dx", "expected", "mean", "var"} & set(json.loads(path.read_text()))


def test_the_same_export_is_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        export(tmp_path / name, "safetensors", dtypes=["bfloat16"])
    for path in (tmp_path / "a").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


def test_every_case_about_numbers_is_exported(right):
    listed = [entry["id"] for entry in json.loads((right / "export.json").read_text())["cases"]]
    assert listed == [c.id for c in cases(dtype="bfloat16") if c.situation.layout == "ordinary"]


def test_a_directory_with_other_things_is_refused_and_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="is not empty and no earlier export"):
        export(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(FileExistsError, match="is a file"):
        export(tmp_path / "mine.txt")


def test_an_earlier_export_is_replaced_and_its_outputs_stay(mine):
    (mine / "my-program").write_text("precious")
    export(mine, "safetensors", dtypes=["bfloat16"])
    assert {p.suffix for p in (mine / "inputs").iterdir()} == {".safetensors"}
    assert (mine / "my-program").read_text() == "precious"
    assert judge(mine).conforms
    assert {p.name for p in mine.iterdir()} == {"INSTRUCTIONS.md", "export.json", "inputs", "my-program", "outputs"}


def test_an_interrupted_export_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(tmp_path / "cases", progress=interrupted)
    assert list(tmp_path.iterdir()) == []


def test_the_instructions_name_every_field_and_output(right):
    page = (right / "INSTRUCTIONS.md").read_text()
    manifest = json.loads((right / "export.json").read_text())
    names = set(manifest["cases"][0]) - {"sha256", "inputs"} | set(recorded.WRITES) | {"running_var", "dgamma"}
    assert all(name in page for name in names)
    assert "@" not in page


def test_the_published_safetensors_package_reads_and_is_read():
    published = framework("safetensors.numpy")
    from refnorm.golden.safetensors import unpack

    arrays = {"x": np.array([[1.5, -0.0], [np.inf, 3]], np.float32), "y": np.zeros((0, 3)), "h": np.float16([1, 2, 3])}
    read = published.load(pack({n: (a.dtype.name, a.astype(float)) for n, a in arrays.items()}))
    for name, array in arrays.items():
        for other in (read[name], unpack(published.save(arrays))[name]):
            assert (other.dtype, other.shape, other.tobytes()) == (array.dtype, array.shape, array.tobytes())


# ONNX node tests.


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    framework("onnx")
    directory = tmp_path_factory.mktemp("onnx") / "nodes"
    export(directory, "onnx", dtypes=["float32", "float16"])
    return directory


def tensors(data, kind):
    from onnx import TensorProto, numpy_helper

    paths = sorted(data.glob(f"{kind}_*.pb"), key=lambda path: int(path.stem.split("_")[1]))
    return [numpy_helper.to_array(TensorProto.FromString(path.read_bytes())) for path in paths]


def test_onnxs_own_loader_finds_every_node_test(nodes, tmp_path):
    framework("onnx")
    from onnx.backend.test.loader import load_model_tests

    (tmp_path / "refnorm").symlink_to(nodes / "node")  # for the kind "node" the loader builds ONNX's own tests instead
    found = load_model_tests(data_dir=str(tmp_path), kind="refnorm")
    count = json.loads((nodes / "export.json").read_text())["total_cases"]
    assert len(found) == count == len(list((nodes / "node").iterdir())) > 100
    assert all(Path(test.model_dir, "model.onnx").is_file() for test in found)


def test_onnxruntime_passes_the_node_tests(nodes):
    runtime = framework("onnxruntime")
    import onnx

    from refnorm.frameworks.onnxruntime import REFUSALS, load
    from refnorm.oracle.judge import compared

    by_id = {case.id: case for case in exported_cases(["float32", "float16"])}
    ran, refused = set(), set()
    for entry in json.loads((nodes / "export.json").read_text())["cases"]:
        folder, case = nodes / entry["folder"], by_id[entry["id"]]
        model = onnx.load(folder / "model.onnx")
        given = tensors(folder / "test_data_set_0", "input")
        wanted = tensors(folder / "test_data_set_0", "output")
        names = [i.name for i in model.graph.input]
        try:
            got = load(model).run(None, dict(zip(names, given, strict=True)))
        except REFUSALS:
            refused.add((case.operation, case.kind, case.parameters))
            continue
        ran.add((case.operation, case.kind, case.parameters))
        training = case.operation == "training"
        quantities = ("y, training", "running mean", "running variance") if training else ("y, inference",)
        for quantity, array, exact in zip(quantities, got, wanted, strict=True):
            seen = list(compared(case, CONVENTIONS["onnx"], quantity, np.asarray(array)))
            assert all(o.passed for o in seen), [o for o in seen if not o.passed]
            (stored,) = compared(case, CONVENTIONS["onnx"], quantity, np.asarray(exact))
            assert stored.ratio == 0, "the stored output is the exact value, rounded"
    assert {("inference", "float32", "float32"), ("training", "float32", "float32")} <= ran, (runtime.__version__, ran)
    assert not ran & refused


def test_onnx_node_tests_are_not_for_the_judge(nodes):
    with pytest.raises(TargetError, match="holds ONNX node tests"):
        judge(nodes)


# StableHLO programs.

FRAGILE = {"large-mean", "large-count", "many-channels", "two-values", "subnormal-values"}  # XLA's variance is one-pass


@pytest.mark.parametrize("dtypes", [["bfloat16"], [*FORMATS]], ids=len)
def test_every_program_says_how_much_it_computes_and_how_much_is_exact(tmp_path, dtypes):
    modules = tmp_path / "modules"
    export(modules, "stablehlo", dtypes=dtypes)
    entries = json.loads((modules / "export.json").read_text())["cases"]
    assert {entry["file"] for entry in entries} == {f"modules/{path.name}" for path in (modules / "modules").iterdir()}
    assert {entry["id"].split(".")[2] for entry in entries} == set(dtypes)
    for entry in entries:
        text, count = (modules / entry["file"]).read_text(), len(entry["results"])
        assert text.startswith(f"// {entry['id']}: {count} computed, then {count} expected\n")
        assert re.findall(r"return (.*) :", text) == [
            ", ".join([*(f"%{name}" for name in entry["results"]), *(f"%expected_{name}" for name in entry["results"])])
        ]


def test_xla_runs_the_programs_and_their_constants_are_exact(tmp_path):
    """Inference is right; training where the mean is not large: its variance is mean(x^2) - mean(x)^2.

    Of float16 the constants alone are looked at: XLA sums it in half, a tier of its own.
    """
    jax = framework("jax")
    from run_stablehlo import executed

    from refnorm.golden.stablehlo import ROW
    from refnorm.oracle.judge import compared

    export(tmp_path / "modules", "stablehlo", dtypes=[*FORMATS])
    by_id, fragile, ran = {c.id: c for c in exported_cases(["float64", "float32", "float16"])}, set(), set()
    for id, name, got, wanted in executed(tmp_path / "modules"):
        if name in ("mean", "var") or ".bfloat16." in id:
            continue  # of a batch: no quantity of the oracle; a format that needs ml_dtypes
        case = by_id[id]
        quantity = {"y": "y, inference" if case.operation == "inference" else "y, training"}.get(name, name)
        (exact,) = compared(case, ROW, quantity, wanted)
        assert exact.ratio == 0, (id, name)
        ran.add((case.operation, case.kind, name))
        if case.kind != "float16" and not all(o.passed for o in compared(case, ROW, quantity, got)):
            assert case.operation == "training", (jax.__version__, id)
            fragile.add(case.situation.name)
    assert fragile <= FRAGILE, jax.__version__
    assert {("inference", "float64", "y"), ("training", "float16", "dgamma")} <= ran


def test_programs_are_not_for_the_judge(tmp_path):
    export(tmp_path / "modules", "stablehlo", dtypes=["bfloat16"])
    with pytest.raises(TargetError, match="holds programs with their results"):
        judge(tmp_path / "modules")


# The command line.


def command(*arguments, cwd):
    done = subprocess.run(
        [sys.executable, "-m", "refnorm", *arguments], cwd=cwd, capture_output=True, text=True, timeout=60
    )
    assert "Traceback" not in done.stderr + done.stdout
    return done


@pytest.mark.rest  # see conftest.py
def test_export_then_judge_from_the_command_line(tmp_path):
    done = command("golden", "export", "cases", "--dtypes", "bfloat16", "--format", "npz", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "40 cases in cases; cases/INSTRUCTIONS.md says what to do with them\n"
    run_client(tmp_path / "cases", "npy")
    done = command("judge", "cases", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "conforms to torch" in done.stdout
    done = command("judge", "cases", "--convention", "onnx", "--format", "json", "--output", "r.json", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "refnorm: cases deviates; see r.json\n"
    assert json.loads((tmp_path / "r.json").read_text())["convention"] == "onnx"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("judge", "nowhere"), "there is no directory nowhere; make one with: refnorm golden export nowhere"),
        (("judge", "."), ". is no export"),
        (("golden", "export", "."), ". is not empty and no earlier export"),
        (("golden", "export", "a.txt/b"), "a.txt"),
        (("golden", "lint", "nowhere"), "there is no directory nowhere"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_2(tmp_path, arguments, text):
    (tmp_path / "a.txt").write_text("")
    done = command(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert text in done.stderr


def test_lint_fails_an_empty_folder(tmp_path):
    done = command("golden", "lint", ".", cwd=tmp_path)
    assert (done.returncode, done.stdout.startswith("MANIFEST.json cannot be read")) == (1, True)


@pytest.mark.parametrize("words", [("judge",), ("golden", "export"), ("golden", "lint")])
def test_help_has_an_example_and_the_exit_statuses(tmp_path, words):
    done = command(*words, "--help", cwd=tmp_path)
    assert "example:" in done.stdout
    assert "exit status: 0" in done.stdout
