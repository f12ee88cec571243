"""Implementations of forward mode and double backward: two correct roads to it, and mutants that each have one mistake.

`Forward` moves the backward along the direction, step by step, as forward mode over a backward does; `Reverse` carries
a gradient back through the backward, as autograd's double backward does. Both are `mutants.Correct` in all else, and
each step is a method, so that a mutant overrides the step that its mistake is in. The causes that are true of a mutant
stand beside it. Nothing here imports refnorm.
"""

import numpy as np
from mutants import Correct


class Forward(Correct):
    """Double backward as the derivative of backward along (ddx, ddgamma, ddbeta)."""

    def jvp(self, dx, dgamma, dbeta, s):
        return self.moved_y(*self.wide(dx, dgamma, dbeta, s), s).astype(s.x.dtype)

    def double_backward(self, ddx, ddgamma, ddbeta, dy, s):
        ddx, ddgamma, ddbeta = self.wide(ddx, ddgamma, ddbeta, s)
        g = self.widen(dy)
        ddy = self.ddy(ddx, ddgamma, ddbeta, s)
        dx = self.second_dx(ddx, ddgamma, g, s)
        dgamma = self.second_dgamma(ddx, g, s)
        return ddy.astype(s.x.dtype), dx.astype(s.x.dtype), self.stored(dgamma, s.gamma_dtype)

    def wide(self, dx, dgamma, dbeta, s):
        x = self.widen(dx)
        return x, *(0 * s.mean if p is None else self.along(p, x) for p in (dgamma, dbeta))

    def moved_mean(self, ddx, s):
        return self.average(ddx)

    def moved_var(self, ddx, s):
        return 2 * self.average((s.wide - s.mean) * ddx)

    def moved_inverse(self, ddx, s):
        return 0 * s.inv if s.frozen else self.slope(s.var, s.eps) * self.moved_var(ddx, s)

    def moved_x_hat(self, ddx, s):
        centred = ddx if s.frozen else ddx - self.moved_mean(ddx, s)
        return centred * s.inv + (s.wide - s.mean) * self.moved_inverse(ddx, s)

    def moved_y(self, ddx, ddgamma, ddbeta, s):
        return s.gamma * self.moved_x_hat(ddx, s) + ddgamma * self.x_hat(s) + ddbeta

    def ddy(self, ddx, ddgamma, ddbeta, s):
        return self.moved_y(ddx, ddgamma, ddbeta, s)

    def moved_front(self, ddx, ddgamma, s):
        """Return how gamma / sqrt(var + eps), in front of dx, moves."""
        return ddgamma * s.inv + s.gamma * self.moved_inverse(ddx, s)

    def second_dx(self, ddx, ddgamma, g, s):
        if s.frozen:
            return self.moved_front(ddx, ddgamma, s) * g
        x_hat, moved = self.x_hat(s), self.moved_x_hat(ddx, s)
        rest = g - self.average(g) - x_hat * self.average(g * x_hat)
        moved_rest = -moved * self.average(g * x_hat) - x_hat * self.average(g * moved)
        return self.moved_front(ddx, ddgamma, s) * rest + s.gamma * s.inv * moved_rest

    def second_dgamma(self, ddx, g, s):
        return self.per_channel(g * self.moved_x_hat(ddx, s))


class Reverse(Forward):
    """Double backward as the gradient of <ddx, dx> + <ddgamma, dgamma> + <ddbeta, dbeta>, carried back by hand."""

    def ddy(self, ddx, ddgamma, ddbeta, s):
        return (s.gamma * s.inv) * self.rest(ddx, s) + ddgamma * self.x_hat(s) + ddbeta

    def rest(self, v, s):
        return v if s.frozen else v - self.average(v) - self.x_hat(s) * self.average(v * self.x_hat(s))

    def second_dx(self, ddx, ddgamma, g, s):
        x_hat = self.x_hat(s)
        towards_x_hat = ddgamma * g
        if s.frozen:
            return s.inv * towards_x_hat
        crossed = ddx * self.average(g * x_hat) + g * self.average(ddx * x_hat)
        towards_x_hat = towards_x_hat - s.gamma * s.inv * crossed
        return self.through_x_hat(towards_x_hat, s) + self.through_front(ddx, g, s)

    def through_x_hat(self, a, s):
        return s.inv * self.rest(a, s)

    def through_front(self, ddx, g, s):
        return -s.gamma * s.inv**2 * self.x_hat(s) * self.average(ddx * self.rest(g, s))

    def second_dgamma(self, ddx, g, s):
        return self.per_channel(ddx * self.rest(g, s)) * s.inv.reshape(-1)


