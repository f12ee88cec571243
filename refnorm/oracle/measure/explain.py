"""From the numbers of one quantity to explanations: a formula, what it predicts, and the causes that it names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from refnorm.conventions.row import Convention
from refnorm.formats import rounded
from refnorm.oracle.circumstances import Circumstance
from refnorm.oracle.finding import Cause
from refnorm.oracle.measure.activated import activated, through_activation
from refnorm.oracle.measure.clipped import clipped_maps, clipped_result
from refnorm.oracle.measure.flattened import flattened, flattened_statistics, spread
from refnorm.oracle.measure.known_gradients import STORED, UPDATED
from refnorm.oracle.measure.known_maps import FLATTENED, LAST_AXIS
from refnorm.oracle.measure.known_second import PRODUCTS_ROUNDED, SWAPPED, second_order_causes
from refnorm.oracle.measure.naming import cause, forward_causes, running_causes
from refnorm.oracle.measure.naming_gradients import DX, dx_causes, parameter_causes
from refnorm.oracle.measure.read_dx import read_dx
from refnorm.oracle.measure.read_forward import BY_RUNNING, ForwardMap, Seen, read_y, with_other_eps
from refnorm.oracle.measure.read_parameters import read_parameter
from refnorm.oracle.measure.read_parts import read_parts
from refnorm.oracle.measure.read_running import Running, defined_update, read_update
from refnorm.oracle.measure.read_second import read_second
from refnorm.oracle.measure.region import STANDARD, Region
from refnorm.oracle.measure.second_terms import RIGHT
from refnorm.oracle.quantities import FURTHER
from refnorm.oracle.worlds import Values, World, after_batch, after_batches

Value = Callable[[World], Values]
FORWARD = ("y, training", "y, inference", "frozen y")


@dataclass(frozen=True, eq=False)
class Explanation:
    """What a quantity is instead of what it should be.

    Attributes
    ----------
    causes : its names.
    value : what it predicts in a case, from the definition's world.
    forward : the map that was measured, if it is one: gradients and statistics may follow from it.
    circumstance : in which alone it holds, if it does not everywhere.
    frozen : whether the map is one of running statistics.
    world : the world of what was measured, where it is no map of this form.
    """

    causes: tuple[Cause, ...]
    value: Value
    forward: ForwardMap | None = None
    circumstance: Circumstance | None = None
    frozen: bool = False
    world: Callable[[World], World] | None = None

    def guarded(self, value: Value, otherwise: Value) -> Value:
        """Return a value that holds in the circumstance alone, and another one elsewhere."""
        c = self.circumstance
        return value if c is None else lambda w: value(w) if c.holds(w.case) else otherwise(w)

    def change(self, w: World) -> World:
        """Return the world in which the map that was measured happens."""
        change = self.world if self.forward is None else self.forward.change
        happens = self.circumstance is None or self.circumstance.holds(w.case)
        return change(w) if change is not None and happens else w


def _defined(quantity: str, row: Convention) -> Value:
    """Return what a quantity is by definition."""
    frozen, which = quantity.startswith("frozen "), quantity.removeprefix("frozen ")
    if quantity in RIGHT:
        return RIGHT[quantity]
    if which.startswith("running"):
        return Running(which.split()[1], defined_update(row, which.split()[1])).value
    if which == "dx":
        return (lambda w: w.dx(1, 0, 0)) if frozen else (lambda w: w.dx())
    values: dict[str, Value] = {"dgamma": lambda w: w.dgamma, "dbeta": lambda w: w.dbeta}
    return values.get(which, lambda w: w.y)


def explanations(
    quantity: str, seen: Sequence[Seen], row: Convention, given: Sequence[Explanation]
) -> Iterator[Explanation]:
    """Yield what may explain a quantity: what was found before, then what is read off it, alone or on top of that.

    Parameters
    ----------
    seen : the definition's world of each case, with what was returned, in the widest format that there is.
    row : the convention that it is judged by.
    given : what was found for quantities before this one.
    """
    frozen = quantity.startswith("frozen") or quantity == "y, inference"
    maps = [e for e in given if (e.forward is not None or e.world is not None) and e.frozen == frozen]
    for e in maps:
        if e.forward is None and quantity not in ("running mean", "running variance"):
            yield Explanation(e.causes, _in(e.change, _defined(quantity, row)))
        for value in _following(quantity, e.forward):
            yield Explanation(e.causes, e.guarded(value, _defined(quantity, row)))
    maps = [e for e in maps if e.causes[0].name != "unknown"]  # on top of a formula alone
    if quantity in FURTHER:
        yield from _on_top_of(maps, seen, lambda again, _: _second_order(quantity, again, []))
        yield from _second_order(quantity, seen, [c.name for e in given for c in e.causes])
        return
    known = any(c.name == FLATTENED.name for e in given for c in e.causes)
    if known and quantity.startswith("running"):
        yield Explanation((cause(FLATTENED),), flattened_statistics(quantity.split()[1]))
    yield from _read(quantity, seen, row)
    yield from _cut_off(quantity, seen, row)
    if quantity in FORWARD and (known or not frozen):
        yield Explanation((cause(FLATTENED),), lambda w: flattened(w).y, frozen=frozen, world=flattened)
    if quantity in FORWARD:
        yield Explanation((cause(LAST_AXIS),), _cycling)
    elif quantity.split()[-1] in ("dx", "dgamma", "dbeta"):
        if quantity == "dx":
            for entry, change in ((UPDATED, _updated), (STORED, BY_RUNNING.change)):
                words = (
                    f"{DX[0]}, mean and variance those of {'updated' if entry is UPDATED else 'old'} running statistics"
                )
                yield Explanation((cause(entry, words, DX[0]),), _in(change, _defined(quantity, row)), world=change)
        yield from _on_top_of(maps, seen, lambda again, regions: _read(quantity, again, row, regions))


def _on_top_of(
    maps: Sequence[Explanation],
    seen: Sequence[Seen],
    read: Callable[[Sequence[Seen], Sequence[Region]], Iterator[Explanation]],
) -> Iterator[Explanation]:
    """Yield what is read off a quantity in the worlds of maps that were found."""
    for e in maps:
        change = e.change
        with np.errstate(all="ignore"):
            changed = [(change(w), array) for w, array in seen]
        for second in read(changed, e.forward.regions() if e.forward else ()):
            yield replace(second, value=_in(change, second.value))


def _in(change: Callable[[World], World], value: Value) -> Value:
    return lambda w: value(change(w))


def _following(quantity: str, forward: ForwardMap | None) -> Iterator[Value]:
    """Yield what a quantity is if it follows from a map: by the usual formula, as its derivative, or in part."""
    if forward is None:
        return
    frozen, which = quantity.startswith("frozen "), quantity.removeprefix("frozen ")
    if quantity in FORWARD:
        yield forward.y
    elif quantity in ("running mean", "running variance"):
        number = quantity == "running variance"
        yield lambda w: after_batches(w, w.case.batches, lambda step: _moved(step, forward))[number].reshape(-1)
    elif which == "dx":
        yield lambda w: forward.change(w).dx(*((1, 0, 0) if frozen else ()))
        if not frozen:
            yield forward.dx
            yield from (_usual_over(forward, _in_region(region)) for region in forward.regions())
            if forward.part is not None:
                yield _usual_over(forward, forward.part.average)
            yield lambda w: _taken_over(w, forward)
    elif which == "dgamma":
        yield lambda w: forward.change(w).dgamma
        yield forward.dgamma
    elif which == "dbeta":
        yield forward.dbeta
    elif quantity in RIGHT:
        yield _in(forward.change, RIGHT[quantity])


def _taken_over(w: World, forward: ForwardMap) -> Values:
    """Return dx by the usual formula, of which only x_hat is the map's."""
    x_hat = forward.change(w).x_hat
    return w.gamma * w.inv * (w.upstream - w.mean_dy - x_hat * w.average(w.upstream * x_hat))


