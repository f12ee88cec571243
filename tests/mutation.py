"""Mutation testing of what computes and of what judges: every small mistake is caught.

cosmic-ray changes operators, numbers, comparisons, conditions, keywords and decorators of the files below, in a copy of
the repository, one at a time. A mutant of the reference is tried by `refnorm check refnorm`, and, if it conforms, by
the tests of these files: argument checks, messages, cumulative averages and the like are not for an oracle that sees
arrays alone. A mutant of what judges is tried by its own tests, the quickest first. What survives must be listed in
`EQUIVALENT` with the reason why nothing changes.

    pip install cosmic-ray==8.7.0
    python tests/mutation.py SESSION              # the reference: 40 minutes; exit status 1 if an unlisted one survives
    python tests/mutation.py SESSION NAME ...     # these files, one or several
    python tests/mutation.py --again SESSION      # try what survived an earlier run on what is committed now
    python tests/mutation.py --report SESSION     # the table of an earlier run

With `--sample N` N mutants of each file are drawn (`--seed`, 0 if not given); with `--first` they are tried by the
first file of their tests alone, in a fraction of the time, and what survives these is tried by all with `--again`, or
by the first once more with `--again --first`. A run that was stopped goes on where it was with `--resume SESSION`.

Not covered: mistakes of more than one place; `_layout`, `_channels`, `_blocks` (their tests have their own mutants).
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import math
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
TESTS = ("api", "messages", "statistics", "running", "batch_norm", "blocks", "gradients", "accuracy", "synchronised")
REFERENCE = ("batch_norm", "statistics", "running", "synchronised")
FILES = dict.fromkeys(REFERENCE, ("reference", TESTS)) | {  # name: wing, tests
    "judge": ("oracle", ("judge", "threshold", "judged", "oracle", "oracle_second_order", "export")),
    "behaviours": ("oracle", ("behaviours", "judged", "oracle", "mutants", "export")),
    "bounds": ("oracle", ("bounds_road", "bounds", "threshold")),
    "second_bounds": ("oracle", ("bounds_road", "bounds", "threshold", "oracle_second_order")),
    "lint": ("golden", ("lint_small", "lint")),
    "number": ("exact", ("number", "exact")),
    "affine": ("exact", ("affine", "nearest", "exact")),
    "nearest": ("exact", ("nearest", "exact")),
    "definition": ("exact", ("definition", "exact")),
    "series": ("exact", ("series", "second_order")),
    "conversion": ("conventions", ("conversion",)),
    "reading": ("oracle/ask", ("reading", "recorded", "export")),
    "folding": ("reference", ("folding", "messages")),
    "population": ("reference", ("population",)),
}
INSTRUMENT = {  # file of tests: files of oracle/measure that it tries first
    "fit": ("fit",),
    "naming": ("naming", "known", "known_maps", "known_updates"),
    "read_running": ("read_running",),
    "read_dx": ("read_dx",),
    "terms": ("terms", "counts", "region", "products", "formula", "second_terms"),
    "divisors": ("divisors",),
    "parts": ("parts",),
    "read_parts": ("read_parts",),
    "clipped": ("clipped", "activated"),
    "read_parameters": ("read_parameters",),
    "naming_gradients": ("naming_gradients",),
    "read_forward": ("read_forward",),
    "explain": ("explain", "known_gradients"),
    "read_second": ("read_second", "known_second"),
    "weights": ("weights", "measurement"),
    "numerics": ("numerics",),
    "probes": ("probes", "formulas"),
    "recorded": ("from_files",),
}
for first, files in INSTRUMENT.items():
    second = ("oracle_second_order", "second_programs") if first == "read_second" else ()
    tests = dict.fromkeys((first, *second, "terms", "explain", "identify", "formulas", "unseen_bugs", "mutants"))
    FILES |= dict.fromkeys(files, ("oracle/measure", tuple(tests)))
WAIT, CPU, MEMORY = 900.0, 300, 8 << 30  # seconds, seconds of the processor, and bytes that a trial may take
SLOWER = 5  # times as long as without a mutant its tests may take, and as many seconds more
BITS = ("BitAnd", "BitOr", "BitXor", "LShift", "RShift")  # no floats have these: every such mutant raises TypeError

# file, what stands there, what the mutant makes of it: why nothing changes
SAME_MODULE = "namespaces are modules: equal if they are the same"
TWO_OPERATIONS = 'there are two operations, and "inference" comes before "training"'
SAME_MEMBER = "members of an enumeration are equal if they are the same"
POISONS = 'of what is poisoned, "nan" and "inf" come before "nan-upstream"'
CACHE = "a cache saves time; so does one of another size"
LAST_IS_FIRST = "of a single axis the first is the last"
FIRST_TIER = (
    "first = TIERS.index(WORST) + 1 if limit is WORST and ratio[worst] > 1 else 2  # within it, they fail as well"
)
ANYWAY_INFINITE = "where the variance may lose all of itself the logarithm is NaN, or infinite, as the bound is then"
UNCHANGED = "  # what has not changed need not be looked at twice"
GIVEN = "weight: Array, running_mean: Array, running_var: Array, eps: float"
NO_SQUARE = "the largest number of a format, 2^k (2^p - 1), is no square"
MOST = "np.max(np.abs(x), axis=axes, keepdims=True)"
ONE_GROUP = "one group has been dealt with before"
SOUND = "sound = mean.shape == var.shape and len(mean) == len(count) == len(level) > 0 and done == sum(2**level)"
SMALL = "equal integers as small as the levels of a merge are the same object"
ONE_PART = "of one part the first is the last"
ANY_DRAW = "any numbers of this spread will do"
NARROW = "narrow = lo == 0 or math.frexp(hi)[1] - math.frexp(lo)[1] > bits - 56"
MORE_BITS = "more bits than are needed do no harm"
SLOW_WAY = "what is computed anew, or exactly, more often has the same result"
FORMATS_FIRST = 'of the names of formats "bfloat16" comes first'
ROWS_MEAN = 'of the three, "new" comes first, before "old" and "sums"'
PARTS = "SOME = 4096  # elements at a time, as integers of thousands of digits"
ANY_PARTS = "parts of any size have the same results"
OWNER = "owner = np.full(flat[0].size, -1)"
NOBODY = "what belongs to no channel has any number below 0"
SHIFTED = "integers = [i << s for i, s in zip(np.ldexp(fraction, 53).astype(np.int64).tolist(), shifts, strict=True)]"
NO_ROOT = "root = (v / v[0]).rsqrt() if v[0] else fmpq_series([0], None, 2)  # var + eps = 0: no derivative, NaN"
A_LINE = "_Line(channel, direction, centre, centre_dx, v, v[0], root, fmpq_series(list(scale), None, 2) * root)"
CHANNELS = "for channel, grad, g in zip(channels, upstream, parameters(gamma, len(channels), 1), strict=True):"
ONE_MORE = "of a series two terms are asked for, and it may have more"
TRIED = "for bits in (64 << k for k in range(24)):"
ANY_GROWING = "any number of bits decides in the end that grows; the last is beyond any memory"
NO_BITS = "n, d, bits = int(self.p.p), int(self.p.q), 0"
UNUSED = "without q the bits are not asked for, and with it they are counted"
UNTOLD = "what these bits do not tell is computed anew"
ASIDE = "with tempfile.TemporaryDirectory(dir=os.path.dirname(whole), prefix=os.path.basename(whole)[:100]) as folder:"
ANY_NAME = "a folder that is gone afterwards may have any name that is short enough"
DIGITS = "with ctx.workprec(4 * digits + 64):"
WIDE = "likely = np.isfinite(width) & (width < {}) & (np.abs(turned.sum(axis=1)) == len(least))"
LOOSER = "what is let through is tried in every equation"
UNIT = "unit = np.where(usable[:, None], scaled / np.where(usable, norms, 1)[:, None], 0)"
TOLD = "told = np.abs(np.linalg.det(matrix)) > ALIKE if n > 1 else np.ones(len(index), bool)"
WEIGHED = "found.append(Weighed(tuple((int(i), f) for i, f in zip(numbers, first, strict=True)), cost))"
CENTRE_FIRST = 'of the names of parts "centre" comes first'
HAS_CENTRE = 'not any(p.name == "centre" for p in parts)'
OTHER_WORDS = f'other = any(" / " in p.measured for p in parts) or {HAS_CENTRE}'
STATISTICS = f'statistics = "the variance is" if {HAS_CENTRE} else "mean and variance are"'
LEFT = "left = [replace(p, common=text) for p, text in zip(divided, plain, strict=True) if text not in USUAL]"
WIDER = 'batch += [mean(r) for r in REGIONS if set("NSL") < set(r.axes)]'
STORED = 'batch = MEAN if which == "mean" else UNBIASED if row.correction else VAR'
NEAR = "if near and abs(near - c) < 1e-3 * abs(c):"
LEAST = "least = np.argsort(noise / np.abs(target))[:TESTED]"
SLACK = "slack = self.bound + np.abs(self.hi) * 2.0**-105 + 2.0**-1070  # the last two: rounding of lo +- slack"
MEAN_FIRST = '"mean" comes before "variance"'
NEW_WEIGHT = 'return state.momentum if row.momentum == "new" else 1 - state.momentum'
ROUNDING = 'rounding = a if a.attributes == "float32" else b'
SIGNED = "undecided |= np.signbit(lower) != np.signbit(upper)  # a zero takes the sign of the number; 0 itself has +"
FIRST_BITS = (
    "FIRST = 160  # bits of the first enclosure; enough but for numbers nearer to a tie than 2^-100 of themselves"
)
WORTH = "if len(decided) > len(left[:PROBES]) // 2:  # otherwise so many bits are too few for the others as well"
LATER = "what these bits leave open more bits decide, with the same result"
DIRECTION = "along = [*_values(direction), *[fmpq({})] * m, dg, db]"
PAIRS = "pairs = np.array([Number(*number).double_double() for number in numbers]).reshape({}1, 2)"
AT_MEAN = "y = float(box.infer(box.batch(mean_, mean_), gamma=1.3, beta=beta, mean=mean_, var=0.7).flat[0])"
CENTRED = "y = np.asarray(box.train(box.batch(*[centre - 1, centre + 1] * 4), dtype=dtype)[0], float)"
DRAWN = "x = np.random.default_rng(rank).integers(-8, 9, shape).astype(float)"
OF_DRAW = "return rounded(uniform(shape, 7) + ratio / 3**0.5, dtype)"
NARROWER = 'if dtype in box.dtypes and by_batch and not (dtype == box.dtype == "float64" and works_in_less(box)):'
THREE = "y, mean, var = box.train(box.batch(1.0, 2.0, 3.0), dtype=x_dtype, parameters=parameters)"
BEYOND = 'narrow = {"squares": [-300.0, 300.0] * 4, "a sum": [32.0, 34.0] * 2048}'
FROZEN = 'if quantity == "frozen y" and words == said.get("y, inference"):'
SHARED = 'wide = seen[0].case.kind == "float64"'
FEWER = "if np.any(np.abs(few(own) - target[rows]) > noise[rows]) or np.any(np.abs(table(own) - target) > noise):"
CLAMPED = (
    'f"max({var.words}, eps)", var, lambda w, v: np.maximum(v, w.eps), lambda w, v: (v > w.eps) * np.longdouble(1)'
)
MORE = '"(m^2/(m + 1))": lambda of, m: m * m / (m + 1),'
WHOLE = "if term.base is None or term.by is None:"
BUT_LAST = 'yield Selection(f"all but the last {one}", along, lambda i, n: i < n - 1)'
UNLIKE = "if abs(old_in_var - weights[0.9][0]) > DIGITS:"
OWN_SQUARE = "slope = np.where(np.abs(target) > CLEAR * noise, target / usual, 0)"
IN_ORDER = "the lower is not above the upper, nor is what it is rounded to"
UNDECIDED = "undecided = ~((result == to_format(upper, kind)) & np.isfinite(lower))"
DECIDED = "if (nearest := _nearest(lower, kind)) == _nearest(upper, kind) and (lower > 0) == (upper > 0):"
FRACTION = 'fraction = "1 - momentum" if a.momentum == "new" else "momentum"'
PASSED = 'passed = "1 - f" if b.momentum == "new" else "f"'
NOT_NEGATIVE = "a norm is not negative"
SUMS_LAST = 'of the three, "sums" comes last'
AS_LONG = "both are made with as many"
SPREAD = "spread = np.abs(centred) > 0.1 * np.abs(centred).max(w.axes, keepdims=True)"
BEYOND_BOUND = 'for name, beyond in (("low", right < got), ("high", right > got)):'
SIGNED_WORDS = 'return ("-" if p.constant < 0 else "") + text + over'
APART = "if len(fronts) > 1 or any(p.constant for p in found.also):"
ROOTS = "own = variances if power == 2 else [root_of(v) for v in variances]"
SLOPE_TOLD = "told = np.isfinite(slope) & (np.abs(y).max(w.axes, keepdims=True) <= TELLING * np.abs(w.gamma))"
INVERSE_OF = (
    '"gamma/sqrt(var + eps)" if plain[0][0].case.operation == "training" else "gamma/sqrt(running variance + eps)"'
)
ALIKE_KS = "alike = max(ks) - min(ks) < 100 * LARGEST * digits"
OF_RANK = "if rank == 2 and size[0] < 30 * size[1]:  # else a digit of the running mean is many of a weight"
MODERATELY = "return bool(np.all((w.inv > 1 / MODERATE) & (w.inv < MODERATE)))"
FEWEST = "  # equations by which most variations are refuted"
SHARE_TOLD = "if share[best] > 0.1 and moved[best] > 0:"
CHOSEN = "chosen = [c for c in cases if {c.kind, c.parameters} == {dtype} and not c.batches[1:]]"
SCREENING = "if _left(rows[used][:, few], wanted[few]) > LEFT:"
MODERATE = "MODERATE = 1e9  # of std, or of its inverse"
OF_BOTH = "for k, (t, other) in enumerate(zip(own, others, strict=True)):"
FEW_OF = "few = np.linspace(0, len(wanted) - 1, SCREENED).astype(int)"
WHILE_SPARE = "while len(spare := _without_one(rows, used, wanted)) < len(used):"
NEEDED = "if _left(rows[rest], wanted) <= 1:"
GRANTED = "total[here] = total[here].max(initial=0)"
LEFT_OVER = "LEFT = 64  # times its noise: what a screening may leave of an equation"
FOUR = "for column in zip(*((o.slope, o.noise, o.x, o.y) for o in lines), strict=True)"
ROOT_NOISE = "rough = noise[told] * (1 if power == 2 else 0.5 / np.sqrt(square[told]))"
COLUMNS = "up, down, target = (np.concatenate(column) for column in zip(*rows, strict=True))"
ALL_ALIKE = "noises.append(np.full(own[0].shape, max(noise_in(w.case.kind) * size, 1e-300)))"
FIRST_SEEN = 'training = seen[0][0].case.operation == "training"'
ONE_OPERATION = "all are of one operation"
EQUIVALENT: dict[tuple[str, str, str], str] = {
    (
        "running",
        """if namespace(batch, "the batch's statistics") is not xp:""",
        """if namespace(batch, "the batch's statistics") != xp:""",
    ): SAME_MODULE,
    (
        "statistics",
        'if namespace(self.mean, "mean") is not namespace(other.mean, "mean"):',
        'if namespace(self.mean, "mean") != namespace(other.mean, "mean"):',
    ): SAME_MODULE,
    (
        "running",
        "var = statistics.corrected(0 if single else 1)",
        "var = statistics.corrected( -1 if single else 1)",
    ): "the variance of a single value is 0, whatever multiplies it",
    (
        "running",
        "single = isinstance(statistics.count, int) and statistics.count == 1",
        "single = isinstance(statistics.count, int) and statistics.count <= 1",
    ): "there are no statistics of nothing; made by hand, they raise either way",
    (
        "judge",
        "return bool(np.all((error <= given) | np.isinf(given) | (ratio == 0)))",
        "return bool(np.all((error <= given) | np.isinf(given) | (ratio <= 0)))",
    ): "a ratio of an error and a bound is not negative",
    (
        "judge",
        'lenient = case.eps == 0 and case.operation == "training" and not row.zero_eps',
        'lenient = case.eps == 0 and case.operation >= "training" and not row.zero_eps',
    ): TWO_OPERATIONS,
    (
        "judge",
        'return Observation("shapes and dtypes" if trouble.kind is Kind.DTYPE else quantity, case, trouble=trouble)',
        'return Observation("shapes and dtypes" if trouble.kind == Kind.DTYPE else quantity, case, trouble=trouble)',
    ): SAME_MEMBER,
    ("judge", FIRST_TIER, FIRST_TIER.replace("else 2", "else 1")): (
        "TIERS[1] is PAIRWISE, of which it was just found that it does not hold"
    ),
    ("judge", FIRST_TIER, FIRST_TIER.replace("limit is", "limit ==")): "no tier is equal to another",
    ("behaviours", "if case.count == 0:", "if case.count <= 0:"): "a count is not negative",
    (
        "behaviours",
        'if case.situation.content == "nan-upstream":  # on dy only gradients do, and no jvp',
        'if case.situation.content >= "nan-upstream":  # on dy only gradients do, and no jvp',
    ): POISONS,
    (
        "behaviours",
        'upstream = case.situation.content == "nan-upstream"',
        'upstream = case.situation.content >= "nan-upstream"',
    ): POISONS,
    ("bounds", "@lru_cache(maxsize=8192)", "@lru_cache(maxsize= 8193)"): CACHE,
    ("bounds", "@lru_cache(maxsize=8192)", "@lru_cache(maxsize= 8191)"): CACHE,
    ("bounds", "@lru_cache(maxsize=8192)", ""): CACHE,
    (
        "bounds",
        'result = (_training if case.operation == "training" else _inference)(case, convention, tier)',
        'result = (_training if case.operation >= "training" else _inference)(case, convention, tier)',
    ): TWO_OPERATIONS,
    (
        "bounds",
        "grows = np.where(v > less, np.log1p(less / (v - less)) / 2, np.inf)",
        "grows = np.where(v >= less, np.log1p(less / (v - less)) / 2, np.inf)",
    ): ANYWAY_INFINITE,
    (
        "bounds",
        "grows = np.where(v > less, np.log1p(less / (v - less)) / 2, np.inf)",
        "grows = np.where(v != less, np.log1p(less / (v - less)) / 2, np.inf)",
    ): ANYWAY_INFINITE,
    (
        "bounds",
        "grows = np.where(v > less, np.log1p(less / (v - less)) / 2, np.inf)",
        "grows = np.where(v is not less, np.log1p(less / (v - less)) / 2, np.inf)",
    ): ANYWAY_INFINITE,
    (
        "bounds",
        "running = [_blend(*pair, sums.kind, case, convention) for pair in zip(running, new, strict=True)]",
        "running = [_blend(*pair, sums.kind, case, convention) for pair in zip(running, new, strict=False)]",
    ): "both are a pair, of mean and variance",
    (
        "bounds",
        "squares = np.max(np.abs(np.stack(case.batches)), axis=(0, *(a + 1 for a in axes))) ** 2 <= most",
        "squares = np.max(np.abs(np.stack(case.batches)), axis=(0, *(a + 1 for a in axes))) ** 2 < most",
    ): NO_SQUARE,
    (
        "second_bounds",
        f"judged = ({MOST} ** 2 <= largest(sums.kind)) & _judged(n.s**2, sums.kind)",
        f"judged = ({MOST} ** 2 < largest(sums.kind)) & _judged(n.s**2, sums.kind)",
    ): NO_SQUARE,
    (
        "bounds",
        'off_old, off_new = (1, w_new) if convention.momentum == "new" else (w_old, 1)',
        'off_old, off_new = (1, w_new) if convention.momentum <= "new" else (w_old, 1)',
    ): ROWS_MEAN,
    (
        "second_bounds",
        'frozen = case.operation == "inference"',
        'frozen = case.operation <= "inference"',
    ): TWO_OPERATIONS,
    (
        "second_bounds",
        "result: Floats = (v**2.5 <= largest(kind)) & (v**-2.5 <= largest(kind))",
        "result: Floats = (v**2.5 <= largest(kind)) & (v**-2.5 < largest(kind))",
    ): "no float64 has a power -5/2 that is rounded to the largest number of a format: test_bounds_road looks for one",
    ("second_bounds", "@lru_cache(maxsize=4096)", "@lru_cache(maxsize= 4097)"): CACHE,
    ("second_bounds", "@lru_cache(maxsize=4096)", "@lru_cache(maxsize= 4095)"): CACHE,
    ("second_bounds", "@lru_cache(maxsize=4096)", ""): CACHE,
    ("lint", "@lru_cache(maxsize=256)", "@lru_cache(maxsize= 257)"): CACHE,
    ("lint", "@lru_cache(maxsize=256)", "@lru_cache(maxsize= 255)"): CACHE,
    ("lint", "@lru_cache(maxsize=256)", ""): CACHE,
    ("lint", f"@lru_cache(maxsize=256){UNCHANGED}", f"@lru_cache(maxsize= 257){UNCHANGED}"): CACHE,
    ("lint", f"@lru_cache(maxsize=256){UNCHANGED}", f"@lru_cache(maxsize= 255){UNCHANGED}"): CACHE,
    ("lint", f"@lru_cache(maxsize=256){UNCHANGED}", ""): CACHE,
    ("folding", 'if namespace(bias, "bias") is not xp:', 'if namespace(bias, "bias") != xp:'): SAME_MODULE,
    (
        "folding",
        "if namespace(values, name) is not layout.xp or values.ndim != 1:",
        "if namespace(values, name) != layout.xp or values.ndim != 1:",
    ): SAME_MODULE,
    (
        "folding",
        "shift = batch_norm_inference(zeros, running_mean, running_var, gamma, beta, eps=eps, axis=0)",
        "shift = batch_norm_inference(zeros, running_mean, running_var, gamma, beta, eps=eps, axis= -1)",
    ): LAST_IS_FIRST,
    (
        "folding",
        "shape, axes = _channels(weight, axis, groups, layout.kept[0])",
        "shape, axes = _channels(weight, axis, groups, layout.kept[ -1])",
    ): LAST_IS_FIRST,
    (
        "folding",
        f"def _require_fixed({GIVEN}, axis: Axes = 0) -> Layout:",
        f"def _require_fixed({GIVEN}, axis: Axes = -1) -> Layout:",
    ): "where no axis is given, the layout tells the library and the formats alone",
    (
        "folding",
        "if groups < 1 or along % groups or group_axis in axes:",
        "if groups <= 1 or along % groups or group_axis in axes:",
    ): ONE_GROUP,
    (
        "folding",
        "if groups < 1 or along % groups or group_axis in axes:",
        "if groups < 2 or along % groups or group_axis in axes:",
    ): ONE_GROUP,
    (
        "folding",
        "return shape, (group_axis, *(a + (a > group_axis) for a in axes))",
        "return shape, (group_axis, *(a + (a >= group_axis) for a in axes))",
    ): "that the axis of the groups is one of the channels' is refused before",
    (
        "folding",
        "signed = xp.where(gamma < 0, -std, std)",
        "signed = xp.where(gamma <= 0, -std, std)",
    ): "a gamma of 0 is refused on NumPy arrays, and elsewhere gives NaN or inf either way",
    (
        "population",
        "while partial and partial[-1][0] == level:",
        "while partial and partial[-1][0] <= level:",
    ): "levels fall from merge to merge, and the last is not below that of what is added",
    (
        "population",
        "if cut is None or math.prod(x.shape) == 0:",
        "if cut is None or math.prod(x.shape) <= 0:",
    ): "a number of values is not negative",
    (
        "population",
        "parts = [delayed(Statistics.merge)(*pair) if len(pair) == 2 else pair[0] for pair in pairs]",
        "parts = [delayed(Statistics.merge)(*pair) if len(pair) >= 2 else pair[0] for pair in pairs]",
    ): "a pair has one or two parts",
    (
        "population",
        "parts = zip(level.tolist(), count.tolist(), mean, var, strict=True)",
        "parts = zip(level.tolist(), count.tolist(), mean, var, strict=False)",
    ): "that all are as long has been looked at before",
    (
        "population",
        "parts = [delayed(Statistics.merge)(*pair) if len(pair) == 2 else pair[0] for pair in pairs]",
        "parts = [delayed(Statistics.merge)(*pair) if len(pair) == 2 else pair[ -1] for pair in pairs]",
    ): ONE_PART,
    ("population", "merged: Statistics = parts[0].compute()", "merged: Statistics = parts[ -1].compute()"): ONE_PART,
    (
        "population",
        "while partial and partial[-1][0] == level:",
        "while partial and partial[-1][0] is level:",
    ): SMALL,
    ("population", "while len(parts) > 1:", "while len(parts) != 1:"): "an array has at least one part",
    ("population", ASIDE, ASIDE.replace("100", " 101")): ANY_NAME,
    ("population", ASIDE, ASIDE.replace("100", " 99")): ANY_NAME,
    (
        "number",
        "with ctx.workprec(4 * digits + 64):",
        "with ctx.workprec(4 * digits * 64):",
    ): MORE_BITS,
    ("number", DIGITS, DIGITS.replace("4 *", " 5 *")): MORE_BITS,
    ("number", DIGITS, DIGITS.replace("64", "65")): MORE_BITS,
    ("number", DIGITS, DIGITS.replace("64", "63")): "of 64 bits more than the digits have, one may be left out",
    ("number", NARROW, NARROW.replace("bits - 56", "bits / 56")): SLOW_WAY,
    ("number", NARROW, NARROW.replace("56", "57")): SLOW_WAY,
    (
        "number",
        "n, d = (man << exp, 1) if exp >= 0 else (man, 1 << -exp)",
        "n, d = (man << exp, 1) if exp >= 1 else (man, 1 << -exp)",
    ): "moved by 0 bits either way is the same",
    ("number", NO_BITS, NO_BITS.removesuffix("0") + "1"): UNUSED,
    ("number", NO_BITS, NO_BITS.removesuffix("0") + "-1"): UNUSED,
    ("number", "with ctx.workprec(256):", "with ctx.workprec( 257):"): UNTOLD,
    ("number", "with ctx.workprec(256):", "with ctx.workprec( 255):"): UNTOLD,
    ("number", TRIED, TRIED.replace("64", " 65")): ANY_GROWING,
    ("number", TRIED, TRIED.replace("64", " 63")): ANY_GROWING,
    ("number", TRIED, TRIED.replace("24", " 25")): ANY_GROWING,
    ("number", TRIED, TRIED.replace("24", " 23")): ANY_GROWING,
    ("number", NARROW, NARROW.replace("bits - 56", "bits // 56")): SLOW_WAY,
    ("population", SOUND, SOUND.replace("len(mean) ==", "len(mean) is")): SMALL,
    ("population", SOUND, SOUND.replace("len(count) ==", "len(count) is")): SMALL,
    ("population", SOUND, SOUND.replace("> 0", "!= 0")): "a length is not negative",
    (
        "reading",
        'wide = array.astype(np.float64) if kind == "bfloat16" and array.dtype == np.float32 else None',
        'wide = array.astype(np.float64) if kind <= "bfloat16" and array.dtype == np.float32 else None',
    ): FORMATS_FIRST,
    (
        "reading",
        'written.defects |= dict.fromkeys(left_out, MISSING if not files or files[0].endswith(".npy") else ABSENT)',
        'written.defects |= dict.fromkeys(left_out, MISSING if not files or files[ -1].endswith(".npy") else ABSENT)',
    ): "all files of a case end alike: otherwise none is read",
    ("affine", "@lru_cache(maxsize=16)", "@lru_cache(maxsize= 17)"): CACHE,
    ("affine", "@lru_cache(maxsize=16)", "@lru_cache(maxsize= 15)"): CACHE,
    ("affine", "@lru_cache(maxsize=16)", ""): CACHE,
    ("affine", PARTS, PARTS.replace("4096", "4097")): ANY_PARTS,
    ("affine", PARTS, PARTS.replace("4096", "4095")): ANY_PARTS,
    ("affine", OWNER, OWNER.replace("-1", "~1")): NOBODY,
    ("affine", OWNER, OWNER.replace("1)", " 2)")): NOBODY,
    ("affine", SHIFTED, SHIFTED.replace("=True", "=False")): "every integer has its shift",
    (
        "series",
        "scales = zip(parameters(gamma, n, 1), parameters(ddgamma, n, 0), parameters(ddbeta, n, 0), strict=True)",
        "scales = zip(parameters(gamma, n, 1), parameters(ddgamma, n, 0), parameters(ddbeta, n, 0), strict=False)",
    ): "each has one value per channel, or is refused",
    ("definition", CHANNELS, CHANNELS.replace("=True", "=False")): "each has one value per channel, or is refused",
    ("series", NO_ROOT, NO_ROOT.replace("None, 2", "None, 3")): ONE_MORE,
    ("series", A_LINE, A_LINE.replace("None, 2", "None, 3")): ONE_MORE,
    ("nearest", "if drop > 0:", "if drop == 0:"): "an integer that is not cut off is enclosed as well, only longer",
    **{("nearest", FIRST_BITS, FIRST_BITS.replace("160", other)): ANY_GROWING for other in ("161", "159")},
    **{("nearest", "bits *= 8", f"bits *= {other}"): ANY_GROWING for other in (7, 9)},
    ("nearest", WORTH, WORTH.replace(">", ">=")): LATER,
    ("nearest", "if lower < 0:", "if lower <= 0:"): LATER,
    ("nearest", "if upper > 0:", "if upper >= 0:"): LATER,
    (
        "read_dx",
        OWN_SQUARE,
        OWN_SQUARE.replace(">", ">="),
    ): "0 is passed over, and nothing else has just so much noise",
    (
        "nearest",
        "return value << by if by > 0 else value >> -by",
        "return value << by if by > -1 else value >> -by",
    ): "moved by 0 bits either way is the same",
    **{
        ("fit", WIDE.format("4 * relative[least].max()"), WIDE.format(f"{other}relative[least].max()")): LOOSER
        for other in ("4 + ", "4 - ", "4 / ", "5 * ")
    },
    (
        "fit",
        WIDE.format("4 * relative[least].max()"),
        WIDE.format("3 * relative[least].max()"),
    ): "the logarithms of a product that meets its equations differ by little more than twice their noise",
    (
        "fit",
        "turned = np.sign(target[least]) * signs",
        "turned = np.sign(target[least]) / signs",
    ): "a sign divides as it multiplies, and a product that is 0 is refused by its logarithm",
    ("fit", WEIGHED, WEIGHED.replace("=True", "=False")): AS_LONG,
    ("fit", UNIT, UNIT.replace(", 0)", ", 1)")): "what is not usable is in no sum",
    ("fit", TOLD, TOLD.replace("n > 1", "n > 0")): "the determinant of a single row is the square of its length, 1",
    ("naming", OTHER_WORDS, OTHER_WORDS.replace("==", "<=")): CENTRE_FIRST,
    ("naming", STATISTICS, STATISTICS.replace("==", "<=")): CENTRE_FIRST,
    (
        "naming",
        'if part.name == "divisor":',
        'if part.name <= "divisor":',
    ): "beside the divisor that is the centre, whose words are never those of a divisor",
    ("naming", "if len(found) < 2:", "if len(found) != 2:"): "there are two such parts",
    ("naming", "@dataclass(frozen=True)", "@dataclass(frozen=False)"): "nothing changes a part",
    ("naming", LEFT, LEFT.replace("=True", "=False")): AS_LONG,
    (
        "read_running",
        "if any(np.any(new < 0) for _, new in plain) and power != 1:",
        "if any(np.any(new < 0) for _, new in plain) and power < 1:",
    ): "of the two powers the other is 1/2",
    (
        "read_running",
        WIDER,
        WIDER.replace(" < ", " is not "),
    ): "means over fewer axes are no value of each channel, and are passed over",
    ("read_running", STORED, STORED.replace("==", "<=")): MEAN_FIRST,
    ("number", "masked = self.bound == 0", "masked = self.bound <= 0"): "a bound is not negative",
    ("number", NARROW, NARROW.replace("> bits", "is not bits")): SLOW_WAY,
    ("fit", "usable = np.isfinite(norms) & (norms > 0)", "usable = np.isfinite(norms) & (norms != 0)"): NOT_NEGATIVE,
    ("fit", NEAR, NEAR.replace("<", "<=")): "no float lies exactly on this limit",
    **{
        ("fit", LEAST, LEAST.replace("/", operator)): "whichever equations refute first, all are looked at"
        for operator in ("+", "-", "*", "//", "%", "**")
    },
    ("number", SIGNED, SIGNED.replace("!=", ">")): IN_ORDER,
    ("number", UNDECIDED, UNDECIDED.replace("==", ">=")): IN_ORDER,
    ("number", DECIDED, DECIDED.replace(") == (", ") is (")): "there is one True and one False",
    (
        "nearest",
        "return [math.nan] * columns[0].size",
        "return [math.nan] * columns[ -1].size",
    ): "all columns are as long",
    ("conversion", 'if b.momentum == "old":', 'if b.momentum <= "old":'): SUMS_LAST,
    ("number", SLACK, SLACK.replace("105", " 104")): SLOW_WAY,
    (
        "number",
        "if n << max(0, -(place + bits - 1)) < d << max(0, place + bits - 1):",
        "if n << max(0, -(place + bits - 1)) <= d << max(0, place + bits - 1):",
    ): "a power of two is the same with one digit more",
    ("conversion", NEW_WEIGHT, NEW_WEIGHT.replace("==", "<=")): ROWS_MEAN,
    ("conversion", ROUNDING, ROUNDING.replace("==", "<=")): 'there are two, and "float32" comes before "float64"',
    ("conversion", FRACTION, FRACTION.replace("==", "<=")): ROWS_MEAN,
    ("conversion", PASSED, PASSED.replace("==", "<=")): ROWS_MEAN,
    **{
        ("conversion", text, text.replace("!=", "is not")): "equal corrections, 0 or 1, are the same object"
        for text in ("if a.correction != b.correction:", "if count is not None and a.correction != b.correction:")
    },
    ("conversion", 'if a.momentum == "sums":', 'if a.momentum >= "sums":'): SUMS_LAST,
    ("conversion", 'elif b.momentum == "sums":', 'elif b.momentum >= "sums":'): SUMS_LAST,
    ("conversion", 'if b.momentum == "new":', 'if b.momentum <= "new":'): ROWS_MEAN,
    ("series", NO_ROOT, NO_ROOT.replace("None, 2", "None, 1")): "of what is NaN no term is asked for",
    ("series", DIRECTION.format(0), DIRECTION.format(" 1")): "y and its gradients are 0 along a constant dy",
    ("affine", PAIRS.format("-"), PAIRS.format("~")): "NumPy works out the size in whose place any negative number is",
    ("probes", NARROWER, NARROWER.replace("dtype == box", "dtype >= box")): '"float32" comes before "float64"',
    ("probes", THREE, THREE.replace("1.0", " 0.0")): "any values have formats",
    ("probes", BEYOND, BEYOND.replace("300.0, ", " 299.0, ")): "any values whose squares are beyond 65504 will do",
    ("formulas", FROZEN, FROZEN.replace("==", ">=", 1)): "no other quantity's formula is that of inference",
    ("formulas", SHARED, SHARED.replace("==", ">=")): 'of the names of formats "float64" comes last',
    ("read_parameters", FEWER, FEWER.replace("> noise[rows]", "is noise[rows]")): SLOW_WAY,
    (
        "read_parameters",
        "@dataclass(frozen=True, eq=False)",
        "@dataclass(frozen=False, eq=False)",
    ): "nothing changes it",
    ("divisors", "@cache", ""): CACHE,
    ("divisors", CLAMPED, CLAMPED.replace(" * np", " / np")): "by 1 one multiplies as one divides",
    ("counts", MORE, MORE.replace("m * m /", "m - m /")): "m - m/(m + 1) is m^2/(m + 1)",
    (
        "formula",
        "@dataclass(frozen=True, eq=False)",
        "@dataclass(frozen=True, eq=True)",
    ): "functions are equal if the same",
    ("formula", WHOLE, WHOLE.replace("by is", "by is not")): SLOW_WAY,
    ("parts", BUT_LAST, BUT_LAST.replace("<", "!=")): "places are below their number",
    ("weights", UNLIKE, UNLIKE.replace(">", ">=")): "no float lies exactly on this limit",
    ("numerics", OF_DRAW, OF_DRAW.replace("7", "8")): ANY_DRAW,
    ("probes", DRAWN, DRAWN.replace("9", "10")): ANY_DRAW,
    ("probes", CENTRED, CENTRED.replace("4", "5")): "any number of pairs has this mean and this variance",
    ("probes", AT_MEAN, AT_MEAN.replace("[0]", "[ 1]")): "both values are the mean",
    ("probes", "d = 2.0**-6", "d = 2.0**- 7"): "any small number shows eps",
    ("clipped", SPREAD, SPREAD.replace(">", ">=")): "no float lies exactly on this limit",
    ("clipped", BEYOND_BOUND, BEYOND_BOUND.replace("<", "<=")): "what is off is not equal",
    ("clipped", BEYOND_BOUND, BEYOND_BOUND.replace("> got", ">= got")): "what is off is not equal",
    (
        "naming_gradients",
        SIGNED_WORDS,
        SIGNED_WORDS.replace("< 0", "<= 0"),
    ): "a constant of 0 has been dealt with before",
    ("naming_gradients", APART, APART.replace("> 1", "!= 1")): "there is at least one term",
    ("read_parts", ROOT_NOISE, ROOT_NOISE.replace("==", ">=")): "of the two powers the other is 1",
    (
        "read_parts",
        'plain = [(w, y) for w, y in seen if np.all(np.isfinite(y)) and w.case.operation == "training"]',
        'plain = [(w, y) for w, y in seen if np.all(np.isfinite(y)) and w.case.operation >= "training"]',
    ): TWO_OPERATIONS,
    (
        "read_running",
        'batch += [variance(r) for r in REGIONS if set("NSL") < set(r.axes)]',
        'batch += [variance(r) for r in REGIONS if set("NSL") <= set(r.axes)]',
    ): "the channel's own variance is there already",
    ("read_parts", FOUR, FOUR.replace("=True", "=False")): AS_LONG,
    ("activated", COLUMNS, COLUMNS.replace("=True", "=False")): AS_LONG,
    **{("activated", ALL_ALIKE, ALL_ALIKE.replace("own[0]", f"own[ {k}]")): AS_LONG for k in (1, -1)},
    **{("clipped", FIRST_SEEN, FIRST_SEEN.replace("seen[0]", f"seen[ {k}]")): ONE_OPERATION for k in (1, -1)},
    ("clipped", FIRST_SEEN, FIRST_SEEN.replace("==", ">=")): TWO_OPERATIONS,
    ("read_parts", ROOTS, ROOTS.replace("==", ">=")): "of the two powers the other is 1",
    ("read_parts", SLOPE_TOLD, SLOPE_TOLD.replace("<=", "<")): "no float lies exactly on this limit",
    ("read_parts", INVERSE_OF, INVERSE_OF.replace("[0][0]", "[ -1][0]")): ONE_OPERATION,
    ("read_parts", "own = defined(lines[0].world)", "own = defined(lines[ -1].world)"): ONE_OPERATION,
    ("from_files", CHOSEN, CHOSEN.replace("==", "<=")): "no set of two formats is empty",
    ("from_files", ALIKE_KS, ALIKE_KS.replace("< 100", "<= 100")): "no float lies exactly on this limit",
    ("from_files", SHARE_TOLD, SHARE_TOLD.replace("> 0.1", ">= 0.1")): "no float lies exactly on this limit",
    ("from_files", CHOSEN, CHOSEN.replace("[1:]", "[ 2:]")): "no case has two batches",
    ("read_second", OF_BOTH, OF_BOTH.replace("strict=True", "strict=False")): "of each term there is another",
    ("from_files", OF_RANK, OF_RANK.replace("< 30", "<= 30")): "no float lies exactly on this limit",
    ("from_files", OF_RANK, OF_RANK.replace("==", ">=")): "two columns have no rank above 2",
    (
        "read_forward",
        "if found.cost < 1:",
        "if found.cost <= 1:",
    ): "what costs 1 is found once more, with beta among the shifts",
    **{("read_second", f"SCREENED = 240{FEWEST}", f"SCREENED = {n}{FEWEST}"): LOOSER for n in (239, 241)},
    ("read_second", MODERATELY, MODERATELY.replace("inv > 1", "inv >= 1")): "no float lies exactly on this limit",
    ("read_second", MODERATELY, MODERATELY.replace("inv < M", "inv <= M")): "no float lies exactly on this limit",
    **{
        ("read_second", FEW_OF, FEW_OF.replace(old, new)): LOOSER
        for old, new in (("- 1", "% 1"), ("- 1", "- 2"), ("(0", "( -1"), ("(0", "( 1"))
    },
    **{("read_second", SCREENING, SCREENING.replace(">", sign)): LOOSER for sign in ("is", "==")},
    ("read_second", SCREENING, SCREENING.replace(">", ">=")): LOOSER,
    **{
        ("read_second", MODERATE, MODERATE.replace("1e9", n)): "any limit of this size will do"
        for n in ("1000000001.0", "999999999.0")
    },
    ("read_second", WHILE_SPARE, WHILE_SPARE.replace("<", "!=")): "no row is added",
    ("read_second", WHILE_SPARE, WHILE_SPARE.replace("<", "is not")): f"no row is added, and {SMALL}",
    ("read_second", NEEDED, NEEDED.replace("<=", "<")): "no float lies exactly on this limit",
    ("read_second", GRANTED, GRANTED.replace("l=0", "l= -1")): "sizes are not negative",
    **{("read_second", LEFT_OVER, LEFT_OVER.replace("64", other)): LOOSER for other in ("63", "65")},
}


def tests_of(name: str, first: bool) -> list[str]:
    """Return the tests of a file, its own examples included; or the first file of them alone."""
    wing, own = FILES[name]
    tests = [*(f"tests/test_{test}.py" for test in own), f"refnorm/{wing}/{name}.py"]
    return tests[:1] if first else tests


class Quickest:
    """A plugin of pytest: tests in the order of their times."""

    def __init__(self, times: dict[str, float]) -> None:
        self.times = times

    def pytest_collection_modifyitems(self, items) -> None:
        """Sort by measured time; what was not measured comes first."""
        items.sort(key=lambda item: self.times.get(item.nodeid, 0.0))


class Timed:
    """A plugin of pytest that measures each test, and writes the times to a file."""

    def __init__(self, file: Path) -> None:
        self.file, self.times = file, collections.Counter[str]()

    def pytest_runtest_logreport(self, report) -> None:
        """Add what a phase of a test took."""
        self.times[report.nodeid] += report.duration

    def pytest_sessionfinish(self) -> None:
        """Write the times."""
        self.file.write_text(json.dumps(self.times))


def tested(folder: Path, tests: Sequence[str], *plugins: object) -> bool:
    """Run tests in the copy, until the first that fails; return whether all passed."""
    import pytest

    os.chdir(folder)
    options = ["--disable-plugin-autoload", "-p", "xdist.plugin", "-n", "0", "-p", "no:cacheprovider", "-q", "-x"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    return pytest.main([*options, *tests], plugins=list(plugins)) == 0


def conforms(folder: Path) -> bool:
    """Whether `refnorm check refnorm` finds nothing; it stops at the first that is wrong, to save time."""
    from refnorm.conventions import convention
    from refnorm.oracle.ask.target import load_target
    from refnorm.oracle.observe import observe, selected

    os.chdir(folder)
    target = load_target("refnorm")
    for path in target.paths.values():
        for dtypes in (("float64",), ("float32", "float16")):
            row = convention(getattr(path, "convention", target.convention))
            if not all(o.passed for o in observe(path, row, selected(path, row, dtypes))):
                return False
    return True


def apart(folder: Path, judge: Callable[..., bool], *arguments: object, cpu: int = CPU) -> str:
    """Ask in a process of its own, which need not import NumPy and pytest again: passed, failed, or no end."""
    import flint  # noqa: F401
    import hypothesis
    import numpy  # noqa: F401
    import pytest  # noqa: F401
    import scipy.linalg  # noqa: F401
    import xdist.plugin  # noqa: F401

    if pid := os.fork():
        until, done = time.monotonic() + WAIT, (0, 0)
        try:
            while not done[0] and time.monotonic() < until:
                time.sleep(0.02)
                done = os.waitpid(pid, os.WNOHANG)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # it, and whatever it started
        status = done[1] if done[0] else os.waitpid(pid, 0)[1]
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGKILL, signal.SIGXCPU):
            return "no end"
        return "passed" if status == 0 else "failed"
    status = 1
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        hidden = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(hidden, fd)
        os.environ |= {"PYTHONPATH": str(folder), "OPENBLAS_NUM_THREADS": "1"}
        sys.path[0] = str(folder)  # where this file was
        phases = (hypothesis.Phase.explicit, hypothesis.Phase.reuse, hypothesis.Phase.generate)  # no smaller example
        hypothesis.settings.register_profile("mutation", phases=phases)
        hypothesis.settings.load_profile("mutation")
        status = int(not judge(folder, *arguments))
    finally:
        os._exit(status)


def trial(folder: Path, name: str, times: dict[str, float], first: bool = False) -> str:
    """Judge the mutant of a file in the copy; say what came of it."""
    if name in REFERENCE and not first and (found := apart(folder, conforms)) != "passed":
        return "caught by check" if found == "failed" else found
    tests = tests_of(name, first)
    usual = sum(seconds for test, seconds in times.items() if test.split("::")[0] in tests)
    cpu = min(CPU, SLOWER + math.ceil(SLOWER * usual))
    found = apart(folder, tested, tests, Quickest(times), cpu=cpu)
    return {"passed": "survived", "failed": "caught by tests"}.get(found, found)


@contextlib.contextmanager
def copy(names: Sequence[str], first: bool = False) -> Iterator[tuple[Path, dict[str, float]]]:
    """Make a copy of what is committed, in which the tests of files pass; give its folder, and how long each takes."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "refnorm"
        subprocess.run(["git", "clone", "-q", ROOT, folder], check=True)
        measured = folder / "times.json"
        tests = list(dict.fromkeys(test for name in names for test in tests_of(name, first)))
        if apart(folder, tested, tests, Timed(measured)) != "passed":
            sys.exit(f"without a mutant, one fails of {' '.join(tests)}")
        for name in names:  # a mutant as long as its original, made in the same second, must not be taken for it
            for compiled in (folder / "refnorm" / FILES[name][0] / "__pycache__").glob(f"{name}.*"):
                compiled.unlink()
        sys.dont_write_bytecode, os.environ["PYTHONDONTWRITEBYTECODE"] = True, "1"
        yield folder, json.loads(measured.read_text())


