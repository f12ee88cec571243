"""The golden set is language-neutral: a C99 and a JavaScript program that know nothing of refnorm confirm it.

Both must also fail, with the file and the case in one line, on every kind of damage. The manifest is signed anew after
each change, so that bytes and SHA-256 agree: it is counts and numbers that find it. Not verified: SHA-256 in C, which
has none; a changed input on which no stored result depends (x where gamma is 0, a batch where momentum is 0, the
channels that a sample of results leaves out, most of bn.errors.json): only a digest finds that.

A machine without cc or node warns and skips; with REFNORM_TOOLS=cc,node it fails.
"""

import hashlib
import json
import os
import random
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest

from refnorm.golden.generate import DATA

SAMPLED = True  # see conftest.py

pytestmark = pytest.mark.filterwarnings("always:NOT TESTED")

FOLDER = Path(__file__).parent / "consumers"
REQUIRED = frozenset(filter(None, os.environ.get("REFNORM_TOOLS", "").split(",")))
MANIFEST = json.loads((DATA / "MANIFEST.json").read_text())
SETS = {name: json.loads((DATA / name).read_text()) for name in MANIFEST["files"] if name.startswith("bn.")}
SMALL = "bn.running.bfloat16.json"  # for damage to a file, whatever it holds
EXPECTED = {d["operation"]: sorted(d["cases"][0]["expected"]) for d in SETS.values() if d["operation"] != "errors"}


def tool(name):
    path = shutil.which(name)
    if path is None and name in REQUIRED:
        pytest.fail(f"REFNORM_TOOLS={','.join(sorted(REQUIRED))}, but there is no {name}", pytrace=False)
    if path is None:
        reason = f"NOT TESTED: there is no {name}, so the consumer that needs it has not read the golden set"
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)
    return path


@pytest.fixture(scope="session", params=["cc", "node"])
def consumer(request, tmp_path_factory):
    path = tool(request.param)
    if request.param == "node":
        return [path, FOLDER / "consumer.mjs"]
    target = tmp_path_factory.mktemp("consumer") / "consumer"
    flags = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    subprocess.run([path, *flags, FOLDER / "consumer.c", "-lm", "-o", target], check=True)
    return [target]


def run(consumer, directory):
    return subprocess.run([*consumer, directory], capture_output=True, text=True, timeout=60, check=False)


def complaint(consumer, directory):
    """Return the one line on standard error of a consumer that fails."""
    done = run(consumer, directory)
    assert (done.returncode, done.stdout) == (1, ""), done
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def write(directory, texts, **changes):
    """Write files and a manifest whose bytes and SHA-256 are theirs, and whose counts are the set's or `changes`."""
    entries = {}
    for name, text in texts.items():
        (directory / name).write_text(text)
        digest = hashlib.sha256(text.encode()).hexdigest()
        entries[name] = {"cases": MANIFEST["files"][name]["cases"], "bytes": len(text.encode()), "sha256": digest}
        entries[name] |= {key: value for key, value in changes.items() if key in entries[name]}
    total = changes.get("total_cases", sum(entry["cases"] for entry in entries.values()))
    manifest = MANIFEST | {"total_cases": total, "files": entries}
    (directory / "MANIFEST.json").write_text(json.dumps(manifest))


def copied(name):
    return json.loads(json.dumps(SETS[name]))


def with_another_digit(number, rng):
    """Return a number whose first digit other than 0 is another one."""
    text = repr(number)
    at = next((k for k, digit in enumerate(text) if digit in "123456789"), text.find("0"))
    return float(text[:at] + rng.choice([digit for digit in "123456789" if digit != text[at]]) + text[at + 1 :])


def change_a_digit(data, rng):
    k = rng.randrange(len(data))
    data[k] = with_another_digit(data[k], rng)


