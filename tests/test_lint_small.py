"""`refnorm golden lint` on a set of three cases: of every damage, exactly the lines that it is told in, and no more.

The set is written by hand and its manifest anew after each change, so that one line of the linter decides. What is
damaged in the real set, by chance and in every file, is in test_lint.py.
"""

import hashlib
import json
import math
import random
import shutil

import pytest

from refnorm.golden import lint as linter
from refnorm.golden.canonical import canonical, digest
from refnorm.golden.generate import DATA
from refnorm.golden.lint import lint

SPREAD = {"flags.json": "flags", "released.json": "ids", "schema.json": ""}
TENTH = 13421773 / 2**27  # 1/10 in float32, which float16 has not
FIRST, SECOND, THIRD = "bn.training.float16.a.1", "bn.training.float16.b.1", "bn.running.float64.a.1"
ONE, TWO = "bn.training.float16.json", "bn.running.float64.json"


def tensor(*data, shape=None, **more):
    return {"shape": shape or [len(data)], "data": list(data), **more}


def written():
    """The documents of the set."""
    results = {"y": tensor(-1.0, 1.0, shape=[2, 1]), "mean": tensor(2.0), "var": tensor(TENTH)}
    training = {"flags": ["a"], "shape": [2, 1], "parameters": "float32", "eps": 0.5}
    x = tensor(1.0, 3.0, shape=[2, 1])
    first = {"id": FIRST, **training, "x": x, "gamma": tensor(TENTH), "beta": None, "expected": results}
    second = {"id": SECOND, **training, "flags": ["a", "b"], "x": x, "gamma": None, "beta": None, "expected": results}
    kept = {"running_mean": tensor(0.1, rest=[2.0**-58]), "running_var_correction_0": tensor("NaN", rest=[0.0])}
    kept["running_var_correction_1"] = {"shape": [100], "data": [8.0], "at": [7]}
    third = {"id": THIRD, "flags": ["b"], "shape": [2, 1], "parameters": "float64", "momentum": 0.5}
    rule = {"name": "quarters", "seed": 3}
    third |= {"batches": [x, {"shape": [2, 1], "rule": rule}], "running_mean": tensor(0.1), "running_var": tensor(1.0)}
    head = {"schema": 1, "set": "2026.11"}
    told = {"bug": "something is wrong", "effect": "It shows.", "links": []}
    documents = {
        TWO: {**head, "operation": "running", "dtype": "float64", "cases": [third | {"expected": kept}]},
        ONE: {**head, "operation": "training", "dtype": "float16", "cases": [first, second]},
        "flags.json": {**head, "flags": {"a": told, "b": told}},
        "released.json": {"schema": 1, "ids": {}},
    }
    return json.loads(json.dumps(documents))  # nothing is shared


def cases_in(document):
    return document.get("cases", [])


