"""Outputs of a foreign program, one file at a time: what is read, what is refused, at which size, in which words.

Whole folders, and what becomes of a defect in the report, are in test_export.py.
"""

import io
import json
import math

import numpy as np
import pytest

from refnorm.golden.foreign import Unreadable
from refnorm.golden.safetensors import pack
from refnorm.oracle.ask.reading import (
    ABSENT,
    MISSING,
    PER_VALUE,
    ROOM,
    UNREADABLE,
    Written,
    document,
    names,
    npy,
    printable,
    read_outputs,
)

WANTED = {"y": ("float32", 3), "running_mean": ("float64", 1)}


def tensor(values, **more):
    return {"shape": [len(values)], "data": values, **more}


RIGHT = {"y": tensor([1, 2.5, -3]), "running_mean": tensor([0.1])}


def read(folder, wanted=WANTED, optional=frozenset(), present=None):
    present = {path.name for path in folder.iterdir()} if present is None else present
    return read_outputs(folder, "case", present, wanted, set(optional))


def written_as(folder, found, name="case.json"):
    (folder / name).write_text(found if isinstance(found, str) else json.dumps(found))
    return folder


def npy_file(array, version=None):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=version)
    return file.getvalue()


def test_a_case_may_be_written_in_three_ways():
    assert names("bn.1", ["y", "dx"]) == ["bn.1.json", "bn.1.safetensors", "bn.1.y.npy", "bn.1.dx.npy"]


def test_arrays_of_a_json_file_have_the_format_that_is_asked_for(tmp_path):
    found = read(written_as(tmp_path, RIGHT))
    assert found == Written(found.arrays)
    assert found.arrays["y"].tolist() == [1.0, 2.5, -3.0]
    assert {name: array.dtype.name for name, array in found.arrays.items()} == {
        "y": "float32",
        "running_mean": "float64",
    }


def test_a_format_that_is_named_stays_and_shapes_may_have_no_axes(tmp_path):
    said = {"y": {"shape": [], "data": [0.1], "dtype": "float16"}, "running_mean": {"shape": [2, 0], "data": []}}
    found = read(written_as(tmp_path, said))
    assert (found.arrays["y"].dtype, found.arrays["y"].shape) == (np.float16, ())
    assert found.arrays["y"] == np.float16(0.1)
    assert found.arrays["running_mean"].shape == (2, 0)


def test_what_is_not_finite_is_written_as_text(tmp_path):
    found = read(written_as(tmp_path, {**RIGHT, "y": tensor(["NaN", "Infinity", "-Infinity"])}))
    assert [str(v) for v in found.arrays["y"].tolist()] == ["nan", "inf", "-inf"]


@pytest.mark.parametrize("raw", ["NaN", "-Infinity", "1e999"])
def test_a_number_that_json_does_not_have_is_a_float_all_the_same(tmp_path, raw):
    found = read(written_as(tmp_path, '{"y": {"shape": [1], "data": [%s]}, "running_mean": null}' % raw))  # noqa: UP031
    assert not math.isfinite(found.arrays["y"][0])
    assert found.defects == {"running_mean": ABSENT}