def _in_region(region: Region) -> Callable[[World, Values], Values]:
    return lambda _, values: region.average(values)


def _usual_over(forward: ForwardMap, average: Callable[[World, Values], Values]) -> Value:
    """Return dx by the usual formula, its two means over the values that the map's statistics are of."""

    def dx(w: World) -> Values:
        own = forward.change(w)
        terms = own.upstream - average(own, own.upstream) - own.x_hat * average(own, own.upstream * own.x_hat)
        return own.gamma * own.inv * terms

    return dx


def _moved(w: World, forward: ForwardMap) -> tuple[Values, Values]:
    """Return the running statistics that a batch leaves, into which a map's own statistics go."""
    own = (np.broadcast_to(f.value(w), w.x.shape) for f in (forward.centre, forward.variance()))
    mean, var = map(STANDARD.average, own)
    return after_batch(replace(w, mean=mean, var=var))


def _read(
    quantity: str, seen: Sequence[Seen], row: Convention, regions: Sequence[Region] = ()
) -> Iterator[Explanation]:
    """Yield what is read off a quantity, in the worlds that it is seen in."""
    which = quantity.removeprefix("frozen ")
    if quantity in FORWARD:
        for forward in read_y(seen):
            if causes := forward_causes(forward, seen[0][0]):
                yield Explanation(tuple(causes), forward.y, forward, frozen=quantity != "y, training")
        for forward in read_parts(seen):
            yield Explanation(tuple(forward_causes(forward, seen[0][0])), forward.y, forward)
        for forward in with_other_eps(seen[0][0]) if seen else ():
            causes = forward_causes(forward, seen[0][0])
            yield Explanation(tuple(causes), forward.y, frozen=quantity != "y, training", world=forward.change)
    elif quantity in ("running mean", "running variance"):
        for update in read_update(quantity.split()[1], seen):
            if causes := running_causes(update, row):
                yield Explanation(tuple(causes), update.value)
    elif which == "dx":
        for dx in read_dx(seen, regions):
            if causes := dx_causes(dx, quantity):
                change = dx.divisor.change if dx.divisor else None
                yield Explanation(tuple(causes), dx.value, frozen=quantity.startswith("frozen"), world=change)
    elif which in ("dgamma", "dbeta"):
        for parameter in read_parameter(seen):
            if causes := parameter_causes(parameter, quantity):
                yield Explanation(tuple(causes), parameter.value)