class Small:
    """A folder with the set, its documents, and its manifest."""

    def __init__(self, folder):
        self.folder, self.documents = folder, written()
        self.manifest = {"schema": 1, "set": "2026.11", "total_cases": 3, "files": {}}
        (folder / "README.md").write_text("A set.\n")
        shutil.copy(DATA / "schema.json", folder)
        self.release()

    def release(self):
        """Write down the digests of the cases as they are."""
        released = (case for document in self.documents.values() for case in cases_in(document))
        self.documents["released.json"]["ids"] = {case["id"]: digest(case) for case in released}

    def write(self, name):
        (self.folder / name).write_text(canonical(self.documents[name], SPREAD.get(name, "cases")))

    def list(self, name):
        """Note a file in the manifest as it is on disk."""
        raw = (self.folder / name).read_bytes()
        count = len(cases_in(self.documents.get(name, {})))
        entry = {"cases": count, "bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
        self.manifest["files"][name] = entry

    def finish(self):
        (self.folder / "MANIFEST.json").write_text(canonical(self.manifest, "files"))
        return lint(self.folder)

    def problems(self):
        for name in self.documents:
            self.write(name)
        for name in (*self.documents, "README.md", "schema.json"):
            self.list(name)
        return self.finish()


def first_case(small):
    return small.documents[ONE]["cases"][0]


def third_case(small):
    return small.documents[TWO]["cases"][0]


@pytest.fixture
def small(tmp_path):
    return Small(tmp_path)


@pytest.fixture
def without_schema(monkeypatch):
    """Leave the schema out, which objects to most of what is tried here as well."""
    monkeypatch.setattr(linter, "find_spec", lambda name: None)


def test_a_small_set_is_whole(small):
    assert small.problems() == []


def test_a_set_may_have_many_cases_and_an_array_many_numbers(small):
    first, third = first_case(small), third_case(small)
    first["x"] = tensor(*[1.0] * 300, shape=[300, 1])
    third["expected"]["running_mean"] = tensor(*[0.1] * 300, rest=[0.0] * 300)
    cases_in(small.documents[ONE]).extend(first | {"id": f"{FIRST}{number}"} for number in range(298))
    small.manifest["total_cases"] = 301
    small.release()
    assert small.problems() == []


def test_files_are_bounded_by_eight_mebibytes(small):
    for size, said in ((2**23, []), (2**23 + 1, ["it has 8388609 bytes, more than 8388608"])):
        with (small.folder / "README.md").open("wb") as file:
            file.truncate(size)
        assert small.problems() == [f"README.md: the structure is not that of a set: {what}" for what in said]


def test_the_manifest_is_bounded_as_well(small):
    small.problems()
    with (small.folder / "MANIFEST.json").open("ab") as file:
        file.truncate(2**23 + 1)
    assert lint(small.folder) == ["MANIFEST.json cannot be read: it has 8388609 bytes, more than 8388608"]


@pytest.mark.parametrize("seed", range(8))
def test_a_flipped_digit_of_the_manifest_is_found_and_named(small, seed):
    assert small.problems() == []
    path, rng = small.folder / "MANIFEST.json", random.Random(seed)
    whole = path.read_text()
    place = rng.choice([place for place, sign in enumerate(whole) if sign.isdigit()])
    path.write_text(whole[:place] + str((int(whole[place]) + rng.randint(1, 9)) % 10) + whole[place + 1 :])
    assert any("MANIFEST.json" in problem for problem in lint(small.folder))


def test_files_that_are_missing_left_over_or_not_plain_are_named_in_order(small):
    assert small.problems() == []
    for name in (ONE, "README.md"):
        (small.folder / name).unlink()
    for name in ("z.txt", "LEFT.txt", "b.txt"):  # before and after MANIFEST.json in the alphabet
        (small.folder / name).write_text("")
    for name in ("z", "c"):
        (small.folder / name).mkdir()
    (small.folder / "flags.json").unlink()
    (small.folder / "flags.json").symlink_to(small.folder / "b.txt")
    problems = lint(small.folder)
    assert problems[:8] == [
        "c is no plain file",
        "flags.json is no plain file",
        "z is no plain file",
        "README.md is missing",
        f"{ONE} is missing",
        "LEFT.txt is not in MANIFEST.json",
        "b.txt is not in MANIFEST.json",
        "z.txt is not in MANIFEST.json",
    ]
    assert problems[8:] == [
        "MANIFEST.json: total_cases is 3, the files hold 1",
        *(f"released.json: the id {id} was released and is gone" for id in (FIRST, SECOND)),
        f"{TWO}: the flag b is not defined in flags.json",
    ]


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("bytes", 8, "it has 7 bytes, MANIFEST.json says 8"),
        ("bytes", 6, "it has 7 bytes, MANIFEST.json says 6"),
        ("sha256", "0" * 64, "its SHA-256 is not the one in MANIFEST.json"),
        ("sha256", "f" * 64, "its SHA-256 is not the one in MANIFEST.json"),
        ("cases", 1, "MANIFEST.json says that it holds 1 cases"),
        ("cases", -1, "MANIFEST.json says that it holds -1 cases"),
    ],
)
def test_what_the_manifest_says_of_a_file_is_true(small, field, value, said):
    small.problems()
    small.manifest["files"]["README.md"][field] = value
    assert small.finish() == [f"README.md: {said}"]


@pytest.mark.parametrize("count", [1, 3])
def test_the_manifest_counts_the_cases_of_each_file(small, count):
    small.problems()
    small.manifest["files"][ONE]["cases"] = count
    assert small.finish() == [f"{ONE}: it has 2 cases, MANIFEST.json says {count}"]


