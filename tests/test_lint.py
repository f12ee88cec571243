"""`refnorm golden lint`: the set in the repository is whole, and whatever is changed in it is found and named.

Verified: every kind of damage that an editor, a merge or a disk does, and one flipped digit in many places of every
file. Not verified here: that the numbers are right (test_golden_numbers does that).
"""

import json
import os
import random
import re
import shutil
from pathlib import Path

import pytest
from command import called

from refnorm.golden import cases
from refnorm.golden.generate import CONTENT, DATA, differing, files, write_set
from refnorm.golden.inputs import case as case_of
from refnorm.golden.lint import lint

SAMPLED = True  # see conftest.py

NAMES = sorted(path.name for path in DATA.iterdir())


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(DATA, tmp_path / "data")
    return tmp_path / "data"


def test_generation_reproduces_every_byte(tmp_path):
    assert differing() == []
    write_set(tmp_path)
    assert differing(tmp_path) == []
    assert {path.name for path in tmp_path.iterdir()} == set(files())


def flipped(text, rng):
    place = rng.choice([match.start() for match in re.finditer(r"\d", text)])
    return text[:place] + str((int(text[place]) + rng.randint(1, 9)) % 10) + text[place + 1 :]


@pytest.mark.slow  # of each file at once; below, of the manifest, and `test_lint_small` has every check
@pytest.mark.parametrize("seed", range(4))
def test_a_flipped_digit_in_any_file_is_found_and_the_file_named(copy, seed):
    rng = random.Random(seed)
    others = [name for name in NAMES if name != "MANIFEST.json"]
    for name in others:
        (copy / name).write_text(flipped((copy / name).read_text(), rng))
    problems = lint(copy)
    for name in others:
        assert any(problem.startswith(f"{name}:") for problem in problems), name


@pytest.mark.slow  # of the whole set; in `test_lint_small`, of a small one
@pytest.mark.parametrize("seed", range(12))
def test_a_flipped_digit_of_the_manifest_is_found_and_the_file_named(copy, seed):
    path = copy / "MANIFEST.json"
    path.write_text(flipped(path.read_text(), random.Random(seed)))
    assert any("MANIFEST.json" in problem for problem in lint(copy))


def edited(copy, name, change):
    document = json.loads((copy / name).read_text())
    change(document)
    (copy / name).write_text(json.dumps(document))
    return " ".join(lint(copy))


def test_a_case_that_is_gone_is_named(copy):
    problems = edited(copy, "bn.training.float32.json", lambda d: d["cases"].pop(3))
    assert "was released and is gone" in problems
    assert "MANIFEST.json says" in problems


def test_an_id_given_to_another_case_is_found(copy):
    def change(document):
        document["cases"][1]["x"]["data"][0] = 0.5

    assert "is not the one that was released under this id" in edited(copy, "bn.training.float32.json", change)


def test_a_doubled_id_is_found(copy):
    def change(document):
        document["cases"][1]["id"] = document["cases"][0]["id"]

    assert "stands in bn.training.float32.json as well" in edited(copy, "bn.training.float32.json", change)


def test_a_flag_that_nobody_defines_is_found(copy):
    def change(document):
        document["cases"][0]["flags"].append("mystery")

    assert "the flag mystery is not defined" in edited(copy, "bn.frozen.float64.json", change)


def test_an_additional_property_is_found(copy):
    def change(document):
        document["cases"][0]["note"] = "hello"

    assert "does not follow schema.json" in edited(copy, "bn.running.float64.json", change)


def test_a_number_of_another_format_is_found(copy):
    def change(document):
        document["cases"][0]["expected"]["y"]["data"][0] = 0.1

    assert "is not one of the format float16" in edited(copy, "bn.training.float16.json", change)


