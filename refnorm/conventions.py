"""The table: what each framework means by momentum, which variance it stores, what it does where the paper is mute."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType

from refnorm._array import Array
from refnorm.running import update_running
from refnorm.statistics import Statistics

# What a training step may do with one value per channel, and with an empty batch.
POLICIES: Mapping[str, str] = MappingProxyType(
    {
        "raises": "an error is raised",
        "biased": "y = beta; the running variance moves towards the biased variance, 0",
        "statistics left": "y is defined, the running statistics stay as they were",
        "variance left": "y = beta; the running mean moves, the running variance stays",
        "non-finite": "running statistics become NaN or inf, silently",
        "other": "y or the running statistics take values that no formula gives",
    }
)


@dataclass(frozen=True)
class Convention:
    """One row of the table.

    Attributes
    ----------
    name, title, source : what the row is called, whose it is, and where that is written.
    momentum : whose weight the argument ``momentum`` is: ``"new"`` batch, ``"old"`` running value, or ``"sums"``:
        running sums are multiplied by it and divided by a count that is kept the same way (Caffe).
    correction : 1 if the running variance is the unbiased one, m/(m - 1); 0 if the biased one.
    one_value, empty : accepted policies (see `POLICIES`) for one value per channel and for an empty batch, in training.
    attributes : format in which eps and momentum travel; the exact value uses the rounded ones.
    momentum_as : how momentum travels if not as ``attributes`` says: ``"float32"``, or ``"float32 complement"`` where
        1 - momentum is what is rounded.
    ranks : ranks of x that are accepted.
    zero_eps : False if eps = 0 may be refused in training.
    normalises : what a training batch is normalised by: ``"batch"``, its own statistics; or ``"moved"``, the running
        ones after they have moved, which is another operation.
    note : what else a user must know.
    """

    name: str
    title: str
    source: str
    momentum: str
    correction: int
    one_value: tuple[str, ...]
    empty: tuple[str, ...]
    attributes: str = "float64"
    momentum_as: str = ""
    ranks: tuple[int, ...] = (2, 3, 4, 5)
    zero_eps: bool = True
    normalises: str = "batch"
    note: str = ""

    def travelled(self, value: float) -> float:
        """Return eps as the framework receives it, and momentum where it travels alike."""
        return _received(value, self.attributes)

    def weights(self, momentum: float) -> tuple[Fraction, Fraction]:
        """Return the weights of the old running value and of the batch's statistic, exactly.

        Examples
        --------
        >>> CONVENTIONS["torch"].weights(0.25), CONVENTIONS["keras"].weights(0.25)
        ((Fraction(3, 4), Fraction(1, 4)), (Fraction(1, 4), Fraction(3, 4)))
        """
        a = Fraction(_received(momentum, self.momentum_as or self.attributes))
        if self.momentum == "new":
            return 1 - a, a
        if self.momentum == "old":
            return a, 1 - a
        return a / (1 + a), 1 / (1 + a)

    def update(
        self, running_mean: Array, running_var: Array, statistics: Statistics, momentum: float
    ) -> tuple[Array, Array]:
        """Move running statistics as this convention does, whatever it means by momentum.

        Parameters and results are those of `refnorm.update_running`; one value per channel leaves no unbiased variance,
        and the biased one, 0, is taken (Caffe) unless the row asks for an error.

        Examples
        --------
        >>> import numpy as np
        >>> batch = Statistics.of(np.array([[1.0], [3.0]]))           # mean 2, biased variance 1, unbiased 2
        >>> zero, one = np.array([0.0]), np.array([1.0])
        >>> CONVENTIONS["torch"].update(zero, one, batch, momentum=0.25)
        (array([0.5]), array([1.25]))
        >>> CONVENTIONS["keras"].update(zero, one, batch, momentum=0.25)
        (array([1.5]), array([1.]))
        """
        _, weight = self.weights(momentum)
        single = isinstance(statistics.count, int) and statistics.count == 1 and "biased" in self.one_value
        correction = 0 if single else self.correction
        return update_running(running_mean, running_var, statistics, momentum=float(weight), correction=correction)

    def factor(self, count: int) -> Fraction:
        """Return what multiplies the biased variance before it is stored; 1 for a single value."""
        return Fraction(count, count - self.correction) if count > self.correction else Fraction(1)


def _received(value: float, kind: str) -> float:
    if kind == "float32 complement":
        return 1 - _received(1 - value, "float32")
    return value if kind == "float64" else float(struct.unpack("f", struct.pack("f", value))[0])


def _table(*rows: Convention) -> Mapping[str, Convention]:
    return MappingProxyType({row.name: row for row in rows})


CONVENTIONS = _table(
    Convention(
        "paper",
        "Ioffe & Szegedy",
        "Ioffe & Szegedy 2015, Algorithm 2, step 10: Var[x] = m/(m - 1) E[var]",
        momentum="new",
        correction=1,
        one_value=("raises", "variance left"),
        empty=("raises", "statistics left"),
        note="The paper averages over batches after training and leaves the moving average's weight open.",
    ),
    Convention(
        "torch",
        "PyTorch, nn and functional",
        "torch.nn.BatchNorm2d, documentation, section on momentum and estimators",
        momentum="new",
        correction=1,
        one_value=("raises",),
        empty=("raises", "statistics left"),
        zero_eps=False,
        note="One value per channel in training raises: Expected more than 1 value per channel when training.",
    ),
    Convention(
        "onnx",
        "ONNX BatchNormalization, opset 7 to 15",
        "ONNX operator specification, BatchNormalization-14 and -15",
        momentum="old",
        correction=0,
        one_value=("biased",),
        empty=("raises", "statistics left", "non-finite"),
        attributes="float32",
        note="eps and momentum are float32 attributes. Opset 7 and 9 do not say which variance is stored; 14 and 15 "
        "do. The formulas give 0/0 for an empty batch, so NaN in the statistics is as specified.",
    ),
    Convention(
        "keras",
        "Keras 3, BatchNormalization",
        "Keras documentation, BatchNormalization: moving_var * momentum + var(batch) * (1 - momentum)",
        momentum="old",
        correction=0,
        one_value=("biased",),
        empty=("raises", "statistics left", "non-finite"),
        note="eps defaults to 1e-3 and momentum to 0.99. The mean of no values is NaN on every backend, and is stored.",
    ),
    Convention(
        "caffe",
        "BVLC Caffe, BatchNorm + Scale",
        "Caffe, batch_norm_layer.cpp: moving_average_fraction, bias_correction_factor",
        momentum="sums",
        correction=1,
        one_value=("biased",),
        empty=("raises", "statistics left"),
        attributes="float32",
        note="Blobs are running sums and a running count: sum <- f sum + batch, count <- f count + 1; statistics are "
        "sum / count. Judged on (mean, var) as read, count 1 before the step: weights f/(1 + f) and 1/(1 + f).",
    ),
    Convention(
        "cs231n",
        "CS231n, assignment 2",
        "CS231n assignment 2, batchnorm_forward: running = momentum * running + (1 - momentum) * batch",
        momentum="old",
        correction=0,
        one_value=("biased",),
        empty=("raises", "statistics left", "non-finite"),
        ranks=(2,),
        note="x is (N, D); statistics live in bn_param. What NumPy returns for an empty batch is NaN.",
    ),
)

# The rows above are named in the golden set and stay; those below follow their frameworks, as measured.
ROWS: Mapping[str, Convention] = _table(
    *CONVENTIONS.values(),
    Convention(
        "torch-native",
        "PyTorch, the operator native_batch_norm",
        "torch.native_batch_norm, called directly: what functional.batch_norm checks first is not checked",
        momentum="new",
        correction=1,
        one_value=("non-finite",),
        empty=("raises",),
        note="One value per channel stores 0/0 as running variance, silently.",
    ),
    Convention(
        "torch-decomposition",
        "PyTorch, the decomposition of native_batch_norm",
        "torch._decomp.decompositions.native_batch_norm, which compilers take",
        momentum="new",
        correction=1,
        one_value=("raises",),
        empty=("non-finite",),
        note="One value per channel divides by 0 in Python, after the running mean has moved.",
    ),
    Convention(
        "segnet",
        "SegNet-Caffe, BN and compute_bn_statistics",
        "caffe-segnet, bn_layer.cpp (modes LEARN and INFERENCE), and SegNet-Tutorial's compute_bn_statistics.py",
        momentum="sums",
        correction=1,
        one_value=("biased", "non-finite"),
        empty=("raises", "non-finite"),
        ranks=(4,),
        note="Read from the source, not run. LEARN normalises by the batch, its variance in one pass, eps 1e-9, and "
        "keeps no average. The script averages batches alike (fraction 1), multiplies the variance by m/(m - 1), which "
        "an integer division makes 1, and folds all into scale and shift; INFERENCE is scale x + shift.",
    ),
    Convention(
        "flax",
        "Flax, Linen and NNX",
        "Flax documentation, BatchNorm: momentum, decay rate of the running average; use_fast_variance",
        momentum="old",
        correction=0,
        one_value=("biased",),
        empty=("raises", "statistics left", "non-finite"),
        note="momentum defaults to 0.99, eps to 1e-5. The default variance is E[x^2] - E[x]^2, never below 0.",
    ),
    Convention(
        "haiku",
        "dm-haiku",
        "dm-haiku documentation, BatchNorm and ExponentialMovingAverage with zero_debias",
        momentum="sums",
        correction=0,
        one_value=("biased",),
        empty=("raises", "statistics left", "non-finite"),
        note="Averages are debiased, hidden / (1 - decay^n): a sum of batches over a sum of weights. Judged on"
        " the average, after one step: weights f/(1 + f) and 1/(1 + f), as for caffe. No default for the "
        "decay.",
    ),
    Convention(
        "equinox",
        "Equinox, mode batch",
        "Equinox documentation, BatchNorm: mode batch",
        momentum="sums",
        correction=0,
        one_value=("biased",),
        empty=("raises", "statistics left", "non-finite"),
        note="Debiased as in haiku, but the variance starts from 1. momentum defaults to 0.99, eps to 1e-5.",
    ),
    Convention(
        "equinox-ema",
        "Equinox, mode ema",
        "Equinox documentation, BatchNorm: mode ema",
        momentum="old",
        correction=0,
        one_value=("other",),
        empty=("non-finite",),
        normalises="moved",
        note="Another operation: a training batch is normalised by the moved averages, which start from the first "
        "batch. momentum defaults to 0.99, eps to 1e-5.",
    ),
    Convention(
        "tensorflow",
        "TensorFlow, fused_batch_norm",
        "TensorFlow documentation, tf.compat.v1.nn.fused_batch_norm: exponential_avg_factor",
        momentum="new",
        correction=1,
        one_value=("biased",),
        empty=("raises", "statistics left", "non-finite"),
        attributes="float32",
        ranks=(4, 5),
        note="eps defaults to 1e-3; the default factor 1 forgets what was there.",
    ),
    Convention(
        "tf-keras",
        "tf-keras, BatchNormalization, unfused",
        "tf-keras documentation, BatchNormalization: moving_var * momentum + var(batch) * (1 - momentum)",
        momentum="old",
        correction=0,
        one_value=("biased",),
        empty=("raises", "statistics left", "non-finite"),
        momentum_as="float32 complement",
        note="As keras, but 1 - momentum is a float32 tensor whatever the layer's format. The fused path: keras-fused.",
    ),
    Convention(
        "keras-fused",
        "tf-keras, BatchNormalization, fused",
        "TensorFlow, layers that call fused_batch_norm for rank 4 (and 5): momentum",
        momentum="old",
        correction=1,
        one_value=("biased",),
        empty=("raises", "statistics left", "non-finite"),
        attributes="float32",
        ranks=(4,),
        note="The same layers store the biased variance wherever the fused kernel is not taken.",
    ),
    Convention(
        "tf-slim-fused",
        "TF-Slim, batch_norm, fused",
        "TF-Slim, layers.batch_norm with fused=True: decay",
        momentum="old",
        correction=1,
        one_value=("biased",),
        empty=("raises", "statistics left", "non-finite"),
        attributes="float32",
        ranks=(2, 4),
        note="Ranks 3 and 5 are taken, but not by the fused kernel: the biased variance is stored, as in tf-slim.",
    ),
    Convention(
        "tf-slim",
        "TF-Slim, batch_norm",
        "TF-Slim, layers.batch_norm: decay, zero_debias_moving_mean",
        momentum="old",
        correction=0,
        one_value=("biased",),
        empty=("raises", "statistics left", "non-finite"),
        note="decay defaults to 0.999, eps to 1e-3; updates are lost unless UPDATE_OPS run. "
        "zero_debias_moving_mean debiases the mean alone: it starts from the first batch, the variance from 1.",
    ),
    Convention(
        "tensorlayer",
        "TensorLayer 2, BatchNorm",
        "TensorLayer documentation, BatchNorm: decay",
        momentum="old",
        correction=0,
        one_value=("biased",),
        empty=("raises", "statistics left", "non-finite"),
        note="decay defaults to 0.9, eps to 1e-5; the moving variance starts from 0.",
    ),
    Convention(
        "paddle",
        "PaddlePaddle, batch_norm",
        "PaddlePaddle documentation, nn.BatchNorm2D: moving_mean * momentum + mean * (1 - momentum)",
        momentum="old",
        correction=0,
        one_value=("statistics left",),
        empty=("raises", "statistics left"),
        attributes="float32",
        note="momentum defaults to 0.9, eps to 1e-5.",
    ),
    Convention(
        "mindspore",
        "MindSpore, nn.BatchNorm",
        "MindSpore documentation, nn.BatchNorm2d: momentum",
        momentum="old",
        correction=1,
        one_value=("non-finite",),
        empty=("other",),
        attributes="float32",
        note="momentum defaults to 0.9, eps to 1e-5. One value per channel stores 0/0.",
    ),
    Convention(
        "mxnet",
        "Apache MXNet, BatchNorm",
        "MXNet documentation, BatchNorm: moving_mean * momentum + data_mean * (1 - momentum)",
        momentum="old",
        correction=0,
        one_value=("biased",),
        empty=("raises",),
        momentum_as="float32",
        note="momentum defaults to 0.9. Statistics move in the backward pass.",
    ),
    Convention(
        "chainer",
        "Chainer, batch_normalization",
        "Chainer documentation, links.BatchNormalization: decay",
        momentum="old",
        correction=1,
        one_value=("biased",),
        empty=("raises", "statistics left", "non-finite"),
        note="decay defaults to 0.9, eps to 2e-5.",
    ),
    Convention(
        "tinygrad",
        "tinygrad, nn.BatchNorm",
        "tinygrad, nn.BatchNorm: (1 - momentum) running + momentum batch",
        momentum="new",
        correction=1,
        one_value=("raises",),
        empty=("raises", "statistics left", "non-finite"),
        note="momentum defaults to 0.1, eps to 1e-5. One value per channel divides by 0 in Python.",
    ),
    Convention(
        "mlx",
        "MLX, nn.BatchNorm",
        "MLX documentation, nn.BatchNorm: momentum",
        momentum="new",
        correction=1,
        one_value=("raises",),
        empty=("raises", "statistics left", "non-finite"),
        ranks=(2, 3, 4),
        note="momentum defaults to 0.1, eps to 1e-5; channels last.",
    ),
    Convention(
        "numpy-ml",
        "numpy-ml, BatchNorm1D and BatchNorm2D",
        "numpy-ml, layers.BatchNorm2D: momentum of the running mean",
        momentum="old",
        correction=0,
        one_value=("biased",),
        empty=("raises", "statistics left", "non-finite"),
        ranks=(2, 4),
        note="momentum defaults to 0.9, eps to 1e-5; gamma starts from random values.",
    ),
)


def convention(name: str) -> Convention:
    """Return the row of this name; ValueError, with the names that there are, if there is none."""
    if name not in ROWS:
        raise ValueError(f"there is no convention {name!r}; use one of {', '.join(ROWS)}")
    return ROWS[name]


def average_of_variances(batches: Iterable[Statistics], correction: float = 1) -> tuple[Array, Array]:
    """Average means and variances over batches, as SegNet's compute_bn_statistics does: no population statistics.

    The variance of all values is the average of the batches' variances plus the variance of their means
    (`Statistics.merge`). The average alone lacks that spread. With correction 1 it is right on average where batches
    are drawn at random, which the paper's Algorithm 2 supposes; where they differ, by class, time or worker, it is too
    small by all that they differ. Batches of unequal size weigh the same, which skews the mean as well.

    Parameters
    ----------
    batches : statistics of each.
    correction : 1 averages the unbiased variances, 0 the biased ones.

    Returns
    -------
    mean, var : arrays of the kept shape.

    Examples
    --------
    >>> import numpy as np
    >>> sorted_values = np.arange(8.0)[:, None]
    >>> batches = [Statistics.of(part) for part in np.split(sorted_values, 2)]
    >>> average_of_variances(batches), Statistics.of(sorted_values).corrected()     # 5/3 for 6: 72 % are lost
    ((array([3.5]), array([1.66666667])), array([6.]))
    """
    means, variances = zip(*((batch.mean, batch.corrected(correction)) for batch in batches), strict=True)
    return sum(means) / len(means), sum(variances) / len(variances)


def differences(a: Convention, b: Convention, count: int = 32) -> list[str]:
    """Say what changes when weights and running statistics move from one convention to the other.

    Parameters
    ----------
    count : values per channel, for the factor between the variances.

    Examples
    --------
    >>> for line in differences(CONVENTIONS["torch"], CONVENTIONS["onnx"], count=4):
    ...     print(line)
    momentum: torch weighs the new batch, onnx the old value: pass 1 - momentum
    running variance: torch stores m/(m - 1) times the biased one: carry it as it is for the same
    inference, or times (m - 1)/m, 0.75 at m = 4, to train on without a jump
    one value per channel: torch raises; onnx biased
    empty batch: torch raises or statistics left; onnx raises or statistics left or non-finite
    eps and momentum: onnx rounds them to float32: add what eps loses to the variance
    """
    lines = []
    weighs = {"new": "the new batch", "old": "the old value", "sums": "the old sums"}
    if a.momentum != b.momentum:
        how = "pass 1 - momentum"
        if a.momentum == "sums":
            passed = "1 - f" if b.momentum == "new" else "f"
            how = f"divide the sums by their count s; each new batch weighs 1 - f, pass {passed}"
        elif b.momentum == "sums":
            fraction = "1 - momentum" if a.momentum == "new" else "momentum"
            how = f"pass f = {fraction}, the count s = 1/(1 - f), and s times the statistics"
        lines.append(f"momentum: {a.name} weighs {weighs[a.momentum]}, {b.name} {weighs[b.momentum]}: {how}")
    if a.correction != b.correction:
        more, factor, value = (
            (a, "(m - 1)/m", (count - 1) / count) if a.correction else (b, "m/(m - 1)", count / (count - 1))
        )
        lines.append(
            f"running variance: {more.name} stores m/(m - 1) times the biased one: carry it as it is for the same "
            f"inference, or times {factor}, {value:g} at m = {count}, to train on without a jump"
        )
    if a.one_value != b.one_value:
        lines.append(f"one value per channel: {a.name} {' or '.join(a.one_value)}; {b.name} {' or '.join(b.one_value)}")
    if a.empty != b.empty:
        lines.append(f"empty batch: {a.name} {' or '.join(a.empty)}; {b.name} {' or '.join(b.empty)}")
    if a.momentum_as != b.momentum_as:
        kinds = [f"{row.name} as {row.momentum_as or row.attributes}" for row in (a, b)]
        lines.append(f"momentum travels: {'; '.join(kinds)}")
    if a.attributes != b.attributes:
        rounding = a if a.attributes == "float32" else b
        fold = ": add what eps loses to the variance" if rounding is b else ""
        lines.append(f"eps and momentum: {rounding.name} rounds them to float32{fold}")
    if a.ranks != b.ranks:
        lines.append(f"ranks of x: {a.name} {', '.join(map(str, a.ranks))}; {b.name} {', '.join(map(str, b.ranks))}")
    return lines
