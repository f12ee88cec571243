"""Which values a part of a batch is, by its words: means and variances of these, in NumPy, channel by channel.

What flows back through them is compared with differences of their values. Not verified here: how parts are read off
(`test_read_parts`, `test_explain`).
"""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from test_terms import flows_back_as_it_grows, made

from refnorm.oracle.measure.parts import ALL, DIVIDED, Selection, part_mean, part_variance, parts
from refnorm.oracle.measure.terms import MEAN

SAMPLED = 4  # one in so many; see conftest.py
NONE = " (none if there are too few)"
EVERY = parts()
BY_WORDS = {p.words: p for p in EVERY}

PLACES = {  # which of n samples, values or places
    "all but the last {}": lambda n: range(n - 1),
    "all but the first {}": lambda n: range(1, n),
    "all {}s, the last one twice": lambda n: [*range(n), n - 1],
    "all {}s, the first one twice": lambda n: [0, *range(n)],
    "the first half of the {}s": lambda n: range(math.ceil(n / 2)),
    "the first half of the {}s, rounded down": lambda n: range(math.floor(n / 2)),
    "the second half of the {}s": lambda n: range(math.floor(n / 2), n),
    "the second half of the {}s, rounded down": lambda n: range(math.ceil(n / 2), n),
    "every second of the {}s": lambda n: range(0, n, 2),
    "the first {}": lambda n: [0],
    "the last {}": lambda n: [n - 1],
}
ROWS = {
    "all but the last place of each row": lambda row: row[..., :-1],
    "the first place of each row": lambda row: row[..., :1],
    "the last place of each row": lambda row: row[..., -1:],
    "every second place of each row": lambda row: row[..., ::2],
}
SORTED = {
    "the middle value, or the two in the middle": lambda v: v[(len(v) - 1) // 2 : len(v) // 2 + 1],
    "the lower of the middle values": lambda v: v[(len(v) - 1) // 2 :][:1],
    "the smallest and the largest value": lambda v: v[[0, -1]],
    "all but the smallest and the largest value": lambda v: v[1:-1],
    "all but a tenth at either end of their order": lambda v: v[len(v) // 10 : len(v) - len(v) // 10],
}


def own(words, x, values):
    """Return the values that count of a channel, x its part of the batch, ``values`` these in the order of memory."""
    spatial = range(1, x.ndim)
    for kind, along in (("sample", x), ("value", values)):
        for text, rule in PLACES.items():
            if words == text.format(kind):
                return along[list(rule(len(along)))].ravel()
        if size := re.fullmatch(rf"the first (\d+) {kind}s", words):
            return along[: int(size[1])].ravel()
        if size := re.fullmatch(rf"whole blocks of (\d+) {kind}s", words):
            return along[: len(along) // int(size[1]) * int(size[1])].ravel()
    row = x if x.ndim > 1 else x[:, None]
    if size := re.fullmatch(r"whole blocks of (\d+) places of each row", words):
        return row[..., : row.shape[-1] // int(size[1]) * int(size[1])].ravel()
    if words in ROWS:
        return ROWS[words](row).ravel()
    if words in SORTED:
        return SORTED[words](np.sort(values))
    every = (slice(None),)
    inner = tuple(slice(1, -1) if x.shape[a] > 2 else slice(None) for a in spatial)
    frame = len(x) * (math.prod(x.shape[a] + 2 for a in spatial) - math.prod(x.shape[1:]))
    return {
        "every second place of each spatial axis": lambda: x[every + (slice(None, None, 2),) * (x.ndim - 1)].ravel(),
        "the places that are on no edge": lambda: x[every + inner].ravel(),
        "all values and a frame of zeros": lambda: np.append(values, np.zeros(frame)),
        "the values that are not 0": lambda: values[values != 0],
        "the values above 0": lambda: values[values > 0],
        "the values above 0, with 0 for the others": lambda: np.where(values > 0, values, 0),
    }[words]()


def of_channels(words, channels):
    """Return the values of other channels that count; None if these are not the words of such."""
    n = len(channels)
    if group := re.fullmatch(r"groups of (\d+) channels", words):
        size = int(group[1])
        if n % size:
            return channels
        return [np.concatenate(channels[c // size * size :][:size]) for c in range(n)]
    if modulo := re.fullmatch(r"channel c mod (\d+)", words):
        return [channels[c % int(modulo[1])] for c in range(n)]
    return {
        "the first channel": [channels[0]] * n,
        "the last channel": [channels[-1]] * n,
        "the channel before": channels[-1:] + channels[:-1],
        "the channel behind": channels[1:] + channels[:1],
        "the channels in reverse order": channels[::-1],
    }.get(words)


def counted(words, x):
    """Return the values that count for each channel, one array a channel."""
    lines = [x[:, c] for c in range(x.shape[1])]
    plain = [line.ravel() for line in lines]
    if words.startswith("sample c for channel c"):
        return [x[c].ravel() for c in range(len(x))] if len(x) == x.shape[1] else plain
    if words.startswith("place c of each row"):
        alike = x.ndim > 2 and x.shape[-1] == x.shape[1]
        return [x[..., c].ravel() for c in range(x.shape[1])] if alike else plain
    if (others := of_channels(words, plain)) is not None:
        return others
    found = [own(words.removesuffix(NONE), *pair) for pair in zip(lines, plain, strict=True)]
    if words.endswith(NONE):
        return found
    return [some if some.size else whole for some, whole in zip(found, plain, strict=True)]


SHAPES = [(5, 3), (4, 2, 6), (2, 3, 3), (2, 2, 3, 5), (3, 4, 2, 1, 4), (1, 2, 1, 2), (3, 3, 2, 3), (9, 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_means_and_variances_of_a_part_are_of_the_values_that_its_words_say(shape):
    w = made(shape)
    w.x[0, 0] = 0  # some are 0, and above
    channels = (1, -1) + (1,) * (w.x.ndim - 2)
    for part in EVERY:
        if "weigh alike" in part.words:
            continue
        some = counted(part.words, w.x)
        if all(v.size for v in some):
            mean, var = (np.array([of(v) for v in some]).reshape(channels) for of in (np.mean, np.var))
            centre = part_mean(part, False)
            assert np.allclose(np.asarray(centre.value(w) - mean, float), 0, atol=1e-14), part.words
            assert np.allclose(np.asarray(part_variance(part, centre).value(w) - var, float), 0, atol=1e-14), part.words
            about = np.array([np.mean((v - m) ** 2) for v, m in zip(some, w.mean.ravel(), strict=True)])
            value = part_variance(part, MEAN).value(w)
            assert np.allclose(np.asarray(value.ravel() - about, float), 0, atol=1e-14), part.words
        counts = np.array([v.size for v in some])
        total = np.array([v.sum() for v in some])
        assert np.array_equal(np.broadcast_to(part.count(w), w.mean.shape).ravel(), counts), part.words
        assert np.allclose(np.asarray(part.total(w, w.x).ravel() - total, float), 0, atol=1e-14), part.words
        of_all = part_mean(part, True).value(w).ravel()
        assert np.allclose(np.asarray(of_all - total / w.m, float), 0, atol=1e-14), part.words
        every = len(some) == w.x.shape[1] and all(
            np.array_equal(np.sort(v), np.sort(w.x[:, c].ravel())) for c, v in enumerate(some)
        )
        assert part.all_count_once(w) == every, part.words


def test_values_above_0_with_0_for_the_others_are_those_of_the_larger_of_x_and_0():
    w = made((4, 3, 2))
    w.x[:, 1] = -np.abs(w.x[:, 1])  # of which none is above 0
    w.x[0, 0] = 0
    part = BY_WORDS["the values above 0, with 0 for the others"]
    centre, above = part_mean(part, False), np.maximum(w.x, 0)
    assert np.allclose(np.asarray(centre.value(w) - above.mean((0, 2), keepdims=True), float), 0, atol=1e-14)
    var = part_variance(part, centre).value(w)
    assert np.allclose(np.asarray(var - above.var((0, 2), keepdims=True), float), 0, atol=1e-14)
    assert np.array_equal(centre.back(w, w.upstream) != 0, w.x > 0)


FLOWING = (
    "all samples, the last one twice",
    "all values, the last one twice",
    "all but the last place of each row",
    "the places that are on no edge",
    "all values and a frame of zeros",
    "the values above 0",
    "all but the smallest and the largest value",
    "4 shards that weigh alike, whatever their counts",
    "the channel before",
    "groups of 3 channels",
    "sample c for channel c, where N = C",
    "place c of each row for channel c, where rows are as long as there are channels",
)


@pytest.mark.parametrize("shape", [(3, 3, 3), (5, 3, 1, 4)])
@pytest.mark.parametrize("words", FLOWING)
def test_what_flows_back_through_a_mean_or_a_variance_is_its_derivative(words, shape):
    w, part = made(shape), BY_WORDS[words]
    centre, of_all = part_mean(part, False), part_mean(part, True)
    every = [centre, of_all, part_variance(part, MEAN), part_variance(part, of_all)]
    every += [part_variance(some, centre, divided) for some in (part, ALL) for divided in DIVIDED]
    assert [t.words for t in every if not flows_back_as_it_grows(t, w)] == []


def test_deviations_of_all_about_the_mean_of_some():
    w = made((4, 2, 3))
    centre = part_mean(BY_WORDS["the first sample"], False)
    squares = ((w.x - w.x[0].mean(-1)[:, None]) ** 2).sum((0, 2), keepdims=True)
    for divided, by in {"": 12, " / m": 12, " / (their number - 1)": 11, " / (m - 1)": 11}.items():
        value = part_variance(ALL, centre, divided).value(w)
        assert np.allclose(np.asarray(value - squares / by, float), 0, atol=1e-14), divided


@pytest.mark.parametrize("channels", [1, 2, 6, 8, 33, pytest.param(1030, marks=pytest.mark.slow)])
def test_parts_of_channels_are_of_those_that_are_said(channels):
    w = made((2, channels))
    for part in EVERY:
        if part.along == "channels":
            expected = [v.mean() for v in of_channels(part.words, [w.x[:, c] for c in range(channels)])]
            assert np.allclose(np.asarray(part.average(w, w.x).ravel() - expected, float), 0, atol=1e-14), part.words


LARGE = [p for p in EVERY if re.search(r"\d{2,}", p.words) and p.along in ("samples", "places", "last axis")]


@pytest.mark.parametrize("shape", [(66_000, 1), (1, 1, 1100), (17, 1, 1)])
def test_large_parts_and_blocks_have_their_sizes(shape):
    w = made(shape)
    for part in LARGE:
        expected = counted(part.words, w.x)[0].size
        assert part.count(w).item() == expected, part.words


@pytest.mark.parametrize(
    ("n", "cuts"),
    [
        (3, ([2, 1], [1, 2], [1, 1, 1])),
        (5, ([3, 2], [2, 3], [1, 1, 1, 2])),
        (7, ([4, 3], [3, 4], [1, 2, 2, 2])),
        (8, ([4, 4], [4, 4], [2, 2, 2, 2])),
    ],
)
def test_shards_weigh_alike_whatever_their_counts(n, cuts):
    w = made((n, 2, 3))
    named = [p for p in EVERY if "weigh alike" in p.words and not p.words.endswith(NONE)]
    assert [p.words.split(" that")[0] for p in named] == [
        "2 shards",
        "2 shards, of which the second may be larger",
        "4 shards",
    ]
    for part, sizes in zip(named, cuts, strict=True):
        shards = np.split(w.x, np.cumsum(sizes)[:-1])
        mean = np.mean([s.mean((0, 2)) for s in shards], axis=0)
        assert np.allclose(np.asarray(part.average(w, w.x).ravel() - mean, float), 0, atol=1e-14)
        assert np.allclose(np.asarray(part.count(w), float), 3 * len(sizes)), "each as one sample"


def test_sizes_are_powers_of_two_and_768_and_groups_are_of_3_channels_too():
    kinds = ("samples", "values", "blocks of values", "blocks of places of each row", "groups of channels")
    sizes = {kind: set() for kind in kinds}
    for part in EVERY:
        if found := re.match(r"(?:the first|(?:whole )?(blocks|groups) of) (\d+) ([a-z ]+)$", part.words):
            sizes[f"{found[1]} of {found[3]}" if found[1] else found[3]].add(int(found[2]))
    most = {2**k for k in range(4, 17)} | {768}
    blocks = {2**k for k in range(2, 11)}
    groups = {2**k for k in range(1, 6)} | {3}
    assert list(sizes.values()) == [most, most, blocks, blocks, groups]


def test_parts_by_place_and_by_order_are_all_tried():
    assert {words.format(kind) for words in PLACES for kind in ("sample", "value")} | {*ROWS, *SORTED} <= {*BY_WORDS}


def test_as_many_samples_as_channels_may_be_many():
    w = made((300, 300))
    mean = part_mean(BY_WORDS["sample c for channel c, where N = C"], False).value(w)
    assert np.allclose(np.asarray(mean[0] - w.x.mean(1), float), 0, atol=1e-14)


def test_each_part_has_its_own_words():
    assert len({p.words for p in EVERY}) == len(EVERY)
    twins = {p.words.removesuffix(NONE) for p in EVERY if p.words.endswith(NONE)}
    assert twins == {
        p.words
        for p in EVERY
        if not p.words.endswith(NONE) and p.along not in ("channels", 0, -1, "spatial axes") and "twice" not in p.words
    }


def test_what_variances_are_divided_by():
    w = made((5, 2, 2))
    half = BY_WORDS["the first half of the samples"]
    numbers = {name: float(np.ravel(of(w, half))[0]) for name, of in DIVIDED.items()}
    assert numbers == {"": 6.0, " / m": 10.0, " / (their number - 1)": 5.0, " / (m - 1)": 9.0}
    one = BY_WORDS["the first value"]
    assert np.all(DIVIDED[" / (their number - 1)"](w, one) == 1)
    assert DIVIDED[" / (m - 1)"](made((1, 2)), one) == 1
    words = [part_variance(half, MEAN, name).words for name in DIVIDED]
    assert words == [
        "var of the first half of the samples about the mean of all",
        *(
            f"sum (x - mean)^2 of the first half of the samples about the mean of all{name}"
            for name in list(DIVIDED)[1:]
        ),
    ]
    other = part_mean(half, False)
    assert part_variance(half, other).words == "var of the first half of the samples"
    assert part_variance(ALL, other).words == "var of all values about the mean of the first half of the samples"
    assert part_mean(half, True).words == "sum x of the first half of the samples / m"


def test_a_part_cannot_be_changed():
    with pytest.raises(AttributeError):
        ALL.words = "some"
    assert Selection("a", "samples", lambda i, n: 1).or_all
