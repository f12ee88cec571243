"""Conformance in a framework's own test suite: one assertion for all, or one test for each case.

Needs pytest only for `case_by_case`. A test module of a framework may be as short as::

    import refnorm.testing
    from my_framework import BatchNorm

    test_batch_norm = refnorm.testing.case_by_case(BatchNorm(), convention="torch")
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from refnorm.conventions import ROWS
from refnorm.formats import FORMATS, Floats
from refnorm.golden.inputs import Case, cases
from refnorm.golden.inputs import case as case_of
from refnorm.golden.truth import truth
from refnorm.oracle.ask.interface import FUNCTIONS, offered
from refnorm.oracle.ask.target import Target, TargetError, as_target, load_target
from refnorm.oracle.baseline import Key, key, known
from refnorm.oracle.judge import Observation, bound_of
from refnorm.oracle.lost import is_flushed
from refnorm.oracle.observe import disturbed, observed, ordinary
from refnorm.oracle.plan import Plan, planned
from refnorm.oracle.quantities import kind_of
from refnorm.oracle.report import Report
from refnorm.oracle.trial import trial


def assert_conforms(
    implementation: Any,
    convention: str | None = None,
    *,
    dtypes: Sequence[str] | None = None,
    baseline: Path | str | None = None,
) -> Report:
    """Assert that an implementation conforms; the message of the AssertionError is the report.

    Parameters
    ----------
    implementation, convention, dtypes : as in `refnorm.check`.
    baseline : a JSON report of earlier (``refnorm check TARGET --format json --output FILE``), whose findings are
        accepted; only others fail.

    Returns
    -------
    Report
        For whoever wants to look at ``not_judged`` or remarks.

    Raises
    ------
    AssertionError
        If there are findings, the baseline's aside, or if something could not be judged.
    ValueError, refnorm.oracle.ask.target.TargetError
        As in `refnorm.check`; if the baseline is no report.

    Examples
    --------
    >>> assert_conforms("refnorm", dtypes=["float64"]).conforms
    True
    """
    __tracebackhide__ = True
    accepted = known(Path(baseline)) if baseline is not None else set()
    report = trial(_loaded(implementation), convention, dtypes=dtypes)
    if not report.judged or any(key(finding) not in accepted for finding in report.findings):
        raise AssertionError(str(report))
    return report


def case_by_case(
    implementation: Any,
    convention: str | None = None,
    *,
    dtypes: Sequence[str] | None = None,
    baseline: Path | str | None = None,
) -> Callable[..., None]:
    """Return a pytest function, to be given a name that pytest collects, with one test for each case.

    A test's id is the case's, after the path's name where a target has several. Functions that are not offered are
    tests of their own that are skipped: what is not judged has not passed. A failure shows what is wrong in this case
    and, from a trial of all cases that the first failure in a process brings about, the cause. Findings of the baseline
    are expected failures. Ids do not depend on the process, so pytest-xdist can share the cases out.

    Parameters
    ----------
    implementation, convention, dtypes, baseline : as in `assert_conforms`.

    Raises
    ------
    ValueError, refnorm.oracle.ask.target.TargetError
        As in `assert_conforms`, when tests are collected.

    Examples
    --------
    >>> test_batch_norm = case_by_case("refnorm", dtypes=["float32"])
    >>> test_batch_norm.pytestmark[0].args[0]
    ('path', 'run')
    """
    import pytest

    target = _loaded(implementation)
    plans = [planned(target, name, convention, dtypes) for name in target.paths]
    accepted = known(Path(baseline)) if baseline is not None else set()

    @lru_cache(maxsize=1)
    def whole() -> Report:
        return trial(target, convention, dtypes=dtypes)

    tests = [
        pytest.param(plan.name, run, id="-".join(filter(None, (plan.name, id))))
        for plan in plans
        for id, run in _tests(plan)
    ]

    if not any(plan.cases for plan in plans):
        asked = " or ".join(dtypes or ()) or "no format"
        raise TargetError(f"{target.name} could not be judged: no case applies to {asked}")

    @pytest.mark.parametrize(("path", "run"), tests)
    def test(path: str, run: Callable[[], list[Observation]]) -> None:
        failed = [o for o in run() if not o.passed]
        if failed:
            message, keys = _message(failed, path, whole())
            if keys and keys <= accepted:
                pytest.xfail(f"known: {', '.join(sorted(cause for _, cause, _ in keys))}")
            pytest.fail(message, pytrace=False)

    return test


def sample_inputs(op_info: Any, device: Any, dtype: Any, requires_grad: bool, **_: Any) -> Iterator[Any]:
    """Yield the golden cases as PyTorch's ``SampleInput``, for the operator ``torch.nn.functional.batch_norm``.

    It is what an ``OpInfo`` takes as ``sample_inputs_func``; a sample's ``name`` is the case's id, and `expected_of`
    has what must come out. Several steps, NaN, infinities and what PyTorch refuses, in training one value per channel
    and an eps of 0, are left out.

    Parameters
    ----------
    op_info : not looked at.
    device, dtype : of x; parameters and statistics have their own format, as in the case.
    requires_grad : of x, weight and bias.

    Examples
    --------
    >>> import pytest
    >>> torch, _ = pytest.importorskip("torch"), pytest.importorskip("expecttest")  # PyTorch's suite needs the latter
    >>> sample = next(sample_inputs(None, "cpu", torch.float32, False))
    >>> sample.name, sample.input.shape, sample.kwargs["training"]
    ('bn.training.float32.two-values.1', torch.Size([2, 3]), True)
    """
    import torch
    from torch.testing._internal.opinfo.core import SampleInput

    def tensor(values: Floats | None, kind: str, grad: bool = requires_grad) -> Any:
        if values is None:
            return None
        return torch.tensor(values).to(device, getattr(torch, kind)).requires_grad_(grad)

    (kind,) = (name for name in FORMATS if getattr(torch, name) == dtype)
    for case in cases(dtype=kind):
        training = case.operation == "training"
        refused = training and (case.count < 2 or not case.eps)
        if refused or len(case.batches) > 1 or not case.finite or not case.count or case.situation.layout != "ordinary":
            continue
        statistics = (tensor(v, case.parameters, False) for v in (case.running_mean, case.running_var))
        options = {"training": training, "momentum": case.momentum, "eps": case.eps}
        options |= {name: tensor(v, case.parameters) for name, v in (("weight", case.gamma), ("bias", case.beta))}
        yield SampleInput(tensor(case.x, case.kind), args=tuple(statistics), kwargs=options, name=case.id)


def expected_of(name: str, quantity: str) -> tuple[Floats, Floats]:
    """Return what a quantity of a sample must be, exact and rounded once, and how far a right result may be off.

    Parameters
    ----------
    name : of the sample, the case's id.
    quantity : "y, training", "running mean", "running variance", "dx", "dgamma", "dbeta"; in inference "y, inference",
        "frozen dx", "frozen dgamma", "frozen dbeta". Gradients are those of sum(dy * y), with ``refnorm.golden.case(
        name).dy``.

    Examples
    --------
    >>> value, bound = expected_of("bn.training.float32.two-values.1", "running mean")
    >>> value.dtype, bool((bound > 0).all())
    (dtype('float64'), True)
    """
    case, row = case_of(name), ROWS["torch"]
    return truth(case, row, quantity).rounded(kind_of(case, quantity)), bound_of(case, row, quantity)


def _loaded(implementation: Any) -> Target:
    return load_target(implementation) if isinstance(implementation, str) else as_target(implementation)


def _tests(plan: Plan) -> list[tuple[str, Callable[[], list[Observation]]]]:
    """Return the tests of one path, an id and what to run; formats that nobody promised are no tests."""
    chosen = [case for case in plan.cases if case.kind not in plan.unclaimed]
    tests: list[tuple[str, Callable[[], list[Observation]]]] = []
    tests += [(case.id, partial(_observed, plan, case)) for case in chosen]
    tests += [(id, partial(_unstored, plan, id)) for id in plan.unstored]
    tests += [("calls", partial(_calls, plan, case)) for case in ordinary(chosen)[:1]]
    missing = [name for name in FUNCTIONS if name not in offered(plan.implementation)]
    return tests + [(f"no-{name}", partial(_missing, name)) for name in missing]


def _observed(plan: Plan, case: Case) -> list[Observation]:
    seen = observed(plan.implementation, plan.row, case)
    return [o for o in seen if o.passed or plan.envelope is None or not is_flushed(o)]


def _unstored(plan: Plan, id: str) -> list[Observation]:
    case = plan.as_taken(case_of(id))
    return [] if case is None else _observed(plan, case)


def _calls(plan: Plan, case: Case) -> list[Observation]:
    return [disturbed(plan.implementation, plan.row, case)]


def _missing(name: str) -> list[Observation]:
    import pytest

    return pytest.skip(f"there is no function {name}: not judged")


def _message(failed: list[Observation], path: str, report: Report) -> tuple[str, set[Key]]:
    """Say what failed in a case, and which findings of the whole trial explain it; return their keys, too."""
    case = failed[0].case.id
    lines = [f"{report.target} deviates from {report.convention} in {case}"]
    for o in failed:
        what = (
            o.trouble.text
            if o.trouble
            else f"expected {o.expected!r}, got {o.got!r} (error {o.error:.3g}, bound {o.bound:.3g})"
        )
        lines.append(f"  {o.quantity}{list(o.index) if o.index else ''}: {what}")
    quantities = {o.quantity for o in failed}
    findings = [f for f in report.findings if f.path == path and case in f.cases and quantities & set(f.quantities)]
    for f in findings:
        lines += ["", f"  {f.title} ({f.kind}, {len(f.cases)} cases; cause: {f.cause})", f"  Effect: {f.effect}"]
    lines += ["", f"  reproduce:  {report.snippet(case, failed[0].quantity, path)}"]
    explained = {q for f in findings for q in f.quantities}
    return "\n".join(lines), {key(f) for f in findings} if quantities <= explained else set()