def run(session: Path, first: bool) -> None:
    """Try the mutants of a session of which no outcome is known, in a copy of what is committed."""
    from cosmic_ray.mutating import apply_mutation
    from cosmic_ray.plugins import get_operator
    from cosmic_ray.work_db import WorkDB, use_db
    from cosmic_ray.work_item import WorkerOutcome, WorkResult

    with use_db(session, WorkDB.Mode.open) as database:
        waiting = list(database.pending_work_items)
        with copy(sorted({item.mutations[0].module_path.stem for item in waiting}), first) as (folder, times):
            for item in waiting:
                (mutation,) = item.mutations
                operator = get_operator(mutation.operator_name)(**mutation.operator_args)
                file = folder / mutation.module_path
                original, _ = apply_mutation(file, operator, mutation.occurrence)
                shown = ["git", "diff", "-U0", "--no-color"]
                diff = subprocess.run(shown, cwd=folder, capture_output=True, text=True, check=True).stdout
                outcome = trial(folder, file.stem, times, first) if diff else "no mutant"
                file.write_text(original)
                result = WorkResult(output=outcome, worker_outcome=WorkerOutcome.NORMAL, diff=diff)
                database.set_result(item.job_id, result)


def prepare(session: Path, names: Sequence[str], sample: int | None, seed: int) -> None:
    """List all mutants of files in a new session, those of bit operators left out, and all but a sample if so wished.

    Bit operators raise on floats, and in type annotations, which are never evaluated, do nothing.
    """
    from cosmic_ray.commands import init
    from cosmic_ray.work_db import WorkDB, use_db
    from cosmic_ray.work_item import WorkerOutcome, WorkResult

    with contextlib.chdir(ROOT), use_db(session, WorkDB.Mode.create) as database:
        init([Path(f"refnorm/{FILES[name][0]}/{name}.py") for name in names], database, {})
        found: dict[Path, list[str]] = collections.defaultdict(list)
        for item in list(database.pending_work_items):
            (mutation,) = item.mutations
            if any(bits in mutation.operator_name for bits in BITS):
                database.set_result(item.job_id, WorkResult(output="bits", worker_outcome=WorkerOutcome.SKIPPED))
            else:
                found[mutation.module_path].append(item.job_id)
        for jobs in found.values():
            kept = jobs if sample is None else random.Random(seed).sample(jobs, min(sample, len(jobs)))
            for job in set(jobs) - set(kept):
                database.set_result(job, WorkResult(output="not drawn", worker_outcome=WorkerOutcome.SKIPPED))


