"""refnorm's own functions on trial like any other: widening, one rounding per result, unbiased running variance."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial, reduce
from importlib.util import find_spec
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

import refnorm
from refnorm.conventions import CONVENTIONS
from refnorm.formats import FORMATS, Array, cast, round_once
from refnorm.reference._layout import ieee

NAME = "refnorm"
CONVENTION = "torch"


class Tape(NamedTuple):
    """The derivatives that belong to a forward, and the dtypes of their parameters (None: no such parameter)."""

    backward: Callable[[Array], tuple[Array, Array, Array]]
    jvp: Callable[..., Array]
    double_backward: Callable[..., tuple[Array, Array, Array]]
    gamma_dtype: Any
    beta_dtype: Any


class Carried:
    """What runs on arrays of one library, to and from which ``from_numpy`` and ``to_numpy`` convert."""

    def __init__(
        self, from_numpy: Callable[[Any], Array] = np.asarray, to_numpy: Callable[[Array], Any] = np.asarray
    ) -> None:
        self._from_numpy = from_numpy
        self._to_numpy = to_numpy
        self.dtypes = tuple(name for name in FORMATS if self._takes(name))

    def _takes(self, name: str) -> bool:
        """Whether arrays of a format make the way to the library and back."""
        if name == "bfloat16" and not find_spec("ml_dtypes"):
            return False
        one = cast(np.ones((2, 1)), name)
        try:
            return bool(self._to_numpy(refnorm.batch_norm_training(self._from_numpy(one))[0]).dtype == one.dtype)
        except (TypeError, ValueError, RuntimeError):  # each library refuses in its own way
            return False

    def _arrays(self, *arrays: Any) -> list[Array]:
        return [None if array is None else self._from_numpy(array) for array in arrays]


class Reference(Carried):
    """All that refnorm offers."""

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> tuple[Any, Any, Any, Tape]:
        """Normalise by the batch and move the running statistics; m = 1 raises, as a corrected variance must."""
        x, own_gamma, own_beta, mean, var = self._arrays(x, gamma, beta, running_mean, running_var)
        y, saved = refnorm.batch_norm_training(x, own_gamma, own_beta, eps=eps)
        mean, var = refnorm.update_running(mean, var, saved.statistics, momentum=momentum)
        derivatives = (
            partial(refnorm.batch_norm_training_backward, saved=saved),
            partial(refnorm.batch_norm_training_jvp, saved=saved),
            partial(refnorm.batch_norm_training_double_backward, saved=saved),
        )
        tape = Tape(*derivatives, _dtype(gamma), _dtype(beta))
        return self._to_numpy(y), self._to_numpy(mean), self._to_numpy(var), tape

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Normalise by running statistics."""
        x, gamma, beta, mean, var = self._arrays(x, gamma, beta, running_mean, running_var)
        return self._to_numpy(refnorm.batch_norm_inference(x, mean, var, gamma, beta, eps=eps))

    def frozen(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float
    ) -> tuple[Any, Tape]:
        """Infer, and keep what `backward` needs to treat the statistics as constants."""
        y = self.infer(x, gamma, beta, running_mean, running_var, eps)
        x, own_gamma, mean, var = self._arrays(x, gamma, running_mean, running_var)
        given = {"x": x, "running_mean": mean, "running_var": var, "gamma": own_gamma, "eps": eps}
        derivatives = (
            partial(refnorm.batch_norm_inference_backward, **given),
            partial(refnorm.batch_norm_inference_jvp, **given),
            partial(refnorm.batch_norm_inference_double_backward, **given),
        )
        return y, Tape(*derivatives, _dtype(gamma), _dtype(beta))

    @ieee
    def backward(self, dy: Any, cache: Tape) -> tuple[Any, Any, Any]:
        """Return gradients in the dtypes of their variables; None for a parameter that was None."""
        dx, dgamma, dbeta = (self._to_numpy(gradient) for gradient in cache.backward(self._from_numpy(dy)))
        return dx, _round(dgamma, cache.gamma_dtype), _round(dbeta, cache.beta_dtype)

    @ieee
    def jvp(self, dx: Any, dgamma: Any, dbeta: Any, cache: Tape) -> Any:
        """Return how y moves when x, gamma and beta move."""
        return self._to_numpy(cache.jvp(*self._arrays(dx, dgamma, dbeta)))

    @ieee
    def double_backward(self, ddx: Any, ddgamma: Any, ddbeta: Any, dy: Any, cache: Tape) -> tuple[Any, Any, Any]:
        """Return gradients with respect to dy, x and gamma, None for a gamma that was None."""
        results = cache.double_backward(*self._arrays(ddx, ddgamma, ddbeta, dy))
        ddy, dx, dgamma = (self._to_numpy(result) for result in results)
        return ddy, dx, _round(dgamma, cache.gamma_dtype)


