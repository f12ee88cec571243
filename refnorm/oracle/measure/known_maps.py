"""Known formulas of y: its divisor, its centre, its scale and shift, and what its statistics are of."""

from __future__ import annotations

import re

from refnorm.oracle.measure.known import EPS, FAR, SCALE, Known
from refnorm.oracle.measure.terms import NEIGHBOURS

SHIFT = "Every output is shifted."
BATCH = "A prediction depends on what else is in the batch."
SHARDS = "The variance is too small whenever shards differ; y is too large."

AVERAGED = Known(
    "shard-variances-averaged",
    "the variance is the mean of the shards' variances: the spread of their means is lost",
    SHARDS,
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
    **dict.fromkeys(
        ("std^2 = var + float16(eps)", "std^2 = var + bfloat16(eps)"),
        Known(
            "eps-rounded-to-half",
            "eps is rounded to a format of 16 bits",
            "The smallest eps become 0, and a constant channel divides by zero. " + EPS,
        ),
    ),
    **dict.fromkeys(
        ("std^2 = (mean of |x - mean|)^2 + eps", "std = mean of |x - mean| + eps", "std = mean of |x - mean|"),
        Known("mean-deviation-as-std", "the mean of |x - mean| stands in the place of the standard deviation", SCALE),
    ),
    "std^2 = |var - eps|": Known("eps-subtracted", "eps is subtracted from the variance: 1 / sqrt(|var - eps|)", EPS),
    "std^2 = var - eps": Known("eps-subtracted", "eps is subtracted from the variance: 1 / sqrt(var - eps)", EPS),
    "std^2 = var + eps^2": Known("eps-squared", "eps is squared before it is added", EPS),
    "std^2 = var + (eps, and 1e-12 if it is small)": Known("eps-nudged", "1e-12 is added to a small eps", EPS),
    "std^2 = var + min(eps, 1)": Known("eps-capped", "eps above 1 is cut down to 1", EPS),
    "std^2 = var + (eps, or 1e-5 if it is 0)": Known(
        "eps-zero-replaced",
        "eps = 0 is taken for unset and replaced by 1e-5",
        "A caller who sets eps = 0 is not heard.",
    ),
    "std = var + eps": Known("root-missing", "the root is missing: 1 / (var + eps)", SCALE),
    "std = var": Known("root-missing", "the root is missing, and eps: 1 / var", SCALE),
    "std^(1/2) = var + eps": Known(
        "square-instead-of-root", "the square is taken instead of the root: 1 / (var + eps)^2", SCALE
    ),
    **dict.fromkeys(
        ("1/std^2 = var + eps", "1/std = sqrt(var + eps)"),
        Known("multiplied-by-std", "x - mean is multiplied by the standard deviation instead of divided", SCALE),
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
SOME_VALUES = Known(
    "statistics-of-some-values",
    "mean and variance are taken of some of a channel's values, or count some of them twice",
    "What is left out does not move the statistics: y of the rest is shifted and scaled.",
)
OTHER_CHANNELS = Known(
    "statistics-of-other-channels",
    "a channel's mean and variance are taken of other channels, too, or of others instead",
    "Channels are normalised by what is not theirs.",
)
TAKEN_FOR_STD = Known(
    "running-variance-taken-for-std",
    "inference divides by the running variance, as if it were a standard deviation",
    FAR,
)
INFERENCE_DIVISORS = dict.fromkeys(
    ("std = var + eps", "std = var", "std^2 = var^2 + eps", "std^2 = var^2"), TAKEN_FOR_STD
)
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
    "|gamma|": Known(
        "gamma-absolute", "the scale is |gamma|", "Channels with negative gamma come out with the wrong sign."
    ),
    "(|gamma| + eps)": Known(
        "gamma-absolute-plus-eps",
        "the scale is |gamma| + eps",
        "Channels with negative gamma come out with the wrong sign.",
    ),
    "max(gamma, 0)": Known("gamma-clipped", "negative gamma is clipped to 0", "Channels with negative gamma are dead."),
    "gamma of the first channel": Known(
        "first-channel-for-all", "the first channel's gamma serves all channels", SCALE
    ),
    **{
        f"gamma of {words}": Known("gamma-of-another-channel", "the scale is the gamma of another channel", SCALE)
        for words in NEIGHBOURS
    },
    "gamma + 1": Known("gamma-plus-one", "the scale is 1 + gamma", SCALE),
    "1": Known("gamma-ignored", "gamma is ignored, or fixed at 1", SCALE),
    "(1 + gamma)": Known("gamma-plus-one", "the scale is 1 + gamma", SCALE),
    "gamma^2": Known("gamma-squared", "gamma is applied twice", SCALE),
    "-gamma": Known("gamma-sign", "the scale is -gamma", "Every output has the wrong sign."),
}
SHIFTS: dict[str, Known] = {
    "0": Known("beta-ignored", "beta is ignored, or fixed at 0", SHIFT),
    "-beta": Known("beta-subtracted", "beta is subtracted", SHIFT),
    **{
        f"beta of {words}": Known("beta-of-another-channel", "the shift is the beta of another channel", SHIFT)
        for words in NEIGHBOURS
    },
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
    **dict.fromkeys(
        (" of each of 2 shards", " of each of 4 shards"),
        Known(
            "shards-apart",
            "each shard of the batch is normalised by its own statistics",
            "Small shards have noisy statistics.",
        ),
    ),
}
REGION = re.compile(
    " over [NCSL ]*[NCSL]| over nothing| over all| of each sample and channel| of each sample| of each of [24] shards"
)

TOGETHER: dict[tuple[tuple[str, str], ...], Known] = {  # centre, divisor, scale, shift: those that deviate
    (("centre", "running mean"), ("divisor", "std^2 = running variance + eps")): Known(
        "running-statistics-in-training",
        "training normalises by the running statistics, not by the batch's",
        "The batch is not normalised, and gradients through the statistics are missing.",
    ),
    (("centre", "batch mean"), ("divisor", "std^2 = batch var + eps")): Known(
        "batch-statistics-in-inference",
        "inference normalises by the batch's own statistics, not by the running ones",
        BATCH,
    ),
    **dict.fromkeys(
        ((("centre", "0"), ("divisor", f"std^2 = 1{eps}")) for eps in (" + eps", "")),
        Known(
            "initial-statistics-in-inference", "inference uses mean 0 and variance 1, not the running statistics", FAR
        ),
    ),
    (("scale", "beta"), ("shift", "gamma")): Known("gamma-beta-swapped", "gamma and beta are swapped", SCALE),
    (("centre", "0"), ("divisor", "std^2 = 1"), ("scale", "1"), ("shift", "0")): Known(
        "returns-input", "x is returned as it is", "Nothing is normalised."
    ),
    (("scale", "0"), ("shift", "0")): Known("returns-zeros", "zeros are returned", "Nothing is computed."),
    (("scale", "gamma of the first channel"), ("shift", "beta of the first channel")): Known(
        "first-channel-for-all", "the first channel's gamma and beta serve all channels", SCALE
    ),
    (
        ("centre", "mean of the shards' means"),
        ("divisor", "std^2 = mean of the shards' variances, counts aside + eps"),
    ): CENTRES["mean of the shards' means"],
}
OTHER_KIND = (  # in inference, in training
    TOGETHER[("centre", "batch mean"), ("divisor", "std^2 = batch var + eps")],
    TOGETHER[("centre", "running mean"), ("divisor", "std^2 = running variance + eps")],
)
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

FLATTENED = Known(
    "maps-flattened-across-channels",
    "x of shape (N, C, ...) is reshaped to (-1, C) with its channels still on axis 1: values of all channels mix",
    "Channels are normalised by each other's values; move the channels last before, and back afterwards.",
)
LAST_AXIS = Known(
    "parameters-along-last-axis",
    "what is per channel is applied along the last axis, over and over, as if channels were last",
    "Wrong numbers in the right shape for x with spatial axes; nothing raises.",
)