def test_files_of_their_own_are_read_whatever_their_byte_order_and_layout(tmp_path):
    y = np.arange(6.0, dtype=">f4").reshape(2, 3)
    (tmp_path / "case.y.npy").write_bytes(npy_file(np.asfortranarray(y)))
    (tmp_path / "case.running_mean.npy").write_bytes(npy_file(np.zeros((0, 2)), (2, 0)))
    found = read(tmp_path, {"y": ("float32", 6), "running_mean": ("float64", 0)})
    assert found.arrays["y"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found.arrays["y"].dtype == np.dtype("f4")
    assert found.arrays["y"].dtype.isnative
    assert found.arrays["running_mean"].shape == (0, 2)


def test_safetensors_are_read(tmp_path):
    (tmp_path / "case.safetensors").write_bytes(
        pack({"y": ("float32", np.array([1.0, 2.0, 3.0])), "running_mean": ("float64", np.array([0.1]))})
    )
    found = read(tmp_path)
    assert (found.arrays["y"].tolist(), found.arrays["running_mean"].tolist()) == ([1, 2, 3], [0.1])
    assert found == Written(found.arrays)


@pytest.mark.parametrize(
    ("kind", "values", "taken"),
    [
        ("bfloat16", [1.0, 2.5, math.nan], "bfloat16"),
        ("bfloat16", [1.0, 2.0**-20 + 1, 0.0], "float32"),  # no bfloat16: it stays what it is, and is judged as that
        ("float16", [1.0, 2.5, 0.0], "float32"),
    ],
)
def test_float32_stands_for_bfloat16_where_every_value_is_one(tmp_path, kind, values, taken):
    (tmp_path / "case.y.npy").write_bytes(npy_file(np.array(values, np.float32)))
    found = read(tmp_path, {"y": (kind, 3)})
    assert found.arrays["y"].dtype.name == taken
    assert np.array_equal(found.arrays["y"].astype(float), np.array(values, np.float32), equal_nan=True)


def test_float64_does_not_stand_for_bfloat16(tmp_path):
    (tmp_path / "case.y.npy").write_bytes(npy_file(np.ones(3)))
    assert read(tmp_path, {"y": ("bfloat16", 3)}).arrays["y"].dtype == np.float64


def test_what_is_missing_is_told_from_what_is_left_out(tmp_path):
    assert read(tmp_path).defects == {"y": MISSING, "running_mean": MISSING}
    assert read(tmp_path, optional={"y"}).defects == {"running_mean": MISSING}
    (tmp_path / "case.y.npy").write_bytes(npy_file(np.zeros(3, np.float32)))
    assert read(tmp_path).defects == {"running_mean": MISSING}
    (tmp_path / "case.y.npy").unlink()
    assert read(written_as(tmp_path, {"y": RIGHT["y"]})).defects == {"running_mean": ABSENT}
    assert read(tmp_path, present=set()).defects == {"y": MISSING, "running_mean": MISSING}


def test_a_case_that_is_written_in_two_ways_is_read_in_none(tmp_path):
    written_as(tmp_path, RIGHT)
    (tmp_path / "case.y.npy").write_bytes(npy_file(np.zeros(3)))
    found = read(tmp_path)
    assert (found.arrays, found.defects) == ({}, {"y": UNREADABLE, "running_mean": UNREADABLE})
    assert found.particulars == ["case.json, case.y.npy: a case is written in one way, not several"]


def test_one_array_that_cannot_be_read_leaves_the_others(tmp_path):
    found = read(written_as(tmp_path, {**RIGHT, "y": tensor([1, 2], dtype="int8")}, "case.json"))
    assert found.defects == {"y": UNREADABLE}
    assert list(found.arrays) == ["running_mean"]
    assert found.particulars == ["case.json: dtype 'int8' is none of float64, float32, bfloat16, float16"]


def test_a_file_that_cannot_be_read_leaves_nothing_whatever_its_parser_raises(tmp_path):
    (tmp_path / "case.y.npy").write_bytes(b"garbage, and more of it")
    found = read(tmp_path)
    assert found.defects == {"y": UNREADABLE, "running_mean": MISSING}
    assert found.particulars[0].startswith("case.y.npy: the magic string is not correct")
    found = read(written_as(tmp_path, RIGHT), present={"case.safetensors"})
    assert found.defects == {"y": UNREADABLE, "running_mean": UNREADABLE}
    assert found.particulars == ["case.safetensors: No such file or directory"]


def test_what_was_not_asked_for_is_surplus(tmp_path):
    found = read(written_as(tmp_path, {"z\x1b": RIGHT["y"], "nothing": None, **RIGHT}))
    assert found.surplus == ["z in case.json"]
    assert found.arrays.keys() == RIGHT.keys()
    assert sorted(found.arrays) == ["running_mean", "y"]
    assert not found.defects


def test_a_refusal_is_a_text_or_one_for_each_operation(tmp_path):
    assert read(written_as(tmp_path, {"raises": "too\nfew"})).raises == {"": "too few"}
    found = read(written_as(tmp_path, {**RIGHT, "raises": {"train": "no"}}))
    assert found.raises == {"train": "no"}
    assert sorted(found.arrays) == ["running_mean", "y"]
    assert read(written_as(tmp_path, RIGHT)).raises == {}
    for bad in ({**RIGHT, "raises": "no"}, {"raises": ["no"]}, {"raises": {"train": 5}}, {"raises": None, "y": None}):
        found = read(written_as(tmp_path, bad))
        assert found.defects == dict.fromkeys(WANTED, UNREADABLE), bad
        assert found.particulars == ['case.json: "raises" is a text that stands alone, or a text for each operation']


@pytest.mark.parametrize(("spaces", "fits"), [(0, True), (1, False)])
def test_a_file_may_have_some_room_and_forty_bytes_a_number(tmp_path, spaces, fits):
    limit = ROOM + PER_VALUE * 4
    assert (ROOM, PER_VALUE) == (65536, 40)
    text = json.dumps(RIGHT)
    found = read(written_as(tmp_path, text + " " * (limit - len(text) + spaces)))
    assert bool(found.arrays) is fits
    if not fits:
        assert found.particulars == [f"case.json: it has {limit + 1} bytes, more than {limit}"]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ([1.0], 'an array is {"shape": [...], "data": [...]}, with "dtype" if you like, and nothing else'),
        ({"shape": [1]}, 'an array is {"shape": [...], "data": [...]}, with "dtype" if you like'),
        ({"data": [1]}, 'an array is {"shape": [...], "data": [...]}, with "dtype" if you like'),
        (tensor([1], order="C"), 'an array is {"shape": [...], "data": [...]}, with "dtype" if you like'),
        (tensor([1], dtype="f\x1b8"), "dtype 'f 8' is none of float64"),
        ({"shape": 1, "data": [1]}, "shape and data must be flat lists"),
        ({"shape": [1], "data": 1}, "shape and data must be flat lists"),
        ({"shape": [1] * 33, "data": [1]}, "shape and data must be flat lists"),
        ({"shape": ["1"], "data": [1]}, "shape must hold non-negative integers"),
        ({"shape": [-1], "data": [1]}, "shape must hold non-negative integers"),
        ({"shape": [1.5], "data": [1]}, "shape must hold non-negative integers"),
        ({"shape": [True], "data": [1]}, "shape must hold non-negative integers"),
        ({"shape": [2**48 + 1, 0], "data": []}, "shape must hold non-negative integers"),
        ({"shape": [2, 2], "data": [1, 2, 3]}, "3 numbers where shape [2, 2] has 4: data is flat and whole"),
        ({"shape": [2], "data": [1, 2, 3]}, "3 numbers where shape [2] has 2: data is flat and whole"),
        (tensor([1, None]), 'element 1 is null: write a number, or "NaN", "Infinity", "-Infinity"'),
        (tensor([False]), "element 0 is False: write a number"),
        (tensor(["nan"]), "element 0 is 'nan': write a number"),
        (tensor([[1.0]]), "element 0 is [1.0]: write a number"),
    ],
)
def test_what_is_no_array_is_refused_in_words(tmp_path, said, why):
    found = read(written_as(tmp_path, {**RIGHT, "y": said}))
    assert found.defects == {"y": UNREADABLE}
    assert found.particulars[0].removeprefix("case.json: ").startswith(why)