def test_a_file_without_a_case_is_no_file_of_cases_and_the_files_after_it_are_looked_at(small, without_schema):
    small.documents[TWO]["cases"] = []
    small.documents[ONE]["cases"][1]["flags"] = ["a", "b", "c"]
    small.manifest["total_cases"] = 2
    small.release()
    assert small.problems() == [
        f"{TWO}: it has 0 cases, MANIFEST.json says 0",
        f"{ONE}: the flag c is not defined in flags.json",
    ]


@pytest.mark.parametrize("total", [2, 4])
def test_the_manifest_counts_all_cases(small, total):
    small.manifest["total_cases"] = total
    assert small.problems() == [f"MANIFEST.json: total_cases is {total}, the files hold 3"]


@pytest.mark.parametrize("name", [ONE, TWO])
@pytest.mark.parametrize("change", [{"set": "2027.01"}, {"set": "2025.01"}, {"schema": 2}, {"schema": 0}])
def test_all_files_are_of_one_set_and_one_schema(small, without_schema, name, change):
    small.documents[name] |= change
    assert small.problems() == [f"MANIFEST.json: set and schema differ from those of {name}"]


@pytest.mark.parametrize("change", [(": ", ":  "), ("\n", " ")])
@pytest.mark.parametrize("name", [ONE, "flags.json", "released.json"])
def test_files_are_in_canonical_form(small, name, change):
    small.problems()
    text = (small.folder / name).read_text()
    (small.folder / name).write_text(text.replace(*change, 1))
    small.list(name)
    assert small.finish() == [f"{name}: not in canonical form"]


@pytest.mark.parametrize("name", ["a.json", "z.json"])
def test_a_file_that_is_no_part_of_a_set_is_asked_for_its_form_alone(small, name):
    for text, said in (('{\n"a": 1\n}\n', []), ('{"a": 1}', [f"{name}: not in canonical form"])):
        small.problems()
        (small.folder / name).write_text(text)
        small.list(name)
        assert small.finish() == said


@pytest.mark.parametrize("name", ["notes", "notes.csv", "notes.txt"])
def test_only_what_is_called_json_is_read_as_such(small, name):
    small.problems()
    (small.folder / name).write_text("{")
    small.list(name)
    assert small.finish() == []


@pytest.mark.parametrize(("before", "after"), [("", " "), (" ", "")])
def test_the_manifest_is_in_canonical_form(small, before, after):
    small.problems()
    path = small.folder / "MANIFEST.json"
    path.write_text(before + path.read_text() + after)
    assert lint(small.folder) == ["MANIFEST.json: not in canonical form"]


@pytest.mark.parametrize(("before", "after"), [("", "\n"), (" ", "")])
def test_the_schema_is_the_one_that_is_known_byte_by_byte(small, before, after):
    small.problems()
    path = small.folder / "schema.json"
    path.write_text(before + path.read_text() + after)
    small.list("schema.json")
    assert small.finish() == ["schema.json: not the schema that this refnorm knows"]


def test_a_file_that_is_no_json_is_said_to_be_none_and_nothing_else_of_it(small):
    small.problems()
    (small.folder / "flags.json").write_text("{")
    small.list("flags.json")
    problems = small.finish()
    assert problems[0].startswith("flags.json: it is no JSON: JSONDecodeError: Expecting property name")
    assert problems[1:] == [f"{ONE}: the flag {flag} is not defined in flags.json" for flag in "ab"]


# Arrays.


def after(small, change, case=first_case):
    """What is said of a case that was changed before its release."""
    change(case(small))
    small.release()
    return small.problems()