def test_they_confirm_the_whole_set(consumer):
    done = run(consumer, DATA)
    results = [r for d in SETS.values() for case in d["cases"] for r in case.get("expected", {}).values()]
    policies = sum("accepted" in case for case in SETS["bn.errors.json"]["cases"])
    assert (done.returncode, done.stderr) == (0, "")
    assert f": {MANIFEST['total_cases']} cases, {sum(len(r['data']) for r in results)} numbers," in done.stdout
    assert f" {policies} policies not judged" in done.stdout
    assert float(done.stdout.split("of float64, ")[1].split(" %")[0]) > 99.9  # of the narrower: all but near a tie


def test_a_set_of_one_file_passes(consumer, tmp_path):  # so it is the damage that fails below
    write(tmp_path, {SMALL: json.dumps(SETS[SMALL])})
    assert run(consumer, tmp_path).returncode == 0


@pytest.mark.parametrize("operation", EXPECTED)
def test_a_changed_digit_of_any_result_fails_and_the_case_is_named(consumer, tmp_path, operation):
    for result in EXPECTED[operation]:
        rng = random.Random(operation + result)
        name = f"bn.{operation}.{rng.choice(['float64', 'float32', 'float16', 'bfloat16'])}.json"
        document = copied(name)
        case = rng.choice(document["cases"])
        change_a_digit(case["expected"][result]["data"], rng)
        write(tmp_path, {name: json.dumps(document)})
        assert f"{name}: {case['id']}: {result}[" in complaint(consumer, tmp_path)


@pytest.mark.parametrize("seed", range(10))
def test_a_changed_digit_in_a_random_case_fails_and_the_case_is_named(consumer, tmp_path, seed):
    rng = random.Random(seed)
    name = rng.choice(sorted(SETS.keys() - {"bn.errors.json"}))
    document = copied(name)
    case = rng.choice(document["cases"])
    change_a_digit(rng.choice(sorted(case["expected"].items()))[1]["data"], rng)
    write(tmp_path, {name: json.dumps(document)})
    assert f"{name}: {case['id']}: " in complaint(consumer, tmp_path)


@pytest.mark.parametrize("seed", range(10))
def test_a_changed_digit_of_an_input_fails_and_the_case_is_named(consumer, tmp_path, seed):
    rng = random.Random(seed)
    operation, tensor = rng.choice([("training", "x"), ("backward", "x"), ("backward", "dy"), ("frozen", "dy")])
    name = f"bn.{operation}.{rng.choice(['float64', 'float32', 'float16', 'bfloat16'])}.json"
    document = copied(name)
    case = rng.choice([case for case in document["cases"] if "data" in case[tensor]])
    change_a_digit(case[tensor]["data"], rng)
    write(tmp_path, {name: json.dumps(document)})
    assert f"{name}: {case['id']}: " in complaint(consumer, tmp_path)


@pytest.mark.parametrize("rule", ["hash", "mirrored", "quarters"])
def test_another_seed_of_a_rule_fails(consumer, tmp_path, rule):
    document = copied("bn.backward.float16.json")
    tensors = [(case["id"], case[t]) for case in document["cases"] for t in ("x", "dy")]
    id, tensor = next((id, t) for id, t in tensors if t.get("rule", {}).get("name") == rule)
    tensor["rule"]["seed"] += 1
    write(tmp_path, {"bn.backward.float16.json": json.dumps(document)})
    assert id in complaint(consumer, tmp_path)


@pytest.mark.parametrize("value", ["NaN", "Infinity", None, "0.5", []])
def test_what_is_no_finite_number_fails_as_an_expected_value(consumer, tmp_path, value):
    document = copied(SMALL)
    document["cases"][3]["expected"]["running_mean"]["data"][1] = value
    write(tmp_path, {SMALL: json.dumps(document)})
    assert document["cases"][3]["id"] in complaint(consumer, tmp_path)


def test_a_nan_that_has_gone_or_spread_fails(consumer, tmp_path):
    for edit in (
        lambda case: case["x"]["data"].__setitem__(case["x"]["data"].index("NaN"), 0.5),
        lambda case: case["x"]["data"].__setitem__(-1, "NaN"),
        lambda case: case["finite_channels"].pop(),
        lambda case: case["non_finite_channels"].append(case["finite_channels"].pop()),
    ):
        document = copied("bn.errors.json")
        case = next(case for case in document["cases"] if case["flags"] == ["nan"])
        edit(case)
        write(tmp_path, {"bn.errors.json": json.dumps(document)})
        assert case["id"] in complaint(consumer, tmp_path)


