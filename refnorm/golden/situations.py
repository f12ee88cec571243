"""The situations that inform: what each case is there for, and how its inputs differ from the ordinary ones."""

from __future__ import annotations

from dataclasses import dataclass

ALL = ("float64", "float32", "float16", "bfloat16")
USUAL = ALL[:3]
WIDE = ("float64", "float32")
TRAINING = ("training", "backward", "running")
INFERENCE = ("inference", "frozen")
SECOND_ORDER = ("jvp", "double_backward")
FROZEN_SECOND_ORDER = ("frozen_jvp", "frozen_double_backward")
MASKED = ("masked_training", "masked_backward")
SHARDED = ("sharded_training", "sharded_backward")
NORMALISING = ("training", "backward", "inference", "frozen")  # what eps, gamma and beta have a part in
EVERY = (*TRAINING, *INFERENCE, *SECOND_ORDER, *FROZEN_SECOND_ORDER)


@dataclass(frozen=True)
class Situation:
    """Inputs chosen so that a mistake shows.

    Attributes
    ----------
    name, why : what the case is called, and the mistake that it shows.
    shape : of x; channels on axis 1.
    spread, centre : x is spread * (its channel's ordinary values) + centre, rounded to the format.
    eps, momentum : the step's numbers, float32-representable.
    gamma : "signed", "positive", "tiny" (near 0), "huge", "zero" (one channel 0), "all-zero" or "absent".
    beta : "ordinary", "large", "huge" or "absent".
    running : "far" from (0, 1), "initial": exactly (0, 1), "small": variances near eps, "huge", or "dead": one
        variance 0.
    steps : batches in a row.
    layout : memory layout of the arrays, see `refnorm.golden.inputs.arranged`.
    formats : formats of x that it makes sense in.
    parameters : format of gamma, beta and running statistics where it is not that of x.
    content : "ordinary", "constant", "outlier", "integers", "nan" or "inf" (in one value of channel 0 of x),
        "nan-upstream" (of dy), or "drift" (each shard about a mean of its own).
    mask : which values count, see `refnorm.golden.portions.mask_of`; "" for all.
    padding : what stands where the mask is False: "large" values, "zero" or "nan".
    shards : how many samples each worker has, in this order; () for one who has all.
    operations : the operations of the golden set that it tells something about; of second order only a choice.
    """

    name: str
    why: str
    shape: tuple[int, ...]
    spread: float = 1.0
    centre: float = 0.0
    eps: float = 2.0**-10
    momentum: float = 0.25
    gamma: str = "signed"
    beta: str = "ordinary"
    running: str = "far"
    steps: int = 1
    layout: str = "ordinary"
    formats: tuple[str, ...] = USUAL
    parameters: str = ""
    content: str = "ordinary"
    mask: str = ""
    padding: str = "large"
    shards: tuple[int, ...] = ()
    operations: tuple[str, ...] = (*TRAINING, *INFERENCE)


def _large_mean() -> list[Situation]:
    """Return means of growing size in each format, in several ranks."""
    why = "E[x^2] - E[x]^2 cancels when mean/std is large: the variance is noise, and y with it"
    by_format = {"float64": (2.0**6, 2.0**13, 2.0**20), "float32": (2.0**6, 2.0**10, 2.0**14, 2.0**20)}
    by_format |= {"float16": (2.0**4, 2.0**7), "bfloat16": (2.0**3, 2.0**5)}
    return [
        Situation(
            "large-mean",
            why,
            shape,
            centre=centre,
            formats=(kind,),
            eps=2.0**-17 if kind in WIDE else 2.0**-10,
            running="initial" if shape == (2, 3, 4) else "far",
            operations=(*TRAINING, *INFERENCE, *(SECOND_ORDER if shape == (5, 3) else ())),
        )
        for kind, centres in by_format.items()
        for centre, shape in zip(centres, ((5, 3), (2, 3, 4), (3, 2, 2, 4), (6, 2)), strict=False)
    ]


