"""Call an implementation on a case, and collect what comes back; whether it is right is judged elsewhere."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnorm.formats import Array, cast
from refnorm.golden.directions import SECOND_ORDER, directions
from refnorm.golden.inputs import Case, arranged
from refnorm.oracle.ask.interface import ARGUMENTS, TWICE
from refnorm.oracle.ask.target import TargetError
from refnorm.oracle.ask.troubled import exhausted, where_of
from refnorm.oracle.ask.twice import twice
from refnorm.oracle.quantities import FROZEN_BACKWARD, RETURNS

SECOND_ORDER_OPERATIONS = {"jvp", "double_backward", "frozen_jvp", "frozen_double_backward"}


class Kind(StrEnum):
    """What is wrong where there are no numbers to compare."""

    RAISED = "raised"
    UNUSABLE = "unusable"  # no tuple of the right length, no array of numbers
    SHAPE = "shape"
    DTYPE = "dtype"
    POLICY = "policy"  # of one value per channel, or of an empty batch: not one that the convention accepts
    NON_FINITE = "non-finite"  # NaN or inf disappears, or spreads
    WRITTEN = "written"  # an argument was written to
    DISTURBED = "disturbed"  # calls disturb each other
    MISSING = "missing"  # an output that a foreign program was asked for
    UNREADABLE = "unreadable"  # a file of a foreign program
    DECLINED = "declined"  # NotImplementedError: not offered, here


@dataclass(frozen=True)
class Trouble:
    """Why there is nothing to compare: its kind, and in words; ``about`` is the quantity that a behaviour was seen in.

    ``particular`` says that the text has numbers of this case, so that texts of one kind and quantity are one thing.
    """

    kind: Kind
    text: str
    about: str = ""
    particular: bool = False


class NoArray(NamedTuple):
    """Something that came back and is no array: the name of its type."""

    type: str


Result = npt.NDArray[Any] | NoArray | None


@dataclass
class Answer:
    """What an implementation did with one case.

    Attributes
    ----------
    results : what came back, by the names of quantities.
    failed : by function, what it raised, or why what it returned cannot be taken apart.
    written : arguments that were written to.
    again : what came back from a second call with the same arguments, where it is not what came from the first.
    """

    results: dict[str, Result] = field(default_factory=dict)
    again: dict[str, Result] = field(default_factory=dict)
    failed: dict[str, Trouble] = field(default_factory=dict)
    written: list[Trouble] = field(default_factory=list)


class Unanswered(Exception):
    """A call that gave nothing to compare; ``trouble`` says why."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.text)
        self.trouble = trouble


def _asks_second_order(implementation: Any, case: Case) -> bool:
    """Whether derivatives of derivatives are asked for: of what a library derives in one format, and where it tells."""
    derived = getattr(implementation, "second_order", None)
    return derived is None or (case.kind in derived and bool(set(case.situation.operations) & SECOND_ORDER_OPERATIONS))


def kept_aside(implementation: Any) -> bool:
    """Whether no running statistics come back, so that a next step begins with those of the first."""
    return "running mean" in getattr(implementation, "without", ())


def ask(implementation: Any, case: Case) -> Answer:
    """Call whatever an implementation offers for a case; where there is a formula, twice."""
    asked = Asking(implementation, case, repeated=case.finite and not case.undefined)
    if case.operation == "training":
        asked.training()
    else:
        asked.inference()
    return asked.answer


