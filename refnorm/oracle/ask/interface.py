"""What an implementation on trial must offer.

An implementation is any object or module with plain functions over NumPy arrays, channels on axis 1. All are
optional but ``train`` or ``infer``; what is missing is reported as not judged, never as passed::

    train(x, gamma, beta, running_mean, running_var, momentum, eps) -> y, running_mean, running_var, cache
    infer(x, gamma, beta, running_mean, running_var, eps)           -> y
    backward(dy, cache)                                             -> dx, dgamma, dbeta
    frozen(x, gamma, beta, running_mean, running_var, eps)          -> y, cache
    jvp(dx, dgamma, dbeta, cache)                                   -> dy
    double_backward(ddx, ddgamma, ddbeta, dy, cache)                -> ddy, dx, dgamma

gamma and beta may be None (then so are dgamma and dbeta, and what moves them). y and dx come back in the dtype of x,
running statistics in theirs, parameter gradients in the parameters'. Optional attributes: ``dtypes``, the formats it
accepts; ``mixed``, False if parameters must have the dtype of x.
"""

from __future__ import annotations

from refnorm.formats import FORMATS

ARGUMENTS = {
    "train": ("x", "gamma", "beta", "running_mean", "running_var", "momentum", "eps"),
    "infer": ("x", "gamma", "beta", "running_mean", "running_var", "eps"),
    "backward": ("dy", "cache"),
    "frozen": ("x", "gamma", "beta", "running_mean", "running_var", "eps"),
    "jvp": ("dx", "dgamma", "dbeta", "cache"),
    "double_backward": ("ddx", "ddgamma", "ddbeta", "dy", "cache"),
}
TWICE = {"used_twice": (*ARGUMENTS["train"], "other", "dy")}  # of a layer that was read, see `refnorm.oracle.ask.doors`
CALLED = (*ARGUMENTS, *TWICE, "begin", "forward")  # whatever is called of an implementation in another process
FURTHER = ("jvp", "double_backward")
FUNCTIONS = tuple(name for name in ARGUMENTS if name not in FURTHER)


def offered(implementation: object) -> tuple[str, ...]:
    """Return the functions that an implementation offers."""
    return tuple(name for name in ARGUMENTS if callable(getattr(implementation, name, None)))


def operations_of(implementation: object) -> tuple[str, ...]:
    """Return which of training and inference an implementation can be asked about."""
    by = {"training": ("train",), "inference": ("infer", "frozen")}
    return tuple(name for name, functions in by.items() if any(hasattr(implementation, f) for f in functions))


def formats_of(implementation: object) -> tuple[str, ...] | None:
    """Return the formats that an implementation says it takes; None if it says nothing of them.

    What is no list of names is not about formats: ``from numpy import *`` makes a module the attribute ``dtypes``.
    """
    said = getattr(implementation, "dtypes", None)
    if not isinstance(said, tuple | list | set | frozenset) or not all(isinstance(kind, str) for kind in said):
        return None
    return tuple(kind for kind in said if kind in FORMATS)