def test_missing_surplus_truncated_and_unreadable_files_are_found(copy):
    (copy / "bn.frozen.float32.json").unlink()
    (copy / "extra.json").write_text("{}")
    text = (copy / "bn.running.float64.json").read_text()
    (copy / "bn.running.float64.json").write_text(text[: len(text) // 2])
    problems = " ".join(lint(copy))
    assert "bn.frozen.float32.json is missing" in problems
    assert "extra.json is not in MANIFEST.json" in problems
    assert "bn.running.float64.json: it is no JSON" in problems


def test_a_folder_without_manifest_is_one_clear_problem(tmp_path):
    (problem,) = lint(tmp_path)
    assert problem.startswith("MANIFEST.json cannot be read")


def test_the_page_counts_as_the_set_does():
    page = (Path(__file__).parent.parent / "tutorials" / "golden-data.md").read_text()
    manifest, flags = (json.loads((DATA / name).read_text()) for name in ("MANIFEST.json", "flags.json"))
    assert page.startswith(f"# The golden set\n\n{manifest['total_cases']} cases")
    assert f"Each of {len(flags['flags'])} situations" in page


def test_cases_are_found_by_every_name_of_their_operation():
    by = {operation: {c.id for c in cases(operation)} for operation in CONTENT}
    assert len(by["training"]) + len(by["inference"]) == len(list(cases()))
    assert by["masked_training"] == by["masked_backward"] == {c.id for c in cases("masked")}
    assert by["sharded_training"] == {c.id for c in cases(flag="shards-even")} | {
        c.id for c in cases("sharded") if c.situation.name != "shards-even"
    }
    assert not {c.id for c in cases()} & (by["masked_training"] | by["sharded_training"])
    assert case_of("bn.sharded_backward.float32.shard-empty.1").id == "bn.sharded.float32.shard-empty.1"
    assert by["running"] | by["backward"] <= by["training"]
    assert by["frozen"] < by["inference"]
    assert case_of("bn.frozen.float64.rank-2.1").id == "bn.inference.float64.rank-2.1"
    assert by["frozen_jvp"] < by["frozen"]
    assert by["jvp"] < by["double_backward"] < by["training"]
    assert case_of("bn.frozen_jvp.float64.rank-3.1").id == "bn.inference.float64.rank-3.1"
    with pytest.raises(ValueError, match="operations are training, backward, running, jvp, double_backward, inference"):
        next(cases("forward"))


WRONG = [None, True, 0, -1, 0.5, 1e308, "", "NaN", "text", [], [[]], [None], {}, {"a": 1}, [[[[]]]], "\ud800", 10**400]


def altered_anywhere(value, rng):
    """Put something else in the place of one node of a document, or under one name more."""
    while isinstance(value, dict | list) and value and rng.random() < 0.85:
        key = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
        inner = value[key]
        if not isinstance(inner, dict | list) or not inner or rng.random() < 0.3:
            what = rng.random()
            if what < 0.7:
                value[key] = rng.choice(WRONG)
            elif what < 0.85:
                del value[key]
            elif isinstance(value, dict):
                value[rng.choice(["shape", "data", "flags", "id", "files", "$ref", "x"])] = rng.choice(WRONG)
            else:
                value *= 2
            return
        value = inner


@pytest.mark.parametrize("seed", [*range(25), *(pytest.param(k, marks=pytest.mark.slow) for k in range(25, 150))])
def test_any_change_of_structure_is_found_and_none_is_too_odd(copy, seed):
    rng = random.Random(seed)
    name = rng.choice(
        [*(n for n in NAMES if n.endswith(".json")), "MANIFEST.json", "flags.json", "schema.json", "released.json"]
    )
    document = json.loads((copy / name).read_text())
    before = json.dumps(document)
    while json.dumps(document) == before:
        altered_anywhere(document, rng)
    (copy / name).write_text(json.dumps(document, indent=1))
    problems = lint(copy)
    assert problems
    assert any(name in problem for problem in problems), problems


TEXTS = ["", "null", "[]", "{", "7", '"text"', "[" * 100_000, '{"cases": ' + "[" * 100_000, "\0", "1" * 100_000, "NaN"]
TEXTS += ['{"cases": [' + "[]," * 1_000_000 + "[]]}", '{"cases": {"a": {"b": {}}}}', '{"cases": null, "files": 3}']


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
@pytest.mark.parametrize("name", ["bn.training.float64.json", "flags.json", "released.json", "MANIFEST.json"])
def test_a_file_that_holds_something_else_is_found(copy, name, text):
    (copy / name).write_text(text)
    problems = lint(copy)
    assert any(name in problem for problem in problems), problems[:5]


def test_schemas_that_recur_or_explode_are_not_run(copy):
    for schema in (7, {"$ref": "#"}, {"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}] * 9}}, "$ref": "#/$defs/a"}):
        (copy / "schema.json").write_text(json.dumps(schema))
        assert "schema.json: not the schema that this refnorm knows" in lint(copy)


def test_what_is_no_plain_file_is_found(copy):
    (copy / "folder").mkdir()
    os.mkfifo(copy / "pipe")
    (copy / "dangling").symlink_to("nowhere")
    whole = (copy / "bn.training.float64.json").rename(copy.parent / "elsewhere.json")
    (copy / "bn.training.float64.json").symlink_to(whole)
    problems = lint(copy)
    for name in ("folder", "pipe", "dangling", "bn.training.float64.json"):
        assert f"{name} is no plain file" in problems
    (copy / "MANIFEST.json").rename(copy.parent / "MANIFEST.json")
    (copy / "MANIFEST.json").symlink_to(copy.parent / "MANIFEST.json")
    assert lint(copy) == ["MANIFEST.json cannot be read: it is a link; links are not followed"]


def test_line_ends_of_the_manifest_are_bytes_too(copy):
    path = copy / "MANIFEST.json"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert "MANIFEST.json: not in canonical form" in lint(copy)


def test_without_jsonschema_a_whole_set_is_whole_and_what_was_not_checked_is_said(monkeypatch):
    for module in ("refnorm.golden.lint", "refnorm.cli.golden"):
        monkeypatch.setattr(f"{module}.find_spec", lambda name: None)
    done = called("golden", "lint")
    assert (done.returncode, done.stdout.endswith(": whole\n")) == (0, True)
    assert "the schema was not checked, because jsonschema is missing; pip install jsonschema" in done.stderr