SITUATIONS: tuple[Situation, ...] = (
    Situation(
        "two-values",
        "m = 2: biased and unbiased variance differ by 2, and x_hat is +-1 whatever the data",
        (2, 3),
        formats=ALL,
        operations=(*TRAINING, *INFERENCE, *SECOND_ORDER),
    ),
    Situation(
        "three-values", "m = 3: biased and unbiased variance differ by 1.5", (3, 2), formats=ALL, operations=TRAINING
    ),
    Situation("rank-2", "the plain fully connected layout", (7, 3)),
    Situation(
        "rank-3",
        "a length axis that is not averaged over, or averaged over alone",
        (2, 3, 4),
        formats=ALL,
        operations=EVERY,
    ),
    Situation(
        "rank-4",
        "images: statistics go over N, H and W, and every axis has its own size",
        (2, 3, 4, 5),
        formats=("float64",),
    ),
    Situation(
        "rank-4", "images: statistics go over N, H and W", (3, 2, 2, 4), formats=("float32", "float16", "bfloat16")
    ),
    Situation(
        "rank-5",
        "volumes: statistics go over N, D, H and W, and every axis has its own size",
        (2, 3, 4, 5, 6),
        operations=("training", "backward", "inference"),
    ),
    Situation(
        "square",
        "all axes of one size: a transposed reduction keeps the shape and changes the numbers",
        (3, 3, 3),
        formats=WIDE,
        operations=TRAINING,
    ),
    Situation(
        "one-sample",
        "batch size 1 with spatial axes is an ordinary batch of H*W values",
        (1, 3, 2, 4),
        operations=(*TRAINING, "inference"),
    ),
    Situation(
        "one-channel",
        "a single channel: statistics of shape (1,) broadcast by accident",
        (6, 1),
        formats=WIDE,
        operations=(*TRAINING, *INFERENCE, "double_backward"),
    ),
    Situation(
        "many-channels",
        "more channels than values: a reduction over the wrong axis goes unnoticed in square data",
        (3, 67),
    ),
    Situation(
        "odd-split",
        "a batch that does not split evenly: shards must be weighted by their counts",
        (5, 2, 3),
        formats=WIDE,
        operations=TRAINING,
    ),
    Situation(
        "variance-near-eps",
        "eps outside the root, twice, clamped or missing shows only when var is close to it",
        (4, 3, 2),
        spread=2.0**-8,
        eps=2.0**-17,
        formats=WIDE,
        running="small",
        operations=(*NORMALISING, "double_backward", "frozen_double_backward"),
    ),
    Situation(
        "variance-near-eps",
        "eps outside the root, twice, clamped or missing shows only when var is close to it",
        (4, 3, 2),
        spread=2.0**-4,
        eps=2.0**-8,
        formats=("float16", "bfloat16"),
        running="small",
        operations=NORMALISING,
    ),
    Situation(
        "default-eps",
        "eps = 1e-5, the value that most code hard-codes, beside a small variance",
        (5, 3),
        spread=2.0**-7,
        eps=9.999999747378752e-06,
        formats=WIDE,
        running="small",
        operations=NORMALISING,
    ),
    Situation(
        "small-eps",
        "eps below the minimum of old cuDNN (1e-5) is silently raised by some libraries",
        (5, 3),
        spread=2.0**-9,
        eps=2.0**-22,
        formats=WIDE,
        running="small",
        operations=NORMALISING,
    ),
    Situation(
        "tiny-eps",
        "eps = 1e-12 beside a variance of the same size",
        (4, 2, 3),
        spread=2.0**-19,
        eps=9.999999960041972e-13,
        formats=WIDE,
        running="small",
        operations=NORMALISING,
    ),
    Situation(
        "large-eps",
        "eps as large as the variance: no approximation that drops it survives",
        (4, 3),
        eps=0.5,
        formats=ALL,
        operations=NORMALISING,
    ),
    Situation(
        "huge-eps",
        "eps far above the variance: y is nearly (x - mean) / sqrt(eps)",
        (4, 3),
        eps=64.0,
        formats=WIDE,
        operations=NORMALISING,
    ),
    Situation(
        "zero-eps",
        "eps = 0 is a value like any other while the variance is positive",
        (4, 3),
        eps=0.0,
        formats=WIDE,
        operations=NORMALISING,
    ),
    Situation(
        "gamma-positive",
        "the ordinary case that every test has",
        (4, 3, 2),
        gamma="positive",
        formats=WIDE,
        operations=TRAINING,
    ),
    Situation(
        "double-attributes",
        "eps = 1e-5 and momentum = 0.1 in full: a path through float32 attributes changes both by 1e-8",
        (4, 3, 2),
        spread=2.0**-8,
        eps=1e-5,
        momentum=0.1,
        formats=("float64",),
        running="small",
    ),
    Situation(
        "gamma-all-zero",
        "gamma = 0 in every channel, as residual blocks start: it is not absent, and not 1",
        (4, 3),
        gamma="all-zero",
        formats=WIDE,
        operations=NORMALISING,
    ),
    Situation(
        "gamma-zero",
        "gamma = 0 in one channel: dx is 0 there and dgamma is not",
        (4, 3),
        gamma="zero",
        formats=ALL,
        operations=(*NORMALISING, *SECOND_ORDER, *FROZEN_SECOND_ORDER),
    ),
    Situation(
        "gamma-tiny",
        "x_hat recovered from y as (y - beta) / gamma loses everything when gamma is small",
        (5, 3),
        gamma="tiny",
        beta="large",
        operations=NORMALISING,
    ),
    Situation(
        "gamma-absent",
        "gamma = None with beta present",
        (4, 3, 2),
        gamma="absent",
        formats=ALL,
        operations=(*NORMALISING, *SECOND_ORDER),
    ),
    Situation("beta-absent", "beta = None with gamma present", (4, 3, 2), beta="absent", operations=NORMALISING),
    Situation(
        "affine-absent",
        "gamma = beta = None: a crash, or running statistics that are not updated",
        (4, 3, 2),
        gamma="absent",
        beta="absent",
    ),
    Situation(
        "affine-absent",
        "gamma = beta = None: a crash, or running statistics that are not updated",
        (7, 3),
        gamma="absent",
        beta="absent",
        operations=(*TRAINING, *INFERENCE, "double_backward"),
    ),
    Situation(
        "initial-statistics",
        "running statistics exactly (0, 1): the state that inference must not be stuck in",
        (5, 3),
        running="initial",
        formats=WIDE,
        operations=("running", "inference"),
    ),
    Situation(
        "momentum-zero",
        "momentum = 0: one of old and new value is ignored entirely",
        (4, 3),
        momentum=0.0,
        formats=WIDE,
        operations=("running",),
    ),
    Situation(
        "momentum-one", "momentum = 1: the other is", (4, 3), momentum=1.0, formats=WIDE, operations=("running",)
    ),
    Situation(
        "momentum-tenth",
        "momentum = 0.1, the usual default",
        (4, 3),
        momentum=0.10000000149011612,
        formats=ALL,
        operations=("running",),
    ),
    Situation(
        "several-steps",
        "four batches in a row: updates applied twice, forgotten or to the wrong array add up",
        (4, 3),
        steps=4,
        operations=TRAINING,
    ),
    Situation(
        "several-steps",
        "three batches in a row with spatial axes",
        (2, 2, 3),
        steps=3,
        momentum=0.0999755859375,
        operations=TRAINING,
    ),
    Situation(
        "mixed-precision",
        "float16 data with float32 parameters and statistics: parameters must not be rounded to half",
        (4, 3, 2),
        formats=("float16", "bfloat16"),
        parameters="float32",
    ),
    Situation(
        "mixed-precision",
        "float16 data with float32 parameters: running statistics far from what half can hold finely",
        (5, 2),
        formats=("float16", "bfloat16"),
        parameters="float32",
        centre=8.0,
        gamma="positive",
        operations=EVERY,
    ),
    Situation(
        "half-overflow",
        "values whose squares exceed 65504: statistics kept in half overflow to inf",
        (5, 3),
        spread=512.0,
        formats=("float16",),
        parameters="float32",
    ),
    Situation("fortran-order", "the first index runs fastest in memory", (3, 2, 4), layout="fortran"),
    Situation("channels-last", "an NCHW view of NHWC memory", (2, 3, 4, 2), layout="channels-last"),
    Situation(
        "sliced",
        "every second value of a larger buffer, from the second on; what lies before and between is not data",
        (4, 3, 5),
        layout="sliced",
    ),
    Situation("reversed", "negative strides", (4, 3, 3), layout="reversed"),
    Situation(
        "broadcast",
        "stride 0: one sample seen N times, and an upstream gradient likewise",
        (4, 3, 5),
        layout="broadcast",
    ),
    Situation("read-only", "arrays that cannot be written to", (4, 3), layout="read-only"),
    Situation(
        "shared-memory",
        "gamma is the running variance and beta the running mean, the same arrays",
        (4, 3),
        layout="shared",
    ),
    Situation(
        "outlier",
        "one value far out: max |x_hat| close to sqrt(m - 1), its bound: it is 10.5 here",
        (131, 2),
        content="outlier",
    ),
    Situation(
        "constant-channel",
        "a constant channel: variance 0, y = beta up to rounding, dx of order 1/sqrt(eps)",
        (5, 3),
        content="constant",
        formats=ALL,
        operations=(*TRAINING, *INFERENCE, *SECOND_ORDER),
    ),
    *_large_mean(),
    *(
        Situation(
            "large-values",
            "values whose squares, or cubes in the gradient's chain, come close to overflow",
            (3, 2),
            spread=spread,
            formats=formats,
            operations=TRAINING,
        )
        for spread, formats in (
            (2.0**500, ("float64",)),
            (2.0**320, ("float64",)),
            (2.0**60, ("float32", "bfloat16")),
            (2.0**38, ("float32", "bfloat16")),
            (16.0, ("float16",)),
        )
    ),
    Situation(
        "subnormal-values",
        "subnormal x: flushed to 0 by some hardware modes",
        (4, 2),
        spread=2.0**-1060,
        formats=("float64",),
    ),
    Situation(
        "subnormal-values",
        "subnormal x: flushed to 0 by some hardware modes",
        (4, 2),
        spread=2.0**-135,
        formats=("float32", "bfloat16"),
    ),
    Situation(
        "subnormal-values",
        "subnormal x: flushed to 0 by some hardware modes",
        (4, 2),
        spread=2.0**-16,
        formats=("float16",),
    ),
    Situation("many-samples", "more samples than a kernel's tile: reductions that stop early", (1031, 2), formats=WIDE),
    Situation(
        "large-image",
        "more positions than a kernel's tile, in float64, where the bound leaves no room for what is left out",
        (2, 2, 66, 66),
        content="integers",
        formats=("float64",),
        operations=TRAINING,
    ),
    Situation(
        "large-count",
        "2^17 values per channel, built so that every sum is exact in any order",
        (2, 2, 256, 256),
        content="integers",
        formats=("float32",),
    ),
    Situation(
        "large-count",
        "66,000 values per channel in half: a count kept in half is inf",
        (66, 2, 40, 25),
        content="integers",
        formats=("float16",),
    ),
    Situation(
        "nan-upstream",
        "NaN in one value of dy: a loss scaler must see it in the gradients of its channel",
        (4, 3, 2),
        content="nan-upstream",
        formats=ALL,
    ),
    Situation(
        "nan", "NaN in one value: it must stay in its channel and be seen there", (4, 3, 2), content="nan", formats=ALL
    ),
    Situation(
        "inf", "inf in one value: it must stay in its channel and be seen there", (4, 3, 2), content="inf", formats=ALL
    ),
    Situation(
        "one-value", "one value per channel: variance 0, and m/(m - 1) is 1/0", (1, 3), operations=TRAINING, formats=ALL
    ),
    Situation(
        "one-value", "one value per channel with spatial axes of size 1", (1, 3, 1, 1), operations=TRAINING, formats=ALL
    ),
    Situation("empty-batch", "no values at all: the mean is 0/0", (0, 3), operations=TRAINING, formats=ALL),
    Situation("empty-batch", "no values at all, with spatial axes", (0, 3, 2, 2), operations=TRAINING, formats=ALL),
    Situation(
        "unit-spatial", "spatial axes of size 1 are squeezed away, or taken for none", (3, 2, 1, 1), formats=WIDE
    ),
    Situation(
        "one-row",
        "inference of a single value per channel is ordinary: nothing is averaged",
        (1, 3),
        formats=WIDE,
        operations=(*INFERENCE, *FROZEN_SECOND_ORDER),
    ),
    Situation(
        "dead-channel",
        "a running variance of 0, that of a channel that was constant: eps alone is under the root",
        (4, 3),
        formats=WIDE,
        running="dead",
        operations=(*INFERENCE, *FROZEN_SECOND_ORDER),
    ),
    Situation("many-channels", "more channels than a tile of 256", (3, 259), formats=("float32",)),
    Situation(
        "huge-parameters",
        "gamma and beta in the thousands: what clips or decays weights on the way shows",
        (4, 3),
        gamma="huge",
        beta="huge",
        formats=("float32",),
        operations=NORMALISING,
    ),
    Situation(
        "huge-running-variance",
        "running variances of a million: what bounds them, or 1 / sqrt(var + eps) from below, shows",
        (4, 3),
        running="huge",
        formats=("float32",),
        operations=("running", *INFERENCE),
    ),
    Situation(
        "momentum-small",
        "momentum = 2^-10, of an average over a thousand batches: it must not be taken for 0, or raised",
        (4, 3),
        momentum=2.0**-10,
        formats=("float32",),
        operations=("running",),
    ),
    Situation(
        "padding",
        "sequences of three lengths, and large values behind their ends: what is padded enters the mean or the count",
        (3, 2, 4),
        mask="lengths",
        formats=ALL,
        operations=MASKED,
    ),
    Situation(
        "padded-batch",
        "zeros fill up the batch: they count, or a mask of one entry a sample is counted without its positions",
        (4, 3, 2),
        mask="samples",
        padding="zero",
        formats=ALL,
        operations=MASKED,
    ),
    Situation(
        "counts-differ",
        "channels keep 8, 5 and 2 values: one count for all of them is wrong for some",
        (4, 3, 2),
        mask="channels",
        formats=ALL,
        operations=MASKED,
    ),
    Situation(
        "padding-nan",
        "NaN and inf behind the ends of sequences: what multiplies by the mask, in place of selecting, is NaN",
        (3, 2, 4),
        mask="lengths",
        padding="nan",
        formats=ALL,
        operations=MASKED,
    ),
    Situation(
        "shards-even",
        "two workers with as much each: statistics or gradients that stay at home",
        (4, 3, 2),
        shards=(2, 2),
        formats=WIDE,
        operations=SHARDED,
    ),
    Situation(
        "shards-uneven",
        "workers with 1 and 4 samples: an average over workers weighs them alike",
        (5, 3),
        shards=(1, 4),
        formats=ALL,
        operations=SHARDED,
    ),
    Situation(
        "shards-uneven",
        "a last worker that is left with 3 of 131 samples",
        (131, 2),
        shards=(64, 64, 3),
        formats=WIDE,
        operations=SHARDED,
    ),
    Situation(
        "shards-far-apart",
        "workers whose means differ: an average of variances lacks the spread of the means",
        (6, 2),
        shards=(3, 3),
        content="drift",
        formats=ALL,
        operations=SHARDED,
    ),
    Situation(
        "shard-empty",
        "a worker without a sample: its mean is 0/0, and must not reach the others",
        (5, 2, 2),
        shards=(3, 0, 2),
        formats=ALL,
        operations=SHARDED,
    ),
    Situation(
        "shards-of-one",
        "one value a worker: all of the variance is between workers, and a correction at home divides by 0",
        (4, 3),
        shards=(1, 1, 1, 1),
        formats=ALL,
        operations=SHARDED,
    ),
    *(
        Situation(
            "shards-large-mean",
            "sums of squares that are exchanged cancel when mean/std is large",
            (6, 2),
            centre=centre,
            shards=(4, 2),
            formats=(kind,),
            eps=2.0**-17,
            operations=SHARDED,
        )
        for kind, centre in (("float64", 2.0**20), ("float32", 2.0**10))
    ),
)
