"""Maps reshaped to rows of channels while their channels are on axis 1: whose values then share a mean and variance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from functools import cached_property

import numpy as np

from refnorm.oracle.worlds import Values, World, after_batch, after_batches, mean_and_var


class Flattened(World):
    """The world of ``x.reshape(-1, C)``: in memory's order every C-th value is of one channel, wherever it belongs."""

    def average(self, values: Values) -> Values:
        """Mean over what is taken for a channel, at each of its values."""
        return spread(rows_of_channels(np.broadcast_to(values, self.x.shape)).mean(0), self)

    @cached_property
    def dgamma(self) -> Values:
        """Gradient with respect to gamma."""
        return rows_of_channels(self.upstream * self.x_hat).sum(0)

    @cached_property
    def dbeta(self) -> Values:
        """Gradient with respect to beta."""
        return rows_of_channels(self.upstream).sum(0)


def flattened(w: World) -> World:
    """Return the world in which what is per channel belongs to every C-th value."""
    own = {field.name: getattr(w, field.name) for field in fields(w)}
    mean, var = w.mean, w.var
    if w.case.operation == "training":
        mean, var = mean_and_var(rows_of_channels(w.x), (0,))
    own |= {name: spread(a, w) for name, a in (("mean", mean), ("var", var), ("gamma", w.gamma), ("beta", w.beta))}
    return Flattened(**own)


def flattened_statistics(which: str) -> Callable[[World], Values]:
    """Return what moves a running statistic by the values of every batch that are taken for a channel."""

    def move(w: World) -> tuple[Values, Values]:
        mean, var = (a.reshape(w.mean.shape) for a in mean_and_var(rows_of_channels(w.x), (0,)))
        return after_batch(replace(w, mean=mean, var=var))

    return lambda w: after_batches(w, w.case.batches, move)[which != "mean"].reshape(-1)


def rows_of_channels(values: Values) -> Values:
    """Return values of maps as rows of as many as there are channels, in memory's order.

    Examples
    --------
    >>> rows_of_channels(np.arange(12).reshape(1, 3, 2, 2))
    array([[ 0,  1,  2],
           [ 3,  4,  5],
           [ 6,  7,  8],
           [ 9, 10, 11]])
    """
    return values.reshape(-1, values.shape[1])


def spread(per_channel: Values, w: World) -> Values:
    """Return what is per channel at each of the values that are taken for the channel's."""
    wide = np.broadcast_to(np.reshape(per_channel, (1, -1)), (1, w.x.shape[1]))
    return np.resize(wide, w.x.size).reshape(w.x.shape)