class Asking:
    """One implementation, one case, and the answer so far; ``repeated``: each call is made twice, with one answer."""

    def __init__(self, implementation: Any, case: Case, repeated: bool = False) -> None:
        self.implementation, self.case, self.answer, self.repeated = implementation, case, Answer(), repeated
        self.second: Any = None  # what the second of the latest calls returned, if it is not the same

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a function of the implementation, watching its arguments; `Unanswered` if it raises."""
        before = [a.tobytes() if isinstance(a, np.ndarray) else None for a in arguments]
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                function = getattr(self.implementation, name)
                result, self.second = twice(function, arguments) if self.repeated else (function(*arguments), None)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever foreign code raises, sys.exit included
            if exhausted(error):
                raise TargetError(
                    f"{name} ran out of memory in case {self.case.id}, so it could not be judged"
                ) from error
            text = f"{textwrap.shorten(str(error), 200, placeholder=' ...')}{where_of(error)}"
            kind = Kind.DECLINED if type(error).__name__ == "NotImplementedError" else Kind.RAISED
            raise Unanswered(Trouble(kind, f"{name} raised {type(error).__name__}: {text}")) from error
        for argument, given, bytes_before in zip((ARGUMENTS | TWICE)[name], arguments, before, strict=True):
            if isinstance(given, np.ndarray) and given.tobytes() != bytes_before:
                self.answer.written.append(Trouble(Kind.WRITTEN, f"{name} wrote to its argument {argument}"))
        return result

    def returned(self, name: str, length: int, *arguments: Any) -> tuple[Any, ...]:
        """Call a function that must return a tuple of this length."""
        result = self.call(name, *arguments)
        if not isinstance(result, tuple | list) or len(result) != length:
            what = f"{len(result)} values" if isinstance(result, tuple | list) else type(result).__name__
            raise Unanswered(Trouble(Kind.UNUSABLE, f"{name} returned {what}, expected a tuple of {length}"))
        return tuple(result)

    def parameters(self) -> tuple[Any, Any, Any, Any]:
        """Return gamma, beta, running mean and variance, laid out as the case asks."""
        case, layout = self.case, self.case.situation.layout
        mean, var = (cast(a, case.parameters) for a in (case.running_mean, case.running_var))
        if layout == "shared":
            return var, mean, mean, var
        values = [None if a is None else cast(a, case.parameters) for a in (case.gamma, case.beta)]
        gamma, beta, laid_mean, laid_var = (None if a is None else arranged(a, layout) for a in (*values, mean, var))
        return gamma, beta, laid_mean, laid_var

    def data(self, values: Array) -> Array:
        """Return x or dy in the case's format and layout."""
        return arranged(cast(values, self.case.kind), self.case.situation.layout)

    def training(self) -> None:
        """Train on all batches, then go back from the last; where there is no formula, train alone."""
        case = self.case
        gamma, beta, mean, var = self.parameters()
        try:
            for batch in case.batches:
                arguments = (self.data(batch), gamma, beta, mean, var, case.momentum, case.eps)
                y, *moved, cache = self.returned("train", 4, *arguments)
                if not kept_aside(self.implementation):
                    mean, var = moved
        except Unanswered as unanswered:
            self.answer.failed["train"] = unanswered.trouble
            return
        self._keep(RETURNS["train"], (y, *moved))
        if not case.undefined:
            self._derivatives("", cache)

    def inference(self) -> None:
        """Infer, and go back with the statistics frozen."""
        case = self.case
        if hasattr(self.implementation, "infer") and case.situation.content != "nan-upstream":
            self._attempt("infer", lambda: (self.call("infer", self.data(case.x), *self.parameters(), case.eps),))
        if not hasattr(self.implementation, "frozen"):
            return
        try:
            y, cache = self.returned("frozen", 2, self.data(case.x), *self.parameters(), case.eps)
        except Unanswered as unanswered:
            self.answer.failed["frozen"] = unanswered.trouble
            return
        self._keep(RETURNS["frozen"], (y,))
        self._derivatives("frozen ", cache)

    def _derivatives(self, prefix: str, cache: Any) -> None:
        """Ask for the gradients, the jvp and the double backward, where they are offered."""
        case = self.case
        if hasattr(self.implementation, "backward"):
            quantities = FROZEN_BACKWARD if prefix else RETURNS["backward"]
            self._attempt("backward", lambda: self.returned("backward", 3, self.data(case.dy), cache), quantities)
        if case.table is not None:
            return
        moves = directions(case)
        along = [None if d is None else arranged(cast(d, case.parameters), case.situation.layout) for d in moves[1:]]
        second = {
            "jvp": lambda: (self.call("jvp", self.data(moves.dx), *along, cache),),
            "double_backward": lambda: self.returned(
                "double_backward", 3, self.data(moves.dx), *along, self.data(case.dy), cache
            ),
        }
        for name, names in SECOND_ORDER.items():
            if hasattr(self.implementation, name) and _asks_second_order(self.implementation, case):
                self._attempt(name, second[name], tuple(prefix + quantity for quantity in names))

    def _attempt(self, name: str, call: Callable[[], tuple[Any, ...]], quantities: tuple[str, ...] = ()) -> None:
        try:
            self._keep(quantities or RETURNS[name], call())
        except Unanswered as unanswered:
            self.answer.failed[name] = unanswered.trouble

    def _keep(self, quantities: tuple[str, ...], values: tuple[Any, ...]) -> None:
        """Keep copies: a later call may write into what an earlier one returned."""
        without = getattr(self.implementation, "without", ())
        for quantity, value in zip(quantities, values, strict=True):
            if value is None and quantity.removeprefix("frozen ") in without:
                continue
            if value is None or isinstance(value, np.ndarray | np.generic):
                self.answer.results[quantity] = None if value is None else np.array(value)
            else:
                self.answer.results[quantity] = NoArray(type(value).__name__)
        again = self.second if isinstance(self.second, tuple | list) else (self.second,)
        for quantity, value in zip(quantities, again, strict=False):
            if isinstance(value, np.ndarray):
                self.answer.again[quantity] = np.array(value)
