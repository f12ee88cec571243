"""Known formulas of running statistics: what momentum weighs, what of the batch is stored, and what else enters."""

from __future__ import annotations

from refnorm.oracle.measure.known import FAR, Known
from refnorm.oracle.measure.known_maps import ALL

SMALL = "The stored variance is wrong for small batches."
COUNT = "running-variance-correction-count"

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
    **dict.fromkeys(  # by either sense of momentum, and where it is a factor on sums
        (("n", "1"), ("a", "1")),
        Known(
            "running-sum",
            "running statistics are sums, momentum times old plus batch, with the divisor left out",
            "What inference reads is too large by the accumulated count.",
        ),
    ),
    **dict.fromkeys(
        (("(1 - a^2)", "a^2"), ("o", "a^2"), ("o", "(1 - a)^2"), ("(1 - (1 - a)^2)", "(1 - a)^2")),
        Known(
            "momentum-squared", "momentum is applied twice: the new batch weighs its square", "They follow too slowly."
        ),
    ),
    ("1", "n"): Known(
        "running-not-decayed",
        "the old value is not multiplied by its weight: the batch is added to all of it",
        "What inference reads grows with every batch.",
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
SENSES_DIFFER = Known(
    "momentum-senses-differ",
    "momentum weighs the old value of one running statistic, but the batch's of the other",
    "No momentum is right for both.",
)
CROSSED = Known(
    "running-statistics-crossed",
    "what belongs to one running statistic goes into the other",
    "Inference uses neither the mean nor the variance of what was seen.",
)
CROSSING = {"mean": {"running variance", "var"}, "variance": {"running mean", "mean"}}  # what belongs to the other
WITH_EPS = Known(
    "running-variance-with-eps", "eps is added to what is stored as running variance", "eps counts twice in inference."
)
STD = Known(
    "running-std",
    "running variance accumulates the standard deviation",
    "Inference that takes it for a variance divides by the root of a root.",
)
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
        "running-inverse-std",
        "running variance accumulates 1/sqrt(var + eps)",
        "Inference divides by the wrong thing altogether.",
    ),
    **dict.fromkeys(("std", "sqrt(unbiased var)", "sqrt(var + eps)"), STD),
    **dict.fromkeys(("(std + eps)^2", "m/(m - 1) (std + eps)^2", "(sqrt(unbiased var) + eps)^2"), WITH_EPS),
    **{
        f"sum (x - mean)^2 / (m {sign} {k})": Known(
            COUNT, f"the correction divides by m {sign} {k}, not by m - 1", SMALL
        )
        for sign, k in (("+", "1"), ("-", "2"), ("-", "1.5"), ("-", "3"))
    },
    "sum (x - mean)^2 / (m^2/(m + 1))": Known(COUNT, "the correction is (m + 1)/m, not m/(m - 1)", SMALL),
    "sum (x - mean)^2 / (m - 1 + eps/C)": Known(COUNT, "the correction divides by m - 1 + eps/C, not by m - 1", SMALL),
    "sum (x - mean)^2 / ((m - 1)^2/m)": Known(
        "running-variance-corrected-twice",
        "the correction m/(m - 1) is applied twice",
        "The stored variance is too large.",
    ),
    "sum (x - mean)^2 / (m^2/(m - 1))": Known(
        "running-variance-corrected-inversely",
        "the correction is (m - 1)/m instead of m/(m - 1)",
        "The stored variance is too small.",
    ),
    "sum (x - mean)^2 / (m (N - 1)/N)": Known(
        "running-variance-count-of-samples",
        "the correction uses the number of samples N, not of values per channel N*H*W",
        "The stored variance is too large wherever there are spatial axes.",
    ),
    "sum (x - mean)^2 / (m (NCHW - 1)/NCHW)": Known(
        "running-variance-count-of-all",
        "the correction counts all values of x, channels included",
        "The correction is too small.",
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
        "running-mean-corrected",
        "the running mean is multiplied by m/(m - 1) like the variance",
        "Inference subtracts too much.",
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
    "distance from the old mean": Known(
        "running-variance-about-old-mean",
        "the batch's variance that is stored is taken about the running mean that the batch met, not about its own",
        "The stored variance is too large while the running mean is on its way.",
    ),
    "mixture": Known(
        "running-variance-of-mixture",
        "the running variance gains the spread between running mean and batch mean: a merge, not an average",
        "The stored variance is too large while means differ.",
    ),
    "eps": WITH_EPS,
}

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
