"""A target's gradients against its own forward: which pairs it offers, where they are tried, and the cause in words."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from refnorm.gradients.gradcheck import CANNOT_TELL, RIGHT, WRONG, Comparison, Verdict, gradcheck
from refnorm.oracle.ask.envelope import ABSENT, in_rank
from refnorm.oracle.ask.target import Target
from refnorm.oracle.ask.troubled import where_of
from refnorm.oracle.diagnose import diagnose
from refnorm.oracle.observe import observed
from refnorm.oracle.plan import Plan, planned
from refnorm.oracle.report import plain_data
from refnorm.oracle.shown import WIDTH

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
    """The verdicts on a target's pairs, by title; and what was ``declined``, being not implemented, with its words."""

    target: str
    verdicts: dict[str, Verdict]
    version: str = ""
    declined: dict[str, str] = field(default_factory=dict)

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
        data |= {"not_offered": self.declined} if self.declined else {}
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
        for said in dict.fromkeys(self.declined.values()):
            titles = "; ".join(title for title, own in self.declined.items() if own == said)
            lines += textwrap.wrap(
                f"{titles}: not offered: {said}", WIDTH, initial_indent="  ", subsequent_indent="    "
            )
        bad = [title for title, verdict in self.verdicts.items() if verdict.status == self.status]
        summary = {
            RIGHT: "right: every gradient is the derivative of its forward",
            WRONG: f"wrong: {'; '.join(bad)}",
            CANNOT_TELL: f"cannot tell: {'; '.join(bad)}",
        }
        return "\n".join([*lines, "", summary[self.status]])


def check_gradients(
    target: Target,
    *,
    seed: int = 0,
    convention: str | None = None,
    progress: Callable[[int, int, str], None] = lambda *_: None,
) -> GradientReport:
    """Compare every gradient that a target offers with numerical derivatives of its own forward.

    Whether the forward is batch normalization is not asked here (`refnorm.check` does): a backward may be right for a
    forward that is wrong. Where one is wrong, the oracle's cases are asked for the cause.

    Parameters
    ----------
    target : as `refnorm.oracle.ask.target.load_target` returns it.
    seed : of inputs, upstream gradients and directions.
    convention : the row that a cause is looked for by; None for the target's own, or the one that it follows.
    progress : called with the number of the pair, their count and its title.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from refnorm.oracle.ask.target import Target
    >>> square = SimpleNamespace(
    ...     names=("x",),
    ...     inputs=(np.array([1.0, 2.0]),),
    ...     forward=lambda x: (x**2, x),
    ...     backward=lambda dy, x: (2 * x * dy,),
    ... )
    >>> check_gradients(Target("square", "torch", "", {"": square})).status
    'right'
    """
    verdicts, declined = dict[str, Verdict](), dict[str, str]()
    for path, implementation in target.paths.items():
        own = hasattr(implementation, "inputs")
        plan = None if own else planned(target, path, convention, ("float64",), lambda what: progress(0, 1, what))
        found = list(pairs(implementation, plan, seed))
        for number, pair in enumerate(found, start=1):
            title = ", ".join(filter(None, (path, pair.title)))
            progress(number, len(found), title)
            verdict = _verdict(pair, seed)
            if isinstance(verdict, str):
                declined[title] = verdict
            else:
                verdicts[title] = verdict
        if any(v.status == WRONG for v in verdicts.values()):
            cause = "" if plan is None else cause_of(plan)
            verdicts = {t: replace(v, cause=cause) if v.status == WRONG else v for t, v in verdicts.items()}
    if not verdicts:
        reason = "it offers no backward for a forward, so there is no gradient to check"
        reason = "none of them is implemented" if declined else reason
        verdicts["gradients"] = Verdict((Comparison("gradients", CANNOT_TELL, reason=reason),), seed)
    return GradientReport(target.name, verdicts, target.version, declined)


def _verdict(pair: Pair, seed: int) -> Verdict | str:
    """Run a pair; what it raises is part of the verdict, but of what is not implemented there is none: that is said."""
    try:
        return gradcheck(pair.forward, pair.backward, *pair.inputs, names=pair.names, jvp=pair.jvp, seed=seed)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever foreign code raises, sys.exit included
        reason = textwrap.shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...") + where_of(error)
        if type(error).__name__ == "NotImplementedError":
            return reason
        return Verdict((Comparison(pair.names[0], WRONG, reason=f"it raises {reason}"),), seed)


def pairs(implementation: Any, plan: Plan | None, seed: int) -> Iterator[Pair]:
    """Yield the pairs that an implementation offers: of batch normalization, or its own forward and backward."""
    if not hasattr(implementation, "backward"):
        return
    if plan is None:
        own = implementation
        yield Pair("forward", own.forward, own.backward, own.inputs, own.names)
        return
    ranks = plan.row.ranks if plan.envelope is None else plan.envelope.ranks
    fixed = None if plan.envelope is None else plan.envelope.eps
    for name, (shape, scale, mean, eps) in SITUATIONS.items():
        if len(shape) not in ranks and (plan.envelope is None or name == "rank 4"):
            continue
        rank = len(shape) if len(shape) in ranks else min(ranks)
        yield from _batch_norm(plan, name, shape, rank, scale, mean, eps if fixed is None else fixed, seed)