def put(where, value):
    """Put a value at a path of keys."""

    def change(case):
        for key in where[:-1]:
            case = case[key]
        case[where[-1]] = value

    return change


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        (("x",), tensor(1.0, TENTH, shape=[2, 1]), "x: a number is not one of the format float16"),
        (("expected", "y"), tensor(1.0, TENTH, shape=[2, 1]), "expected.y: a number is not one of the format float16"),
        (("gamma",), tensor(0.1), "gamma: a number is not one of the format float32"),
        (("expected", "var"), tensor(0.1), "expected.var: a number is not one of the format float32"),
        (("gamma",), tensor(1.0, 2.0, shape=[1]), "gamma: 2 numbers where 1 belong"),
        (("gamma",), tensor(1.0, 2.0, shape=[3]), "gamma: 2 numbers where 3 belong"),
        (("x",), tensor(1.0, 2.0, shape=[2, 2]), "x: 2 numbers where 4 belong"),
        (("beta",), tensor("nan"), "beta: a number is neither a number nor NaN, Infinity, -Infinity"),
    ],
)
def test_arrays_have_their_length_and_numbers_of_their_format(small, without_schema, where, value, said):
    assert after(small, put(where, value)) == [f"{ONE}: {FIRST}, {said}"]


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_not_finite_are_words(small, word):
    assert after(small, put(("gamma",), tensor(word))) == []


def test_parameters_have_the_format_of_the_file_if_the_case_names_none(small, without_schema):
    problems = after(small, lambda case: case.pop("parameters"))
    said = "a number is not one of the format float16"
    assert problems == [f"{ONE}: {FIRST}, {where}: {said}" for where in ("gamma", "expected.var")]


def test_batches_have_the_format_of_x(small, without_schema):
    small.documents[TWO]["dtype"] = "float16"
    assert after(small, put(("batches", 0, "data", 1), TENTH), third_case) == [
        f"{TWO}: {THIRD}, batches.0: a number is not one of the format float16"
    ]


def test_of_a_sampled_result_as_many_numbers_stand_there_as_places(small, without_schema):
    where = ("expected", "running_var_correction_1")
    assert after(small, put((*where, "at"), [7, 8]), third_case) == [
        f"{TWO}: {THIRD}, {'.'.join(where)}: 1 numbers where 2 belong"
    ]
    assert after(small, put((*where, "at"), []), third_case) == [
        f"{TWO}: {THIRD}, {'.'.join(where)}: 1 numbers where 0 belong"
    ]


KEPT = ("expected", "running_mean")
PLACE = math.ulp(0.1)  # 2^-56


@pytest.mark.parametrize("rest", [0.0, 0.5 * PLACE, -0.5 * PLACE, 0.50001 * PLACE])
def test_what_rounding_took_away_is_half_a_place_at_most(small, rest):
    assert after(small, put((*KEPT, "rest"), [rest]), third_case) == []


@pytest.mark.parametrize("rest", [0.50002 * PLACE, -0.6 * PLACE, PLACE, 0.4, 1e300])
def test_a_number_with_a_rest_of_more_is_not_rounded(small, rest):
    assert after(small, put((*KEPT, "rest"), [rest]), third_case) == [
        f"{TWO}: {THIRD}, expected.running_mean: 0.1 is not rounded: its rest is {rest}"
    ]


@pytest.mark.parametrize("rests", [[], [0.0, 0.0]])
def test_there_is_a_rest_for_every_number(small, rests):
    assert after(small, put((*KEPT, "rest"), rests), third_case) == [
        f"{TWO}: {THIRD}, expected.running_mean: {len(rests)} rests where 1 belong"
    ]


def test_every_rest_is_looked_at_and_none_is_asked_of_a_word(small):
    where = ("expected", "running_var_correction_0")
    value = tensor("NaN", 0.1, 0.2, rest=[1.0, 1.0, 1.0])
    assert after(small, put(where, value), third_case) == [
        f"{TWO}: {THIRD}, {'.'.join(where)}: {number} is not rounded: its rest is 1.0" for number in (0.1, 0.2)
    ]


def test_every_array_and_every_case_is_looked_at(small, without_schema):
    small.documents[ONE]["cases"][1]["x"] = tensor(TENTH)
    assert after(small, put(("gamma",), tensor(0.1))) == [
        f"{ONE}: {FIRST}, gamma: a number is not one of the format float32",
        f"{ONE}: {SECOND}, x: a number is not one of the format float16",
    ]


# Ids and flags.


def test_an_id_stands_once(small):
    small.documents[ONE]["cases"][1]["id"] = FIRST
    small.release()
    problems = small.problems()
    assert f"{ONE}: the id {FIRST} stands in {ONE} as well" in problems
    small.documents = written()
    small.documents[TWO]["cases"][0]["id"] = FIRST
    small.release()
    assert f"{ONE}: the id {FIRST} stands in {TWO} as well" in small.problems()