def again(session: Path, first: bool) -> None:
    """Try each survivor of a session once more, by the tests of what is committed now, and keep the new outcome."""
    from cosmic_ray.work_db import WorkDB, use_db
    from cosmic_ray.work_item import WorkResult

    with use_db(session, WorkDB.Mode.open) as database:
        survivors = []
        for item, result in list(database.completed_work_items):
            name = item.mutations[0].module_path.stem
            if result.output.strip().endswith("survived") and (name, *changed(result.diff)) not in EQUIVALENT:
                survivors.append((item.job_id, name, result))
        with copy(sorted({name for _, name, _ in survivors}), first) as (folder, times):
            for job, name, result in survivors:
                applied = subprocess.run(
                    ["git", "apply", "--unidiff-zero", "-"], cwd=folder, input=result.diff, text=True, check=False
                )
                outcome = "no longer there" if applied.returncode else trial(folder, name, times, first)
                database.set_result(
                    job, WorkResult(output=outcome, worker_outcome=result.worker_outcome, diff=result.diff)
                )
                subprocess.run(["git", "checkout", "-q", "."], cwd=folder, check=True)


def report(session: Path) -> int:
    """Print how many mutants of each file were caught, and by whom; every survivor, and whether it is listed."""
    from cosmic_ray.work_db import WorkDB, use_db

    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    unlisted = 0
    with use_db(session, WorkDB.Mode.open) as database:
        waiting = len(list(database.pending_work_items))
        for item, result in database.completed_work_items:
            name = item.mutations[0].module_path.stem
            said = result.output.strip().splitlines()
            if result.worker_outcome == "skipped":
                continue
            outcome = said[-1] if said else str(result.test_outcome)
            counts[name, outcome] += 1
            if outcome == "survived":
                before, after = changed(result.diff)
                reason = EQUIVALENT.get((name, before, after), "")
                unlisted += not reason
                print(f"{name}: {before}  ->  {after}: {reason or 'NOT LISTED'}")
    for name in FILES:
        if told := ", ".join(f"{n} {outcome}" for (file, outcome), n in sorted(counts.items()) if file == name):
            print(f"{name:14}{told}")
    if waiting:
        print(f"{waiting} have not been tried: --resume {session}")
    return int(unlisted > 0 or waiting > 0 or not counts)


def changed(diff: str) -> tuple[str, str]:
    """Return the line before and after, of a diff of one line (a decorator takes empty lines with it)."""
    lines = [line for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    before, after = (" ".join(line[1:].strip() for line in lines if line[0] == sign).strip() for sign in "-+")
    return before, after


def main() -> int:
    """Run; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("session", type=Path, help="a file that keeps every outcome")
    parser.add_argument("names", nargs="*", choices=[*FILES, []], metavar="NAME", help=", ".join(FILES))
    parser.add_argument("--sample", type=int, metavar="N", help="mutants of each file")
    parser.add_argument("--seed", type=int, default=0)
    for verb in ("first", "again", "report", "resume"):
        parser.add_argument(f"--{verb}", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    session = options.session.resolve()
    if options.again:
        again(session, options.first)
    elif not options.report:
        if session.exists() != options.resume:
            state = "exists: --report or --resume it, or remove it" if session.exists() else "is not there"
            sys.exit(f"{session} {state}")
        names = options.names or REFERENCE
        if not options.resume:
            prepare(session, names, options.sample, options.seed)
        run(session, options.first)
    return report(session)


if __name__ == "__main__":
    sys.exit(main())