def _batch_norm(
    plan: Plan, situation: str, shape: tuple[int, ...], rank: int, scale: float, mean: float, eps: float, seed: int
) -> Iterator[Pair]:
    """Yield the pairs of one situation: training and frozen, each with its double backward if there is one.

    Each backward has a forward of its own: a graph can be gone through once.
    """
    implementation, envelope = plan.implementation, plan.envelope
    rng = np.random.default_rng(seed)
    channels = shape[1]
    along = (1, -1) + (1,) * (len(shape) - 2)
    size = scale * 2.0 ** np.arange(channels).reshape(along)
    x = in_rank(size * (rng.standard_normal(shape) + mean), rank)
    parameters = {
        "gamma": rng.uniform(0.5, 2, channels) * (-1.0) ** np.arange(channels),
        "beta": rng.standard_normal(channels),
    }
    running_mean, running_var = size.reshape(-1) * (mean + 0.25), size.reshape(-1) ** 2 * 1.5
    absent = [] if envelope is None else [n for n in parameters if getattr(envelope, n) == ABSENT]
    unmoved = [n for n in parameters if n in absent or f"d{n}" in getattr(implementation, "without", ())]
    moved = ["x", *(n for n in parameters if n not in unmoved)]

    def given(*values: Any) -> tuple[Any, Any, Any]:
        known = {n: None if n in absent else p for n, p in parameters.items()} | dict(zip(moved, values, strict=True))
        return known["x"], known["gamma"], known["beta"]

    def train(*values: Any) -> tuple[Any, Any]:
        y, _, _, cache = implementation.train(*given(*values), running_mean.copy(), running_var.copy(), 0.25, eps)
        return y, cache

    def frozen(*values: Any) -> tuple[Any, Any]:
        y, cache = implementation.frozen(*given(*values), running_mean.copy(), running_var.copy(), eps)
        return y, cache

    names = tuple(f"d{n}" for n in moved)
    jvp: Any = getattr(implementation, "jvp", None)
    for name, forward in (("train", train), ("frozen", frozen)):
        if not hasattr(implementation, name):
            continue
        title = f"{'training' if name == 'train' else 'frozen'}, {situation}"

        def again(*values: Any, forward: Any = forward) -> tuple[Any, Any]:
            before = tuple(map(np.array, values))  # it may write to what it is given
            return forward(*values)[0], before

        def backward(dy: Any, values: Any, forward: Any = forward) -> Any:
            gradients = implementation.backward(dy, forward(*map(np.array, values))[1])
            return tuple(g for g, n in zip(gradients, ("x", "gamma", "beta"), strict=True) if n in moved)

        def along_moves(*moves_and_values: Any, forward: Any = forward) -> Any:
            *moves, values = moves_and_values
            return jvp(
                *(dict(zip(moved, moves, strict=True)).get(n) for n in ("x", "gamma", "beta")),
                forward(*map(np.array, values))[1],
            )

        complete = len(moved) == 3
        inputs = (x, *(parameters[n] for n in moved[1:]))
        yield Pair(title, again, backward, inputs, names, along_moves if jvp is not None and complete else None)
        if hasattr(implementation, "double_backward") and complete:
            once, back = _twice(implementation, forward, parameters["beta"])
            dy = rng.standard_normal(x.shape) + 0.5
            yield Pair(f"double backward of {title}", once, back, (dy, x, parameters["gamma"]), ("ddy", "dx", "dgamma"))


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


def cause_of(plan: Plan) -> str:
    """Ask the oracle's small cases what is wrong with the gradients, or with the forward that they belong to."""
    implementation, row = plan.implementation, plan.row
    if not hasattr(implementation, "train") and not hasattr(implementation, "frozen"):
        return ""
    small = [c for c in plan.cases if c.x.size <= SMALL and c.finite and c.count > 1]
    findings = diagnose([o for case in small for o in observed(implementation, row, case)], row)
    known = [f for f in findings if f.cause not in ("unknown", "raises") and f.kind == "wrong"]
    own = [f for f in known if {q.split()[-1] for q in f.quantities} & {"dx", "dgamma", "dbeta", "jvp", "ddy"}]
    if own:
        return "; ".join(f"{f.title} ({f.cause})" for f in own)
    forward = [f for f in known if {q.split(",")[0] for q in f.quantities} & {"y", "frozen y"}]
    return "".join(f"the forward is not the one that backward belongs to: {f.title} ({f.cause})" for f in forward[:1])