def test_shapes_at_the_limits_are_taken(tmp_path):
    for shape, data in (([2**48, 0], []), ([1] * 32, [4])):
        found = read(written_as(tmp_path, {**RIGHT, "y": {"shape": shape, "data": data}}))
        assert found.arrays["y"].shape == tuple(shape)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"[1]", "it holds no JSON object"),
        (b"{", "it is no JSON, or truncated: Expecting property name"),
        (b"\xff\xfe{}", "it is no UTF-8"),
        (b"[" * 100_000, "it is nested too deeply"),
        (b'{"y": 1, "y": 2}', "the name 'y' stands twice"),
    ],
)
def test_what_is_no_json_object_is_refused(raw, why):
    with pytest.raises(ValueError, match=why) as raised:
        document(raw)
    assert "twice" in why or isinstance(raised.value, Unreadable)


def test_a_json_object_has_floats_alone_and_may_begin_with_a_mark():
    assert document(b'\xef\xbb\xbf{"n": 3}') == {"n": 3.0}
    assert type(document(b'{"n": 3}')["n"]) is float


def header(dtype, shape, rest=b"", fortran=False):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": fortran, "shape": shape})
    return file.getvalue() + rest


def test_npy_files_have_any_number_of_values_and_axes():
    for array in (np.array(2.5), np.arange(400.0), np.zeros((0,)), np.ones((1,) * 20)):
        assert npy(npy_file(array)).tolist() == array.tolist()


def test_of_npy_files_numbers_alone_are_read():
    for array in (np.array([True]), np.array([1 + 2j]), np.array([3], np.uint8), np.array([-3], np.int16)):
        assert npy(npy_file(array)).tolist() == array.tolist()
    for array in (np.array(["x"]), np.array([b"x"]), np.array(["2020"], "M8[Y]"), np.zeros(1, [("f", "f8")])):
        with pytest.raises(Unreadable, match="is no number's"):
            npy(npy_file(array))
    with pytest.raises(Unreadable, match="dtype object is no number's"):
        npy(header("|O", (1,)))


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (
            header("<f8", (2,), bytes(15)),
            r"shape \(2,\) takes 16 bytes, the file has 15: it is truncated or has a rest",
        ),
        (header("<f8", (2,), bytes(17)), r"shape \(2,\) takes 16 bytes, the file has 17"),
        (header("<f8", (1 << 60,)), "bytes, the file has 0"),
        (header("<f8", (-1, -1), bytes(8)), r"shape \(-1, -1\) takes 8 bytes, the file has 8"),
        (header("<f8", (-1, -2), bytes(16)), r"shape \(-1, -2\) takes 16 bytes, the file has 16"),
        (npy_file(np.ones(1), (3, 0)), r"npy version \(3, 0\) is none of 1.0, 2.0"),
    ],
)
def test_an_npy_file_has_the_bytes_that_it_claims(raw, why):
    with pytest.raises(Unreadable, match=why):
        npy(raw)


def test_foreign_text_becomes_one_short_line():
    assert printable("a\x1b[2J\0\nb\t c\udc80") == "a [2J b c"
    assert printable("") == printable(" \n\x07") == "(nothing)"
    assert printable("w" * 160) == "w" * 160
    assert printable("a " + "w" * 159) == "a ..."
    assert printable("word " * 100) == "word " * 30 + "word ..."
    assert printable("\0" * 1999 + "ab") == "a"