CORRECT = {"forward": Forward, "reverse": Reverse}
MUTANTS: dict[str, tuple[type, set[str]]] = {}  # name -> (class, causes that are true of it)


def mutant(*causes):
    def register(cls):
        MUTANTS[cls.__name__] = (cls, set(causes))
        return cls

    return register


@mutant("second-order-statistics-constant")
class statistics_constant(Forward):
    def moved_mean(self, ddx, s):
        return 0 * s.mean

    def moved_var(self, ddx, s):
        return 0 * s.var


@mutant("second-order-statistics-constant")
class jvp_statistics_constant(Forward):
    def jvp(self, dx, dgamma, dbeta, s):
        return super().jvp(dx, dgamma, dbeta, s._replace(frozen=True))


@mutant("second-order-statistics-constant")
class of_a_frozen_backward(Reverse):
    def double_backward(self, ddx, ddgamma, ddbeta, dy, s):
        return super().double_backward(ddx, ddgamma, ddbeta, dy, s._replace(frozen=True))


@mutant("second-order-statistics-constant")
class carried_back_through_constant_statistics(Reverse):
    def through_x_hat(self, a, s):
        return s.inv * a

    def through_front(self, ddx, g, s):
        return 0 * g


@mutant("second-order-mean-constant")
class mean_constant(Forward):
    def moved_mean(self, ddx, s):
        return 0 * s.mean


@mutant("second-order-mean-constant")
class carried_back_without_mean(Reverse):
    def through_x_hat(self, a, s):
        x_hat = self.x_hat(s)
        return s.inv * (a - x_hat * self.average(a * x_hat))


@mutant("second-order-variance-constant")
class inverse_std_constant(Forward):
    def moved_inverse(self, ddx, s):
        return 0 * s.inv


@mutant("second-order-variance-constant")
class carried_back_without_variance(Reverse):
    def through_x_hat(self, a, s):
        return s.inv * (a - self.average(a))

    def through_front(self, ddx, g, s):
        return 0 * g


@mutant("second-order-variance-constant")
class jvp_without_variance(Forward):
    def jvp(self, dx, dgamma, dbeta, s):
        x, ddgamma, ddbeta = self.wide(dx, dgamma, dbeta, s)
        moved = x * s.inv if s.frozen else (x - self.average(x)) * s.inv
        return (s.gamma * moved + ddgamma * self.x_hat(s) + ddbeta).astype(s.x.dtype)


@mutant("double-backward-front-constant")
class front_constant(Forward):
    def moved_front(self, ddx, ddgamma, s):
        return ddgamma * s.inv


@mutant("double-backward-front-constant")
class carried_back_without_front(Reverse):
    def through_front(self, ddx, g, s):
        return 0 * g


@mutant("double-backward-ddx-missing")
class saved_values_constant(Forward):
    def second_dx(self, ddx, ddgamma, g, s):
        return super().second_dx(0 * ddx, ddgamma, g, s)


@mutant("double-backward-half-missing")
class half_missing(Forward):
    def second_dx(self, ddx, ddgamma, g, s):
        moved = s.gamma * s.inv * self.moved_x_hat(ddx, s) * self.average(g * self.x_hat(s))
        return super().second_dx(ddx, ddgamma, g, s) + (0 if s.frozen else moved)


@mutant("second-order-ddgamma-missing")
class ddgamma_forgotten(Forward):
    def wide(self, dx, dgamma, dbeta, s):
        return super().wide(dx, None, dbeta, s)


@mutant("second-order-ddgamma-missing")
class ddgamma_forgotten_in_dx(Reverse):
    def second_dx(self, ddx, ddgamma, g, s):
        return super().second_dx(ddx, 0 * ddgamma, g, s)


@mutant("second-order-ddbeta-missing")
class ddbeta_forgotten(Forward):
    def wide(self, dx, dgamma, dbeta, s):
        return super().wide(dx, dgamma, None, s)


@mutant("second-order-gamma-missing")
class gamma_forgotten(Reverse):
    def second_dx(self, ddx, ddgamma, g, s):
        return super().second_dx(ddx, ddgamma, g, s._replace(gamma=np.ones_like(s.gamma)))


