"""Functions that write their results into arrays which they are given, as kernels do; as functions that return them."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from refnorm.oracle.ask.doors.names import gradient_of, in_small, is_running, role_of

OUT = r"^(out(put)?s?|y|dst|res(ult)?s?|dx|dinput|d_?in|grad_(in(put)?|x)|d(x|input)_?out)$"
ROW = r"^(save|saved|batch|out|cache)_|inv_?(std|var)|r_?std|istd"


def filled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that makes the arrays for the results itself, and returns them: the first is like x.

    A function without such parameters comes back as it is. One that returns something nevertheless returns that.

    Examples
    --------
    >>> def centred(x, out, save_mean):
    ...     save_mean[:] = x.mean(0)
    ...     out[:] = x - save_mean
    >>> filled(centred)(x=np.array([[1.0], [3.0]]))
    (array([[-1.],
           [ 1.]]), array([2.]))
    """
    try:
        parameters = dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return function
    names = [n for n, p in parameters.items() if p.default is p.empty]
    whole = next((n for n in names[1:] if re.search(OUT, in_small(n))), "")
    if not whole:
        return function
    rows = [n for n in names[names.index(whole) + 1 :] if _is_row(n)]

    @functools.wraps(function)
    def called(**said: Any) -> Any:
        x = said[names[0]]
        like = next((v for n, v in said.items() if role_of(n) == "gamma"), x)
        channels = np.size(like) if like is not x else x.shape[1]
        made = {whole: np.zeros_like(x), **{n: np.zeros(channels, np.asarray(like).dtype) for n in rows}}
        result = function(**said, **made)
        return tuple(made.values()) if result is None else result

    left = [p.replace(kind=p.KEYWORD_ONLY) for n, p in parameters.items() if n not in (whole, *rows)]
    called.__signature__ = inspect.Signature(left)  # type: ignore[attr-defined]
    return called


def _is_row(name: str) -> bool:
    """Whether a parameter is an array of one value per channel that is written: a gradient, or what is saved."""
    saved = re.search(ROW, in_small(name)) or role_of(name) in ("mean", "var", "std")
    return gradient_of(name) in ("gamma", "beta") or bool(saved and not is_running(name))