@pytest.mark.parametrize("digits", ["0" * 12, "f" * 12])
def test_an_id_belongs_to_one_case_for_ever(small, digits):
    small.documents["released.json"]["ids"][SECOND] = digits
    assert small.problems() == [f"{ONE}: the case {SECOND} is not the one that was released under this id"]


def test_an_id_that_is_not_released_or_gone_is_named(small):
    ids = small.documents["released.json"]["ids"]
    del ids[FIRST], ids[THIRD]
    ids |= dict.fromkeys(("bn.z.1", "bn.y.1"), "0" * 12)
    assert small.problems() == [
        f"released.json: the id {THIRD} of {TWO} is missing",
        f"released.json: the id {FIRST} of {ONE} is missing",
        "released.json: the id bn.y.1 was released and is gone",
        "released.json: the id bn.z.1 was released and is gone",
    ]


def test_an_id_may_be_withdrawn_for_a_reason_and_is_not_given_again(small):
    released = small.documents["released.json"]
    released["ids"]["bn.z.1"] = "0" * 12
    released["withdrawn"] = {"bn.z.1": "its eps was read as float32"}
    assert small.problems() == []
    released["withdrawn"] = {"bn.z.1": "", FIRST: "it is there all the same", "bn.y.1": "nobody has seen it"}
    assert small.problems() == [
        "released.json: the withdrawn id bn.z.1 has no reason",
        f"released.json: the withdrawn id {FIRST} is in use",
        "released.json: the withdrawn id bn.y.1 was never released",
    ]


def test_flags_are_defined_and_used(small):
    flags = small.documents["flags.json"]["flags"]
    flags |= {"z": flags["a"], "y": flags.pop("b")}
    small.documents[ONE]["cases"][0]["flags"] = ["d", "c"]
    small.release()
    assert small.problems() == [
        f"{ONE}: the flag b is not defined in flags.json",
        f"{ONE}: the flag c is not defined in flags.json",
        f"{ONE}: the flag d is not defined in flags.json",
        "flags.json: the flag y is not used",
        "flags.json: the flag z is not used",
    ]


@pytest.mark.parametrize("gone", ["bug", "effect"])
@pytest.mark.parametrize("flag", ["a", "b"])
def test_flags_say_the_bug_and_the_effect(small, flag, gone):
    flags = small.documents["flags.json"]["flags"]
    flags[flag] = flags[flag] | {gone: ""}
    assert small.problems() == [f"flags.json: {flag} says no bug or no effect"]
    del flags[flag][gone]
    assert small.problems() == [f"flags.json: {flag} says no bug or no effect"]


# What has another structure.


def test_what_does_not_follow_the_schema_is_said_of_each_file(small):
    small.documents[TWO]["cases"][0]["momentum"] = 2
    small.documents[ONE]["note"] = "n" * 300
    small.release()
    first, second = small.problems()
    assert first.startswith(f"{TWO}: does not follow schema.json: ")
    assert second.startswith(f"{ONE}: does not follow schema.json: ")
    assert {len(line.partition("schema.json: ")[2]) for line in (first, second)} == {200}


def test_what_is_no_set_is_said_of_each_file_and_the_others_are_looked_at(small, without_schema):
    small.documents[TWO]["dtype"] = "k" * 300
    small.documents[ONE]["cases"][0]["gamma"] = tensor(0.1)
    small.release()
    assert small.problems() == [
        f"{TWO}: the structure is not that of a set: {('KeyError: ' + repr('k' * 300))[:200]}",
        f"{ONE}: {FIRST}, gamma: a number is not one of the format float32",
        "MANIFEST.json: total_cases is 3, the files hold 2",
        f"released.json: the id {THIRD} was released and is gone",
    ]


def test_what_was_found_before_the_structure_ends_is_said(small):
    small.problems()
    entry = small.manifest["files"]["README.md"]
    del small.manifest["files"]["README.md"]
    small.manifest["files"]["README.md"] = [entry]
    assert small.finish() == [
        "README.md: the structure is not that of a set: AttributeError: 'list' object has no attribute 'get'"
    ]


def test_errors_are_told_in_printable_letters():
    assert linter._said(ValueError("two\nlines\x1b")) == "ValueError: two lines "
