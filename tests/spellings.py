"""Layers as people write them, at random: names, where arrays are kept, how it is told to train, layouts, backwards.

Each is right, or has one of `ERRORS`. What is drawn stands in `Spelling`; `source` writes it down.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

NAMES = (  # gamma, beta, running mean, running variance
    ("gamma", "beta", "running_mean", "running_var"),
    ("weight", "bias", "moving_mean", "moving_var"),
    ("scale", "shift", "mov_avg_mean", "mov_avg_var"),
    ("g", "b", "rm", "rv"),
    ("w", "b", "pop_mean", "pop_var"),
    ("_gamma", "_beta", "_running_mean", "_running_var"),
    ("gain", "offset", "mean_ema", "var_ema"),
    ("W", "b", "mu_run", "var_run"),
)
MODES = {  # how it is told: an argument, and the condition
    "training": (", training=True", "training"),
    "test": (", test=False", "not test"),
    "mode": (", mode='train'", "mode == 'train'"),
    "switch": ("", "self.training"),
    "methods": ("", "self.is_training"),
    "entry": ("", "self.how['phase'] == 'train'"),
    "object": ("", "self.owner.training"),
    "two": ("", ""),
}
ERRORS = {  # a piece of the source, what stands in its place, and the cause
    "eps": ("np.sqrt(var + self.eps)", "(np.sqrt(var) + self.eps)", "eps-outside-root"),
    "mean": ("dy - {dbeta} / m - ", "dy - ", "dx-mean-term-missing"),
    "count": ("{dbeta} / m - ", "{dbeta} - ", "dx-mean-term-not-divided"),
    "gamma": ("({gamma} / self.std)", "(1 / self.std)", "dx-gamma-missing"),
}


@dataclass(frozen=True)
class Spelling:
    """How a layer is written, and what is wrong with it."""

    names: tuple[str, str, str, str]
    layout: str  # x: "rows"; channels "first", of any rank; or "last", of maps
    spread: bool  # parameters have the rank of x
    new: bool  # momentum weighs the new batch
    unbiased: bool  # is what is stored
    kept: str  # "attributes", in one "dictionary", or in "two"
    mode: str
    moved: str  # "mixed", or by a "step"
    gradients: str  # "" for none; "returned", "attributes", "dictionary"
    error: str = ""


def drawn(seed: int, error: str = "") -> Spelling:
    """Draw a spelling."""
    rng = random.Random(seed)
    layout = rng.choice(["rows", "first", "last"])
    return Spelling(
        rng.choice(NAMES),
        layout,
        layout != "rows" and rng.random() < 0.4,
        rng.random() < 0.5,
        rng.random() < 0.3,
        rng.choice(["attributes", "dictionary", "two"]),
        rng.choice([*MODES]),
        rng.choice(["mixed", "step"]),
        rng.choice(["returned", "attributes", "dictionary", *([] if error else ["", ""])]),
        error,
    )


def source(s: Spelling) -> str:
    """Write a layer down."""
    gamma, beta, mean, var = (f"self.{place}" for place in places(s))
    axes = {
        "rows": "0",
        "first": "(0, 2, 3)" if s.spread else "(0, *range(2, {}.ndim))",
        "last": "(0, 1, 2)",
    }[s.layout]
    shape = "c" if not s.spread else "(1, c, 1, 1)" if s.layout == "first" else "(1, 1, 1, c)"
    keep = ", keepdims=True" if s.spread else ""

    def along(value: str, x: str = "x") -> str:
        laid = s.spread or s.layout != "first"
        return value if laid else f"({value}).reshape(1, -1, *[1] * ({x}.ndim - 2))"

    made = {"attributes": [], "dictionary": ["self.kept = {}"], "two": ["self.params, self.state = {}, {}"]}[s.kept]
    made += [f"{gamma} = np.ones({shape})", f"{beta} = np.zeros({shape})"]
    made += [f"{mean} = np.zeros({shape})", f"{var} = np.ones({shape})", "self.eps, self.momentum = eps, momentum"]
    made += {
        "switch": ["self.training = True"],
        "methods": ["self.is_training = True"],
        "entry": ["self.how = {'phase': 'train'}"],
        "object": ["self.owner = types.SimpleNamespace(training=True)"],
    }.get(s.mode, [])
    weight = "self.momentum" if s.new else "(1 - self.momentum)"
    x_axes = axes.format("x")
    step = [f"mean, var = x.mean({x_axes}{keep}), x.var({x_axes}{keep})", "m = x.size / mean.size"]
    for kept, value in ((mean, "mean"), (var, "var * m / (m - 1)" if s.unbiased else "var")):
        mixed = f"{kept} = (1 - {weight}) * {kept} + {weight} * {value}"
        step.append(mixed if s.moved == "mixed" else f"{kept} += {weight} * ({value} - {kept})")
    norm = ["self.std = np.sqrt(var + self.eps)", f"self.x_hat = (x - {along('mean')}) / {along('self.std')}"]
    norm.append(f"return {along(gamma)} * self.x_hat + {along(beta)}")
    argument, condition = MODES[s.mode]
    stored = f"mean, var = {mean}, {var}"
    lines = ["import types", "", "import numpy as np", "", "", "class BatchNorm:"]
    lines += method(f"__init__(self, c, eps=1e-5, momentum={0.1 if s.new else 0.9})", made)
    if s.mode == "methods":
        for name, value in (("train", True), ("eval", False)):
            lines += method(f"{name}(self)", [f"self.is_training = {value}"])
    if s.mode == "two":
        lines += [*method("forward(self, x)", step + norm), *method("infer(self, x)", [stored, *norm])]
    else:
        told = [f"if {condition}:", *(f"    {line}" for line in step), "else:", f"    {stored}"]
        lines += method(f"forward(self, x{argument})", told + norm)
    text = "\n".join(lines) + "\n"
    if s.gradients:
        dgamma, dbeta = {
            "returned": ("dgamma", "dbeta"),
            "attributes": tuple(f"self.d{name.strip('_')}" for name in s.names[:2]),
            "dictionary": tuple(f"self.grads['{name}']" for name in s.names[:2]),
        }[s.gradients]
        dy_axes = axes.format("dy")
        back = ["self.grads = {}"] if s.gradients == "dictionary" else []
        back += [f"{dgamma} = (dy * self.x_hat).sum({dy_axes}{keep})", f"{dbeta} = dy.sum({dy_axes}{keep})"]
        back += [f"m = dy.size / {dbeta}.size", f"outer = ({gamma} / self.std)"]
        terms = f"dy - {along(dbeta, 'dy')} / m - self.x_hat * {along(dgamma, 'dy')} / m"
        back += [f"dx = {along('outer', 'dy')} * ({terms})"]
        back += ["return dx, dgamma, dbeta" if s.gradients == "returned" else "return dx"]
        text += "\n".join(method("backward(self, dy)", back)) + "\n"
        if s.error:
            before, after, _ = (part.format(gamma=gamma, dbeta=along(dbeta, "dy")) for part in ERRORS[s.error])
            assert before in text
            text = text.replace(before, after)
    return text


def places(s: Spelling) -> list[str]:
    """Return where gamma, beta, mean and variance are kept, behind ``self.``."""
    if s.kept == "attributes":
        return list(s.names)
    holders = ["kept"] * 4 if s.kept == "dictionary" else ["params"] * 2 + ["state"] * 2
    return [f"{holder}['{name}']" for holder, name in zip(holders, s.names, strict=True)]


def method(head: str, lines: list[str]) -> list[str]:
    """Return the lines of a method."""
    return ["", f"    def {head}:", *(f"        {line}" for line in lines)]