def _cut_off(quantity: str, seen: Sequence[Seen], row: Convention) -> Iterator[Explanation]:
    """Yield what is right within bounds."""
    if not seen:
        return
    frozen = quantity.startswith("frozen") or quantity == "y, inference"
    if quantity in FORWARD:
        for found, forward, change in clipped_maps(seen):
            yield Explanation((found,), _in(change, lambda w: w.y), forward, frozen=frozen, world=change)
    right = _defined(quantity, row)
    for found, value in clipped_result(quantity, right, seen):
        through = _where_kept(value, right) if quantity in FORWARD and found.name == "result-clipped" else None
        yield Explanation((found,), value, frozen=frozen, world=through)
    if quantity in FORWARD:
        for found, value, change in activated(right, seen):
            yield Explanation((found,), value, frozen=frozen, world=change)
    elif not quantity.startswith("running"):
        for found, change in through_activation(right, seen):
            yield Explanation((found,), _in(change, right), frozen=frozen, world=change)


def _where_kept(value: Value, right: Value) -> Callable[[World], World]:
    """Return the world in which no gradient flows through what is cut off."""
    return lambda w: replace(w, upstream=w.upstream * (value(w) == right(w)))


def _second_order(quantity: str, seen: Sequence[Seen], before: Sequence[str]) -> Iterator[Explanation]:
    """Yield what is read off forward mode or double backward; of its names one that was found before comes first."""
    for found in read_second(quantity, seen):
        if causes := second_order_causes(found, before):
            yield Explanation(tuple(causes), found.value)
    swapped = {"ddy": "dx", "dx": "ddy"}
    front, _, last = quantity.rpartition(" ")
    if last in swapped:
        yield Explanation((cause(SWAPPED),), RIGHT[f"{front} {swapped[last]}"])
    if quantity == "frozen double backward dgamma":
        yield Explanation((cause(PRODUCTS_ROUNDED),), _rounded_products)


def _rounded_products(w: World) -> Values:
    products = rounded(np.asarray(w.ddx * w.upstream, dtype=np.float64), w.case.kind)
    return (products * w.inv).sum(w.axes)


def _updated(w: World) -> World:
    """Return the world in which the updated running statistics are the batch's."""
    mean, var = after_batch(w)
    return replace(w, mean=mean, var=var)


def _cycling(w: World) -> Values:
    """Return y where what is per channel is applied along the last axis, over and over: as memory is read."""
    return spread(w.gamma * w.inv, w) * (w.x - spread(w.mean, w)) + spread(w.beta, w)
