"""How many digits an implementation loses: errors against exact results as the mean grows, layouts, threads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from refnorm.formats import Floats, rounded
from refnorm.golden.inputs import arranged
from refnorm.golden.rule import uniform
from refnorm.golden.truth import can_compute
from refnorm.oracle.ask.box import EPS, Box, Refused
from refnorm.oracle.ask.envelope import fixed_eps
from refnorm.oracle.ask.process import Loss
from refnorm.oracle.ask.target import Target, TargetError

RATIOS = (0, 1, 10, 100, 1000, 10_000, 100_000, 1_000_000)
LAYOUTS = ("fortran", "channels-last", "sliced", "reversed")


def numerics(
    target: Target,
    progress: Callable[[int, int, str], None] = lambda *_: None,
    lost: Mapping[str, Loss] = MappingProxyType({}),
    dtype: str = "float32",
    ratios: Sequence[float] = RATIOS,
) -> dict[str, dict[str, Any]]:
    """Measure each path of a loaded target in a format, or in the widest that it takes.

    Parameters
    ----------
    target, progress, lost : as in `refnorm.oracle.identify.identify`.
    dtype : of x and the parameters, if the path takes it.
    ratios : of mean and standard deviation.

    Returns
    -------
    dict
        By path: ``y``, ``inference`` and ``variance``, worst error for each mean/std, in units of the last
        place of the largest value (None: no finite result); ``layouts``, those whose y differs from that of C order;
        ``digest`` of y of a large batch, to be compared between runs with other numbers of threads.

    Examples
    --------
    >>> from refnorm.oracle.ask.target import load_target
    >>> found = numerics(load_target("refnorm"))[""]
    >>> max(found["y"]) <= 1, found["layouts"]
    (True, [])
    """
    if not can_compute():
        raise TargetError("errors are measured against exact results; pip install python-flint")
    results: dict[str, dict[str, Any]] = {}
    for number, (name, implementation) in enumerate(target.paths.items(), start=1):
        step = f"numerics of {name or target.name}"
        progress(number, len(target.paths), step)
        if step in lost:
            results[name] = {"lost": lost[step].how}
            continue
        box = Box(implementation)
        tried = dtype if dtype in box.dtypes else box.dtype
        own = fixed_eps(box)
        eps = EPS if own.get("outside", True) else own["eps"]  # what it uses, whatever is passed
        errors = [_errors(box, tried, ratio, eps) for ratio in ratios] if box.ranks else []
        results[name] = {"dtype": tried, "ratios": list(ratios)}
        results[name] |= {key: [e.get(key) for e in errors] for key in ("y", "inference", "variance")}
        results[name] |= {"layouts": _layouts(box, tried), "digest": _digest(box, tried)}
    return results


def batch(shape: tuple[int, ...], ratio: float, dtype: str) -> Floats:
    """Return values of standard deviation 1/sqrt(3) and a mean of ratio times that, numbers of the format."""
    return rounded(uniform(shape, 7) + ratio / 3**0.5, dtype)


@np.errstate(all="ignore")  # what overflows, or is 0/0, is no finite result
def _errors(box: Box, dtype: str, ratio: float, eps: float) -> dict[str, float | None]:
    """Return errors on 256 values per channel."""
    from refnorm import exact

    x = batch((16, 2, 16, 1, 1)[: box.rank] if box.rank > 2 else (256, 2), ratio, dtype)
    if not np.all(np.isfinite(x)):  # the format does not hold such a mean
        return {}
    ones, zeros = np.ones(2), np.zeros(2)
    forward = exact.training(x, ones, zeros, eps=eps)
    found: dict[str, float | None] = {}
    if box.trains:
        try:
            y, _, var = box.train(x, 0.5, eps, dtype=dtype, var=0.0)
            found["y"] = _units(forward.y.error_of(y), forward.y.rounded(), dtype)
            if box.keeps:
                weight = 1 - np.asarray(box.train(x * 0, 0.5, dtype=dtype)[2], float)
                factor = np.asarray(var, float) / weight / forward.var.rounded()
                counted = 256 / 255 if np.all(abs(factor - 256 / 255) < abs(factor - 1)) else 1.0
                found["variance"] = _units((factor / counted - 1) * forward.var.rounded(), forward.var.rounded(), dtype)
        except Refused:
            pass
    if box.infers:
        mean = rounded(np.full(2, ratio / 3**0.5), dtype)
        result = exact.inference(x, mean, np.full(2, 0.25), ones, zeros, eps=eps)
        try:
            y = box.infer(x, eps, dtype=dtype, mean=mean, var=0.25)
            found["inference"] = _units(result.error_of(y), result.rounded(), dtype)
        except Refused:
            pass
    return found


def _units(error: Any, value: Any, dtype: str) -> float | None:
    """Return the largest error in units of the last place of the largest value."""
    last = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}[dtype]
    worst = float(np.max(np.abs(error)) / (last * np.max(np.abs(value))))
    return float(f"{worst:.3g}") if np.isfinite(worst) else None


def _one(box: Box, x: Any, dtype: str) -> Any:
    function = box.implementation.train if box.trains else box.implementation.infer
    channels = x.shape[1]
    one, zero = np.ones(channels, dtype), np.zeros(channels, dtype)
    result = function(x, one, zero, zero, one, *((0.5, EPS) if box.trains else (EPS,)))
    return np.asarray(result[0] if box.trains else result)


def _layouts(box: Box, dtype: str) -> list[str]:
    """Name the memory layouts whose y differs from that of C order."""
    if not box.ranks or dtype == "bfloat16":
        return []
    x = uniform((6, 3, *[5] * (box.rank - 2)), 11).astype(dtype)
    differs = []
    try:
        plain = _one(box, x, dtype)
    except Exception as error:
        return [f"C order raises {type(error).__name__}"]
    for layout in LAYOUTS:
        try:
            if not np.array_equal(_one(box, arranged(x, layout), dtype), plain):
                differs.append(layout)
        except Exception as error:
            differs.append(f"{layout} raises {type(error).__name__}")
    return differs


def _digest(box: Box, dtype: str) -> str:
    if not box.ranks or dtype == "bfloat16":
        return ""
    x = uniform((32, 16, *(28, 28, 1)[: box.rank - 2]) if box.rank > 2 else (4096, 16), 13).astype(dtype)
    try:
        return hashlib.sha256(_one(box, x, dtype).tobytes()).hexdigest()[:16]
    except Exception as error:
        return type(error).__name__
