"""A target's gradients against its own forward: which pairs it offers, where they are tried, and the cause in words."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from refnorm import conventions
from refnorm.gradients.gradcheck import CANNOT_TELL, RIGHT, WRONG, Comparison, Verdict, gradcheck
from refnorm.oracle.ask.target import Target
from refnorm.oracle.diagnose import diagnose
from refnorm.oracle.observe import observed, selected
from refnorm.oracle.report import plain_data

SITUATIONS = {  # shape, scale of x, mean of x, eps
    "ordinary": ((7, 3), 1.0, 0.5, 1e-5),
    "two values": ((2, 3), 1.0, 0.5, 1e-3),
    "eps like the variance": ((5, 3), 2.0**-7, 0.0, 1e-4),
    "large mean": ((6, 3), 1.0, 1e3, 1e-5),
    "rank 4": ((3, 2, 2, 3), 1.0, 0.5, 1e-5),
}
SMALL = 64  # elements of a case that serves to name a cause


class Pair(NamedTuple):
    """A forward and its backward, and where to try them."""

    title: str
    forward: Callable[..., Any]
    backward: Callable[..., Any]
    inputs: tuple[Any, ...]
    names: tuple[str, ...]
    jvp: Callable[..., Any] | None = None


@dataclass(frozen=True)
class GradientReport:
    """The verdicts on a target's pairs, by title."""

    target: str
    verdicts: dict[str, Verdict]
    version: str = ""

    @property
    def status(self) -> str:
        """The worst of the verdicts: wrong, cannot tell, right."""
        return next((s for s in (WRONG, CANNOT_TELL) if any(v.status == s for v in self.verdicts.values())), RIGHT)

    @property
    def passed(self) -> bool:
        """Whether every gradient was compared and is right."""
        return self.status == RIGHT

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data."""
        verdicts = {title: verdict.to_dict() for title, verdict in self.verdicts.items()}
        data = {"target": self.target, "version": self.version, "status": self.status, "verdicts": verdicts}
        result: dict[str, Any] = plain_data(data)
        return result

    def __str__(self) -> str:
        import refnorm

        target = f"{self.target} ({self.version})" if self.version else self.target
        lines = [f"refnorm {refnorm.__version__} · gradcheck · {target}"]
        width, texts = max(map(len, self.verdicts)), {title: str(v) for title, v in self.verdicts.items()}
        for title, verdict in self.verdicts.items():
            if verdict.passed:
                worst = max(c.error / c.bound if c.bound else 0.0 for c in verdict.comparisons)
                methods = " and ".join(sorted({c.method for c in verdict.comparisons}))
                lines.append(f"  {title:<{width}}  right, at most {worst:.2g} of its bound, by {methods}")
            elif title == (alike := [t for t, text in texts.items() if text == texts[title]])[0]:
                lines += ["", "; ".join(alike), textwrap.indent(texts[title], "  "), ""]
        bad = [title for title, verdict in self.verdicts.items() if verdict.status == self.status]
        summary = {
            RIGHT: "right: every gradient is the derivative of its forward",
            WRONG: f"wrong: {'; '.join(bad)}",
            CANNOT_TELL: f"cannot tell: {'; '.join(bad)}",
        }
        return "\n".join([*lines, "", summary[self.status]])


def check_gradients(
    target: Target, *, seed: int = 0, progress: Callable[[int, int, str], None] = lambda *_: None
) -> GradientReport:
    """Compare every gradient that a target offers with numerical derivatives of its own forward.

    Whether the forward is batch normalization is not asked here (`refnorm.check` does): a backward may be right for a
    forward that is wrong. Where one is wrong, the oracle's cases are asked for the cause.

    Parameters
    ----------
    target : as `refnorm.oracle.ask.target.load_target` returns it.
    seed : of inputs, upstream gradients and directions.
    progress : called with the number of the pair, their count and its title.

    Examples
    --------
    >>> from refnorm.oracle.ask.target import load_target
    >>> report = check_gradients(load_target("refnorm"))
    >>> report.status, len(report.verdicts)
    ('right', 25)
    """
    verdicts: dict[str, Verdict] = {}
    for path, implementation in target.paths.items():
        found = list(pairs(implementation, target.convention, seed))
        for number, pair in enumerate(found, start=1):
            title = ", ".join(filter(None, (path, pair.title)))
            progress(number, len(found), title)
            verdicts[title] = _verdict(pair, seed)
        if any(v.status == WRONG for v in verdicts.values()):
            cause = cause_of(implementation, target.convention)
            verdicts = {t: replace(v, cause=cause) if v.status == WRONG else v for t, v in verdicts.items()}
    if not verdicts:
        reason = "it offers no backward for a forward, so there is no gradient to check"
        verdicts["gradients"] = Verdict((Comparison("gradients", CANNOT_TELL, reason=reason),), seed)
    return GradientReport(target.name, verdicts, target.version)


def _verdict(pair: Pair, seed: int) -> Verdict:
    """Run a pair; what it raises is part of the verdict."""
    try:
        return gradcheck(pair.forward, pair.backward, *pair.inputs, names=pair.names, jvp=pair.jvp, seed=seed)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever foreign code raises, sys.exit included
        reason = textwrap.shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...")
        return Verdict((Comparison(pair.names[0], WRONG, reason=f"it raises {reason}"),), seed)


def pairs(implementation: Any, convention: str, seed: int) -> Iterator[Pair]:
    """Yield the pairs that an implementation offers: of batch normalization, or its own forward and backward."""
    if not hasattr(implementation, "backward"):
        return
    if hasattr(implementation, "forward") and hasattr(implementation, "inputs"):
        own = implementation
        yield Pair("forward", own.forward, own.backward, own.inputs, own.names)
        return
    ranks = conventions.convention(convention).ranks
    for name, (shape, scale, mean, eps) in SITUATIONS.items():
        if len(shape) in ranks:
            yield from _batch_norm(implementation, name, shape, scale, mean, eps, seed)


def _batch_norm(
    implementation: Any, situation: str, shape: tuple[int, ...], scale: float, mean: float, eps: float, seed: int
) -> Iterator[Pair]:
    """Yield the pairs of one situation: training and frozen, each with its double backward if there is one."""
    rng = np.random.default_rng(seed)
    channels = shape[1]
    along = (1, -1) + (1,) * (len(shape) - 2)
    size = scale * 2.0 ** np.arange(channels).reshape(along)
    x = size * (rng.standard_normal(shape) + mean)
    gamma, beta = rng.uniform(0.5, 2, channels) * (-1.0) ** np.arange(channels), rng.standard_normal(channels)
    running_mean, running_var = size.reshape(-1) * (mean + 0.25), size.reshape(-1) ** 2 * 1.5

    def train(x: Any, gamma: Any, beta: Any) -> tuple[Any, Any]:
        y, _, _, cache = implementation.train(x, gamma, beta, running_mean.copy(), running_var.copy(), 0.25, eps)
        return y, cache

    def frozen(x: Any, gamma: Any, beta: Any) -> tuple[Any, Any]:
        y, cache = implementation.frozen(x, gamma, beta, running_mean.copy(), running_var.copy(), eps)
        return y, cache

    jvp = getattr(implementation, "jvp", None)
    for name, forward in (("train", train), ("frozen", frozen)):
        if not hasattr(implementation, name):
            continue
        title = f"{'training' if name == 'train' else 'frozen'}, {situation}"
        yield Pair(title, forward, implementation.backward, (x, gamma, beta), ("dx", "dgamma", "dbeta"), jvp)
        if hasattr(implementation, "double_backward"):
            once, back = _twice(implementation, forward, beta)
            dy = rng.standard_normal(shape) + 0.5
            yield Pair(f"double backward of {title}", once, back, (dy, x, gamma), ("ddy", "dx", "dgamma"))


def _twice(
    implementation: Any, forward: Callable[..., Any], beta: Any
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the backward as a forward of dy, x and gamma, its three results in one row, and the double backward."""

    def once(dy: Any, x: Any, gamma: Any) -> tuple[Any, Any]:
        _, cache = forward(x, gamma, beta)
        gradients = [np.asarray(g) for g in implementation.backward(dy, cache)]
        return np.concatenate([g.reshape(-1) for g in gradients]), (dy, cache, [g.shape for g in gradients])

    def back(row: Any, cache: Any) -> Any:
        dy, inner, shapes = cache
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
        parts = [part.reshape(shape) for part, shape in zip(np.split(row, ends), shapes, strict=True)]
        return implementation.double_backward(*parts, dy, inner)

    return once, back


def cause_of(implementation: Any, convention: str) -> str:
    """Ask the oracle's small cases what is wrong with the gradients, or with the forward that they belong to."""
    if not hasattr(implementation, "train") and not hasattr(implementation, "frozen"):
        return ""
    row = conventions.convention(convention)
    small = [c for c in selected(implementation, row, ("float64",)) if c.x.size <= SMALL and c.finite and c.count > 1]
    findings = diagnose([o for case in small for o in observed(implementation, row, case)], row)
    known = [f for f in findings if f.cause not in ("unknown", "raises") and f.kind == "wrong"]
    own = [f for f in known if {q.split()[-1] for q in f.quantities} & {"dx", "dgamma", "dbeta", "jvp", "ddy"}]
    if own:
        return "; ".join(f"{f.title} ({f.cause})" for f in own)
    forward = [f for f in known if {q.split(",")[0] for q in f.quantities} & {"y", "frozen y"}]
    return "".join(f"the forward is not the one that backward belongs to: {f.title} ({f.cause})" for f in forward[:1])