class Shards(Carried):
    """Training on four workers, the second of which has no sample and the last most of them."""

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> Any:
        """Merge the shards' statistics; the cache is what each worker saved."""
        own_x, own_gamma, own_beta, mean, var = self._arrays(x, gamma, beta, running_mean, running_var)
        shards = self._shards(own_x)
        statistics = reduce(refnorm.Statistics.merge, map(refnorm.shard_statistics, shards))
        parts = [refnorm.batch_norm_synchronised(s, statistics, own_gamma, own_beta, eps=eps) for s in shards]
        mean, var = refnorm.update_running(mean, var, statistics, momentum=momentum)
        y = self._joined([y for y, _ in parts])
        return (
            y,
            self._to_numpy(mean),
            self._to_numpy(var),
            ([saved for _, saved in parts], _dtype(gamma), _dtype(beta)),
        )

    @ieee
    def backward(self, dy: Any, cache: Any) -> Any:
        """Add up the two sums over the workers, then let each find its dx."""
        saved, gamma_dtype, beta_dtype = cache
        pairs = list(zip(self._shards(self._from_numpy(dy)), saved, strict=True))
        dgamma, dbeta = (
            sum(parts) for parts in zip(*(refnorm.synchronised_gradients(*pair) for pair in pairs), strict=True)
        )
        dx = self._joined([refnorm.batch_norm_synchronised_backward(*pair, dgamma, dbeta) for pair in pairs])
        return dx, _round(self._to_numpy(dgamma), gamma_dtype), _round(self._to_numpy(dbeta), beta_dtype)

    @staticmethod
    def _shards(array: Array) -> list[Array]:
        size = array.shape[0]
        cuts = [0, size // 4, size // 4, size // 2, size]
        return [array[start:stop, ...] for start, stop in pairwise(cuts)]

    def _joined(self, parts: list[Array]) -> Any:
        return np.concatenate([self._to_numpy(part) for part in parts])


class Sums(Carried):
    """The running sums of Caffe, from a count of 1; judged by its row."""

    convention = "caffe"

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> Any:
        """Normalise by the batch, move the sums in float64, and read the averages; eps and fraction are float32s."""
        eps, fraction = (CONVENTIONS["caffe"].travelled(value) for value in (eps, momentum))
        x, gamma, beta = self._arrays(x, gamma, beta)
        mean, var = self._arrays(running_mean.astype(np.float64), running_var.astype(np.float64))
        y, saved = refnorm.batch_norm_training(x, gamma, beta, eps=eps)
        mean, var, count = refnorm.update_sums(mean, var, 1.0, saved.statistics, fraction=fraction)
        averages = (self._to_numpy(mean / count), self._to_numpy(var / count))
        return self._to_numpy(y), *map(_round, averages, (running_mean.dtype, running_var.dtype)), None


def _dtype(parameter: Any) -> Any:
    return getattr(parameter, "dtype", None)


def _round(gradient: Any, dtype: Any) -> Any:
    return None if dtype is None else round_once(np, gradient, dtype)


def version() -> str:
    """Versions of refnorm and of the array library."""
    return f"refnorm {refnorm.__version__} (numpy {np.__version__})"


def paths() -> dict[str, object]:
    """Three paths: refnorm on NumPy arrays, on shards of the batch, and with Caffe's running sums."""
    return {"": Reference(), "by shards": Shards(), "running sums": Sums()}


def paths_on(library: str) -> dict[str, object]:
    """Two paths on arrays of another library (array_api_strict, cupy, dask.array, jax.numpy, torch)."""
    xp = importlib.import_module(library)
    way = (lambda array: xp.asarray(array.copy()), np.asarray)  # torch has no negative strides
    way = (xp.asarray, xp.asnumpy) if library == "cupy" else way
    return {library: Reference(*way), "by shards": Shards(*way)}
