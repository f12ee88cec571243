"""What a name stands for in people's code: which part of batch normalization a parameter or an attribute is."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

RUNNING = (
    r"run|mov|ema|exp_|avg|aver|global|pop|accum|est|hist|tracked|inference|(?:^|_)r(?:_|$)"
    r"|lauf|gleit|mobile|gliss|滑动|移[动動]|全局"
)
ROLES: tuple[tuple[str, str], ...] = (  # the first that matches is what a name stands for
    ("count", r"batches_tracked|^(n|num)?_?(batches|updates|steps?|calls)(_seen)?$|^count(er)?$"),
    ("optimizer", r"optim|^opt$"),
    ("rate", r"learning_rate|^lr$|step_size|^eta$"),
    ("which", r"^(layer_?)?(name|scope|key|id|idx|index|i|l|layer|level|domain|task)$"),
    ("track", r"track|update_stat"),
    ("affine", r"affine|learnable|use_(scale|bias|gamma|beta|weight)|^(center|scale_and_shift|elementwise)$"),
    ("inference", r"infer|^(is_?)?eval|^(is_?)?test|determin|use_(running|global|moving|ema)|predict|frozen|freeze"),
    ("training", r"^(is_?|in_?|for_?)?train(ing)?(_?fla?g|_?mode|_?phase|_?time)?$|^istrain|use_batch_stats$|^is_fit"),
    ("mode", r"^(mode|phase)$"),
    ("eps", r"(?<!st)eps|^tiny$|^smooth$"),
    ("momentum", r"moment(?!s)|^mom$|decay|^alpha$|^rho$|factor|smoothing|^tau$|^mt$"),
    ("params", r"^params?$|^parameters$|^theta$|^variables$"),
    (
        "state",
        r"^bn_?(params?|conf(ig)?|cfg|opt(ion)?s?)$|state|^(running|ema)$"
        r"|^(running|moving|ema|pop|batch)?_?(stats|statistics|buffers|averages)$",
    ),
    ("cache", r"cache|^saved|ctx|context|memo|tape|residual|stash|intermediate|^for_backward|^tmp$|^aux"),
    ("var", r"var(?!iable)|sigma_?(2|sq)|square[sd]?$|(?:^|_)r?v$"),
    ("std", r"std|stdev|sigma"),
    ("mean", r"mean|(?:^|_)mus?(?:_|$)|(?:^|_)r?m$|avg|average"),
    ("gamma", r"gamma|weight|scale|gain|slope|mult|^_?[wga]$"),
    ("beta", r"beta|bias|shift|offset|intercept|^_?b$|^adds?$"),
    ("axis", r"ax[ie]s|channel_dim|data_format|^layout$|^format$"),
    ("rank", r"n(um)?_?dims?$|^rank$"),
    ("dtype", r"dtype|^device$"),
    ("x", r"^(x|xs|inputs?|inp|data|batch|tensor|z|a|h|rows|maps|images?|features?|u|activations?|values?|arr(ay)?)$"),
)
ABROAD: tuple[tuple[str, str], ...] = (  # where none of these does: other languages, and longer words
    ("inference", r"推理|测试|推論|テスト"),
    ("training", r"^im_training$|^fitting$|entra[iî]n|entren|apprentiss|lernen|trein|addestr|训练|訓練|学習"),
    ("eps", r"^stabili[sz](er|ation)$|小量"),
    ("momentum", r"tr(ae|ä)gheit|inertie|inercia|动量|fraction|^keep|retain|^(update_)?rate$|^taux"),
    ("var", r"方差|分散|(?:^|_)nu$"),
    ("mean", r"mittelw|moyenne|(?:^|_)media(?:_|$)|均值|平均"),
    ("gamma", r"^bw$|skal|[eé]chelle|escala|缩放"),
    ("beta", r"^bb$|^addend$|verschieb|d[eé]calage|biais|sesgo|desplaz|平移|偏[移置]"),
    ("x", r"^(eingaben?|entr[eé]es?|entradas?|输入|入力)$"),
)
OTHER_NORMS = (
    r"(layer|group|instance|rms|local_response|weight|spectral|power|l[12]|schicht|gruppen|instanz|virtual_batch)_?norm"
    r"|(?<![a-z])re_?norm|batchre_?norm|[层组]归一化|[層群]正規化"
)
SIZES = (
    r"feature|channel|dim|size|^n_?(in|out|f)$|^[cdn]$|units|hidden|width|^nf$|^ch$|planes|depth|neurons|nodes|shape"
    r"|merkmal|kan[aä]e?l|cana[lu]|caract|通道|特征"
)
UPSTREAM = (  # of a backward: dy, by the names that it has
    r"(?i)^_?(d(_?(y|z|o|a|h|l|values?|out(put)?s?|hout|next))?|dl_?d\w+|g(_?(y|z|out))?|upstream\w*|deltas?|err(or)?s?"
    r"|(co)?tangents?|ct|y_?bar|grad(ient)?s?(_?(y|z|out(put)?s?|in(coming)?))?|out(put)?s?_?grads?)$"
)
GRADIENT = (
    r"^_?d_?(?=(gamma|beta|w|b|scale|shift|weight|bias|mean|var)\b)"
    r"|^d_?(?:l|loss|j|cost|e)_?d_?(?=.)"
    r"|^(?:_?d|grad(?:ients?)?_?(?:of_?|wrt_?)?|g_|l(?=[wb]$))(?=.)"
    r"|_?(?:_d|grad(?:ients?)?)$"
)


def in_small(name: str) -> str:
    """Return a name in small letters, its parts with one _ between them.

    Examples
    --------
    >>> in_small("movingMean"), in_small("__running_VAR_"), in_small("running_M")
    ('moving_mean', 'running_var', 'running_m')
    """
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])|(?<=[a-z]{2})(?=[A-Z]{2})", "_", name)
    return re.sub(r"_+", "_", parted).strip("_").lower()


@functools.cache
def role_of(name: str) -> str:
    """Return what a name stands for: "x", "gamma", "mean", "momentum", ...; "" if that is not known.

    Examples
    --------
    >>> [role_of(name) for name in ("weight", "running_var", "train_flg", "epsilon", "moving_mean", "whatever")]
    ['gamma', 'var', 'training', 'eps', 'mean', '']
    """
    small = in_small(name)
    role = next((role for role, pattern in (*ROLES, *ABROAD) if re.search(pattern, small)), "")
    return "var" if role == "std" and is_running(name) else role  # a statistic that is kept, and measured


def is_size(name: str) -> bool:
    """Whether a constructor's parameter of this name is the number of channels."""
    return bool(re.search(SIZES, in_small(name)))


def is_running(name: str) -> bool:
    """Whether a name says that a mean or a variance is a running one, not that of a batch."""
    return bool(re.search(RUNNING, in_small(name)))


def gradient_of(name: str) -> str:
    """Return the role whose gradient a name says that it is: "gamma" for dgamma, grad_W or LW; "" if it says nothing.

    Examples
    --------
    >>> [gradient_of(name) for name in ("dgamma", "grad_beta", "LW", "db", "weight_grad", "gamma", "dx")]
    ['gamma', 'beta', 'gamma', 'beta', 'gamma', '', 'x']
    """
    small = in_small(name)
    rest = re.sub(GRADIENT, "", small, count=1).strip("_")
    return role_of(rest) if rest and rest != small else ""


def other_norms(scope: Mapping[str, Any]) -> list[str]:
    """Return the names in a module of what normalizes otherwise: by layer, group, instance, ...

    Examples
    --------
    >>> other_norms({"layernorm_forward": len, "batchnorm_forward": len, "GroupNorm": int, "layernorm_count": 3})
    ['layernorm_forward', 'GroupNorm']
    """
    return [name for name, value in scope.items() if callable(value) and re.search(OTHER_NORMS, in_small(name))]
