"""The definition in exact arithmetic, and every result correctly rounded, with proof.

Floats are rationals; so are means and variances of floats. One operation of batch normalization leaves the rationals,
the root of v = var + eps, and it enters every result in one way: *each number that batch normalization computes is*
p + q / sqrt(v) *with rational p, q and v*. Such a number is rounded by enclosing the root ever more tightly (FLINT's
ball arithmetic) until both ends of the enclosure round alike; an irrational number is no tie, so that ends, and where v
is a square the number is rational and is rounded exactly.

Large arrays take a filter first: the same number in double-double arithmetic with a proven error bound. What the filter
cannot decide is about one element in 2^40 of ordinary data, and all of them where results are ties or zeros, where x
is far from 0, or where slopes leave the range of float64. That is decided with integers (`refnorm.exact.nearest`), the
root being enclosed once a channel. ``python tests/benchmarks/bench_exact.py`` prints what it costs: hostile data take
less than ten times as long as ordinary ones.
"""

from refnorm.exact.definition import (
    Forward,
    Gradients,
    Moments,
    blend,
    inference,
    inference_gradients,
    statistics,
    training,
    training_gradients,
    training_gradients_mechanical,
)
from refnorm.exact.number import Exact, Number, rational, to_format
from refnorm.exact.series import (
    SecondOrder,
    inference_double_backward,
    inference_jvp,
    training_double_backward,
    training_double_backward_mechanical,
    training_jvp,
)

__all__ = [
    "Exact",
    "Forward",
    "Gradients",
    "Moments",
    "Number",
    "SecondOrder",
    "blend",
    "inference",
    "inference_double_backward",
    "inference_gradients",
    "inference_jvp",
    "rational",
    "statistics",
    "to_format",
    "training",
    "training_double_backward",
    "training_double_backward_mechanical",
    "training_gradients",
    "training_gradients_mechanical",
    "training_jvp",
]