def test_an_empty_list_of_cases_fails(consumer, tmp_path):
    write(tmp_path, {SMALL: json.dumps(SETS[SMALL] | {"cases": []})})
    assert f"{SMALL}: 0 cases" in complaint(consumer, tmp_path)


def test_no_cases_fail_even_if_the_manifest_agrees(consumer, tmp_path):
    write(tmp_path, {SMALL: json.dumps(SETS[SMALL] | {"cases": []})}, cases=0)
    assert f"{SMALL}: 0 cases" in complaint(consumer, tmp_path)
    write(tmp_path, {})
    assert "MANIFEST.json: " in complaint(consumer, tmp_path)


def test_a_missing_case_fails(consumer, tmp_path):
    count = len(SETS[SMALL]["cases"])
    write(tmp_path, {SMALL: json.dumps(SETS[SMALL] | {"cases": SETS[SMALL]["cases"][1:]})})
    assert f"{SMALL}: {count - 1} cases, MANIFEST.json says {count}" in complaint(consumer, tmp_path)


def test_a_file_that_the_manifest_does_not_list_is_missed_in_the_total(consumer, tmp_path):
    write(tmp_path, {SMALL: json.dumps(SETS[SMALL])}, total_cases=MANIFEST["total_cases"])
    assert "MANIFEST.json: " in complaint(consumer, tmp_path)


def test_results_that_are_not_there_fail(consumer, tmp_path):
    for edit in (
        lambda case: case["expected"].pop("running_mean"),
        lambda case: case["expected"]["running_mean"].update(data=[]),
        lambda case: case["expected"]["running_mean"].update(data=[], at=[]),
        lambda case: case.pop("expected"),
    ):
        document = copied(SMALL)
        edit(document["cases"][0])
        write(tmp_path, {SMALL: json.dumps(document)})
        assert document["cases"][0]["id"] in complaint(consumer, tmp_path)


@pytest.mark.parametrize("name", [SMALL, "MANIFEST.json"])
def test_a_missing_file_fails(consumer, tmp_path, name):
    write(tmp_path, {SMALL: json.dumps(SETS[SMALL])})
    (tmp_path / name).unlink()
    assert f"{name}: " in complaint(consumer, tmp_path)


def test_an_empty_folder_fails(consumer, tmp_path):
    assert "MANIFEST.json: " in complaint(consumer, tmp_path)


@pytest.mark.parametrize("length", [0, 1, 1000, -1, -2, -3])
def test_a_truncated_file_fails(consumer, tmp_path, length):
    write(tmp_path, {SMALL: json.dumps(SETS[SMALL])[:length]})
    assert f"{SMALL}: " in complaint(consumer, tmp_path)


@pytest.mark.parametrize(
    ("wrong", "right"), [(": NaN,", ": 0.25,"), ("[,", "["), (",]", "]"), ("}{", "}, {"), ("1.2.", "1."), ("'", '"')]
)
def test_what_is_no_json_fails(consumer, tmp_path, wrong, right):
    text = json.dumps(SETS[SMALL])
    assert right in text
    write(tmp_path, {SMALL: text.replace(right, wrong, 1)})
    assert f"{SMALL}: " in complaint(consumer, tmp_path)
    write(tmp_path, {SMALL: text + "\n]"})
    assert f"{SMALL}: " in complaint(consumer, tmp_path)


def test_javascript_finds_a_flipped_digit_in_any_kind_of_file_by_its_digest(tmp_path):
    for name in (SMALL, *(MANIFEST["files"].keys() - SETS.keys())):
        text = (DATA / name).read_text()
        at = max(k for k, character in enumerate(text) if character.isdigit())
        write(tmp_path, {name: text})
        (tmp_path / name).write_text(text[:at] + str(9 - int(text[at])) + text[at + 1 :])
        assert f"{name}: its SHA-256 " in complaint([tool("node"), FOLDER / "consumer.mjs"], tmp_path)