@mutant("second-order-sign")
class jvp_sign(Forward):
    def jvp(self, dx, dgamma, dbeta, s):
        return -super().jvp(dx, dgamma, dbeta, s)


@mutant("second-order-sign")
class dgamma_sign(Forward):
    def second_dgamma(self, ddx, g, s):
        return -super().second_dgamma(ddx, g, s)


@mutant("second-order-x-sign")
class slope_sign(Reverse):
    def second_dx(self, ddx, ddgamma, g, s):
        return super().second_dx(-ddx, ddgamma, g, s)


@mutant("second-order-not-divided")
class jvp_sums_for_means(Forward):
    def jvp(self, dx, dgamma, dbeta, s):
        x, ddgamma, ddbeta = self.wide(dx, dgamma, dbeta, s)
        x_hat, m = self.x_hat(s), x.size // x.shape[1]
        rest = x if s.frozen else x - m * self.average(x) - m * x_hat * self.average(x * x_hat)
        return (s.gamma * s.inv * rest + ddgamma * x_hat + ddbeta).astype(s.x.dtype)


@mutant("second-order-std-missing")
class dgamma_without_std(Reverse):
    def second_dgamma(self, ddx, g, s):
        return self.per_channel(ddx * self.rest(g, s))


@mutant("second-order-std-missing")
class dx_with_one_std(Reverse):
    def second_dx(self, ddx, ddgamma, g, s):
        return super().second_dx(ddx, ddgamma, g, s) / s.inv


@mutant("double-backward-dgamma-times-gamma")
class dgamma_is_ddx_times_dx(Reverse):
    def second_dgamma(self, ddx, g, s):
        return super().second_dgamma(ddx, g, s) * s.gamma.reshape(-1)


@mutant("returns-zeros")
class dgamma_is_zero(Reverse):
    def second_dgamma(self, ddx, g, s):
        return 0 * super().second_dgamma(ddx, g, s)


@mutant("returns-zeros")
class dx_is_zero(Reverse):
    def second_dx(self, ddx, ddgamma, g, s):
        return 0 * g


class products_rounded(Reverse):  # as torch 2.13 does; shows in mixed precision alone
    def second_dgamma(self, ddx, g, s):
        if not s.frozen:
            return super().second_dgamma(ddx, g, s)
        return self.per_channel((ddx * g).astype(s.x.dtype).astype(g.dtype)) * s.inv.reshape(-1)


@mutant("double-backward-swapped")
class results_swapped(Reverse):
    def double_backward(self, ddx, ddgamma, ddbeta, dy, s):
        ddy, dx, dgamma = super().double_backward(ddx, ddgamma, ddbeta, dy, s)
        return dx, ddy, dgamma


@mutant("training-second-order-in-frozen")
class frozen_through_statistics(Forward):
    def jvp(self, dx, dgamma, dbeta, s):
        return super().jvp(dx, dgamma, dbeta, s._replace(frozen=False))


@mutant("training-second-order-in-frozen")
class frozen_double_backward_through_statistics(Reverse):
    def double_backward(self, ddx, ddgamma, ddbeta, dy, s):
        return super().double_backward(ddx, ddgamma, ddbeta, dy, s._replace(frozen=False))


@mutant("eps-missing")
class eps_missing(Forward):
    def inverse(self, var, eps):
        return 1 / np.sqrt(var)

    def slope(self, var, eps):
        return -0.5 * var**-1.5


@mutant("gamma-plus-one")
class gamma_plus_one(Forward):
    def scale(self, gamma, x, eps):
        return super().scale(gamma, x, eps) + (0 if gamma is None else 1)


@mutant("non-finite-handling")
class nan_to_zero(Forward):
    def jvp(self, dx, dgamma, dbeta, s):
        return np.nan_to_num(super().jvp(dx, dgamma, dbeta, s))


@mutant("non-finite-handling")
class nan_spreads_in_double_backward(Forward):
    def double_backward(self, ddx, ddgamma, ddbeta, dy, s):
        ddy, dx, dgamma = super().double_backward(ddx, ddgamma, ddbeta, dy, s)
        return ddy, dx + 0 * dx.sum(), dgamma


@mutant("raises")
class double_backward_needs_gamma(Reverse):
    def double_backward(self, ddx, ddgamma, ddbeta, dy, s):
        if s.gamma_dtype is None and s.beta_dtype is not None:
            raise RuntimeError("expected a tensor, got None")
        return super().double_backward(ddx, ddgamma, ddbeta, dy, s)
