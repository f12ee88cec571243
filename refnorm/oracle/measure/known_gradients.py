"""Known formulas of dx, dgamma and dbeta."""

from __future__ import annotations

from refnorm.oracle.measure.known import EPS, Known
from refnorm.oracle.measure.known_maps import SCALES
from refnorm.oracle.measure.terms import NEIGHBOURS

FLOW = "The gradient pushes along directions that cannot change y."
BELOW = "Gradients have the wrong size in every layer below."
WRONG = "The gradient is wrong."

GAMMAS: dict[str, Known] = {  # in dx
    "1": Known(
        "dx-gamma-missing",
        "gamma is missing in dx",
        "Gradients have the wrong size, or sign, in every layer below; with gamma = 1 nothing shows.",
    ),
    "|gamma|": Known(
        "dx-gamma-absolute", "dx uses |gamma|", "The gradient has the wrong sign where gamma is negative."
    ),
    "gamma^2": Known(
        "gamma-squared", "gamma is applied twice", "Gradients have the wrong size, or sign, in every layer below."
    ),
    "beta": Known("gamma-beta-swapped", "gamma and beta are swapped", BELOW),
    **{
        f"gamma of {words}": Known("gamma-of-another-channel", "the scale is the gamma of another channel", BELOW)
        for words in NEIGHBOURS
    },
    "(1 + gamma)": Known("gamma-plus-one", "the scale is 1 + gamma", BELOW),
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
TERMS: dict[tuple[str, str, str], Known] = {  # in front of dy, of mean(dy), of x_hat mean(dy x_hat)
    ("1", "-1", "0"): Known(
        "dx-variance-term-missing",
        "no gradient flows through the variance: x_hat mean(dy x_hat) is missing in dx",
        FLOW,
    ),
    ("1", "0", "-1"): Known(
        "dx-mean-term-missing", "no gradient flows through the mean: mean(dy) is missing in dx", FLOW
    ),
    ("1", "0", "0"): Known(
        "dx-statistics-constant",
        "dx treats the batch's statistics as constants: the frozen formula in training",
        "Training follows another loss; steps grow the activations.",
    ),
    ("1", "-m", "-1"): Known(
        "dx-mean-term-not-divided", "the sum over dy in dx's mean term is not divided by m", NOT_DIVIDED
    ),
    ("1", "-1", "-m"): Known(
        "dx-variance-term-not-divided", "the sum over dy x_hat in dx is not divided by m", NOT_DIVIDED
    ),
    ("1", "-m", "-m"): Known("dx-terms-not-divided", "neither sum in dx is divided by m", NOT_DIVIDED),
    ("1/m", "-1", "-1"): Known(
        "dx-direct-term-divided", "the direct term of dx is divided by m as well", "dx is too small."
    ),
    ("1/m", "-1/m", "-1/m"): Known("dx-divided-by-m", "dx is divided by m", "dx is too small by the batch."),
    ("m", "-m", "-m"): Known(
        "dx-times-m", "dx is not divided by m: m times too large", "dx is too large by the batch."
    ),
    ("1", "-1", "1"): Known("dx-variance-term-sign", "the variance term of dx has the wrong sign", WRONG),
    ("1", "1", "-1"): Known("dx-mean-term-sign", "the mean term of dx has the wrong sign", WRONG),
    ("-1", "1", "1"): Known("dx-sign", "dx has the wrong sign", "Descent ascends."),
    ("1", "-1", "-2"): Known(
        "dx-variance-term-factor",
        "the variance term of dx is twice too large: the 1/2 of the root's derivative is lost",
        WRONG,
    ),
    ("1", "-1", "-0.5"): Known(
        "dx-variance-term-factor", "the variance term of dx is half of what it should be", WRONG
    ),
    ("1", "-1", "-m/(m - 1)"): Known(
        "dx-unbiased-variance-term",
        "the variance term of dx divides by m - 1",
        "The gradient is wrong for small batches.",
    ),
    ("1", "-m/N", "-m/N"): Known(
        "dx-sums-divided-by-samples", "both sums in dx are divided by the number of samples N, not by m", NOT_DIVIDED
    ),
    ("1", "-1 over N", "-1 over N"): Known(
        "dx-means-over-samples",
        "both means in dx are taken over the batch axis alone, spatial axes are not averaged",
        WRONG,
    ),
    **dict.fromkeys(
        (("1", "-C/N over C", "-C/N over C"), ("1", "-1 over C", "-1 over C"), ("1", "-C over C", "-C over C")),
        Known(
            "dx-sums-over-channels",
            "the two sums in dx run over the channels, not over the values of a channel",
            "The gradient of each channel depends on those of all others.",
        ),
    ),
    ("1", "-1 by shards", "-1 by shards"): Known(
        "dx-shard-means-averaged",
        "the two means in dx are averages of the shards', whatever their sizes",
        "dx is wrong whenever shards differ in size.",
    ),
}
FROZEN_TERMS: dict[tuple[str, str, str], Known] = {
    **dict.fromkeys(
        (("1", "-1", "-1"), ("1", "-1", "0"), ("1", "0", "-1")),
        Known(
            "training-gradient-in-frozen",
            "the frozen backward lets gradients flow through the statistics, which are constants there",
            "Fine-tuning with frozen statistics follows the wrong gradient.",
        ),
    ),
    ("-1", "0", "0"): TERMS["-1", "1", "1"],
    ("1/m", "0", "0"): TERMS["1/m", "-1/m", "-1/m"],
}
UPSTREAM = Known("returns-upstream", "dy is returned as dx", "Nothing is computed.")
SOME_VALUES = Known(
    "gradient-sums-of-some-values",
    "a sum over dy leaves some of a channel's values out, or counts some twice",
    "Gradients are right wherever dy is 0 in the values concerned, and wrong elsewhere.",
)
UPDATED = Known(
    "backward-uses-updated-statistics",
    "the backward takes mean and variance from the running statistics, as the forward left them, not from the batch",
    "The gradient is that of no function: y was made of other statistics.",
)
STORED = Known(
    "backward-uses-running-statistics",
    "the backward takes mean and variance from the running statistics, as the forward met them, not from the batch",
    "The gradient is that of no function: y was made of other statistics.",
)
DECAYED = Known(
    "parameter-gradient-decayed",
    "a multiple of the parameter itself is added to its gradient, as weight decay does",
    "An optimiser that decays weights does it twice; one that does not does it all the same.",
)
ZEROS = Known("returns-zeros", "zeros are returned", "Nothing is computed.")
SWAPPED = Known(
    "parameter-gradients-swapped", "dgamma and dbeta change places", "gamma learns beta's gradient and beta gamma's."
)
AVERAGES = Known(
    "parameter-gradients-averaged",
    "the parameters' gradients are means over the batch, not sums",
    "gamma and beta learn m times too slowly.",
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
OVER_SPACE = Known(
    "parameter-gradient-averaged-over-space",
    "the gradient of a parameter is summed over samples, but averaged over positions",
    "It is too small by the number of positions in a sample, H W.",
)
PARAMETERS: dict[tuple[str, str], Known] = {  # dgamma or dbeta, as product in words
    ("dgamma", "sum dy"): SWAPPED,
    ("dbeta", "sum dy (x - mean) / std"): SWAPPED,
    ("dgamma", "0"): ZEROS,
    ("dbeta", "0"): ZEROS,
    ("dgamma", "sum dy (x - mean) 1/m / std"): AVERAGES,
    ("dbeta", "sum dy 1/m"): AVERAGES,
    ("dgamma", "sum dy (x - mean) N/m / std"): OVER_SPACE,
    ("dbeta", "sum dy N/m"): OVER_SPACE,
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
    ("dbeta", "sum dy gamma"): Known(
        "dbeta-times-gamma", "dbeta is multiplied by gamma", "beta learns at the wrong rate."
    ),
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
WITHOUT_EPS = Known("backward-eps-missing", "backward uses 1 / sqrt(var), without eps", EPS)
