"""What each flag of the golden set means: what happens to you if you have the bug it shows, and where it was real."""

from __future__ import annotations

from typing import NamedTuple


class Flag(NamedTuple):
    """The effect of the bug that a situation shows (the bug is the situation's ``why``), and where it was real."""

    effect: str
    links: tuple[str, ...] = ()


PAPER = "https://arxiv.org/abs/1502.03167"


def _issue(repository: str, number: int) -> str:
    return f"https://github.com/{repository}/issues/{number}"


FLAGS: dict[str, Flag] = {
    "two-values": Flag("The stored variance is off by a factor 2.", (_issue("apache/mxnet", 18673), PAPER)),
    "three-values": Flag("The stored variance is off by a factor 1.5.", (_issue("FluxML/Flux.jl", 314), PAPER)),
    "rank-2": Flag("Nothing works."),
    "rank-3": Flag("Each position is normalised on its own.", (_issue("wavefrontshaping/complexPyTorch", 20),)),
    "rank-4": Flag("Channels are mixed, or positions kept apart.", (_issue("openvinotoolkit/openvino", 7679),)),
    "rank-5": Flag("Volumes are normalised over too few axes."),
    "square": Flag(
        "The wrong numbers in the right shape: nothing raises.", (_issue("openvinotoolkit/openvino", 7679),)
    ),
    "one-sample": Flag("Fine-tuning at batch size 1 is refused, or turns into instance normalization."),
    "one-channel": Flag("Statistics of the only channel are taken for scalars, or squeezed away."),
    "many-channels": Flag("Channels beyond a tile get another channel's statistics."),
    "odd-split": Flag(
        "Replicas drift apart on uneven batches.",
        (_issue("pytorch/pytorch", 36382), _issue("pytorch/pytorch", 22192), _issue("tensorflow/tpu", 321)),
    ),
    "variance-near-eps": Flag(
        "Dead or quiet channels come out with another scale than elsewhere.",
        (_issue("keras-team/keras", 10427), _issue("vacancy/Synchronized-BatchNorm-PyTorch", 38)),
    ),
    "default-eps": Flag("eps is what the library thinks, not what the caller says.", (_issue("pytorch/vision", 1947),)),
    "small-eps": Flag("A model with a small eps gives other results here.", (_issue("tensorflow/tensorflow", 37768),)),
    "tiny-eps": Flag("eps is nudged or rounded to 0.", (_issue("tensorflow/tensorflow", 8090),)),
    "large-eps": Flag("Every output has another scale.", (_issue("keras-team/keras", 10427),)),
    "huge-eps": Flag("Every output has another scale."),
    "zero-eps": Flag("eps = 0 is taken for unset, and the default is used instead."),
    "gamma-positive": Flag("Nothing works."),
    "double-attributes": Flag("float64 models lose half their digits where the variance is small."),
    "gamma-all-zero": Flag("Zero-initialised residual branches are switched on."),
    "gamma-zero": Flag("A channel is revived, or its gamma can never learn."),
    "gamma-tiny": Flag("Gradients of quiet channels are noise.", (_issue("mapillary/inplace_abn", 92),)),
    "gamma-absent": Flag("A crash, or beta is dropped with gamma.", (_issue("intel/ipex-llm", 2012),)),
    "beta-absent": Flag("A crash, or gamma is dropped with beta.", (_issue("intel/ipex-llm", 2012),)),
    "affine-absent": Flag("A crash, or inference with statistics that never moved.", (_issue("apache/mxnet", 18673),)),
    "initial-statistics": Flag("Inference ignores what training stored.", (_issue("LaurentMazare/tch-rs", 628),)),
    "momentum-zero": Flag("Momentum 0 is taken for unset, or for its opposite."),
    "momentum-one": Flag("Momentum 1 is taken for unset, or for its opposite."),
    "momentum-tenth": Flag("Statistics follow nine times too fast.", (_issue("d2l-ai/d2l-en", 2213),)),
    "several-steps": Flag(
        "Running statistics follow too fast, too slowly, or not at all.",
        (_issue("pytorch/pytorch", 96136), _issue("BVLC/caffe", 4885)),
    ),
    "mixed-precision": Flag("Half the digits of the statistics are lost.", (_issue("apple/coreai-torch", 54),)),
    "half-overflow": Flag("Statistics become inf and outputs 0.", (_issue("pytorch/pytorch", 70901),)),
    "outlier": Flag("Values that are clipped on the way, or statistics that an outlier swamps."),
    "constant-channel": Flag("A dead channel gives NaN, or amplified rounding noise."),
    "large-mean": Flag(
        "Un-centred inputs (raw images, timestamps) give noise instead of a variance.",
        (_issue("keras-team/keras", 18795),),
    ),
    "large-values": Flag("Large activations overflow although results are of order 1."),
    "subnormal-values": Flag("Tiny activations are lost."),
    "many-samples": Flag("Large batches get gradients of a part of them.", (_issue("ROCm/MIOpen", 1109),)),
    "large-image": Flag("Large images are normalised by a part of them."),
    "large-count": Flag("Large batches in half precision have mean 0.", (_issue("pytorch/pytorch", 70901),)),
    "nan-upstream": Flag("A loss scaler does not see the overflow and the step is taken."),
    "nan": Flag("A broken sample goes unnoticed, or breaks all channels."),
    "inf": Flag("A broken sample goes unnoticed, or breaks all channels."),
    "one-value": Flag(
        "A meaningless variance is stored and every later inference uses it.",
        (_issue("tensorflow/tensorflow", 34062), _issue("PaddlePaddle/Paddle", 14630), _issue("pytorch/pytorch", 1381)),
    ),
    "empty-batch": Flag("Running statistics are NaN from there on."),
    "unit-spatial": Flag("Pooled features come out with another rank, or a crash."),
    "one-row": Flag("A served model fails, or answers by the batch, on single requests."),
    "huge-parameters": Flag("Channels with large weights are quietly cut off."),
    "huge-running-variance": Flag("Channels of large activations come out with another scale in inference alone."),
    "momentum-small": Flag("Averages that should forget slowly do not move, or forget too fast."),
    "dead-channel": Flag("Channels that were constant in training get another scale, or NaN, in inference."),
    "padding": Flag(
        "Results depend on how far a sequence was padded.",
        (_issue("tensorflow/tensorflow", 30161), _issue("pytorch/pytorch", 70529)),
    ),
    "padded-batch": Flag(
        "The last batch of an epoch is normalised by its filling.", (_issue("keras-team/keras", 19848),)
    ),
    "counts-differ": Flag("Channels with more gaps than others come out with another scale."),
    "padding-nan": Flag("What happened to stand behind a sequence makes the model NaN."),
    "shards-even": Flag("Replicas train apart: statistics or gradients are those of one worker."),
    "shards-uneven": Flag(
        "Results depend on how the batch was dealt out.",
        (_issue("PaddlePaddle/Paddle", 32464), _issue("mapillary/inplace_abn", 68), _issue("pytorch/pytorch", 22192)),
    ),
    "shards-far-apart": Flag("Workers whose data differ are normalised by too small a variance."),
    "shard-empty": Flag(
        "One worker without a sample stops or poisons all of them.",
        (_issue("pytorch/pytorch", 36530), _issue("facebookresearch/detectron2", 366)),
    ),
    "shards-of-one": Flag(
        "Training with one sample a worker is refused, or has variance 0.",
        (_issue("NVIDIA/apex", 262), _issue("pytorch/pytorch", 36865)),
    ),
    "shards-large-mean": Flag("Un-centred inputs give noise instead of a variance, on several workers alone."),
}
