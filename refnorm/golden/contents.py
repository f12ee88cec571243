"""What the frozen set holds: its version, its files, and what each operation's cases are given and must give."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from refnorm.golden.situations import FROZEN_SECOND_ORDER, MASKED, SECOND_ORDER, SHARDED

SCHEMA, SET = 1, "2026.12"
DATA = Path(__file__).parent / "data"
INPUTS = 24  # elements; larger inputs are built by rule
STORED, SAMPLES = 200, 24  # elements; larger results are sampled
WITHDRAWN: dict[str, str] = {}  # ids of cases that were released and proved wrong: why; none are given again
SECOND = (*SECOND_ORDER, *FROZEN_SECOND_ORDER)
PORTIONS = (*MASKED, *SHARDED)
WIDE = ("x", "y", "dx", "dy", "ddx", "ddy")  # tensors of the shape and format of x


class Content(NamedTuple):
    """One operation of the set: of which cases it is, what it is given, and its results by their names in the oracle.

    ``running_var`` is not among the results: the set holds it for both corrections.
    """

    of: str
    inputs: tuple[str, ...]
    results: dict[str, str]


CONTENT: dict[str, Content] = {
    "training": Content("training", ("x", "gamma", "beta"), {"y": "y, training"}),
    "backward": Content("training", ("x", "gamma", "dy"), {"dx": "dx", "dgamma": "dgamma", "dbeta": "dbeta"}),
    "running": Content("training", ("batches", "running_mean", "running_var"), {"running_mean": "running mean"}),
    "inference": Content("inference", ("x", "gamma", "beta", "running_mean", "running_var"), {"y": "y, inference"}),
    "frozen": Content(
        "inference",
        ("x", "gamma", "running_mean", "running_var", "dy"),
        {"dx": "frozen dx", "dgamma": "frozen dgamma", "dbeta": "frozen dbeta"},
    ),
}
for _prefix, _of, _statistics in (("", "training", ()), ("frozen_", "inference", ("running_mean", "running_var"))):
    _layer, _frozen = ("x", "gamma", *_statistics), _prefix.replace("_", " ")
    CONTENT[f"{_prefix}jvp"] = Content(_of, (*_layer, "dx", "dgamma", "dbeta"), {"dy": f"{_frozen}jvp"})
    CONTENT[f"{_prefix}double_backward"] = Content(
        _of,
        (*_layer, "dy", "ddx", "ddgamma", "ddbeta"),
        {name: f"{_frozen}double backward {name}" for name in ("ddy", "dx", "dgamma")},
    )
for _of, _given, _more in (
    ("masked", "where", {"training": ("count",), "backward": ()}),
    ("sharded", "shards", {"training": ("shard_mean", "shard_var"), "backward": ("shard_dgamma", "shard_dbeta")}),
):
    _training = ("y", "mean", "var", "var_correction_1", *_more["training"])
    _backward = ("dx", "dgamma", "dbeta", *_more["backward"])
    CONTENT[f"{_of}_training"] = Content(_of, ("x", _given, "gamma", "beta"), {n: f"{_of} {n}" for n in _training})
    CONTENT[f"{_of}_backward"] = Content(_of, ("x", _given, "gamma", "dy"), {n: f"{_of} {n}" for n in _backward})
