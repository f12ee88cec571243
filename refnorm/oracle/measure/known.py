"""Known formulas: what a measured one is called, what it means, and what comes of it.

A formula is looked up part by part, in words in which `mean` and `var` stand for the statistics that the map should
use (the running ones in inference), `batch mean`, `running mean` and so on for those that it should not. What is not
known is printed as it was measured.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple


class Known(NamedTuple):
    """Name for machines, sentence and effect for people, and the kind of a finding."""

    name: str
    sentence: str
    effect: str
    kind: str = "wrong"


EPS = "Outputs differ wherever the variance is not far above eps; with large variances the mistake is invisible."
SCALE = "Every layer's output has the wrong scale; training may still converge and then not match other code."
SHIFT = "Every output is shifted."
FAR = "Inference after training does not match what training computed."
BATCH = "A prediction depends on what else is in the batch."
FLOW = "The gradient pushes along directions that cannot change y."
BELOW = "Gradients have the wrong size in every layer below."
SMALL = "The stored variance is wrong for small batches."
SHARDS = "The variance is too small whenever shards differ; y is too large."

AVERAGED = Known(
    "shard-variances-averaged", "the variance is the mean of the shards' variances: the spread of their means is lost", SHARDS
)

DIVISORS: dict[str, Known] = {
    "std = sqrt(var) + eps": Known("eps-outside-root", "eps is added outside the root: 1 / (sqrt(var) + eps)", EPS),
    "std^2 = var": Known("eps-missing", "eps is missing: 1 / sqrt(var)", "A constant channel divides by zero. " + EPS),
    "std^2 = max(var, eps)": Known(
        "eps-clamped", "the variance is clamped at eps, sqrt(max(var, eps)), instead of increased by it", EPS
    ),
    "std^2 = var + max(eps, 1.001e-5)": Known(
        "eps-raised-to-minimum", "eps below 1.001e-5 is raised to it (the minimum of old cuDNN)", EPS
    ),
    "std^2 = var + 2 eps": Known("eps-twice", "eps is added twice: 1 / sqrt(var + 2 eps)", EPS),
    "std = sqrt(var + eps) + eps": Known("eps-twice-outside", "eps is added inside and outside the root", EPS),
    "std^2 = var + sqrt(eps)": Known("eps-root", "the root of eps is added to the variance", EPS),
    "std^2 = var + float32(eps)": Known(
        "eps-rounded-to-float32",
        "eps is rounded to float32",
        "Results in float64 have float32's accuracy where the variance is close to eps.",
    ),
    "std^2 = var + eps^2": Known("eps-squared", "eps is squared before it is added", EPS),
    "std^2 = var + (eps, and 1e-12 if it is small)": Known("eps-nudged", "1e-12 is added to a small eps", EPS),
    "std^2 = var + min(eps, 1)": Known("eps-capped", "eps above 1 is cut down to 1", EPS),
    "std^2 = var + (eps, or 1e-5 if it is 0)": Known(
        "eps-zero-replaced", "eps = 0 is taken for unset and replaced by 1e-5", "A caller who sets eps = 0 is not heard."
    ),
    "std = var + eps": Known("root-missing", "the root is missing: 1 / (var + eps)", SCALE),
    "std = var": Known("root-missing", "the root is missing, and eps: 1 / var", SCALE),
    "std^(1/2) = var + eps": Known(
        "square-instead-of-root", "the square is taken instead of the root: 1 / (var + eps)^2", SCALE
    ),
    "1/std^2 = var + eps": Known(
        "multiplied-by-std", "x - mean is multiplied by the standard deviation instead of divided", SCALE
    ),
    "std^2 = 1": Known("not-scaled", "x - mean is not divided by the standard deviation", SCALE),
    "std^2 = unbiased var + eps": Known(
        "normalised-by-unbiased-variance",
        "the unbiased variance, m/(m - 1), normalises where the biased one belongs",
        "y is too small by sqrt((m - 1)/m): 29 % at m = 2, 2 % at m = 32.",
    ),
    "std^2 = m/(m - 1) var + eps": Known(
        "correction-in-inference",
        "inference corrects the running variance by m/(m - 1) of its own batch",
        "A prediction depends on the batch size.",
    ),
    "std^2 = mean of x^2 + eps": Known(
        "second-moment-as-variance", "the mean of x^2 is used as variance, the mean not subtracted from it", SCALE
    ),
    "std^2 = var over all about the mean of its channel + eps": Known(
        "one-variance-for-all-channels",
        "one variance is taken over all channels, each about its own mean",
        "Channels keep their proportions: none is normalised by its own spread.",
    ),
    "std^2 = mean of the shards' variances + eps": AVERAGED,
    "std^2 = mean of the shards' variances, counts aside + eps": AVERAGED,
    "std^2 = sum (x - mean)^2 / N + eps": Known(
        "variance-divided-by-samples",
        "the sum of squares is divided by the number of samples N, not by that of values per channel N*H*W",
        "y is too small by sqrt(H W); with rank 2 nothing shows.",
    ),
    "std^2 = sum (x - mean)^2 + eps": Known(
        "variance-not-divided", "the sum of squares is not divided by m", "y is too small by sqrt(m)."
    ),
    "std^2 = var of the samples' means + eps": Known(
        "variance-of-sample-means",
        "the variance is that of the samples' means: spatial axes are averaged before it is taken",
        "y is too large wherever values vary within a sample.",
    ),
}
TAKEN_FOR_STD = Known(
    "running-variance-taken-for-std", "inference divides by the running variance, as if it were a standard deviation", FAR
)
INFERENCE_DIVISORS = dict.fromkeys(("std = var + eps", "std = var", "std^2 = var^2 + eps"), TAKEN_FOR_STD)
CENTRES: dict[str, Known] = {
    "0": Known("mean-not-subtracted", "the mean is not subtracted", SCALE),
    "-mean": Known("mean-added", "the mean is added instead of subtracted", SCALE),
    "sum x": Known("mean-not-divided", "the sum of x is subtracted, not its mean", SCALE),
    "mean of the shards' means": Known(
        "shard-statistics-averaged",
        "mean and variance are averages of the shards', whatever their counts",
        "Statistics are wrong whenever shards differ in size or mean.",
    ),
}
SCALES: dict[str, Known] = {
    "|gamma|": Known("gamma-absolute", "the scale is |gamma|", "Channels with negative gamma come out with the wrong sign."),
    "(|gamma| + eps)": Known(
        "gamma-absolute-plus-eps", "the scale is |gamma| + eps", "Channels with negative gamma come out with the wrong sign."
    ),
    "max(gamma, 0)": Known("gamma-clipped", "negative gamma is clipped to 0", "Channels with negative gamma are dead."),
    "gamma of the first channel": Known("first-channel-for-all", "the first channel's gamma serves all channels", SCALE),
    "1": Known("gamma-ignored", "gamma is ignored, or fixed at 1", SCALE),
    "(1 + gamma)": Known("gamma-plus-one", "the scale is 1 + gamma", SCALE),
    "gamma^2": Known("gamma-squared", "gamma is applied twice", SCALE),
    "-gamma": Known("gamma-sign", "the scale is -gamma", "Every output has the wrong sign."),
}
SHIFTS: dict[str, Known] = {
    "0": Known("beta-ignored", "beta is ignored, or fixed at 0", SHIFT),
    "-beta": Known("beta-subtracted", "beta is subtracted", SHIFT),
    "gamma beta": Known("beta-scaled", "beta is added before gamma scales: gamma (x_hat + beta)", SHIFT),
    "beta of the first channel": Known("first-channel-for-all", "the first channel's beta serves all channels", SHIFT),
}

ALL = Known(
    "all-axes-reduced",
    "statistics are taken over all axes, channels included",
    "Channels share one mean and variance (layer statistics of the batch).",
)
REGIONS: dict[str, Known] = {  # what stands behind a statistic
    " over N": Known(
        "spatial-axes-not-reduced",
        "statistics are taken over the batch axis alone, spatial axes are not averaged",
        "Each position is normalised on its own; with small batches y is nearly +-1.",
    ),
    " over N C S": Known(
        "last-axis-kept",
        "statistics keep the last axis, as if channels were last",
        "Channels are mixed and positions kept apart.",
    ),
    " over all": ALL,
    " of each sample and channel": Known(
        "per-sample-statistics",
        "statistics are taken within each sample: that is instance normalization",
        "The batch does not matter at all.",
    ),
    " of each sample": Known(
        "layer-statistics",
        "statistics are taken over each sample's channels: that is layer normalization",
        "The batch does not matter at all.",
    ),
    " of each of 2 shards": Known(
        "shards-apart", "each shard of the batch is normalised by its own statistics", "Small shards have noisy statistics."
    ),
    " of each of 4 shards": Known(
        "shards-apart", "each shard of the batch is normalised by its own statistics", "Small shards have noisy statistics."
    ),
}
REGION = re.compile("( over [NCSL ]*[NCSL]| over nothing| over all| of each sample and channel| of each sample| of each of [24] shards)")

TOGETHER: dict[tuple[tuple[str, str], ...], Known] = {  # centre, divisor, scale, shift: those that deviate
    (("centre", "running mean"), ("divisor", "std^2 = running variance + eps")): Known(
        "running-statistics-in-training",
        "training normalises by the running statistics, not by the batch's",
        "The batch is not normalised, and gradients through the statistics are missing.",
    ),
    (("centre", "batch mean"), ("divisor", "std^2 = batch var + eps")): Known(
        "batch-statistics-in-inference", "inference normalises by the batch's own statistics, not by the running ones", BATCH
    ),
    (("centre", "0"), ("divisor", "std^2 = 1 + eps")): Known(
        "initial-statistics-in-inference", "inference uses mean 0 and variance 1, not the running statistics", FAR
    ),
    (("centre", "0"), ("divisor", "std^2 = 1")): Known(
        "initial-statistics-in-inference", "inference uses mean 0 and variance 1, not the running statistics", FAR
    ),
    (("scale", "beta"), ("shift", "gamma")): Known("gamma-beta-swapped", "gamma and beta are swapped", SCALE),
    (("centre", "0"), ("divisor", "std^2 = 1"), ("scale", "1"), ("shift", "0")): Known(
        "returns-input", "x is returned as it is", "Nothing is normalised."
    ),
    (("scale", "0"), ("shift", "0")): Known("returns-zeros", "zeros are returned", "Nothing is computed."),
    (("centre", "0"), ("divisor", "std^2 = 1"), ("scale", "0"), ("shift", "0")): Known(
        "returns-zeros", "zeros are returned", "Nothing is computed."
    ),
    (("scale", "gamma of the first channel"), ("shift", "beta of the first channel")): Known(
        "first-channel-for-all", "the first channel's gamma and beta serve all channels", SCALE
    ),
    (("centre", "mean of the shards' means"), ("divisor", "std^2 = mean of the shards' variances, counts aside + eps")): CENTRES[
        "mean of the shards' means"
    ],
}
MIXED_TRAINING = Known(
    "updated-statistics-in-training",
    "training normalises by the updated running statistics, not by the batch's",
    "The batch is not normalised: y mixes the batch with history.",
)
MIXED_INFERENCE = Known(
    "updated-statistics-in-inference",
    "inference moves the running statistics towards the batch first, and normalises by the result",
    BATCH,
)

WEIGHTS: dict[tuple[str, str], Known] = {  # of the old value and of the new one; o and n are the row's
    ("n", "o"): Known(
        "momentum-sense",
        "momentum weighs the other one: old and new value change places",
        "The running statistics follow too fast or too slowly; weights ported between frameworks need 1 - momentum.",
        "convention",
    ),
    ("1", "0"): Known("running-not-updated", "running statistics are not updated: they come back as they went in", FAR),
    ("0", "1"): Known("running-replaced", "running statistics are replaced by the batch's: momentum is ignored", FAR),
    ("o^2", "(1 - o^2)"): Known(
        "running-updated-twice",
        "running statistics are updated twice per step",
        "They follow almost twice as fast as asked (recomputed forwards do this).",
    ),
    ("o^3", "(1 - o^3)"): Known(
        "running-updated-thrice", "running statistics are updated three times per step", "They follow too fast."
    ),
    ("o", "1"): Known(
        "running-sum",
        "running statistics are sums, old weight times old plus batch, with the divisor left out",
        "What inference reads is too large by the accumulated count.",
    ),
    ("n", "1"): Known(
        "running-sum",
        "running statistics are sums, momentum times old plus batch, with the divisor left out",
        "What inference reads is too large by the accumulated count.",
    ),
    ("0.9", "0.1"): Known("momentum-fixed-0.1", "the new batch weighs 0.1, whatever momentum is passed", FAR),
    ("0.99", "0.01"): Known("momentum-fixed-0.01", "the new batch weighs 0.01, whatever momentum is passed", FAR),
}
ROUNDED = Known(
    "momentum-rounded-to-float32",
    "momentum, or 1 - momentum, is rounded to float32 before it weighs float64 statistics",
    "Running statistics in float64 have float32's accuracy: relative errors of 1e-8.",
    "numerics",
)
COUNT = "running-variance-correction-count"
WITH_EPS = Known("running-variance-with-eps", "eps is added to what is stored as running variance", "eps counts twice in inference.")
STD = Known("running-std", "running variance accumulates the standard deviation", "Inference divides by the root of a root.")
STD_AVERAGED = Known(
    "running-std-averaged",
    "standard deviations are averaged, not variances",
    "The stored variance is too small while the batches' variances differ.",
)
BIASED = Known(
    "running-variance-biased",
    "running variance is the biased one: it matches m, not m - 1",
    "Inference divides by a standard deviation too small by sqrt((m - 1)/m): 13 % at m = 4, 1.6 % at m = 32.",
    "convention",
)
UNBIASED = Known(
    "running-variance-unbiased",
    "running variance is the unbiased one: it matches m - 1, not m",
    "Inference divides by a standard deviation too large by sqrt(m/(m - 1)): 15 % at m = 4, 1.6 % at m = 32.",
    "convention",
)
STORED: dict[str, Known] = {  # what of the batch is stored as variance
    "1/sqrt(var + eps)": Known(
        "running-inverse-std", "running variance accumulates 1/sqrt(var + eps)", "Inference divides by the wrong thing altogether."
    ),
    **dict.fromkeys(("std", "sqrt(unbiased var)", "sqrt(var + eps)"), STD),
    **dict.fromkeys(("(std + eps)^2", "m/(m - 1) (std + eps)^2", "(sqrt(unbiased var) + eps)^2"), WITH_EPS),
    **{
        f"sum (x - mean)^2 / (m {sign} {k})": Known(COUNT, f"the correction divides by m {sign} {k}, not by m - 1", SMALL)
        for sign, k in (("+", "1"), ("-", "2"), ("-", "1.5"), ("-", "3"))
    },
    "sum (x - mean)^2 / m^2/(m + 1)": Known(COUNT, "the correction is (m + 1)/m, not m/(m - 1)", SMALL),
    "sum (x - mean)^2 / (m - 1 + eps/C)": Known(COUNT, "the correction divides by m - 1 + eps/C, not by m - 1", SMALL),
    "sum (x - mean)^2 / (m - 1)^2/m": Known(
        "running-variance-corrected-twice", "the correction m/(m - 1) is applied twice", "The stored variance is too large."
    ),
    "sum (x - mean)^2 / m^2/(m - 1)": Known(
        "running-variance-corrected-inversely",
        "the correction is (m - 1)/m instead of m/(m - 1)",
        "The stored variance is too small.",
    ),
    "sum (x - mean)^2 / m (N - 1)/N": Known(
        "running-variance-count-of-samples",
        "the correction uses the number of samples N, not of values per channel N*H*W",
        "The stored variance is too large wherever there are spatial axes.",
    ),
    "sum (x - mean)^2 / m (NCHW - 1)/NCHW": Known(
        "running-variance-count-of-all", "the correction counts all values of x, channels included", "The correction is too small."
    ),
    "var corrected by a shard's count": Known(
        "correction-by-own-shard",
        "m/(m - 1) is taken with a shard's own count, not with the count of the whole batch",
        "The stored variance depends on how the batch is split.",
    ),
    "sum (x - mean)^2": Known("running-variance-is-sum", "the sum of squares is stored, not the variance", FAR),
    "mean of x^2": Known("second-moment-as-variance", "the mean of x^2 is stored as variance", FAR),
}
MEANS: dict[str, Known] = {
    "sum x / (m - 1)": Known(
        "running-mean-corrected", "the running mean is multiplied by m/(m - 1) like the variance", "Inference subtracts too much."
    ),
    "sum x": Known("running-mean-is-sum", "the sum of the batch is stored, not its mean", FAR),
    "mean over all": ALL,
}
FURTHER: dict[str, Known] = {  # what else enters the stored variance
    "distance from the updated mean": Known(
        "running-variance-about-running-mean",
        "the batch's variance that is stored is taken about the updated running mean, not about the batch's own",
        "The stored variance is too large while the running mean is on its way.",
    ),
    "mixture": Known(
        "running-variance-of-mixture",
        "the running variance gains the spread between running mean and batch mean: a merge, not an average",
        "The stored variance is too large while means differ.",
    ),
    "eps": WITH_EPS,
}

GAMMAS: dict[str, Known] = {  # in dx
    "1": Known(
        "dx-gamma-missing",
        "gamma is missing in dx",
        "Gradients have the wrong size, or sign, in every layer below; with gamma = 1 nothing shows.",
    ),
    "|gamma|": Known("dx-gamma-absolute", "dx uses |gamma|", "The gradient has the wrong sign where gamma is negative."),
    "gamma^2": Known("gamma-squared", "gamma is applied twice", "Gradients have the wrong size, or sign, in every layer below."),
    "beta": Known("gamma-beta-swapped", "gamma and beta are swapped", SCALE),
    "(1 + gamma)": Known("gamma-plus-one", "the scale is 1 + gamma", SCALE),
}
INVERSES: dict[str, Known] = {  # in dx
    "/ std^2": Known("dx-std-twice", "1 / sqrt(var + eps) is applied twice in dx", BELOW),
    "": Known("dx-std-missing", "1 / sqrt(var + eps) is missing in dx", BELOW),
    "std": Known("dx-multiplies-std", "dx multiplies by the standard deviation where it should divide", BELOW),
    "var": Known(
        "saved-variance-used-as-inverse-std",
        "backward uses the variance where 1 / sqrt(var + eps) belongs",
        "Gradients have the wrong size wherever the variance is not 1.",
    ),
}
NOT_DIVIDED = "dx is far too large."
WRONG = "The gradient is wrong."
TERMS: dict[tuple[str, str, str], Known] = {  # in front of dy, of mean(dy), of x_hat mean(dy x_hat)
    ("1", "-1", "0"): Known(
        "dx-variance-term-missing", "no gradient flows through the variance: x_hat mean(dy x_hat) is missing in dx", FLOW
    ),
    ("1", "0", "-1"): Known("dx-mean-term-missing", "no gradient flows through the mean: mean(dy) is missing in dx", FLOW),
    ("1", "0", "0"): Known(
        "dx-statistics-constant",
        "dx treats the batch's statistics as constants: the frozen formula in training",
        "Training follows another loss; steps grow the activations.",
    ),
    ("1", "-m", "-1"): Known("dx-mean-term-not-divided", "the sum over dy in dx's mean term is not divided by m", NOT_DIVIDED),
    ("1", "-1", "-m"): Known("dx-variance-term-not-divided", "the sum over dy x_hat in dx is not divided by m", NOT_DIVIDED),
    ("1", "-m", "-m"): Known("dx-terms-not-divided", "neither sum in dx is divided by m", NOT_DIVIDED),
    ("1/m", "-1", "-1"): Known("dx-direct-term-divided", "the direct term of dx is divided by m as well", "dx is too small."),
    ("1/m", "-1/m", "-1/m"): Known("dx-divided-by-m", "dx is divided by m", "dx is too small by the batch."),
    ("m", "-m", "-m"): Known("dx-times-m", "dx is not divided by m: m times too large", "dx is too large by the batch."),
    ("1", "-1", "1"): Known("dx-variance-term-sign", "the variance term of dx has the wrong sign", WRONG),
    ("1", "1", "-1"): Known("dx-mean-term-sign", "the mean term of dx has the wrong sign", WRONG),
    ("-1", "1", "1"): Known("dx-sign", "dx has the wrong sign", "Descent ascends."),
    ("1", "-1", "-2"): Known(
        "dx-variance-term-factor", "the variance term of dx is twice too large: the 1/2 of the root's derivative is lost", WRONG
    ),
    ("1", "-1", "-0.5"): Known("dx-variance-term-factor", "the variance term of dx is half of what it should be", WRONG),
    ("1", "-1", "-m/(m - 1)"): Known(
        "dx-unbiased-variance-term", "the variance term of dx divides by m - 1", "The gradient is wrong for small batches."
    ),
    ("1", "-m/N", "-m/N"): Known(
        "dx-sums-divided-by-samples", "both sums in dx are divided by the number of samples N, not by m", NOT_DIVIDED
    ),
    ("1", "-1 over N", "-1 over N"): Known(
        "dx-means-over-samples", "both means in dx are taken over the batch axis alone, spatial axes are not averaged", WRONG
    ),
    ("1", "-1 by shards", "-1 by shards"): Known(
        "dx-shard-means-averaged",
        "the two means in dx are averages of the shards', whatever their sizes",
        "dx is wrong whenever shards differ in size.",
    ),
}
FROZEN_TERMS: dict[tuple[str, str, str], Known] = {
    ("1", "-1", "-1"): Known(
        "training-gradient-in-frozen",
        "the frozen backward lets gradients flow through the statistics, which are constants there",
        "Fine-tuning with frozen statistics follows the wrong gradient.",
    ),
    ("-1", "0", "0"): TERMS["-1", "1", "1"],
    ("1/m", "0", "0"): TERMS["1/m", "-1/m", "-1/m"],
}
UPSTREAM = Known("returns-upstream", "dy is returned as dx", "Nothing is computed.")
ZEROS = Known("returns-zeros", "zeros are returned", "Nothing is computed.")
SWAPPED = Known("parameter-gradients-swapped", "dgamma and dbeta change places", "gamma learns beta's gradient and beta gamma's.")
AVERAGES = Known(
    "parameter-gradients-averaged", "the parameters' gradients are means over the batch, not sums", "gamma and beta learn m times too slowly."
)
SIGN = Known("parameter-gradients-sign", "the parameters' gradients have the wrong sign", "Descent ascends.")
ONE_SAMPLE = {
    which: Known(
        "parameter-gradients-of-one-sample",
        f"the parameters' gradients are those of the {which} sample alone: overwritten, not accumulated",
        "gamma and beta learn from one sample of the batch.",
    )
    for which in ("first", "last")
}
PARAMETERS: dict[tuple[str, str], Known] = {  # dgamma or dbeta, as product in words
    ("dgamma", "sum dy"): SWAPPED,
    ("dbeta", "sum dy (x - mean) / std"): SWAPPED,
    ("dgamma", "0"): ZEROS,
    ("dbeta", "0"): ZEROS,
    ("dgamma", "sum dy (x - mean) 1/m / std"): AVERAGES,
    ("dbeta", "sum dy 1/m"): AVERAGES,
    ("dgamma", "-sum dy (x - mean) / std"): SIGN,
    ("dbeta", "-sum dy"): SIGN,
    ("dgamma", "sum dy (x - mean) std"): Known(
        "dgamma-multiplies-std",
        "dgamma multiplies by the standard deviation where it should divide",
        "gamma learns at a rate that grows with the variance.",
    ),
    ("dgamma", "sum dy (x - mean)"): Known(
        "dgamma-std-missing",
        "dgamma uses x - mean in place of x_hat",
        "gamma learns at a rate that grows with the standard deviation.",
    ),
    ("dgamma", "sum dy (x - mean) var"): INVERSES["var"],
    ("dgamma", "sum dy x"): Known("dgamma-uses-x", "dgamma uses x in place of x_hat", "gamma learns from the mean."),
    ("dgamma", "sum dy y"): Known("dgamma-uses-y", "dgamma uses y in place of x_hat", "gamma learns from beta."),
    ("dgamma", "sum dy (x - mean) gamma / std"): Known(
        "dgamma-times-gamma", "dgamma is multiplied by gamma", "gamma learns at the wrong rate."
    ),
    ("dgamma", "sum dy (x - mean) sign(gamma) / std"): SCALES["(|gamma| + eps)"],
    ("dbeta", "sum dy gamma"): Known("dbeta-times-gamma", "dbeta is multiplied by gamma", "beta learns at the wrong rate."),
    ("dgamma", "sum dy (x - running mean) / sqrt(running variance + eps)"): Known(
        "dgamma-from-running-statistics",
        "dgamma normalises x by the running statistics, not by the batch's",
        "gamma learns from another x_hat than the one that it scales.",
    ),
    ("dgamma", "sum dy (x - batch mean) / sqrt(batch variance + eps)"): Known(
        "dgamma-from-batch-statistics",
        "the frozen dgamma normalises x by the batch's statistics, not by the running ones",
        "gamma learns from another x_hat than the one that it scales.",
    ),
    **{("dgamma", f"sum dy (x - mean) of the {which} sample / std"): known for which, known in ONE_SAMPLE.items()},
    **{("dbeta", f"sum dy of the {which} sample"): known for which, known in ONE_SAMPLE.items()},
}
OTHER = {
    part: Known(f"other-{part.replace(' ', '-')}", f"{part} follows a formula that has no name here", "")
    for part in ("centre", "divisor", "scale", "shift", "running mean", "running variance", "dx", "dgamma", "dbeta")
}
WITHOUT_EPS = Known("backward-eps-missing", "backward uses 1 / sqrt(var), without eps", EPS)
LAST_AXIS = Known(
    "parameters-along-last-axis",
    "what is per channel is applied along the last axis, over and over, as if channels were last",
    "Wrong numbers in the right shape for x with spatial axes; nothing raises.",
)
JOINT = (  # both what momentum weighs and which variance is stored are another row's
    Known(
        "momentum-sense+running-variance-biased",
        "momentum weighs the other one, and the variance stored is the biased one",
        "Both: see momentum-sense and running-variance-biased.",
        "convention",
    ),
    Known(
        "momentum-sense+running-variance-unbiased",
        "momentum weighs the other one, and the variance stored is the unbiased one",
        "Both: see momentum-sense and running-variance-unbiased.",
        "convention",
    ),
)


def fixed_eps(value: str) -> Known:
    """Return what is said of an eps that is another whatever is passed.

    Examples
    --------
    >>> fixed_eps("1e-05").name, fixed_eps("2e-05").name
    ('eps-fixed-1e-5', 'eps-ignored')
    """
    short = re.sub("e-0", "e-", value)
    name = f"eps-fixed-{short}" if short in ("1e-5", "1e-3", "1e-8", "0.001") else "eps-ignored"
    name = name.replace("0.001", "1e-3")
    return Known(name, f"eps is fixed at {short}, whatever is passed", EPS)


def every() -> Iterator[tuple[Known, tuple[str, ...]]]:
    """Yield every known formula with the quantities that it is seen in first.

    Examples
    --------
    >>> sum(entry.name == "eps-missing" for entry, _ in every())
    1
    """
    maps, backward = ("y, training", "y, inference", "frozen y"), ("dx", "frozen dx")
    stored, gradients = ("running mean", "running variance"), ("dgamma", "dbeta")
    eps = [fixed_eps(value) for value in ("1e-05", "0.001", "1e-08", "2e-05")]
    for table in (DIVISORS, INFERENCE_DIVISORS, CENTRES, SCALES, SHIFTS, REGIONS, TOGETHER):
        yield from ((entry, maps) for entry in table.values())
    yield from ((entry, maps) for entry in (MIXED_TRAINING, MIXED_INFERENCE, LAST_AXIS, *eps))
    for table in (WEIGHTS, MEANS):
        yield from ((entry, stored) for entry in table.values())
    yield from ((entry, stored) for entry in (ROUNDED, *JOINT))
    for table in (STORED, FURTHER):
        yield from ((entry, stored[1:]) for entry in table.values())
    yield from ((entry, stored[1:]) for entry in (BIASED, UNBIASED, STD_AVERAGED))
    for table in (GAMMAS, INVERSES, TERMS):
        yield from ((entry, backward) for entry in table.values())
    yield from ((entry, backward[1:]) for entry in FROZEN_TERMS.values())
    yield from ((entry, backward) for entry in (UPSTREAM, WITHOUT_EPS))
    yield from ((entry, gradients) for entry in PARAMETERS.values())
    yield from ((entry, (part,)) for part, entry in OTHER.items())
